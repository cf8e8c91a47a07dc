/**
 * @file Importance and masks on a real (tiny, random) T5: scores against central differences, masks against plain tuning, bit for bit.
 */
import { rmSync } from "node:fs";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { Engine } from "../src/engine/engine.js";
import { entryMask, fullMask, maskFromScores, pieceOfDimension } from "../src/method/mask.js";
import { partialModel } from "../src/model/partial.js";
import { optimizers } from "../src/optim/optimizers.js";
import { type ImportanceOptions, importance } from "../src/prune/importance.js";
import { makeBatch } from "../src/text/batch.js";
import { encodeRows } from "../src/text/rows.js";
import { memoryFolder } from "./helpers/memory-folder.js";
import { tinyTokenizer } from "./helpers/tiny.js";
import { D, K, openTiny, P, plain, prompt, rows, scoring, settings, task } from "./helpers/tiny-prompt.js";

const folders = memoryFolder("softprompt-xprompt-");
let engine: Engine;
beforeAll(async () => {
  engine = await openTiny();
});
afterAll(async () => {
  await engine?.dispose();
  rmSync(folders, { recursive: true, force: true });
});

const score = (more: Partial<ImportanceOptions> = {}, which = rows) =>
  importance(engine, tinyTokenizer, task, which, prompt, { ...scoring, ...more });
const worst = (a: readonly number[], b: readonly number[]) =>
  Math.max(...a.map((v, i) => Math.abs(v - b[i]!))) / Math.max(...b.map(Math.abs));

describe("importance", () => {
  /** Token-mean loss of one row with γ_i (or ζ_ij) at `factor`. */
  async function loss(row: number, entries: Uint8Array, factor: number): Promise<number> {
    const encoded = encodeRows(task, [rows[row]!], tinyTokenizer, 492);
    const data = prompt.data.map((v, n) => (entries[n] ? v * factor : v));
    const program = await engine.train();
    const step = await program.run({ prompt: { shape: [P, D], data } }, makeBatch(encoded), Float32Array.of(1));
    return step.loss[0]! / encoded[0]!.target.length;
  }
  /** ∂L/∂mask at one by Richardson-extrapolated central differences: error ~h⁴ and float32 rounding/h, about 1e-3 of the largest. */
  async function difference(row: number, entries: Uint8Array): Promise<number> {
    const central = async (h: number) =>
      ((await loss(row, entries, 1 + h)) - (await loss(row, entries, 1 - h))) / (2 * h);
    return (4 * (await central(0.02)) - (await central(0.04))) / 3;
  }

  test.each(["contiguous", "strided"] as const)(
    "∂L/∂γ and ∂L/∂ζ agree with central differences (%s)",
    async (layout) => {
      const piece = pieceOfDimension(fullMask(P, K, layout), D);
      for (const row of [0, 7]) {
        // `signed` of one row is −∂L/∂γ itself
        const found = await score({ mode: "signed", layout }, [rows[row]!]);
        const tokens: number[] = [];
        const pieces: number[] = [];
        for (let i = 0; i < P; i++) {
          const inToken = (n: number) => Math.floor(n / D) === i;
          tokens.push(
            -(await difference(
              row,
              Uint8Array.from(prompt.data, (_, n) => (inToken(n) ? 1 : 0)),
            )),
          );
          for (let j = 0; j < K; j++) {
            const entries = Uint8Array.from(prompt.data, (_, n) => (inToken(n) && piece[n % D] === j ? 1 : 0));
            pieces.push(-(await difference(row, entries)));
          }
        }
        expect(worst(found.tokens, tokens)).toBeLessThan(5e-3);
        expect(worst(found.pieces, pieces)).toBeLessThan(5e-3);
      }
    },
  );

  test("signed pieces add up to their token; a token scores at most the sum of its pieces", async () => {
    const signed = await score({ mode: "signed" });
    const absolute = await score();
    const sums = (pieces: readonly number[]) =>
      Array.from({ length: P }, (_, i) => pieces.slice(i * K, (i + 1) * K).reduce((a, b) => a + b, 0));
    expect(worst(sums(signed.pieces), signed.tokens)).toBeLessThan(1e-9);
    for (const [i, sum] of sums(absolute.pieces).entries()) expect(absolute.tokens[i]!).toBeLessThanOrEqual(sum);
    expect(absolute.tokens.some((v, i) => v < sums(absolute.pieces)[i]! * 0.99)).toBe(true);
  });

  test("scores of a batch of 8 are the mean of eight single runs, padding and all", async () => {
    const eight = rows.slice(0, 8);
    expect(new Set(eight.map((row) => row.input.length)).size).toBeGreaterThan(3);
    const together = await score({}, eight);
    const alone = await Promise.all(eight.map((row) => score({}, [row])));
    const mean = (of: (s: (typeof alone)[0]) => readonly number[]) =>
      of(together).map((_, i) => alone.reduce((sum, s) => sum + of(s)[i]! / 8, 0));
    expect(
      worst(
        together.tokens,
        mean((s) => s.tokens),
      ),
    ).toBeLessThan(1e-5);
    expect(
      worst(
        together.pieces,
        mean((s) => s.pieces),
      ),
    ).toBeLessThan(1e-5);
    expect(together.examples).toBe(8);
  });

  test("modes differ as they say: |mean of the batch| ≤ mean of |each|, equal for batches of one", async () => {
    const each = await score();
    const batch = await score({ mode: "batchAbs" });
    expect(batch.tokens.every((v, i) => v <= each.tokens[i]! + 1e-9)).toBe(true);
    expect(worst((await score({ mode: "batchAbs", batchSize: 1 })).tokens, each.tokens)).toBeLessThan(1e-5);
  });

  test("normalising keeps every within-group ranking; a cap samples by the seed; a partial model gives other scores", async () => {
    const plain = await score();
    const normal = await score({ normalise: true });
    for (const tokensPruned of [1, 2])
      expect(maskFromScores(normal, { tokensPruned, piecesPruned: 3 })).toEqual(
        maskFromScores(plain, { tokensPruned, piecesPruned: 3 }),
      );
    expect(Math.hypot(...normal.tokens)).toBeCloseTo(1, 9);
    const capped = await score({ maxExamples: 5 });
    expect(capped.examples).toBe(5);
    expect(await score({ maxExamples: 5 })).toMatchObject({ tokens: capped.tokens });
    expect((await score({ maxExamples: 5, seed: 1 })).tokens).not.toEqual(capped.tokens);
    const partial = partialModel(engine.checkpoint.config, { depth: 2 });
    const small = await score({ partial });
    expect(small.partial).toBe(partial.name);
    expect(small.flops).toBeLessThan(plain.flops);
    expect(worst(small.tokens, plain.tokens)).toBeGreaterThan(1e-3);
  });
});

describe("masks in training", () => {
  test.each([
    [{ batchSize: 0 }, /batchSize.*at least 1/s],
    [{ batchSize: Number.NaN }, /batchSize/],
    [{ maxExamples: -1 }, /maxExamples.*at least 0/s],
    [{ mode: "each" as "signed" }, /mode.*perExample, batchAbs, signed/s],
    [{ layout: "tiled" as "strided" }, /layout.*contiguous, strided/s],
  ])("refuses %j, instead of a pass without end or other scores", async (more, message) => {
    const found = score(more);
    await expect(found).rejects.toMatchObject({ kind: "usage", message: expect.stringMatching(message) });
  });

  test("a mask of all ones trains as no mask does, bit for bit", async () => {
    const losses = async (mask: ReturnType<typeof fullMask> | null) => {
      const seen: number[] = [];
      const observe = (e: { kind: string; loss?: number }) => e.kind === "step" && seen.push(e.loss!);
      return { seen, last: (await plain(engine, 8, { mask, observe })).last };
    };
    expect(await losses(fullMask(P, K))).toEqual(await losses(null));
  });

  test.each(Object.keys(optimizers) as (keyof typeof optimizers)[])(
    "pruned entries stay exactly zero through %s with weight decay, the others move",
    async (optimizer) => {
      const mask = maskFromScores(await score(), { tokensPruned: 1, piecesPruned: 3 });
      const live = entryMask(mask, D);
      const learningRate = optimizer === "adamw" ? 0.01 : 0.05;
      const { last } = await plain(engine, 5, {
        mask,
        settings: { ...settings, optimizer, weightDecay: 0.1, learningRate },
      });
      expect(last.prompt!.data.every((v, n) => live[n] === 1 || Object.is(v, 0))).toBe(true);
      expect(last.prompt!.data.some((v, n) => live[n] === 1 && v !== prompt.data[n])).toBe(true);
    },
  );
});
