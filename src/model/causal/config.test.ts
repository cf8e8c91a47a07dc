/** Published configs and what they mean; values from reviews of other implementations and the models' own cards. */
import { describe, expect, test } from "vitest";
import { SoftpromptError } from "../../base/errors.js";
import { readConfig } from "../architectures.js";
import { matchTensors, parameterCount } from "../tensors.js";
import type { CausalConfig } from "./config.js";
import { causalLeftOver, causalTensors } from "./tensors.js";

const sizes = { vocab_size: 49152, hidden_size: 576, intermediate_size: 1536, num_hidden_layers: 30 };
const smollm2 = {
  ...sizes,
  ...{ model_type: "llama", num_attention_heads: 9, num_key_value_heads: 3, hidden_act: "silu", rms_norm_eps: 1e-5 },
  ...{ max_position_embeddings: 8192, rope_theta: 100000, rope_scaling: null, tie_word_embeddings: true },
  ...{ bos_token_id: 1, eos_token_id: 2, pad_token_id: 2, attention_bias: false },
};
const qwen3 = {
  ...{ model_type: "qwen3", vocab_size: 151936, hidden_size: 2560, intermediate_size: 9728, num_hidden_layers: 36 },
  ...{ num_attention_heads: 32, num_key_value_heads: 8, head_dim: 128, hidden_act: "silu", rms_norm_eps: 1e-6 },
  ...{ max_position_embeddings: 40960, rope_theta: 1000000, tie_word_embeddings: true, use_sliding_window: false },
  ...{ sliding_window: null, max_window_layers: 36, eos_token_id: 151645, attention_bias: false },
};
const qwen2 = {
  ...{ model_type: "qwen2", vocab_size: 151936, hidden_size: 896, intermediate_size: 4864, num_hidden_layers: 24 },
  ...{ num_attention_heads: 14, num_key_value_heads: 2, hidden_act: "silu", rms_norm_eps: 1e-6, eos_token_id: 151643 },
  ...{ max_position_embeddings: 32768, rope_theta: 1000000, tie_word_embeddings: true, use_sliding_window: false },
  ...{ sliding_window: 32768, max_window_layers: 24 },
};
const mistral = {
  ...{ model_type: "mistral", vocab_size: 32000, hidden_size: 4096, intermediate_size: 14336, num_hidden_layers: 32 },
  ...{ num_attention_heads: 32, num_key_value_heads: 8, hidden_act: "silu", rms_norm_eps: 1e-5, sliding_window: 4096 },
  ...{ max_position_embeddings: 32768, rope_theta: 10000, tie_word_embeddings: false, eos_token_id: 2 },
};
const gpt2 = {
  ...{ model_type: "gpt2", vocab_size: 50257, n_embd: 768, n_layer: 12, n_head: 12, n_positions: 1024 },
  ...{ activation_function: "gelu_new", layer_norm_epsilon: 1e-5, bos_token_id: 50256, eos_token_id: 50256 },
};
const pythia = {
  ...{ model_type: "gpt_neox", vocab_size: 50304, hidden_size: 512, intermediate_size: 2048, num_hidden_layers: 6 },
  ...{ num_attention_heads: 8, hidden_act: "gelu", rotary_pct: 0.25, rotary_emb_base: 10000, layer_norm_eps: 1e-5 },
  ...{ use_parallel_residual: true, max_position_embeddings: 2048, tie_word_embeddings: false, eos_token_id: 0 },
};
const read = (config: object) => readConfig(JSON.stringify(config), "config.json") as CausalConfig;
const parameters = (config: object) => parameterCount(causalTensors(read(config)));

describe("reads", () => {
  test.each([
    ["SmolLM2-135M", smollm2, 134_515_008],
    ["Qwen2.5-0.5B", qwen2, 494_032_768],
    ["Qwen3-4B", qwen3, 4_022_468_096],
    ["Mistral-7B-v0.1", mistral, 7_241_732_096],
    ["GPT-2", gpt2, 124_439_808],
    ["Pythia-70M", pythia, 70_426_624],
  ])("%s: as many parameters as its weight file has", (_, config, wanted) => {
    expect(parameters(config)).toBe(wanted);
  });

  test("an explicit head_dim wins over width ÷ heads", () => {
    const shapes = new Map(causalTensors(read(qwen3)).map(({ name, shape }) => [name, shape]));
    expect(shapes.get("model.layers.0.self_attn.q_proj.weight")).toEqual([4096, 2560]);
    expect(shapes.get("model.layers.0.self_attn.o_proj.weight")).toEqual([2560, 4096]);
    expect(shapes.get("model.layers.0.self_attn.k_norm.weight")).toEqual([128]);
  });

  test("biases that a family has without a word, and those that fields switch on", () => {
    const biases = (config: object) =>
      causalTensors(read({ ...config, num_hidden_layers: 1 }))
        .map(({ name }) => name)
        .filter((name) => name.endsWith(".bias"))
        .map((name) => name.split(".").at(-2));
    expect(biases(qwen2)).toEqual(["q_proj", "k_proj", "v_proj"]);
    expect(biases({ ...smollm2, attention_bias: true, mlp_bias: true })).toEqual(
      ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"], // prettier-ignore
    );
    expect(biases(smollm2)).toEqual([]);
    expect(biases({ ...qwen3, attention_bias: true })).toEqual(["q_proj", "k_proj", "v_proj", "o_proj"]);
  });

  test("the rotary base from wherever it stands, and its own width", () => {
    const { rope_theta, rope_scaling, ...bare } = smollm2;
    const plain = { width: 64, base: 100000, scaling: { kind: "none" } };
    expect(read(smollm2).rotary).toEqual(plain);
    expect(read({ ...bare, rope_parameters: { rope_theta, rope_type: "default" } }).rotary).toEqual(plain);
    expect(read({ ...bare, rope_theta, rope_parameters: null }).rotary).toEqual(plain);
    expect(read({ ...bare, rope_parameters: { rope_theta } }).rotary).toEqual(plain);
    expect(read(bare).rotary).toEqual({ ...plain, base: 10000 });
    expect(read({ ...smollm2, rope_scaling: { type: "linear", factor: 4 } }).rotary!.scaling).toEqual({
      kind: "linear",
      factor: 4,
    });
    const llama3 = { factor: 8, low_freq_factor: 1, high_freq_factor: 4, original_max_position_embeddings: 8192 };
    const scaling = { kind: "llama3", factor: 8, lowFactor: 1, highFactor: 4, originalPositions: 8192 };
    expect(read({ ...smollm2, rope_scaling: { rope_type: "llama3", ...llama3 } }).rotary!.scaling).toEqual(scaling);
    expect(
      read({ ...smollm2, rope_parameters: { rope_type: "llama3", rope_theta, ...llama3 } }).rotary!.scaling,
    ).toEqual(scaling);
    expect(read(pythia).rotary).toEqual({ width: 16, base: 10000, scaling: { kind: "none" } });
    expect(
      read({ ...pythia, rotary_pct: undefined, rope_parameters: { partial_rotary_factor: 0.5 } }).rotary!.width,
    ).toBe(32);
    expect(read(gpt2).rotary).toBeNull();
  });

  test("windows: all of Mistral's layers, Qwen's upper ones where they are used", () => {
    const layers = Array.from({ length: 32 }, (_, i) => i);
    expect(read(mistral).window).toEqual({ size: 4096, layers });
    expect(read({ ...mistral, sliding_window: null }).window).toBeNull();
    expect(read(qwen2).window).toBeNull();
    const used = { ...qwen2, use_sliding_window: true, max_window_layers: 22 };
    expect(read(used).window).toEqual({ size: 32768, layers: [22, 23] });
    const types = Array.from({ length: 24 }, (_, i) => (i === 5 ? "sliding_attention" : "full_attention"));
    expect(read({ ...used, layer_types: types }).window).toEqual({ size: 32768, layers: [5] });
    expect(read({ ...used, max_window_layers: 24 }).window).toBeNull();
  });

  test("end tokens as a list, a padding id that is none, and defaults", () => {
    expect(read({ ...smollm2, eos_token_id: [5, 9], pad_token_id: -1 })).toMatchObject({
      eosId: 5,
      eosIds: [5, 9],
      padId: 0,
    });
    expect(read({ ...smollm2, num_key_value_heads: undefined }).keyHeads).toBe(9);
    expect(read({ ...gpt2, n_inner: null }).feedForwardWidth).toBe(3072);
    expect(read(gpt2)).toMatchObject({ tiedHead: true, maxPositions: 1024, activation: "tanhGelu" });
    expect(read(pythia)).toMatchObject({ tiedHead: false, parallel: true, activation: "gelu" });
    expect(read({ ...smollm2, tie_word_embeddings: undefined }).tiedHead).toBe(false);
  });
});

describe("refuses, naming the field", () => {
  test.each([
    [
      "another family, with the list",
      { ...smollm2, model_type: "mamba" },
      /t5, mt5, llama, mistral, qwen2, qwen3, gpt2, gpt_neox[\s\S]*"mamba"[\s\S]*Llama/,
    ],
    ["quantised weights", { ...smollm2, quantization_config: { quant_method: "gptq" } }, /quantised[\s\S]*"gptq"/],
    [
      "a rotary scaling by name",
      { ...smollm2, rope_scaling: { rope_type: "yarn", factor: 4 } },
      /scaling[\s\S]*linear, llama3[\s\S]*"yarn"/,
    ],
    ["a scaling without a type", { ...smollm2, rope_scaling: { factor: 4 } }, /scaling of rotary/],
    ["a scaling without a factor", { ...smollm2, rope_scaling: { type: "linear" } }, /factor is missing/],
    ["two rotary bases", { ...smollm2, rope_parameters: { rope_theta: 1e6 } }, /two values for the rotary base/],
    ["rotations that differ by layer", { ...smollm2, rope_parameters: { full_attention: {} } }, /layer to layer/],
    ["part of a head in a family that turns all", { ...smollm2, partial_rotary_factor: 0.5 }, /rotary share/],
    ["an odd head", { ...smollm2, head_dim: 63 }, /rotary share/],
    ["key heads that do not divide", { ...smollm2, num_key_value_heads: 4 }, /does not divide/],
    ["key heads that are silent", { ...qwen2, num_key_value_heads: undefined }, /num_key_value_heads is missing/],
    ["a width that heads do not divide", { ...smollm2, hidden_size: 577 }, /cut into heads/],
    ["an unknown activation", { ...smollm2, hidden_act: "sliu" }, /hidden_act[\s\S]*did you mean "silu"/],
    ["an end token outside", { ...smollm2, eos_token_id: 49152 }, /eos_token_id is out of range/],
    ["an empty list of end tokens", { ...smollm2, eos_token_id: [] }, /eos_token_id/],
    ["scores scaled by layer", { ...gpt2, scale_attn_by_inverse_layer_idx: true }, /scale_attn_by_inverse_layer_idx/],
    ["no number of positions where they are learned", { ...gpt2, n_positions: undefined }, /n_positions is missing/],
    [
      "layer types of another model",
      { ...qwen2, use_sliding_window: true, layer_types: ["full_attention"] },
      /layer_types/,
    ],
    [
      "an absurd model",
      { ...smollm2, hidden_size: 115200, head_dim: 64, intermediate_size: 1000000, num_hidden_layers: 1000 },
      /absurdly large/,
    ],
    ["a width of text", { ...smollm2, hidden_size: "576" }, /hidden_size is out of range/],
  ] as const)("%s", (_, config, pattern) => {
    expect(() => read(config)).toThrow(pattern);
    expect(() => read(config)).toThrow(SoftpromptError);
  });
});

describe("tensors in files", () => {
  const entries = (config: object, change: (names: string[]) => string[]) => {
    const expected = causalTensors(read(config));
    const shapes = new Map(expected.map(({ name, shape }) => [name, shape]));
    let offset = 0;
    const names = change([...shapes.keys()]);
    const made = new Map(
      names.map((name) => {
        const known = [name, `transformer.${name}`].find((n) => shapes.has(n));
        const entry = {
          name,
          dtype: "float32",
          storedType: "F32",
          shape: shapes.get(known!) ?? [1],
          length: 4,
        } as const;
        return [name, { ...entry, offset: offset++ }] as const;
      }),
    );
    return matchTensors(expected, made, "here", causalLeftOver);
  };
  const small = { ...gpt2, n_embd: 24, n_layer: 1, n_head: 2, vocab_size: 60000 };

  test("names with and without their prefix, old buffers passed over in silence", () => {
    const buffers = ["h.0.attn.bias", "h.0.attn.masked_bias", "transformer.h.0.attn.bias", "x.rotary_emb.inv_freq"];
    const bare = entries(small, (names) => [...names.map((name) => name.replace("transformer.", "")), ...buffers]);
    expect(bare.unexpected).toEqual([]);
    expect(bare.tensors.get("transformer.h.0.mlp.c_fc.weight")!.name).toBe("h.0.mlp.c_fc.weight");
  });

  test("an untied head must be there, and a bias that nothing uses is refused", () => {
    const untied = { ...smollm2, tie_word_embeddings: false, num_hidden_layers: 1 };
    expect(() => entries(untied, (names) => names.filter((name) => name !== "lm_head.weight"))).toThrow(
      /lm_head\.weight is missing/,
    );
    expect(() => entries(untied, (names) => [...names, "model.layers.0.self_attn.q_proj.bias"])).toThrow(
      /q_proj\.bias has no place/,
    );
  });

  test("a tied head beside the embedding is its copy", () => {
    const tied = { ...smollm2, num_hidden_layers: 1 };
    expect(entries(tied, (names) => [...names, "lm_head.weight"]).copies).toEqual([
      ["lm_head.weight", "model.embed_tokens.weight"],
    ]);
  });
});
