/**
 * Gradients of many values at once, as full fine-tuning and LoRA need them: two small layers in the manner of GPT-2 and of
 * Llama with everything trained, against central differences in float64, and ONNX Runtime against that.
 */
import { describe, expect, test } from "vitest";
import { random } from "../src/base/random.js";
import type { Feed } from "../src/base/tensor.js";
import { size } from "../src/base/tensor.js";
import { gradient, gradients } from "../src/graph/grad.js";
import { emptyGraph, type Graph, input, output, scalar, type Value } from "../src/graph/graph.js";
import { interpret, type Numbers } from "../src/graph/interpret.js";
import * as ops from "../src/graph/ops.js";
import { openSession } from "../src/runtime/session.js";

const [B, P, T, U, D, H, K, V] = [2, 2, 3, 2, 8, 4, 4, 7];
const draw = random(5, "gradients");
const uniform = (shape: readonly number[], range: number): Numbers => ({
  shape,
  data: Float64Array.from({ length: size(shape) }, () => Math.fround(draw.uniform(-range, range))),
});
const integers = (shape: readonly number[], values: readonly number[]): Numbers => ({
  shape,
  data: Float64Array.from(values),
});

/** The network, its feeds, and everything in it that can be trained. */
function network() {
  const g = emptyGraph();
  const feeds: Record<string, Numbers> = {};
  const trained: Value[] = [];
  const parameter = (name: string, ...dims: (number | "P")[]) => {
    const shape = dims.map((d) => (d === "P" ? P : d));
    feeds[name] = uniform(shape, shape.length > 1 ? 1.5 * shape.at(-1)! ** -0.5 : 1.2);
    const value = input(g, name, "float32", dims);
    trained.push(value);
    return value;
  };
  const fed = (name: string, dtype: "int32" | "float32", dims: readonly (string | number)[], values: Numbers) => {
    feeds[name] = values;
    return input(g, name, dtype, dims);
  };
  const ids = fed("ids", "int32", ["B", "T"], integers([B, T], [0, 1, 2, 1, 1, 3]));
  const positions = fed("positions", "int32", ["B", "P+T"], integers([B, P + T], [0, 1, 2, 3, 4, 0, 1, 2, 3, 0]));
  // causal; the last position of the second row is padding
  const mask = Array.from({ length: B * (P + T) ** 2 }, (_, i) => {
    const [b, q, k] = [Math.floor(i / 25), Math.floor(i / 5) % 5, i % 5];
    return k > q || (b === 1 && k === 4) ? -1e9 : 0;
  });
  const bias = fed("bias", "float32", ["B", 1, "P+T", "P+T"], integers([B, 1, P + T, P + T], mask));
  const cos = fed("cos", "float32", [5, 1], uniform([5, 1], 1));
  const sin = fed("sin", "float32", [5, 1], uniform([5, 1], 1));

  const table = parameter("table", V, D);
  const prompt = ops.broadcastLike(g, ops.unsqueeze(g, parameter("prompt", "P", D), 0), ids);
  let x = ops.concat(g, [prompt, ops.gather(g, table, ids)], 1);

  // as GPT-2: one product for queries, keys and values, stored [in, out]
  let normed = ops.layerNorm(g, x, parameter("ln.g", D), parameter("ln.b", D), 1e-5);
  const fused = ops.linear(g, normed, parameter("qkv", D, 3 * D), {
    stored: "in,out",
    bias: parameter("qkv.b", 3 * D),
  });
  const [q1, k1, v1] = ops.split(g, fused, 2, 3).map((part) => ops.splitHeads(g, part, 2));
  const first = ops.mergeHeads(g, ops.attend(g, q1!, k1!, v1!, bias, (D / 2) ** -0.5));
  x = ops.add(g, x, ops.linear(g, first, parameter("proj", D, D), { stored: "in,out", bias: parameter("proj.b", D) }));
  x = ops.add(g, x, ops.linear(g, ops.geluExact(g, ops.linear(g, x, parameter("fc", 6, D))), parameter("fc2", D, 6)));

  // as Llama: grouped heads, norms of queries and keys, rotation of half the channels; LoRA beside the query's matrix
  normed = ops.rmsNorm(g, x, parameter("rms.g", D), 1e-6);
  const lora = ops.linear(g, ops.linear(g, normed, parameter("lora.A", 2, D)), parameter("lora.B", H * K, 2));
  const q = ops.add(g, ops.linear(g, normed, parameter("q", H * K, D)), ops.mul(g, lora, scalar(g, 0.5)));
  const turned = (y: Value, heads: number, gain: string) =>
    ops.rope(g, ops.rmsNorm(g, ops.splitHeads(g, y, heads), parameter(gain, K), 1e-6), cos, sin, positions);
  const k = turned(ops.linear(g, normed, parameter("k", 2 * K, D)), 2, "k.g");
  const v = ops.splitHeads(g, ops.linear(g, normed, parameter("v", 2 * K, D), { bias: parameter("v.b", 2 * K) }), 2);
  const context = ops.mergeHeads(g, ops.attend(g, turned(q, H, "q.g"), k, v, bias, K ** -0.5));
  x = ops.add(g, x, ops.linear(g, context, parameter("o", D, H * K)));
  const gate = ops.silu(g, ops.linear(g, x, parameter("gate", 6, D)));
  const gated = ops.mul(g, gate, ops.linear(g, x, parameter("up", 6, D)));
  x = ops.add(g, x, ops.linear(g, gated, parameter("down", D, 6)));

  // the head reads two positions of each row, through the table again
  const at = fed("at", "int32", ["B", "U"], integers([B, U], [3, 4, 2, 3]));
  const targets = fed("targets", "int32", ["B", "U"], integers([B, U], [5, 6, 0, 4]));
  const nll = ops.nll(g, ops.linear(g, ops.gatherRows(g, x, at), table), targets);
  return { g, feeds, trained, loss: ops.sum(g, nll, [0, 1]) };
}

async function run(g: Graph, feeds: Record<string, Numbers>, plainOps: boolean) {
  const session = await openSession("gradients", g, { threads: 2, device: "cpu", lowMemory: false, plainOps });
  const typed = g.inputs.map((v): [string, Feed] => {
    const { shape, data } = feeds[v.name]!;
    return v.dtype === "int32"
      ? [v.name, { dtype: "int32", shape, data: Int32Array.from(data) }]
      : [v.name, { dtype: "float32", shape, data: Float32Array.from(data) }];
  });
  try {
    return await session.run(Object.fromEntries(typed));
  } finally {
    await session.dispose();
  }
}

const worst = (got: ArrayLike<number>, wanted: Float64Array) =>
  wanted.reduce((w, v, i) => Math.max(w, Math.abs(v - got[i]!) / Math.max(1, Math.abs(v))), 0);

describe("two layers with everything trained", () => {
  const { g, feeds, trained, loss } = network();
  const lossOnly: Graph = { ...g, nodes: [...g.nodes], outputs: [{ name: "loss", value: loss }] };
  const found = gradients(g, loss, trained);
  for (const [i, value] of found.entries()) output(g, `d ${trained[i]!.name}`, value);
  const defined = interpret(g, feeds);

  test.each(trained.map((v) => v.name))("%s: agrees with central differences", (name) => {
    const { shape, data } = feeds[name]!;
    const got = defined[`d ${name}`]!;
    expect(got.shape).toEqual(shape);
    const lossAt = (x: Float64Array) => interpret(lossOnly, { ...feeds, [name]: { shape, data: x } }).loss!.data[0]!;
    const h = 1e-5;
    for (const i of new Set(Array.from({ length: 6 }, () => draw.integer(data.length)))) {
      const wanted = (lossAt(data.with(i, data[i]! + h)) - lossAt(data.with(i, data[i]! - h))) / (2 * h);
      // truncation and rounding some 1e-10 each, through ten nonlinear steps
      expect(Math.abs(got.data[i]! - wanted)).toBeLessThan(1e-7 * Math.max(1, Math.abs(wanted)));
    }
    expect(got.data.some((v) => Math.abs(v) > 1e-4)).toBe(true);
  });

  test.each([false, true])("ONNX Runtime computes them (plain operators: %s)", async (plain) => {
    const got = await run(g, feeds, plain);
    for (const [name, wanted] of Object.entries(defined))
      expect(worst(got[name]!.data, wanted.data)).toBeLessThan(2e-5);
  });

  test("one walk gives what a walk for each value gives", () => {
    for (const name of ["table", "prompt", "qkv", "lora.A", "k.g"]) {
      const alone = network();
      const wrt = alone.trained.find((v) => v.name === name)!;
      output(alone.g, "d", gradient(alone.g, alone.loss, wrt));
      expect(worst(interpret(alone.g, feeds).d!.data, defined[`d ${name}`]!.data)).toBeLessThan(1e-12);
    }
  });
});

test("a value computed from another trained value gets a gradient of its own", () => {
  const g = emptyGraph();
  const x = input(g, "x", "float32", [3]);
  const y = ops.exp(g, x);
  const loss = ops.sum(g, ops.mul(g, y, y), [0]);
  for (const [i, d] of gradients(g, loss, [x, y]).entries()) output(g, `d${i}`, d);
  const { d0, d1 } = interpret(g, { x: { shape: [3], data: Float64Array.of(0, 1, -1) } });
  expect([...d1!.data]).toEqual([2, 2 * Math.E, 2 * Math.exp(-1)]);
  expect(worst(d0!.data, Float64Array.of(2, 2 * Math.E ** 2, 2 * Math.E ** -2))).toBeLessThan(1e-14);
});

test("only some parts of a split reach the loss: the others count as zero", () => {
  const g = emptyGraph();
  const x = input(g, "x", "float32", [2, 6]);
  const [, middle] = ops.split(g, x, 1, 3);
  output(g, "d", gradient(g, ops.sum(g, ops.mul(g, middle!, middle!), [0, 1]), x));
  const data = Float64Array.from({ length: 12 }, (_, i) => i);
  expect([...interpret(g, { x: { shape: [2, 6], data } }).d!.data]).toEqual([0, 0, 4, 6, 0, 0, 0, 0, 16, 18, 0, 0]);
});

test("a table's row that was taken very often is added up every time, whatever the threads", async () => {
  const g = emptyGraph();
  const table = input(g, "table", "float32", [8, 64]);
  const ids = input(g, "ids", "int32", ["T"]);
  output(g, "d", gradient(g, ops.sum(g, ops.gather(g, table, ids), [0, 1]), table));
  const count = 20_000;
  const feeds = {
    table: uniform([8, 64], 1),
    ids: integers(
      [count],
      Array.from({ length: count }, (_, i) => i % 8),
    ),
  };
  const got = (await run(g, feeds, false)).d!.data as Float32Array;
  expect(got.every((v) => v === count / 8)).toBe(true);
});

test("query heads share key heads in the order 0 0 1 1, and a row that may see nothing stays finite", async () => {
  const g = emptyGraph();
  const shaped = (name: string, heads: number) => input(g, name, "float32", [1, heads, 2, 1]);
  const bias = input(g, "bias", "float32", [1, 1, 2, 2]);
  const y = ops.attend(g, shaped("q", 4), shaped("k", 2), shaped("v", 2), bias);
  output(g, "y", y);
  output(g, "d", gradient(g, ops.sum(g, y, [0, 1, 2, 3]), g.inputs[0]!));
  const tensor = (shape: readonly number[], ...data: number[]) => ({ shape, data: Float64Array.from(data) });
  const feeds = {
    q: tensor([1, 4, 2, 1], ...Array(8).fill(0)),
    k: tensor([1, 2, 2, 1], 1, 2, 3, 4),
    v: tensor([1, 2, 2, 1], 10, 10, 20, 20),
    bias: tensor([1, 1, 2, 2], 0, 0, -1e9, -1e9),
  };
  const expected = [10, 10, 10, 10, 20, 20, 20, 20];
  // the definition takes logarithms near -1e9, where float64 keeps seven digits
  expect(worst(interpret(g, feeds).y!.data, Float64Array.from(expected))).toBeLessThan(1e-8);
  for (const plain of [false, true]) {
    const got = await run(g, feeds, plain);
    expect([...got.y!.data]).toEqual(expected);
    expect(got.d!.data.every(Number.isFinite)).toBe(true);
  }
});
