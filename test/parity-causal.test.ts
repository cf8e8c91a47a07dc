/**
 * Parity with PyTorch: decoder-only models against what transformers computes on small random ones (test/oracles/tiny_causal.py).
 *
 * Every family, tied and untied, with biases, grouped heads, scaled and partial rotation, a window, bfloat16, shards; rows of three lengths
 * (one has a text of one token) beside each other; one prompt for all rows, one per row, none; partial models; three ways to lower and hold
 * the weights. The oracle ran each row alone and without padding.
 */
import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { Parameters, Tensor } from "../src/base/tensor.js";
import { type Engine, type EngineOptions, openEngine } from "../src/engine/engine.js";
import { openCheckpoint } from "../src/model/checkpoint.js";
import type { EncodedRow } from "../src/text/batch.js";
import { makeBatch } from "../src/text/batch.js";
import { distance, expectClose } from "./helpers/close.js";
import { readFixture } from "./helpers/safetensors.js";

interface Oracle {
  readonly inputIds: number[][];
  readonly inputMask: number[][];
  readonly targetIds: number[][];
  readonly targetMask: number[][];
  readonly maxTokens: number;
  readonly greedy: number[][];
  readonly bareGreedy: number[][];
  readonly behindGreedy: number[][];
  readonly partials: Record<string, { layers: number[]; neurons: number[][] | null }>;
}

const models = [
  "tiny-causal-llama",
  "tiny-causal-llama-bias",
  "tiny-causal-mistral",
  "tiny-causal-qwen2",
  "tiny-causal-qwen2-window",
  "tiny-causal-qwen3",
  "tiny-causal-gpt2",
  "tiny-causal-neox",
  "tiny-causal-neox-sequential",
];
const ways: [string, EngineOptions][] = [
  ["default", { threads: 1 }],
  ["plain ops", { threads: 1, plainOps: true }],
  ["low memory", { threads: 1, lowMemory: true }],
];

/** The promise is 1e-4; both sides compute in float32 and only the order of sums differs. */
const tolerance = 5e-5;

const folderOf = (model: string) => fileURLToPath(new URL(`fixtures/${model}`, import.meta.url));
const oracleOf = (model: string) => JSON.parse(readFileSync(`${folderOf(model)}/oracle.json`, "utf8")) as Oracle;
const wantedOf = (model: string) => readFixture(new URL(`fixtures/${model}/oracle.safetensors`, import.meta.url));

describe.each(models.flatMap((model) => ways.map(([way, options]) => ({ model, way, options }))))(
  "$model, $way",
  ({ model, options }) => {
    const oracle = oracleOf(model);
    const wanted = wantedOf(model);
    const rows = rowsOf(oracle);
    const batch = makeBatch(rows);
    const B = rows.length;
    const ones = new Float32Array(B).fill(1);
    const prompt = { prompt: wanted.prompt! };
    let engine: Engine;
    let none: Parameters;
    beforeAll(async () => {
      engine = openEngine(await openCheckpoint(folderOf(model)), options);
      none = { prompt: { shape: [0, engine.checkpoint.config.width], data: new Float32Array(0) } };
    });
    afterAll(() => engine.dispose());

    test("logits", async () => {
      const forward = await engine.forward();
      expectClose(counted((await forward.run(prompt, batch)).logits, oracle), wanted.logits!, tolerance);
      expectClose(counted((await forward.run(none, batch)).logits, oracle), wanted["bare.logits"]!, tolerance);
    });

    test("loss and prompt gradient, every row apart", async () => {
      const train = await engine.train();
      for (const [given, prefix] of [
        [prompt, ""],
        [apart(wanted.prompts!), "perRow."],
      ] as const) {
        const got = await train.run(given, batch, ones);
        expectLoss(got.loss, wanted[`${prefix}nll`]!);
        const { shape } = wanted.prompts!;
        expectClose({ shape, data: got.gradients.prompt!.data }, wanted[`${prefix}gradient`]!, tolerance);
        expect([...got.tokens]).toEqual(oracle.targetMask.map((row) => row.reduce((a, b) => a + b)));
      }
      const bare = await train.run(none, batch, ones);
      expectLoss(bare.loss, wanted["bare.nll"]!);
      expect(bare.gradients.prompt!.data.length).toBe(0);
    });

    test("prompts of different length beside each other: each row as if it were alone", async () => {
      const train = await engine.train();
      const given = apart(wanted.prompts!).map((set, b) => ({ prompt: from(set.prompt, b) }));
      const together = await train.run(given, batch, ones);
      const [, P, D] = wanted.prompts!.shape as [number, number, number];
      for (const [b, row] of rows.entries()) {
        const alone = await train.run(given[b]!, makeBatch([row]), ones.subarray(0, 1));
        expect(together.loss[b]! / alone.loss[0]!).toBeCloseTo(1, 5);
        // a shorter prompt stands at the end of its places, and nothing reaches the places before it
        const own = together.gradients.prompt!.data.subarray(b * P * D, (b + 1) * P * D);
        expect(own.subarray(0, b * D).every((v) => v === 0)).toBe(true);
        expect(distance(own.subarray(b * D), alone.gradients.prompt!.data)).toBeLessThan(1e-5);
      }
    });

    test("ranking: a choice's log-probability is minus its loss, whatever stands beside it", async () => {
      const score = await engine.score();
      const ranked = withChoices(rows);
      const got = await score.run(prompt, ranked);
      expect(got.map((c) => c.length)).toEqual([4, 3, 2]);
      const losses = Float32Array.from(got, (c) => -c[0]!);
      expectLoss(losses, wanted.nll!);
      for (const [b, row] of ranked.entries())
        for (const [c, choice] of row.choices!.entries()) {
          const alone = await score.run(prompt, [{ ...row, choices: [choice] }]);
          expect(got[b]![c]! / alone[0]![0]!).toBeCloseTo(1, 5);
        }
      // and each as the teacher-forced loss has it
      const train = await engine.train();
      const second = ranked.map((row) => ({ ...row, target: row.choices![1]! }));
      const { loss } = await train.run(prompt, makeBatch(second), ones);
      expect(
        distance(
          Float32Array.from(got, (c) => -c[1]!),
          loss,
        ),
      ).toBeLessThan(tolerance);
    });

    test("greedy generation with the cache gives the ids of a model that reads everything again", async () => {
      const generate = await engine.generate();
      expect(await generate.run(prompt, rows, oracle.maxTokens)).toEqual(oracle.greedy);
      expect(await generate.run(none, rows, oracle.maxTokens)).toEqual(oracle.bareGreedy);
      for (const [b, row] of rows.entries())
        expect(await generate.run(prompt, [row], oracle.maxTokens)).toEqual([oracle.greedy[b]]);
      expect(await generate.run(prompt, [], oracle.maxTokens)).toEqual([]);
    });

    test("a text of one token without a prompt", async () => {
      const only = makeBatch(rows.slice(0, 1));
      expect(only.inputLength).toBe(0);
      const { logits } = await (await engine.forward()).run(none, only);
      const bare = wanted["bare.logits"]!;
      const row = { shape: logits.shape, data: bare.data.subarray(0, logits.data.length) };
      expectClose(logits, row, tolerance);
      expect(await (await engine.generate()).run(none, rows.slice(0, 1), oracle.maxTokens)).toEqual(
        oracle.bareGreedy.slice(0, 1),
      );
      const [scores] = await (await engine.score()).run(none, withChoices(rows.slice(0, 1)));
      const sum = rowLoss(wanted["bare.nll"]!, 0);
      expect(-scores![0]! / sum).toBeCloseTo(1, 5);
      expect((await (await engine.train()).run(none, only, ones.subarray(0, 1))).loss[0]! / sum).toBeCloseTo(1, 5);
    });

    test("the prompt behind the text, whatever of the text follows it in the row's own ids", async () => {
      const train = await engine.train(undefined, "behind");
      const score = await engine.score(undefined, "behind");
      const forward = await engine.forward(undefined, "behind");
      const generate = await engine.generate(undefined, "behind");
      const behind = rows.map((row) => ({ ...row, promptAt: row.input.length + 1 }));
      expectClose(
        counted((await forward.run(prompt, makeBatch(behind))).logits, oracle),
        wanted["behind.logits"]!,
        tolerance,
      );
      const got = await train.run(prompt, makeBatch(behind), ones);
      expectLoss(got.loss, wanted["behind.nll"]!);
      const { shape } = wanted.prompts!;
      expectClose({ shape, data: got.gradients.prompt!.data }, wanted["behind.gradient"]!, tolerance);
      expect(await generate.run(prompt, behind, oracle.maxTokens)).toEqual(oracle.behindGreedy);
      for (const [b, row] of behind.entries())
        expect(await generate.run(prompt, [row], oracle.maxTokens)).toEqual([oracle.behindGreedy[b]]);
      // without a prompt, and with nothing before it, what is computed is what it always was
      expectLoss((await train.run(none, makeBatch(behind), ones)).loss, wanted["bare.nll"]!);
      expect(await generate.run(none, behind, oracle.maxTokens)).toEqual(oracle.bareGreedy);
      const front = rows.map((row) => ({ ...row, promptAt: 0 }));
      const before = await train.run(prompt, makeBatch(front), ones);
      expectLoss(before.loss, wanted.nll!);
      expectClose({ shape, data: before.gradients.prompt!.data }, wanted.gradient!, tolerance);
      expect(await generate.run(prompt, front, oracle.maxTokens)).toEqual(oracle.greedy);
      // choices beside each other
      const ranked = withChoices(behind);
      const scores = await score.run(prompt, ranked);
      expectLoss(
        Float32Array.from(scores, (c) => -c[0]!),
        wanted["behind.nll"]!,
      );
      for (const [b, row] of ranked.entries())
        for (const [c, choice] of row.choices!.entries()) {
          const alone = await train.run(prompt, makeBatch([{ ...row, target: choice }]), ones.subarray(0, 1));
          expect(-scores[b]![c]! / alone.loss[0]!).toBeCloseTo(1, 5);
        }
    });

    test("rows whose text goes on behind the prompt, prompts of different length: each as if it were alone", async () => {
      const train = await engine.train(undefined, "behind");
      const generate = await engine.generate(undefined, "behind");
      const given = apart(wanted.prompts!).map((set, b) => ({ prompt: from(set.prompt, 2 - b) }));
      const mixed = rows.map((row, b) => ({ ...row, promptAt: [1, 0, 8][b]! }));
      const together = await train.run(given, makeBatch(mixed), ones);
      const written = await generate.run(given, mixed, 4);
      const [, P, D] = wanted.prompts!.shape as [number, number, number];
      for (const [b, row] of mixed.entries()) {
        const alone = await train.run(given[b]!, makeBatch([row]), ones.subarray(0, 1));
        expect(together.loss[b]! / alone.loss[0]!).toBeCloseTo(1, 5);
        const own = together.gradients.prompt!.data.subarray(b * P * D, (b + 1) * P * D);
        expect(distance(own.subarray((2 - b) * D), alone.gradients.prompt!.data)).toBeLessThan(1e-5);
        expect(await generate.run(given[b]!, [row], 4)).toEqual([written[b]]);
      }
    });

    test("feed-forward activations", async () => {
      const got = await (await engine.activations()).run(prompt, batch);
      const { shape } = wanted.activations!;
      expect(Object.keys(got)).toEqual(["decoder"]);
      expectClose({ shape, data: got.decoder! }, wanted.activations!, tolerance);
      const behind = makeBatch(rows.map((row) => ({ ...row, promptAt: 0 })));
      const again = await (await engine.activations("behind")).run(prompt, behind);
      expectClose({ shape, data: again.decoder! }, wanted.activations!, tolerance);
    });

    test.each(Object.keys(oracle.partials))("partial model: %s", async (label) => {
      const { layers, neurons } = oracle.partials[label]!;
      const kept = { layers, neurons: neurons?.map((n) => Int32Array.from(n)) ?? null };
      const partial = { stacks: { decoder: kept }, name: label };
      const got = await (await engine.train(partial)).run(prompt, batch, ones);
      expectLoss(got.loss, wanted[`partial.${label}.nll`]!);
      const { shape } = wanted.prompts!;
      expectClose({ shape, data: got.gradients.prompt!.data }, wanted[`partial.${label}.gradient`]!, tolerance);
      await engine.release(partial);
    });

    test("a row's logits and loss do not depend on a row 40 tokens longer beside it", async () => {
      const { maxPositions = Number.POSITIVE_INFINITY } = engine.checkpoint.config;
      const more = Math.min(40, maxPositions - 3 - 7 - 5);
      const long = { ...rows[1]!, input: Int32Array.from({ length: 7 + more }, (_, i) => 3 + ((i * 7) % 90)) };
      const forward = await engine.forward();
      for (const row of rows) {
        const alone = await forward.run(prompt, makeBatch([row]));
        const beside = await forward.run(prompt, makeBatch([long, row]));
        const U = row.target.length;
        const from = beside.logits.data.length / 2;
        const own = beside.logits.data.subarray(from, from + U * 96);
        expect(distance(own, alone.logits.data)).toBeLessThan(1e-5);
      }
    });
  },
);

test("a context window counts virtual tokens: longer rows are refused, generation ends at it", async () => {
  const model = "tiny-causal-gpt2"; // 32 positions
  const engine = openEngine(await openCheckpoint(folderOf(model)), { threads: 1 });
  const prompt = { prompt: wantedOf(model).prompt! };
  const row = (text: number, target: number): EncodedRow => {
    const [, , long] = rowsOf(oracleOf(model));
    const input = Int32Array.from({ length: text - 1 }, (_, i) => 3 + i);
    return { ...long!, input, target: Int32Array.from({ length: target }, (_, i) => 40 + i) };
  };
  const forward = await engine.forward();
  await forward.run(prompt, makeBatch([row(25, 5), row(3, 7)])); // 3 + 24 + 5 positions, though the padded targets reach further
  await expect(forward.run(prompt, makeBatch([row(3, 1), row(26, 5)]))).rejects.toThrow(/row 1[\s\S]*32[\s\S]*33/);
  const score = await engine.score();
  const ranked = { ...row(26, 5), choices: [Int32Array.of(5), Int32Array.of(5, 6, 7, 8, 9)] };
  await expect(score.run(prompt, [ranked])).rejects.toThrow(/context window/);
  const [ids] = await (await engine.generate()).run(prompt, [row(26, 1)], 12);
  expect(ids!.length).toBeLessThanOrEqual(4);
  const foreign = { ...row(3, 1), first: 96 };
  await expect(forward.run(prompt, makeBatch([foreign]))).rejects.toThrow(/first id 96/);
  await engine.dispose();
});

/** A row's text but its last token, the last token, and the target. */
function rowsOf(o: Oracle): EncodedRow[] {
  const valid = (ids: number[], mask: number[]) => Int32Array.from(ids.filter((_, i) => mask[i]));
  return o.inputIds.map((ids, b) => {
    const text = valid(ids, o.inputMask[b]!);
    return {
      id: `row ${b}`,
      input: text.subarray(0, -1),
      first: text.at(-1)!,
      target: valid(o.targetIds[b]!, o.targetMask[b]!),
      choices: null,
      gold: -1,
      truncated: false,
    };
  });
}

/** Rows with four, three and two choices, of different lengths; the first is the target. */
function withChoices(rows: readonly EncodedRow[]): EncodedRow[] {
  const others = [Int32Array.of(9, 1, 44), Int32Array.of(5), Int32Array.of(7, 8, 9, 10, 11, 12, 13)];
  return rows.map((row, b) => ({ ...row, choices: [row.target, ...others.slice(0, 3 - b)] }));
}

/** [B, P, D] as one set of parameters per row. */
function apart({ shape: [B, P, D], data }: Tensor): { prompt: Tensor }[] {
  const size = P! * D!;
  return Array.from({ length: B! }, (_, b) => ({
    prompt: { shape: [P!, D!], data: data.subarray(b * size, (b + 1) * size) },
  }));
}

/** A prompt without its first tokens. */
function from({ shape: [P, D], data }: Tensor, first: number): Tensor {
  return { shape: [P! - first, D!], data: data.subarray(first * D!) };
}

/** Logits [B, U, V], 0 where a row has no token: what the engine computes there is nobody's. */
function counted({ shape, data }: Tensor, { targetMask }: Oracle): Tensor {
  const V = shape.at(-1)!;
  const mask = targetMask.flat();
  return { shape, data: data.map((v, i) => (mask[Math.floor(i / V)] ? v : 0)) };
}

/** @param nll [B, U], 0 where a row has no token */
function expectLoss(got: Float32Array, nll: Tensor): void {
  const wanted = Float32Array.from(got, (_, b) => rowLoss(nll, b));
  expectClose({ shape: [got.length], data: got }, { shape: [got.length], data: wanted }, tolerance);
}

function rowLoss({ shape: [, U], data }: Tensor, b: number): number {
  return data.subarray(b * U!, (b + 1) * U!).reduce((sum, v) => sum + v, 0);
}
