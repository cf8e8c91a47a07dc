/**
 * Every op of the graph: ONNX Runtime (fused and plain lowering) against the float64 interpreter that defines it, and
 * every gradient rule against central differences. A new op without cases here does not compile.
 */
import { describe, expect, test } from "vitest";
import { random } from "../src/base/random.js";
import type { Feed } from "../src/base/tensor.js";
import { size } from "../src/base/tensor.js";
import { sizeOf } from "../src/graph/dims.js";
import { gradient, rules } from "../src/graph/grad.js";
import {
  type Attributes,
  type Dim,
  emptyGraph,
  type Graph,
  input,
  type Op,
  output,
  type Value,
  weight,
} from "../src/graph/graph.js";
import { interpret, type Numbers } from "../src/graph/interpret.js";
import * as ops from "../src/graph/ops.js";
import { openSession } from "../src/runtime/session.js";

interface Case<K extends Op> {
  /**
   * Shapes of the float inputs; symbols take their size from `sizes`. An `ids` entry is an int32 input below `below`, a `frozen` one is a
   * weight of any numbers of its type.
   */
  readonly inputs: readonly Spec[];
  readonly attributes: Attributes[K];
  /** Inputs to differentiate; none for ops without a rule. */
  readonly wrt?: readonly number[];
}

type Spec =
  | readonly Dim[]
  | { readonly ids: readonly Dim[]; readonly below: number }
  | { readonly frozen: readonly number[]; readonly dtype: keyof typeof frozenTypes };

const frozenTypes = { float32: Float32Array, int8: Int8Array, uint8: Uint8Array };

const sizes = { B: 2, C: 3, S: 4, T: 3, P: 2, U: 2, N: 7 };
const none = {};

const cases: { readonly [K in Op]: readonly Case<K>[] } = {
  add: [
    {
      inputs: [
        ["B", 3],
        ["B", 3],
      ],
      attributes: none,
      wrt: [0, 1],
    },
    { inputs: [["B", "S", 3], [3]], attributes: none, wrt: [0, 1] },
    {
      inputs: [
        ["B", 1, 3],
        ["B", "S", 3],
      ],
      attributes: none,
      wrt: [0, 1],
    },
  ],
  sub: [
    {
      inputs: [
        ["B", 3],
        ["B", 1],
      ],
      attributes: none,
      wrt: [0, 1],
    },
  ],
  mul: [
    {
      inputs: [
        ["B", 3],
        ["B", 3],
      ],
      attributes: none,
      wrt: [0, 1],
    },
    { inputs: [[], ["B", 3]], attributes: none, wrt: [0, 1] },
  ],
  scaleAdd: [
    {
      inputs: [
        ["B", "S", 3],
        ["B", "S", 3],
        ["B", "S", 1],
      ],
      attributes: none,
      wrt: [0, 1, 2],
    },
    {
      inputs: [
        ["B", 3],
        ["B", 3],
        ["B", 1],
      ],
      attributes: none,
      wrt: [0, 1, 2],
    },
  ],
  abs: [{ inputs: [["B", 3]], attributes: none }],
  exp: [{ inputs: [["B", 3]], attributes: none, wrt: [0] }],
  sigmoid: [{ inputs: [["B", 3]], attributes: none, wrt: [0] }],
  tanh: [{ inputs: [["B", 3]], attributes: none, wrt: [0] }],
  relu: [{ inputs: [["B", "S", 5]], attributes: none, wrt: [0] }],
  step: [{ inputs: [["B", 3]], attributes: none }],
  gelu: [
    { inputs: [["B", "S", 5]], attributes: { exact: false }, wrt: [0] },
    { inputs: [["B", "S", 5]], attributes: { exact: true }, wrt: [0] },
  ],
  silu: [{ inputs: [["B", "S", 5]], attributes: none, wrt: [0] }],
  cast: [{ inputs: [["B", 3]], attributes: { to: "float32" } }],
  matmul: [
    {
      inputs: [
        ["B", 3, 4],
        ["B", 4, 2],
      ],
      attributes: { transA: false, transB: false, alpha: 1 },
      wrt: [0, 1],
    },
    {
      inputs: [
        ["B", 3, 4],
        ["B", 2, 4],
      ],
      attributes: { transA: false, transB: true, alpha: 1 },
      wrt: [0, 1],
    },
    {
      inputs: [
        ["B", 4, 3],
        ["B", 4, 2],
      ],
      attributes: { transA: true, transB: false, alpha: 1 },
      wrt: [0, 1],
    },
    {
      inputs: [
        ["B", 4, 3],
        ["B", 2, 4],
      ],
      attributes: { transA: true, transB: true, alpha: 1 },
      wrt: [0, 1],
    },
    {
      inputs: [
        ["B", 3, 4],
        ["B", 4, 2],
      ],
      attributes: { transA: false, transB: false, alpha: 0.25 },
      wrt: [0, 1],
    },
    {
      inputs: [
        ["B", 4, 3],
        ["B", 2, 4],
      ],
      attributes: { transA: true, transB: true, alpha: -3 },
      wrt: [0, 1],
    },
    {
      inputs: [
        ["B", "S", 4],
        [4, 2],
      ],
      attributes: { transA: false, transB: false, alpha: 1 },
      wrt: [0, 1],
    },
  ],
  // 8 bits, 4 bits, 4 bits with an offset; blocks of 16 and 32
  linearBlocks: [
    { inputs: [["B", "S", 64], ...blocks("int8", [3, 64], 2)], attributes: none, wrt: [0] },
    { inputs: [["B", 64], ...blocks("uint8", [3, 32], 4)], attributes: none, wrt: [0] },
    { inputs: [["B", "S", 64], ...blocks("uint8", [4, 32], 2)], attributes: none, wrt: [0] },
    { inputs: [["B", "S", 96], ...blocks("uint8", [5, 48], 3, true)], attributes: none, wrt: [0] },
    { inputs: [["B", 32], ...blocks("int8", [5, 32], 2, true)], attributes: none, wrt: [0] },
  ],
  widenBlocks: [
    { inputs: blocks("int8", [3, 64], 4), attributes: none },
    { inputs: blocks("uint8", [3, 32], 2), attributes: none },
    { inputs: blocks("uint8", [3, 48], 3, true), attributes: none },
  ],
  // their inputs are no random numbers: test/eight-bit.test.ts
  linear8: [],
  linearBack8: [],
  linear: [
    {
      inputs: [
        ["B", "S", 4],
        [3, 4],
      ],
      attributes: { back: false, stored: "out,in" },
      wrt: [0, 1],
    },
    {
      inputs: [
        ["B", "S", 3],
        [3, 4],
      ],
      attributes: { back: true, stored: "out,in" },
      wrt: [0, 1],
    },
    {
      inputs: [["B", "P+T", 4], [3, 4], [3]],
      attributes: { back: false, stored: "out,in" },
      wrt: [0, 1, 2],
    },
    {
      inputs: [["B", "C", "U", 4], [4, 3], [3]],
      attributes: { back: false, stored: "in,out" },
      wrt: [0, 1, 2],
    },
    {
      inputs: [
        ["B", 3],
        [4, 3],
      ],
      attributes: { back: true, stored: "in,out" },
      wrt: [0, 1],
    },
  ],
  rmsNorm: [
    { inputs: [["B", "S", 6], [6]], attributes: { epsilon: 1e-6, stopsAtZero: true }, wrt: [0, 1] },
    { inputs: [["B", 2, "S", 3], [3]], attributes: { epsilon: 0.1, stopsAtZero: false }, wrt: [0, 1] },
    { inputs: [["B", "S", 6]], attributes: { epsilon: 1e-6, stopsAtZero: false }, wrt: [0] },
  ],
  layerNorm: [{ inputs: [["B", "S", 6], [6], [6]], attributes: { epsilon: 1e-5 }, wrt: [0, 1, 2] }],
  attend: [
    {
      inputs: [
        ["B", 2, "U", 3],
        ["B", 2, "S", 3],
        ["B", 2, "S", 3],
        ["B", 1, 1, "S"],
      ],
      attributes: { scale: 1 },
      wrt: [0, 1, 2, 3],
    },
    {
      inputs: [
        ["B", "C", 2, "U", 3],
        ["B", "C", 2, "U", 3],
        ["B", "C", 2, "U", 3],
        [1, 2, "U", "U"],
      ],
      attributes: { scale: 1 },
      wrt: [0, 1, 2, 3],
    },
    // 4 query heads over 2 key heads, each row with a mask of its own; then 3 over 1
    {
      inputs: [
        ["B", 4, "U", 3],
        ["B", 2, "S", 3],
        ["B", 2, "S", 5],
        ["B", 1, "U", "S"],
      ],
      attributes: { scale: 3 ** -0.5 },
      wrt: [0, 1, 2, 3],
    },
    {
      inputs: [
        ["B", "C", 3, "P+T", 2],
        ["B", "C", 1, "S", 2],
        ["B", "C", 1, "S", 2],
        ["P+T", "S"],
      ],
      attributes: { scale: 0.5 },
      wrt: [0, 1, 2, 3],
    },
  ],
  attendOver: [
    {
      inputs: [
        ["B", 2, "U", 3],
        ["B", 2, "S", 3],
        ["B", 2, "S", 3],
        ["B", 2, "U", 3],
        ["B", 2, "U", 3],
        ["B", 1, "U", "S+U"],
      ],
      attributes: { scale: 1 },
      wrt: [0, 3, 4],
    },
    // 4 query heads over 2 key heads
    {
      inputs: [
        ["B", 4, "U", 3],
        ["B", 2, "S", 3],
        ["B", 2, "S", 5],
        ["B", 2, "N", 3],
        ["B", 2, "N", 5],
        ["B", 1, "U", "S+N"],
      ],
      attributes: { scale: 3 ** -0.5 },
      wrt: [0, 3, 4],
    },
  ],
  rope: [
    ...[false, true].map((back) => ({
      inputs: [["B", 3, "S", 8], ["N", 4], ["N", 4], { ids: ["B", "S"], below: 7 }],
      attributes: { back },
      wrt: [0],
    })),
    // the last two of six channels stay
    ...[false, true].map((back) => ({
      inputs: [["B", 3, "S", 6], ["N", 2], ["N", 2], { ids: ["B", "S"], below: 7 }],
      attributes: { back },
      wrt: [0],
    })),
    // one list of positions for all rows; more leading axes
    { inputs: [["B", 3, "S", 4], ["N", 2], ["N", 2], { ids: ["S"], below: 7 }], attributes: { back: false }, wrt: [0] },
    {
      inputs: [["B", "C", 2, "U", 6], ["N", 2], ["N", 2], { ids: ["B", "C", "U"], below: 7 }],
      attributes: { back: false },
      wrt: [0],
    },
  ],
  sum: [{ inputs: [["B", "S", 3]], attributes: { axes: [1, 2] }, wrt: [0] }],
  mean: [{ inputs: [["B", "S", 3]], attributes: { axes: [2] } }],
  transpose: [{ inputs: [["B", "S", 3]], attributes: { order: [2, 0, 1] }, wrt: [0] }],
  splitHeads: [
    { inputs: [["B", "S", 6]], attributes: { heads: 2 }, wrt: [0] },
    { inputs: [["B", "C", "U", 6]], attributes: { heads: 3 }, wrt: [0] },
  ],
  mergeHeads: [
    { inputs: [["B", 2, "S", 3]], attributes: none, wrt: [0] },
    { inputs: [["B", "C", 2, "U", 3]], attributes: none, wrt: [0] },
  ],
  regroup: [
    { inputs: [["B", 4, "U", 3]], attributes: { heads: 2 }, wrt: [0] },
    { inputs: [["B", 2, "2*P+2*T", 3]], attributes: { heads: 4 }, wrt: [0] },
  ],
  reshapeLike: [
    {
      inputs: [
        ["B", "C*U", 3],
        ["B", "C", "U", 3],
      ],
      attributes: none,
      wrt: [0],
    },
  ],
  flatten: [
    { inputs: [["B", "C", "U", 3]], attributes: { axis: 1 }, wrt: [0] },
    { inputs: [["B", 3, 2]], attributes: { axis: 1 }, wrt: [0] },
  ],
  unsqueeze: [{ inputs: [["B", 3]], attributes: { axis: 1 }, wrt: [0] }],
  concat: [
    {
      inputs: [
        ["B", "P", 3],
        ["B", "T", 3],
      ],
      attributes: { axis: 1 },
      wrt: [0, 1],
    },
    {
      inputs: [
        ["B", 3],
        ["B", 1],
      ],
      attributes: { axis: 1 },
      wrt: [0, 1],
    },
    {
      inputs: [
        ["B", "P", 3],
        ["B", "T", 3],
        ["B", 1, 3],
        ["B", "U", 3],
      ],
      attributes: { axis: 1 },
      wrt: [0, 1, 2, 3],
    },
  ],
  broadcastLike: [
    { inputs: [[1, "P", 3], ["B"]], attributes: { axis: 0 }, wrt: [0] },
    {
      inputs: [
        ["B", 1, 3],
        ["U", "S", 2],
      ],
      attributes: { axis: 1 },
      wrt: [0],
    },
    {
      inputs: [
        ["B", 1],
        ["B", "S"],
      ],
      attributes: { axis: 1 },
      wrt: [0],
    },
  ],
  split: [
    { inputs: [["B", "S", 6]], attributes: { axis: 2, parts: 3 }, wrt: [0] },
    { inputs: [["B", 4, "S"]], attributes: { axis: 1, parts: 2 }, wrt: [0] },
  ],
  slice: [
    {
      inputs: [
        ["B", "S", 3],
        ["B", "P", 3],
      ],
      attributes: { axis: 1, from: "start" },
      wrt: [0],
    },
    {
      inputs: [
        ["B", "S", 3],
        ["B", "T", 3],
      ],
      attributes: { axis: 1, from: "end" },
      wrt: [0],
    },
    // what lies behind one element and two more
    {
      inputs: [
        ["B", "P+T", 3],
        ["B", "U", 3],
        ["B", 1],
        ["B", "P"],
      ],
      attributes: { axis: 1, from: "start" },
      wrt: [0],
    },
  ],
  padLike: [
    {
      inputs: [
        ["B", "P", 3],
        ["B", "S", 3],
      ],
      attributes: { axis: 1, from: "start" },
      wrt: [0],
    },
    {
      inputs: [
        ["B", "T", 3],
        ["B", "S", 3],
      ],
      attributes: { axis: 1, from: "end" },
      wrt: [0],
    },
    {
      inputs: [
        ["B", 3, "P"],
        ["B", 3, "S"],
        ["B", 3, 1],
      ],
      attributes: { axis: 2, from: "start" },
      wrt: [0],
    },
  ],
  // few rows, so that some are taken twice
  gather: [
    { inputs: [[5, 3], { ids: ["B", "S"], below: 5 }], attributes: { axis: 0 }, wrt: [0] },
    { inputs: [[2, 5], { ids: ["U", "S"], below: 5 }], attributes: { axis: 1 }, wrt: [0] },
    { inputs: [["B", 2, 4, 3], { ids: ["S"], below: 4 }], attributes: { axis: 2 }, wrt: [0] },
  ],
  gatherRows: [
    { inputs: [["B", "S", 3], { ids: ["B", "P+T"], below: 4 }], attributes: none, wrt: [0] },
    { inputs: [["B", "S", 3], { ids: ["B", 1], below: 4 }], attributes: none, wrt: [0] },
  ],
  scatterRows: [
    { inputs: [[4, 3], { ids: ["B", "P+T"], below: 4 }, ["B", "P+T", 3]], attributes: { batched: false } },
    { inputs: [["B", "S", 3], { ids: ["B", "P+T"], below: 4 }, ["B", "P+T", 3]], attributes: { batched: true } },
  ],
  nll: [
    { inputs: [["B", "U", 5], { ids: ["B", "U"], below: 5 }], attributes: none, wrt: [0] },
    { inputs: [["B", "C", "U", 5], { ids: ["B", "C", "U"], below: 5 }], attributes: none, wrt: [0] },
  ],
  scatterAdd: [{ inputs: [["B", "U", 5], { ids: ["B", "U"], below: 5 }, ["B", "U"]], attributes: none }],
  argMax: [{ inputs: [["B", 7]], attributes: none }],
};

/** Inputs of a matrix in blocks, `count` of them in each row. */
function blocks(dtype: "int8" | "uint8", shape: readonly [number, number], count: number, hasOffset = false): Spec[] {
  const perBlock = { frozen: [shape[0], count], dtype: "float32" } as const;
  return [{ frozen: shape, dtype }, perBlock, ...(hasOffset ? [perBlock] : [])];
}

const flat = (Object.keys(cases) as Op[]).flatMap((op) =>
  cases[op].map((c, i) => ({ op, name: `${op} ${i}`, ...(c as Case<Op>) })),
);

interface Built {
  readonly graph: Graph;
  readonly inputs: readonly Value[];
  readonly feeds: Record<string, Numbers>;
}

/** The case's op over random inputs, all its results as outputs y0, y1. */
function build({ op, inputs: specs, attributes }: Case<Op> & { op: Op }, name: string): Built & { result: Value } {
  const graph = emptyGraph();
  const draw = random(7, name);
  const feeds: Record<string, Numbers> = {};
  const inputs = specs.map((spec, i) => {
    if ("frozen" in spec) {
      const { frozen: shape, dtype } = spec;
      const number = {
        float32: () => draw.uniform(-0.02, 0.02),
        int8: () => draw.integer(256) - 128,
        uint8: () => draw.integer(256),
      };
      const data = new frozenTypes[dtype](Array.from({ length: size(shape) }, number[dtype]));
      feeds[`x${i}`] = { shape, data: Float64Array.from(data) };
      return weight(graph, `x${i}`, dtype, shape, { kind: "inline", data });
    }
    const dims = "ids" in spec ? spec.ids : spec;
    const shape = dims.map((d) => sizeOf(d, sizes));
    const data = Float64Array.from({ length: size(shape) }, () =>
      "ids" in spec ? draw.integer(spec.below) : away(draw.uniform(-2, 2)),
    );
    feeds[`x${i}`] = { shape, data: data.map((v) => ("ids" in spec ? v : Math.fround(v))) };
    return input(graph, `x${i}`, "ids" in spec ? "int32" : "float32", dims);
  });
  const results = ops.apply(graph, op, inputs, attributes);
  for (const [i, y] of results.entries()) output(graph, `y${i}`, y);
  return { graph, inputs, feeds, result: results[0]! };
}

/** Keeps clear of the kink of relu, where no derivative exists. */
const away = (x: number) => (Math.abs(x) < 0.01 ? 0.01 : x);

async function runtime(graph: Graph, feeds: Record<string, Numbers>, plainOps: boolean) {
  const session = await openSession("op", graph, { threads: 1, device: "cpu", lowMemory: false, plainOps });
  const typed = Object.fromEntries(
    graph.inputs.map((v): [string, Feed] => {
      const { shape, data } = feeds[v.name]!;
      return v.dtype === "int32"
        ? [v.name, { dtype: "int32", shape, data: Int32Array.from(data) }]
        : [v.name, { dtype: "float32", shape, data: Float32Array.from(data) }];
    }),
  );
  try {
    return await session.run(typed);
  } finally {
    await session.dispose();
  }
}

/** float32 against float64 on values of order 1 with sums of at most 30 terms: a few units of 2^-24 each. */
const float32Tolerance = 1e-5;

function expectClose(got: { shape: readonly number[]; data: ArrayLike<number> }, wanted: Numbers, tolerance: number) {
  expect(got.shape).toEqual(wanted.shape);
  const worst = wanted.data.reduce((w, v, i) => Math.max(w, Math.abs(v - got.data[i]!) / Math.max(1, Math.abs(v))), 0);
  expect(worst).toBeLessThan(tolerance);
}

describe.each([
  ["fused", false],
  ["plain", true],
])("%s lowering", (_, plain) => {
  test.each(flat)("$name: ONNX Runtime agrees with the definition", async (c) => {
    const { graph, feeds } = build(c, c.name);
    const wanted = interpret(graph, feeds);
    const got = await runtime(graph, feeds, plain);
    for (const name of Object.keys(wanted)) expectClose(got[name]!, wanted[name]!, float32Tolerance);
  });

  // an op may take a shorter kernel where nobody reads its second result
  test.each(flat.filter((c) => build(c, c.name).graph.outputs.length > 1))(
    "$name: the first result alone is the same",
    async (c) => {
      const { graph, feeds } = build(c, c.name);
      graph.outputs.length = 1;
      expectClose((await runtime(graph, feeds, plain)).y0!, interpret(graph, feeds).y0!, float32Tolerance);
    },
  );
});

const differentiable = flat.flatMap((c) => (c.wrt ?? []).map((at) => ({ ...c, at, title: `${c.name}, input ${at}` })));

/** loss = Σ seed ⊙ y, and its gradient as an output of the same graph. */
function withGradient(c: (typeof differentiable)[number]) {
  const built = build(c, c.title);
  const { graph, result, inputs, feeds } = built;
  const y = interpret(graph, feeds).y0!;
  const draw = random(11, c.title);
  feeds.seed = { shape: y.shape, data: y.data.map(() => Math.fround(draw.uniform(-1, 1))) };
  const seeded = ops.mul(graph, result, input(graph, "seed", "float32", result.shape));
  const loss =
    seeded.shape.length === 0
      ? seeded
      : ops.sum(
          graph,
          seeded,
          seeded.shape.map((_, i) => i),
        );
  output(graph, "loss", loss);
  output(graph, "gradient", gradient(graph, loss, inputs[c.at]!));
  return built;
}

describe("gradient rules", () => {
  test("every op with a rule is checked", () => {
    // of rounding there is no derivative: its rule is its own way back (test/eight-bit.test.ts)
    const checked = Object.keys(rules).filter((op) => op !== "linear8" && op !== "linearBack8");
    expect([...new Set(differentiable.map((c) => c.op))].sort()).toEqual(checked.sort());
  });

  test.each(differentiable)("$title: agrees with central differences", (c) => {
    const { graph, feeds } = withGradient(c);
    const name = `x${c.at}`;
    const { shape, data } = feeds[name]!;
    const lossAt = (x: Float64Array) => interpret(graph, { ...feeds, [name]: { shape, data: x } }).loss!.data[0]!;
    // float64, h = 1e-5: truncation ~h² = 1e-10, rounding ~1e-15/h = 1e-10; 1e-8 leaves two digits of room
    const h = 1e-5;
    const wanted = data.map((v, i) => (lossAt(data.with(i, v + h)) - lossAt(data.with(i, v - h))) / (2 * h));
    expectClose(interpret(graph, feeds).gradient!, { shape, data: wanted }, 1e-8);
  });

  test.each(differentiable)("$title: ONNX Runtime agrees with the definition", async (c) => {
    const { graph, feeds } = withGradient(c);
    const wanted = interpret(graph, feeds).gradient!;
    for (const plain of [false, true])
      expectClose((await runtime(graph, feeds, plain)).gradient!, wanted, 3 * float32Tolerance);
  });
});
