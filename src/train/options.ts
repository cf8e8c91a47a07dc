/** @file The options of training, as data. In: config file or flags. Out: TrainSettings. */
import { choice, integer, number, type OptionValues } from "../base/options.js";
import { type RankingMode, rankingModes } from "../evaluate/ranking.js";
import { type LearningRateSchedule, learningRateSchedules } from "../optim/learning-rate.js";
import { type OptimizerName, optimizers } from "../optim/optimizers.js";

/** Option table of a training. */
export const trainOptions = {
  optimizer: choice({
    values: Object.keys(optimizers) as OptimizerName[],
    default: "adafactor",
    source: "fpt.md §5, xprompt.md §2",
    help: "Adafactor has both papers' settings: no parameter scaling, no relative step, clip threshold 1",
  }),
  learningRate: number({
    default: 0.3,
    min: 0,
    suited: true,
    source: "fpt.md §5, xprompt.md §2",
    help: "Rate after warm-up. Where none is given, the method's own: of a prompt 0.3, and less where the model's vocabulary vectors are smaller than T5's",
  }),
  learningRateSchedule: choice({
    values: Object.keys(learningRateSchedules) as LearningRateSchedule[],
    default: "constant",
    source: "fpt.md §5, xprompt.md §2",
    help: "How the rate falls after warm-up",
  }),
  warmupSteps: integer({
    default: 0,
    min: 0,
    unit: "optimizer steps",
    source: "fpt.md §5, xprompt.md §2",
    help: "The rate rises linearly over the first so many steps",
  }),
  weightDecay: number({
    default: 1e-5,
    min: 0,
    source: "fpt.md §5, xprompt.md §2",
    help: "Decoupled: the prompt shrinks by learning rate × this at each step",
  }),
  momentum: number({ default: 0, min: 0, max: 1, source: "our choice", help: "Of sgd; the others have none" }),
  clip: number({
    default: 1,
    min: 0,
    source: "fpt.md §5",
    help: "Longest gradient by Euclidean norm, live entries only; 0 is off",
  }),
  batchSize: integer({
    default: 16,
    min: 1,
    unit: "rows",
    source: "xprompt.md §2; FPT has 32",
    help: "Rows of one optimizer step",
  }),
  microBatchSize: integer({
    default: 16,
    min: 1,
    unit: "rows",
    source: "our choice",
    help: "Rows of one forward and backward pass; smaller needs less memory and gives the same update",
  }),
  maxInputTokens: integer({
    default: 492,
    min: 1,
    unit: "tokens, prompt not counted",
    source: "fpt.md §2",
    help: "Longest input; a longer one loses the end of its longest field",
  }),
  evalEvery: integer({
    default: 500,
    min: 0,
    unit: "optimizer steps",
    source: "fpt.md §7",
    help: "Evaluate on the validation rows so often, and at each stage's end; 0 is once per pass over the training rows",
  }),
  patience: integer({
    default: 0,
    min: 0,
    unit: "evaluations",
    source: "fpt.md §7 (never)",
    help: "Stop after so many evaluations in the last stage without a better score; 0 is never",
  }),
  evaluateBy: choice({
    values: ["ranking", "generation"],
    default: "ranking",
    source: "xprompt.md §5.2; FPT generates",
    help: "Score each label's words, or let the model write; free-text tasks always generate",
  }),
  ranking: choice({
    values: Object.keys(rankingModes) as RankingMode[],
    default: "sum",
    source: "our choice; the papers do not say",
    help: "Rank labels by the log-probability of all their tokens, or by its mean over the tokens, which favours no short label",
  }),
  maxEvalRows: integer({
    default: 0,
    min: 0,
    unit: "rows",
    source: "our choice",
    help: "Evaluate on at most so many validation rows, drawn once: the same for every method, seed and run; 0 is all",
  }),
  finalEvalRows: integer({
    min: 0,
    unit: "rows",
    source: "default as maxEvalRows",
    help: "Score the kept prompt at the end, and the frozen model, on at most so many validation rows; 0 is all",
  }),
  seed: integer({
    default: 0,
    min: 0,
    source: "our choice",
    help: "Draws the start prompt and the order of the rows",
  }),
  snapshotEvery: integer({
    formerly: "checkpointEvery",
    default: 0,
    min: 0,
    unit: "optimizer steps",
    source: "our choice",
    help: "Save so often, besides at every evaluation; 0 leaves it to snapshotSeconds, and of a search saves at every step",
  }),
  snapshotSeconds: number({
    formerly: "checkpointSeconds",
    default: 60,
    min: 0,
    unit: "seconds",
    source: "our choice",
    help: "Save when so much time has passed since the last save; 0 is never",
  }),
};

/** Options of a training, but for the seed: a study has several. */
export const { seed: _seed, ...repeatedOptions } = trainOptions;

/** How to train; every field is an option of the command line. */
export type TrainSettings = OptionValues<typeof trainOptions>;

/** Settings that do not affect results: they may change between sessions. */
export const freeSettings: ReadonlySet<keyof TrainSettings> = new Set([
  "snapshotEvery",
  "snapshotSeconds",
  "finalEvalRows",
]);
