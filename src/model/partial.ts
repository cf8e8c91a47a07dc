/**
 * @file Partial PLMs: which layers and which feed-forward neurons of the full model a smaller graph keeps (fpt.md §3).
 *
 * In: a ModelConfig (and neuron scores). Out: a PartialModel; the graph builder makes a genuinely smaller graph from it.
 */

import { nearest, SoftpromptError } from "../base/errors.js";
import { sha256Hex } from "../base/sha256.js";
import type { ModelConfig, PartialModel, PartialStack, Stack } from "./architecture.js";
import { architectureOf } from "./architectures.js";

export type { PartialModel, PartialStack } from "./architecture.js";

/** How important each neuron is: per stack, per ORIGINAL layer number, [F] (fpt.md §3.3). */
export type NeuronScores = Readonly<Record<string, readonly Float32Array[]>>;

/** Per stack, layers in the order in which they are given up (schedule/greedy-layers.ts). A stack that is not named stays whole. */
export type LayerOrder = Readonly<Record<string, readonly number[]>>;

/** What layers may be chosen by. */
export interface LayerFacts {
  /** [L], larger is more important; null where no neuron was scored. */
  readonly score: ArrayLike<number> | null;
  /** The first so many are given up; null where nothing was measured. */
  readonly dropped: readonly number[] | null;
}

/** What to keep of the full model. */
export interface PartialSpec {
  /** Share of the layers in (0, 1], or their number (integer ≥ 2). Default 1. */
  readonly depth?: number;
  /** Share of every layer's feed-forward neurons in (0, 1], or their number (integer ≥ 2). Default 1. */
  readonly width?: number;
  /** Default "even" (fpt.md §3.1). */
  readonly layerChoice?: LayerChoice;
  /** Default "score" (fpt.md §3.2). */
  readonly neuronChoice?: NeuronChoice;
  /** Shrink T5's decoder too (the papers' generative tasks). Default false: encoder only (fpt.md §3.1). The one stack of a decoder-only model always shrinks. */
  readonly reduceDecoder?: boolean;
}

/**
 * Which n of the L layers stay; ascending. Every choice keeps layer 0, which owns the stack's relative-position bias. In the official code
 * the bias would be lost with the layer.
 */
export const layerChoices = {
  /** First and last always; the gaps between as equal as can be, the larger ones last (fpt.md §3.1). */
  even: (n: number, L: number): number[] => evenLayers(n, L),
  /** Layers 0 … n-1 (the official code's `sequence`). */
  first: (n: number): number[] => range(n),
  /** Layer 0 and the n-1 others of highest score; ties by lower index. */
  score: (n: number, L: number, { score }: LayerFacts): number[] => {
    if (score === null) throw needScores("layer choice `score`");
    const others = topK(
      Array.from({ length: L - 1 }, (_, i) => score[i + 1]!),
      n - 1,
    );
    return [0, ...Array.from(others, (i) => i + 1)];
  },
  /** Those that remain when the layers that cost the least loss are dropped one after the other. Nested over growing n. */
  greedy: (n: number, L: number, { dropped }: LayerFacts): number[] => {
    if (dropped === null || dropped.length < L - n)
      throw new SoftpromptError("usage", "layer choice `greedy` needs layers that were dropped on training rows", {
        where: "partial model",
        expected: `an order of ${L - n} layers`,
        got: dropped === null ? "none" : `${dropped.length}`,
        hint: "train with --layer-choice greedy, or choose layers=first (counts and FLOPs are the same)",
      });
    const gone = new Set(dropped.slice(0, L - n));
    return range(L).filter((layer) => !gone.has(layer));
  },
} as const satisfies Record<string, (n: number, L: number, facts: LayerFacts) => number[]>;
/** Whether a choice of layers rests on a measurement of the model; the others follow from the sizes. */
export const measuredChoices = { even: false, first: false, score: true, greedy: true } as const satisfies Record<
  keyof typeof layerChoices,
  boolean
>;
/** Name of a way to choose layers. */
export type LayerChoice = keyof typeof layerChoices;

/** Which k of the F neurons of one layer stay; ascending. */
export const neuronChoices = {
  /** The k of highest score; ties by lower index (fpt.md §3.2). Nested over growing k. */
  score: (k: number, _F: number, score: Float32Array | null): Int32Array => {
    if (score === null) throw needScores("neuron choice `score`");
    return topK(score, k);
  },
  /** Neurons 0 … k-1 (the official code's `sequence`); needs no scores, so FLOPs and memory can be computed without them. */
  first: (k: number): Int32Array => Int32Array.from(range(k)),
} as const satisfies Record<string, (k: number, F: number, score: Float32Array | null) => Int32Array>;
/** Name of a way to choose neurons. */
export type NeuronChoice = keyof typeof neuronChoices;

/** The full model as a partial one: every layer, every neuron. */
export function fullModel(config: ModelConfig): PartialModel {
  return { stacks: perStack(config, ({ layers }) => ({ layers: range(layers), neurons: null })), name: "full" };
}

/** True when the partial model keeps everything, independent of its name. */
export function isFull(config: ModelConfig, { stacks }: Pick<PartialModel, "stacks">): boolean {
  return stacksOf(config).every(({ name, layers }) => {
    const kept = stacks[name]!;
    return (
      kept.layers.length === layers &&
      (kept.neurons === null || kept.neurons.every((n) => n.length === config.feedForwardWidth))
    );
  });
}

/**
 * Makes the partial model a spec describes. The full spec gives `fullModel` (name "full"), so it shares its programs.
 * @param scores needed where neurons or layers are chosen by score; null otherwise.
 * @param order needed where layers are chosen greedily
 * @throws SoftpromptError(usage) for a size the model cannot have or missing scores.
 */
export function partialModel(
  config: ModelConfig,
  spec: PartialSpec,
  scores: NeuronScores | null = null,
  order: LayerOrder | null = null,
): PartialModel {
  const { depth = 1, width = 1, layerChoice = "even", neuronChoice = "score", reduceDecoder = false } = spec;
  const F = config.feedForwardWidth;
  if (scores !== null) checkScores(config, scores);
  const first = stacksOf(config)[0];
  const stacks = perStack(config, ({ name, layers: L }): PartialStack => {
    const reduced = name === first.name || reduceDecoder;
    const own = scores?.[name] ?? null;
    // One n for all stacks (fpt.md §3.1): a count beyond a shorter decoder means all of it.
    const n = reduced ? Math.min(L, kept("depth", depth, depth > 1 ? first.layers : L, "layers")) : L;
    const k = reduced ? kept("width", width, F, "feed-forward neurons") : F;
    const layers =
      n === L
        ? range(L)
        : layerChoices[layerChoice](n, L, { score: own?.map(mean) ?? null, dropped: order?.[name] ?? null });
    if (k === F) return { layers, neurons: null };
    return { layers, neurons: layers.map((layer) => neuronChoices[neuronChoice](k, F, own?.[layer] ?? null)) };
  });
  return isFull(config, { stacks }) ? fullModel(config) : { stacks, name: nameOf(config, stacks) };
}

/**
 * Reads the command line's text for a spec: `depth=6,width=0.25,layers=even,neurons=score,decoder=true`.
 * A depth or width of at most 1 is a share, above it a number. "full" and "" are the full model.
 * @throws SoftpromptError(usage) for an unknown key (with the nearest name) or a value out of range.
 */
export function parsePartial(text: string, where = "--partial"): PartialSpec {
  const spec: Record<string, unknown> = {};
  if (text.trim() === "" || text.trim() === "full") return spec;
  for (const part of text.split(",")) {
    const at = part.indexOf("=");
    const [key, value] = at < 0 ? [part.trim(), ""] : [part.slice(0, at).trim(), part.slice(at + 1).trim()];
    const field = specFields[key as keyof typeof specFields];
    if (field === undefined || !Object.hasOwn(specFields, key)) {
      const near = nearest(key, Object.keys(specFields));
      throw new SoftpromptError("usage", `unknown key ${JSON.stringify(key)} of a partial model`, {
        where,
        expected: Object.keys(specFields).join(", "),
        got: text,
        hint: near === undefined ? "for example depth=6,width=0.25" : `did you mean "${near}"?`,
      });
    }
    if (Object.hasOwn(spec, field.name))
      throw new SoftpromptError("usage", `"${key}" is given twice`, { where, got: text });
    spec[field.name] = field.read(value, `${where} ${key}`);
  }
  return spec;
}

const specFields = {
  depth: { name: "depth", read: sizeText },
  width: { name: "width", read: sizeText },
  layers: { name: "layerChoice", read: oneOf(Object.keys(layerChoices)) },
  neurons: { name: "neuronChoice", read: oneOf(Object.keys(neuronChoices)) },
  decoder: { name: "reduceDecoder", read: (v: string, where: string) => oneOf(["true", "false"])(v, where) === "true" },
} as const satisfies Record<string, { name: keyof PartialSpec; read: (value: string, where: string) => unknown }>;

/** Indices of the k largest values, ties by lower index, ascending. */
export function topK(values: ArrayLike<number>, k: number): Int32Array {
  const order = range(values.length).sort((a, b) => values[b]! - values[a]! || a - b);
  return Int32Array.from(order.slice(0, k)).sort();
}

function evenLayers(n: number, L: number): number[] {
  if (n === 1) return [0];
  const base = Math.floor((L - n) / (n - 1)) + 1;
  const larger = (L - n) % (n - 1);
  const layers = [0];
  for (let gap = 0; gap < n - 1; gap++) layers.push(layers[gap]! + base + (gap >= n - 1 - larger ? 1 : 0));
  return layers;
}

/** A share or a number → how many of `total` stay: at least 2 (or all there are). */
function kept(option: string, value: number, total: number, unit: string): number {
  const share = value > 0 && value <= 1;
  if (!share && !(Number.isInteger(value) && value >= 2 && value <= total))
    throw new SoftpromptError("usage", `a partial model cannot keep ${value} of ${total} ${unit}`, {
      where: option,
      expected: `a share in (0, 1], or a whole number of ${unit} in 2 … ${total}`,
      got: value,
    });
  return share ? Math.min(total, Math.max(2, Math.round(value * total))) : value;
}

function nameOf(config: ModelConfig, stacks: PartialModel["stacks"]): string {
  const all = stacksOf(config);
  const counts = all
    .map(({ name }) => {
      const { layers, neurons } = stacks[name]!;
      return name.charAt(0) + layers.length + (neurons === null ? "" : `w${neurons[0]?.length ?? 0}`);
    })
    .join("");
  const even = all.every(({ name, layers: L }) => {
    const { layers, neurons } = stacks[name]!;
    return neurons === null && evenLayers(layers.length, L).every((layer, i) => layer === layers[i]);
  });
  if (even) return counts;
  const choice = all.map(({ name }) => stackText(stacks[name]!)).join("");
  return `${counts}-${sha256Hex(choice).slice(0, 8)}`;
}

/** The exact choice of one stack, as text to hash. */
function stackText({ layers, neurons }: PartialStack): string {
  return [`layers ${layers.join(" ")}`, ...(neurons ?? []).map((list) => `neurons ${list.join(" ")}`), ""].join("\n");
}

function stacksOf(config: ModelConfig) {
  return architectureOf(config).stacks(config);
}

function perStack<T>(config: ModelConfig, of: (stack: Stack) => T): Record<string, T> {
  return Object.fromEntries(stacksOf(config).map((stack) => [stack.name, of(stack)]));
}

function checkScores(config: ModelConfig, scores: NeuronScores): void {
  for (const { name, layers } of stacksOf(config)) {
    const rows = scores[name];
    if (rows?.length === layers && rows.every((r) => r.length === config.feedForwardWidth && r.every(Number.isFinite)))
      continue;
    throw new SoftpromptError("usage", `these neuron scores do not belong to this model's ${name}`, {
      where: "neuron scores",
      expected: `finite numbers [${layers}, ${config.feedForwardWidth}]`,
      got: `[${rows?.length ?? 0}, ${rows?.[0]?.length ?? 0}]`,
    });
  }
}

function sizeText(value: string, where: string): number {
  const number = Number(value);
  if (value !== "" && ((number > 0 && number <= 1) || (Number.isInteger(number) && number >= 2))) return number;
  throw new SoftpromptError("usage", "not a size of a partial model", {
    where,
    expected: "a share in (0, 1] such as 0.25, or a whole number of at least 2",
    got: value,
  });
}

function oneOf(names: readonly string[]): (value: string, where: string) => string {
  return (value, where) => {
    if (names.includes(value)) return value;
    const near = nearest(value, names);
    throw new SoftpromptError("usage", "unknown value", {
      where,
      expected: names.join(", "),
      got: value,
      hint: near === undefined ? undefined : `did you mean "${near}"?`,
    });
  };
}

function needScores(what: string): SoftpromptError {
  return new SoftpromptError("usage", `${what} needs neuron scores`, {
    where: "partial model",
    expected: "scores of every layer",
    hint: "compute them first, or choose neurons=first (counts and FLOPs are the same)",
  });
}

const range = (n: number): number[] => Array.from({ length: n }, (_, i) => i);
const mean = (values: Float32Array): number => values.reduce((a, b) => a + b, 0) / values.length;
