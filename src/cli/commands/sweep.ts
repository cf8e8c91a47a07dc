/**
 * @file softprompt sweep, declared: which settings train best on one task. The work itself is ../actions/sweep.ts.
 */
import { command } from "../command.js";
import { sweepSections } from "../tables/sweep.js";

export const sweep = command({
  summary: "try many settings of a training on one task, and find the best",
  description:
    "Trains every combination of the values to try, with every seed, on most of the training rows, and ranks them by their scores on the rows that are held out. The validation rows are not looked at, so what `softprompt train --config best.yaml` scores on them afterwards is a fair score. Prints the settings with their cost and how far each is below the best; report.html has the curves. An option that a combination does not read (LoRA's rank with another method) is tried with those that do. What is tried stands in place of what a --config has. Every finished training is kept in the folder, so an interrupted sweep goes on with the same command, and a wider one trains only what is new.",
  positionals: [],
  sections: sweepSections,
  examples: [
    "softprompt sweep --model t5-nano --task sst2 --data datasets/SST-2 --few-shot 500 --steps 200 --try learning-rate=0.1,0.3,1 --try virtual-tokens=10,20",
    "softprompt sweep --config run.yaml --try method=prompt,lora --try lora-rank=4,16 --seeds 0,1",
    "softprompt train --config sweeps/sst2/best.yaml",
  ],
  saves: "ending at this step; finished trainings are kept",
  check: async (options) => (await import("../actions/sweep.js")).checkTries(options),
  run: async (options, _, context) => (await import("../actions/sweep.js")).sweepAnswer(options, context),
});
