/**
 * @file The graphs of the engine's programs. A session computes its whole graph, so each use has a graph of its own.
 *
 * In: config, weights, PartialModel. Out: a Graph with named inputs and outputs (the names are the contract with the
 * session room's programs). Axes: B T U P D H K C; "P+T" is the encoder's length.
 */

import { gradient } from "../graph/grad.js";
import { emptyGraph, type Graph, input, output, type Value } from "../graph/graph.js";
import * as ops from "../graph/ops.js";
import type { Weights } from "../model/bindings.js";
import type { PartialModel } from "../model/partial.js";
import type { T5Config } from "../model/t5/config.js";
import { crossKeyValues, decoder, embed, encoder, head, type KeyValue, type T5Graph } from "../model/t5/graph.js";

/** Where a graph's weights come from and what it keeps of the model. */
export interface ModelSource {
  readonly config: T5Config;
  readonly weights: Weights;
  readonly partial: PartialModel;
}

/**
 * Loss and its gradient.
 * In: encoder inputs, decoderIds [B, U], targetIds [B, U], tokenWeights [B, U] (0 where a token does not count).
 * Out: nll [B, U] unweighted; gradient [B, P, D] of Σ tokenWeights ⊙ nll.
 */
export function trainGraph(source: ModelSource): Graph {
  const m = open(source);
  const { graph: g } = m;
  const { prompt, hidden, padding } = encoderInputs(m, source.partial);
  const logits = teacherForced(m, source.partial, hidden, padding).logits;
  const nll = ops.nll(g, logits, input(g, "targetIds", "int32", ["B", "U"]));
  const tokenWeights = input(g, "tokenWeights", "float32", ["B", "U"]);
  const loss = ops.sum(g, ops.mul(g, nll, tokenWeights), [0, 1]);
  output(g, "nll", nll);
  output(g, "gradient", gradient(g, loss, prompt));
  return g;
}

/**
 * Label ranking: one encoding per row, C choices over it.
 * In: encoder inputs, decoderIds and targetIds [B, C, U]. Out: nll [B, C, U] unweighted.
 */
export function scoreGraph(source: ModelSource): Graph {
  const m = open(source);
  const { graph: g } = m;
  const { hidden, padding } = encoderInputs(m, source.partial);
  const x = embed(m, input(g, "decoderIds", "int32", ["B", "C", "U"]));
  const cross = crossKeyValues(m, source.partial.decoder, hidden);
  const result = decoder(m, source.partial.decoder, x, { cross, padding, buckets: decoderBuckets(g) });
  const targets = input(g, "targetIds", "int32", ["B", "C", "U"]);
  output(g, "nll", ops.nll(g, head(m, result.hidden), targets));
  return g;
}

/** Hidden states and logits. In: encoder inputs, decoderIds [B, U]. Out: encoder, decoder, logits. */
export function forwardGraph(source: ModelSource): Graph {
  const m = open(source);
  const { hidden, padding } = encoderInputs(m, source.partial);
  const decoded = teacherForced(m, source.partial, hidden, padding);
  output(m.graph, "encoder", hidden);
  output(m.graph, "decoder", decoded.hidden);
  output(m.graph, "logits", decoded.logits);
  return m.graph;
}

/**
 * Mean |activation| per neuron. In: as forwardGraph, encoderShare [B, 1, P+T] and decoderShare [B, 1, U]: 1/(valid
 * positions) on valid positions, else 0. Out: encoder, decoder [B, L, F].
 */
export function activationGraph(source: ModelSource): Graph {
  const m = open(source);
  const { graph: g } = m;
  const { hidden, padding, activations } = encoderInputs(m, source.partial);
  const decoded = teacherForced(m, source.partial, hidden, padding);
  const average = (share: Value, values: readonly Value[]) =>
    ops.concat(
      g,
      values.map((a) => ops.matmul(g, share, ops.abs(g, a))),
      1,
    );
  output(g, "encoder", average(input(g, "encoderShare", "float32", ["B", 1, "P+T"]), activations));
  output(g, "decoder", average(input(g, "decoderShare", "float32", ["B", 1, "U"]), decoded.activations));
  return g;
}

/** Generation, first half. In: encoder inputs. Out: crossKey{i}, crossValue{i} [B, H, P+T, K] per kept decoder layer. */
export function encodeGraph(source: ModelSource): Graph {
  const m = open(source);
  const { hidden } = encoderInputs(m, source.partial);
  for (const [i, { key, value }] of crossKeyValues(m, source.partial.decoder, hidden).entries()) {
    output(m.graph, `crossKey${i}`, key);
    output(m.graph, `crossValue${i}`, value);
  }
  return m.graph;
}

/**
 * Generation, one token. In: decoderIds [B, 1], padding, decoderBuckets [1, N+1], crossKey{i}, crossValue{i},
 * pastKey{i}, pastValue{i} [B, H, N, K]. Out: next [B] and key{i}, value{i} [B, H, N+1, K].
 */
export function stepGraph(source: ModelSource): Graph {
  const m = open(source);
  const { graph: g, config } = m;
  const kept = source.partial.decoder;
  const pair = (name: string, length: string): KeyValue[] =>
    kept.layers.map((_, i) => {
      const shape = ["B", config.heads, length, config.headWidth];
      const of = (part: string) => input(g, `${name}${part}${i}`, "float32", shape);
      return { key: of("Key"), value: of("Value") };
    });
  const x = embed(m, input(g, "decoderIds", "int32", ["B", 1]));
  const result = decoder(m, kept, x, {
    cross: pair("cross", "P+T"),
    past: pair("past", "N"),
    padding: input(g, "padding", "float32", ["B", 1, 1, "P+T"]),
    buckets: input(g, "decoderBuckets", "int32", [1, "N+1"]),
  });
  output(g, "next", ops.argMax(g, head(m, result.hidden)));
  for (const [i, { key, value }] of result.present.entries()) {
    output(g, `key${i}`, key);
    output(g, `value${i}`, value);
  }
  return g;
}

function open({ config, weights }: ModelSource): T5Graph {
  const graph = emptyGraph();
  return { graph, config, weight: (name) => weights.declare(graph, name) };
}

/** prompt [B, P, D], inputIds [B, T], padding [B, 1, 1, P+T], encoderBuckets [P+T, P+T], and the encoder over them. */
function encoderInputs(m: T5Graph, partial: PartialModel) {
  const { graph: g, config } = m;
  const prompt = input(g, "prompt", "float32", ["B", "P", config.width]);
  const ids = input(g, "inputIds", "int32", ["B", "T"]);
  const padding = input(g, "padding", "float32", ["B", 1, 1, "P+T"]);
  const buckets = input(g, "encoderBuckets", "int32", ["P+T", "P+T"]);
  const x = ops.concat(g, [prompt, embed(m, ids)], 1);
  return { prompt, padding, ...encoder(m, partial.encoder, x, padding, buckets) };
}

function decoderBuckets(g: Graph): Value {
  return input(g, "decoderBuckets", "int32", ["U", "U"]);
}

function teacherForced(m: T5Graph, partial: PartialModel, encoded: Value, padding: Value) {
  const x = embed(m, input(m.graph, "decoderIds", "int32", ["B", "U"]));
  const cross = crossKeyValues(m, partial.decoder, encoded);
  const result = decoder(m, partial.decoder, x, { cross, padding, buckets: decoderBuckets(m.graph) });
  return { ...result, logits: head(m, result.hidden) };
}
