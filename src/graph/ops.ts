/**
 * @file One function per op: appends a node to a graph and returns its result. The ops are listed in `graph.ts`.
 *
 * There are few ops on purpose: only those that the models and their gradients need. A fused op (`rmsNorm`, `gelu`, `attend`, `linear`)
 * stands
 * where a runtime has a faster kernel or where the gradient has a shorter form than the sum of its parts.
 */
import type { DType } from "../base/tensor.js";
import type { Attributes, Graph, Node, Op, Stored, Value } from "./graph.js";
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

/** Elementwise sum, with broadcasting. */
export const add = one("add", {});
/** Elementwise difference, with broadcasting. */
export const sub = one("sub", {});
/** Elementwise product, with broadcasting. */
export const mul = one("mul", {});
/** x + y·s, one s for each row. */
export const scaleAdd = one("scaleAdd", {});
/** Elementwise |x|. */
export const abs = one("abs", {});
/** Elementwise e^x. */
export const exp = one("exp", {});
/** Elementwise 1/(1+e^-x). */
export const sigmoid = one("sigmoid", {});
/** Elementwise hyperbolic tangent. */
export const tanh = one("tanh", {});
/** Elementwise max(x, 0). */
export const relu = one("relu", {});
/** Elementwise 1 where x > 0, else 0. */
export const step = one("step", {});
/** The tanh form, "gelu_new". Returns only y; the gradient rule reads s from the node. */
export const gelu = one("gelu", { exact: false });
/** The form with the error function, "gelu". */
export const geluExact = one("gelu", { exact: true });
/** Elementwise x·sigmoid(x). */
export const silu = one("silu", {});
/** [B, H, S, K] → [B, S, H·K]. */
export const mergeHeads = one("mergeHeads", {});
/** The shape of another value of the same size. */
export const reshapeLike = one("reshapeLike", {});
/** Adds a slice back where it was taken from. */
export const scatterAdd = one("scatterAdd", {});
/** Index of the largest entry of the last axis. */
export const argMax = one("argMax", {});
/** Picks rows by ids within each batch row. */
export const gatherRows = one("gatherRows", {});

/** Another element type. */
export const cast = (graph: Graph, x: Value, to: DType): Value =>
  x.dtype === to ? x : apply(graph, "cast", [x], { to })[0]!;
/** Batched matrix product. */
export const matmul = (graph: Graph, a: Value, b: Value, { transA = false, transB = false, alpha = 1 } = {}): Value =>
  apply(graph, "matmul", [a, b], { transA, transB, alpha })[0]!;

/** How a linear layer's weight is stored and computed. */
export interface LinearOptions {
  /** [out], added to every row. */
  readonly bias?: Value;
  readonly stored?: Stored;
  /** The matrix for the backward pass, if that is in 8 bits. The weight is frozen then. */
  readonly back?: EightBitMatrix | null;
}

/** A frozen 8-bit matrix for one direction of a linear layer: forward or backward. */
export interface EightBitMatrix {
  /** [K, N], int8 or uint8 (op `linear8`). */
  readonly matrix: Value;
  /** [N], the scale of each column. */
  readonly scale: Value;
}

/** x·Wᵀ + bias with W in any stored type. Models multiply by weights only through this op or its 8-bit form. */
export const linear = (graph: Graph, x: Value, w: Value, options: LinearOptions = {}): Value => {
  const { bias, stored = "out,in", back } = options;
  const more = bias ? [bias] : [];
  if (back) return apply(graph, "linearBack8", [x, w, back.matrix, back.scale, ...more], { stored })[0]!;
  return apply(graph, "linear", [x, w, ...more], { back: false, stored })[0]!;
};
/** A linear layer's weight in 8 bits. */
export interface EightBitWeight {
  readonly forward: EightBitMatrix;
  readonly back: EightBitMatrix;
  /** [K], by which x is multiplied before it is rounded; `forward` is the matrix of that product. */
  readonly smoothing?: Value | undefined;
  /** How often the forward pass rounds x: once, or its remainder too. Default 1. */
  readonly terms?: 1 | 2;
}

/** x·Wᵀ with W in 8 bits, stored once for the forward pass and once for the backward pass. */
export const linear8 = (graph: Graph, x: Value, { forward, back, smoothing, terms = 1 }: EightBitWeight): Value =>
  apply(
    graph,
    "linear8",
    [x, forward.matrix, forward.scale, back.matrix, back.scale, ...(smoothing ? [smoothing] : [])],
    { back: false, terms },
  )[0]!;
/** A frozen matrix in blocks: integers, and a scale and perhaps an offset for each block (op `linearBlocks`). */
export interface BlockWeight {
  readonly values: Value;
  readonly scale: Value;
  readonly offset?: Value | undefined;
}

const blockInputs = ({ values, scale, offset }: BlockWeight) => (offset ? [values, scale, offset] : [values, scale]);

/** x·Wᵀ with W in blocks. */
export const linearBlocks = (graph: Graph, x: Value, blocks: BlockWeight): Value =>
  apply(graph, "linearBlocks", [x, ...blockInputs(blocks)], {})[0]!;
/** The matrix of blocks as float32 [N, K]. */
export const widenBlocks = (graph: Graph, blocks: BlockWeight): Value =>
  apply(graph, "widenBlocks", blockInputs(blocks), {})[0]!;
/** Returns the context; the gradient rule reads the softmax from the node. */
export const attend = (graph: Graph, q: Value, k: Value, v: Value, bias: Value, scale = 1): Value =>
  apply(graph, "attend", [q, k, v, bias], { scale })[0]!;
/** The same over a frozen memory, then over keys of its own. */
export const attendOver = (
  graph: Graph,
  q: Value,
  memory: { readonly key: Value; readonly value: Value },
  own: { readonly key: Value; readonly value: Value },
  bias: Value,
  scale = 1,
): Value => apply(graph, "attendOver", [q, memory.key, memory.value, own.key, own.value, bias], { scale })[0]!;
/** Rotary position embedding. */
export const rope = (graph: Graph, x: Value, cos: Value, sin: Value, positions: Value): Value =>
  apply(graph, "rope", [x, cos, sin, positions], { back: false })[0]!;
/** Root-mean-square normalization over the last axis, by default without a gain, and with the gradient of rows of zeros. */
export const rmsNorm = (
  graph: Graph,
  x: Value,
  g: Value | undefined,
  epsilon: number,
  { stopsAtZero = false }: { readonly stopsAtZero?: boolean } = {},
): Value => apply(graph, "rmsNorm", g ? [x, g] : [x], { epsilon, stopsAtZero })[0]!;
/** Layer normalization over the last axis. */
export const layerNorm = (graph: Graph, x: Value, g: Value, b: Value, epsilon: number): Value =>
  apply(graph, "layerNorm", [x, g, b], { epsilon })[0]!;
/** Sum over axes. */
export const sum = (graph: Graph, x: Value, axes: readonly number[]): Value => apply(graph, "sum", [x], { axes })[0]!;
/** Mean over axes. */
export const mean = (graph: Graph, x: Value, axes: readonly number[]): Value => apply(graph, "mean", [x], { axes })[0]!;
/** Axes in another order. */
export const transpose = (graph: Graph, x: Value, order: readonly number[]): Value =>
  apply(graph, "transpose", [x], { order })[0]!;
/** [B, S, H·K] → [B, H, S, K]. */
export const splitHeads = (graph: Graph, x: Value, heads: number): Value =>
  apply(graph, "splitHeads", [x], { heads })[0]!;
/** The same elements with fewer heads: […, H, S, X] → […, heads, H·S/heads, X]. */
export const regroup = (graph: Graph, x: Value, heads: number): Value =>
  x.shape.at(-3) === heads ? x : apply(graph, "regroup", [x], { heads })[0]!;
/** Joins an axis and the next one. */
export const flatten = (graph: Graph, x: Value, axis: number): Value => apply(graph, "flatten", [x], { axis })[0]!;
/** A new axis of size 1. */
export const unsqueeze = (graph: Graph, x: Value, axis: number): Value => apply(graph, "unsqueeze", [x], { axis })[0]!;
/** Parts one after the other along an axis. */
export const concat = (graph: Graph, parts: readonly Value[], axis: number): Value =>
  parts.length === 1 ? parts[0]! : apply(graph, "concat", parts, { axis })[0]!;
/** Repeats x to the shape of `like`. */
export const broadcastLike = (graph: Graph, x: Value, like: Value, axis = 0): Value =>
  apply(graph, "broadcastLike", [x, like], { axis })[0]!;
/** Equal parts along an axis. */
export const split = (graph: Graph, x: Value, axis: number, parts: number): readonly Value[] =>
  apply(graph, "split", [x], { axis, parts });
/** A part along an axis. */
export const slice = (
  graph: Graph,
  x: Value,
  like: Value,
  axis: number,
  from: "start" | "end",
  skipped: readonly Value[] = [],
): Value => apply(graph, "slice", [x, like, ...skipped], { axis, from })[0]!;
/** Rows of a table by ids. */
export const gather = (graph: Graph, table: Value, ids: Value, axis = 0): Value =>
  apply(graph, "gather", [table, ids], { axis })[0]!;
/** Negative log-likelihood of ids under logits. */
export const nll = (graph: Graph, logits: Value, ids: Value): Value => apply(graph, "nll", [logits, ids], {})[0]!;
/** Zeros in the shape of `like`, with a row of `values` added at each id. */
export const scatterRows = (graph: Graph, like: Value, ids: Value, values: Value, batched: boolean): Value =>
  apply(graph, "scatterRows", [like, ids, values], { batched })[0]!;
