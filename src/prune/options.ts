/**
 * @file The options of XPrompt, as data. In: config file or flags. Out: PruneOptions.
 */
import { boolean, choice, integer, list, number, type OptionValues, string } from "../base/options.js";
import { type PieceLayout, pieceLayouts } from "../method/mask.js";
import { type ImportanceMode, importanceModes } from "./scores.js";
import { type StrategyName, strategies } from "./strategies.js";

const names = <K extends string>(table: Readonly<Record<K, unknown>>) => Object.keys(table) as K[];

/** Option table of a search. */
export const pruneOptions = {
  search: choice({
    values: names<StrategyName>(strategies),
    default: "linear",
    source: "xprompt.md §3.3",
    help: "linear: best token count, then best piece count for it; grid: all pairs; halving: as many pairs as its budget starts, most stopped early; iterative: as linear, but survivors are scored anew after each retraining (ours)",
  }),
  level: choice({
    values: ["both", "tokens", "pieces"],
    default: "both",
    source: "xprompt.md §7 T4",
    help: "Prune tokens and pieces, or one of them only",
  }),
  pieces: integer({
    default: 16,
    min: 1,
    unit: "pieces per token",
    source: "xprompt.md §3.1",
    help: "Equal parts each token's vector is cut into; must divide the model's width",
  }),
  layout: choice({
    values: names<PieceLayout>(pieceLayouts),
    default: "contiguous",
    source: "xprompt.md §3.1",
    help: "A piece is a block of neighbouring dimensions, or every k-th dimension",
  }),
  tokensPruned: list({
    of: "integer",
    min: 0,
    unit: "tokens",
    source: "xprompt.md §3.3: ⌊P·r⌋ for r = 0.1 … 0.9",
    help: "Token counts to try, how many are pruned; any whole numbers below the prompt's length",
  }),
  piecesPruned: list({
    of: "integer",
    min: 0,
    unit: "pieces of each surviving token",
    source: "xprompt.md §3.3: ⌊k·r⌋ for r = 0.1 … 0.9",
    help: "Piece counts to try, how many are pruned of each surviving token",
  }),
  pieceRanking: choice({
    values: ["within", "global"],
    default: "within",
    source: "xprompt.md §3.3",
    help: "Rank pieces within their token, or over all surviving tokens",
  }),
  prunedTokens: choice({
    values: ["zero", "drop"],
    default: "zero",
    source: "xprompt.md §3.1",
    help: "Pruned tokens stay as zero vectors, or leave the sequence, which is shorter and so faster",
  }),
  rewindTo: string({
    default: "tuned",
    placeholder: "tuned, init or step:N",
    source: "xprompt.md §4",
    help: "Values the survivors are put back to before retraining: after stage A, before it, or at a step of it",
  }),
  importance: choice({
    values: names<ImportanceMode>(importanceModes),
    default: "perExample",
    source: "xprompt.md §3.2",
    help: "Where the absolute value is taken: of each example, of each batch, or nowhere (−∂L/∂γ)",
  }),
  normaliseScores: boolean({
    default: false,
    source: "xprompt.md §3.2",
    help: "Divide token scores, and the piece scores of each token, by their L2 norm",
  }),
  importanceRows: integer({
    formerly: "importanceExamples",
    default: 4096,
    min: 0,
    unit: "rows",
    source: "xprompt.md §3.2",
    help: "Score on at most so many training rows, sampled by the seed; 0 is all",
  }),
  importanceDepth: number({
    min: 0,
    source: "our addition",
    help: "Score on a partial model with this share or number of layers instead of the full one",
  }),
  rescorePieces: boolean({
    default: false,
    source: "xprompt.md §3.3",
    help: "Score pieces again after the tokens are pruned, instead of once for both",
  }),
  holdout: number({
    default: 0,
    min: 0,
    max: 0.5,
    unit: "share of the training rows",
    source: "xprompt.md §4; 0 selects on validation, as the paper does",
    help: "Select on rows held out from training, so that the validation score was not chosen for being high",
  }),
  retrainSteps: integer({
    min: 1,
    unit: "optimizer steps",
    source: "xprompt.md §4: as many as stage A",
    help: "Steps of each retraining",
  }),
  halvingMinSteps: integer({
    min: 1,
    unit: "optimizer steps",
    source: "our choice: a quarter of a retraining",
    help: "Shortest first rung of the halving search: a shorter one compares more candidates, by scores that say less",
  }),
  halvingBudget: number({
    default: 0.4,
    min: 0,
    max: 1,
    unit: "share of the linear search's FLOPs, evaluations included",
    source: "our choice",
    help: "What the halving search may spend; fewer candidates start where it would cost more",
  }),
  workers: integer({
    min: 1,
    unit: "processes",
    source: "by free memory and cores; methods of a comparison 1",
    help: "Candidates of a search, or methods of a comparison, trained at the same time, each in its own process",
  }),
};

/** All options of a search but the tuning's, with defaults filled in. */
export type PruneOptions = OptionValues<typeof pruneOptions>;
