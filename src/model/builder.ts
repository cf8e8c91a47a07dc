/**
 * @file The Builder, through which an architecture gets the weights and inputs of the graph that it writes.
 *
 * In: a graph, weights, a PartialModel. Out: a Builder. Its functions are the places where methods and precisions enter: a method wraps the
 * ones it needs (method/*.ts) and leaves the rest. Slices of partial models, and biases and storage of linear layers, are handled here, so
 * an architecture does not need to know about them.
 */

import { type Graph, input } from "../graph/graph.js";
import * as ops from "../graph/ops.js";
import type { Builder, PartialModel, Weights } from "./architecture.js";

export type { AttentionSite, Builder } from "./architecture.js";

/** The builder of the frozen model alone, without any method. */
export function openBuilder(graph: Graph, weights: Weights, kept: PartialModel): Builder {
  const vector = (name: string) => ops.cast(graph, weights.declare(graph, name), "float32");
  return {
    graph,
    kept,
    feed: (name, dtype, shape) => graph.inputs.find((v) => v.name === name) ?? input(graph, name, dtype, shape),
    weight: (name) => weights.declare(graph, name),
    vector,
    linear: (x, name) => {
      const bias = weights.has(`${name}.bias`) ? weights.declare(graph, `${name}.bias`) : undefined;
      const eightBit = weights.eightBit?.(graph, `${name}.weight`);
      if (eightBit) {
        const y = ops.linear8(graph, x, eightBit);
        return bias ? ops.add(graph, y, ops.cast(graph, bias, "float32")) : y;
      }
      return ops.linear(graph, x, weights.declare(graph, `${name}.weight`), {
        stored: weights.stored(`${name}.weight`),
        ...(bias ? { bias } : {}),
      });
    },
    embeddings: (x) => x,
    keyValues: (computed) => computed,
    before: () => 0,
  };
}
