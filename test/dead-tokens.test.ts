/**
 * @file Zeroed virtual tokens in front of a deep decoder. They see only themselves, so they stay zeros through every layer, and each norm
 * multiplies their gradient by 1/√ε: in a model of many layers it is infinite. What lives must train all the same.
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

test("the gradient of leading zeros is not finite, that of the others is, and a step moves the others alone", async () => {
  const { width: D } = engine.checkpoint.config;
  const live = Float32Array.from({ length: 4 * D }, (_, n) => (n < 2 * D ? 0 : 1));
  const prompt: Tensor = { shape: [4, D], data: live.map((alive, n) => alive * Math.sin(n)) };
  const row = { id: "row", input: Int32Array.of(5, 6, 7), first: 8, target: Int32Array.of(9, 4) };
  const batch = makeBatch([{ ...row, choices: null, gold: -1, truncated: false }]);
  const { loss, gradients } = await (await engine.train()).run({ prompt }, batch, Float32Array.of(1));
  const found = gradients.prompt!.data;
  expect(found.subarray(0, 2 * D).every(Number.isFinite)).toBe(false);
  expect(found.subarray(2 * D).every(Number.isFinite)).toBe(true);
  const summed = { prompt: { shape: [4, D], data: Float32Array.from(found) } };
  const state = initParameters(adafactor, { prompt });
  const how = { learningRate: 0.1, clip: 1, live };
  const update = applyUpdate({ gradients: summed, loss: loss[0]! }, { prompt }, state, adafactor, how);
  expect(update).toHaveProperty("parameters");
  const { data } = (update as { parameters: { prompt: Tensor } }).parameters.prompt;
  expect(data.subarray(0, 2 * D).every((x) => x === 0)).toBe(true);
  expect(data.subarray(2 * D).every((x, n) => Number.isFinite(x) && x !== prompt.data[2 * D + n])).toBe(true);
});
