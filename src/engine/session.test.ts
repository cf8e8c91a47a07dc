/** Sessions: feeds are checked before ONNX Runtime sees them; weights are read in place, wherever their files lie. */
import { cpSync, mkdirSync, mkdtempSync, readdirSync, rmSync, symlinkSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, afterEach, describe, expect, test, vi } from "vitest";
import { emptyGraph, input, output } from "../graph/graph.js";
import * as ops from "../graph/ops.js";
import { openCheckpoint } from "../model/checkpoint.js";
import { nodeRuntime } from "../runtime/node.js";
import { checkFeeds, openSession } from "../runtime/session.js";
import { type EncodedRow, makeBatch } from "../text/batch.js";
import { openEngine } from "./engine.js";
import { timeProducts } from "./precision.js";
import { portions } from "./programs.js";
import type { KeptText, TextStore } from "./text-store.js";

const options = { threads: 1, device: "cpu", lowMemory: false, plainOps: false } as const;
const float = (shape: number[]) =>
  ({ dtype: "float32", shape, data: new Float32Array(shape.reduce((a, b) => a * b, 1)) }) as const;

function joined() {
  const g = emptyGraph();
  const a = input(g, "a", "float32", ["B", "P", 2]);
  const b = input(g, "b", "float32", ["B", "T", 2]);
  const mask = input(g, "mask", "float32", ["B", "P+T", 1]);
  output(g, "y", ops.mul(g, ops.concat(g, [a, b], 1), mask));
  return g;
}

test.each([
  ["a missing one", { a: float([1, 2, 2]), b: float([1, 3, 2]) }, /feed mask is missing/],
  [
    "an unknown one",
    { a: float([1, 2, 2]), b: float([1, 3, 2]), mask: float([1, 5, 1]), c: float([1]) },
    /feed c is not an input/,
  ],
  [
    "a wrong rank",
    { a: float([2, 2]), b: float([1, 3, 2]), mask: float([1, 5, 1]) },
    /feed a does not fit[\s\S]*a float32\[B, P, 2\]/,
  ],
  ["a wrong width", { a: float([1, 2, 3]), b: float([1, 3, 2]), mask: float([1, 5, 1]) }, /feed a does not fit/],
  [
    "another batch",
    { a: float([1, 2, 2]), b: float([2, 3, 2]), mask: float([1, 5, 1]) },
    /feed b does not fit[\s\S]*with B = 1/,
  ],
  [
    "a sum that is not",
    { a: float([1, 2, 2]), b: float([1, 3, 2]), mask: float([1, 6, 1]) },
    /the feeds disagree on P\+T[\s\S]*P\+T = 5/,
  ],
  [
    "too few elements",
    { a: { ...float([1, 2, 2]), shape: [1, 4, 2] }, b: float([1, 3, 2]), mask: float([1, 7, 1]) },
    /with 4 elements/,
  ],
  [
    "another type",
    { a: { dtype: "int32", shape: [1, 2, 2], data: new Int32Array(4) }, b: float([1, 3, 2]), mask: float([1, 5, 1]) },
    /int32\[1, 2, 2\]/,
  ],
] as const)("feeds: %s is refused by name", (_, feeds, message) => {
  expect(() => checkFeeds("here", joined().inputs, feeds)).toThrow(message);
});

test("one session serves every length, an empty one too; closed, it says so", async () => {
  const session = await openSession("joined", joined(), options);
  for (const [B, P, T] of [
    [1, 2, 3],
    [4, 0, 7],
    [2, 9, 1],
  ] as const) {
    const { y } = await session.run({ a: float([B, P, 2]), b: float([B, T, 2]), mask: float([B, P + T, 1]) });
    expect(y!.shape).toEqual([B, P + T, 2]);
  }
  await session.dispose();
  await session.dispose();
  await expect(session.run({})).rejects.toThrow(/joined: the session is closed/);
});

test("a failing run tells the feeds", async () => {
  const g = emptyGraph();
  const ids = input(g, "ids", "int32", ["B"]);
  output(g, "y", ops.gather(g, input(g, "table", "float32", ["N", 2]), ids));
  const session = await openSession("lookup", g, options);
  const run = session.run({ ids: { dtype: "int32", shape: [1], data: Int32Array.of(9) }, table: float([3, 2]) });
  await expect(run).rejects.toThrow(/lookup with ids int32\[1\], table float32\[3, 2\]: ONNX Runtime failed in a run/);
  await session.dispose();
});

test("the runtime tells its version and devices", async () => {
  const { version, devices } = await nodeRuntime.info();
  expect(version).toMatch(/^\d+\.\d+\.\d+/);
  expect(devices).toContain("cpu");
});

test("a device that is not here is refused with a way out", async () => {
  const opened = openSession("joined", joined(), { ...options, device: "cuda" });
  await expect(opened).rejects.toMatchObject({ kind: "engine", exitCode: 7 });
  await expect(opened).rejects.toThrow(
    /session on cuda: ONNX Runtime refused the model[\s\S]*hint: cuda needs an NVIDIA card[\s\S]*cpu always does/,
  );
});

test("where ONNX Runtime's library cannot be loaded, the error says what to do", async () => {
  vi.resetModules();
  vi.doMock("onnxruntime-node", () => {
    throw new Error("libonnxruntime.so.1: cannot open shared object file");
  });
  const { info } = (await import("../runtime/node.js")).nodeRuntime;
  await expect(info()).rejects.toThrow(/ONNX Runtime cannot be loaded[\s\S]*hint: run npm install again/);
  vi.doUnmock("onnxruntime-node");
  await expect(info()).resolves.toMatchObject({ devices: expect.arrayContaining(["cpu"]) });
});

test("ranking is cut where the logits would be large, and only there", () => {
  const row = (choices: number, length: number): EncodedRow => ({
    id: "",
    input: Int32Array.of(1),
    target: Int32Array.of(1),
    choices: Array.from({ length: choices }, () => new Int32Array(length)),
    gold: 0,
    truncated: false,
  });
  expect(portions([], 12)).toEqual([]);
  expect(portions([row(2, 3), row(2, 3), row(2, 3)], 12)).toEqual([
    { from: 0, to: 2 },
    { from: 2, to: 3 },
  ]);
  // one row is never cut; a long choice beside short ones counts for all of them, since they are padded to it
  expect(portions([row(9, 9), row(1, 1), row(1, 8), row(1, 1)], 16)).toEqual([
    { from: 0, to: 1 },
    { from: 1, to: 3 },
    { from: 3, to: 4 },
  ]);
});

const temporary = mkdtempSync(join(tmpdir(), "softprompt-session-"));
afterAll(() => rmSync(temporary, { recursive: true }));

test("shards in different folders, behind links, give what one folder gives; nothing is written beside them", async () => {
  const fixture = fileURLToPath(new URL("../../test/fixtures/tiny-t5-flan-sharded", import.meta.url));
  const linked = join(temporary, "linked");
  mkdirSync(linked);
  for (const [i, file] of readdirSync(fixture).entries()) {
    const apart = join(temporary, `part${i}`);
    mkdirSync(apart);
    cpSync(join(fixture, file), join(apart, file));
    symlinkSync(join(apart, file), join(linked, file));
  }
  const row = {
    id: "1",
    input: Int32Array.of(5, 6, 1),
    target: Int32Array.of(7, 1),
    choices: [Int32Array.of(7, 1)],
    gold: 0,
    truncated: false,
  };
  const results: Float64Array[] = [];
  for (const folder of [fixture, linked]) {
    const engine = openEngine(await openCheckpoint(folder, { outsideLinks: true }), { threads: 1 });
    const prompt = {
      shape: [2, engine.checkpoint.config.width],
      data: new Float32Array(2 * engine.checkpoint.config.width).fill(0.1),
    };
    results.push((await (await engine.score()).run({ prompt }, [row]))[0]!);
    await engine.dispose();
  }
  expect(results[1]).toEqual(results[0]);
  expect(readdirSync(linked).sort()).toEqual(readdirSync(fixture).sort());
});

test("a session that is disposed while it runs ends that run first; what comes after is told why", async () => {
  const g = emptyGraph();
  const a = input(g, "a", "float32", ["N", "N"]);
  let y = a;
  for (let i = 0; i < 20; i++) y = ops.matmul(g, y, a);
  output(g, "y", y);
  const session = await openSession("twenty products", g, options);
  const n = 200;
  const feeds = { a: { dtype: "float32", shape: [n, n], data: new Float32Array(n * n).fill(1 / n) } } as const;
  const order: string[] = [];
  const run = session.run(feeds).then((result) => {
    order.push("run");
    return result;
  });
  await Promise.all([session.dispose(), session.dispose()].map((end) => end.then(() => order.push("disposed"))));
  expect(order).toEqual(["run", "disposed", "disposed"]);
  expect((await run).y!.data[0]).toBeCloseTo(1 / n, 6);
  await expect(session.run(feeds)).rejects.toThrow(/the session is closed[\s\S]*disposed while it was in use/);
});

/** Sessions that are open; the one of this number (from 1) cannot be opened. */
function countSessions(fails = 0) {
  const count = { asked: 0, open: 0 };
  const { open } = nodeRuntime;
  vi.spyOn(nodeRuntime, "open").mockImplementation(async (...given) => {
    count.asked++;
    if (count.asked === fails) throw new Error("no memory left");
    const session = await open.call(nodeRuntime, ...given);
    count.open++;
    const release = async () => {
      count.open--;
      await session.release();
    };
    return { ...session, release };
  });
  return count;
}

/** A store of texts that keeps nothing. */
const emptyStore = (): TextStore => ({
  precision: "float32",
  get: async () => null,
  put: async (_, __, values): Promise<KeptText> => ({
    length: values.length,
    float16: null,
    copy: (from, to, target, at) => target.set(values.subarray(from, to), at),
  }),
  has: async () => false,
  full: () => false,
  share: async () => {},
});

describe("sessions are freed", () => {
  afterEach(() => vi.restoreAllMocks());
  const open = async (name: string, openTexts: () => TextStore | null = () => null) =>
    openEngine(
      await openCheckpoint(fileURLToPath(new URL(`../../test/fixtures/${name}`, import.meta.url))),
      { threads: 1 },
      undefined,
      openTexts,
    );
  const row: EncodedRow = {
    ...{ id: "1", input: Int32Array.of(5, 6, 7, 8), first: 9, promptAt: 5, target: Int32Array.of(7, 1) },
    ...{ choices: [Int32Array.of(7, 1)], gold: 0, truncated: false },
  };
  const prompt = { prompt: { shape: [2, 32], data: new Float32Array(64).fill(0.1) } };

  test("where the second session of a generation cannot be opened", async () => {
    const count = countSessions(2);
    const engine = await open("tiny-t5-v11");
    await expect(engine.generate()).rejects.toThrow("no memory left");
    expect(count.open).toBe(0);
    const { promptAt: _, ...inFront } = row;
    await (await engine.generate()).run(prompt, [inFront], 2);
    expect(count.open).toBe(2);
    await engine.dispose();
    expect(count.open).toBe(0);
  });

  test("where the second session of a timing cannot be opened", async () => {
    const count = countSessions(2);
    await expect(timeProducts([{ out: 8, into: 16, layers: 1 }], { threads: 1, plainOps: false })).rejects.toThrow(
      "no memory left",
    );
    expect(count).toEqual({ asked: 2, open: 0 });
  });

  test("where texts could not be read: the next step reads them, and the end frees everything", async () => {
    const count = countSessions(2);
    const engine = await open("tiny-causal-llama");
    const train = await engine.train(undefined, "behind");
    const step = () => train.run(prompt, makeBatch([row]), Float32Array.of(1));
    await expect(step()).rejects.toThrow("no memory left");
    expect((await step()).loss[0]).toBeGreaterThan(0);
    await engine.dispose();
    expect(count.open).toBe(0);
  });

  test("where one cannot be freed, the others are, and the error is told", async () => {
    const count = countSessions();
    const engine = await open("tiny-t5-v11");
    const { open: opened } = nodeRuntime;
    vi.spyOn(nodeRuntime, "open").mockImplementationOnce(async (...given) => {
      const session = await opened.call(nodeRuntime, ...given);
      const release = async () => {
        await session.release();
        throw new Error("stuck");
      };
      return { ...session, release };
    });
    await engine.score();
    await engine.forward();
    expect(count.open).toBe(2);
    await expect(engine.dispose()).rejects.toThrow("stuck");
    expect(count.open).toBe(0);
  });

  test("and none is opened after the engine's end, by whoever still has a program", async () => {
    const count = countSessions();
    const engine = await open("tiny-causal-llama", emptyStore);
    const score = await engine.score(undefined, "behind");
    const layers = await engine.layers();
    const reading = engine.readTexts([
      { ids: Int32Array.of(3, 4, 5), shared: 0 },
      { ids: Int32Array.from({ length: 20 }, () => 6), shared: 0 },
    ]);
    const ended = expect(reading).rejects.toThrow(/the session is closed/);
    await Promise.all([engine.dispose(), engine.dispose()]);
    await ended;
    await expect(score.run(prompt, [row])).rejects.toThrow(/the session is closed/);
    await expect(layers.enter([row])).rejects.toThrow(/layers of the frozen model: the session is closed/);
    await expect(engine.readTexts([{ ids: Int32Array.of(3, 4, 5), shared: 0 }])).rejects.toThrow(
      /the engine was disposed/,
    );
    expect(count.open).toBe(0);
  });
});

describe("what a program cannot use is refused by name", () => {
  const folder = fileURLToPath(new URL("../../test/fixtures/tiny-t5-v11", import.meta.url));
  const row: EncodedRow = {
    ...{
      id: "1",
      input: Int32Array.of(5, 6, 1),
      target: Int32Array.of(7, 1),
      choices: null,
      gold: 0,
      truncated: false,
    },
  };
  const prompt = { prompt: { shape: [2, 32], data: new Float32Array(64).fill(0.1) } };

  test.each([
    [{ device: "tpu" as "cpu" }, /openEngine\(\), device: there is no such device[\s\S]*cpu, webgpu, cuda/],
    [{ threads: -1 }, /openEngine\(\), threads/],
    [{ threads: 1.5 }, /openEngine\(\), threads/],
    [{ threads: Number.NaN }, /openEngine\(\), threads/],
  ])("an engine with %o", async (wrong, message) => {
    const checkpoint = await openCheckpoint(folder);
    expect(() => openEngine(checkpoint, wrong)).toThrow(message);
  });

  test("weights for other rows than the batch has, and a number of tokens that is none", async () => {
    const engine = openEngine(await openCheckpoint(folder), { threads: 1 });
    const train = await engine.train();
    await expect(train.run(prompt, makeBatch([row, row]), Float32Array.of(1))).rejects.toThrow(
      /there is not one weight for each row[\s\S]*2 numbers/,
    );
    const generate = await engine.generate();
    for (const maxTokens of [Number.NaN, -1])
      await expect(generate.run(prompt, [row], maxTokens)).rejects.toThrow(/maxTokens[\s\S]*0 or more/);
    expect(await generate.run(prompt, [row], 0)).toEqual([[]]);
    await engine.dispose();
  });
});
