/**
 * @file softprompt eval, declared: scores a tuned prompt, or the frozen model alone, on labelled rows. The work itself is ../actions/eval.ts.
 */

import { inContextOptions } from "../../evaluate/options.js";
import { dataOptions } from "../../tasks/data.js";
import { command } from "../command.js";
import { evaluationOptions } from "../tables/eval.js";
import { adapterOptions, recordedModel } from "../tables/predict.js";

export const evaluate = command({
  summary: "score a tuned prompt on labelled rows",
  description:
    "Scores an adapter (or, without --adapter, the frozen model with no prompt) on one split of a task, beside the majority-class baseline, with precision, recall and F1 of each label and the confusion table (a label that was never said has no precision: a dash). How texts and labels are put comes from the adapter unless you say otherwise: --test FILE (or --validation) is enough for the task it was tuned on, whether that is a declared one or your own; a folder of official files is given as --data. The column of the labels is the one named label, or the only one that holds labels of the task, unless --label-column says it. A frozen model is scored on one file too: --template says how its texts are put, and without --verbalizer its labels are their own words. The baseline is the most frequent label of the training rows; where only one file is given, of its own rows, and of written texts there is none. With --shots, examples with their answers stand before each text, and with --instruction a text of yours: a model that is not trained, or one that is.",
  positionals: [],
  sections: {
    Model: recordedModel,
    Prompt: adapterOptions,
    Data: dataOptions,
    "In context": inContextOptions,
    Evaluation: evaluationOptions,
  },
  examples: [
    "softprompt eval --adapter runs/reviews --test test.csv",
    "softprompt eval --model t5-nano --adapter runs/sst2/adapter --task sst2 --data datasets/SST-2",
    "softprompt eval --model t5-nano --task sst2 --data datasets/SST-2",
    'softprompt eval --model t5-nano --test test.csv --template "review: {text}" --label-column stars',
    "softprompt eval --model SmolLM2-135M --task sst2 --data datasets/SST-2 --shots 8",
  ],
  run: async (options, _, context) => (await import("../actions/eval.js")).evaluate(options, context),
});
