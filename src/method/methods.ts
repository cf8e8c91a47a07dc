/**
 * @file The methods of tuning, listed by hand.
 *
 * In: which method, its settings. Out: a Method. Each method gets all settings and reads only its own.
 */
import type { OptionTable } from "../base/options.js";
import type { ModelConfig } from "../model/architecture.js";
import { full } from "./full.js";
import { lora } from "./lora.js";
import { lowRank } from "./low-rank.js";
import type { Method, VectorRows } from "./method.js";
import {
  fullOptions,
  latePromptOptions,
  loraOptions,
  lowRankOptions,
  type MethodChoice,
  type MethodName,
  type MethodSettings,
  prefixOptions,
  pTuningOptions,
  residualOptions,
  superposOptions,
  ulptOptions,
} from "./options.js";
import { pTuning } from "./p-tuning.js";
import { prefix } from "./prefix.js";
import { latePrompt, promptTuning } from "./prompt.js";
import { residual } from "./residual.js";
import { superpos } from "./superpos.js";
import { shifted, ulpt } from "./ulpt.js";

/** The list's entry of a method: its properties, and how it is opened. */
export interface MethodKind {
  /**
   * A rate that trains it with Adafactor, on t5-nano as on SmolLM2-135M (docs/log.md, 2026-11-27): a prompt's 0.3 would destroy a matrix of the
   * model.
   */
  readonly learningRate: number;
  /** What it trains are vectors among those of the vocabulary; its rate is for vectors of size 1, as T5's are. */
  readonly inVocabulary?: true;
  /** It starts from values of its own and reads no start prompt. */
  readonly ownStart?: true;
  /** XPrompt can mask what it leaves: a prompt of its own, or vectors that are laid out as one (prunableForm). */
  readonly prunable: boolean;
  /** Its own options; settings of an adapter are of these. */
  readonly options: OptionTable;
  /** What an adapter of it is called on its card, and by the hub. Default a soft prompt. */
  readonly result?: { readonly title: string; readonly tag: string };
  open(settings: MethodSettings): Method;
}

/** Every method of tuning, by its name on the command line. */
export const methods = {
  prompt: {
    inVocabulary: true,
    prunable: true,
    options: latePromptOptions,
    learningRate: 0.3,
    open: ({ insertLayer, virtualTokens }) =>
      insertLayer === 0 ? promptTuning : latePrompt(insertLayer, virtualTokens),
  },
  prefix: {
    ownStart: true,
    prunable: true,
    options: prefixOptions,
    learningRate: 0.01,
    result: { title: "Prefix", tag: "prefix-tuning" },
    open: prefix,
  },
  "p-tuning": { prunable: false, options: pTuningOptions, learningRate: 0.003, open: pTuning },
  lora: {
    ownStart: true,
    prunable: false,
    options: loraOptions,
    learningRate: 0.003,
    result: { title: "LoRA", tag: "lora" },
    open: lora,
  },
  full: {
    ownStart: true,
    prunable: false,
    options: fullOptions,
    learningRate: 0.001,
    result: { title: "Fine-tuned weights", tag: "fine-tuning" },
    open: full,
  },
  superpos: { ownStart: true, prunable: false, options: superposOptions, learningRate: 0.05, open: superpos },
  ulpt: { inVocabulary: true, prunable: false, options: ulptOptions, learningRate: 0.3, open: ulpt },
  shift: { inVocabulary: true, prunable: false, options: {}, learningRate: 0.3, open: shifted },
  residual: { prunable: false, options: residualOptions, learningRate: 0.03, open: residual },
  "low-rank": { prunable: false, options: lowRankOptions, learningRate: 0.1, open: lowRank },
} as const satisfies Record<MethodName, MethodKind>;

/** What an adapter is called: of the method that is applied with it, or of a prompt alone. */
export function resultOf(method: string | undefined): { readonly title: string; readonly tag: string } {
  const kind: MethodKind | undefined = method === undefined ? undefined : methods[method as MethodName];
  return kind?.result ?? { title: "Soft prompt", tag: "prompt-tuning" };
}

/** The method that the options ask for. */
export function openMethod(options: MethodChoice): Method {
  return methods[options.method].open(options);
}

/** What XPrompt masks of a method's result, and the method that trains it; null where nothing can be masked. */
export function prunableForm(method: Method, config: ModelConfig): VectorRows | null {
  const left = method.leaves?.method ?? method;
  if (!left.prunable) return left.rows?.(config) ?? null;
  return { method: left, width: config.width, join: ({ prompt }) => prompt!, part: (prompt) => ({ prompt }) };
}

/** How much a method trains: numbers, and tokens before the text. @param P number of tokens of a prompt whose length is a free symbol */
export function sizeOf(method: Method, config: ModelConfig, P: number): { numbers: number; tokens: number } {
  const shapes = method
    .parameters(config)
    .map(({ name, shape }) => [name, { shape: shape.map((n) => (typeof n === "number" ? n : P)) }] as const);
  const numbers = shapes.reduce((sum, [, { shape }]) => sum + shape.reduce((a, b) => a * b, 1), 0);
  return { numbers, tokens: method.adds(Object.fromEntries(shapes)).tokens };
}
