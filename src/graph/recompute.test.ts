/**
 * @file A training graph that keeps little: the same numbers as without, and its backward pass reads nothing of the blocks' insides.
 */
import { expect, test } from "vitest";
import { random } from "../base/random.js";
import { size } from "../base/tensor.js";
import { check } from "./check.js";
import { count } from "./count.js";
import { gradients } from "./grad.js";
import { emptyGraph, type Graph, input, output, type Value, weight } from "./graph.js";
import { interpret, type Numbers } from "./interpret.js";
import * as ops from "./ops.js";
import { recomputing } from "./recompute.js";
import { simplify } from "./simplify.js";

const draw = random(2, "recompute");

/** Two blocks of attention and a gated layer over a prompt and frozen states, a norm, and a loss; prompt and LoRA-like matrix are trained. */
function model() {
  const g = emptyGraph();
  const feeds: Record<string, Numbers> = {};
  const numbers = (name: string, shape: readonly number[]) => {
    feeds[name] = { shape, data: Float64Array.from({ length: size(shape) }, () => draw.uniform(-1, 1)) };
  };
  const frozen = (name: string, shape: readonly number[]) => {
    numbers(name, shape);
    return weight(g, name, "float32", shape, { kind: "file", file: "", offset: 0, length: 0 });
  };
  const prompt = input(g, "prompt", "float32", ["B", 2, 4]);
  const up = input(g, "up", "float32", [4, 4]);
  const text = input(g, "text", "float32", ["B", 3, 4]);
  const bias = input(g, "bias", "float32", ["B", 1, 1, 5]);
  for (const [name, shape] of [
    ["prompt", [2, 2, 4]],
    ["up", [4, 4]],
    ["text", [2, 3, 4]],
    ["bias", [2, 1, 1, 5]],
  ] as const)
    numbers(name, shape);
  let x = ops.concat(g, [prompt, ops.relu(g, text)], 1);
  for (const block of [0, 1]) {
    const at = (name: string, ...shape: number[]) => frozen(`${block}.${name}`, shape);
    const normed = ops.rmsNorm(g, x, at("norm", 4), 1e-6);
    const heads = (name: string) => ops.splitHeads(g, ops.linear(g, normed, at(name, 4, 4)), 2);
    const context = ops.mergeHeads(g, ops.attend(g, heads("q"), heads("k"), heads("v"), bias, 0.7));
    const moved = block === 1 ? ops.linear(g, context, up) : context;
    x = ops.add(g, x, ops.linear(g, moved, at("o", 4, 4)));
    const second = ops.layerNorm(g, x, at("norm2", 4), at("shift", 4), 1e-6);
    const gate = ops.silu(g, ops.linear(g, second, at("gate", 8, 4)));
    const wide = ops.mul(g, gate, ops.linear(g, second, at("wide", 8, 4)));
    x = ops.add(g, x, ops.linear(g, wide, at("down", 4, 8)));
  }
  const last = ops.rmsNorm(g, x, frozen("last", [4]), 1e-6);
  const loss = ops.sum(g, ops.mul(g, last, last), [0, 1, 2]);
  output(g, "loss", loss);
  const forward = g.nodes.length;
  for (const [i, dx] of gradients(g, loss, [prompt, up]).entries()) output(g, `gradient${i}`, dx);
  return { g, feeds, forward, trained: [prompt, up] };
}

/** Values that the first nodes make and later ones read. */
function carried({ nodes }: Graph, forward: number): Value[] {
  const made = new Set(nodes.slice(0, forward).flatMap(({ outputs }) => outputs));
  return [...new Set(nodes.slice(forward).flatMap(({ inputs }) => inputs.filter((v) => made.has(v))))];
}

test("every result is the same number; only inputs of norms and what depends on nothing trained are carried over", () => {
  const { g, feeds, forward, trained } = model();
  const little = recomputing(g, forward, trained);
  check(little);
  expect(interpret(little, feeds)).toEqual(interpret(g, feeds));
  const read = simplify(little).graph;
  const intoNorms = new Set(
    read.nodes.filter(({ op }) => op === "rmsNorm" || op === "layerNorm").map(({ inputs }) => inputs[0]!.id),
  );
  const inside = (values: Value[]) => values.filter((v) => !intoNorms.has(v.id)).map((v) => v.name);
  // the last norm's result, which is not inside a block, is computed again too
  expect(inside(carried(little, forward))).toEqual([]);
  expect(inside(carried(g, forward)).length).toBeGreaterThan(20);
});

test("what is computed again is counted: of each block what its norms' inputs do not already hold", () => {
  const { g, forward, trained } = model();
  const [plain, little] = [count(g, { B: 2 }), count(recomputing(g, forward, trained), { B: 2 })];
  // by hand, for B = 2 rows of 5 positions, width 4: q, k, v; scores and contexts of 2 heads of 2; gate and wide, 8 neurons. The last linears of the
  // two branches are not: their sums are inputs of norms
  const linears = 2 * (3 * 2 * (2 * 5) * 4 * 4 + 2 * 2 * (2 * 5) * 4 * 8);
  const attention = 2 * 2 * (2 * (2 * 2 * 5 * 5) * 2);
  expect(little.linears.forward - plain.linears.forward).toBe(linears);
  expect(little.attention - plain.attention).toBe(attention);
  expect(little.total - plain.total).toBe(linears + attention);
});

test("what needs no gradient stands before what does, so that the runtime makes it just before it is read", () => {
  const { g, forward, trained } = model();
  const { nodes } = recomputing(g, forward, trained);
  const gradient = new Set<number>();
  const isChain = nodes.slice(forward).map((node) => {
    const inside = node.op === "unsqueeze" || node.inputs.some(({ id }) => gradient.has(id));
    if (inside) for (const { id } of node.outputs) gradient.add(id);
    return inside;
  });
  const first = isChain.indexOf(true);
  expect(isChain.slice(first).every(Boolean)).toBe(true);
  const before = nodes.slice(forward, forward + first).map(({ op }) => op);
  // the blocks again, and the derivative of silu, which reads no gradient
  expect(before).toEqual(expect.arrayContaining(["attend", "silu", "linear", "sub"]));
});
