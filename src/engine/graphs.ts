/**
 * @file The graphs of the engine's programs, for every family and method. A session computes its whole graph, so each use has a graph of its own.
 *
 * In: config, weights, PartialModel, Method. Out: a Graph with named inputs and outputs (the names are the contract with programs.ts).
 * Axes: B T U P D K C; G key/value heads; "P+T" is the length of prompt and text together.
 *
 * Where the virtual tokens stand (Place) decides how a graph begins. `start`: prompt, then text. `within`: the same, and `order` [B, P+T, P+T]
 * of 0 and 1 puts the prompt into each row's text (a family whose text is read at once). `behind`: the text was read before and comes as
 * memory, memoryKey{i} and memoryValue{i} [B, G, S, K]; decoderIds [B, N] are what follows the prompt, targets included, and `picks`
 * [B, U, P+N] of 0 and 1 says whose hidden states predict the targets (a family that goes on from its text). `parted`: the same for virtual
 * tokens in several parts, where the text before the first one was read before, and `order` [B, P+N, P+N] puts the others into their places.
 * `decoder`: the same as `behind` for a family with an encoder: the memory is the decoder's over the text, and decoderIds begin with the id
 * before the target, which the prompt stands before.
 */
import { plus } from "../graph/dims.js";
import { gradients } from "../graph/grad.js";
import { type Dim, emptyGraph, type Graph, input, output, type Value } from "../graph/graph.js";
import * as ops from "../graph/ops.js";
import { recomputing } from "../graph/recompute.js";
import type { Method, ParameterSpec } from "../method/method.js";
import type { Activations, Architecture, Decoded, KeyValue, ModelConfig, Prefilled } from "../model/architecture.js";
import { architectureOf } from "../model/architectures.js";
import type { Weights } from "../model/bindings.js";
import { type Builder, openBuilder } from "../model/builder.js";
import type { PartialModel } from "../model/partial.js";

/** What a graph is made from: the weights, the partial model, and the method that is trained. */
export interface ModelSource {
  readonly config: ModelConfig;
  readonly weights: Weights;
  readonly partial: PartialModel;
  readonly method: Method;
  /** Default "start". */
  readonly place?: Place;
  /** The type in which the memory of texts is fed; the graph computes in float32. Default float32. */
  readonly memory?: MemoryType;
}

/** Types in which the memory of texts may be fed. */
export type MemoryType = "float32" | "float16";

/** Where the virtual tokens stand. */
export type Place = "start" | "within" | "behind" | "parted" | "decoder";

/** Whether what stands before the (first) virtual tokens is read before, by the frozen model alone and in another graph. */
export function readsBefore(place: Place | undefined): boolean {
  return place === "behind" || place === "parted" || place === "decoder";
}

/**
 * Loss and its gradients.
 * In: the parameters, inputIds [B, T], decoderIds, targetIds [B, U], tokenWeights [B, U] (0 where a token does not count), and what the
 * architecture declares. Out: nll [B, U] unweighted; `gradient.NAME` of Σ tokenWeights ⊙ nll for each parameter.
 * @param how `keepLittle`: what the backward pass reads of the forward pass is computed again, block by block. Default false.
 */
export function trainGraph(source: ModelSource, { keepLittle = false } = {}): Graph {
  const m = open(source);
  const { graph: g } = m;
  const { logits } = teacherForced(m);
  const nll = ops.nll(g, logits, input(g, "targetIds", "int32", ["B", "U"]));
  const tokenWeights = input(g, "tokenWeights", "float32", ["B", "U"]);
  const loss = ops.sum(g, ops.mul(g, nll, tokenWeights), [0, 1]);
  output(g, "nll", nll);
  const used = usedParameters(m);
  const wrt = used.map((name) => m.parameters[name]!);
  const forward = g.nodes.length;
  for (const [i, gradient] of gradients(g, loss, wrt).entries()) output(g, `gradient.${used[i]}`, gradient);
  return keepLittle ? recomputing(finished(m), forward, wrt) : finished(m);
}

/**
 * Label ranking: prompt and text are read once per row, C choices over them.
 * In: as trainGraph, decoderIds and targetIds [B, C, U]. Out: nll [B, C, U] unweighted. Behind a text the choices of a row lie one after
 * the other in its one list of tokens: targetIds and nll are [B, U].
 */
export function scoreGraph(source: ModelSource): Graph {
  const m = open(source);
  const { graph: g } = m;
  if (readsBefore(m.place)) {
    output(g, "nll", ops.nll(g, teacherForced(m).logits, input(g, "targetIds", "int32", ["B", "U"])));
    return finished(m);
  }
  const { memory } = prefill(m);
  const x = embed(m, input(g, "decoderIds", "int32", ["B", "C", "U"]));
  const { hidden } = m.architecture.decode(m.builder, m.config, x, memory);
  const targets = input(g, "targetIds", "int32", ["B", "C", "U"]);
  output(g, "nll", ops.nll(g, m.architecture.logits(m.builder, m.config, hidden), targets));
  return finished(m);
}

/**
 * Hidden states and logits. In: as trainGraph without targets. Out: prefill [B, P+T, D] (not behind a text, which was read before),
 * decode [B, U, D], logits [B, U, V].
 */
export function forwardGraph(source: ModelSource): Graph {
  const m = open(source);
  const decoded = teacherForced(m);
  if (decoded.prefilled) output(m.graph, "prefill", decoded.prefilled.hidden);
  output(m.graph, "decode", decoded.hidden);
  output(m.graph, "logits", decoded.logits);
  return finished(m);
}

/**
 * Mean |activation| per neuron. In: as forwardGraph; per stack `STACK.prefillShare` [B, 1, P+T] and `STACK.decodeShare` [B, 1, U], as far as
 * the stack computes there: 1/(valid positions of the stack) on valid positions, else 0. Out: each stack by name, [B, L, F]. Behind a text
 * the shares are [B, 1, S] and [B, 1, P+N], and the text is read here too, from inputIds [B, S].
 */
export function activationGraph(source: ModelSource): Graph {
  const m = open(source);
  const { graph: g } = m;
  const behind = readsBefore(m.place);
  const prefilled = behind ? readText(m, "S") : prefill(m);
  const { activations } = prefilled;
  const decoded = behind ? decode(m, afterText(m), prefilled.memory) : teacherForced(m, prefilled);
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
  average("prefill", behind ? "S" : "P+T", activations);
  average("decode", behind ? "P+N" : "U", decoded.activations);
  for (const { name } of m.architecture.stacks(m.config)) output(g, name, sums.get(name)!);
  return finished(m);
}

/**
 * Generation, first half. In: parameters, inputIds. Out: memoryKey{i}, memoryValue{i} [B, G, P+T, K] per kept layer. Behind a text, in: its
 * memory, decoderIds and `picks` [B, U, P+N] with one U; out: the memory with what follows, wholeKey{i} and wholeValue{i}
 * [B, G, S+P+N, K], `logits` [B, U, V], `next` and `total` [B, U] as of stepGraph; on a decoder's side presentKey{i} and presentValue{i} [B, G, P+N, K] in place of the
 * whole, because the memory stays as it is.
 */
export function prefillGraph(source: ModelSource): Graph {
  const m = open(source);
  const { graph: g } = m;
  if (!readsBefore(m.place)) {
    outputMemory(g, prefill(m).memory);
    return finished(m);
  }
  const memory = givenMemory(m);
  const { hidden, present } = decode(m, afterText(m), memory);
  const logits = m.architecture.logits(m.builder, m.config, picked(m, hidden));
  output(g, "logits", logits);
  output(g, "next", ops.argMax(g, logits));
  output(g, "total", ops.sum(g, logits, [2]));
  if (m.place === "decoder") {
    outputMemory(g, present, "present");
    return finished(m);
  }
  const joined = memory.map(({ key, value }, i) => ({
    key: ops.concat(g, [key, present[i]!.key], 2),
    value: ops.concat(g, [value, present[i]!.value], 2),
  }));
  outputMemory(g, joined, "whole");
  return finished(m);
}

/** A text as the frozen model alone reads it. In: inputIds [B, S]. Out: memoryKey{i}, memoryValue{i} [B, G, S, K] per kept layer. */
export function textGraph(source: ModelSource): Graph {
  const m = open(source, false);
  outputMemory(m.graph, readText(m, "S").memory);
  return finished(m);
}

/**
 * A text after its beginning, as the frozen model alone reads it. In: memoryKey{i}, memoryValue{i} [B, G, S, K] of the beginning, decoderIds
 * [B, N]. Out: presentKey{i}, presentValue{i} [B, G, N, K].
 */
export function restGraph(source: ModelSource): Graph {
  const m = open(source, false);
  const x = embed(m, input(m.graph, "decoderIds", "int32", ["B", "N"]));
  outputMemory(m.graph, decode(m, x, givenMemory(m)).present, "present");
  return finished(m);
}

/**
 * Generation, one token. In: decoderIds [B, 1], memoryKey{i}, memoryValue{i}, pastKey{i}, pastValue{i} [B, G, N, K].
 * Out: logits [B, 1, V], next [B, 1], total [B, 1] and key{i}, value{i} [B, G, N+1, K]. The likeliest of logits that are no numbers is the
 * first of all tokens; their total tells.
 */
export function stepGraph(source: ModelSource): Graph {
  const m = open(source);
  const { graph: g, config, architecture } = m;
  const x = embed(m, input(g, "decoderIds", "int32", ["B", 1]));
  const site = { stack: architecture.stacks(config).at(-1)!.name, attention: memoryOf(architecture.stacks(config)) };
  const before = m.builder.before(site);
  const length = m.place === "decoder" ? "S" : before > 0 ? plus([before, "P+T"]) : "P+T";
  const result = decode(m, x, keyValues(m, "memory", length), keyValues(m, "past", "N"));
  const logits = architecture.logits(m.builder, config, result.hidden);
  output(g, "logits", logits);
  output(g, "next", ops.argMax(g, logits));
  output(g, "total", ops.sum(g, logits, [2]));
  for (const [i, { key, value }] of result.present.entries()) {
    output(g, `key${i}`, key);
    output(g, `value${i}`, value);
  }
  return finished(m);
}

/**
 * The final parameters of a method, computed from its trained ones. In: the trained parameters. Out: those of the method that it leaves, by
 * name.
 */
export function leftGraph(source: ModelSource): Graph {
  const m = open(source);
  const left = source.method.leaves?.values(m.frozen, m.parameters, m.config) ?? {};
  for (const [name, value] of Object.entries(left)) output(m.graph, name, value);
  return finished(m);
}

interface Model {
  readonly graph: Graph;
  readonly config: ModelConfig;
  readonly architecture: Architecture;
  /** With the method attached. */
  readonly builder: Builder;
  /** The frozen model alone. */
  readonly frozen: Builder;
  readonly place: Place;
  readonly memory: MemoryType;
  readonly specs: readonly ParameterSpec[];
  readonly parameters: Readonly<Record<string, Value>>;
}

/**
 * @param attached false if the method does not enter the graph, because the tokens are decoded over a memory that already contains its
 * effect.
 */
function open(source: ModelSource, attached = true): Model {
  const { config, weights, partial, method, place = "start", memory = "float32" } = source;
  const graph = emptyGraph();
  const specs = attached ? method.parameters(config) : [];
  const parameters = Object.fromEntries(
    specs.map(({ name, shape, perRow }) => [name, input(graph, name, "float32", perRow ? ["B", ...shape] : shape)]),
  );
  const own = (attached && method.weights?.(weights, parameters, config, partial)) || weights;
  const base = openBuilder(graph, own, partial);
  const builder = attached ? method.attach(base, parameters, config) : base;
  const architecture = architectureOf(config);
  return { graph, config, architecture, builder, frozen: base, place, memory, specs, parameters };
}

/** Names of the parameters that some node reads. */
function usedParameters({ graph, specs, parameters }: Model): string[] {
  const read = new Set(graph.nodes.flatMap(({ inputs }) => inputs.map(({ id }) => id)));
  return specs.map(({ name }) => name).filter((name) => read.has(parameters[name]!.id));
}

/** The graph without the parameters that belong to another half of the model, or to layers that it leaves out. */
function finished(m: Model): Graph {
  const used = new Set(usedParameters(m));
  const inputs = m.graph.inputs.filter(({ name }) => m.parameters[name] === undefined || used.has(name));
  return { ...m.graph, inputs };
}

/** Which attention of the decoding stack reads the memory. */
const memoryOf = (stacks: readonly unknown[]) => (stacks.length > 1 ? ("cross" as const) : ("self" as const));

function embed({ architecture, builder, config }: Model, ids: Value): Value {
  return architecture.embed(builder, config, ids);
}

/** Prompt and text, read at once. The architecture itself puts a late prompt before its text. */
function prefill(m: Model): Prefilled {
  const text = embed(m, input(m.graph, "inputIds", "int32", ["B", "T"]));
  const both = m.builder.late ? text : inPlace(m, m.builder.embeddings(text));
  return m.architecture.prefill(m.builder, m.config, both);
}

/** The text alone, as the frozen model reads it. */
function readText(m: Model, length: string): Prefilled {
  const ids = input(m.graph, "inputIds", "int32", ["B", length]);
  return m.architecture.prefill(m.frozen, m.config, m.architecture.embed(m.frozen, m.config, ids));
}

/** Prompt and what follows it, behind a text. */
function afterText(m: Model): Value {
  return inPlace(m, m.builder.embeddings(embed(m, input(m.graph, "decoderIds", "int32", ["B", "N"]))));
}

/** Virtual tokens among those that are decoded may be padding: prompts of a batch differ in length. */
function decode(m: Model, x: Value, memory: readonly KeyValue[], past?: readonly KeyValue[]): Decoded {
  return m.architecture.decode(m.builder, m.config, x, memory, { past, led: m.place === "decoder" });
}

/** Virtual tokens and ids side by side → in each row's order, where it is another one. */
function inPlace({ graph: g, place }: Model, both: Value): Value {
  if (place !== "within" && place !== "parted") return both;
  const S = both.shape[1]!;
  return ops.matmul(g, input(g, "order", "float32", ["B", S, S]), both);
}

/** @param once one row of it may serve all rows of a batch, where attention is all that reads it */
function givenMemory(m: Model, once = false): KeyValue[] {
  return keyValues(m, "memory", "S", { once, dtype: m.memory });
}

/** Keys and values of each kept layer as inputs. */
function keyValues(
  { graph: g, config, architecture, builder }: Model,
  name: string,
  length: Dim,
  { once = false, dtype = "float32" as MemoryType } = {},
): KeyValue[] {
  const { heads, headWidth } = architecture.keys(config);
  const decoding = architecture.stacks(config).at(-1)!.name;
  return builder.kept.stacks[decoding]!.layers.map((_, i) => {
    const of = (part: string) =>
      ops.cast(g, input(g, `${name}${part}${i}`, dtype, ["B", heads, length, headWidth], { once }), "float32");
    return { key: of("Key"), value: of("Value") };
  });
}

function outputMemory(g: Graph, memory: readonly KeyValue[], name = "memory"): void {
  for (const [i, { key, value }] of memory.entries()) {
    output(g, `${name}Key${i}`, key);
    output(g, `${name}Value${i}`, value);
  }
}

/**
 * Hidden states [B, P+N, D] → those that predict the targets [B, U, D]. Selection is needed because a row's prompt and tail may end at any
 * place.
 */
function picked({ graph: g }: Model, hidden: Value): Value {
  return ops.matmul(g, input(g, "picks", "float32", ["B", "U", hidden.shape[1]!]), hidden);
}

/** @param given what was already read. By default prompt and text are read in the graph; behind a text its memory is an input */
function teacherForced(m: Model, given?: Prefilled) {
  const behind = readsBefore(m.place);
  const prefilled = behind ? null : (given ?? prefill(m));
  const x = behind ? afterText(m) : embed(m, input(m.graph, "decoderIds", "int32", ["B", "U"]));
  const result = decode(m, x, prefilled?.memory ?? givenMemory(m, m.place !== "decoder"));
  const hidden = behind ? picked(m, result.hidden) : result.hidden;
  return { ...result, hidden, prefilled, logits: m.architecture.logits(m.builder, m.config, hidden) };
}
