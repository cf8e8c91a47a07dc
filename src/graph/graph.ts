/**
 * @file A computation as plain data: values, nodes, and a graph that only grows. No ONNX, no weights, no methods.
 *
 * In: ops of `ops.ts` append nodes. Out: a Graph that `grad.ts` extends, `check.ts` verifies, `print.ts` shows,
 * `interpret.ts` defines and the onnx room writes down. Weights are references (file, offset, length), never loaded here.
 */
import { SoftpromptError } from "../base/errors.js";
import { type DType, shapeText } from "../base/tensor.js";

/** A size known now, or a symbol known when the graph runs ("B", "T", "P+T"). Equal symbols are equal sizes. */
export type Dim = number | string;
/** A tensor's shape; names stand for sizes that are known when it runs. */
export type Shape = readonly Dim[];

/** The bytes of a frozen tensor: in a file, from which ONNX Runtime reads them itself, or in memory. */
export type Weight =
  | { readonly kind: "file"; readonly file: string; readonly offset: number; readonly length: number }
  | { readonly kind: "inline"; readonly data: Constant };

/** Numbers of a small constant. */
export type Constant = Float32Array | Int32Array | Int8Array | Uint8Array;

/** The orientation of a linear layer's matrix in its file. Only GPT-2 has [in, out]. */
export type Stored = "out,in" | "in,out";

/** Attributes of every op; the keys are the list of ops. */
export interface Attributes {
  add: Record<never, never>;
  sub: Record<never, never>;
  mul: Record<never, never>;
  /** x + y·s with x and y of one shape and one s for each of their rows: [.., 1]. */
  scaleAdd: Record<never, never>;
  abs: Record<never, never>;
  exp: Record<never, never>;
  sigmoid: Record<never, never>;
  tanh: Record<never, never>;
  relu: Record<never, never>;
  /** 1 where x > 0, else 0. */
  step: Record<never, never>;
  /**
   * x·s. `exact`: s = Φ(x), the normal distribution function ("gelu"). Else s = σ(2u), u = √(2/π)(x + 0.044715 x³)
   * ("gelu_new"). Outputs y and s.
   */
  gelu: { exact: boolean };
  /** x·σ(x). Outputs y and σ(x). */
  silu: Record<never, never>;
  cast: { to: DType };
  /** alpha·A·B, either side transposed in its last two axes. */
  matmul: { transA: boolean; transB: boolean; alpha: number };
  /**
   * The layer's product y = x·Wᵀ (+ bias [out], a third input), W stored as `stored` says; with `back` the product of the backward pass,
   * for gradients.
   */
  linear: { back: boolean; stored: Stored };
  /**
   * The same product with a frozen matrix in 8 bits: y = s_x·(q_x·M)·s. Inputs x […, K], M [K, N], s [N], and for the backward pass M'
   * [N, K], s' [K], which is the same matrix transposed, with its own scales. M and M' are int8, or uint8 that are 128 more: x86 without VNNI
   * adds pairs of signed products in 16 bits, which saturate beyond 64; with unsigned numbers no sum does, and a product takes longer. Each row of x is rounded to
   * s_x = max|x|/127 steps, so that no row's result depends on another row. A sixth input f [K] (or [N] with `back`) smooths the forward
   * pass: M is the matrix of x·f, so that no channel of x is much larger than the others. With two terms the forward pass rounds what the
   * first rounding left of x once more, in steps of s_x/254, and adds both products. The backward pass ignores both. With the first three
   * inputs alone there is no way back.
   */
  linear8: { back: boolean; terms: 1 | 2 };
  /** `linear` with a frozen matrix, whose backward pass is in 8 bits. Inputs x, W, M' [out, in] as in `linear8`, s' [in] and perhaps a bias. */
  linearBack8: { stored: Stored };
  /**
   * The same product, forwards, with a frozen matrix W [N, K] in blocks: y = x·Wᵀ. Each row of W is cut into blocks of equal length; a block
   * has integers q, a scale s and perhaps an offset o, and stands for q·s + o. Inputs x […, K], q, s [N, blocks] and perhaps o [N, blocks].
   * q is int8 [N, K], or uint8 [N, K/2] with two integers of 4 bits in a byte, the first one in the low half. Of 4 bits without an offset 8 is
   * taken away: they are −8 … 7. Nothing is rounded.
   */
  linearBlocks: Record<never, never>;
  /** The matrix W [N, K] of such blocks as float32. Inputs q, s and perhaps o. */
  widenBlocks: Record<never, never>;
  /**
   * x·r·g with r = 1/√(mean x² + ε) over the last axis; x·r if there is no g. Outputs y and r. With `stopsAtZero` rows of zeros get no
   * gradient, where the true one is that of y times 1/√ε.
   */
  rmsNorm: { epsilon: number; stopsAtZero: boolean };
  /** (x − μ)·r·g + b with μ the mean and 1/r² the variance + ε of the last axis. Outputs y, μ and r. */
  layerNorm: { epsilon: number };
  /**
   * softmax(scale·q·kᵀ + bias)·v. Outputs the context and the softmax [.., H, S, S']. Keys and values may have fewer
   * heads, G: query heads 0 … H/G−1 then share key head 0, and so on.
   */
  attend: { scale: number };
  /**
   * `attend` over a frozen memory and keys of its own, without joining them. Inputs q, the memory's keys and values, k, v and bias (the memory
   * first). Outputs the context and the two parts of the softmax. At run time the memory may have one row for all of q's.
   */
  attendOver: { scale: number };
  /**
   * Turns x [.., H, S, K] by angles: channels i and i + R/2 of the first R, by cos and sin [N, R/2] at row `positions`
   * (int32 [.., S]). Channels from R on stay. `back` turns the other way.
   */
  rope: { back: boolean };
  sum: { axes: readonly number[] };
  mean: { axes: readonly number[] };
  transpose: { order: readonly number[] };
  /** […, S, H·K] → […, H, S, K]. */
  splitHeads: { heads: number };
  /** […, H, S, K] → […, S, H·K]. */
  mergeHeads: Record<never, never>;
  /** […, H, S, X] → […, heads, H·S/heads, X]: the same elements. The heads of one group are stacked along the rows. */
  regroup: { heads: number };
  /** Same elements, the shape of the second input. */
  reshapeLike: Record<never, never>;
  /** Joins two neighbouring axes into one. */
  flatten: { axis: number };
  /** A new axis of size 1. */
  unsqueeze: { axis: number };
  /** Repeats an axis of size 1 as often as that axis of the second input is long. */
  broadcastLike: { axis: number };
  concat: { axis: number };
  /** Equal parts of `axis`, one output each. */
  split: { axis: number; parts: number };
  /**
   * The part of `axis` from the start (or the end) that is as long as that axis of the second input. More inputs are
   * skipped first: the part begins where they, one behind the other, would end.
   */
  slice: { axis: number; from: "start" | "end" };
  /** What `slice` cut, put back: zeros as long as the second input, x at the same place. */
  padLike: { axis: number; from: "start" | "end" };
  /** Rows of the first input along `axis`, by int32 ids. */
  gather: { axis: number };
  /** Rows of x [B, S, D] by int32 ids [B, U], each from its own b: [B, U, D]. */
  gatherRows: Record<never, never>;
  /**
   * Zeros in the shape of the first input [N, …], with values […ids, …] added to row id each. `batched`: [B, S, D] with
   * ids [B, U] and values [B, U, D].
   */
  scatterRows: { batched: boolean };
  /** −log softmax(x)[id] over the last axis. Outputs it and log softmax(x). */
  nll: Record<never, never>;
  /** x […, V] with values […] added at one place of the last axis each: int32 ids […]. */
  scatterAdd: Record<never, never>;
  /** Index of the largest element of the last axis, as int32. */
  argMax: Record<never, never>;
}

/** Name of an operator. */
export type Op = keyof Attributes;

/** One edge of the graph. `id` counts up in the order of making, so a node's inputs are always older than its outputs. */
export interface Value {
  readonly id: number;
  readonly name: string;
  readonly dtype: DType;
  readonly shape: Shape;
  /** Where it comes from: fed at run time, frozen, or computed. */
  /** An input that may come once for all rows: its first axis is then 1 at run time. */
  readonly once?: boolean;
  readonly source: "input" | { readonly weight: Weight } | { readonly node: Node; readonly index: number };
}

/** One operation. */
export interface Node<K extends Op = Op> {
  readonly op: K;
  readonly inputs: readonly Value[];
  readonly attributes: Attributes[K];
  readonly outputs: readonly Value[];
}

/** A graph under construction or finished; nodes stand in the order they were made, which is an order they can run in. */
export interface Graph {
  readonly inputs: Value[];
  readonly weights: Value[];
  readonly nodes: Node[];
  readonly outputs: { readonly name: string; readonly value: Value }[];
  /** Next free id. */
  next: number;
}

/** Element type and shape of a value. */
export interface ValueType {
  readonly dtype: DType;
  readonly shape: Shape;
}

/** A graph without nodes. */
export function emptyGraph(): Graph {
  return { inputs: [], weights: [], nodes: [], outputs: [], next: 0 };
}

/** Declares a tensor fed at each run. @param once its first axis may be 1, for all rows; only attendOver reads such a value, or its cast */
export function input(graph: Graph, name: string, dtype: DType, shape: Shape, { once = false } = {}): Value {
  if (graph.inputs.some((v) => v.name === name)) throw bug(`input ${name} is declared twice`);
  const value: Value = { id: graph.next++, name, dtype, shape, ...(once ? { once } : {}), source: "input" };
  graph.inputs.push(value);
  return value;
}

/** Declares a frozen tensor. The same name gives the same value, so that two uses share one tensor. */
export function weight(graph: Graph, name: string, dtype: DType, shape: readonly number[], bytes: Weight): Value {
  const known = graph.weights.find((v) => v.name === name);
  if (known) return known;
  const value: Value = { id: graph.next++, name, dtype, shape, source: { weight: bytes } };
  graph.weights.push(value);
  return value;
}

/** A small constant, kept in the graph. */
export function constant(graph: Graph, shape: readonly number[], data: Constant): Value {
  const dtype = constantType(data);
  const letter = { float32: "c", int32: "i", int8: "b", uint8: "u" }[dtype];
  const name = data.length === 1 ? `${letter}${data[0]}[${shape}]` : `constant${graph.next}`;
  return weight(graph, name, dtype, shape, { kind: "inline", data });
}

function constantType(data: Constant): "float32" | "int32" | "int8" | "uint8" {
  if (data instanceof Float32Array) return "float32";
  if (data instanceof Int32Array) return "int32";
  return data instanceof Int8Array ? "int8" : "uint8";
}

/** A float32 scalar constant. */
export function scalar(graph: Graph, value: number): Value {
  return constant(graph, [], Float32Array.of(value));
}

/** Names a result. */
export function output(graph: Graph, name: string, value: Value): void {
  if (graph.outputs.some((o) => o.name === name)) throw bug(`output ${name} is declared twice`);
  graph.outputs.push({ name, value });
}

/** The node that makes a value, or undefined for inputs and weights. */
export function maker(value: Value): Node | undefined {
  return typeof value.source === "object" && "node" in value.source ? value.source.node : undefined;
}

/** "matmul_7 float32[B, 20, 512]". */
export function describe(value: Value): string {
  return `${value.name} ${shapeText(value.dtype, value.shape)}`;
}

/** Values that an op cannot take: a mistake in the model's builder, reported with the op's name and the shapes. */
export function refuse(op: string, rule: string, inputs: readonly ValueType[]): SoftpromptError {
  return new SoftpromptError("engine", `${op} cannot be applied`, {
    where: `graph op ${op}`,
    expected: rule,
    got: inputs.map((v) => shapeText(v.dtype, v.shape)).join(", "),
  });
}

function bug(problem: string): SoftpromptError {
  return new SoftpromptError("engine", problem, { where: "graph" });
}
