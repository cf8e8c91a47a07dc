/**
 * @file The options of softprompt eval.
 */
import { choice, integer, number, type OptionValues, string } from "../../base/options.js";
import type { inContextOptions } from "../../evaluate/options.js";
import { type RankingMode, rankingModes } from "../../evaluate/ranking.js";
import type { dataOptions } from "../../tasks/data.js";
import { type adapterOptions, maxInputTokens, type recordedModel } from "./predict.js";

export const evaluationOptions = {
  split: choice({ values: ["validation", "test", "train"], default: "validation", help: "Which rows are scored" }),
  evaluateBy: choice({
    values: ["ranking", "generation"],
    help: "Score each label's words, or let the model write; free-text tasks always generate",
    source: "default what the adapter was tuned with, else ranking",
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
  predictions: string({
    placeholder: "file",
    help: "Write the answer to each row, one JSON object per line: label, text and probabilities as predict gives them, and beside them trueLabel, target and correct",
  }),
  minProbability: number({
    min: 0,
    max: 1,
    help: "Also say how many rows have an answer of at least this probability (coverage) and how many of those are right, as predict --min-probability would answer; where labels are ranked",
  }),
};

export type EvalValues = OptionValues<typeof recordedModel> &
  OptionValues<typeof adapterOptions> &
  OptionValues<typeof dataOptions> &
  OptionValues<typeof inContextOptions> &
  OptionValues<typeof evaluationOptions>;
