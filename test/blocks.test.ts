/**
 * @file Linear layers in blocks of 4 and 8 bits: GGUF files of every type, forwards and back, against the model whose weights are what the
 * file's bits mean; rounding to 4 bits; the cache.
 */
import {
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, describe, expect, test, vi } from "vitest";
import { random } from "../src/base/random.js";
import { openEngine } from "../src/engine/engine.js";
import type { EngineOptions } from "../src/engine/types.js";
import { emptyGraph, input, output, weight } from "../src/graph/graph.js";
import * as ops from "../src/graph/ops.js";
import { blocksText, withBlocks } from "../src/model/block-weights.js";
import { type Checkpoint, openCheckpoint } from "../src/model/checkpoint.js";
import type { BlockType } from "../src/model/gguf/blocks.js";
import { convertGguf } from "../src/model/gguf/convert.js";
import { fullModel, partialModel } from "../src/model/partial.js";
import { roundBlocks } from "../src/model/quantise.js";
import { writeSafetensors } from "../src/model/safetensors.js";
import { byteText } from "../src/report/format.js";
import { openLikeParent } from "../src/run/child.js";
import { openSession } from "../src/runtime/session.js";
import { openModel } from "../src/tasks/model.js";
import { makeBatch } from "../src/text/batch.js";
import { matrices, writeGgufModel } from "./helpers/gguf-model.js";

const place = mkdtempSync(join(tmpdir(), "softprompt-blocks-"));
const before = process.env.SOFTPROMPT_CACHE;
beforeAll(() => {
  process.env.SOFTPROMPT_CACHE = join(place, "cache");
});
afterAll(() => {
  if (before === undefined) delete process.env.SOFTPROMPT_CACHE;
  else process.env.SOFTPROMPT_CACHE = before;
  rmSync(place, { recursive: true, force: true });
});

/** An entry of the runtime's profile, as far as it is read. */
interface Event {
  readonly cat: string;
  readonly name: string;
  readonly args: { readonly op_name: string; readonly output_type_shape: readonly Record<string, readonly number[]>[] };
}

const cpu = { threads: 1, device: "cpu", lowMemory: false, plainOps: false } as const;
const fixture = (name: string) => fileURLToPath(new URL(`fixtures/gguf/${name}.gguf`, import.meta.url));

/** The checkpoint with other numbers in some tensors, as a folder in float32. */
async function withNumbers(
  checkpoint: Checkpoint,
  name: string,
  numbers: ReadonlyMap<string, Float32Array>,
): Promise<Checkpoint> {
  const folder = join(place, name);
  mkdirSync(folder, { recursive: true });
  cpSync(join(checkpoint.folder, "config.json"), join(folder, "config.json"));
  const tensors = new Map<string, { shape: readonly number[]; data: Float32Array }>();
  for (const [canonical, { name: stored, shape }] of checkpoint.tensors)
    tensors.set(stored, { shape, data: numbers.get(canonical) ?? (await checkpoint.read(canonical)).data });
  writeFileSync(join(folder, "model.safetensors"), writeSafetensors(tensors));
  return openCheckpoint(folder);
}

/** A GGUF file's model in blocks, and the one whose linear layers have the numbers that the conversion to float32 gives. */
async function both(path: string, name: string): Promise<{ blocks: Checkpoint; exact: Checkpoint }> {
  const blocks = await withBlocks(await openCheckpoint(path), { kind: "stored" });
  const { folder } = await convertGguf([path], { dtype: "f32" });
  const wide = await openCheckpoint(folder);
  const numbers = new Map<string, Float32Array>();
  for (const layer of blocks.blocks!.keys()) numbers.set(layer, (await wide.read(layer)).data);
  return { blocks, exact: await withNumbers(blocks, `${name}-exact`, numbers) };
}

const draw = random(3, "blocks");
const rowsOf = ({ config }: Checkpoint) =>
  Array.from({ length: 3 }, (_, n) => ({
    input: Int32Array.from({ length: 5 + 3 * n }, () => 5 + draw.integer(config.vocabulary - 5)),
    ...(config.family === "t5" ? {} : { first: 6 + n }),
    target: Int32Array.of(7 + n, 3),
    choices: [Int32Array.of(7 + n, 3), Int32Array.of(9)],
    gold: 0,
    truncated: false,
  }));

/** Everything that the programs give for these rows: numbers by what they are. */
async function results(checkpoint: Checkpoint, options: EngineOptions, rows: ReturnType<typeof rowsOf>, size: string) {
  const engine = openEngine(checkpoint, { threads: 1, ...options });
  try {
    const { config } = checkpoint;
    const partial =
      size === "full" ? fullModel(config) : partialModel(config, { depth: 0.5, width: 0.5, neuronChoice: "first" });
    const prompt = {
      shape: [4, config.width],
      data: Float32Array.from({ length: 4 * config.width }, (_, i) => Math.sin(i)),
    };
    const batch = makeBatch(rows as never);
    const step = await (await engine.train(partial)).run({ prompt }, batch, new Float32Array(3).fill(1 / 6));
    const { logits } = await (await engine.forward(partial)).run({ prompt }, batch);
    const scores = await (await engine.score(partial)).run({ prompt }, rows as never);
    const written = await (await engine.generate(partial)).run({ prompt }, rows as never, 4);
    return {
      loss: step.loss,
      gradient: step.gradients.prompt!.data,
      logits: logits.data,
      scores: scores.flatMap((s) => [...s]),
      written,
    };
  } finally {
    await engine.dispose();
  }
}

/** The distance of two lists, as a share of the second one's length. */
function apart(a: ArrayLike<number>, b: ArrayLike<number>): number {
  let [distance, length] = [0, 0];
  for (let i = 0; i < b.length; i++) {
    distance += (a[i]! - b[i]!) ** 2;
    length += b[i]! ** 2;
  }
  return Math.sqrt(distance / length);
}

/** Results in blocks are those of the same numbers in float32, but for the order of float32 sums. */
async function expectEqual(
  blocks: Checkpoint,
  exact: Checkpoint,
  kind: "stored" | "int4",
  plainOps: boolean,
  size = "full",
) {
  const rows = rowsOf(blocks);
  // without lowMemory, writing with blocks of 8 bits rounds its inputs
  const exactly = [...blocks.blocks!.values()].some(({ values }) => values.dtype === "int8");
  const mine = await results(blocks, { blocks: kind, plainOps, lowMemory: exactly }, rows, size);
  const theirs = await results(exact, { plainOps }, rows, size);
  for (const what of ["loss", "gradient", "logits", "scores"] as const)
    expect(apart(mine[what], theirs[what]), what).toBeLessThan(1e-5);
  expect(mine.written).toEqual(theirs.written);
  return { mine, rows };
}

describe("a GGUF file's own blocks", { timeout: 120_000 }, () => {
  const inAll: BlockType[] = ["Q8_0", "Q4_0", "Q4_1", "Q5_0", "Q5_1"];
  const inDown: BlockType[] = ["Q2_K", "Q3_K", "Q4_K", "Q5_K", "Q6_K", "IQ2_XXS"];
  // each type of 32 numbers in all matrices, each of 256 in the one that has rows so long
  const mixes = [...inAll.map((t) => [t, t] as const), ...inDown.map((t) => ["Q8_0", t] as const)];

  test.each(mixes)(
    "%s with %s: loss, gradient, logits, scores and texts are those of the same numbers in float32",
    async (most, down) => {
      const path = join(place, `${most}-${down}.gguf`);
      // an embedding in float16 is the same in both
      writeGgufModel(path, (name) => (name === "token_embd" ? "F16" : name === "ffn_down" ? down : most));
      const { blocks, exact } = await both(path, `${most}-${down}`);
      expect([...blocks.blocks!.keys()].sort()).toHaveLength(matrices.length + 1); // and the head, which is its own here
      const { mine, rows } = await expectEqual(blocks, exact, "stored", false);
      const rounded = await results(blocks, {}, rows, "full");
      expect(apart(mine.logits, rounded.logits)).toBeGreaterThan(1e-4); // the folder in bfloat16 is another model
      await expectEqual(blocks, exact, "stored", true);
    },
  );

  test("half of the neurons: rows of one matrix, columns of the other", async () => {
    const path = join(place, "halves.gguf");
    writeGgufModel(path, (name) => (name === "token_embd" ? "F16" : name === "ffn_down" ? "Q6_K" : "Q4_1"));
    const { blocks, exact } = await both(path, "halves");
    await expectEqual(blocks, exact, "stored", false, "half");
  });

  // biases; norms of heads; matrices that Hugging Face has the other way round, a tied head; matrices in float types stay apart
  test.each([
    ["llama", 7, "ffn_up is F16"],
    ["qwen2", 6, "ffn_gate is BF16"],
    ["qwen3", 6, "attn_k is F32"],
    ["gpt2", 3, "ffn_up is F16"],
  ])("the fixture %s: %i layers in blocks (%s)", async (name, count) => {
    const { blocks, exact } = await both(fixture(name), name);
    expect(blocks.blocks!.size).toBe(count);
    expect(blocksText(blocks)).toMatch(
      new RegExp(`^${count} of \\d+ linear layers are kept in blocks: .*; not in blocks: `),
    );
    await expectEqual(blocks, exact, "stored", false);
  });

  /** What the runtime did in three steps of writing: operators, and how many numbers each gave. */
  async function written(blocks: Checkpoint, lowMemory: boolean) {
    const profile = mkdtempSync(join(place, "profile-"));
    const engine = openEngine(blocks, { threads: 1, blocks: "stored", lowMemory, profile: join(profile, "p") });
    const prompt = { shape: [1, blocks.config.width], data: new Float32Array(blocks.config.width) };
    await (await engine.generate()).run({ prompt }, rowsOf(blocks) as never, 3);
    await engine.dispose();
    const files = readdirSync(profile).map((file) => JSON.parse(readFileSync(join(profile, file), "utf8")) as Event[]);
    const steps = files.find((events) => events.filter(({ name }) => name === "model_run").length === 3)!;
    return steps.flatMap(({ cat, name, args }) => {
      if (cat !== "Node" || !name.endsWith("_kernel_time")) return [];
      const [shape = []] = Object.values(args.output_type_shape[0] ?? {});
      return [{ op: args.op_name, numbers: shape.reduce((a, n) => a * n, 1) }];
    });
  }

  test("one token at a time: blocks of 8 bits are multiplied as they are, with inputs rounded to 8 bits", async () => {
    const path = join(place, "tokenwise.gguf");
    writeGgufModel(path, (matrix) => (matrix === "ffn_up" ? "Q5_1" : matrix === "ffn_down" ? "Q6_K" : "Q8_0"));
    const { blocks } = await both(path, "tokenwise");
    const fast = new Set((await written(blocks, false)).map(({ op }) => op));
    expect(fast).toContain("MatMulNBits");
    expect(fast).not.toContain("DequantizeLinear");
    expect(fast).not.toContain("BitwiseXor");
    const exact = new Set((await written(blocks, true)).map(({ op }) => op));
    expect(exact).toContain("DequantizeLinear");
    expect(exact).not.toContain("MatMulNBits");
  });

  test("one token at a time: a head of 16 bits is widened when the session opens, not for each token", async () => {
    const { blocks } = await both(fixture("qwen2"), "qwen2-head");
    const { vocabulary, width } = blocks.config;
    const widened = async (lowMemory: boolean) =>
      (await written(blocks, lowMemory)).filter(({ op, numbers }) => op === "Cast" && numbers === vocabulary * width)
        .length;
    expect(await widened(false)).toBe(0);
    expect(await widened(true)).toBe(3);
  });

  test.each([16, 32])(
    "its product is within a hundredth of the exact one (blocks of %i, with and without offsets)",
    async (block) => {
      const [N, K] = [24, 8 * block];
      const values = Int8Array.from({ length: N * K }, () => draw.integer(256) - 128);
      const scale = Float32Array.from({ length: (N * K) / block }, () => draw.uniform(0.5, 1));
      const offset = Float32Array.from(scale, () => draw.uniform(-20, 20));
      const path = join(place, `product-${block}.bin`);
      const parts = [values, scale, offset].map((part) => new Uint8Array(part.buffer));
      writeFileSync(path, Buffer.concat(parts));
      const x = Float32Array.from({ length: 3 * K }, () => draw.uniform(-1, 1));
      const feeds = { x: { dtype: "float32", shape: [3, K], data: x } } as const;
      for (const withOffset of [false, true]) {
        const run = async (tokenwise: boolean) => {
          const g = emptyGraph();
          const at = (i: number) => parts.slice(0, i).reduce((sum, { length }) => sum + length, 0);
          const place = (i: number) => ({ kind: "file", file: path, offset: at(i), length: parts[i]!.length }) as const;
          const y = ops.linearBlocks(g, input(g, "x", "float32", ["M", K]), {
            values: weight(g, "values", "int8", [N, K], place(0)),
            scale: weight(g, "scale", "float32", [N, K / block], place(1)),
            offset: withOffset ? weight(g, "offset", "float32", [N, K / block], place(2)) : undefined,
          });
          output(g, "y", y);
          const session = await openSession("blocks", g, { ...cpu, tokenwise });
          const { y: found } = await session.run(feeds);
          await session.dispose();
          return found!.data as Float32Array;
        };
        const wanted = Float64Array.from({ length: 3 * N }, (_, i) => {
          const [m, n] = [Math.floor(i / N), i % N];
          let sum = 0;
          for (let k = 0; k < K; k++) {
            const at = Math.floor((n * K + k) / block);
            sum += x[m * K + k]! * (values[n * K + k]! * scale[at]! + (withOffset ? offset[at]! : 0));
          }
          return sum;
        });
        expect(apart(await run(false), wanted)).toBeLessThan(1e-5);
        const rounded = apart(await run(true), wanted);
        expect(rounded).toBeLessThan(0.01);
        expect(rounded).toBeGreaterThan(1e-5); // it is the other way to multiply
      }
    },
  );

  test("openModel takes the file by --precision stored, says what is in blocks, and has the base that every precision has", async () => {
    const path = join(place, "open.gguf");
    writeGgufModel(path, () => "Q8_0");
    const told: string[] = [];
    const onEvent = (event: { kind: string; message?: string }) => {
      if (event.message) told.push(event.message);
    };
    const model = await openModel(path, { precision: "stored", onEvent });
    const plain = await openModel(path);
    try {
      expect(told).toContainEqual(expect.stringMatching(/^weights in blocks are made once: [\d.]+ [kMG]?B in /));
      expect(told).toContainEqual("8 of 8 linear layers are kept in blocks: 8 Q8_0 (8 bits)");
      expect(model.engine.options.blocks).toBe("stored");
      expect(await model.checkpoint.sha256()).toBe(await plain.checkpoint.sha256());
      // a child process has the converted folder only
      const given = { base: model.checkpoint.folder, options: model.engine.options };
      const { engine } = await openLikeParent(given, async () => ({}) as never, new AbortController().signal);
      expect(engine.checkpoint.blocksSha256).toBe(model.checkpoint.blocksSha256);
      await engine.dispose();
    } finally {
      await model.dispose();
      await plain.dispose();
    }
  });

  test("a model that is no GGUF file is refused, and says what to do", async () => {
    await expect(openModel("t5-nano", { precision: "stored" })).rejects.toMatchObject({
      kind: "usage",
      parts: { expected: "a GGUF file", hint: expect.stringContaining("int4") },
    });
  });
});

describe("rounded to 4 bits", { timeout: 120_000 }, () => {
  test("no number is further off than half a step, the largest in size becomes −8, and the scale is the one of least squares", () => {
    const data = Float32Array.from({ length: 64 * 32 }, () => draw.uniform(-1, 1) ** 3);
    data.fill(0, 32, 64);
    data[70] = 5;
    const { integers, scale } = roundBlocks(data, 32);
    for (let b = 0; b < scale.length; b++) {
      const own = data.subarray(32 * b, 32 * b + 32);
      const q = integers.subarray(32 * b, 32 * b + 32);
      const largest = own.reduce((a, v) => (Math.abs(v) > Math.abs(a) ? v : a), 0);
      if (largest === 0) {
        expect([...q].every((v) => v === 0)).toBe(true);
        continue;
      }
      const error = (s: number) => own.reduce((sum, v, i) => sum + (v - s * q[i]!) ** 2, 0);
      for (const factor of [0.999, 1.001]) expect(error(scale[b]!)).toBeLessThan(error(factor * scale[b]!));
      for (const [i, v] of own.entries()) {
        const asked = (-8 * v) / largest;
        expect(Math.abs(q[i]! - Math.min(7, asked))).toBeLessThanOrEqual(0.5 + 1e-6);
        if (v === largest) expect(q[i]).toBe(-8);
      }
    }
    for (const bad of [Number.NaN, Number.NEGATIVE_INFINITY])
      expect(() => roundBlocks(Float32Array.of(bad, ...new Array(31).fill(1)), 32)).toThrow(/not a finite number/);
  });

  test.each(["full", "half"])("t5-nano (%s): results are those of the rounded numbers in float32", async (size) => {
    const plain = await openCheckpoint("models/t5-nano");
    const blocks = await withBlocks(plain, { kind: "int4" });
    expect(blocksText(blocks)).toBe(
      "72 of 73 linear layers are kept in blocks: 72 rounded to 4 bits; not in blocks: lm_head",
    );
    const numbers = new Map<string, Float32Array>();
    for (const name of blocks.blocks!.keys()) {
      const { integers, scale } = roundBlocks((await plain.read(name)).data, 32);
      numbers.set(
        name,
        Float32Array.from(integers, (q, i) => q * scale[i >> 5]!),
      );
    }
    const { mine, rows } = await expectEqual(
      blocks,
      await withNumbers(plain, `t5-${size}`, numbers),
      "int4",
      false,
      size,
    );
    // near the model itself
    const own = await results(plain, {}, rows, size);
    expect(apart(mine.loss, own.loss)).toBeLessThan(0.1);
  });
});

describe("the cache", { timeout: 120_000 }, () => {
  test("is written once, whole or not at all, its size said before, and found again; a damaged file is made anew", async () => {
    const plain = await openCheckpoint("models/t5-nano");
    const cache = join(place, "kept");
    mkdirSync(cache);
    writeFileSync(join(cache, ".making-999999999-abcd"), "left by a process that died");
    const told: number[] = [];
    const make = () =>
      withBlocks(plain, { kind: "int4", cache, onProgress: ({ done, total }) => told.push(done, total) });
    const { blocks } = await make();
    const names = readdirSync(cache).filter((n) => !n.startsWith(".used-"));
    expect(names).toHaveLength(1);
    const [name] = names;
    const bytes = readFileSync(join(cache, name!));
    expect(told.slice(0, 2)).toEqual([0, bytes.length]);
    expect(told.at(-2)).toBe(bytes.length);
    // 4 bits and a float32 for each 32 numbers
    const linears = [...blocks!.keys()].reduce(
      (sum, layer) => sum + plain.tensors.get(layer)!.shape.reduce((a, b) => a * b),
      0,
    );
    expect(bytes.length).toBeLessThan(0.63 * linears + 65_536);
    told.length = 0;
    await make();
    expect(told).toEqual([]);
    bytes[bytes.length - 5]! ^= 1;
    writeFileSync(join(cache, name!), bytes);
    await make();
    expect(told[0]).toBe(0);
    expect(readFileSync(join(cache, name!))).not.toEqual(bytes);
    expect(existsSync(join(plain.folder, name!))).toBe(false);
  });

  test("openModel removes what was unused longest where the limit asks for it, and says so; what a living model uses stays", async () => {
    const cache = join(place, "limited");
    vi.stubEnv("SOFTPROMPT_CACHE", cache);
    const told: string[] = [];
    const open = (name: string, limit: number) => {
      vi.stubEnv("SOFTPROMPT_CACHE_LIMIT", String(limit / 2 ** 30));
      return openModel(name, { precision: "int4", onEvent: (e) => e.kind === "notice" && told.push(e.message) });
    };
    const kept = (kind: string) => readdirSync(join(cache, kind)).filter((name) => !name.startsWith("."));
    try {
      const earlier = `${"a".repeat(64)}-127-v0-${"b".repeat(64)}.safetensors`;
      mkdirSync(join(cache, "int8"), { recursive: true });
      writeFileSync(join(cache, "int8", earlier), Buffer.alloc(1_000_000));
      const free = await open("t5-nano", 2 ** 30);
      await free.dispose();
      const [name] = kept("blocks");
      const size = statSync(join(cache, "blocks", name!)).size;
      expect(kept("int8")).toEqual([earlier]);
      // another model: the files in 8 bits have to go, and those of the first model may not
      const path = join(place, "limited.gguf");
      writeGgufModel(path, () => "Q8_0");
      await (await open(path, size + 999_999)).dispose();
      expect(kept("int8")).toEqual([]);
      expect(kept("blocks")).toContain(name);
      expect(told.filter((message) => message.includes("unused longest"))).toEqual([
        `the cache may take ${byteText(size + 999_999)} (SOFTPROMPT_CACHE_LIMIT), so what was unused longest is removed from it: 1.00 MB, aaaaaaaaaaaa-127-v0-bbbbbbbbbbbb.safetensors`,
      ]);
      await expect(openModel(fixture("llama"), { precision: "stored" })).resolves.toBeDefined();
      vi.stubEnv("SOFTPROMPT_CACHE_LIMIT", "0.0001");
      await expect(openModel(fixture("gpt2"), { precision: "stored" })).rejects.toMatchObject({ kind: "io" });
    } finally {
      vi.unstubAllEnvs();
      process.env.SOFTPROMPT_CACHE = join(place, "cache");
    }
  });

  test("a stop leaves nothing behind", async () => {
    const plain = await openCheckpoint("models/t5-nano");
    const cache = join(place, "stopped");
    const stop = new AbortController();
    const made = withBlocks(plain, { kind: "int4", cache, signal: stop.signal, onProgress: () => stop.abort() });
    await expect(made).rejects.toMatchObject({ kind: "interrupted" });
    expect(readdirSync(cache)).toEqual([]);
  });
});
