import { expect, test } from "vitest";
import { readConfig } from "../model/architectures.js";
import type { T5Config } from "../model/t5/config.js";
import { forwardMemory, programsMemory, trainingMemory } from "./memory.js";

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

// Peaks that bench/memory.mjs measured (docs/log.md, 2026-11-21 with packed weights, 2026-11-27 the others), in GB. A fifth: what is said before a run need not be finer.
test.each([
  ["small", small, 8, false, 1.03],
  ["small", small, 8, true, 0.43],
  ["small", small, 32, false, 2.15],
  ["small", small, 32, true, 0.7],
  ["base", base, 8, false, 2.96],
  ["base", base, 8, true, 0.9],
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

// resident memory after each program was opened, before any row (docs/log.md, 2026-11-28), in GB
test("programs that stay open beside the training step: near what was measured", () => {
  const smollm2 = readConfig(
    JSON.stringify({
      ...{ model_type: "llama", hidden_size: 576, intermediate_size: 1536, num_hidden_layers: 30, vocab_size: 49152 },
      ...{ num_attention_heads: 9, num_key_value_heads: 3, max_position_embeddings: 8192, rms_norm_eps: 1e-5 },
      ...{ hidden_act: "silu", rope_theta: 100000, tie_word_embeddings: true, eos_token_id: 2 },
    }),
    "config.json",
  );
  const nothing = { batch: 0, prompt: 0, input: 0, target: 0 };
  for (const [config, programs, measured] of [
    [smollm2, 0, 1.26],
    [smollm2, 1, 2.27],
    [smollm2, 2, 2.96],
    [{ ...t5(256, 4, 768, 8), vocabulary: 8192 }, 2, 0.47],
  ] as const) {
    const need = (trainingMemory(config, nothing).total + programsMemory(config, programs)) / 1e9;
    expect(need / measured).toBeGreaterThan(0.8);
    expect(need / measured).toBeLessThan(1.2);
  }
  expect(programsMemory(smollm2, 2, { lowMemory: true })).toBe(0);
});

test("training the weights themselves needs what is kept of each, besides the pass", () => {
  const shape = { batch: 8, prompt: 0, input: 128, target: 4 };
  const [pass, all] = [trainingMemory(small, shape), trainingMemory(small, shape, { trained: 1e8 })];
  expect(all.total - pass.total).toBeCloseTo(2e9, -3);
  expect(all.activations).toBe(pass.activations);
});

test("TinyLlama 1.1B in a GGUF file's blocks, and T5 small in 4 bits: near the measured peaks", () => {
  const published = {
    ...{ model_type: "llama", hidden_size: 2048, intermediate_size: 5632, num_hidden_layers: 22, vocab_size: 32000 },
    ...{ num_attention_heads: 32, num_key_value_heads: 4, max_position_embeddings: 2048, rms_norm_eps: 1e-5 },
    ...{ hidden_act: "silu", rope_theta: 10000, tie_word_embeddings: false, eos_token_id: 2 },
  };
  const llama = readConfig(JSON.stringify(published), "config.json");
  const shape = { batch: 4, prompt: 20, input: 128, target: 4 };
  const stored = { kind: "blocks", bytes: 1.1647e9, parameters: 968_884_224 + 65_536_000 } as const;
  const peak = trainingMemory(llama, shape, { other: stored }).total / 1e9;
  expect(peak / 2.42).toBeGreaterThan(0.8);
  expect(peak / 2.42).toBeLessThan(1.2);
  const layers = 76_961_152 - 2 * 32128 * 512;
  const int4 = { kind: "blocks", bytes: 0.625 * layers, parameters: layers } as const;
  const small4 = trainingMemory(small, { ...shape, batch: 8 }, { other: int4 }).total / 1e9;
  expect(small4 / 0.38).toBeGreaterThan(0.8);
  expect(small4 / 0.38).toBeLessThan(1.2);
});
