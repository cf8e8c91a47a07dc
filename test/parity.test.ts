/**
 * Parity with PyTorch: the engine against what transformers computes on small random T5s (test/oracles/tiny_t5.py).
 *
 * v1.0 (ReLU, tied), v1.1 and Flan (gated, untied), bfloat16, float16, shards; rows of four lengths with padding; one prompt
 * for all rows, one per row, none; partial models; three ways to lower and hold the weights.
 */
import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { Parameters, Tensor } from "../src/base/tensor.js";
import { type Engine, type EngineOptions, openEngine } from "../src/engine/engine.js";
import { openCheckpoint } from "../src/model/checkpoint.js";
import type { PartialStack } from "../src/model/partial.js";
import type { Batch, EncodedRow } from "../src/text/batch.js";
import { readFixture } from "./helpers/safetensors.js";

interface Oracle {
  readonly batch: number;
  readonly inputLength: number;
  readonly targetLength: number;
  readonly inputIds: number[][];
  readonly inputMask: number[][];
  readonly targetIds: number[][];
  readonly targetMask: number[][];
  readonly maxTokens: number;
  readonly greedy: number[][];
  readonly bareGreedy: number[][];
  readonly partials: Record<string, Record<"encoder" | "decoder", { layers: number[]; neurons: number[][] | null }>>;
}

const models = ["tiny-t5-v10", "tiny-t5-v11", "tiny-t5-flan-sharded", "tiny-t5-bf16", "tiny-t5-f16"];
const ways: [string, EngineOptions][] = [
  ["default", { threads: 1 }],
  ["plain ops", { threads: 1, plainOps: true }],
  ["low memory", { threads: 1, lowMemory: true }],
];

/**
 * The promise is 1e-4. Both sides compute in float32 and only the order of sums differs: what is seen is 1e-7 to 2e-5
 * (16-bit weights are widened exactly on both sides).
 */
const tolerance = 5e-5;

describe.each(models.flatMap((model) => ways.map(([way, options]) => ({ model, way, options }))))(
  "$model, $way",
  ({ model, options }) => {
    const folder = fileURLToPath(new URL(`fixtures/${model}`, import.meta.url));
    const oracle = JSON.parse(readFileSync(`${folder}/oracle.json`, "utf8")) as Oracle;
    const wanted = readFixture(new URL(`fixtures/${model}/oracle.safetensors`, import.meta.url));
    const batch = batchOf(oracle);
    const ones = new Float32Array(oracle.batch).fill(1);
    let engine: Engine;
    let none: Parameters;
    beforeAll(async () => {
      engine = openEngine(await openCheckpoint(folder), options);
      none = { prompt: { shape: [0, engine.checkpoint.config.width], data: new Float32Array(0) } };
    });
    afterAll(() => engine.dispose());

    test("hidden states and logits", async () => {
      const forward = await engine.forward();
      const got = await forward.run({ prompt: wanted.prompt! }, batch);
      expectClose(got.prefill, wanted.encoder!);
      expectClose(got.decode, wanted.decoder!);
      expectClose(got.logits, wanted.logits!);
      expectClose((await forward.run(none, batch)).logits, wanted["bare.logits"]!);
    });

    test("loss and prompt gradient, every row apart", async () => {
      const train = await engine.train();
      for (const [prompt, prefix] of [
        [{ prompt: wanted.prompt! }, ""],
        [rowsOfPrompts(wanted.prompts!), "perRow."],
      ] as const) {
        const got = await train.run(prompt, batch, ones);
        expectClose({ shape: [oracle.batch], data: got.loss }, wanted[`${prefix}loss`]!);
        expectClose({ shape: wanted.prompts!.shape, data: got.gradients.prompt!.data }, wanted[`${prefix}gradient`]!);
        expect([...got.tokens]).toEqual(oracle.targetMask.map((row) => row.reduce((a, b) => a + b)));
      }
      const bare = await train.run(none, batch, ones);
      expectClose({ shape: [oracle.batch], data: bare.loss }, wanted["bare.loss"]!);
      expect(bare.gradients.prompt!.data.length).toBe(0);
    });

    test("ranking: the target's log-probability is minus its loss, whatever stands beside it", async () => {
      const score = await engine.score();
      const rows = rowsOf(oracle).map((row, b) => ({
        ...row,
        // rows with one to four choices, of different lengths
        choices: [
          row.target,
          ...[Int32Array.of(9, 1), Int32Array.of(5), Int32Array.of(7, 8, 9, 10, 11, 12, 13)].slice(b),
        ],
      }));
      const got = await score.run({ prompt: wanted.prompt! }, rows);
      expect(got.map((c) => c.length)).toEqual([4, 3, 2, 1]);
      const targets = Float32Array.from(got, (c) => -c[0]!);
      expectClose({ shape: [oracle.batch], data: targets }, wanted.loss!);
      const alone = await score.run({ prompt: wanted.prompt! }, [{ ...rows[1]!, choices: [rows[1]!.choices[2]!] }]);
      expect(got[1]![2]).toBeCloseTo(alone[0]![0]!, 4);
    });

    test("greedy generation gives the same ids", async () => {
      const generate = await engine.generate();
      expect(await generate.run({ prompt: wanted.prompt! }, rowsOf(oracle), oracle.maxTokens)).toEqual(oracle.greedy);
      expect(await generate.run(none, rowsOf(oracle), oracle.maxTokens)).toEqual(oracle.bareGreedy);
      expect(await generate.run({ prompt: wanted.prompt! }, [], oracle.maxTokens)).toEqual([]);
    });

    test("feed-forward activations", async () => {
      const got = await (await engine.activations()).run({ prompt: wanted.prompt! }, batch);
      for (const stack of ["encoder", "decoder"] as const) {
        const { shape } = wanted[`activations.${stack}`]!;
        expectClose({ shape, data: got[stack]! }, wanted[`activations.${stack}`]!);
      }
    });

    test.each(Object.keys(oracle.partials))("partial model: %s", async (label) => {
      const kept = oracle.partials[label]!;
      const stack = (s: "encoder" | "decoder"): PartialStack => ({
        layers: kept[s].layers,
        neurons: kept[s].neurons?.map((n) => Int32Array.from(n)) ?? null,
      });
      const partial = { stacks: { encoder: stack("encoder"), decoder: stack("decoder") }, name: label };
      const got = await (await engine.train(partial)).run({ prompt: wanted.prompt! }, batch, ones);
      expectClose({ shape: [oracle.batch], data: got.loss }, wanted[`partial.${label}.loss`]!);
      expectClose(
        { shape: wanted.prompts!.shape, data: got.gradients.prompt!.data },
        wanted[`partial.${label}.gradient`]!,
      );
      await engine.release(partial);
    });
  },
);

describe("the training step", () => {
  const folder = fileURLToPath(new URL("fixtures/tiny-t5-v11", import.meta.url));
  const oracle = JSON.parse(readFileSync(`${folder}/oracle.json`, "utf8")) as Oracle;
  const prompts = readFixture(new URL("fixtures/tiny-t5-v11/oracle.safetensors", import.meta.url)).prompts!;
  const own = rowsOfPrompts(prompts);
  const batch = batchOf(oracle);
  let engine: Engine;
  beforeAll(async () => {
    engine = openEngine(await openCheckpoint(folder), { threads: 2 });
  });
  afterAll(() => engine.dispose());

  test("gives the same bits again", async () => {
    const train = await engine.train();
    const weights = Float32Array.of(0.1, 0.2, 0.3, 0.4);
    const first = await train.run(own, batch, weights);
    for (let i = 0; i < 5; i++) expect(await train.run(own, batch, weights)).toEqual(first);
  });

  test("weights scale each row's gradient and leave the losses alone", async () => {
    const train = await engine.train();
    const plain = await train.run(own, batch, new Float32Array(4).fill(1));
    const weighted = await train.run(own, batch, Float32Array.of(2, 0, 0.5, 1));
    expect(weighted.loss).toEqual(plain.loss);
    const row = plain.gradients.prompt!.data.length / 4;
    const scaled = plain.gradients.prompt!.data.map((v, i) => v * [2, 0, 0.5, 1][Math.floor(i / row)]!);
    expectClose(
      { shape: [scaled.length], data: weighted.gradients.prompt!.data },
      { shape: [scaled.length], data: scaled },
    );
    expect(weighted.gradients.prompt!.data.subarray(row, 2 * row).every((v) => v === 0)).toBe(true);
  });

  test("more padding changes nothing beyond rounding", async () => {
    const train = await engine.train();
    const weights = new Float32Array(4).fill(1);
    const short = await train.run(own, batch, weights);
    const long = await train.run(own, padded(batch, 9, 5), weights);
    expectClose({ shape: [4], data: long.loss }, { shape: [4], data: short.loss });
    expectClose(
      { shape: prompts.shape, data: long.gradients.prompt!.data },
      { shape: prompts.shape, data: short.gradients.prompt!.data },
    );
    expect(long.tokens).toEqual(short.tokens);
  });

  test("a prompt of another width, a batch of another size and a foreign id are refused", async () => {
    const train = await engine.train();
    const weights = new Float32Array(4).fill(1);
    const wide = { prompt: { shape: [2, 33], data: new Float32Array(66) } };
    await expect(train.run(wide, batch, weights)).rejects.toThrow(
      /prompt does not fit the model[\s\S]*\[P, 32\][\s\S]*\[2, 33\]/,
    );
    await expect(train.run(own.slice(1), batch, weights)).rejects.toThrow(/4 sets[\s\S]*3/);
    await expect(train.run({}, batch, weights)).rejects.toThrow(/prompt does not fit the model/);
    const foreign = { ...batch, inputIds: batch.inputIds.with(3, 96) };
    await expect(train.run(own, foreign, weights)).rejects.toThrow(/input id 96 is not in the model's vocabulary/);
    const negative = { ...batch, targetIds: batch.targetIds.with(0, -100) };
    await expect(train.run(own, negative, weights)).rejects.toThrow(/target id -100/);
    const short = { ...batch, targetMask: batch.targetMask.subarray(1) };
    await expect(train.run(own, short, weights)).rejects.toMatchObject({ kind: "engine" });
  });

  test("an engine that was disposed says so", async () => {
    const other = openEngine(await openCheckpoint(folder), { threads: 1 });
    const train = await other.train();
    await other.dispose();
    await other.dispose();
    await expect(other.train()).rejects.toThrow(/disposed/);
    await expect(train.run(own, batch, new Float32Array(4))).rejects.toThrow(/closed/);
  });
});

/** [B, P, D] as one set of parameters per row. */
function rowsOfPrompts({ shape: [B, P, D], data }: Tensor): Parameters[] {
  const size = P! * D!;
  return Array.from({ length: B! }, (_, b) => ({
    prompt: { shape: [P!, D!], data: data.subarray(b * size, (b + 1) * size) },
  }));
}

function batchOf(o: Oracle): Batch {
  const ints = (rows: number[][]) => Int32Array.from(rows.flat());
  return {
    size: o.batch,
    inputIds: ints(o.inputIds),
    inputMask: ints(o.inputMask),
    inputLength: o.inputLength,
    targetIds: ints(o.targetIds),
    targetMask: ints(o.targetMask),
    targetLength: o.targetLength,
    ids: o.inputIds.map((_, i) => `row ${i}`),
  };
}

/** The same rows without their padding. */
function rowsOf(o: Oracle): EncodedRow[] {
  const valid = (ids: number[], mask: number[]) => Int32Array.from(ids.filter((_, i) => mask[i]));
  return o.inputIds.map((ids, b) => ({
    id: `row ${b}`,
    input: valid(ids, o.inputMask[b]!),
    target: valid(o.targetIds[b]!, o.targetMask[b]!),
    choices: null,
    gold: -1,
    truncated: false,
  }));
}

/** The batch with more padding on the right of inputs and targets. */
function padded(batch: Batch, inputMore: number, targetMore: number): Batch {
  const widen = (values: Int32Array, width: number, more: number) =>
    Int32Array.from({ length: batch.size * (width + more) }, (_, i) => {
      const [row, column] = [Math.floor(i / (width + more)), i % (width + more)];
      return column < width ? values[row * width + column]! : 0;
    });
  const { inputLength: T, targetLength: U } = batch;
  return {
    ...batch,
    inputIds: widen(batch.inputIds, T, inputMore),
    inputMask: widen(batch.inputMask, T, inputMore),
    inputLength: T + inputMore,
    targetIds: widen(batch.targetIds, U, targetMore),
    targetMask: widen(batch.targetMask, U, targetMore),
    targetLength: U + targetMore,
  };
}

/** Largest difference over largest value. */
function expectClose(got: Tensor, wanted: Tensor): void {
  expect(got.shape).toEqual(wanted.shape);
  expect(got.data.length).toBe(wanted.data.length);
  let [difference, largest] = [0, 0];
  for (const [i, v] of wanted.data.entries()) {
    difference = Math.max(
      difference,
      Number.isNaN(got.data[i]) ? Number.POSITIVE_INFINITY : Math.abs(v - got.data[i]!),
    );
    largest = Math.max(largest, Math.abs(v));
  }
  expect(difference / largest).toBeLessThan(tolerance);
}
