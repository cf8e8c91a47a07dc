/**
 * @file One function per op: appends a node to a graph and returns its result. The ops are listed in `graph.ts`.
 *
 * Few on purpose: what the models and their gradients need. A fused op (`rmsNorm`, `gelu`, `attend`, `linear`) stands
 * where a runtime has a faster kernel or where the gradient has a shorter form than the sum of its parts.
 */
import type { DType } from "../base/tensor.js";
import type { Attributes, Graph, Node, Op, Precision, Stored, Value } from "./graph.js";
import { infer } from "./infer.js";

/** Appends one node; the shapes of its results follow from `infer`. Elsewhere use the functions below. */
export function apply<K extends Op>(
  graph: Graph,
  op: K,
  inputs: readonly Value[],
  attributes: Attributes[K],
): readonly Value[] {
  const types = infer[op](inputs, attributes);
  const outputs: Value[] = [];
  const node: Node<K> = { op, inputs, attributes, outputs };
  for (const [index, { dtype, shape }] of types.entries()) {
    const id = graph.next++;
    outputs.push({ id, name: `${op}_${id}`, dtype, shape, source: { node: node as unknown as Node, index } });
  }
  graph.nodes.push(node as unknown as Node);
  return outputs;
}

const one =
  <K extends Op>(op: K, attributes: Attributes[K]) =>
  (graph: Graph, ...inputs: Value[]): Value =>
    apply(graph, op, inputs, attributes)[0]!;

export const add = one("add", {});
export const sub = one("sub", {});
export const mul = one("mul", {});
export const abs = one("abs", {});
export const exp = one("exp", {});
export const sigmoid = one("sigmoid", {});
export const relu = one("relu", {});
export const step = one("step", {});
/** The tanh form, "gelu_new". Returns only y; the gradient rule reads s from the node. */
export const gelu = one("gelu", { exact: false });
/** The form with the error function, "gelu". */
export const geluExact = one("gelu", { exact: true });
export const silu = one("silu", {});
export const mergeHeads = one("mergeHeads", {});
export const reshapeLike = one("reshapeLike", {});
export const scatterAdd = one("scatterAdd", {});
export const argMax = one("argMax", {});
export const gatherRows = one("gatherRows", {});

export const cast = (graph: Graph, x: Value, to: DType): Value =>
  x.dtype === to ? x : apply(graph, "cast", [x], { to })[0]!;
export const matmul = (graph: Graph, a: Value, b: Value, { transA = false, transB = false, alpha = 1 } = {}): Value =>
  apply(graph, "matmul", [a, b], { transA, transB, alpha })[0]!;

export interface LinearOptions {
  /** [out], added to every row. */
  readonly bias?: Value;
  readonly stored?: Stored;
  readonly precision?: Precision;
}

/** x·Wᵀ + bias with W in any stored type. The only way a model multiplies by a weight. */
export const linear = (
  graph: Graph,
  x: Value,
  w: Value,
  { bias, stored = "out,in", precision = "float32" }: LinearOptions = {},
): Value => apply(graph, "linear", bias ? [x, w, bias] : [x, w], { back: false, stored, precision })[0]!;
/** Returns the context; the gradient rule reads the softmax from the node. */
export const attend = (graph: Graph, q: Value, k: Value, v: Value, bias: Value, scale = 1): Value =>
  apply(graph, "attend", [q, k, v, bias], { scale })[0]!;
export const rope = (graph: Graph, x: Value, cos: Value, sin: Value, positions: Value): Value =>
  apply(graph, "rope", [x, cos, sin, positions], { back: false })[0]!;
export const rmsNorm = (graph: Graph, x: Value, g: Value, epsilon: number): Value =>
  apply(graph, "rmsNorm", [x, g], { epsilon })[0]!;
export const layerNorm = (graph: Graph, x: Value, g: Value, b: Value, epsilon: number): Value =>
  apply(graph, "layerNorm", [x, g, b], { epsilon })[0]!;
export const sum = (graph: Graph, x: Value, axes: readonly number[]): Value => apply(graph, "sum", [x], { axes })[0]!;
export const mean = (graph: Graph, x: Value, axes: readonly number[]): Value => apply(graph, "mean", [x], { axes })[0]!;
export const transpose = (graph: Graph, x: Value, order: readonly number[]): Value =>
  apply(graph, "transpose", [x], { order })[0]!;
export const splitHeads = (graph: Graph, x: Value, heads: number): Value =>
  apply(graph, "splitHeads", [x], { heads })[0]!;
export const regroup = (graph: Graph, x: Value, heads: number): Value =>
  x.shape.at(-3) === heads ? x : apply(graph, "regroup", [x], { heads })[0]!;
export const flatten = (graph: Graph, x: Value, axis: number): Value => apply(graph, "flatten", [x], { axis })[0]!;
export const unsqueeze = (graph: Graph, x: Value, axis: number): Value => apply(graph, "unsqueeze", [x], { axis })[0]!;
export const concat = (graph: Graph, parts: readonly Value[], axis: number): Value =>
  parts.length === 1 ? parts[0]! : apply(graph, "concat", parts, { axis })[0]!;
export const broadcastLike = (graph: Graph, x: Value, like: Value, axis = 0): Value =>
  apply(graph, "broadcastLike", [x, like], { axis })[0]!;
export const split = (graph: Graph, x: Value, axis: number, parts: number): readonly Value[] =>
  apply(graph, "split", [x], { axis, parts });
export const slice = (
  graph: Graph,
  x: Value,
  like: Value,
  axis: number,
  from: "start" | "end",
  skipped: readonly Value[] = [],
): Value => apply(graph, "slice", [x, like, ...skipped], { axis, from })[0]!;
export const gather = (graph: Graph, table: Value, ids: Value, axis = 0): Value =>
  apply(graph, "gather", [table, ids], { axis })[0]!;
export const nll = (graph: Graph, logits: Value, ids: Value): Value => apply(graph, "nll", [logits, ids], {})[0]!;
/** Zeros in the shape of `like`, with a row of `values` added at each id. */
export const scatterRows = (graph: Graph, like: Value, ids: Value, values: Value, batched: boolean): Value =>
  apply(graph, "scatterRows", [like, ids, values], { batched })[0]!;
