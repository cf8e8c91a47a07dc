/**
 * @file softprompt train, declared: learns a soft prompt and leaves a run folder. The work itself is ../actions/train.ts.
 */
import { string } from "../../base/options.js";
import { runOptions } from "../../tasks/options.js";
import { command } from "../command.js";
import { optionalModel, trainSections } from "../tables/train.js";

export const train = command({
  summary: "learn a soft prompt on a frozen model",
  description:
    "Learns the vectors of a soft prompt for one task; the base model is never changed. The run folder holds config.yaml, metrics.jsonl, snapshots, the adapter (PEFT's format), result.json, report.html and a TensorBoard file (tensorboard --logdir runs shows it while it grows). Ctrl-C finishes the step, saves and says how to resume; a second Ctrl-C ends at once, with nothing damaged.",
  positionals: [],
  sections: {
    ...trainSections,
    Model: optionalModel,
    Run: {
      ...runOptions,
      resume: string({
        placeholder: "run folder",
        help: "Go on with an interrupted run exactly where it stopped, or with a finished one to more --steps",
      }),
    },
  },
  examples: [
    "softprompt train --model t5-nano --task sst2 --data datasets/SST-2 --steps 500",
    "softprompt train --model google/flan-t5-small --train train.csv --validation dev.csv --template 'review: {text}' --label-column stars --verbalizer 0=terrible --verbalizer 1=great",
    "softprompt train --model t5-nano --train rows.jsonl --template 'review: {text}' --label-column stars --task reviews",
    "softprompt train --config run.yaml --schedule fpt-cr --seed 1",
    "softprompt train --resume runs/sst2-prompt-tuning-seed0",
    "softprompt train --resume runs/sst2-prompt-tuning-seed0 --steps 1000",
  ],
  saves: "finishing this step and saving",
  run: async (options, _, context) => (await import("../actions/train.js")).train(options, context),
});
