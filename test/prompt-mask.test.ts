/**
 * Prompts of different length in one batch: each row answers as it does alone, since what pads a short prompt is masked.
 */
import { afterAll, beforeAll, expect, test } from "vitest";
import { random } from "../src/base/random.js";
import type { Parameters } from "../src/base/tensor.js";
import type { Engine } from "../src/engine/engine.js";
import type { EncodedRow } from "../src/text/batch.js";
import { tinyEngine } from "./helpers/tiny-job.js";

let engine: Engine;
beforeAll(async () => {
  engine = await tinyEngine();
});
afterAll(() => engine.dispose());

const rows: EncodedRow[] = [
  [5, 6, 7, 1],
  [9, 8, 1],
  [11, 12, 13, 14, 15, 1],
].map((ids, n) => ({
  id: String(n),
  input: Int32Array.from(ids),
  target: Int32Array.of(20, 1),
  choices: [Int32Array.of(20, 1), Int32Array.of(21, 22, 1)],
  gold: 0,
  truncated: false,
}));

/** A prompt of a large norm: forgotten or shifted, it shows. */
function prompts(lengths: readonly number[]): Parameters[] {
  const draw = random(4, "prompts");
  const D = engine.checkpoint.config.width;
  return lengths.map((P) => ({
    prompt: { shape: [P, D], data: Float32Array.from({ length: P * D }, () => draw.uniform(-3, 3)) },
  }));
}

test("ranking and generation of a mixed batch are those of each row alone", async () => {
  const [score, generate] = [await engine.score(), await engine.generate()];
  const own = prompts([3, 5, 0]);
  const together = await score.run(own, rows);
  const texts = await generate.run(own, rows, 6);
  for (const [n, row] of rows.entries()) {
    const [alone] = await score.run(own[n]!, [row]);
    for (const [c, value] of alone!.entries()) expect(Math.abs(together[n]![c]! - value)).toBeLessThan(1e-4);
    expect(texts[n]).toEqual((await generate.run(own[n]!, [row], 6))[0]);
  }
  // and not those of another prompt
  const other = await score.run(prompts([3, 5, 0]).reverse(), rows);
  expect(Math.abs(other[0]![0]! - together[0]![0]!)).toBeGreaterThan(1e-2);
});

test("training takes prompts of different length too, and the places before a short one have no gradient", async () => {
  const train = await engine.train();
  const { makeBatch } = await import("../src/text/batch.js");
  const own = prompts([3, 5, 2]);
  const D = engine.checkpoint.config.width;
  const { loss, gradients } = await train.run(own, makeBatch(rows), new Float32Array(3).fill(1));
  expect(gradients.prompt!.shape).toEqual([3, 5, D]);
  for (const [n, row] of rows.entries()) {
    const alone = await train.run(own[n]!, makeBatch([row]), Float32Array.of(1));
    expect(Math.abs(loss[n]! - alone.loss[0]!)).toBeLessThan(1e-4);
    const P = own[n]!.prompt!.shape[0]!;
    const mine = gradients.prompt!.data.subarray(n * 5 * D, (n + 1) * 5 * D);
    expect(mine.subarray(0, (5 - P) * D).every((v) => v === 0)).toBe(true);
    const far = alone.gradients.prompt!.data.map((v, i) => v - mine[(5 - P) * D + i]!);
    expect(Math.max(...far.map(Math.abs))).toBeLessThan(1e-4);
  }
});
