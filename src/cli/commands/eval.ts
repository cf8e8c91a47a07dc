/**
 * @file softprompt eval, declared: scores a tuned prompt, or the frozen model alone, on labelled rows. The work itself is ../work/eval.ts.
 */
import { choice, integer, type OptionValues, string } from "../../base/options.js";
import { type RankingMode, rankingModes } from "../../evaluate/ranking.js";
import { dataOptions } from "../../tasks/data.js";
import { command } from "../command.js";
import { adapterOptions, maxInputTokens, recordedModel } from "./predict.js";

const evaluationOptions = {
  split: choice({ values: ["validation", "test", "train"], default: "validation", help: "Which rows are scored" }),
  evaluateBy: choice({
    values: ["ranking", "generation"],
    default: "ranking",
    help: "Score each label's words, or let the model write; free-text tasks always generate",
  }),
  ranking: choice({
    values: Object.keys(rankingModes) as RankingMode[],
    help: "Rank labels by the log-probability of all their tokens, or by its mean over the tokens",
    source: "default what the adapter was tuned with, else sum",
  }),
  maxInputTokens,
  maxEvalRows: integer({
    default: 0,
    min: 0,
    unit: "rows",
    help: "At most so many rows, the same ones each time; 0 is all",
  }),
  batchSize: integer({ default: 32, min: 1, unit: "rows", help: "Rows of one pass" }),
  predictions: string({ placeholder: "file", help: "Write what was said to each row, one JSON object per line" }),
};

export const evaluate = command({
  summary: "score a tuned prompt on labelled rows",
  description:
    "Scores an adapter (or, without --adapter, the frozen model with no prompt) on one split of a task, beside the majority-class baseline, with the confusion table. How texts and labels are put comes from the adapter unless you say otherwise: --test FILE (or --validation) is enough for the task it was tuned on, whether that is a declared one or your own; a folder of official files is given as --data. The column of the labels is the one named label, or the only one that holds labels of the task, unless --label-column says it.",
  positionals: [],
  sections: {
    Model: recordedModel,
    Prompt: adapterOptions,
    Data: dataOptions,
    Evaluation: evaluationOptions,
  },
  examples: [
    "softprompt eval --adapter runs/reviews --test test.csv",
    "softprompt eval --model t5-nano --adapter runs/sst2/adapter --task sst2 --data datasets/SST-2",
    "softprompt eval --model t5-nano --task sst2 --data datasets/SST-2",
  ],
  run: async (options, _, context) => (await import("../work/eval.js")).evaluate(options, context),
});

export type EvalValues = OptionValues<typeof recordedModel> &
  OptionValues<typeof adapterOptions> &
  OptionValues<typeof dataOptions> &
  OptionValues<typeof evaluationOptions>;
