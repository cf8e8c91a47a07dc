/**
 * @file Linear layers in 8 bits: against the definition, row by row, both ways; the matrices' rounding; whole models against float32.
 */
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fromBinary } from "@bufbuild/protobuf";
import { ModelProtoSchema } from "onnx-buf";
import { afterAll, describe, expect, test } from "vitest";
import { random } from "../src/base/random.js";
import type { Feeds } from "../src/base/tensor.js";
import { inEightBits, largestEightBit } from "../src/engine/eight-bit.js";
import { openEngine } from "../src/engine/engine.js";
import type { StepResult } from "../src/engine/types.js";
import { gradient } from "../src/graph/grad.js";
import { constant, emptyGraph, type Graph, input, output, weight } from "../src/graph/graph.js";
import { interpret, type Numbers } from "../src/graph/interpret.js";
import * as ops from "../src/graph/ops.js";
import { openBuilder } from "../src/model/builder.js";
import { type Checkpoint, openCheckpoint } from "../src/model/checkpoint.js";
import { blockLayers, eightBitLayers, withEightBit } from "../src/model/eight-bit.js";
import { fullModel, partialModel } from "../src/model/partial.js";
import { productsOf, type Rounded, roundColumns, roundRowsTurned, smoothing, storedAs } from "../src/model/quantise.js";
import { lower } from "../src/onnx/lower.js";
import { openLikeParent } from "../src/run/child.js";
import { openSession } from "../src/runtime/session.js";
import { makeBatch } from "../src/text/batch.js";

const place = mkdtempSync(join(tmpdir(), "softprompt-int8-"));
afterAll(() => rmSync(place, { recursive: true, force: true }));

const draw = random(3, "eight bits");
const floats = (n: number, range = 1) => Float32Array.from({ length: n }, () => draw.uniform(-range, range));
const most = await largestEightBit({ device: "cpu", plainOps: false });

interface Rounding {
  readonly factors?: Float32Array;
  readonly terms?: 1 | 2;
  /** Weights to 127, multiplied as unsigned numbers, on every processor. */
  readonly unsigned?: true;
}

const mostOf = ({ unsigned }: Rounding) => (unsigned ? 127 : most);

/** x·M forwards and the gradient of its sum weighed by dy, as a graph of one layer; `factors` smooth its inputs. */
function layer(w: Float32Array, [out, into]: readonly [number, number], rank: 2 | 3, more: Rounding = {}) {
  const { factors, terms = 1 } = more;
  const g = emptyGraph();
  const x = input(g, "x", "float32", rank === 2 ? ["M", into] : ["B", "S", into]);
  const dy = input(g, "dy", "float32", rank === 2 ? ["M", out] : ["B", "S", out]);
  const divided = factors ? w.map((v, i) => v / factors[i % into]!) : w;
  const dtype = more.unsigned ? "uint8" : "int8";
  const stored = ({ values, scale }: Rounded) => ({ values: storedAs(dtype, values), scale });
  const forward = stored(roundRowsTurned(divided, into, mostOf(more)));
  const back = stored(roundColumns(w, into, mostOf(more)));
  const matrices = {
    forward: { matrix: input(g, "m", dtype, [into, out]), scale: input(g, "s", "float32", [out]) },
    back: { matrix: input(g, "turned", dtype, [out, into]), scale: input(g, "t", "float32", [into]) },
    smoothing: factors && input(g, "f", "float32", [into]),
    terms,
  };
  const y = ops.linear8(g, x, matrices);
  const loss = ops.sum(g, ops.mul(g, y, dy), rank === 2 ? [0, 1] : [0, 1, 2]);
  output(g, "y", y);
  output(g, "dx", gradient(g, loss, x));
  return { g, forward, back };
}

/** The same graph with the matrices inside, as a session wants them. */
function layerForSession(w: Float32Array, size: readonly [number, number], rank: 2 | 3, more: Rounding = {}) {
  const { g, forward, back } = layer(w, size, rank, more);
  const values = {
    m: forward.values,
    s: forward.scale,
    turned: back.values,
    t: back.scale,
    ...(more.factors ? { f: more.factors } : {}),
  };
  const inside = g.inputs.filter((v) => v.name in values);
  return {
    ...g,
    inputs: g.inputs.filter((v) => !(v.name in values)),
    weights: [
      ...g.weights,
      ...inside.map((v) => Object.assign(v, { source: { weight: { kind: "inline", data: values[v.name as "m"] } } })),
    ],
  };
}

describe("one layer", () => {
  const [out, into, rows] = [48, 64, 12];
  const w = floats(out * into, 0.3);
  const x = floats(rows * into, 2);
  const dy = floats(rows * out);

  const factors = Float32Array.from({ length: into }, (_, k) => 2 ** ((k % 3) - 1));

  test.each([
    ["one term", false, 2, {}],
    ["one term", true, 2, {}],
    ["one term", false, 3, {}],
    ["one term", true, 3, {}],
    ["smoothed", false, 3, { factors }],
    ["smoothed", true, 2, { factors }],
    ["two terms", false, 3, { terms: 2 }],
    ["two terms", true, 2, { terms: 2 }],
    ["unsigned, two terms", false, 3, { terms: 2, unsigned: true }],
    ["unsigned", false, 2, { unsigned: true }],
    ["unsigned, smoothed", true, 3, { factors, unsigned: true }],
  ] as const)(
    "ONNX Runtime computes the definition, both ways (%s, plain operators: %s, rank %i)",
    async (_, plainOps, rank, more: Rounding) => {
      const lead = rank === 2 ? [rows] : [3, rows / 3];
      const { g, forward, back } = layer(w, [out, into], rank, more);
      const numbers = (shape: readonly number[], data: ArrayLike<number>) => ({ shape, data: Float64Array.from(data) });
      const defined = interpret(g, {
        x: numbers([...lead, into], x),
        dy: numbers([...lead, out], dy),
        m: numbers([into, out], forward.values),
        s: numbers([out], forward.scale),
        turned: numbers([out, into], back.values),
        t: numbers([into], back.scale),
        ...(more.factors ? { f: numbers([into], more.factors) } : {}),
      });
      const run = async (lowMemory: boolean) => {
        const options = { threads: 2, device: "cpu", lowMemory, plainOps } as const;
        const session = await openSession("layer", layerForSession(w, [out, into], rank, more), options);
        const found = await session.run({
          x: { dtype: "float32", shape: [...lead, into], data: x },
          dy: { dtype: "float32", shape: [...lead, out], data: dy },
        });
        await session.dispose();
        return found;
      };
      const got = await run(false);
      // sums of whole numbers do not depend on how a product is divided
      expect(await run(true)).toEqual(got);
      for (const name of ["y", "dx"]) {
        const scale = Math.max(...defined[name]!.data.map(Math.abs));
        // a tie in rounding may go the other way in float32: one step of one row
        for (const [i, wanted] of defined[name]!.data.entries())
          expect(Math.abs(got[name]!.data[i]! - wanted) / scale).toBeLessThan(2e-3);
        const off = defined[name]!.data.filter((wanted, i) => Math.abs(got[name]!.data[i]! - wanted) > 1e-5 * scale);
        expect(off.length).toBeLessThanOrEqual(out);
      }
      // and it is near the product in float32
      const exact = Array.from({ length: rows * out }, (_, i) => {
        const [r, n] = [Math.floor(i / out), i % out];
        return x.subarray(r * into, (r + 1) * into).reduce((sum, v, k) => sum + v * w[n * into + k]!, 0);
      });
      const largest = Math.max(...exact.map(Math.abs));
      for (const [i, v] of exact.entries())
        expect(Math.abs(got.y!.data[i]! - v) / largest).toBeLessThan(
          (mostOf(more) === 127 ? 0.02 : 0.03) * (more.factors ? 2 : 1),
        );
    },
  );

  test.each([false, true])(
    "a row alone and among others, an outlier beside it, has equal bits (plain operators: %s)",
    async (plainOps) => {
      const session = await openSession("rows", layerForSession(w, [out, into], 2), {
        threads: 2,
        device: "cpu",
        lowMemory: false,
        plainOps,
      });
      const run = async (data: Float32Array) => {
        const count = data.length / into;
        return (
          await session.run({
            x: { dtype: "float32", shape: [count, into], data },
            dy: { dtype: "float32", shape: [count, out], data: new Float32Array(count * out) },
          })
        ).y!.data as Float32Array;
      };
      const row = x.slice(0, into);
      const alone = await run(row);
      const among = floats(32 * into, 2);
      among.set(row, 7 * into);
      among[3] = 300;
      expect((await run(among)).slice(7 * out, 8 * out)).toEqual(alone);
      const zeros = await run(new Float32Array(into));
      expect(zeros.every((v) => v === 0)).toBe(true);
      await session.dispose();
    },
  );
});

/** @param most how many numbers may be off by a rounding that went the other way */
function expectNear(
  got: Feeds,
  defined: Readonly<Record<string, Numbers>>,
  names: readonly string[],
  most: number,
): void {
  for (const name of names) {
    const scale = Math.max(...defined[name]!.data.map(Math.abs));
    const errors = [...defined[name]!.data].map((v, i) => Math.abs(got[name]!.data[i]! - v) / scale);
    // a tie in rounding may go the other way in float32: one step of one row
    expect(Math.max(...errors)).toBeLessThan(5e-3);
    expect(errors.filter((error) => error > 1e-5).length).toBeLessThanOrEqual(most);
  }
}

describe("a norm before layers in 8 bits", () => {
  const [width, rows] = [32, 12];
  const [gain, w, dy] = [floats(width).map((v) => v + 2), floats(2 * width * width, 0.3), floats(rows * width)];
  const factors = Float32Array.from({ length: width }, (_, k) => 2 ** ((k % 3) - 1));

  /** A residual block of a norm and two layers that read it, and its gradient: of the layers as they are, or through a builder. */
  function block(built: boolean, { terms = 1, smooth = true }: { terms?: 1 | 2; smooth?: boolean } = {}): Graph {
    const g = emptyGraph();
    const x = input(g, "x", "float32", ["B", "S", width]);
    const inline = (name: string, shape: number[], data: Float32Array) =>
      weight(g, name, "float32", shape, { kind: "inline", data });
    const layers = ["a", "b"].map((name, i) => {
      const own = w.slice(i * width * width, (i + 1) * width * width);
      const forward = roundRowsTurned(smooth ? own.map((v, n) => v / factors[n % width]!) : own, width, most);
      const back = roundColumns(own, width, most);
      const of = ({ values, scale }: typeof back, way: string) => ({
        matrix: constant(g, [width, width], values),
        scale: inline(`${name}/${way}.scale`, [width], scale),
      });
      const smoothing = smooth ? inline("smoothing", [width], factors) : undefined;
      return { forward: of(forward, "forward"), back: of(back, "back"), smoothing, terms };
    });
    const norm = inline("norm.weight", [width], gain);
    const b = openBuilder(
      g,
      {
        has: (name) => name === "norm.weight",
        stored: () => "out,in",
        declare: () => norm,
        eightBit: (_, name) => layers[name === "a.weight" ? 0 : 1]!,
      },
      { name: "none", stacks: {} },
    );
    const normed = ops.rmsNorm(g, x, norm, 1e-6);
    const [first, second] = layers.map((layer, i) =>
      built ? b.linear(normed, i === 0 ? "a" : "b") : ops.linear8(g, normed, layer),
    );
    const y = ops.add(g, x, ops.mul(g, first!, second!));
    const z = ops.add(g, y, built ? b.linear(normed, "b") : ops.linear8(g, normed, layers[1]!));
    output(g, "z", z);
    const weighed = ops.mul(g, z, input(g, "dy", "float32", ["B", "S", width]));
    output(g, "dx", gradient(g, ops.sum(g, weighed, [0, 1, 2]), x));
    return g;
  }
  const x = floats(rows * width, 3);
  const feeds = (data: (of: Float32Array) => Float64Array) => ({
    x: { shape: [3, rows / 3, width], data: data(x) },
    dy: { shape: [3, rows / 3, width], data: data(dy) },
  });
  const sizes = [{}, { smooth: false }, { smooth: false, terms: 2 }] as const;

  test.each(sizes)("its weight moves into them, and the block computes the same (%o)", (how) => {
    const numbers = feeds((of) => Float64Array.from(of));
    const [apart, together] = [interpret(block(false, how), numbers), interpret(block(true, how), numbers)];
    const norms = block(true, how).nodes.filter(({ op, inputs }) => op === "rmsNorm" && inputs.length === 1);
    expect(norms.length).toBe(1); // all layers read the same one
    for (const name of ["z", "dx"]) {
      const scale = Math.max(...apart[name]!.data.map(Math.abs));
      // the scales of the backward pass are kept in float32, and the norm's weight is multiplied into them
      for (const [i, v] of apart[name]!.data.entries())
        expect(Math.abs(together[name]!.data[i]! - v) / scale).toBeLessThan(1e-6);
    }
  });

  test.each(sizes.flatMap((how) => [false, true].map((plainOps) => ({ ...how, plainOps }))))(
    "ONNX Runtime computes the definition (%o)",
    async ({ plainOps, ...how }) => {
      const graph = block(true, how);
      const defined = interpret(
        graph,
        feeds((of) => Float64Array.from(of)),
      );
      const session = await openSession("block", graph, { threads: 2, device: "cpu", lowMemory: false, plainOps });
      const of = (data: Float32Array) => ({ dtype: "float32" as const, shape: [3, rows / 3, width], data });
      const got = await session.run({ x: of(x), dy: of(dy) });
      await session.dispose();
      expectNear(got, defined, ["z", "dx"], 2 * width);
    },
  );
});

describe("a gated feed-forward block", () => {
  const [width, neurons, rows] = [24, 40, 12];
  const sizes = { gate: [neurons, width], up: [neurons, width], down: [width, neurons] } as const;
  const matrices = Object.fromEntries(
    Object.entries(sizes).map(([name, [out, into]]) => [name, floats(out * into, 0.4)]),
  ) as Record<keyof typeof sizes, Float32Array>;
  const [x, dy] = [floats(rows * width, 2), floats(rows * width)];

  const activations = { silu: ops.silu, gelu: ops.gelu, relu: ops.relu };

  /** x + down(act(gate(x))·up(x)) and its gradient. `exact`: the layer out of the block is in float32. */
  function block({ exact, terms, act }: { exact: boolean; terms: 1 | 2; act: keyof typeof activations }): Graph {
    const g = emptyGraph();
    const given = input(g, "x", "float32", ["B", "S", width]);
    const linear = (from: typeof given, name: keyof typeof sizes) => {
      const [out, into] = sizes[name];
      if (exact && name === "down") return ops.linear(g, from, constant(g, [out, into], matrices.down));
      const [forward, back] = [roundRowsTurned(matrices[name], into, most), roundColumns(matrices[name], into, most)];
      return ops.linear8(g, from, {
        forward: { matrix: constant(g, [into, out], forward.values), scale: constant(g, [out], forward.scale) },
        back: { matrix: constant(g, [out, into], back.values), scale: constant(g, [into], back.scale) },
        terms,
      });
    };
    const y = ops.add(
      g,
      given,
      linear(ops.mul(g, activations[act](g, linear(given, "gate")), linear(given, "up")), "down"),
    );
    output(g, "y", y);
    const weighed = ops.mul(g, y, input(g, "dy", "float32", ["B", "S", width]));
    output(g, "dx", gradient(g, ops.sum(g, weighed, [0, 1, 2]), given));
    return g;
  }

  const cases = [
    { exact: false, terms: 1, act: "silu" },
    { exact: false, terms: 2, act: "silu" },
    { exact: true, terms: 1, act: "gelu" },
    { exact: false, terms: 1, act: "relu" },
  ] as const;
  test.each(cases.flatMap((how) => [false, true].map((plainOps) => ({ ...how, plainOps }))))(
    "ONNX Runtime computes the definition, whoever multiplies by the scales of rows (%o)",
    async ({ plainOps, ...how }) => {
      const graph = block(how);
      const shape = [3, rows / 3, width];
      const numbers = (data: Float32Array) => ({ shape, data: Float64Array.from(data) });
      const defined = interpret(graph, { x: numbers(x), dy: numbers(dy) });
      const session = await openSession("block", graph, { threads: 2, device: "cpu", lowMemory: false, plainOps });
      const of = (data: Float32Array) => ({ dtype: "float32" as const, shape, data });
      const got = await session.run({ x: of(x), dy: of(dy) });
      await session.dispose();
      expectNear(got, defined, ["y", "dx"], 2 * width);
    },
  );

  test("only what an activation needs is multiplied by its rows' scales", () => {
    const { bytes } = lower(block(cases[0]), { plain: false, widenPerUse: false, device: "cpu" });
    const { node } = fromBinary(ModelProtoSchema, bytes).graph!;
    const products = new Set(node.filter(({ opType }) => opType === "MatMulIntegerToFloat").flatMap((n) => n.output));
    const scaled = node.filter(
      ({ opType, input: from }) => opType === "Mul" && from.some((name) => products.has(name)),
    );
    // gate's product, before the activation; all else goes into sums, or on to a layer that rounds it anyway
    expect(scaled.filter(({ input: [, by] }) => /scale|whole/.test(by!)).length).toBe(1);
  });
});

test.each([false, true])(
  "a layer whose backward pass alone is in 8 bits: y is float32's, dx the definition's (plain operators: %s)",
  async (plainOps) => {
    const [out, into, rows] = [48, 64, 12];
    const [w, x, dy] = [floats(out * into, 0.3), floats(rows * into, 2), floats(rows * out)];
    const { values, scale } = roundColumns(w, into, most);
    const built = (half: boolean) => {
      const g = emptyGraph();
      const xs = input(g, "x", "float32", ["M", into]);
      const dys = input(g, "dy", "float32", ["M", out]);
      const turned = { matrix: constant(g, [out, into], values), scale: constant(g, [into], scale) };
      const bias = constant(
        g,
        [out],
        Float32Array.from({ length: out }, (_, i) => i / 7),
      );
      const y = ops.linear(g, xs, constant(g, [out, into], w), { bias, back: half ? turned : null });
      output(g, "y", y);
      output(g, "dx", gradient(g, ops.sum(g, ops.mul(g, y, dys), [0, 1]), xs));
      if (!half)
        output(g, "rounded", ops.apply(g, "linear8", [dys, turned.matrix, turned.scale], { back: true, terms: 1 })[0]!);
      return g;
    };
    const run = async (half: boolean) => {
      const session = await openSession("half", built(half), { threads: 1, device: "cpu", lowMemory: false, plainOps });
      const of = (data: Float32Array, width: number) => ({ dtype: "float32" as const, shape: [rows, width], data });
      const found = await session.run({ x: of(x, into), dy: of(dy, out) });
      await session.dispose();
      return found;
    };
    const [half, whole] = [await run(true), await run(false)];
    expect(half.y!.data).toEqual(whole.y!.data);
    expect(half.dx!.data).toEqual(whole.rounded!.data);
    const largest = Math.max(...whole.dx!.data.map(Math.abs));
    for (const [i, v] of whole.dx!.data.entries()) expect(Math.abs(half.dx!.data[i]! - v) / largest).toBeLessThan(0.03);
    // a frozen matrix has no gradient, and 8 bits without a way back have none
    const g = emptyGraph();
    const m = input(g, "w", "float32", [out, into]);
    const turned = { matrix: constant(g, [out, into], values), scale: constant(g, [into], scale) };
    const y = ops.linear(g, input(g, "x", "float32", [rows, into]), m, { back: turned });
    expect(() => gradient(g, ops.sum(g, y, [0, 1]), m)).toThrow(/linearBack8 has no gradient for its matrix/);
  },
);

test("smoothing and a second term each make a channel of large inputs harmless; its factors are powers of two, and 1 where nothing is to smooth", async () => {
  const [out, into, rows] = [32, 48, 8];
  const w = floats(out * into, 0.3);
  const x = floats(rows * into);
  for (let r = 0; r < rows; r++) x[r * into + 5]! *= 400;
  const columns = (of: Float32Array) =>
    Float32Array.from({ length: into }, (_, k) =>
      of.reduce((m, v, i) => (i % into === k ? Math.max(m, Math.abs(v)) : m), 0),
    );
  const factors = smoothing(columns(x), columns(w));
  expect(factors.every((f) => Number.isInteger(Math.log2(f)))).toBe(true);
  expect(smoothing(Float32Array.of(0, 1, 4), Float32Array.of(1, 0, 1))).toEqual(Float32Array.of(1, 1, 0.5));
  // root of the squared distance to x · matrix^T
  const error = async (by: Rounding, matrix: Float32Array = w) => {
    const session = await openSession("layer", layerForSession(w, [out, into], 2, by), {
      threads: 1,
      device: "cpu",
      lowMemory: false,
      plainOps: false,
    });
    const { y } = await session.run({
      x: { dtype: "float32", shape: [rows, into], data: x },
      dy: { dtype: "float32", shape: [rows, out], data: new Float32Array(rows * out) },
    });
    await session.dispose();
    let sum = 0;
    for (let r = 0; r < rows; r++)
      for (let n = 0; n < out; n++) {
        let exact = 0;
        for (let k = 0; k < into; k++) exact += x[r * into + k]! * matrix[n * into + k]!;
        sum += (y!.data[r * out + n]! - exact) ** 2;
      }
    return Math.sqrt(sum);
  };
  expect(await error({ factors })).toBeLessThan((await error({})) / 4);
  // A second term rounds the inputs finer, not the weights, whose steps are twice as large where 8-bit products saturate: so the error
  // is measured against the rounded weights.
  const { values, scale } = roundRowsTurned(w, into, most);
  const rounded = w.map((_, i) => values[(i % into) * out + Math.floor(i / into)]! * scale[Math.floor(i / into)]!);
  expect(await error({ terms: 2 }, rounded)).toBeLessThan((await error({}, rounded)) / 50);
});

test("rounding: no weight is further off than half a step, the largest reaches the most, turning changes nothing", () => {
  const [rows, columns] = [17, 23];
  const data = floats(rows * columns, 5);
  for (let r = 0; r < rows; r++) data[r * columns + 4] = 0; // a column of zeros
  for (const limit of [127, 64]) {
    const lies = roundColumns(data, columns, limit);
    const turned = roundRowsTurned(data, columns, limit);
    for (let r = 0; r < rows; r++)
      for (let c = 0; c < columns; c++) {
        const v = data[r * columns + c]!;
        const [a, b] = [lies.values[r * columns + c]!, turned.values[c * rows + r]!];
        expect(Math.abs(a * lies.scale[c]! - v)).toBeLessThanOrEqual(0.5001 * lies.scale[c]!);
        expect(Math.abs(b * turned.scale[r]! - v)).toBeLessThanOrEqual(0.5001 * turned.scale[r]!);
      }
    for (const { values } of [lies, turned]) expect(Math.max(...values.map(Math.abs))).toBe(limit);
  }
  expect(() => roundColumns(Float32Array.of(1, Number.NaN), 2, 127)).toThrow(/not a finite number/);
  expect(() => roundRowsTurned(Float32Array.of(1, Number.POSITIVE_INFINITY), 2, 127)).toThrow(/not a finite number/);
  // a number after it, in the same column and in the same row
  expect(() => roundColumns(Float32Array.of(Number.NaN, 1, 1, 2), 2, 127)).toThrow(/not a finite number/);
  expect(() => roundRowsTurned(Float32Array.of(Number.NaN, 1), 2, 127)).toThrow(/not a finite number/);
});

describe("a whole model", { timeout: 120_000 }, () => {
  const cache = join(place, "cache");
  const folder = "models/t5-nano";
  const width = 128;
  const rows = Array.from({ length: 4 }, (_, n) => ({
    input: Int32Array.from({ length: 6 + 3 * n }, () => 5 + draw.integer(1000)),
    target: Int32Array.of(40 + n, 1),
    choices: null,
    gold: 0,
    truncated: false,
  }));
  const prompt = { shape: [4, width], data: floats(4 * width, 3) };
  /** Loss and gradient of four made-up rows. */
  const step = async (checkpoint: Checkpoint, eightBit: number | null, partial = fullModel(checkpoint.config)) => {
    const engine = openEngine(checkpoint, { threads: 1, eightBit });
    try {
      const program = await engine.train(partial);
      return await program.run({ prompt }, makeBatch(rows as never), new Float32Array(4).fill(1 / 8));
    } finally {
      await engine.dispose();
    }
  };
  const cosine = (a: StepResult, b: StepResult) => {
    const [u, v] = [a.gradients.prompt!.data, b.gradients.prompt!.data];
    const dot = (p: Float32Array, q: Float32Array) => p.reduce((sum, value, i) => sum + value * q[i]!, 0);
    return dot(u, v) / Math.sqrt(dot(u, u) * dot(v, v));
  };

  test("is written once, whole or not at all, and found again; a cut file is made anew", async () => {
    const plain = await openCheckpoint(folder);
    const told: number[] = [];
    const make = () => inEightBits(plain, { most, cache, onProgress: ({ done }) => told.push(done) });
    const { eightBit, eightBitBack } = await make();
    expect(told[0]).toBe(0);
    expect(eightBit!.size).toBe(4 * 7 + 4 * 11); // every linear layer of the blocks
    expect(eightBitBack!.size).toBe(0);
    const kept = () => readdirSync(cache).filter((n) => !n.startsWith(".used-"));
    const [name] = kept();
    // q, k and v read one input, so they are smoothed alike and their rows are rounded once
    const factorsOf = (layer: string) =>
      eightBit!.get(`encoder.block.0.layer.0.SelfAttention.${layer}.weight`)!.smoothing;
    expect(factorsOf("k")).toBe(factorsOf("q"));
    expect(factorsOf("v")).toBe(factorsOf("q"));
    expect(factorsOf("o")).not.toBe(factorsOf("q"));
    const bytes = statSync(join(cache, name!)).size;
    told.length = 0;
    await make();
    expect(told).toEqual([]);
    writeFileSync(join(cache, name!), "cut");
    await make();
    expect(statSync(join(cache, name!)).size).toBe(bytes);
    // one bit is enough
    const changed = readFileSync(join(cache, name!));
    changed[changed.length - 7]! ^= 1;
    writeFileSync(join(cache, name!), changed);
    told.length = 0;
    await make();
    expect(told[0]).toBe(0);
    expect(readFileSync(join(cache, name!))).not.toEqual(changed);
    expect(kept()).toEqual([name]);
    expect(existsSync(join(folder, name!))).toBe(false);
  });

  test("uneven neurons ask for two terms in all layers but the matrices that read them, which stay in float32; even ones where they are read", async () => {
    const plain = await openCheckpoint(folder);
    const out = (block: number) => `encoder.block.${block}.layer.1.DenseReluDense.wo.weight`;
    /** @param silent how many of ten neurons never fire, as most do where the activation is ReLU */
    const inputs = (spike: number, silent: number) => async (names: readonly string[]) =>
      names.map((name) => {
        const [rows, columns] = plain.tensors.get(name)!.shape as [number, number];
        expect(rows * columns).toBeGreaterThan(0);
        const largest = Float32Array.from({ length: columns }, (_, k) => (k % 10 < silent ? 0 : 1));
        if (name === out(2)) largest[7] = spike;
        return { names: [name], largest };
      });
    const made = async (spike: number, silent = 0) => {
      const own = mkdtempSync(join(place, "uneven-"));
      const { eightBit, eightBitBack } = await withEightBit(plain, {
        most,
        cache: own,
        inputs: inputs(spike, silent),
      });
      // what is not in 8 bits forwards is so on the way back
      const exact = blockLayers(plain.config).filter(({ name }) => !eightBit!.has(name));
      expect([...eightBitBack!.keys()]).toEqual(exact.map(({ name }) => name));
      return eightBit!;
    };
    const [even, uneven] = [await made(99), await made(101)];
    const once = new Set(eightBitLayers(plain.config).map(({ name }) => name));
    expect(even.size).toBe(blockLayers(plain.config).length);
    for (const [name, { terms, smoothing }] of even)
      expect([terms, smoothing !== null], name).toEqual(once.has(name) ? [1, true] : [2, false]);
    expect(uneven.size).toBe(blockLayers(plain.config).length - 1);
    expect(uneven.has(out(2))).toBe(false);
    expect(uneven.has(out(1))).toBe(true);
    expect([...uneven.values()].every(({ terms, smoothing }) => terms === 2 && smoothing === null)).toBe(true);
    // the size of silent neurons is no measure
    expect([...(await made(99, 7)).keys()].sort()).toEqual([...even.keys()].sort());
    expect((await made(101, 7)).size).toBe(uneven.size);
    expect((await made(0, 10)).size).toBe(even.size);
  });

  test("where signed products saturate, weights behind inputs in two terms go to 127 all the same, and are multiplied as unsigned numbers", async () => {
    const plain = await openCheckpoint(folder);
    const inputs = (spike: number) => async (names: readonly string[]) =>
      names.map((name) => {
        const largest = new Float32Array(plain.tensors.get(name)!.shape[1]!).fill(1);
        if (name === "decoder.block.0.layer.2.DenseReluDense.wo.weight") largest[0] = spike;
        return { names: [name], largest };
      });
    const made = (most: number, spike: number) =>
      withEightBit(plain, { most, cache: mkdtempSync(join(place, "unsigned-")), inputs: inputs(spike) });
    const largest = ({ eightBit }: typeof plain) => {
      const { matrix } = eightBit!.get("encoder.block.1.layer.0.SelfAttention.q.weight")!.forward;
      const bytes = readFileSync(matrix.file).subarray(matrix.offset, matrix.offset + matrix.length);
      return Math.max(...[...bytes].map((v) => Math.abs(matrix.dtype === "uint8" ? v - 128 : (v << 24) >> 24)));
    };
    const [even, uneven] = [await made(64, 1), await made(64, 1000)];
    expect([largest(even), largest(uneven)]).toEqual([64, 127]);
    expect(productsOf(even.eightBit!.values(), 64)).toEqual({ terms: 1, largest: 64, dtype: "int8" });
    expect(productsOf(uneven.eightBit!.values(), 64)).toEqual({ terms: 2, largest: 127, dtype: "uint8" });
    expect(productsOf(uneven.eightBit!.values(), 127)).toEqual({ terms: 2, largest: 127, dtype: "int8" });
    const half = partialModel(plain.config, { depth: 0.5, width: 0.5, neuronChoice: "first" });
    for (const partial of [undefined, half])
      expect(cosine(await step(plain, null, partial), await step(uneven, 64, partial))).toBeGreaterThan(0.999);
  });

  test("a child process opens what its parent computes in 8 bits", async () => {
    const before = process.env.SOFTPROMPT_CACHE;
    process.env.SOFTPROMPT_CACHE = join(place, "child");
    try {
      const signal = new AbortController().signal;
      const options = { threads: 1, eightBit: most };
      const { engine } = await openLikeParent({ base: folder, options }, async () => ({}) as never, signal);
      expect(engine.options.eightBit).toBe(most);
      expect(engine.checkpoint.eightBit!.size).toBe(72);
      await engine.dispose();
    } finally {
      if (before === undefined) delete process.env.SOFTPROMPT_CACHE;
      else process.env.SOFTPROMPT_CACHE = before;
    }
  });

  test.each([null, "half"] as const)("gradient and loss are near float32's (partial model: %s)", async (size) => {
    const plain = await openCheckpoint(folder);
    const eight = await inEightBits(plain, { most, cache });
    const partial =
      size === null
        ? fullModel(plain.config)
        : partialModel(plain.config, { depth: 0.5, width: 0.5, neuronChoice: "first" });
    const [a, b] = [await step(plain, null, partial), await step(eight, most, partial)];
    expect(cosine(a, b)).toBeGreaterThan(0.98);
    for (const [i, loss] of a.loss.entries()) expect(Math.abs(b.loss[i]! - loss) / loss).toBeLessThan(0.02);
  });
});
