/**
 * @file What shape each op gives, and which inputs it refuses. In: types of the inputs and attributes. Out: types of the results.
 */
import { over, plus, times } from "./dims.js";
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

const twice =
  (op: Op): Infer<Op> =>
  (inputs, attributes) => {
    const [type] = same(op)(inputs, attributes);
    return [type!, type!];
  };

/** A matrix in blocks. */
export interface Blocks {
  readonly rows: number;
  readonly columns: number;
  /** Numbers of one block. */
  readonly block: number;
  readonly bits: 4 | 8;
}

const blocksRule =
  "int8 [N, K] or uint8 [N, K/2], scales [N, K/block] and perhaps as many offsets, block 16, 32, 64, 128 or 256";

/** The matrix that integers, scales and perhaps offsets make; null where they do not fit together. */
export function blocksOf(inputs: readonly ValueType[]): Blocks | null {
  const [values, scale, offset] = inputs;
  const [rows, stored] = (values?.shape ?? []) as number[];
  const [scaleRows, count] = (scale?.shape ?? []) as number[];
  if (inputs.length < 2 || inputs.length > 3 || rows === undefined || stored === undefined || count === undefined)
    return null;
  const bits = values!.dtype === "int8" ? 8 : 4;
  const columns = bits === 8 ? stored : 2 * stored;
  const block = columns / count;
  const fits =
    values!.shape.length === 2 &&
    scale!.shape.length === 2 &&
    inEightBits(values!) &&
    scaleRows === rows &&
    [16, 32, 64, 128, 256].includes(block) &&
    [scale!, offset ?? scale!].every(({ dtype, shape }) => dtype === "float32" && equal(shape, scale!.shape));
  return fits ? { rows, columns, block, bits } : null;
}

/** The shapes of each op's results. Reduced axes stay, with size 1. */
export const infer: { [K in Op]: Infer<K> } = {
  add: elementwise("add"),
  sub: elementwise("sub"),
  mul: elementwise("mul"),
  scaleAdd: (inputs) => {
    const [x, y, s] = inputs as [ValueType, ValueType, ValueType];
    const fits = inputs.length === 3 && equal(x.shape, y.shape) && equal(s.shape, [...x.shape.slice(0, -1), 1]);
    if (!fits || inputs.some(({ dtype }) => dtype !== "float32"))
      throw refuse("scaleAdd", "x and y of one shape […, D], and [.., 1]", inputs);
    return [{ dtype: "float32", shape: x.shape }];
  },
  abs: same("abs"),
  exp: same("exp"),
  sigmoid: same("sigmoid"),
  tanh: same("tanh"),
  relu: same("relu"),
  step: same("step"),
  gelu: twice("gelu"),
  silu: twice("silu"),
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
  linear: (inputs, { back, stored }) => {
    const [x, w, bias] = inputs as [ValueType, ValueType, ValueType | undefined];
    const [to, from] = (stored === "out,in") === back ? [...w.shape].reverse() : w.shape;
    if (w.shape.length !== 2 || x.shape.at(-1) !== from || inputs.length > 3)
      throw refuse("linear", `x […, ${from}] and W [${stored}]${back ? ", backwards" : ""}`, inputs);
    if (bias && (back || bias.shape.length !== 1 || bias.shape[0] !== to))
      throw refuse("linear", `a bias [${to}], forwards only`, inputs);
    return [{ dtype: "float32", shape: [...x.shape.slice(0, -1), to!] }];
  },
  linear8: (inputs, { back }) => {
    const [x, m, s, turned, t, f] = inputs as [ValueType, ValueType, ValueType, ValueType?, ValueType?, ValueType?];
    const [from, to] = m.shape;
    const forward = inEightBits(m) && equal(s.shape, [to!]) && x.shape.at(-1) === from;
    const turns = turned && inEightBits(turned) && equal(turned.shape, [to!, from!]) && t && equal(t.shape, [from!]);
    const smooth = !f || equal(f.shape, [(back ? to : from)!]);
    if (!forward || !smooth || inputs.length > 6 || !(turns || inputs.length === 3))
      throw refuse(
        "linear8",
        `x […, K], int8 or uint8 [K, N], [N], perhaps int8 or uint8 [N, K], [K] and perhaps [${back ? "N" : "K"}]${back ? ", backwards" : ""}`,
        inputs,
      );
    return [{ dtype: "float32", shape: [...x.shape.slice(0, -1), to!] }];
  },
  linearBack8: (inputs, { stored }) => {
    const [x, w, turned, t, ...bias] = inputs as [ValueType, ValueType, ValueType, ValueType, ...ValueType[]];
    const [y] = infer.linear([x, w, ...bias], { back: false, stored });
    const [to, from] = [y!.shape.at(-1)!, x.shape.at(-1)!];
    if (!inEightBits(turned) || !equal(turned.shape, [to, from]) || !equal(t.shape, [from]))
      throw refuse("linearBack8", "x […, K], W, int8 or uint8 [N, K], [K] and perhaps a bias [N]", inputs);
    return [y!];
  },
  linearBlocks: (inputs) => {
    const [x, ...blocks] = inputs;
    const found = blocksOf(blocks);
    if (found === null || x!.shape.at(-1) !== found.columns)
      throw refuse("linearBlocks", `x […, K], ${blocksRule}`, inputs);
    return [{ dtype: "float32", shape: [...x!.shape.slice(0, -1), found.rows] }];
  },
  widenBlocks: (inputs) => {
    const found = blocksOf(inputs);
    if (found === null) throw refuse("widenBlocks", blocksRule, inputs);
    return [{ dtype: "float32", shape: [found.rows, found.columns] }];
  },
  rmsNorm: (inputs) => {
    const [x, g] = inputs as [ValueType, ValueType?];
    if (g && (g.shape.length !== 1 || g.shape[0] !== x.shape.at(-1)))
      throw refuse("rmsNorm", "x […, D] and perhaps g [D]", inputs);
    return [
      { dtype: "float32", shape: x.shape },
      { dtype: "float32", shape: [...x.shape.slice(0, -1), 1] },
    ];
  },
  layerNorm: (inputs) => {
    const [x, g, b] = inputs as [ValueType, ValueType, ValueType];
    if (inputs.length !== 3 || [g, b].some((v) => v.shape.length !== 1 || v.shape[0] !== x.shape.at(-1)))
      throw refuse("layerNorm", "x […, D], g [D] and b [D]", inputs);
    const one: ValueType = { dtype: "float32", shape: [...x.shape.slice(0, -1), 1] };
    return [{ dtype: "float32", shape: x.shape }, one, one];
  },
  attend: (inputs) => {
    const [q, k, v, bias] = inputs as [ValueType, ValueType, ValueType, ValueType];
    const [heads, groups] = [q.shape.at(-3), k.shape.at(-3)];
    const grouped = isGrouped(q, k);
    if (grouped && (Number(heads) % Number(groups) !== 0 || v.shape.at(-3) !== groups))
      throw refuse("attend", "query heads that are a multiple of the key heads, and as many value heads", inputs);
    const flat = grouped ? infer.regroup([q], { heads: groups as number })[0]! : q;
    const products = infer.matmul([flat, k], { transA: false, transB: true, alpha: 1 })[0]!;
    const context = infer.matmul([products, v], { transA: false, transB: false, alpha: 1 })[0]!;
    const [y, p] = grouped
      ? [context, products].map((x) => infer.regroup([x], { heads: heads as number })[0]!)
      : [context, products];
    broadcastTo("attend", bias.shape, p!.shape, inputs);
    return [y!, p!];
  },
  attendOver: (inputs, attributes) => {
    const [q, mk, mv, k, v, bias] = inputs as [ValueType, ValueType, ValueType, ValueType, ValueType, ValueType];
    const joined = (a: ValueType, b: ValueType): ValueType => {
      const axis = b.shape.length - 2;
      return { dtype: b.dtype, shape: b.shape.with(axis, plus([a.shape[axis]!, b.shape[axis]!])) };
    };
    const alike = (a: ValueType, b: ValueType) =>
      equal(a.shape.toSpliced(-2, 1), b.shape.toSpliced(-2, 1)) && a.dtype === b.dtype;
    if (inputs.length !== 6 || !alike(mk, k) || !alike(mv, v))
      throw refuse(
        "attendOver",
        "a memory's keys and values that differ from the own ones in their number only",
        inputs,
      );
    const [y, p] = infer.attend([q, joined(mk, k), joined(mv, v), bias], attributes) as [ValueType, ValueType];
    const part = (keys: ValueType): ValueType => ({ ...p, shape: p.shape.with(-1, keys.shape.at(-2)!) });
    return [y, part(mk), part(k)];
  },
  rope: (inputs) => {
    const [x, cos, sin, positions] = inputs as [ValueType, ValueType, ValueType, ValueType];
    const [half, width] = [cos.shape[1], x.shape.at(-1)];
    const where = positions.shape;
    const fits =
      x.shape.length >= 3 &&
      cos.shape.length === 2 &&
      equal(cos.shape, sin.shape) &&
      typeof half === "number" &&
      typeof width === "number" &&
      2 * half <= width &&
      positions.dtype === "int32" &&
      equal(where, [...x.shape.slice(0, -3), x.shape.at(-2)!].slice(-where.length));
    if (!fits)
      throw refuse("rope", "x [.., H, S, K], cos and sin [N, R/2] with R ≤ K, positions int32 [.., S]", inputs);
    return [x];
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
  regroup: ([x], { heads }) => {
    const [h, s] = x!.shape.slice(-3);
    const length =
      typeof h !== "number"
        ? undefined
        : h % heads === 0
          ? times(h / heads, s!)
          : heads % h === 0
            ? over(s!, heads / h)
            : undefined;
    if (length === undefined) throw refuse("regroup", `[…, H, S, X] with H·S divisible by ${heads}`, [x!]);
    return [{ dtype: x!.dtype, shape: [...x!.shape.slice(0, -3), heads, length, x!.shape.at(-1)!] }];
  },
  reshapeLike: ([x, like]) => [{ dtype: x!.dtype, shape: like!.shape }],
  flatten: ([x], { axis }) => {
    const [a, b] = [x!.shape[axis]!, x!.shape[axis + 1]!];
    if (a === undefined || b === undefined) throw refuse("flatten", `axes ${axis} and ${axis + 1}`, [x!]);
    const after = x!.shape.slice(axis + 2);
    if (after.some((d) => typeof d !== "number")) throw refuse("flatten", "known sizes behind the joined axes", [x!]);
    return [{ dtype: x!.dtype, shape: [...x!.shape.slice(0, axis), times(a, b), ...after] }];
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
    const total = plus(inputs.map((v) => v.shape[axis]!));
    return [{ dtype: first.dtype, shape: first.shape.map((d, i) => (i === axis ? total : d)) }];
  },
  broadcastLike: (inputs, { axis }) => {
    const [x, like] = inputs as [ValueType, ValueType];
    if (x.shape[axis] !== 1 || like.shape[axis] === undefined)
      throw refuse("broadcastLike", `size 1 at axis ${axis}, and a second input that has this axis`, inputs);
    return [withSize(x, axis, like)];
  },
  split: ([x], { axis, parts }) => {
    const total = x!.shape[axis];
    if (typeof total !== "number" || total % parts !== 0)
      throw refuse("split", `axis ${axis} in ${parts} equal parts`, [x!]);
    const part = { dtype: x!.dtype, shape: x!.shape.map((d, i) => (i === axis ? total / parts : d)) };
    return new Array<ValueType>(parts).fill(part);
  },
  slice: ([x, like], { axis }) => [withSize(x!, axis, like!)],
  padLike: ([x, like], { axis }) => [withSize(x!, axis, like!)],
  gather: (inputs, { axis }) => {
    const [table, ids] = inputs as [ValueType, ValueType];
    if (ids.dtype !== "int32") throw refuse("gather", "a table and int32 ids", inputs);
    return [
      { dtype: table.dtype, shape: [...table.shape.slice(0, axis), ...ids.shape, ...table.shape.slice(axis + 1)] },
    ];
  },
  gatherRows: (inputs) => {
    const [x, ids] = inputs as [ValueType, ValueType];
    if (x.shape.length !== 3 || ids.shape.length !== 2 || ids.dtype !== "int32" || ids.shape[0] !== x.shape[0])
      throw refuse("gatherRows", "x [B, S, D] and int32 ids [B, U]", inputs);
    return [{ dtype: x.dtype, shape: [...ids.shape, x.shape[2]!] }];
  },
  scatterRows: (inputs, { batched }) => {
    const [like, ids, values] = inputs as [ValueType, ValueType, ValueType];
    const row = like.shape.slice(batched ? 2 : 1);
    const together = !batched || (like.shape.length === 3 && ids.shape.length === 2 && ids.shape[0] === like.shape[0]);
    if (!together || ids.dtype !== "int32" || !equal(values.shape, [...ids.shape, ...row]))
      throw refuse("scatterRows", `a table, int32 ids and a row for each${batched ? ", by b" : ""}`, inputs);
    return [{ dtype: "float32", shape: like.shape }];
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

/** True where several query heads share a key head. */
export function isGrouped(q: ValueType, k: ValueType): boolean {
  const [heads, groups] = [q.shape.at(-3), k.shape.at(-3)];
  return typeof heads === "number" && typeof groups === "number" && heads !== groups;
}

/** `x` with the size of `like` at one axis. */
function withSize(x: ValueType, axis: number, like: ValueType): ValueType {
  return { dtype: x.dtype, shape: x.shape.map((d, i) => (i === axis ? like.shape[axis]! : d)) };
}

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

const inEightBits = ({ dtype }: ValueType): boolean => dtype === "int8" || dtype === "uint8";

function equal(a: Shape, b: Shape): boolean {
  return a.length === b.length && a.every((d, i) => d === b[i]);
}
