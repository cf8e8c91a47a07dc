/**
 * The counts from a decoder-only model's graphs against closed forms: what prefill's last layer does beyond its keys and values falls away,
 * and the way back leaves out what does not depend on the prompt.
 */
import { expect, test } from "vitest";
import { readConfig } from "../model/architectures.js";
import type { CausalConfig } from "../model/causal/config.js";
import { fullModel, type PartialModel, partialModel } from "../model/partial.js";
import { forwardFlops, generationFlops, partialParameters, rankingFlops, stepFlops } from "./flops.js";

const config = readConfig(
  JSON.stringify({
    ...{ model_type: "llama", hidden_size: 24, intermediate_size: 40, num_hidden_layers: 6, num_attention_heads: 6 },
    ...{ num_key_value_heads: 2, head_dim: 8, vocab_size: 50, eos_token_id: 2, tie_word_embeddings: true },
  }),
  "c",
) as CausalConfig;
const { width: D, vocabulary: V } = config;
const [HK, GK] = [config.heads * config.headWidth, config.keyHeads * config.headWidth];
const shape = { batch: 3, prompt: 5, input: 17, target: 4 };
const [B, S, U] = [shape.batch, shape.prompt + shape.input, shape.target];

const cases: [string, PartialModel][] = [
  ["full", fullModel(config)],
  ["depth", partialModel(config, { depth: 3 })],
  ["width", partialModel(config, { width: 0.25, neuronChoice: "first" })],
];

test.each(cases)("%s", (_, partial) => {
  const { layers, neurons } = partial.stacks.decoder!;
  const L = layers.length;
  const F = neurons?.[0]?.length ?? config.feedForwardWidth;
  /** Multiply-accumulates of one token: what leaves a layer, and its keys and values. */
  const [rest, keys] = [2 * D * HK + 3 * D * F, 2 * D * GK];
  const prefill = S * ((L - 1) * (rest + keys) + keys);
  const seen = (queries: number, all: number) => HK * queries * all;

  // forward, keeping the last hidden states of prompt and text
  const decode = U * (L * (rest + keys) + D * V);
  const linears = S * L * (rest + keys) + decode;
  expect(forwardFlops(config, partial, shape)).toEqual({
    paper: 2 * B * linears,
    total: 2 * B * (linears + 2 * L * (seen(S, S) + seen(U, S + U))),
  });

  // training: prefill's last layer gives keys and values only
  const attended = (L - 1) * seen(S, S) + L * seen(U, S + U);
  const back =
    prefill + // every layer of the text's half passes on a gradient
    U * (D * V + L * rest + (L - 1) * keys - D * HK) + // the first decoded layer's queries, keys and values come from fixed embeddings
    4 * attended -
    seen(U, S + U); // and need no gradient of its queries
  expect(stepFlops(config, partial, shape)).toEqual({
    paper: 2 * B * (prefill + decode),
    total: 2 * B * (prefill + decode + 2 * attended + back),
  });

  const C = 3;
  const ranked = prefill + C * decode;
  expect(rankingFlops(config, partial, { ...shape, choices: C })).toEqual({
    paper: 2 * B * ranked,
    total: 2 * B * (ranked + 2 * ((L - 1) * seen(S, S) + L * seen(C * U, S + C * U))),
  });

  const steps = Array.from({ length: U }, (_, n) => L * seen(1, S + n + 1)).reduce((a, b) => a + b);
  expect(generationFlops(config, partial, shape)).toEqual({
    paper: 2 * B * (prefill + decode),
    total: 2 * B * (prefill + decode + 2 * ((L - 1) * seen(S, S) + steps)),
  });

  expect(partialParameters(config, partial)).toBe(V * D + D + L * (rest + keys + 2 * D));
});
