/**
 * @file The border to ONNX: how each op of a graph is written in its operators. Only this file knows operator names and versions.
 *
 * In: a node of a graph. Out: calls on a Writer. Every op that has a faster `com.microsoft` (or ONNX Runtime only)
 * form has a plain form beside it, taken with `plain`. Checked with opset 21 on onnxruntime 1.30.
 */
import type { DType } from "../base/tensor.js";
import type { Node, Op, Value } from "../graph/graph.js";

/** ONNX's default domain and ONNX Runtime's own. */
export const opsets = { "": 21, "com.microsoft": 1 } as const;
export type Domain = keyof typeof opsets;

export interface LoweringOptions {
  /** Only operators of the ONNX standard. */
  readonly plain: boolean;
  /** Widen a 16-bit weight at each use instead of once, so that the wide copy can be freed. */
  readonly widenPerUse: boolean;
}

/** An ONNX attribute; floats are told from integers by their kind. */
export type Attribute =
  | { readonly int: number }
  | { readonly ints: readonly number[] }
  | { readonly float: number }
  | { readonly text: string };

/** What a lowering writes with. Names are names of ONNX tensors. */
export interface Writer {
  readonly options: LoweringOptions;
  /** The tensor of a graph value. */
  name(value: Value): string;
  /** True when some node or output reads the value. */
  used(value: Value): boolean;
  /** Adds a node; `outputs` defaults to one fresh name. Returns the first output. */
  add(
    type: string,
    inputs: readonly string[],
    attributes?: Readonly<Record<string, Attribute>>,
    outputs?: readonly string[],
    domain?: Domain,
  ): string;
  /** An int64 constant, 1-D (what Reshape, Slice and the reductions take). */
  integers(values: readonly number[]): string;
  /** A float32 scalar constant. */
  float(value: number): string;
  /** A weight as float32. */
  widened(value: Value): string;
  onnxType(dtype: DType): number;
}

type Lowering<K extends Op> = (w: Writer, node: Node<K>) => void;

/** One operator with the same meaning, inputs and single output. */
const plainly =
  <K extends Op>(type: string): Lowering<K> =>
  (w, { inputs, outputs }) => {
    w.add(type, inputs.map(w.name), {}, [w.name(outputs[0]!)]);
  };

const reduction =
  <K extends "sum" | "mean">(type: string): Lowering<K> =>
  (w, { inputs, attributes, outputs }) => {
    w.add(type, [w.name(inputs[0]!), w.integers(attributes.axes)], { keepdims: { int: 1 } }, [w.name(outputs[0]!)]);
  };

/** A·B with either side transposed in its last two axes; one kernel, or Transpose + MatMul. */
function product(
  w: Writer,
  a: string,
  b: string,
  ranks: readonly [number, number],
  { transA, transB }: { transA: boolean; transB: boolean },
  to?: string,
): string {
  const outputs = to === undefined ? undefined : [to];
  if (!transA && !transB) return w.add("MatMul", [a, b], {}, outputs);
  if (!w.options.plain)
    return w.add(
      "FusedMatMul",
      [a, b],
      { transA: { int: +transA }, transB: { int: +transB } },
      outputs,
      "com.microsoft",
    );
  const turned = (name: string, rank: number) => w.add("Transpose", [name], { perm: { ints: swapLast(rank) } });
  return w.add("MatMul", [transA ? turned(a, ranks[0]) : a, transB ? turned(b, ranks[1]) : b], {}, outputs);
}

/** The lowering of every op. */
export const lowerings: { readonly [K in Op]: Lowering<K> } = {
  add: plainly("Add"),
  sub: plainly("Sub"),
  mul: plainly("Mul"),
  abs: plainly("Abs"),
  exp: plainly("Exp"),
  sigmoid: plainly("Sigmoid"),
  relu: plainly("Relu"),
  step: (w, { inputs, outputs }) => {
    const over = w.add("Greater", [w.name(inputs[0]!), w.float(0)]);
    w.add("Cast", [over], { to: { int: w.onnxType("float32") } }, [w.name(outputs[0]!)]);
  },
  // One fused kernel where only y is wanted; in parts where the gradient reads σ(w) too.
  gelu: (w, { inputs, outputs }) => {
    const [x, y, s] = [w.name(inputs[0]!), w.name(outputs[0]!), outputs[1]!];
    if (!w.used(s)) {
      w.add("Gelu", [x], { approximate: { text: "tanh" } }, [y]);
      return;
    }
    const k = Math.sqrt(8 / Math.PI);
    const inner = w.add("Add", [w.add("Mul", [w.add("Mul", [x, x]), w.float(k * 0.044715)]), w.float(k)]);
    w.add("Sigmoid", [w.add("Mul", [inner, x])], {}, [w.name(s)]);
    w.add("Mul", [x, w.name(s)], {}, [y]);
  },
  cast: (w, { inputs, attributes, outputs }) => {
    w.add("Cast", [w.name(inputs[0]!)], { to: { int: w.onnxType(attributes.to) } }, [w.name(outputs[0]!)]);
  },
  matmul: (w, { inputs: [a, b], attributes, outputs }) => {
    product(w, w.name(a!), w.name(b!), [a!.shape.length, b!.shape.length], attributes, w.name(outputs[0]!));
  },
  // How a frozen linear layer is computed, both ways: this is the one place. W is stored [out, in].
  linear: (w, { inputs: [x, weight], attributes: { back }, outputs }) => {
    const trans = { transA: false, transB: !back };
    product(w, w.name(x!), w.widened(weight!), [x!.shape.length, 2], trans, w.name(outputs[0]!));
  },
  rmsNorm: (w, { inputs: [x, g], attributes: { epsilon }, outputs: [y, r] }) => {
    if (!w.options.plain) {
      const outputs = w.used(r!) ? [w.name(y!), w.name(r!)] : [w.name(y!)];
      const attributes = { axis: { int: -1 }, epsilon: { float: epsilon }, stash_type: { int: 1 } };
      w.add("SimplifiedLayerNormalization", [w.name(x!), w.name(g!)], attributes, outputs);
      return;
    }
    const square = w.add("Mul", [w.name(x!), w.name(x!)]);
    const mean = w.add("ReduceMean", [square, w.integers([-1])], { keepdims: { int: 1 } });
    const root = w.add("Sqrt", [w.add("Add", [mean, w.float(epsilon)])]);
    w.add("Reciprocal", [root], {}, [w.name(r!)]);
    w.add("Mul", [w.add("Mul", [w.name(x!), w.name(r!)]), w.name(g!)], {}, [w.name(y!)]);
  },
  attend: (w, { inputs: [q, k, v, bias], outputs: [y, p] }) => {
    const rank = q!.shape.length;
    const scores = product(w, w.name(q!), w.name(k!), [rank, rank], { transA: false, transB: true });
    w.add("Softmax", [w.add("Add", [scores, w.name(bias!)])], { axis: { int: -1 } }, [w.name(p!)]);
    w.add("MatMul", [w.name(p!), w.name(v!)], {}, [w.name(y!)]);
  },
  sum: reduction("ReduceSum"),
  mean: reduction("ReduceMean"),
  transpose: (w, { inputs, attributes, outputs }) => {
    w.add("Transpose", [w.name(inputs[0]!)], { perm: { ints: attributes.order } }, [w.name(outputs[0]!)]);
  },
  splitHeads: (w, { inputs: [x], attributes: { heads }, outputs }) => {
    const rank = x!.shape.length;
    const shape = [...Array(rank - 1).fill(0), heads, (x!.shape.at(-1) as number) / heads];
    const split = w.add("Reshape", [w.name(x!), w.integers(shape)]);
    w.add("Transpose", [split], { perm: { ints: swap(rank + 1, rank - 2, rank - 1) } }, [w.name(outputs[0]!)]);
  },
  mergeHeads: (w, { inputs: [x], outputs }) => {
    const rank = x!.shape.length;
    const turned = w.add("Transpose", [w.name(x!)], { perm: { ints: swap(rank, rank - 3, rank - 2) } });
    const shape = [...Array(rank - 2).fill(0), outputs[0]!.shape.at(-1) as number];
    w.add("Reshape", [turned, w.integers(shape)], {}, [w.name(outputs[0]!)]);
  },
  reshapeLike: (w, { inputs: [x, like], outputs }) => {
    w.add("Reshape", [w.name(x!), w.add("Shape", [w.name(like!)])], {}, [w.name(outputs[0]!)]);
  },
  flatten: (w, { inputs: [x], attributes: { axis }, outputs }) => {
    const after = x!.shape.slice(axis + 2);
    const shape = [...Array(axis).fill(0), -1, ...after];
    w.add("Reshape", [w.name(x!), w.integers(shape as number[])], {}, [w.name(outputs[0]!)]);
  },
  unsqueeze: (w, { inputs, attributes: { axis }, outputs }) => {
    w.add("Unsqueeze", [w.name(inputs[0]!), w.integers([axis])], {}, [w.name(outputs[0]!)]);
  },
  concat: (w, { inputs, attributes: { axis }, outputs }) => {
    w.add("Concat", inputs.map(w.name), { axis: { int: axis } }, [w.name(outputs[0]!)]);
  },
  slice: (w, { inputs: [x, like], attributes: { axis, from }, outputs }) => {
    const length = (v: Value) => w.add("Shape", [w.name(v)], { start: { int: axis }, end: { int: axis + 1 } });
    const total = length(x!);
    const [start, end] =
      from === "start" ? [w.integers([0]), length(like!)] : [w.add("Sub", [total, length(like!)]), total];
    w.add("Slice", [w.name(x!), start, end, w.integers([axis])], {}, [w.name(outputs[0]!)]);
  },
  gather: (w, { inputs, attributes: { axis }, outputs }) => {
    w.add("Gather", inputs.map(w.name), { axis: { int: axis } }, [w.name(outputs[0]!)]);
  },
  nll: (w, { inputs: [x, ids], outputs: [y, logProbabilities] }) => {
    w.add("LogSoftmax", [w.name(x!)], { axis: { int: -1 } }, [w.name(logProbabilities!)]);
    const at = w.add("Unsqueeze", [w.name(ids!), w.integers([-1])]);
    const picked = w.add("GatherElements", [w.name(logProbabilities!), at], { axis: { int: -1 } });
    w.add("Neg", [w.add("Squeeze", [picked, w.integers([-1])])], {}, [w.name(y!)]);
  },
  scatterAdd: (w, { inputs: [x, ids, values], outputs }) => {
    const at = (v: Value) => w.add("Unsqueeze", [w.name(v), w.integers([-1])]);
    const attributes = { axis: { int: -1 }, reduction: { text: "add" } };
    w.add("ScatterElements", [w.name(x!), at(ids!), at(values!)], attributes, [w.name(outputs[0]!)]);
  },
  argMax: (w, { inputs, outputs }) => {
    const found = w.add("ArgMax", [w.name(inputs[0]!)], { axis: { int: -1 }, keepdims: { int: 0 } });
    w.add("Cast", [found], { to: { int: w.onnxType("int32") } }, [w.name(outputs[0]!)]);
  },
};

function swap(rank: number, i: number, j: number): number[] {
  const order = Array.from({ length: rank }, (_, k) => k);
  [order[i], order[j]] = [order[j]!, order[i]!];
  return order;
}

function swapLast(rank: number): number[] {
  return swap(rank, rank - 2, rank - 1);
}
