import { expect, test } from "vitest";
import type { T5Config } from "../model/t5/config.js";
import { forwardMemory, trainingMemory } from "./memory.js";

const t5 = (width: number, heads: number, feedForwardWidth: number, layers: number): T5Config => ({
  family: "t5",
  width,
  headWidth: 64,
  heads,
  feedForwardWidth,
  encoderLayers: layers,
  decoderLayers: layers,
  vocabulary: 32128,
  activation: "gelu",
  gated: true,
  tiedHead: false,
  headMayShareEmbedding: false,
  normEpsilon: 1e-6,
  relativeBuckets: 32,
  relativeMaxDistance: 128,
  padId: 0,
  eosId: 1,
  decoderStartId: 0,
});
const small = t5(512, 6, 1024, 8);
const base = t5(768, 12, 2048, 12);

// Peaks that bench/memory.mjs measured (docs/log.md, 2026-11-21 with packed weights, 2026-11-27 with lowMemory), in GB. A fifth: what is said before a run need not be finer.
test.each([
  ["small", small, 8, false, 1.03],
  ["small", small, 8, true, 0.74],
  ["small", small, 32, false, 2.15],
  ["small", small, 32, true, 1.7],
  ["base", base, 8, false, 2.96],
  ["base", base, 8, true, 1.97],
] as const)("%s, batch %#: estimate near the measured peak", (_, config, batch, lowMemory, measured) => {
  const { total } = trainingMemory(config, { batch, prompt: 20, input: 128, target: 4 }, { lowMemory });
  expect(total / 1e9 / measured).toBeGreaterThan(0.8);
  expect(total / 1e9 / measured).toBeLessThan(1.2);
});

test("an evaluation of many long rows needs more than a training step of one short row", () => {
  const long = forwardMemory(small, { batch: 64, prompt: 20, input: 492, target: 4 });
  const short = trainingMemory(small, { batch: 1, prompt: 20, input: 100, target: 4 });
  expect(long.total).toBeGreaterThan(2 * short.total);
});

test("training the weights themselves needs what is kept of each, besides the pass", () => {
  const shape = { batch: 8, prompt: 0, input: 128, target: 4 };
  const [pass, all] = [trainingMemory(small, shape), trainingMemory(small, shape, { trained: 1e8 })];
  expect(all.total - pass.total).toBeCloseTo(2e9, -3);
  expect(all.activations).toBe(pass.activations);
});
