/**
 * @file softprompt prune, declared: XPrompt as a command. The work itself is ../actions/prune.ts.
 */
import { string } from "../../base/options.js";
import { methodOptions, prefixOptions } from "../../method/options.js";
import { pruneOptions } from "../../prune/options.js";
import { dataOptions } from "../../tasks/data.js";
import { promptOptions, pruneTuneOptions } from "../../tasks/options.js";
import { command } from "../command.js";
import { optionalModel, trainSections } from "../tables/train.js";

export const prune = command({
  summary: "XPrompt: prune a prompt or prefix to its best tokens and pieces",
  description:
    "Tunes a prompt, scores every token and piece by one pass over the training rows, prunes to many candidates, rewinds and retrains each, and keeps the best. A control that simply trains on for as many steps, and the mean of the candidates' selection scores, are always reported beside the best. Everything done is kept: --resume with the folder goes on, with the options in its config.yaml. What is pruned is a prompt, or with --method prefix the positions of a prefix: the keys and values of a position over all layers are its vector, a pruned position's are zeros, and --pieces cuts that vector.",
  positionals: [],
  sections: {
    Model: optionalModel,
    Data: dataOptions,
    Method: { method: methodOptions.method, ...prefixOptions },
    Prompt: promptOptions,
    "Pruning (XPrompt)": { ...pruneOptions, retrainSchedule: pruneTuneOptions.retrainSchedule },
    Training: trainSections.Training,
    "Schedule of the tuning (Fast Prompt Tuning)": trainSections["Schedule (Fast Prompt Tuning)"],
    Run: {
      ...trainSections.Run,
      tensorboard: pruneTuneOptions.tensorboard,
      from: pruneTuneOptions.from,
      resume: string({
        placeholder: "search's folder",
        help: "Go on with an interrupted search; which candidates are tried may change, anything else is refused",
      }),
    },
  },
  examples: [
    "softprompt prune --model t5-nano --task rte --data datasets/RTE --steps 400 --output runs/rte-xprompt",
    "softprompt prune --config prune.yaml --search halving --holdout 0.2",
    "softprompt prune --from runs/rte --output runs/rte-xprompt",
    "softprompt prune --method prefix --model t5-nano --task rte --data datasets/RTE",
    "softprompt prune --resume runs/rte-xprompt",
  ],
  saves: "finishing this step and saving",
  run: async (options, _, context) => (await import("../actions/prune.js")).prune(options, context),
});
