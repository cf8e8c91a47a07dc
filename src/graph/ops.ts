/**
 * @file One function per op: appends a node to a graph and returns its result. The ops are listed in `graph.ts`.
 *
 * Few on purpose: what T5 and its gradient need. A fused op (`rmsNorm`, `gelu`, `attend`, `linear`) stands where a
 * runtime has a faster kernel or where the gradient has a shorter form than the sum of its parts.
 */
import type { DType } from "../base/tensor.js";
import type { Attributes, Graph, Node, Op, Precision, Value } from "./graph.js";
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
/** Returns only y; the gradient rule reads σ(2u) from the node. */
export const gelu = one("gelu", {});
export const mergeHeads = one("mergeHeads", {});
export const reshapeLike = one("reshapeLike", {});
export const scatterAdd = one("scatterAdd", {});
export const argMax = one("argMax", {});
export const attend = one("attend", {});

export const cast = (graph: Graph, x: Value, to: DType): Value =>
  x.dtype === to ? x : apply(graph, "cast", [x], { to })[0]!;
export const matmul = (graph: Graph, a: Value, b: Value, { transA = false, transB = false } = {}): Value =>
  apply(graph, "matmul", [a, b], { transA, transB })[0]!;
/** x·Wᵀ with a frozen W [out, in] in any stored type. The only way a model multiplies by a weight. */
export const linear = (graph: Graph, x: Value, w: Value, precision: Precision = "float32"): Value =>
  apply(graph, "linear", [x, w], { back: false, precision })[0]!;
export const rmsNorm = (graph: Graph, x: Value, g: Value, epsilon: number): Value =>
  apply(graph, "rmsNorm", [x, g], { epsilon })[0]!;
export const sum = (graph: Graph, x: Value, axes: readonly number[]): Value => apply(graph, "sum", [x], { axes })[0]!;
export const mean = (graph: Graph, x: Value, axes: readonly number[]): Value => apply(graph, "mean", [x], { axes })[0]!;
export const transpose = (graph: Graph, x: Value, order: readonly number[]): Value =>
  apply(graph, "transpose", [x], { order })[0]!;
export const splitHeads = (graph: Graph, x: Value, heads: number): Value =>
  apply(graph, "splitHeads", [x], { heads })[0]!;
export const flatten = (graph: Graph, x: Value, axis: number): Value => apply(graph, "flatten", [x], { axis })[0]!;
export const unsqueeze = (graph: Graph, x: Value, axis: number): Value => apply(graph, "unsqueeze", [x], { axis })[0]!;
export const concat = (graph: Graph, parts: readonly Value[], axis: number): Value =>
  parts.length === 1 ? parts[0]! : apply(graph, "concat", parts, { axis })[0]!;
export const slice = (graph: Graph, x: Value, like: Value, axis: number, from: "start" | "end"): Value =>
  apply(graph, "slice", [x, like], { axis, from })[0]!;
export const gather = (graph: Graph, table: Value, ids: Value, axis = 0): Value =>
  apply(graph, "gather", [table, ids], { axis })[0]!;
export const nll = (graph: Graph, logits: Value, ids: Value): Value => apply(graph, "nll", [logits, ids], {})[0]!;
