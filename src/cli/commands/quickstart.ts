/**
 * @file softprompt quickstart, declared: a whole tuning on the bundled data. The work itself is ../actions/quickstart.ts.
 */
import { command } from "../command.js";
import { quickstartModel, quickstartOptions } from "../tables/quickstart.js";

export const quickstart = command({
  summary: "tune a prompt on the bundled model and data; under three minutes on two cores",
  description:
    "Learns 20 virtual tokens on the bundled t5-nano with bundled labelled rows, shows the curve as it goes, and prints the score before (no prompt) and after, the majority-class baseline, seconds, FLOPs, adapter size, sample predictions, and where the run folder and its report are. Needs no network. With --model it does so on a model of yours, T5 or decoder-only: the learning rate is scaled to its embeddings, a model of more than 20 million parameters gets fewer steps and rows, and memory and time are said before it begins.",
  positionals: [],
  sections: { Model: quickstartModel, Quickstart: quickstartOptions },
  examples: [
    "softprompt quickstart",
    "softprompt quickstart --model models/SmolLM2-135M-Instruct",
    "npm run quickstart",
  ],
  saves: "finishing this step and saving",
  run: async (options, _, context) => (await import("../actions/quickstart.js")).quickstart(options, context),
});
