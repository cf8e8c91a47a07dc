/**
 * @file Options of the tuning methods, as plain data, so that a command line that lists them loads no model code.
 */
import { boolean, choice, integer, list, number, type OptionValues } from "../base/options.js";

export const methodNames = [
  "prompt",
  "prefix",
  "p-tuning",
  "lora",
  "full",
  "superpos",
  "ulpt",
  "shift",
  "residual",
  "low-rank",
] as const;
/** A method of tuning by its name. */
export type MethodName = (typeof methodNames)[number];

export const latePromptOptions = {
  insertLayer: integer({
    default: 0,
    min: 0,
    max: 1000,
    source: "0 as Lester et al. 2021: before the first block",
    help: "With method prompt: before which block of the encoder the prompt enters; the blocks below read the text alone",
  }),
};

export const prefixOptions = {
  prefixAttentions: list({
    of: "string",
    help: "With method prefix: which attentions get keys and values, of encoder.self, decoder.self, decoder.cross",
    source: "default all of the model",
  }),
  prefixHidden: integer({
    default: 0,
    min: 0,
    max: 1 << 16,
    source: "0 as PEFT's prefix_projection=False; Li & Liang 512 or 800",
    help: "With method prefix: hidden width of the network that makes the prefix while it is trained; 0 trains it directly",
  }),
};

export const pTuningOptions = {
  pTuningHidden: integer({
    min: 1,
    max: 1 << 16,
    source: "default the model's width, as PEFT",
    help: "With method p-tuning: width of the encoder's hidden layers",
  }),
  pTuningEncoder: choice({
    values: ["mlp", "lstm"],
    default: "mlp",
    source: "PEFT's default; Liu et al. 2021 have an LSTM",
    help: "With method p-tuning: three layers for each vector by itself, or an LSTM over the vectors in both directions and two layers",
  }),
};

export const loraOptions = {
  loraRank: integer({
    default: 8,
    min: 1,
    max: 4096,
    source: "PEFT's default",
    help: "With method lora: rank r of each pair of factors",
  }),
  loraAlpha: number({
    default: 16,
    min: 0,
    source: "our choice: twice the rank",
    help: "With method lora: the product of the factors is scaled by this / rank",
  }),
  loraTargets: list({
    of: "string",
    help: "With method lora: linear layers that get factors, by the end of their names (q, wi_0, self_attn.q_proj)",
    source: "default queries and values, as PEFT",
  }),
};

export const fullOptions = {
  fullParts: list({
    of: "string",
    help: "With method full: train these tensors only, by any part of their dotted names (decoder, layer_norm, encoder.block.0)",
    source: "default every weight",
  }),
};

export const superposOptions = {
  superposBasis: integer({
    default: 128,
    min: 1,
    max: 5000,
    unit: "vectors",
    source: "the gain levels off near 128",
    help: "With method superpos: how many sampled vocabulary vectors every virtual token is a sum of",
  }),
  superposTuneBasis: boolean({ default: false, help: "With method superpos: train these vectors too" }),
};

export const ulptOptions = {
  ulptRank: integer({
    default: 64,
    min: 1,
    max: 4096,
    source: "the paper's best",
    help: "With method ulpt: trained numbers per virtual token",
  }),
};

export const residualOptions = {
  residualBottleneck: integer({
    default: 128,
    min: 1,
    max: 1 << 16,
    source: "our choice; the paper has 800 for width 768 and above",
    help: "With method residual: width of the bottleneck that all virtual tokens share",
  }),
};

export const lowRankOptions = {
  lowRank: integer({
    default: 10,
    min: 1,
    max: 4096,
    source: "Xiao et al. 2023",
    help: "With method low-rank: rank of the prompt's two factors",
  }),
};

/** Options that belong to one method each. */
export const ownMethodOptions = {
  ...latePromptOptions,
  ...loraOptions,
  ...prefixOptions,
  ...pTuningOptions,
  ...superposOptions,
  ...ulptOptions,
  ...residualOptions,
  ...lowRankOptions,
  ...fullOptions,
};

/** What every method may read; `virtualTokens` is the length of a prompt or prefix, `seed` that of fixed random matrices. */
export type MethodSettings = OptionValues<typeof ownMethodOptions> & {
  readonly virtualTokens: number;
  readonly seed: number;
};

export const methodOptions = {
  method: choice({
    values: methodNames,
    default: "prompt",
    help: "What is trained: a soft prompt, keys and values at every layer, an encoder's prompt, low-rank factors, the weights themselves, or a prompt by way of other parameters",
  }),
  ...ownMethodOptions,
};

/** A method by its name, with the settings of all. */
export type MethodChoice = MethodSettings & { readonly method: MethodName };
