/**
 * @file The definition of every op: a plain interpreter in float64, slow and readable. For tests only.
 *
 * In: a graph and feeds. Out: its outputs. The gradient rules are checked against central differences of this, and
 * ONNX Runtime against this.
 */
import { SoftpromptError } from "../base/errors.js";
import { size } from "../base/tensor.js";
import type { Graph, Node, Op, Weight } from "./graph.js";

/** A tensor of numbers of any type, row-major. */
export interface Numbers {
  readonly shape: readonly number[];
  readonly data: Float64Array;
}

type Meaning<K extends Op> = (inputs: readonly Numbers[], node: Node<K>) => Numbers[];

const map =
  (f: (x: number) => number): Meaning<Op> =>
  ([x]) => [{ shape: x!.shape, data: x!.data.map((v) => f(v)) }];

const zip =
  (f: (a: number, b: number) => number): Meaning<Op> =>
  ([a, b]) => [broadcast(a!, b!, f)];

const sigmoid = (x: number) => 1 / (1 + Math.exp(-x));
const slope = (x: number) => sigmoid(Math.sqrt(8 / Math.PI) * (x + 0.044715 * x ** 3));

/** What each op computes. */
const meanings: { readonly [K in Op]: Meaning<K> } = {
  add: zip((a, b) => a + b),
  sub: zip((a, b) => a - b),
  mul: zip((a, b) => a * b),
  abs: map(Math.abs),
  exp: map(Math.exp),
  sigmoid: map(sigmoid),
  relu: map((x) => Math.max(x, 0)),
  step: map((x) => (x > 0 ? 1 : 0)),
  gelu: ([x]) => [
    { shape: x!.shape, data: x!.data.map((v) => v * slope(v)) },
    { shape: x!.shape, data: x!.data.map(slope) },
  ],
  cast: map((x) => x),
  matmul: ([a, b], { attributes: { transA, transB } }) => [
    product(transA ? swapLast(a!) : a!, transB ? swapLast(b!) : b!),
  ],
  linear: ([x, w], { attributes: { back } }) => [product(x!, back ? w! : swapLast(w!))],
  rmsNorm: ([x, gain], { attributes: { epsilon } }) => {
    const width = x!.shape.at(-1)!;
    const rows = lastRows(x!);
    const r = Float64Array.from(rows, (row) => 1 / Math.sqrt(row.reduce((s, v) => s + v * v, 0) / width + epsilon));
    const y = x!.data.map((v, i) => v * r[Math.floor(i / width)]! * gain!.data[i % width]!);
    return [
      { shape: x!.shape, data: y },
      { shape: [...x!.shape.slice(0, -1), 1], data: r },
    ];
  },
  attend: ([q, k, v, bias]) => {
    const scores = broadcast(product(q!, swapLast(k!)), bias!, (a, b) => a + b);
    const p = { shape: scores.shape, data: Float64Array.from(logSoftmax(scores).data, Math.exp) };
    return [product(p, v!), p];
  },
  sum: ([x], { attributes: { axes } }) => [reduce(x!, axes)],
  mean: ([x], { attributes: { axes } }) => {
    const total = reduce(x!, axes);
    const count = x!.data.length / total.data.length;
    return [{ shape: total.shape, data: total.data.map((v) => v / count) }];
  },
  transpose: ([x], { attributes: { order } }) => [permute(x!, order)],
  splitHeads: ([x], { attributes: { heads } }) => {
    const [s, width] = x!.shape.slice(-2) as [number, number];
    const split = { shape: [...x!.shape.slice(0, -2), s, heads, width / heads], data: x!.data };
    return [permute(split, swapped(split.shape.length, -3, -2))];
  },
  mergeHeads: ([x]) => {
    const turned = permute(x!, swapped(x!.shape.length, -3, -2));
    const [h, k] = turned.shape.slice(-2) as [number, number];
    return [{ shape: [...turned.shape.slice(0, -2), h * k], data: turned.data }];
  },
  reshapeLike: ([x, like]) => [{ shape: like!.shape, data: x!.data }],
  flatten: ([x], { attributes: { axis } }) => [
    {
      shape: [...x!.shape.slice(0, axis), x!.shape[axis]! * x!.shape[axis + 1]!, ...x!.shape.slice(axis + 2)],
      data: x!.data,
    },
  ],
  unsqueeze: ([x], { attributes: { axis } }) => [
    { shape: [...x!.shape.slice(0, axis), 1, ...x!.shape.slice(axis)], data: x!.data },
  ],
  concat: (inputs, { attributes: { axis } }) => {
    const length = inputs.reduce((n, x) => n + x.shape[axis]!, 0);
    const shape = inputs[0]!.shape.map((d, i) => (i === axis ? length : d));
    const outer = size(shape.slice(0, axis));
    const data: number[] = [];
    for (let o = 0; o < outer; o++)
      for (const x of inputs)
        data.push(...x.data.subarray((o * x.data.length) / outer, ((o + 1) * x.data.length) / outer));
    return [{ shape, data: Float64Array.from(data) }];
  },
  slice: ([x, like], { attributes: { axis, from } }) => {
    const [total, length] = [x!.shape[axis]!, like!.shape[axis]!];
    const first = from === "start" ? 0 : total - length;
    return [select(x!, axis, { shape: [length], data: Float64Array.from({ length }, (_, i) => first + i) })];
  },
  gather: ([table, ids], { attributes: { axis } }) => [select(table!, axis, ids!)],
  nll: ([x, ids]) => {
    const logs = logSoftmax(x!);
    const width = x!.shape.at(-1)!;
    return [{ shape: ids!.shape, data: ids!.data.map((id, i) => -logs.data[i * width + id]!) }, logs];
  },
  scatterAdd: ([x, ids, values]) => {
    const data = Float64Array.from(x!.data);
    for (const [i, id] of ids!.data.entries()) data[i * x!.shape.at(-1)! + id]! += values!.data[i]!;
    return [{ shape: x!.shape, data }];
  },
  argMax: ([x]) => [
    { shape: x!.shape.slice(0, -1), data: Float64Array.from(lastRows(x!), (row) => row.indexOf(Math.max(...row))) },
  ],
};

/** Runs a graph. Weights in files are not read: give them as feeds by name. */
export function interpret(graph: Graph, feeds: Readonly<Record<string, Numbers>>): Record<string, Numbers> {
  const values = new Map<number, Numbers>();
  for (const v of [...graph.inputs, ...graph.weights]) {
    const fed = feeds[v.name];
    const bytes = (v.source as { weight?: Weight }).weight;
    if (fed) values.set(v.id, fed);
    else if (bytes?.kind === "inline")
      values.set(v.id, { shape: v.shape as number[], data: Float64Array.from(bytes.data) });
    else throw new SoftpromptError("engine", `no value for ${v.name}`, { where: "interpret", expected: "a feed" });
  }
  for (const node of graph.nodes) {
    const inputs = node.inputs.map((v) => values.get(v.id)!);
    const results = (meanings[node.op] as Meaning<Op>)(inputs, node);
    for (const [i, v] of node.outputs.entries()) values.set(v.id, results[i]!);
  }
  return Object.fromEntries(graph.outputs.map((o) => [o.name, values.get(o.value.id)!]));
}

function strides(shape: readonly number[]): number[] {
  return shape.map((_, i) => size(shape.slice(i + 1)));
}

/** Position of `index` (over `shape`) in a tensor that broadcasts to it. */
function offset(index: readonly number[], shape: readonly number[]): number {
  const steps = strides(shape);
  const skip = index.length - shape.length;
  return shape.reduce((at, d, i) => at + (d === 1 ? 0 : index[i + skip]! * steps[i]!), 0);
}

function* indices(shape: readonly number[]): Generator<number[]> {
  const steps = strides(shape);
  for (let i = 0; i < size(shape); i++) yield shape.map((d, axis) => Math.floor(i / steps[axis]!) % d);
}

function broadcastShape(a: readonly number[], b: readonly number[]): number[] {
  const rank = Math.max(a.length, b.length);
  return Array.from({ length: rank }, (_, i) => {
    const [x, y] = [a[i - rank + a.length] ?? 1, b[i - rank + b.length] ?? 1];
    return x === 1 ? y : x;
  });
}

function broadcast(a: Numbers, b: Numbers, f: (a: number, b: number) => number): Numbers {
  const shape = broadcastShape(a.shape, b.shape);
  const data = Float64Array.from(indices(shape), (i) => f(a.data[offset(i, a.shape)]!, b.data[offset(i, b.shape)]!));
  return { shape, data };
}

function product(a: Numbers, b: Numbers): Numbers {
  const batch = broadcastShape(a.shape.slice(0, -2), b.shape.slice(0, -2));
  const inner = a.shape.at(-1)!;
  const shape = [...batch, a.shape.at(-2)!, b.shape.at(-1)!];
  const data = Float64Array.from(indices(shape), (index) => {
    const [m, n] = index.slice(-2) as [number, number];
    const at = index.slice(0, -2);
    let total = 0;
    for (let k = 0; k < inner; k++)
      total += a.data[offset([...at, m, k], a.shape)]! * b.data[offset([...at, k, n], b.shape)]!;
    return total;
  });
  return { shape, data };
}

function swapped(rank: number, a: number, b: number): number[] {
  const order = Array.from({ length: rank }, (_, i) => i);
  [order[rank + a], order[rank + b]] = [rank + b, rank + a];
  return order;
}

function swapLast(x: Numbers): Numbers {
  return permute(x, swapped(x.shape.length, -2, -1));
}

function permute(x: Numbers, order: readonly number[]): Numbers {
  const shape = order.map((o) => x.shape[o]!);
  const steps = strides(x.shape);
  const data = Float64Array.from(
    indices(shape),
    (index) => x.data[index.reduce((at, v, i) => at + v * steps[order[i]!]!, 0)]!,
  );
  return { shape, data };
}

function reduce(x: Numbers, axes: readonly number[]): Numbers {
  const shape = x.shape.map((d, i) => (axes.includes(i) ? 1 : d));
  const data = new Float64Array(size(shape));
  let at = 0;
  for (const index of indices(x.shape)) data[offset(index, shape)]! += x.data[at++]!;
  return { shape, data };
}

function select(x: Numbers, axis: number, ids: Numbers): Numbers {
  const [outer, inner] = [size(x.shape.slice(0, axis)), size(x.shape.slice(axis + 1))];
  const data: number[] = [];
  for (let o = 0; o < outer; o++)
    for (const id of ids.data) {
      const from = (o * x.shape[axis]! + id) * inner;
      data.push(...x.data.subarray(from, from + inner));
    }
  return {
    shape: [...x.shape.slice(0, axis), ...ids.shape, ...x.shape.slice(axis + 1)],
    data: Float64Array.from(data),
  };
}

function lastRows(x: Numbers): Float64Array[] {
  const width = x.shape.at(-1)!;
  return Array.from({ length: x.data.length / width }, (_, i) => x.data.subarray(i * width, (i + 1) * width));
}

function logSoftmax(x: Numbers): Numbers {
  const width = x.shape.at(-1)!;
  const norms = lastRows(x).map((row) => {
    const top = Math.max(...row);
    return top + Math.log(row.reduce((s, v) => s + Math.exp(v - top), 0));
  });
  return { shape: x.shape, data: x.data.map((v, i) => v - norms[Math.floor(i / width)]!) };
}
