/**
 * @file The only hands that an architecture has: how a model being written into a graph comes to its weights and its inputs.
 *
 * In: a graph, weights, a PartialModel. Out: a Builder. Its functions are the places where methods and precisions enter: a method wraps
 * the ones it needs (method/*.ts) and leaves the rest. A slice of a partial model and a linear layer's bias and storage are dealt with
 * here, so an architecture never asks for them.
 */

import type { DType } from "../base/tensor.js";
import { type Graph, input, type Shape, type Value } from "../graph/graph.js";
import * as ops from "../graph/ops.js";
import type { KeyValue } from "./architecture.js";
import type { Weights } from "./bindings.js";
import type { PartialModel } from "./partial.js";

/** Which attention keys and values belong to. */
export interface AttentionSite {
  readonly stack: string;
  /** Layer number in the full model. */
  readonly layer: number;
  readonly attention: "self" | "cross";
}

/** A model being written into a graph. */
export interface Builder {
  readonly graph: Graph;
  /** What is kept of the model. */
  readonly kept: PartialModel;
  /** A tensor fed at each run, declared at its first use. */
  feed(name: string, dtype: DType, shape: Shape): Value;
  /** A frozen tensor in its stored type, by its full name. */
  weight(name: string): Value;
  /** A frozen vector as float32: norms, biases. */
  vector(name: string): Value;
  /** x·Wᵀ (+ bias) with the frozen linear layer of that name (without ".weight"). The only way a model multiplies by a weight. */
  linear(x: Value, name: string): Value;
  /** Embeddings of the text [B, T, D] → those of prompt and text [B, P + T, D]. */
  embeddings(x: Value): Value;
  /** Keys and values of one attention over prompt and text. */
  keyValues(computed: KeyValue, site: AttentionSite): KeyValue;
}

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
      const y = ops.linear(graph, x, weights.declare(graph, `${name}.weight`));
      return weights.has(`${name}.bias`) ? ops.add(graph, y, vector(`${name}.bias`)) : y;
    },
    embeddings: (x) => x,
    keyValues: (computed) => computed,
  };
}
