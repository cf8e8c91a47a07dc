/**
 * @file config.json of a decoder-only model as a typed, checked record.
 *
 * In: a Hugging Face config.json, as the hub has it or as transformers 5 writes it. Out: CausalConfig, or a SoftpromptError that names the
 * field. Defaults and meanings: transformers 5.24, `models/{llama,mistral,qwen2,qwen3,gpt2,gpt_neox}/configuration_*.py`. A field has no
 * default if a wrong value would give fluent but wrong text (the number of key heads).
 */
import { nearest } from "../../base/errors.js";
import { isObject, type JsonObject, own } from "../../base/json.js";
import type { ModelConfig } from "../architecture.js";
import { boolean, integer, number, wrong } from "../fields.js";
import { activationNames } from "./activations.js";
import { type Activation, type CausalFamily, families } from "./families.js";
import type { Rotary, RotaryScaling } from "./rotary.js";

/** Everything the graph needs to know of a decoder-only model. */
export interface CausalConfig extends ModelConfig {
  readonly family: CausalFamily;
  readonly layers: number;
  /** G, key/value heads; H is a multiple of it. */
  readonly keyHeads: number;
  readonly normEpsilon: number;
  readonly activation: Activation;
  /** Attention and feed-forward both read the block's input; otherwise the feed-forward reads what attention left. */
  readonly parallel: boolean;
  /** Biases of the linear layers: queries, keys and values; attention's output; the feed-forward block. */
  readonly biases: { readonly qkv: boolean; readonly out: boolean; readonly feedForward: boolean };
  /** null: learned positions. */
  readonly rotary: Rotary | null;
  /** Layers whose queries see `size` positions, their own included. */
  readonly window: { readonly size: number; readonly layers: readonly number[] } | null;
  readonly tiedHead: boolean;
  /** Ids that end a text; `eosId` is the first. */
  readonly eosIds: readonly number[];
}

/** Largest values accepted, each well above any published model. */
export const causalLimits = {
  width: 131_072,
  headWidth: 4_096,
  heads: 4_096,
  feedForwardWidth: 1_048_576,
  layers: 1_024,
  vocabulary: 4_194_304,
  positions: 1 << 30,
  eosIds: 64,
} as const;

/** The same thing under the names of two generations of configs. */
const keys = {
  hub: {
    width: "hidden_size",
    feedForwardWidth: "intermediate_size",
    layers: "num_hidden_layers",
    heads: "num_attention_heads",
    positions: "max_position_embeddings",
    activation: "hidden_act",
  },
  gpt2: {
    width: "n_embd",
    feedForwardWidth: "n_inner",
    layers: "n_layer",
    heads: "n_head",
    positions: "n_positions",
    activation: "activation_function",
  },
} as const;

/**
 * Reads config.json's object.
 * @param where the file's name, for errors.
 * @throws SoftpromptError("checkpoint") for anything that the graph cannot run.
 */
export function readCausalConfig(family: CausalFamily, raw: JsonObject, where: string): CausalConfig {
  refuseQuantised(raw, where);
  const { layout, norm, ...defaults } = families[family];
  const name = family === "gpt2" ? keys.gpt2 : keys.hub;
  const count = (key: string, most: number, fallback?: number) => integer(raw, where, key, 1, most, fallback);

  const width = count(name.width, causalLimits.width);
  const heads = count(name.heads, causalLimits.heads);
  const layers = count(name.layers, causalLimits.layers);
  const vocabulary = count("vocab_size", causalLimits.vocabulary);
  const headWidth = readHeadWidth(family, raw, where, width, heads);
  const keyHeads = readKeyHeads(family, raw, where, heads);
  const eosIds = readEosIds(raw, where, vocabulary, defaults.eosId);
  const maxPositions = layout.positions
    ? count(name.positions, causalLimits.positions)
    : own(raw, name.positions) == null
      ? undefined
      : count(name.positions, causalLimits.positions);
  const padId = own(raw, "pad_token_id");
  const config: CausalConfig = {
    family,
    width,
    headWidth,
    heads,
    feedForwardWidth: count(
      name.feedForwardWidth,
      causalLimits.feedForwardWidth,
      family === "gpt2" ? 4 * width : undefined,
    ),
    gated: layout.up.length === 2,
    vocabulary,
    // the value does not matter, because padding is masked by position; some configs name an id outside the vocabulary (-1)
    padId: Number.isInteger(padId) && (padId as number) >= 0 && (padId as number) < vocabulary ? (padId as number) : 0,
    eosId: eosIds[0]!,
    eosIds,
    ...(maxPositions === undefined ? {} : { maxPositions }),
    layers,
    keyHeads,
    normEpsilon: number(raw, where, epsilonKey(family), 1e-12, 0.1, norm === "rms" ? 1e-6 : 1e-5),
    activation: readActivation(raw, where, name.activation, defaults.activation),
    parallel: family === "gpt_neox" && boolean(raw, where, "use_parallel_residual", true),
    biases: readBiases(family, raw, where),
    rotary: layout.positions ? null : readRotary(family, raw, where, headWidth),
    window: readWindow(family, raw, where, layers),
    tiedHead: boolean(raw, where, "tie_word_embeddings", defaults.tiedHead),
  };
  if (family === "gpt2") refuseOtherAttention(raw, where);
  return config;
}

function epsilonKey(family: CausalFamily): string {
  if (family === "gpt2") return "layer_norm_epsilon";
  return family === "gpt_neox" ? "layer_norm_eps" : "rms_norm_eps";
}

function refuseQuantised(raw: JsonObject, where: string): void {
  const quantised = own(raw, "quantization_config");
  if (quantised === undefined || quantised === null) return;
  throw wrong(
    where,
    "the weights of this model are quantised",
    "weights in F32, BF16 or F16, and no quantization_config",
    (isObject(quantised) ? own(quantised, "quant_method") : undefined) ?? quantised,
    "take the model's own repository instead of a quantised copy",
  );
}

/** GPT-2's own scalings of the scores, which no published model uses except Mistral's early GPT-2 runs. */
function refuseOtherAttention(raw: JsonObject, where: string): void {
  for (const [key, usual] of [
    ["scale_attn_weights", true],
    ["scale_attn_by_inverse_layer_idx", false],
    ["add_cross_attention", false],
  ] as const)
    if (boolean(raw, where, key, usual) !== usual)
      throw wrong(where, `${key} is not supported`, `${key} ${usual}`, !usual);
}

function readHeadWidth(family: CausalFamily, raw: JsonObject, where: string, width: number, heads: number): number {
  const own_ = families[family].layout.attention.kind === "apart" ? own(raw, "head_dim") : undefined;
  // Qwen 3 has 128 if its config does not say, for every width
  const fallback = family === "qwen3" ? 128 : width / heads;
  if ((own_ === undefined || own_ === null) && !Number.isInteger(fallback))
    throw wrong(where, "the width cannot be cut into heads", `a multiple of ${heads}, or head_dim`, width);
  return integer({ head_dim: own_ }, where, "head_dim", 1, causalLimits.headWidth, fallback);
}

function readKeyHeads(family: CausalFamily, raw: JsonObject, where: string, heads: number): number {
  const key = "num_key_value_heads";
  if (families[family].layout.attention.kind !== "apart") return heads;
  // null is "as many as heads" in every family; absent means that in the first Llamas only
  const fallback = family === "llama" || own(raw, key) === null ? heads : undefined;
  const count = integer(raw, where, key, 1, heads, fallback);
  if (heads % count !== 0)
    throw wrong(where, `${key} does not divide the heads`, `a divisor of num_attention_heads ${heads}`, count);
  return count;
}

/** Biases that a family always has, and those that a config field switches on. */
function readBiases(family: CausalFamily, raw: JsonObject, where: string): CausalConfig["biases"] {
  const attention = (usual: boolean) => boolean(raw, where, "attention_bias", usual);
  switch (family) {
    case "llama":
      return {
        qkv: attention(false),
        out: attention(false),
        feedForward: boolean(raw, where, "mlp_bias", false),
      };
    case "mistral":
      return { qkv: false, out: false, feedForward: false };
    case "qwen2":
      return { qkv: true, out: false, feedForward: false };
    case "qwen3":
      return { qkv: attention(false), out: attention(false), feedForward: false };
    case "gpt2":
      return { qkv: true, out: true, feedForward: true };
    case "gpt_neox":
      return { qkv: attention(true), out: attention(true), feedForward: true };
  }
}

function readActivation(raw: JsonObject, where: string, key: string, usual: Activation): Activation {
  const name = own(raw, key);
  if (name === undefined || name === null) return usual;
  if (typeof name === "string" && Object.hasOwn(activationNames, name))
    return activationNames[name as keyof typeof activationNames];
  const near = typeof name === "string" ? nearest(name, Object.keys(activationNames)) : undefined;
  throw wrong(
    where,
    `${key} is not supported`,
    `one of ${Object.keys(activationNames).join(", ")}`,
    name,
    near && `did you mean "${near}"?`,
  );
}

function readEosIds(raw: JsonObject, where: string, vocabulary: number, usual?: number): readonly number[] {
  const key = "eos_token_id";
  const given = own(raw, key) ?? usual;
  const list: readonly unknown[] = Array.isArray(given) ? given : [given];
  const fits = list.every((id) => Number.isInteger(id) && (id as number) >= 0 && (id as number) < vocabulary);
  if (!fits || list.length === 0 || list.length > causalLimits.eosIds)
    throw wrong(
      where,
      `${key} is ${given === undefined ? "missing" : "out of range"}`,
      `ids below ${vocabulary}`,
      given,
    );
  return [...new Set(list as number[])];
}

/** Windows: every layer of Mistral, and the layers of Qwen that its config names. */
function readWindow(family: CausalFamily, raw: JsonObject, where: string, layers: number): CausalConfig["window"] {
  const most = causalLimits.positions;
  const all = Array.from({ length: layers }, (_, i) => i);
  if (family === "mistral") {
    if (own(raw, "sliding_window") === null) return null;
    return { size: integer(raw, where, "sliding_window", 1, most, 4096), layers: all };
  }
  if (family !== "qwen2" && family !== "qwen3") return null;
  if (!boolean(raw, where, "use_sliding_window", false) || own(raw, "sliding_window") === null) return null;
  const size = integer(raw, where, "sliding_window", 1, most, 4096);
  const types = own(raw, "layer_types") ?? null;
  if (types === null) {
    const first = integer(raw, where, "max_window_layers", 0, most, 28);
    return windowOf(size, all.slice(first));
  }
  const known = ["full_attention", "sliding_attention"];
  if (!Array.isArray(types) || types.length !== layers || !types.every((t) => known.includes(t as string)))
    throw wrong(where, "layer_types does not fit", `${layers} of ${known.join(", ")}`, types);
  return windowOf(
    size,
    all.filter((i) => types[i] === "sliding_attention"),
  );
}

function windowOf(size: number, layers: readonly number[]): CausalConfig["window"] {
  return layers.length === 0 ? null : { size, layers };
}

/**
 * The rotation, from either layout: `rope_theta` and `rope_scaling` on the hub, `rope_parameters` since transformers 5. The base may be in
 * either place; two different bases are refused.
 */
function readRotary(family: CausalFamily, raw: JsonObject, where: string, headWidth: number): Rotary {
  const blocks = ["rope_parameters", "rope_scaling"].map((key) => {
    const block = own(raw, key) ?? null;
    if (block !== null && !isObject(block)) throw wrong(where, `${key} must be an object or null`, "an object", block);
    if (block !== null && Object.values(block).some(isObject))
      throw wrong(where, `${key} differs from layer to layer`, "one rotation for all layers", Object.keys(block));
    return block;
  });
  /** The one value of a field that may stand in several places. */
  const one = (what: string, places: readonly (readonly [JsonObject | null, string])[]): unknown => {
    const found = places
      .map(([object, key]) => (object === null ? undefined : (own(object, key) ?? undefined)))
      .filter((value) => value !== undefined);
    if (found.some((value) => value !== found[0]))
      throw wrong(where, `config.json gives two values for ${what}`, "one value", found);
    return found[0];
  };
  const [parameters, scaling] = blocks as [JsonObject | null, JsonObject | null];
  const base = one("the rotary base", [
    [parameters, "rope_theta"],
    [scaling, "rope_theta"],
    [raw, "rope_theta"],
    [raw, "rotary_emb_base"],
  ]);
  const share = one("the rotary share of a head", [
    [parameters, "partial_rotary_factor"],
    [scaling, "partial_rotary_factor"],
    [raw, "partial_rotary_factor"],
    [raw, "rotary_pct"],
  ]);
  const part = number({ share }, where, "share", 0, 1, family === "gpt_neox" ? 0.25 : 1);
  const width = Math.floor(headWidth * part);
  if (width < 2 || width % 2 !== 0 || (family !== "gpt_neox" && width !== headWidth))
    throw wrong(
      where,
      "the rotary share of a head does not fit",
      family === "gpt_neox" ? "an even number of a head's channels" : "all channels of a head, an even number",
      `${part} of ${headWidth}`,
    );
  return {
    width,
    base: number({ rope_theta: base }, where, "rope_theta", 1, 1e12, 10_000),
    scaling: readScaling(parameters ?? scaling, where),
  };
}

const scalings = ["default", "linear", "llama3"];

function readScaling(block: JsonObject | null, where: string): RotaryScaling {
  if (block === null) return { kind: "none" };
  const type = own(block, "rope_type") ?? own(block, "type") ?? (own(block, "factor") == null ? "default" : null);
  const factor = () => number(block, where, "factor", 1, 1e6);
  switch (type) {
    case "default":
      return { kind: "none" };
    case "linear":
      return { kind: "linear", factor: factor() };
    case "llama3": {
      const lowFactor = number(block, where, "low_freq_factor", 1e-3, 1e6);
      const highFactor = number(block, where, "high_freq_factor", 1e-3, 1e6);
      if (highFactor <= lowFactor)
        throw wrong(where, "high_freq_factor leaves no passage", `more than low_freq_factor ${lowFactor}`, highFactor);
      const most = causalLimits.positions;
      const originalPositions = integer(block, where, "original_max_position_embeddings", 1, most);
      return { kind: "llama3", factor: factor(), lowFactor, highFactor, originalPositions };
    }
    default:
      throw wrong(where, "this scaling of rotary positions is not supported", `one of ${scalings.join(", ")}`, type);
  }
}
