/**
 * @file What shape each op gives, and which inputs it refuses. In: types of the inputs and attributes. Out: types of the results.
 */
import { type Attributes, type Dim, type Op, refuse, type Shape, type ValueType } from "./graph.js";

type Infer<K extends Op> = (inputs: readonly ValueType[], attributes: Attributes[K]) => ValueType[];

const same =
  (op: Op): Infer<Op> =>
  ([x, ...more]) => {
    if (x?.dtype !== "float32" || more.length > 0) throw refuse(op, "one float32 tensor", [x!, ...more]);
    return [{ dtype: x.dtype, shape: x.shape }];
  };

const elementwise =
  (op: Op): Infer<Op> =>
  (inputs) => {
    const [a, b] = inputs;
    if (inputs.length !== 2 || a!.dtype !== "float32" || b!.dtype !== "float32")
      throw refuse(op, "two float32 tensors", inputs);
    return [{ dtype: "float32", shape: broadcast(op, inputs) }];
  };

const reduce =
  (op: "sum" | "mean"): Infer<"sum" | "mean"> =>
  ([x], { axes }) => {
    if (axes.some((a) => a < 0 || a >= x!.shape.length)) throw refuse(op, `axes [${axes}] inside the shape`, [x!]);
    return [{ dtype: x!.dtype, shape: x!.shape.map((d, i) => (axes.includes(i) ? 1 : d)) }];
  };

/** The shapes of each op's results. Reduced axes stay, with size 1. */
export const infer: { [K in Op]: Infer<K> } = {
  add: elementwise("add"),
  sub: elementwise("sub"),
  mul: elementwise("mul"),
  abs: same("abs"),
  exp: same("exp"),
  sigmoid: same("sigmoid"),
  relu: same("relu"),
  step: same("step"),
  gelu: (inputs) => {
    const [type] = same("gelu")(inputs, {});
    return [type!, type!];
  },
  cast: ([x], { to }) => [{ dtype: to, shape: x!.shape }],
  matmul: (inputs, { transA, transB }) => {
    const [a, b] = inputs as [ValueType, ValueType];
    if (a.shape.length < 2 || b.shape.length < 2) throw refuse("matmul", "matrices", inputs);
    const [m, ka] = lastTwo(a.shape, transA);
    const [kb, n] = lastTwo(b.shape, transB);
    if (ka !== kb || a.dtype !== "float32" || b.dtype !== "float32")
      throw refuse("matmul", `equal inner sizes (transA ${transA}, transB ${transB}) of float32`, inputs);
    const batch = broadcast("matmul", [
      { dtype: "float32", shape: a.shape.slice(0, -2) },
      { dtype: "float32", shape: b.shape.slice(0, -2) },
    ]);
    return [{ dtype: "float32", shape: [...batch, m, n] }];
  },
  linear: (inputs, { back }) => {
    const [x, w] = inputs as [ValueType, ValueType];
    const [from, to] = back ? [w.shape[0], w.shape[1]] : [w.shape[1], w.shape[0]];
    if (w.shape.length !== 2 || x.shape.at(-1) !== from)
      throw refuse("linear", `x […, ${from}] and W [out, in]${back ? ", backwards" : ""}`, inputs);
    return [{ dtype: "float32", shape: [...x.shape.slice(0, -1), to!] }];
  },
  rmsNorm: (inputs) => {
    const [x, g] = inputs as [ValueType, ValueType];
    if (g.shape.length !== 1 || g.shape[0] !== x.shape.at(-1)) throw refuse("rmsNorm", "x […, D] and g [D]", inputs);
    return [
      { dtype: "float32", shape: x.shape },
      { dtype: "float32", shape: [...x.shape.slice(0, -1), 1] },
    ];
  },
  attend: (inputs) => {
    const [q, k, v, bias] = inputs as [ValueType, ValueType, ValueType, ValueType];
    const scores = infer.matmul([q, k], { transA: false, transB: true })[0]!;
    broadcastTo("attend", bias.shape, scores.shape, inputs);
    const context = infer.matmul([scores, v], { transA: false, transB: false })[0]!;
    return [context, scores];
  },
  sum: reduce("sum"),
  mean: reduce("mean"),
  transpose: ([x], { order }) => {
    if ([...order].sort((a, b) => a - b).some((o, i) => o !== i) || order.length !== x!.shape.length)
      throw refuse("transpose", `an order of all axes, not [${order}]`, [x!]);
    return [{ dtype: x!.dtype, shape: order.map((o) => x!.shape[o]!) }];
  },
  splitHeads: ([x], { heads }) => {
    const width = x!.shape.at(-1);
    if (x!.shape.length < 2 || typeof width !== "number" || width % heads !== 0)
      throw refuse("splitHeads", `[…, S, H·K] with H = ${heads}`, [x!]);
    return [{ dtype: x!.dtype, shape: [...x!.shape.slice(0, -2), heads, x!.shape.at(-2)!, width / heads] }];
  },
  mergeHeads: ([x]) => {
    const [h, s, k] = x!.shape.slice(-3);
    if (typeof h !== "number" || typeof k !== "number") throw refuse("mergeHeads", "[…, H, S, K]", [x!]);
    return [{ dtype: x!.dtype, shape: [...x!.shape.slice(0, -3), s!, h * k] }];
  },
  reshapeLike: ([x, like]) => [{ dtype: x!.dtype, shape: like!.shape }],
  flatten: ([x], { axis }) => {
    const [a, b] = [x!.shape[axis]!, x!.shape[axis + 1]!];
    if (a === undefined || b === undefined) throw refuse("flatten", `axes ${axis} and ${axis + 1}`, [x!]);
    const joined = typeof a === "number" && typeof b === "number" ? a * b : a === 1 ? b : b === 1 ? a : `${a}*${b}`;
    return [{ dtype: x!.dtype, shape: [...x!.shape.slice(0, axis), joined, ...x!.shape.slice(axis + 2)] }];
  },
  unsqueeze: ([x], { axis }) => [
    { dtype: x!.dtype, shape: [...x!.shape.slice(0, axis), 1, ...x!.shape.slice(axis)] as Dim[] },
  ],
  concat: (inputs, { axis }) => {
    const [first, ...more] = inputs as [ValueType, ...ValueType[]];
    if (
      more.some(
        (v) => v.shape.length !== first.shape.length || v.shape.some((d, i) => i !== axis && d !== first.shape[i]),
      )
    )
      throw refuse("concat", `equal shapes except axis ${axis}`, inputs);
    const joined = inputs.map((v) => v.shape[axis]!);
    const total = joined.every((d) => typeof d === "number")
      ? (joined as number[]).reduce((a, b) => a + b, 0)
      : joined.join("+");
    return [{ dtype: first.dtype, shape: first.shape.map((d, i) => (i === axis ? total : d)) }];
  },
  slice: ([x, like], { axis }) => [
    { dtype: x!.dtype, shape: x!.shape.map((d, i) => (i === axis ? like!.shape[axis]! : d)) },
  ],
  gather: (inputs, { axis }) => {
    const [table, ids] = inputs as [ValueType, ValueType];
    if (ids.dtype !== "int32") throw refuse("gather", "a table and int32 ids", inputs);
    return [
      { dtype: table.dtype, shape: [...table.shape.slice(0, axis), ...ids.shape, ...table.shape.slice(axis + 1)] },
    ];
  },
  nll: (inputs) => {
    const [x, ids] = inputs as [ValueType, ValueType];
    if (ids.dtype !== "int32" || !equal(x.shape.slice(0, -1), ids.shape))
      throw refuse("nll", "logits […, V] and int32 ids […]", inputs);
    return [
      { dtype: "float32", shape: ids.shape },
      { dtype: "float32", shape: x.shape },
    ];
  },
  scatterAdd: (inputs) => {
    const [x, ids, values] = inputs as [ValueType, ValueType, ValueType];
    if (ids.dtype !== "int32" || !equal(x.shape.slice(0, -1), ids.shape) || !equal(ids.shape, values.shape))
      throw refuse("scatterAdd", "x […, V], int32 ids […] and values […]", inputs);
    return [x];
  },
  argMax: ([x]) => [{ dtype: "int32", shape: x!.shape.slice(0, -1) }],
};

/** The shape two operands make together, NumPy's rule; symbols must be equal or meet a 1. */
function broadcast(op: string, inputs: readonly ValueType[]): Shape {
  const rank = Math.max(...inputs.map((v) => v.shape.length));
  return Array.from({ length: rank }, (_, i) => {
    let dim: Dim = 1;
    for (const { shape } of inputs) {
      const d = shape[i - rank + shape.length] ?? 1;
      if (dim === 1) dim = d;
      else if (d !== 1 && d !== dim) throw refuse(op, "shapes that broadcast", inputs);
    }
    return dim;
  });
}

function broadcastTo(op: string, from: Shape, to: Shape, inputs: readonly ValueType[]): void {
  const offset = to.length - from.length;
  if (offset < 0 || from.some((d, i) => d !== 1 && d !== to[i + offset]))
    throw refuse(op, `a bias that broadcasts to [${to}]`, inputs);
}

function lastTwo(shape: Shape, transposed: boolean): [Dim, Dim] {
  const [a, b] = [shape.at(-2)!, shape.at(-1)!];
  return transposed ? [b, a] : [a, b];
}

function equal(a: Shape, b: Shape): boolean {
  return a.length === b.length && a.every((d, i) => d === b[i]);
}
