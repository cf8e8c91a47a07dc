/**
 * @file The only hands that an architecture has: how a model being written into a graph comes to its weights and its inputs.
 *
 * In: a graph, weights, a PartialModel. Out: a Builder. Its functions are the places where methods and precisions enter: a method wraps
 * the ones it needs (method/*.ts) and leaves the rest. A slice of a partial model and a linear layer's bias and storage are dealt with
 * here, so an architecture never asks for them.
 */

import { type Graph, input } from "../graph/graph.js";
import * as ops from "../graph/ops.js";
import type { Builder, PartialModel, Weights } from "./architecture.js";

export type { AttentionSite, Builder } from "./architecture.js";

/** The frozen model alone: no method has entered yet. */
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
