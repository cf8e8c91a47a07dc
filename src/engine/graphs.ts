/**
 * @file The graphs of the engine's programs, for every family and method. A session computes its whole graph, so each use has a graph of its own.
 *
 * In: config, weights, PartialModel, Method. Out: a Graph with named inputs and outputs (the names are the contract with programs.ts).
 * Axes: B T U P D K C; G key/value heads; "P+T" is the length of prompt and text together.
 */
import { gradients } from "../graph/grad.js";
import { emptyGraph, type Graph, input, output, type Value } from "../graph/graph.js";
import * as ops from "../graph/ops.js";
import type { Method, ParameterSpec } from "../method/method.js";
import type { Activations, Architecture, KeyValue, ModelConfig } from "../model/architecture.js";
import { architectureOf } from "../model/architectures.js";
import type { Weights } from "../model/bindings.js";
import { type Builder, openBuilder } from "../model/builder.js";
import type { PartialModel } from "../model/partial.js";

/** Where a graph's weights come from, what it keeps of the model, and what is trained. */
export interface ModelSource {
  readonly config: ModelConfig;
  readonly weights: Weights;
  readonly partial: PartialModel;
  readonly method: Method;
}

/**
 * Loss and its gradients.
 * In: the parameters, inputIds [B, T], decoderIds, targetIds [B, U], tokenWeights [B, U] (0 where a token does not count), and what the
 * architecture declares. Out: nll [B, U] unweighted; `gradient.NAME` of Σ tokenWeights ⊙ nll for each parameter.
 */
export function trainGraph(source: ModelSource): Graph {
  const m = open(source);
  const { graph: g } = m;
  const { memory } = prefill(m);
  const { logits } = teacherForced(m, memory);
  const nll = ops.nll(g, logits, input(g, "targetIds", "int32", ["B", "U"]));
  const tokenWeights = input(g, "tokenWeights", "float32", ["B", "U"]);
  const loss = ops.sum(g, ops.mul(g, nll, tokenWeights), [0, 1]);
  output(g, "nll", nll);
  const wrt = m.specs.map(({ name }) => m.parameters[name]!);
  for (const [i, gradient] of gradients(g, loss, wrt).entries()) output(g, `gradient.${m.specs[i]!.name}`, gradient);
  return g;
}

/**
 * Label ranking: prompt and text are read once per row, C choices over them.
 * In: as trainGraph, decoderIds and targetIds [B, C, U]. Out: nll [B, C, U] unweighted.
 */
export function scoreGraph(source: ModelSource): Graph {
  const m = open(source);
  const { graph: g } = m;
  const { memory } = prefill(m);
  const x = embed(m, input(g, "decoderIds", "int32", ["B", "C", "U"]));
  const { hidden } = m.architecture.decode(m.builder, m.config, x, memory);
  const targets = input(g, "targetIds", "int32", ["B", "C", "U"]);
  output(g, "nll", ops.nll(g, m.architecture.logits(m.builder, m.config, hidden), targets));
  return g;
}

/** Hidden states and logits. In: as trainGraph without targets. Out: prefill [B, P+T, D], decode [B, U, D], logits [B, U, V]. */
export function forwardGraph(source: ModelSource): Graph {
  const m = open(source);
  const { hidden, memory } = prefill(m);
  const decoded = teacherForced(m, memory);
  output(m.graph, "prefill", hidden);
  output(m.graph, "decode", decoded.hidden);
  output(m.graph, "logits", decoded.logits);
  return m.graph;
}

/**
 * Mean |activation| per neuron. In: as forwardGraph; per stack `STACK.prefillShare` [B, 1, P+T] and `STACK.decodeShare` [B, 1, U], as far as
 * the stack computes there: 1/(valid positions of the stack) on valid positions, else 0. Out: each stack by name, [B, L, F].
 */
export function activationGraph(source: ModelSource): Graph {
  const m = open(source);
  const { graph: g } = m;
  const { memory, activations } = prefill(m);
  const decoded = teacherForced(m, memory);
  const sums = new Map<string, Value>();
  const average = (half: "prefill" | "decode", length: string, of: Activations) => {
    for (const [stack, values] of Object.entries(of)) {
      const share = input(g, `${stack}.${half}Share`, "float32", ["B", 1, length]);
      const means = ops.concat(
        g,
        values.map((a) => ops.matmul(g, share, ops.abs(g, a))),
        1,
      );
      const before = sums.get(stack);
      sums.set(stack, before ? ops.add(g, before, means) : means);
    }
  };
  average("prefill", "P+T", activations);
  average("decode", "U", decoded.activations);
  for (const { name } of m.architecture.stacks(m.config)) output(g, name, sums.get(name)!);
  return g;
}

/** Generation, first half. In: parameters, inputIds. Out: memoryKey{i}, memoryValue{i} [B, G, P+T, K] per kept layer. */
export function prefillGraph(source: ModelSource): Graph {
  const m = open(source);
  for (const [i, { key, value }] of prefill(m).memory.entries()) {
    output(m.graph, `memoryKey${i}`, key);
    output(m.graph, `memoryValue${i}`, value);
  }
  return m.graph;
}

/**
 * Generation, one token. In: decoderIds [B, 1], memoryKey{i}, memoryValue{i}, pastKey{i}, pastValue{i} [B, G, N, K].
 * Out: logits [B, 1, V], next [B, 1] and key{i}, value{i} [B, G, N+1, K].
 */
export function stepGraph(source: ModelSource): Graph {
  const m = open(source, false);
  const { graph: g, config, architecture } = m;
  const { heads, headWidth } = architecture.keys(config);
  const decoding = architecture.stacks(config).at(-1)!.name;
  const pair = (name: string, length: string): KeyValue[] =>
    source.partial.stacks[decoding]!.layers.map((_, i) => {
      const of = (part: string) => input(g, `${name}${part}${i}`, "float32", ["B", heads, length, headWidth]);
      return { key: of("Key"), value: of("Value") };
    });
  const x = embed(m, input(g, "decoderIds", "int32", ["B", 1]));
  const result = architecture.decode(m.builder, config, x, pair("memory", "P+T"), pair("past", "N"));
  const logits = architecture.logits(m.builder, config, result.hidden);
  output(g, "logits", logits);
  output(g, "next", ops.argMax(g, logits));
  for (const [i, { key, value }] of result.present.entries()) {
    output(g, `key${i}`, key);
    output(g, `value${i}`, value);
  }
  return g;
}

interface Model {
  readonly graph: Graph;
  readonly config: ModelConfig;
  readonly architecture: Architecture;
  readonly builder: Builder;
  readonly specs: readonly ParameterSpec[];
  readonly parameters: Readonly<Record<string, Value>>;
}

/** @param attached false where the method does not enter the graph: tokens decoded over a memory that holds it already. */
function open({ config, weights, partial, method }: ModelSource, attached = true): Model {
  const graph = emptyGraph();
  const base = openBuilder(graph, weights, partial);
  const specs = attached ? method.parameters(config) : [];
  const parameters = Object.fromEntries(
    specs.map(({ name, shape, perRow }) => [name, input(graph, name, "float32", perRow ? ["B", ...shape] : shape)]),
  );
  const builder = attached ? method.attach(base, parameters) : base;
  return { graph, config, architecture: architectureOf(config), builder, specs, parameters };
}

function embed({ architecture, builder, config }: Model, ids: Value): Value {
  return architecture.embed(builder, config, ids);
}

function prefill(m: Model) {
  const text = embed(m, input(m.graph, "inputIds", "int32", ["B", "T"]));
  return m.architecture.prefill(m.builder, m.config, m.builder.embeddings(text));
}

function teacherForced(m: Model, memory: readonly KeyValue[]) {
  const x = embed(m, input(m.graph, "decoderIds", "int32", ["B", "U"]));
  const result = m.architecture.decode(m.builder, m.config, x, memory);
  return { ...result, logits: m.architecture.logits(m.builder, m.config, result.hidden) };
}
