/**
 * @file softprompt report, declared: makes a run's pages again. The work itself is ../actions/report.ts.
 */
import { boolean } from "../../base/options.js";
import { command } from "../command.js";

export const report = command({
  summary: "render a run's report again",
  description:
    "Reads metrics.jsonl, result.json and predictions.jsonl of a finished run and writes report.html (one self-contained page) and the TensorBoard event file; of a pruning one event file for the tuning, the control and each candidate.",
  positionals: [{ name: "run", help: "run folder", required: true }],
  sections: {
    Report: { tensorboard: boolean({ default: true, help: "Write the TensorBoard event file too" }) },
  },
  examples: ["softprompt report runs/sst2-prompt-tuning-seed0"],
  run: async (options, [folder]) => (await import("../actions/report.js")).report(options, folder!),
});
