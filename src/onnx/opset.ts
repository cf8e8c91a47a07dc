/**
 * @file The border to ONNX: how each op of a graph is written in ONNX operators. Only this file knows operator names and versions.
 *
 * In: a node of a graph. Out: calls on a Writer. Every op that has a faster `com.microsoft` (or ONNX Runtime only)
 * form has a plain form beside it, taken with `plain`. Checked with opset 21 on onnxruntime 1.30.
 */
import type { DType } from "../base/tensor.js";
import { maker, type Node, type Op, type Value, type ValueType } from "../graph/graph.js";
import { blocksOf, isGrouped } from "../graph/infer.js";

/** ONNX's default domain and ONNX Runtime's own. */
export const opsets = { "": 21, "com.microsoft": 1 } as const;
const ms = "com.microsoft";
export type Domain = keyof typeof opsets;

/** Which fused operators the kernels of a device have, of ONNX Runtime 1.30. What they lack runs on the processor, with copies to and fro. */
const kernels = {
  cpu: { GatedAdd: true, FusedMatMul: true, LogSoftmax: true, secondResultOfNorm: true },
  cuda: { GatedAdd: false, FusedMatMul: true, LogSoftmax: true, secondResultOfNorm: true },
  webgpu: { GatedAdd: false, FusedMatMul: false, LogSoftmax: false, secondResultOfNorm: false },
} as const satisfies Record<string, Record<string, boolean>>;

/** How a graph is written as ONNX. */
export interface LoweringOptions {
  /** Only operators of the ONNX standard. */
  readonly plain: boolean;
  /** Widen a 16-bit weight at each use instead of once, so that the wide copy can be freed. */
  readonly widenPerUse: boolean;
  /** Products with blocks of 8 bits may round their inputs to 8 bits as well. Needs constant folding. Default false. */
  readonly roundInputs?: boolean;
  /** The device that will run it. Default: not known, and what only the CPU has is left out. */
  readonly device?: keyof typeof kernels;
}

/** An ONNX attribute; `kind` distinguishes floats from integers. */
export type Attribute =
  | { readonly int: number }
  | { readonly ints: readonly number[] }
  | { readonly float: number }
  | { readonly text: string };

/** Types that no value of a graph has: ONNX's packed 4 bits, and bytes in another shape. */
export type ViewType = "uint4" | "uint8";

/** The interface by which a lowering writes ONNX nodes. Names are names of ONNX tensors. */
export interface Writer {
  readonly options: LoweringOptions;
  /** The tensor of a graph value. */
  name(value: Value): string;
  /** The nodes that read the value. */
  readers(value: Value): readonly Node[];
  /** Whether the value is a result of the graph. */
  isOutput(value: Value): boolean;
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
  /** A uint8 scalar constant. */
  uint8(value: number): string;
  /** Any constant. */
  constant(shape: readonly number[], data: Float32Array | Int32Array): string;
  /** A weight as float32. */
  widened(value: Value): string;
  /** The bytes of a weight, read as another type or in another shape. */
  view(value: Value, type: ViewType, shape: readonly number[]): string;
  /** A constant whose bytes are all the same. */
  filled(type: ViewType, shape: readonly number[], byte: number): string;
  /** Writes nodes that read weights alone. Where weights are widened at each use, they are run just before the node that reads their result. */
  early(make: () => string): string;
  /** Returns what `make` wrote for this key before, or calls it now. For small tensors that many nodes read. */
  once(key: string, make: () => string): string;
  /**
   * Says the type of a tensor that is no value of the graph. ONNX Runtime's plan of buffers compares each tensor with all free buffers until
   * one has its shape; where shapes have no names none ever has, and the planning of 9,000 nodes took 12 s.
   * @returns the name
   */
  typed(name: string, type: ValueType): string;
  /**
   * Leaves a value as rows and a scale for each row. `name` multiplies them where a reader needs the value itself; a reader that goes on with the
   * rows saves a pass over memory.
   */
  leave(value: Value, unscaled: UnscaledRows): void;
  /** A value that was left so. */
  unscaled(value: Value): UnscaledRows | undefined;
  onnxType(dtype: DType): number;
}

/** A value whose rows still are to be multiplied by one scale each, […, 1]. */
export interface UnscaledRows {
  readonly rows: string;
  readonly scale: string;
}

type Lowering<K extends Op> = (w: Writer, node: Node<K>) => void;

/** Inputs that an operator's gradient rule needs and its lowering does not read: matrix and scale of the other pass. */
const ofGradient: { readonly [K in Op]?: ReadonlySet<number> } = {
  linear8: new Set([3, 4]),
  linearBack8: new Set([2, 3]),
};

/** The inputs that a node's lowering reads. */
export function reads({ op, inputs }: Node): readonly Value[] {
  const skipped = ofGradient[op];
  return skipped === undefined ? inputs : inputs.filter((_, i) => !skipped.has(i));
}

/** A lowering to one operator with the same meaning, inputs and single output. */
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

/** Whether a fused form may be written. */
const has = ({ options: { plain, device = "cuda" } }: Writer, fused: keyof (typeof kernels)["cpu"]): boolean =>
  !plain && kernels[device][fused];

/** alpha·A·B with either side transposed in its last two axes; one kernel, or Mul + Transpose + MatMul. */
function product(
  w: Writer,
  a: string,
  b: string,
  ranks: readonly [number, number],
  { transA = false, transB = false, alpha = 1 }: { transA?: boolean; transB?: boolean; alpha?: number },
  to?: string,
): string {
  const outputs = to === undefined ? undefined : [to];
  if (!transA && !transB && alpha === 1) return w.add("MatMul", [a, b], {}, outputs);
  if (has(w, "FusedMatMul"))
    return w.add(
      "FusedMatMul",
      [a, b],
      { transA: { int: +transA }, transB: { int: +transB }, alpha: { float: alpha } },
      outputs,
      "com.microsoft",
    );
  const turned = (name: string, rank: number) => w.add("Transpose", [name], { perm: { ints: swapLast(rank) } });
  const left = transA ? turned(a, ranks[0]) : a;
  const scaled = alpha === 1 ? left : w.add("Mul", [left, w.float(alpha)]);
  return w.add("MatMul", [scaled, transB ? turned(b, ranks[1]) : b], {}, outputs);
}

/** log softmax over the last axis. */
function logSoftmax(w: Writer, x: string, y: string): void {
  if (w.options.plain || has(w, "LogSoftmax")) {
    w.add("LogSoftmax", [x], { axis: { int: -1 } }, [y]);
    return;
  }
  const over = (op: string, of: string) => w.add(op, [of, w.integers([-1])], { keepdims: { int: 1 } });
  const under = w.add("Sub", [x, over("ReduceMax", x)]);
  w.add("Sub", [under, w.add("Log", [over("ReduceSum", w.add("Exp", [under]))])], {}, [y]);
}

/** x·W or x·Wᵀ, and a bias. */
function linear(w: Writer, [x, weight, bias]: readonly [Value, Value, Value?], transB: boolean, y: Value): void {
  const unscaled = bias ? undefined : w.unscaled(x);
  const to = bias || unscaled ? undefined : w.name(y);
  const rows = unscaled?.rows ?? w.name(x);
  const pure = product(w, rows, w.widened(weight), [x.shape.length, 2], { transB }, to);
  if (bias) w.add("Add", [pure, w.widened(bias)], {}, [w.name(y)]);
  if (unscaled) w.leave(y, { rows: w.typed(pure, y), scale: unscaled.scale });
}

/** Rows of uint8 around 128 in the shape of what was rounded, […, K], once or twice, and the scale of each row, […, 1]. */
interface RoundedRows {
  readonly terms: readonly string[];
  readonly scale: string;
}

/** How many times as large as a second term's the scale of a first one is: its rest is at most half a unit, which gets 127 units of its own. */
const finer = 254;

/** x·f, as the norm that makes x writes it where it has no gain of its own and only layers that want x·f read it. */
const smoothedNorm = (w: Writer, x: Value): { readonly name: string; readonly by: Value } | null => {
  const norm = maker(x);
  if (norm?.op !== "rmsNorm" || norm.inputs.length !== 1) return null;
  const readers = w.readers(x);
  const [by, ...others] = new Set(readers.map(({ inputs }) => inputs[5]));
  const rounds = ({ op, attributes }: Node) => op === "linear8" && !(attributes as { back: boolean }).back;
  const alone = by !== undefined && others.length === 0 && readers.every(rounds) && !w.isOutput(x);
  return alone && !w.options.plain ? { name: `${w.name(x)}/smooth`, by } : null;
};

/**
 * x as rounded rows; with two terms, what the first rounding left as well. They are computed once for all layers that read x. The smallest
 * scale prevents a division by zero for a row of zeros.
 */
const roundedRows = (w: Writer, x: Value, smoothing: Value | undefined, terms: 1 | 2): RoundedRows => {
  const key = `rounded ${x.id} ${smoothing?.id ?? ""}`;
  const [first, second, own] = [`${key}/rows1`, `${key}/rows2`, `${key}/scale`];
  const unscaled = w.unscaled(x);
  const norm = smoothing ? smoothedNorm(w, x) : null;
  const values = () => unscaled?.rows ?? w.name(x);
  const smooth = () => {
    if (norm) return norm.name;
    return smoothing ? w.once(`${key}/smooth`, () => w.add("Mul", [values(), w.name(smoothing)])) : values();
  };
  // one block in each row: a scale for each row, without a reshape into a matrix, and faster than the form with one axis (docs/log.md)
  const blocks = { axis: { int: -1 }, block_size: { int: x.shape.at(-1) as number } };
  const scaleShape = { dtype: "float32", shape: [...x.shape.slice(0, -1), 1] } as const;
  const zeros = () =>
    w.once(`${key}/zeros`, () =>
      w.typed(w.add("Expand", [w.uint8(128), w.add("Shape", [own])]), { ...scaleShape, dtype: "uint8" }),
    );
  w.once(first, () => {
    // two passes that read, where the largest of |x| would take one that writes as well
    const [most, least] = ["ReduceMax", "ReduceMin"].map((type) =>
      w.add(type, [smooth(), w.integers([-1])], { keepdims: { int: 1 } }),
    );
    const largest = w.add("Max", [most!, w.add("Neg", [least!]), w.float(127e-30)]);
    w.add("Mul", [largest, w.float(1 / 127)], {}, [own]);
    return w.add("QuantizeLinear", [smooth(), own, zeros()], blocks, [first]);
  });
  const scale = unscaled ? w.once(`${key}/whole`, () => w.typed(w.add("Mul", [own, unscaled.scale]), scaleShape)) : own;
  if (terms === 1) return { terms: [first], scale };
  w.once(second, () => {
    // x − rows·scale. The runtime's kernel is fast with one scale for all, and takes four times as long with one per row (docs/log.md)
    const negated = w.add("DequantizeLinear", [first, w.float(-1), w.uint8(128)]);
    const rest = scaleAdd(w, [smooth(), negated, own]);
    const fine = w.add("Mul", [own, w.float(1 / finer)]);
    return w.add("QuantizeLinear", [rest, fine, zeros()], blocks, [second]);
  });
  return { terms: [first, second], scale };
};

const sameShape = (a: Value, b: Value) =>
  a.shape.length === b.shape.length && a.shape.every((d, i) => d === b.shape[i]);

/** x + y·s in one pass, where there is a kernel for it. */
const scaleAdd = (w: Writer, [x, y, s]: readonly [string, string, string], to?: readonly string[]): string =>
  has(w, "GatedAdd") ? w.add("GatedAdd", [x, y, s], {}, to, ms) : w.add("Add", [x, w.add("Mul", [y, s])], {}, to);

/** Whether all readers of a value go on with unscaled rows, so that leaving it so never costs a pass more. */
const takesRows = (w: Writer, value: Value): boolean =>
  !w.isOutput(value) &&
  w.readers(value).every(({ op, inputs, outputs }) => {
    if (op === "add") return inputs.every((v) => sameShape(v, value));
    if (op === "mul") return inputs.every((v) => sameShape(v, value)) && takesRows(w, outputs[0]!);
    return (op === "linear8" || op === "linear" || op === "linearBack8") && inputs.indexOf(value) === 0;
  });

/** The matrix of blocks as float32 [N, K]. */
const widenedBlocks = (w: Writer, inputs: readonly Value[], to?: string): string =>
  w.early(() => {
    const [values, scale, offset] = inputs as [Value, Value, Value | undefined];
    const { rows, columns, block, bits } = blocksOf(inputs)!;
    const outputs = to === undefined ? undefined : [to];
    const numbers = [bits === 8 ? w.name(values) : w.view(values, "uint4", [rows, columns]), w.name(scale)];
    if (bits === 4 && !offset) numbers.push(w.filled("uint4", [rows, columns / block], 0x88)); // 8 is taken away
    const how = { axis: { int: 1 }, block_size: { int: block } };
    if (!offset) return w.add("DequantizeLinear", numbers, how, outputs);
    const apart = w.add("Reshape", [w.add("DequantizeLinear", numbers, how), w.integers([rows, -1, block])]);
    const moved = w.add("Add", [apart, w.add("Unsqueeze", [w.name(offset), w.integers([-1])])]);
    return w.add("Reshape", [moved, w.integers([rows, columns])], {}, outputs);
  });

/** An int32 value as int64, which the indexing operators want. */
const wideIds = (w: Writer, ids: Value): string =>
  w.once(`int64 ${ids.id}`, () => w.add("Cast", [w.name(ids)], { to: { int: w.onnxType("int64") } }));

/** The length of one axis, as a 1-D tensor. */
const lengthOf = (w: Writer, v: Value, axis: number): string =>
  w.once(`length ${v.id} ${axis}`, () => w.add("Shape", [w.name(v)], { start: { int: axis }, end: { int: axis + 1 } }));

/** −1, then the lengths of a table's axes but the first: the shape of stacked rows. */
const rowsShape = (w: Writer, table: Value): string =>
  w.add("Concat", [w.integers([-1]), w.add("Shape", [w.name(table)], { start: { int: 1 } })], { axis: { int: 0 } });

/** Where a slice begins and ends, as 1-D tensors. */
function bounds(
  w: Writer,
  { whole, part, skipped }: { whole: Value; part: Value; skipped: readonly Value[] },
  { axis, from }: { axis: number; from: "start" | "end" },
): [string, string] {
  const [total, length] = [lengthOf(w, whole, axis), lengthOf(w, part, axis)];
  if (from === "end") return [w.add("Sub", [total, length]), total];
  if (skipped.length === 0) return [w.integers([0]), length];
  const before = skipped.map((v) => lengthOf(w, v, axis));
  const start = before.slice(1).reduce((a, b) => w.add("Add", [a, b]), before[0]!);
  return [start, w.add("Add", [start, length])];
}

/** Stacks the heads of a group along the rows, or undoes it: a Reshape that copies the other sizes from its input. */
const regroup = (w: Writer, x: string, rank: number, heads: number, to?: string): string =>
  w.add(
    "Reshape",
    [x, w.integers([...Array(rank - 3).fill(0), heads, -1, 0])],
    {},
    to === undefined ? undefined : [to],
  );

/**
 * The same of a value whose last axis may be empty, as a memory that nobody has written yet is: then no size can be inferred from the others.
 * The shape is made by arithmetic, because ONNX Runtime turns a Concat of known sizes back into one that is inferred.
 */
const regroupAny = (w: Writer, x: Value, heads: number, to?: string): string => {
  const [rank, before, last] = [x.shape.length, x.shape.at(-3) as number, x.shape.at(-1)];
  if (typeof last === "number" && last > 0) return regroup(w, w.name(x), rank, heads, to);
  const ratio = before > heads ? before / heads : heads / before;
  const lead = Array(rank - 3).fill(1);
  const [ofHeads, ofRows] = [w.integers([...lead, ratio, 1, 1]), w.integers([...lead, 1, ratio, 1])];
  const [times, over] = before > heads ? [ofRows, ofHeads] : [ofHeads, ofRows];
  const shape = w.once(`regrouped ${x.id} ${heads}`, () =>
    w.add("Div", [w.add("Mul", [w.add("Shape", [w.name(x)]), times]), over]),
  );
  return w.add("Reshape", [w.name(x), shape], {}, to === undefined ? undefined : [to]);
};

/** The lowering of every op. */
export const lowerings: { readonly [K in Op]: Lowering<K> } = {
  add: (w, { inputs: [a, b], outputs: [y] }) => {
    const [one, other] = w.unscaled(b!) ? [a!, b!] : [b!, a!];
    const rest = sameShape(a!, b!) ? w.unscaled(other) : undefined;
    if (rest) scaleAdd(w, [w.name(one), rest.rows, rest.scale], [w.name(y!)]);
    else w.add("Add", [w.name(a!), w.name(b!)], {}, [w.name(y!)]);
  },
  sub: plainly("Sub"),
  mul: (w, { inputs, outputs: [y] }) => {
    const unscaled = inputs.map((v) => (sameShape(v, y!) ? w.unscaled(v) : undefined));
    const scales = unscaled.flatMap((of) => of?.scale ?? []);
    if (scales.length === 0 || !takesRows(w, y!)) {
      w.add("Mul", inputs.map(w.name), {}, [w.name(y!)]);
      return;
    }
    const rows = w.typed(
      w.add(
        "Mul",
        inputs.map((v, i) => unscaled[i]?.rows ?? w.name(v)),
      ),
      y!,
    );
    const scale = scales.length === 1 ? scales[0]! : w.add("Mul", scales);
    w.leave(y!, { rows, scale });
  },
  scaleAdd: (w, { inputs: [x, y, s], outputs }) => {
    scaleAdd(w, [w.name(x!), w.name(y!), w.name(s!)], [w.name(outputs[0]!)]);
  },
  abs: plainly("Abs"),
  exp: plainly("Exp"),
  sigmoid: plainly("Sigmoid"),
  tanh: plainly("Tanh"),
  relu: plainly("Relu"),
  step: (w, { inputs, outputs }) => {
    const over = w.add("Greater", [w.name(inputs[0]!), w.float(0)]);
    w.add("Cast", [over], { to: { int: w.onnxType("float32") } }, [w.name(outputs[0]!)]);
  },
  // One fused kernel where only y is wanted; in parts where the gradient reads s too.
  gelu: (w, { inputs, attributes: { exact }, outputs }) => {
    const [x, y, s] = [w.name(inputs[0]!), w.name(outputs[0]!), outputs[1]!];
    if (!w.used(s)) {
      w.add("Gelu", [x], { approximate: { text: exact ? "none" : "tanh" } }, [y]);
      return;
    }
    if (exact) {
      const erf = w.add("Erf", [w.add("Mul", [x, w.float(Math.SQRT1_2)])]);
      w.add("Mul", [w.add("Add", [erf, w.float(1)]), w.float(0.5)], {}, [w.name(s)]);
      w.add("Mul", [x, w.name(s)], {}, [y]);
      return;
    }
    const k = Math.sqrt(8 / Math.PI);
    const inner = w.add("Add", [w.add("Mul", [w.add("Mul", [x, x]), w.float(k * 0.044715)]), w.float(k)]);
    w.add("Sigmoid", [w.add("Mul", [inner, x])], {}, [w.name(s)]);
    w.add("Mul", [x, w.name(s)], {}, [y]);
  },
  silu: (w, { inputs, outputs: [y, s] }) => {
    const x = w.name(inputs[0]!);
    if (!w.used(s!) && !w.options.plain) {
      w.add("QuickGelu", [x], { alpha: { float: 1 } }, [w.name(y!)], "com.microsoft");
      return;
    }
    w.add("Sigmoid", [x], {}, [w.name(s!)]);
    w.add("Mul", [x, w.name(s!)], {}, [w.name(y!)]);
  },
  cast: (w, { inputs, attributes, outputs }) => {
    w.add("Cast", [w.name(inputs[0]!)], { to: { int: w.onnxType(attributes.to) } }, [w.name(outputs[0]!)]);
  },
  matmul: (w, { inputs: [a, b], attributes, outputs }) => {
    product(w, w.name(a!), w.name(b!), [a!.shape.length, b!.shape.length], attributes, w.name(outputs[0]!));
  },
  // Linear layers are computed only here, in the forward and the backward pass.
  linear: (w, { inputs: [x, weight, bias], attributes: { back, stored }, outputs: [y] }) => {
    linear(w, [x!, weight!, bias], (stored === "out,in") !== back, y!);
  },
  linearBack8: (w, { inputs: [x, weight, , , bias], attributes: { stored }, outputs: [y] }) => {
    linear(w, [x!, weight!, bias], stored === "out,in", y!);
  },
  // The kernel itself would multiply rows by their scales in one thread. Who reads the layer does it in its own pass.
  linear8: (w, { inputs: [x, m, s, , , smoothing], attributes: { back, terms }, outputs: [y] }) => {
    const zero = w.uint8(128);
    // the zero of the rows' numbers, and of the matrix's where they are unsigned
    const zeros = m!.dtype === "uint8" ? [zero, zero] : [zero];
    const multiply = (rows: string, factor: number) => {
      if (!w.options.plain) {
        const inputs = [rows, w.name(m!), w.float(factor), w.name(s!), ...zeros];
        return w.typed(w.add("MatMulIntegerToFloat", inputs, {}, undefined, ms), y!);
      }
      const whole = w.add("MatMulInteger", [rows, w.name(m!), ...zeros]);
      const product = w.add("Mul", [w.add("Cast", [whole], { to: { int: w.onnxType("float32") } }), w.name(s!)]);
      return factor === 1 ? product : w.add("Mul", [product, w.float(factor)]);
    };
    const rounded = roundedRows(w, x!, back ? undefined : smoothing, back ? 1 : terms);
    const [first, second] = rounded.terms.map((rows, term) => multiply(rows, term === 0 ? 1 : 1 / finer));
    const rows = second === undefined ? first! : w.typed(w.add("Add", [first!, second]), y!);
    w.leave(y!, { rows, scale: rounded.scale });
  },
  // The runtime packs a matrix in blocks once more, in an order of its own. Where a backward pass follows, which widens it, that copy would stand
  // beside the first one, so both passes widen. Of 8 bits the runtime has no product in float32 arithmetic: it would widen in each one.
  linearBlocks: (w, { inputs: [x, ...blocks], outputs }) => {
    const [values, scale, offset] = blocks as [Value, Value, Value | undefined];
    const { rows, columns, block, bits } = blocksOf(blocks)!;
    const [rank, count, y] = [x!.shape.length, columns / block, w.name(outputs[0]!)];
    const { plain, roundInputs = false } = w.options;
    const isPacked = bits === 4 || roundInputs;
    if (plain || !isPacked || w.readers(values).some(({ op }) => op === "widenBlocks")) {
      product(w, w.name(x!), widenedBlocks(w, blocks), [rank, 2], { transB: true }, y);
      return;
    }
    const bytes = w.view(values, "uint8", [rows, count, (block * bits) / 8]);
    // the runtime's 8-bit numbers are 128 more than ours, which flips the highest bit; it is done once, when the session opens
    const packed = [bits === 4 ? bytes : w.early(() => w.add("BitwiseXor", [bytes, w.uint8(128)])), w.name(scale)];
    if (offset && bits === 4) packed.push(w.filled("uint8", [rows, Math.ceil(count / 2)], 0));
    // accuracy level 1: float32 arithmetic; 4 rounds x to 8 bits for each block
    const sizes = { K: columns, N: rows, bits, block_size: block, accuracy_level: bits === 4 ? 1 : 4 };
    const how = Object.fromEntries(Object.entries(sizes).map(([key, int]) => [key, { int }]));
    const even = w.add("MatMulNBits", [w.name(x!), ...packed], how, offset ? undefined : [y], "com.microsoft");
    if (!offset) return;
    // Σ x·o over a block is the block's offset times the sum of its inputs
    const apart = w.add("Reshape", [w.name(x!), w.integers([...Array(rank - 1).fill(0), count, block])]);
    const sums = w.add("ReduceSum", [apart, w.integers([-1])], { keepdims: { int: 0 } });
    w.add("Add", [even, product(w, sums, w.name(offset), [rank, 2], { transB: true })], {}, [y]);
  },
  widenBlocks: (w, { inputs, outputs }) => {
    widenedBlocks(w, inputs, w.name(outputs[0]!));
  },
  rmsNorm: (w, { inputs: [x, g], attributes: { epsilon }, outputs: [y, r] }) => {
    if (w.used(r!) ? has(w, "secondResultOfNorm") : !w.options.plain) {
      const smooth = smoothedNorm(w, y!);
      const width = x!.shape.at(-1) as number;
      const ones = () => w.once(`ones ${width}`, () => w.constant([width], new Float32Array(width).fill(1)));
      const gain = g ?? smooth?.by;
      const to = smooth?.name ?? w.name(y!);
      const outputs = w.used(r!) ? [to, w.name(r!)] : [to];
      const attributes = { axis: { int: -1 }, epsilon: { float: epsilon }, stash_type: { int: 1 } };
      w.add("SimplifiedLayerNormalization", [w.name(x!), gain ? w.name(gain) : ones()], attributes, outputs);
      return;
    }
    const square = w.add("Mul", [w.name(x!), w.name(x!)]);
    const mean = w.add("ReduceMean", [square, w.integers([-1])], { keepdims: { int: 1 } });
    const root = w.add("Sqrt", [w.add("Add", [mean, w.float(epsilon)])]);
    w.add("Reciprocal", [root], {}, [w.name(r!)]);
    if (g) w.add("Mul", [w.add("Mul", [w.name(x!), w.name(r!)]), w.name(g)], {}, [w.name(y!)]);
    else w.add("Mul", [w.name(x!), w.name(r!)], {}, [w.name(y!)]);
  },
  layerNorm: (w, { inputs, attributes: { epsilon }, outputs: [y, mean, r] }) => {
    const outputs = w.used(mean!) || w.used(r!) ? [y!, mean!, r!] : [y!];
    const attributes = { axis: { int: -1 }, epsilon: { float: epsilon }, stash_type: { int: 1 } };
    w.add("LayerNormalization", inputs.map(w.name), attributes, outputs.map(w.name));
  },
  // Query heads that share keys become more rows of one product, so that keys and values are never repeated.
  attend: (w, { inputs: [q, k, v, bias], attributes: { scale }, outputs: [y, p] }) => {
    const rank = q!.shape.length;
    const [heads, groups] = [q!.shape.at(-3) as number, k!.shape.at(-3) as number];
    const grouped = isGrouped(q!, k!);
    const join = (x: string) => (grouped ? regroup(w, x, rank, groups) : x);
    const part = (x: string, to?: string) => (grouped ? regroup(w, x, rank, heads, to) : x);
    const scores = product(w, join(w.name(q!)), w.name(k!), [rank, rank], { transB: true, alpha: scale });
    w.add("Softmax", [w.add("Add", [part(scores), w.name(bias!)])], { axis: { int: -1 } }, [w.name(p!)]);
    const context = w.add("MatMul", [join(w.name(p!)), w.name(v!)], {}, grouped ? undefined : [w.name(y!)]);
    if (grouped) part(context, w.name(y!));
  },
  // The products broadcast a memory of one row over all rows; only scores and their softmax are joined, never keys or values.
  attendOver: (w, { inputs: [q, mk, mv, k, v, bias], attributes: { scale }, outputs: [y, ...shares] }) => {
    const rank = q!.shape.length;
    const [heads, groups] = [q!.shape.at(-3) as number, k!.shape.at(-3) as number];
    const grouped = isGrouped(q!, k!);
    const join = (x: string) => (grouped ? regroup(w, x, rank, groups) : x);
    const part = (x: string, to?: string) => (grouped ? regroup(w, x, rank, heads, to) : x);
    const joinShare = (share: Value) => (grouped ? regroupAny(w, share, groups) : w.name(share));
    const rows = join(w.name(q!));
    const scores = [mk!, k!].map((keys) =>
      product(w, rows, w.name(keys), [rank, rank], { transB: true, alpha: scale }),
    );
    const joined = part(w.add("Concat", scores, { axis: { int: -1 } }));
    const p = w.add("Softmax", [w.add("Add", [joined, w.name(bias!)])], { axis: { int: -1 } });
    const lengths = w.add("Concat", [lengthOf(w, mk!, rank - 2), lengthOf(w, k!, rank - 2)], { axis: { int: 0 } });
    w.add("Split", [p, lengths], { axis: { int: -1 } }, shares.map(w.name));
    const parts = [mv!, v!].map((values, i) => w.add("MatMul", [joinShare(shares[i]!), w.name(values)]));
    const context = w.add("Add", parts, {}, grouped ? undefined : [w.name(y!)]);
    if (grouped) part(context, w.name(y!));
  },
  // One kernel if every row has its own positions; otherwise separate operators.
  rope: (w, { inputs: [x, cos, sin, positions], attributes: { back }, outputs: [y] }) => {
    const [rank, heads, width] = [x!.shape.length, x!.shape.at(-3), x!.shape.at(-1) as number];
    const half = cos!.shape[1] as number;
    const to = [w.name(y!)];
    if (!w.options.plain && rank === 4 && positions!.shape.length === 2 && typeof heads === "number") {
      const turn = back ? w.once(`minus ${sin!.id}`, () => w.add("Neg", [w.name(sin!)])) : w.name(sin!);
      const partial: Record<string, Attribute> =
        2 * half < width ? { num_heads: { int: heads }, rotary_embedding_dim: { int: 2 * half } } : {};
      w.add("RotaryEmbedding", [w.name(x!), wideIds(w, positions!), w.name(cos!), turn], partial, to, "com.microsoft");
      return;
    }
    const at = (table: Value) =>
      w.once(`rows ${table.id} ${positions!.id}`, () => {
        const rows = w.add("Gather", [w.name(table), w.name(positions!)], { axis: { int: 0 } });
        return w.add("Unsqueeze", [rows, w.integers([-3])]);
      });
    const [c, s] = [at(cos!), at(sin!)];
    const sizes = 2 * half < width ? [half, half, width - 2 * half] : [half, half];
    const parts = sizes.map((_, i) => `${to[0]}/part${i}`);
    w.add("Split", [w.name(x!), w.integers(sizes)], { axis: { int: -1 } }, parts);
    const mul = (u: string, v: string) => w.add("Mul", [u, v]);
    const first = w.add(back ? "Add" : "Sub", [mul(parts[0]!, c), mul(parts[1]!, s)]);
    const second = w.add(back ? "Sub" : "Add", [mul(parts[1]!, c), mul(parts[0]!, s)]);
    w.add("Concat", [first, second, ...parts.slice(2)], { axis: { int: -1 } }, to);
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
  regroup: (w, { inputs: [x], attributes: { heads }, outputs }) => {
    regroupAny(w, x!, heads, w.name(outputs[0]!));
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
  broadcastLike: (w, { inputs: [x, like], attributes: { axis }, outputs }) => {
    const [before, after] = [axis, x!.shape.length - axis - 1].map((n) => Array<number>(n).fill(1));
    const parts = [before!, null, after!].flatMap((ones) => {
      if (ones === null) return [lengthOf(w, like!, axis)];
      return ones.length > 0 ? [w.integers(ones)] : [];
    });
    const shape = parts.length === 1 ? parts[0]! : w.add("Concat", parts, { axis: { int: 0 } });
    w.add("Expand", [w.name(x!), shape], {}, [w.name(outputs[0]!)]);
  },
  split: (w, { inputs, attributes: { axis, parts }, outputs }) => {
    const attributes = { axis: { int: axis }, num_outputs: { int: parts } };
    w.add("Split", inputs.map(w.name), attributes, outputs.map(w.name));
  },
  slice: (w, { inputs: [x, like, ...skipped], attributes, outputs }) => {
    const [start, end] = bounds(w, { whole: x!, part: like!, skipped }, attributes);
    w.add("Slice", [w.name(x!), start, end, w.integers([attributes.axis])], {}, [w.name(outputs[0]!)]);
  },
  padLike: (w, { inputs: [x, like, ...skipped], attributes, outputs }) => {
    const [start, end] = bounds(w, { whole: like!, part: x!, skipped }, attributes);
    const behind = w.add("Sub", [lengthOf(w, like!, attributes.axis), end]);
    const pads = w.add("Concat", [start, behind], { axis: { int: 0 } });
    w.add("Pad", [w.name(x!), pads, "", w.integers([attributes.axis])], {}, [w.name(outputs[0]!)]);
  },
  gather: (w, { inputs, attributes: { axis }, outputs }) => {
    w.add("Gather", inputs.map(w.name), { axis: { int: axis } }, [w.name(outputs[0]!)]);
  },
  gatherRows: (w, { inputs: [x, ids], outputs }) => {
    const at = w.add("Unsqueeze", [wideIds(w, ids!), w.integers([-1])]);
    w.add("GatherND", [w.name(x!), at], { batch_dims: { int: 1 } }, [w.name(outputs[0]!)]);
  },
  scatterRows: (w, { inputs: [like, ids, values], attributes: { batched }, outputs }) => {
    const y = w.name(outputs[0]!);
    // Few rows for each batch entry: a product with a matrix that has a one where a row goes.
    if (batched) {
      const places = w.add("OneHot", [wideIds(w, ids!), lengthOf(w, like!, 1), w.integers([0, 1])], {
        axis: { int: -1 },
      });
      const ones = w.add("Cast", [places], { to: { int: w.onnxType("float32") } });
      product(w, ones, w.name(values!), [3, 3], { transA: true }, y);
      return;
    }
    // An id may come more than once. ScatterND adds in several threads and loses some additions to the same row (ONNX Runtime 1.30).
    // ScatterElements adds one after the other, but needs an index for every element.
    const row = like!.shape.slice(1);
    const flat = (v: Value, ...behind: number[]) => w.add("Reshape", [w.name(v), w.integers([-1, ...behind])]);
    const rows = row.length === 0 ? flat(values!) : w.add("Reshape", [w.name(values!), rowsShape(w, like!)]);
    const at = w.add("Expand", [flat(ids!, ...row.map(() => 1)), w.add("Shape", [rows])]);
    const zeros = w.add("ConstantOfShape", [w.add("Shape", [w.name(like!)])]);
    w.add("ScatterElements", [zeros, at, rows], { axis: { int: 0 }, reduction: { text: "add" } }, [y]);
  },
  nll: (w, { inputs: [x, ids], outputs: [y, logProbabilities] }) => {
    logSoftmax(w, w.name(x!), w.name(logProbabilities!));
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
