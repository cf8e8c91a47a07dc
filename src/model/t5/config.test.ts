import { readFileSync } from "node:fs";
import { describe, expect, test } from "vitest";
import { SoftpromptError } from "../../base/errors.js";
import { readConfig } from "../architectures.js";
import { parameterCount } from "../tensors.js";
import type { T5Config } from "./config.js";
import { t5Tensors } from "./tensors.js";

// the published config.json of google-t5/t5-small and google/t5-v1_1-small, without the task-specific parameters
const v10 = {
  architectures: ["T5ForConditionalGeneration"],
  ...{ d_ff: 2048, d_kv: 64, d_model: 512, decoder_start_token_id: 0, dropout_rate: 0.1, eos_token_id: 1 },
  ...{
    initializer_factor: 1.0,
    is_encoder_decoder: true,
    layer_norm_epsilon: 1e-6,
    model_type: "t5",
    n_positions: 512,
  },
  ...{
    num_heads: 8,
    num_layers: 6,
    output_past: true,
    pad_token_id: 0,
    relative_attention_num_buckets: 32,
    vocab_size: 32128,
  },
};
const v11 = {
  ...v10,
  ...{
    d_ff: 1024,
    feed_forward_proj: "gated-gelu",
    num_heads: 6,
    num_layers: 8,
    num_decoder_layers: 8,
    tie_word_embeddings: false,
  },
};
const read = (config: object) => readConfig(JSON.stringify(config), "config.json") as T5Config;
const shared = {
  ...{ family: "t5", width: 512, headWidth: 64, vocabulary: 32128, normEpsilon: 1e-6, relativeBuckets: 32 },
  ...{ relativeMaxDistance: 128, padId: 0, eosId: 1, decoderStartId: 0 },
};

describe("reads", () => {
  test("t5-small: defaults where the file is silent; 60,506,624 parameters (its model card)", () => {
    const config = read(v10);
    expect(config).toEqual({
      ...shared,
      ...{
        heads: 8,
        feedForwardWidth: 2048,
        encoderLayers: 6,
        decoderLayers: 6,
        activation: "relu",
        gated: false,
        tiedHead: true,
      },
    });
    expect(parameterCount(t5Tensors(config))).toBe(60_506_624);
  });
  test("t5-v1_1-small: gated, untied; 76,961,152 parameters", () => {
    const config = read(v11);
    expect(config).toEqual({
      ...shared,
      ...{
        heads: 6,
        feedForwardWidth: 1024,
        encoderLayers: 8,
        decoderLayers: 8,
        activation: "gelu",
        gated: true,
        tiedHead: false,
      },
    });
    expect(parameterCount(t5Tensors(config))).toBe(76_961_152);
  });
  test.each([
    ["relu", "relu", false],
    ["gelu_new", "gelu", false],
    ["gated-silu", "silu", true],
    ["gated-gelu_new", "gelu", true],
    ["gated-relu", "relu", true],
  ])("feed_forward_proj %s", (feed_forward_proj, activation, gated) => {
    expect(read({ ...v10, feed_forward_proj })).toMatchObject({ activation, gated });
  });
  test("null as absent, a list of one id, mT5, and transformers 5's spelling of an unscaled head", () => {
    expect(read({ ...v10, num_decoder_layers: null, eos_token_id: [1], decoder_start_token_id: null })).toEqual(
      read(v10),
    );
    expect(read({ ...v11, model_type: "mt5", feed_forward_proj: undefined }).gated).toBe(true);
    const five = read({ ...v11, tie_word_embeddings: true, scale_decoder_outputs: false });
    expect(five).toEqual({ ...read(v11), headMayShareEmbedding: true });
  });
});

test("a config without model_type is what its class says", () => {
  expect(read({ ...v10, model_type: undefined, architectures: ["T5ForConditionalGeneration"] })).toEqual(read(v10));
  const mt5 = { ...v11, feed_forward_proj: undefined };
  expect(read({ ...mt5, model_type: undefined, architectures: ["MT5ForConditionalGeneration"] })).toEqual(
    read({ ...mt5, model_type: "mt5" }),
  );
});

describe("refuses, naming the field", () => {
  test.each([
    ["another family", { ...v10, model_type: "bert" }, /not of a supported family[\s\S]*t5, mt5[\s\S]*"bert"/],
    ["no family", { ...v10, model_type: undefined, architectures: undefined }, /supported family/],
    ["another class", { ...v10, model_type: undefined, architectures: ["constructor"] }, /supported family/],
    ["umT5", { ...v10, model_type: "umt5" }, /umT5 is not supported: each of its layers has a position bias/],
    [
      "ByT5, whose model is a T5",
      { ...v10, tokenizer_class: "ByT5Tokenizer" },
      /ByT5 is not supported: it reads bytes/,
    ],
    ["an inherited name as family", { ...v10, model_type: "constructor" }, /supported family/],
    ["a missing width", { ...v10, d_model: undefined }, /d_model is missing/],
    ["a width of text", { ...v10, d_model: "512" }, /d_model is out of range[\s\S]*"512"/],
    ["no heads", { ...v10, num_heads: 0 }, /num_heads is out of range/],
    ["half a layer", { ...v10, num_layers: 6.5 }, /num_layers/],
    ["an absurd vocabulary", { ...v10, vocab_size: 2 ** 40 }, /vocab_size/],
    ["absurd sizes together", { ...v10, d_model: 65536, d_ff: 1048576, num_layers: 512 }, /absurdly large/],
    [
      "a misspelt activation",
      { ...v10, feed_forward_proj: "gated-gleu" },
      /feed_forward_proj[\s\S]*did you mean "gated-gelu"/,
    ],
    ["the exact GELU", { ...v10, feed_forward_proj: "gelu" }, /erf/],
    ["a negative epsilon", { ...v10, layer_norm_epsilon: -1 }, /layer_norm_epsilon/],
    ["an id outside the vocabulary", { ...v10, eos_token_id: 32128 }, /eos_token_id/],
    ["a tie that is no boolean", { ...v10, tie_word_embeddings: "false" }, /tie_word_embeddings/],
    ["buckets that cannot be halved twice", { ...v10, relative_attention_num_buckets: 30 }, /multiple of 4/],
    [
      "a distance inside the exact buckets",
      { ...v10, relative_attention_max_distance: 16 },
      /relative_attention_max_distance/,
    ],
    ["a list", [], /one object/],
    ["an object without toString", { ...v10, d_model: { toString: 1 } }, /d_model/],
  ] as const)("%s", (_, config, pattern) => {
    expect(() => read(config)).toThrow(pattern);
    expect(() => read(config)).toThrow(SoftpromptError);
  });
  test("a key twice, and text that is no JSON", () => {
    expect(() => readConfig(JSON.stringify(v10).replace("{", '{"d_ff":1,'), "c")).toThrow(/same key/);
    expect(() => readConfig("<html>", "c")).toThrow(/not valid JSON/);
    expect(() => readConfig(`{"a":"${"x".repeat(1_100_000)}"}`, "c")).toThrow(/too long/);
  });
});

test("the published configs of the fixtures are read", () => {
  const path = new URL("../../../test/fixtures/tiny-t5-v11/config.json", import.meta.url);
  expect(readConfig(readFileSync(path, "utf8"), "v11")).toMatchObject({
    encoderLayers: 3,
    decoderLayers: 2,
    relativeMaxDistance: 20,
  });
});
