/**
 * @file Zeroed virtual tokens in front of a deep decoder. They see only themselves, so they stay zeros through every layer, and each norm
 * would multiply their gradient by 1/√ε, to infinity in a model of many layers, and to NaN for all others. What lives must train all the same.
 */
import { afterAll, beforeAll, expect, test } from "vitest";
import type { Tensor } from "../src/base/tensor.js";
import { type Engine, openEngine } from "../src/engine/engine.js";
import { openCheckpoint } from "../src/model/checkpoint.js";
import { adafactor } from "../src/optim/adafactor.js";
import { initParameters } from "../src/optim/parameters.js";
import { makeBatch } from "../src/text/batch.js";
import { applyUpdate } from "../src/train/update.js";
import { deep } from "./helpers/deep.js";

let engine: Engine;
beforeAll(async () => {
  engine = openEngine(await openCheckpoint(deep("tiny-causal-llama", 40)), { threads: 1 });
});
afterAll(() => engine.dispose());

test("the gradient of the other tokens is finite and agrees with central differences, and a step moves them alone", async () => {
  const { width: D } = engine.checkpoint.config;
  const live = Float32Array.from({ length: 4 * D }, (_, n) => (n < 2 * D ? 0 : 1));
  const prompt: Tensor = { shape: [4, D], data: live.map((alive, n) => alive * Math.sin(n)) };
  const row = { id: "row", input: Int32Array.of(5, 6, 7), first: 8, target: Int32Array.of(9, 4) };
  const batch = makeBatch([{ ...row, choices: null, gold: -1, truncated: false }]);
  const train = await engine.train();
  const { loss, gradients } = await train.run({ prompt }, batch, Float32Array.of(1));
  const found = gradients.prompt!.data;
  expect(found.every(Number.isFinite)).toBe(true);
  // along the gradient itself, where float32 sees a difference
  const norm = Math.sqrt(found.reduce((sum, x, n) => sum + live[n]! * x * x, 0));
  const step = 1e-3 / norm;
  const lossAt = async (t: number) => {
    const moved = { shape: prompt.shape, data: prompt.data.map((x, n) => x + (live[n]! * t * found[n]!) / norm) };
    return (await train.run({ prompt: moved }, batch, Float32Array.of(1))).loss[0]!;
  };
  const slope = ((await lossAt(step * norm)) - (await lossAt(-step * norm))) / (2 * step * norm);
  expect(Math.abs(slope - norm) / norm).toBeLessThan(0.02);
  const summed = { prompt: { shape: [4, D], data: Float32Array.from(found) } };
  const optimizer = adafactor();
  const state = initParameters(optimizer, { prompt });
  const how = { learningRate: 0.1, clip: 1, live };
  const update = applyUpdate({ gradients: summed, loss: loss[0]! }, { prompt }, state, optimizer, how);
  expect(update).toHaveProperty("parameters");
  const { data } = (update as unknown as { parameters: { prompt: Tensor } }).parameters.prompt;
  expect(data.subarray(0, 2 * D).every((x) => x === 0)).toBe(true);
  expect(data.subarray(2 * D).every((x, n) => Number.isFinite(x) && x !== prompt.data[2 * D + n])).toBe(true);
});
