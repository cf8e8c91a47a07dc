/**
 * @file softprompt doctor, declared: what runs here, on which devices, and what is missing. The work itself is ../actions/doctor.ts.
 */
import { command } from "../command.js";
import { sections } from "../tables/doctor.js";

export const doctor = command({
  summary: "check what runs here, which devices there are, and what is missing",
  description:
    "Looks at Node, ONNX Runtime and its devices, memory and disk, and lets the bundled t5-nano answer a text. Each fault comes with its remedy; exits with 7 when something needed is missing. With --model it also says what --precision auto would take for that model, and which of its layers int8 would leave in float32.",
  positionals: [],
  sections,
  examples: ["softprompt doctor", "softprompt doctor --json", "softprompt doctor --model google/flan-t5-base"],
  run: async (options, _, context) => (await import("../actions/doctor.js")).doctor(options, context),
});
