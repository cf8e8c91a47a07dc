/**
 * @file The Builder, through which an architecture gets the weights and inputs of the graph that it writes.
 *
 * In: a graph, weights, a PartialModel. Out: a Builder. Its functions are the places where methods and precisions enter: a method wraps the
 * ones it needs (method/*.ts) and leaves the rest. Slices of partial models, and biases and storage of linear layers, are handled here, so
 * an architecture does not need to know about them.
 */

import { type Attributes, type Graph, input, maker, type Value } from "../graph/graph.js";
import * as ops from "../graph/ops.js";
import type { Builder, PartialModel, Weights } from "./architecture.js";

export type { AttentionSite, Builder } from "./architecture.js";

/** The builder of the frozen model alone, without any method. */
export function openBuilder(graph: Graph, weights: Weights, kept: PartialModel): Builder {
  const vector = (name: string) => ops.cast(graph, weights.declare(graph, name), "float32");
  const rounded = eightBitReader(graph);
  return {
    graph,
    kept,
    feed: (name, dtype, shape) => graph.inputs.find((v) => v.name === name) ?? input(graph, name, dtype, shape),
    weight: (name) => weights.declare(graph, name),
    vector,
    linear: (x, name) => {
      const bias = weights.has(`${name}.bias`) ? weights.declare(graph, `${name}.bias`) : undefined;
      const biased = (y: Value) => (bias ? ops.add(graph, y, ops.cast(graph, bias, "float32")) : y);
      const eightBit = weights.eightBit?.(graph, `${name}.weight`);
      if (eightBit) return biased(rounded(x, eightBit));
      const blocks = weights.blocks?.(graph, `${name}.weight`);
      if (blocks)
        return biased("whole" in blocks ? ops.linearBlocks(graph, x, blocks.whole) : ops.linear(graph, x, blocks.part));
      return ops.linear(graph, x, weights.declare(graph, `${name}.weight`), {
        stored: weights.stored(`${name}.weight`),
        back: weights.eightBitBack?.(graph, `${name}.weight`) ?? null,
        ...(bias ? { bias } : {}),
      });
    },
    embeddings: (x) => x,
    late: null,
    keyValues: (computed) => computed,
    before: () => 0,
  };
}

/**
 * Linear layers in 8 bits. Where a layer reads a norm, the norm's frozen weight moves into the layer: into what its input is multiplied by
 * before it is rounded, and into the scales of the matrix of the backward pass. The norm then has no weight, forwards and backwards, which
 * saves a pass over its output and one over its gradient. In float32 it would cost a second copy of each matrix.
 */
function eightBitReader(graph: Graph): (x: Value, weight: ops.EightBitWeight) => Value {
  /** Values of norms, each with the same norm without its weight. */
  const norms = new Map<Value, Value>();
  /** What inputs are multiplied by, by the norm's weight and the smoothing. */
  const factors = new Map<string, Value>();
  const once = <K>(known: Map<K, Value>, key: K, make: () => Value) => {
    const value = known.get(key) ?? make();
    known.set(key, value);
    return value;
  };
  return (x, weight) => {
    const norm = maker(x);
    const [source, gain] = norm?.inputs ?? [];
    if (norm?.op !== "rmsNorm" || gain === undefined || !isFrozen(gain)) return ops.linear8(graph, x, weight);
    const { back, smoothing } = weight;
    const { epsilon, ...how } = norm.attributes as Attributes["rmsNorm"];
    const folded = {
      ...weight,
      smoothing: smoothing ? once(factors, `${gain.id} ${smoothing.id}`, () => ops.mul(graph, gain, smoothing)) : gain,
      back: { ...back, scale: ops.mul(graph, back.scale, gain) },
    };
    return ops.linear8(
      graph,
      once(norms, x, () => ops.rmsNorm(graph, source!, undefined, epsilon, how)),
      folded,
    );
  };
}

/** Whether a value is a weight of the checkpoint, at most widened. */
function isFrozen(value: Value): boolean {
  const { source } = value;
  if (source === "input") return false;
  return "weight" in source || (source.node.op === "cast" && isFrozen(source.node.inputs[0]!));
}
