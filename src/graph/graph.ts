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
export type Shape = readonly Dim[];

/** The bytes of a frozen tensor: inside a file, where ONNX Runtime reads them itself, or here. */
export type Weight =
  | { readonly kind: "file"; readonly file: string; readonly offset: number; readonly length: number }
  | { readonly kind: "inline"; readonly data: Float32Array | Int32Array };

/** How a frozen linear layer multiplies. One entry now; 8-bit kernels join here. */
export type Precision = "float32";

/** Attributes of every op; the keys are the list of ops. */
export interface Attributes {
  add: Record<never, never>;
  sub: Record<never, never>;
  mul: Record<never, never>;
  abs: Record<never, never>;
  exp: Record<never, never>;
  sigmoid: Record<never, never>;
  relu: Record<never, never>;
  /** 1 where x > 0, else 0. */
  step: Record<never, never>;
  /** x·σ(2u), u = √(2/π)(x + 0.044715 x³): T5's "gelu_new". Outputs y and σ(2u). */
  gelu: Record<never, never>;
  cast: { to: DType };
  matmul: { transA: boolean; transB: boolean };
  /** x·Wᵀ (W stored [out, in]), or with `back` x·W: the way a gradient goes. */
  linear: { back: boolean; precision: Precision };
  /** x·r·g with r = 1/√(mean x² + ε) over the last axis. Outputs y and r. */
  rmsNorm: { epsilon: number };
  /** softmax(q·kᵀ + bias)·v. Outputs the context and the softmax. */
  attend: Record<never, never>;
  sum: { axes: readonly number[] };
  mean: { axes: readonly number[] };
  transpose: { order: readonly number[] };
  /** […, S, H·K] → […, H, S, K]. */
  splitHeads: { heads: number };
  /** […, H, S, K] → […, S, H·K]. */
  mergeHeads: Record<never, never>;
  /** Same elements, the shape of the second input. */
  reshapeLike: Record<never, never>;
  /** Joins two neighbouring axes into one. */
  flatten: { axis: number };
  /** A new axis of size 1. */
  unsqueeze: { axis: number };
  concat: { axis: number };
  /** The part of `axis` from the start (or the end) that is as long as that axis of the second input. */
  slice: { axis: number; from: "start" | "end" };
  /** Rows of the first input along `axis`, by int32 ids. */
  gather: { axis: number };
  /** −log softmax(x)[id] over the last axis. Outputs it and log softmax(x). */
  nll: Record<never, never>;
  /** x […, V] with values […] added at one place of the last axis each: int32 ids […]. */
  scatterAdd: Record<never, never>;
  /** Index of the largest element of the last axis, as int32. */
  argMax: Record<never, never>;
}

export type Op = keyof Attributes;

/** One edge of the graph. `id` counts up in the order of making, so a node's inputs are always older than its outputs. */
export interface Value {
  readonly id: number;
  readonly name: string;
  readonly dtype: DType;
  readonly shape: Shape;
  /** Where it comes from: fed at run time, frozen, or computed. */
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

export interface ValueType {
  readonly dtype: DType;
  readonly shape: Shape;
}

export function emptyGraph(): Graph {
  return { inputs: [], weights: [], nodes: [], outputs: [], next: 0 };
}

/** Declares a tensor fed at each run. */
export function input(graph: Graph, name: string, dtype: DType, shape: Shape): Value {
  if (graph.inputs.some((v) => v.name === name)) throw bug(`input ${name} is declared twice`);
  const value: Value = { id: graph.next++, name, dtype, shape, source: "input" };
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
export function constant(graph: Graph, shape: readonly number[], data: Float32Array | Int32Array): Value {
  const dtype = data instanceof Float32Array ? "float32" : "int32";
  const name = data.length === 1 ? `${dtype === "float32" ? "c" : "i"}${data[0]}[${shape}]` : `constant${graph.next}`;
  return weight(graph, name, dtype, shape, { kind: "inline", data });
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

/** Values that an op cannot take: a mistake in the model's builder, told with the op's name and the shapes. */
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
