/**
 * @file The differences between decoder-only families: names of tensors, and the structure of a block where no field of config.json gives
 * it.
 *
 * One block serves all of them: norm, attention, norm, feed-forward, with residuals one behind the other or side by side.
 * Source: the module trees of transformers 5.24, `models/{llama,mistral,qwen2,qwen3,gpt2,gpt_neox}`.
 */
import type { ops } from "./activations.js";

export const causalFamilies = ["llama", "mistral", "qwen2", "qwen3", "gpt2", "gpt_neox"] as const;
export type CausalFamily = (typeof causalFamilies)[number];

/** Where queries, keys and values come from: a matrix each, or one for all. */
export type Projection =
  | { readonly kind: "apart"; readonly q: string; readonly k: string; readonly v: string }
  /** `blocks`: all queries, then all keys, then all values (GPT-2). `heads`: q k v of head 0, of head 1, … (GPT-NeoX). */
  | { readonly kind: "blocks" | "heads"; readonly qkv: string };

/** Names of a family's tensors, without ".weight" and ".bias". */
export interface Layout {
  /** Prefix of every name but the head's; some files leave it out. */
  readonly root: string;
  readonly embedding: string;
  /** Learned positions, where the family has them. */
  readonly positions?: string;
  readonly blocks: string;
  readonly attentionNorm: string;
  readonly attention: Projection;
  readonly out: string;
  readonly feedForwardNorm: string;
  /** One matrix into the feed-forward block; with two, the first goes through the activation and gates the second. */
  readonly up: readonly [string] | readonly [string, string];
  readonly down: string;
  readonly finalNorm: string;
  /** The untied head; transformers 5 has another name for some. */
  readonly head: readonly [string, ...string[]];
}

const llama: Layout = {
  root: "model",
  embedding: "embed_tokens",
  blocks: "layers",
  attentionNorm: "input_layernorm",
  attention: { kind: "apart", q: "self_attn.q_proj", k: "self_attn.k_proj", v: "self_attn.v_proj" },
  out: "self_attn.o_proj",
  feedForwardNorm: "post_attention_layernorm",
  up: ["mlp.gate_proj", "mlp.up_proj"],
  down: "mlp.down_proj",
  finalNorm: "norm",
  head: ["lm_head"],
};

const gpt2: Layout = {
  root: "transformer",
  embedding: "wte",
  positions: "wpe",
  blocks: "h",
  attentionNorm: "ln_1",
  attention: { kind: "blocks", qkv: "attn.c_attn" },
  out: "attn.c_proj",
  feedForwardNorm: "ln_2",
  up: ["mlp.c_fc"],
  down: "mlp.c_proj",
  finalNorm: "ln_f",
  head: ["lm_head"],
};

const neox: Layout = {
  root: "gpt_neox",
  embedding: "embed_in",
  blocks: "layers",
  attentionNorm: "input_layernorm",
  attention: { kind: "heads", qkv: "attention.query_key_value" },
  out: "attention.dense",
  feedForwardNorm: "post_attention_layernorm",
  up: ["mlp.dense_h_to_4h"],
  down: "mlp.dense_4h_to_h",
  finalNorm: "final_layer_norm",
  head: ["embed_out", "lm_head"],
};

/** Properties of a family that its config.json need not contain. */
export interface Family {
  /** The family's name as people write it. */
  readonly title: string;
  readonly layout: Layout;
  /** Root mean square without bias, or mean and variance with one. */
  readonly norm: "rms" | "layer";
  /** Linear layers lie [in, out]. */
  readonly transposed: boolean;
  /** Norms of each head's queries and keys, before the rotation. */
  readonly headNorms: boolean;
  readonly activation: Activation;
  readonly tiedHead: boolean;
  /** The end token of the family's own tokenizer, where configs leave it out. */
  readonly eosId?: number;
}

/** An entry of activations.ts. */
export type Activation = keyof typeof ops;

const rms = {
  layout: llama,
  norm: "rms",
  transposed: false,
  headNorms: false,
  activation: "silu",
  tiedHead: false,
} as const;

export const families: Readonly<Record<CausalFamily, Family>> = {
  llama: { ...rms, title: "Llama", eosId: 2 },
  mistral: { ...rms, title: "Mistral", eosId: 2 },
  qwen2: { ...rms, title: "Qwen 2" },
  qwen3: { ...rms, title: "Qwen 3", headNorms: true },
  gpt2: {
    title: "GPT-2",
    layout: gpt2,
    norm: "layer",
    transposed: true,
    headNorms: false,
    activation: "tanhGelu",
    tiedHead: true,
    eosId: 50256,
  },
  gpt_neox: {
    title: "GPT-NeoX",
    layout: neox,
    norm: "layer",
    transposed: false,
    headNorms: false,
    activation: "gelu",
    tiedHead: false,
    eosId: 0,
  },
};

/** Name of a tensor outside the blocks, or of one in block `layer`, without its ending. */
export function nameOf({ root, blocks }: Layout, name: string, layer?: number): string {
  return layer === undefined ? `${root}.${name}` : `${root}.${blocks}.${layer}.${name}`;
}

/** Name of the token embedding. */
export function embeddingOf({ layout }: Family): string {
  return nameOf(layout, layout.embedding);
}
