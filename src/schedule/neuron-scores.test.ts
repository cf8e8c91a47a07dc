import { mkdtempSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { tinyDataset, tinyTokenizer } from "../../test/helpers/tiny.js";
import { type Engine, openEngine } from "../engine/engine.js";
import { activationFlops } from "../engine/flops.js";
import { openCheckpoint } from "../model/checkpoint.js";
import { partialModel } from "../model/partial.js";
import type { T5Config } from "../model/t5/config.js";
import { makeBatch } from "../text/batch.js";
import { encodeRows } from "../text/rows.js";
import { type NeuronScoreInput, neuronScores } from "./neuron-scores.js";

const fixture = (name: string) => fileURLToPath(new URL(`../../test/fixtures/${name}`, import.meta.url));
const dataset = tinyDataset(24, 12);
const input: NeuronScoreInput = {
  scoreRows: 1000,
  scoreSplit: "validation",
  scoreBatchSize: 5,
  seed: 3,
  virtualTokens: 4,
  maxInputTokens: 12,
  folder: null,
};

// One plain ReLU model and one gated one.
describe.each(["tiny-t5-v10", "tiny-t5-v11"])("%s", (name) => {
  let engine: Engine;
  beforeAll(async () => {
    engine = openEngine(await openCheckpoint(fixture(name)), { threads: 1 });
  });
  afterAll(() => engine.dispose());
  const score = (more: Partial<NeuronScoreInput> = {}) =>
    neuronScores(engine, tinyTokenizer, dataset, { ...input, ...more });

  test("are the mean over examples of each example's own mean, whatever the batch", async () => {
    const { scores } = await score();
    const alone = await score({ scoreBatchSize: 1 });
    for (const stack of ["encoder", "decoder"] as const)
      scores[stack]!.forEach((layer, l) => {
        layer.forEach((value, j) => {
          // float32 sums over other paddings: a few units in the seventh digit
          expect(Math.abs(value - alone.scores[stack]![l]![j]!)).toBeLessThan(1e-5 * Math.max(1, value));
        });
      });
  });

  test("weigh every example alike, however long: the table of two parts is the mean of their tables", async () => {
    const part = (from: number, to: number) =>
      neuronScores(engine, tinyTokenizer, { ...dataset, validation: dataset.validation.slice(from, to) }, input);
    const [all, short, long] = [await score(), await part(0, 6), await part(6, 12)];
    for (const stack of ["encoder", "decoder"] as const)
      all.scores[stack]!.forEach((layer, l) => {
        layer.forEach((value, j) => {
          const mean = (short.scores[stack]![l]![j]! + long.scores[stack]![l]![j]!) / 2;
          expect(Math.abs(value - mean)).toBeLessThan(1e-5 * Math.max(1, value));
        });
      });
    expect(all.scores.encoder!.some((layer) => layer.some((value) => value > 0))).toBe(true);
  });

  test("have one row per layer of each stack, fit the model's partial sizes, and are read back bit for bit", async () => {
    const config = engine.checkpoint.config as T5Config;
    const folder = mkdtempSync(join(tmpdir(), "scores-"));
    const first = await score({ folder });
    expect(first.kept).toBe(false);
    expect([first.scores.encoder!.length, first.scores.decoder!.length]).toEqual([
      config.encoderLayers,
      config.decoderLayers,
    ]);
    const again = await score({ folder, scoreBatchSize: 2 });
    expect(again).toEqual({ ...first, kept: true });
    const partial = partialModel(config, { width: 0.25, reduceDecoder: true }, again.scores);
    expect(partial.stacks.encoder!.neurons![0]!.length).toBe(config.feedForwardWidth / 4);
  });

  test("another seed, split, number of rows or of virtual tokens is another table", async () => {
    const folder = mkdtempSync(join(tmpdir(), "scores-"));
    const variants = [{}, { seed: 4 }, { scoreSplit: "train" as const }, { scoreRows: 6 }, { virtualTokens: 5 }];
    for (const variant of variants) expect((await score({ folder, ...variant })).kept).toBe(false);
    expect(readdirSync(folder)).toHaveLength(variants.length);
  });

  test("a damaged file is computed again", async () => {
    const folder = mkdtempSync(join(tmpdir(), "scores-"));
    const first = await score({ folder });
    const path = join(folder, readdirSync(folder)[0]!);
    const text = readFileSync(path, "utf8");
    const at = text.indexOf('"encoder"') + 40;
    const flipped = `${text.slice(0, at)}${text[at] === "A" ? "B" : "A"}${text.slice(at + 1)}`;
    for (const damaged of ["", text.slice(0, text.length / 2), flipped, "{}", "null"]) {
      writeFileSync(path, damaged);
      const again = await score({ folder });
      expect(again.kept).toBe(false);
      expect(again.scores).toEqual(first.scores);
    }
  });

  test("tell what they cost", async () => {
    const { cost } = await score({ scoreBatchSize: 1000 });
    expect(cost.examples).toBe(12);
    const rows = encodeRows(dataset.task, dataset.validation, tinyTokenizer, 12);
    const batch = makeBatch(rows);
    const shape = { batch: 12, prompt: 4, input: batch.inputLength, target: batch.targetLength };
    expect(cost.flops).toBe(activationFlops(engine.checkpoint.config, shape).total);
    expect(cost.seconds).toBeGreaterThan(0);
  });

  test("stop at a signal, with its exit code, and keep nothing of half a pass", async () => {
    const folder = mkdtempSync(join(tmpdir(), "scores-"));
    await expect(score({ folder, signal: AbortSignal.abort("SIGTERM") })).rejects.toMatchObject({
      kind: "interrupted",
      exitCode: 143,
    });
    expect(readdirSync(folder)).toEqual([]);
  });

  test("need rows", async () => {
    const empty = { ...dataset, validation: [] };
    await expect(neuronScores(engine, tinyTokenizer, empty, input)).rejects.toThrow(
      /no rows[\s\S]*--score-split train/,
    );
  });
});
