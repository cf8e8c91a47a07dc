/**
 * @file The reference definition of every op: a plain interpreter in float64, slow but readable. No product code runs it.
 *
 * In: a graph and feeds. Out: its outputs. The gradient rules are checked against central differences of this, and
 * ONNX Runtime against this.
 */
import { SoftpromptError } from "../base/errors.js";
import { roundHalfEven } from "../base/round.js";
import { size } from "../base/tensor.js";
import type { Graph, Node, Op, ValueType, Weight } from "./graph.js";

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

/** The normal distribution function: by a series near zero, and by a continued fraction in the tails, where the series would cancel. */
function normal(x: number): number {
  if (Math.abs(x) > 4) {
    const size = Math.abs(x);
    let fraction = size;
    for (let n = 80; n > 0; n--) fraction = size + n / fraction;
    const tail = Math.exp((-x * x) / 2) / Math.sqrt(2 * Math.PI) / fraction;
    return x > 0 ? 1 - tail : tail;
  }
  let [sum, term] = [x, x];
  for (let n = 1; Math.abs(term) > 1e-18; n++) {
    term *= (x * x) / (2 * n + 1);
    sum += term;
  }
  return 0.5 + (sum * Math.exp((-x * x) / 2)) / Math.sqrt(2 * Math.PI);
}

/** y = x·f(x), and f(x). */
const weighed =
  (f: (x: number) => number) =>
  (x: Numbers): Numbers[] => [
    { shape: x.shape, data: x.data.map((v) => v * f(v)) },
    { shape: x.shape, data: x.data.map(f) },
  ];

/** What each op computes. */
const meanings: { readonly [K in Op]: Meaning<K> } = {
  add: zip((a, b) => a + b),
  sub: zip((a, b) => a - b),
  mul: zip((a, b) => a * b),
  scaleAdd: ([x, y, s]) => {
    const width = x!.shape.at(-1)!;
    const data = x!.data.map((v, i) => v + y!.data[i]! * s!.data[Math.floor(i / width)]!);
    return [{ shape: x!.shape, data }];
  },
  abs: map(Math.abs),
  exp: map(Math.exp),
  sigmoid: map(sigmoid),
  tanh: map(Math.tanh),
  relu: map((x) => Math.max(x, 0)),
  step: map((x) => (x > 0 ? 1 : 0)),
  gelu: ([x], { attributes: { exact } }) => weighed(exact ? normal : slope)(x!),
  silu: ([x]) => weighed(sigmoid)(x!),
  cast: map((x) => x),
  matmul: ([a, b], { attributes: { transA, transB, alpha } }) => {
    const { shape, data } = product(transA ? swapLast(a!) : a!, transB ? swapLast(b!) : b!);
    return [{ shape, data: data.map((v) => alpha * v) }];
  },
  linear: ([x, w, bias], { attributes: { back, stored } }) => {
    const y = product(x!, (stored === "out,in") === back ? w! : swapLast(w!));
    return [bias ? broadcast(y, bias, (a, b) => a + b) : y];
  },
  linearBack8: ([x, w, , , ...bias], { attributes: { stored } }) =>
    meanings.linear([x!, w!, ...bias], { attributes: { back: false, stored } } as Node<"linear">),
  linear8: ([x, m, s, , , f], { inputs, attributes: { back, terms } }) => {
    const zero = inputs[1]!.dtype === "uint8" ? 128 : 0;
    const [width, into] = m!.shape as [number, number];
    const rows = lastRows(x!).map((row) => (f && !back ? row.map((v, k) => v * f.data[k]!) : row));
    const data = new Float64Array(rows.length * into);
    for (const [r, row] of rows.entries()) {
      const step = Math.max(...row.map(Math.abs)) / 127;
      if (step === 0) continue;
      for (let k = 0; k < width; k++) {
        const whole = roundHalfEven(row[k]! / step);
        const rest = back || terms === 1 ? 0 : roundHalfEven((row[k]! / step - whole) * 254) / 254;
        const q = whole + rest;
        for (let n = 0; n < into; n++) data[r * into + n]! += q * (m!.data[k * into + n]! - zero);
      }
      for (let n = 0; n < into; n++) data[r * into + n]! *= step * s!.data[n]!;
    }
    return [{ shape: [...x!.shape.slice(0, -1), into], data }];
  },
  linearBlocks: ([x, ...blocks], { inputs: [, ...types] }) => [product(x!, swapLast(widened(blocks, types)))],
  widenBlocks: (blocks, { inputs }) => [widened(blocks, inputs)],
  rmsNorm: ([x, gain], { attributes: { epsilon } }) => {
    const width = x!.shape.at(-1)!;
    const rows = lastRows(x!);
    const r = Float64Array.from(rows, (row) => 1 / Math.sqrt(row.reduce((s, v) => s + v * v, 0) / width + epsilon));
    const y = x!.data.map((v, i) => v * r[Math.floor(i / width)]! * (gain?.data[i % width] ?? 1));
    return [
      { shape: x!.shape, data: y },
      { shape: [...x!.shape.slice(0, -1), 1], data: r },
    ];
  },
  layerNorm: ([x, gain, bias], { attributes: { epsilon } }) => {
    const width = x!.shape.at(-1)!;
    const stats = lastRows(x!).map((row) => {
      const mean = row.reduce((s, v) => s + v, 0) / width;
      return [mean, 1 / Math.sqrt(row.reduce((s, v) => s + (v - mean) ** 2, 0) / width + epsilon)] as const;
    });
    const y = x!.data.map((v, i) => {
      const [mean, r] = stats[Math.floor(i / width)]!;
      return (v - mean) * r * gain!.data[i % width]! + bias!.data[i % width]!;
    });
    const column = (which: 0 | 1) => ({
      shape: [...x!.shape.slice(0, -1), 1],
      data: Float64Array.from(stats, (s) => s[which]),
    });
    return [{ shape: x!.shape, data: y }, column(0), column(1)];
  },
  attend: ([q, k, v, bias], { attributes: { scale } }) => {
    const [heads, groups] = [q!.shape.at(-3), k!.shape.at(-3)];
    // key head of each query head, written out: 0 0 1 1
    const each = (x: Numbers) => (heads === groups || groups === undefined ? x : repeatHeads(x, heads! / groups));
    const raw = product(q!, swapLast(each(k!)));
    const scores = broadcast({ ...raw, data: raw.data.map((s) => scale * s) }, bias!, (a, b) => a + b);
    const p = { shape: scores.shape, data: Float64Array.from(logSoftmax(scores).data, Math.exp) };
    return [product(p, each(v!)), p];
  },
  attendOver: ([q, mk, mv, k, v, bias], node) => {
    const joined = (memory: Numbers, own: Numbers): Numbers => {
      const rows = own.shape[0]!;
      const data = Float64Array.from(
        { length: (memory.data.length / memory.shape[0]!) * rows },
        (_, i) => memory.data[i % memory.data.length]!,
      );
      const each = { shape: [rows, ...memory.shape.slice(1)], data };
      const axis = own.shape.length - 2;
      return meanings.concat([each, own], { attributes: { axis } } as Node<"concat">)[0]!;
    };
    const whole = [q!, joined(mk!, k!), joined(mv!, v!), bias!];
    const [y, p] = meanings.attend(whole, node as unknown as Node<"attend">) as [Numbers, Numbers];
    const [all, from] = [p.shape.at(-1)!, mk!.shape.at(-2)!];
    const part = (length: number, counts: (i: number) => boolean): Numbers => ({
      shape: p.shape.with(-1, length),
      data: p.data.filter((_, i) => counts(i % all)),
    });
    return [y, part(from, (i) => i < from), part(all - from, (i) => i >= from)];
  },
  rope: ([x, cos, sin, positions], { attributes: { back } }) => {
    const half = cos!.shape[1]!;
    const data = Float64Array.from(x!.data);
    for (const index of indices(x!.shape.slice(0, -1))) {
      const [heads, at] = [index.length - 2, offset([...index, 0], x!.shape)];
      const row = positions!.data[offset(index.toSpliced(heads, 1), positions!.shape)]!;
      for (let i = 0; i < half; i++) {
        const [c, s] = [cos!.data[row * half + i]!, (back ? -1 : 1) * sin!.data[row * half + i]!];
        const [a, b] = [x!.data[at + i]!, x!.data[at + i + half]!];
        data[at + i] = a * c - b * s;
        data[at + i + half] = b * c + a * s;
      }
    }
    return [{ shape: x!.shape, data }];
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
  regroup: ([x], { attributes: { heads } }) => {
    const [h, s, width] = x!.shape.slice(-3) as [number, number, number];
    return [{ shape: [...x!.shape.slice(0, -3), heads, (h * s) / heads, width], data: x!.data }];
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
  broadcastLike: ([x, like], { attributes: { axis } }) => [
    select(x!, axis, { shape: [like!.shape[axis]!], data: new Float64Array(like!.shape[axis]!) }),
  ],
  split: ([x], { attributes: { axis, parts } }) => {
    const length = x!.shape[axis]! / parts;
    return Array.from({ length: parts }, (_, i) => select(x!, axis, range(i * length, length)));
  },
  slice: ([x, like, ...skipped], { attributes: { axis, from } }) => {
    const [total, length] = [x!.shape[axis]!, like!.shape[axis]!];
    const first = from === "end" ? total - length : skipped.reduce((n, v) => n + v.shape[axis]!, 0);
    return [select(x!, axis, range(first, length))];
  },
  padLike: ([x, like, ...skipped], { attributes: { axis, from } }) => {
    const [total, length] = [like!.shape[axis]!, x!.shape[axis]!];
    const first = from === "end" ? total - length : skipped.reduce((n, v) => n + v.shape[axis]!, 0);
    const shape = x!.shape.map((d, i) => (i === axis ? total : d));
    const data = Float64Array.from(indices(shape), (index) => {
      const at = index[axis]! - first;
      return at < 0 || at >= length ? 0 : x!.data[offset(index.with(axis, at), x!.shape)]!;
    });
    return [{ shape, data }];
  },
  gather: ([table, ids], { attributes: { axis } }) => [select(table!, axis, ids!)],
  gatherRows: ([x, ids]) => {
    const [, rows, width] = x!.shape as [number, number, number];
    const shape = [...ids!.shape, width];
    const data = Float64Array.from(
      indices(shape),
      ([b, u, d]) => x!.data[(b! * rows + ids!.data[b! * ids!.shape[1]! + u!]!) * width + d!]!,
    );
    return [{ shape, data }];
  },
  scatterRows: ([like, ids, values], { attributes: { batched } }) => {
    const rows = batched ? like!.shape[1]! : 0;
    const width = size(like!.shape.slice(batched ? 2 : 1));
    const data = new Float64Array(size(like!.shape));
    for (const [i, id] of ids!.data.entries()) {
      const to = (batched ? Math.floor(i / ids!.shape[1]!) * rows + id : id) * width;
      for (let d = 0; d < width; d++) data[to + d]! += values!.data[i * width + d]!;
    }
    return [{ shape: like!.shape, data }];
  },
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

/** The matrix of blocks: integers, scales, and perhaps offsets. */
function widened([values, scale, offset]: readonly Numbers[], types: readonly ValueType[]): Numbers {
  const packed = types[0]!.dtype === "uint8";
  const [rows, stored] = values!.shape as [number, number];
  const columns = packed ? 2 * stored : stored;
  const block = columns / scale!.shape[1]!;
  const integer = (i: number) => {
    if (!packed) return values!.data[i]!;
    const byte = values!.data[Math.floor(i / 2)]!;
    return (i % 2 === 0 ? byte % 16 : Math.floor(byte / 16)) - (offset ? 0 : 8);
  };
  const data = Float64Array.from({ length: rows * columns }, (_, i) => {
    const at = Math.floor(i / block);
    return integer(i) * scale!.data[at]! + (offset?.data[at] ?? 0);
  });
  return { shape: [rows, columns], data };
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

function range(first: number, length: number): Numbers {
  return { shape: [length], data: Float64Array.from({ length }, (_, i) => first + i) };
}

/** Each head `times` times in a row. */
function repeatHeads(x: Numbers, times: number): Numbers {
  const axis = x.shape.length - 3;
  const length = x.shape[axis]! * times;
  return select(x, axis, { shape: [length], data: Float64Array.from({ length }, (_, i) => Math.floor(i / times)) });
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
