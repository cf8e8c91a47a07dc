/**
 * @file T5's config.json as a typed, checked record.
 *
 * In: a Hugging Face config.json. Out: T5Config, or a SoftpromptError that names the field.
 * Defaults and the meaning of each field: transformers `models/t5/configuration_t5.py` (checked with 4.46 and 5.18).
 */
import { nearest, SoftpromptError } from "../../base/errors.js";
import { type JsonObject, own } from "../../base/json.js";
import type { ModelConfig } from "../architecture.js";
import { boolean, integer, number, tokenId, wrong } from "../fields.js";

/** Everything the graph needs to know of a T5. */
export interface T5Config extends ModelConfig {
  readonly family: "t5";
  readonly encoderLayers: number;
  readonly decoderLayers: number;
  /** `gelu` is the tanh approximation ("gelu_new"), as T5 v1.1 uses it. */
  readonly activation: "relu" | "gelu" | "silu";
  /** Gated: act(wi_0·x) ⊙ (wi_1·x); otherwise act(wi·x). */
  readonly gated: boolean;
  /** Tied head: logits = (D^-1/2 · h)·Eᵀ, else h·lm_headᵀ. */
  readonly tiedHead: boolean;
  /**
   * With `tiedHead` false: the file may lack `lm_head.weight`, and the embedding serves as head, unscaled. Only
   * transformers 5 writes such files (`tie_word_embeddings: true` beside `scale_decoder_outputs: false`). Default false.
   */
  readonly headMayShareEmbedding?: boolean;
  readonly normEpsilon: number;
  readonly relativeBuckets: number;
  readonly relativeMaxDistance: number;
  readonly decoderStartId: number;
}

/** Families whose graph is T5's. mT5 is T5 v1.1 with another vocabulary. */
export const t5Families = { t5: "relu", mt5: "gated-gelu" } as const satisfies Record<
  string,
  keyof typeof feedForwards
>;

/** `feed_forward_proj` → the activation between the two matrices. */
const feedForwards = {
  relu: { activation: "relu", gated: false },
  gelu_new: { activation: "gelu", gated: false },
  silu: { activation: "silu", gated: false },
  "gated-relu": { activation: "relu", gated: true },
  // transformers reads this one name as the tanh approximation, "for backwards compatibility"
  "gated-gelu": { activation: "gelu", gated: true },
  "gated-gelu_new": { activation: "gelu", gated: true },
  "gated-silu": { activation: "silu", gated: true },
} as const satisfies Record<string, Pick<T5Config, "activation" | "gated">>;

/** Largest values accepted, each well above any published T5 (XXL: D 4096, F 65536, H 128, L 24; mT5: V 250112). */
export const configLimits = {
  d_model: 65_536,
  d_kv: 4_096,
  num_heads: 1_024,
  d_ff: 1_048_576,
  num_layers: 512,
  num_decoder_layers: 512,
  vocab_size: 4_194_304,
  relative_attention_num_buckets: 4_096,
  relative_attention_max_distance: 1_048_576,
} as const;

/**
 * Reads config.json's object.
 * @param where the file's name, for errors.
 * @throws SoftpromptError("checkpoint") for anything that is not a T5 this project can run.
 */
export function readT5Config(raw: JsonObject, where: string): T5Config {
  const family = own(raw, "model_type") === "mt5" ? "mt5" : "t5";
  const count = (key: keyof typeof configLimits, fallback?: number, least = 1) =>
    integer(raw, where, key, least, configLimits[key], fallback);

  const forward = readFeedForward(raw, where, t5Families[family]);
  const encoderLayers = count("num_layers");
  const vocabulary = count("vocab_size");
  const buckets = count("relative_attention_num_buckets", 32, 4);
  if (buckets % 4 !== 0)
    throw wrong(
      where,
      "relative_attention_num_buckets cannot be split",
      "a multiple of 4 (two directions, near and far)",
      buckets,
    );
  const distance = count("relative_attention_max_distance", 128);
  if (distance <= buckets / 2)
    throw wrong(
      where,
      "relative_attention_max_distance leaves the logarithmic buckets empty",
      `more than relative_attention_num_buckets / 2 = ${buckets / 2}`,
      distance,
    );
  const epsilon = number(raw, where, "layer_norm_epsilon", 1e-12, 0.1, 1e-6);

  const tied = boolean(raw, where, "tie_word_embeddings", true);
  // transformers 5 writes tie_word_embeddings: true for every T5 and keeps what it used to mean under another name
  const scaled = boolean(raw, where, "scale_decoder_outputs", tied);
  const padId = tokenId(raw, where, "pad_token_id", vocabulary, 0);
  const config: T5Config = {
    family: "t5",
    width: count("d_model"),
    headWidth: count("d_kv"),
    heads: count("num_heads"),
    feedForwardWidth: count("d_ff"),
    encoderLayers,
    decoderLayers: count("num_decoder_layers", encoderLayers),
    vocabulary,
    ...forward,
    tiedHead: scaled,
    ...(tied && !scaled ? { headMayShareEmbedding: true } : {}),
    normEpsilon: epsilon,
    relativeBuckets: buckets,
    relativeMaxDistance: distance,
    padId,
    eosId: tokenId(raw, where, "eos_token_id", vocabulary, 1),
    decoderStartId: tokenId(raw, where, "decoder_start_token_id", vocabulary, padId),
  };
  return config;
}

function readFeedForward(raw: JsonObject, where: string, fallback: keyof typeof feedForwards) {
  const name = own(raw, "feed_forward_proj") ?? fallback;
  if (typeof name === "string" && Object.hasOwn(feedForwards, name))
    return feedForwards[name as keyof typeof feedForwards];
  const near = typeof name === "string" ? nearest(name, Object.keys(feedForwards)) : undefined;
  throw new SoftpromptError("checkpoint", "feed_forward_proj is not supported", {
    where,
    expected: `one of ${Object.keys(feedForwards).join(", ")}`,
    got: name,
    hint:
      name === "gelu"
        ? 'without a gate, "gelu" means the exact (erf) GELU, which no published T5 uses'
        : near && `did you mean "${near}"?`,
  });
}
