/**
 * @file The cost of a pass, in two kinds, counted from the graph that the engine runs. It works for every family, method and partial model.
 *
 * In: ModelConfig, PartialModel, padded shapes. Out: floating-point operations.
 * `paper`: 2 × the multiply-accumulates of the Linear layers in the forward pass, as ptflops counted them for FPT's
 * tables (fpt.md §8): no attention products, no backward, no evaluation.
 * `total`: 2 × the multiply-accumulates of every matrix product, forward and backward, attention included, over padding too, because
 * padding is computed. What a training with little memory computes a second time (graph/recompute.ts), about a third of a step more, is not
 * part of it, so that a training costs the same however it is run: recomputedFlops counts it apart. Norms, activations, softmax and
 * embedding look-ups are left out of both (under 1 % at t5-base's width).
 */
import { counter, type Flops as GraphFlops } from "../graph/count.js";
import type { Graph } from "../graph/graph.js";
import type { Method } from "../method/method.js";
import { promptTuning } from "../method/prompt.js";
import type { ModelConfig } from "../model/architecture.js";
import { architectureOf } from "../model/architectures.js";
import { shapeWeights } from "../model/bindings.js";
import { fullModel, type PartialModel } from "../model/partial.js";
import { aroundPrompt, type EncodedRow, sharesText } from "../text/batch.js";
import {
  activationGraph,
  forwardGraph,
  type ModelSource,
  type Place,
  prefillGraph,
  restGraph,
  scoreGraph,
  stepGraph,
  textGraph,
  trainGraph,
} from "./graphs.js";

import { firstStackGraph, type LayerSite, lossGraph, oneLayer, secondStackGraph } from "./layer-graphs.js";
import { placeOf, readsBefore } from "./place.js";
import { paddedLength } from "./text-store.js";

/** FLOPs in both kinds. One multiply-accumulate is two FLOPs. */
export interface Flops {
  readonly paper: number;
  readonly total: number;
}

/** Padded shape of a training or teacher-forced batch. */
export interface PassShape {
  /** B */
  readonly batch: number;
  /** P */
  readonly prompt: number;
  /** T, without the prompt. */
  readonly input: number;
  /** U */
  readonly target: number;
  /** Where the virtual tokens stand. Default "start". Behind a text `input` is what stands before them. */
  readonly place?: Place;
  /** Behind a text: its tokens between the virtual ones and the target. Default 0. */
  readonly tail?: number;
}

/** The padded shape of a pass over these rows. @param prompt P */
export function shapeOfRows(config: ModelConfig, rows: readonly EncodedRow[], prompt: number): PassShape {
  const place = placeOf(config, rows);
  const longest = (of: (row: EncodedRow) => number) => Math.max(0, ...rows.map(of));
  const shape = { batch: rows.length, prompt, target: longest((row) => row.target.length) };
  if (!readsBefore(place))
    return { ...shape, input: longest((row) => row.input.length), ...(place === "start" ? {} : { place }) };
  const parts = rows.map(aroundPrompt);
  // on a decoder's side the id that the decoder begins with follows the prompt
  const tail = place === "decoder" ? 1 : Math.max(...parts.map((part) => part.tail.length));
  return { ...shape, place, input: Math.max(...parts.map((part) => part.before.length)), tail };
}

/** How texts are read. */
export interface TextReading {
  /** Without a store: again in every pass, padded to the longest. Default false: each once, at the length at which a store reads it. */
  readonly together?: boolean | undefined;
  /**
   * What was read already; what these rows read is added: shared beginnings, and texts that a store has from then on. Default nothing.
   */
  readonly beginnings?: Set<string> | undefined;
}

/** What stands before a row's virtual tokens, how much of it begins many texts, and its name: equal texts are read once. */
function textOf(row: EncodedRow) {
  const ids = aroundPrompt(row).before;
  const shared = Math.min(row.shared ?? 0, ids.length);
  return { ids, shared, name: `text ${shared} ${ids.join()}` };
}

/** The cost of reading texts that stand before virtual tokens. Texts of rows that are equal are read once. */
export function textFlops(
  config: ModelConfig,
  partial: PartialModel,
  rows: readonly EncodedRow[],
  { together = false, beginnings = new Set() }: TextReading = {},
): Flops {
  if (!readsBefore(placeOf(config, rows))) return noFlops;
  const count = costs("text", config, partial, promptTuning, "start");
  const all = rows.map(textOf);
  const texts = [...new Map(all.map((text) => [text.name, text])).values()];
  const isApart = ({ ids, shared }: (typeof texts)[number]) => !together || (shared > 0 && shared === ids.length);
  const rowsTogether = texts.filter((text) => !isApart(text)).length;
  const longest = Math.max(1, ...texts.map(({ ids }) => ids.length));
  let sum = rowsTogether === 0 ? noFlops : both(count({ B: rowsTogether, S: longest }));
  for (const { ids, shared, name } of texts.filter(isApart)) {
    if (beginnings.has(name)) continue;
    if (!together) beginnings.add(name);
    const key = ids.subarray(0, shared).join();
    if (shared > 0 && !beginnings.has(key)) sum = addFlops(sum, both(count({ B: 1, S: shared })));
    if (shared > 0) beginnings.add(key);
    const N = ids.length - shared;
    if (N > 0 && shared === 0) sum = addFlops(sum, both(count({ B: 1, S: paddedLength(N, config) })));
    else if (N > 0) sum = addFlops(sum, both(costs("rest", config, partial, promptTuning)({ B: 1, S: shared, N })));
  }
  return sum;
}

const firsts = new WeakMap<readonly EncodedRow[], Int32Array>();

/** For each row the number of the first one with the same text before its virtual tokens. Worked out once for a list. */
export function firstWithText(rows: readonly EncodedRow[]): Int32Array {
  let found = firsts.get(rows);
  if (found === undefined) {
    const seen = new Map<string, number>();
    found = Int32Array.from(rows, (row, n) => {
      const { name } = textOf(row);
      if (!seen.has(name)) seen.set(name, n);
      return seen.get(name)!;
    });
    firsts.set(rows, found);
  }
  return found;
}

/** The shared beginnings of rows, as textFlops names them. */
export function beginningsOf(rows: readonly EncodedRow[]): Set<string> {
  return new Set(rows.filter(sharesText).map((row) => aroundPrompt(row).before.subarray(0, row.shared).join()));
}

export const noFlops: Flops = { paper: 0, total: 0 };

export function addFlops(a: Flops, b: Flops): Flops {
  return { paper: a.paper + b.paper, total: a.total + b.total };
}

const graphs = {
  train: trainGraph,
  trainLittle: (source) => trainGraph(source, { keepLittle: true }),
  forward: forwardGraph,
  score: scoreGraph,
  activations: activationGraph,
  prefill: prefillGraph,
  step: stepGraph,
  text: textGraph,
  firstStack: firstStackGraph,
  secondStack: secondStackGraph,
  loss: lossGraph,
  rest: restGraph,
} as const satisfies Record<string, (source: ModelSource) => Graph>;

type Counted = ReturnType<typeof counter>;
const counted = new WeakMap<ModelConfig, Map<string, Counted>>();

/** The count of one graph; graphs of a model are made once. */
function costs(
  kind: keyof typeof graphs,
  config: ModelConfig,
  partial: PartialModel,
  method: Method,
  place: Place = "start",
): Counted {
  const known = counted.get(config) ?? new Map<string, Counted>();
  counted.set(config, known);
  const key = `${kind} ${method.key} ${partial.name} ${place}`;
  let found = known.get(key);
  if (found === undefined) {
    found = counter(graphs[kind]({ config, partial, method, place, weights: shapeWeights(config, partial) }));
    known.set(key, found);
  }
  return found;
}

/** Sizes of a graph's axes. Behind a text a row's choices are one list of tokens, of which all but each choice's last are decoded. */
function symbols({ batch, prompt, input, target, place, tail = 0 }: PassShape, choices = 1): Record<string, number> {
  if (!readsBefore(place)) return { B: batch, P: prompt, T: input, U: target };
  const N = Math.max(prompt > 0 ? 0 : 1, tail) + choices * (target - 1);
  return { B: batch, P: prompt, S: Math.max(1, input), N: Math.max(1, N), U: choices * target };
}
const both = ({ total, linears }: GraphFlops): Flops => ({ paper: linears.forward, total: total });

/** One training step: loss and gradients of a batch. */
export function stepFlops(
  config: ModelConfig,
  partial: PartialModel,
  shape: PassShape,
  method: Method = promptTuning,
): Flops {
  return both(costs("train", config, partial, method, shape.place)(symbols(shape)));
}

/**
 * FLOPs that one training step which keeps little of its forward pass computes a second time, beside those of stepFlops; counted from the
 * graph that runs.
 */
export function recomputedFlops(
  config: ModelConfig,
  partial: PartialModel,
  shape: PassShape,
  method: Method = promptTuning,
): number {
  const total = (kind: "train" | "trainLittle") =>
    costs(kind, config, partial, method, shape.place)(symbols(shape)).total;
  return total("trainLittle") - total("train");
}

/** Whether a training step keeps little of its forward pass and computes it again. @param inBlocks the frozen weights are in blocks */
export function keepsLittle({ lowMemory }: { readonly lowMemory: boolean }, inBlocks: boolean): boolean {
  return lowMemory || inBlocks;
}

/** One teacher-forced forward pass with logits. */
export function forwardFlops(
  config: ModelConfig,
  partial: PartialModel,
  shape: PassShape,
  method: Method = promptTuning,
): Flops {
  return both(costs("forward", config, partial, method, shape.place)(symbols(shape)));
}

/** One layer of the frozen model over a batch (Engine.layers). */
export function layerFlops(config: ModelConfig, site: LayerSite, shape: PassShape): Flops {
  const [first] = architectureOf(config).stacks(config);
  const kind = site.stack === first.name ? "firstStack" : "secondStack";
  return both(costs(kind, config, oneLayer(config, site), promptTuning)(symbols(shape)));
}

/** The head behind such layers. */
export function lossFlops(config: ModelConfig, shape: PassShape): Flops {
  return both(costs("loss", config, oneLayer(config, null), promptTuning)(symbols(shape)));
}

/** Neuron scores of a batch: a forward pass of the full model up to the last activations, and the products that average them. */
export function activationFlops(config: ModelConfig, shape: PassShape): Flops {
  return both(costs("activations", config, fullModel(config), promptTuning, shape.place)(symbols(shape)));
}

/**
 * Label ranking: prompt and text are read once, and every choice is decoded teacher-forced over them.
 * @param choices candidates per row (of one padded length `target`)
 */
export function rankingFlops(
  config: ModelConfig,
  partial: PartialModel,
  shape: PassShape & { choices: number },
  method: Method = promptTuning,
): Flops {
  const sizes = { ...symbols(shape, shape.choices), C: shape.choices };
  return both(costs("score", config, partial, method, shape.place)(sizes));
}

/** Greedy generation with a key/value cache: one prefill, then `target` steps of one token each. */
export function generationFlops(
  config: ModelConfig,
  partial: PartialModel,
  shape: PassShape,
  method: Method = promptTuning,
): Flops {
  const behind = readsBefore(shape.place);
  const sizes = symbols(behind ? { ...shape, target: 1 } : shape);
  let sum = both(costs("prefill", config, partial, method, shape.place)(sizes));
  const inDecoder = shape.place === "decoder";
  const step = costs("step", config, partial, method, inDecoder ? "decoder" : "start");
  // behind a text the first token comes with what is decoded first
  const memory: Record<string, number> = behind ? { T: sizes.S! + sizes.N! } : {};
  const past = inDecoder ? sizes.P! + sizes.N! : 0;
  for (let n = 0; n < shape.target - (behind ? 1 : 0); n++)
    sum = addFlops(sum, both(step({ ...sizes, ...memory, N: past + n })));
  return sum;
}

/** Evaluation of a batch, whichever way the settings ask for. `choices` counts for ranking only. */
export function evalFlops(
  config: ModelConfig,
  partial: PartialModel,
  evaluateBy: "ranking" | "generation",
  shape: PassShape & { choices: number },
  method: Method = promptTuning,
): Flops {
  return evaluateBy === "ranking"
    ? rankingFlops(config, partial, shape, method)
    : generationFlops(config, partial, shape, method);
}

/**
 * Forward multiply-accumulates of the Linear layers of one example (fpt.md §8.2).
 * @param length S, prompt and text together (the papers: 512)  @param target T of §8.2 (here U)
 */
export function paperMacs(config: ModelConfig, partial: PartialModel, length: number, target: number): number {
  return forwardFlops(config, partial, { batch: 1, prompt: 0, input: length, target }).paper / 2;
}

/** Largest packed copy of a model's weights that a training step keeps: T5-base's is 1 GB, TinyLlama 1.1B's would be 4.4 GB. Our choice. */
const mostPacked = 2 ** 31;

/**
 * Whether a training step keeps a packed copy of each product's weights. A step on T5-base takes 1.5 times as long without
 * (docs/log.md, 2026-11-27); of a large model it is too much memory.
 */
export function packsWeights(
  config: ModelConfig,
  partial: PartialModel,
  { lowMemory }: { readonly lowMemory: boolean },
): boolean {
  return !lowMemory && 4 * partialParameters(config, partial) <= mostPacked;
}

/** Parameters that a partial model's graph uses, embeddings and head included; for `inspect` and memory checks. */
export function partialParameters(config: ModelConfig, partial: PartialModel): number {
  const architecture = architectureOf(config);
  return architecture.tensors(config).reduce((sum, { shape, part, neurons, layer }) => {
    const kept = partial.stacks[part];
    const index = layer === undefined ? -1 : (kept?.layers.indexOf(layer) ?? -1);
    if (kept !== undefined && layer !== undefined && index < 0) return sum;
    const k = neurons && kept?.neurons?.[index]?.length;
    const size = shape.reduce((a, b) => a * b, 1);
    return sum + (neurons && k !== undefined ? (size / shape[neurons.axis]!) * k : size);
  }, 0);
}
