/**
 * @file Translates a GGUF file's model to Hugging Face's names: config.json, and each tensor's name, shape and order of rows.
 *
 * In: the header (and rope_freqs.weight, if there is one). Out: a config and a table that covers every tensor of the file, no more and no less.
 * Source: llama.cpp convert_hf_to_gguf.py, whose steps are undone here, and `gguf-py/gguf/constants.py` for the names:
 * - architecture `llama` (Mistral's files say so too) has the rows of q and k of each head interleaved for its rotary kernel; the other
 * architectures do not;
 * - `gpt2` has its four matrices transposed to [out, in]; Hugging Face keeps them [in, out];
 * - llama3's frequency scaling is stored as a tensor of divisors instead of its four parameters.
 */
import type { JsonObject } from "../../base/json.js";
import { shapeText } from "../../base/tensor.js";
import { Fields } from "./fields.js";
import type { GgufHeader } from "./header.js";

/** How the file's rows become Hugging Face's. */
export type Order =
  | { readonly kind: "same" }
  /** Per head [pair, half] → [half, pair]. */
  | { readonly kind: "halves"; readonly heads: number }
  | { readonly kind: "transposed" };

export interface MappedTensor {
  readonly gguf: string;
  readonly hub: string;
  /** Hugging Face's. */
  readonly shape: readonly number[];
  readonly order: Order;
}

export interface DescribedModel {
  readonly config: JsonObject;
  readonly tensors: readonly MappedTensor[];
  /** Rows of the embedding. */
  readonly vocabulary: number;
  readonly contextLength: number;
  readonly warnings: readonly string[];
}

/** Divisors of the rotary frequencies, one per pair. */
export const ropeFreqs = "rope_freqs.weight";

/** As config.ts has them: well above any published model. */
const limits = { width: 65_536, heads: 1_024, headWidth: 4_096, forward: 1_048_576, layers: 512, context: 2 ** 30 };

/** @throws SoftpromptError("checkpoint") for what cannot be converted, naming the key or the tensor. */
export function describeModel(header: GgufHeader, divisors: Float32Array | null, where: string): DescribedModel {
  const fields = new Fields(header.metadata, where);
  const architecture = fields.text("general.architecture");
  if (!Object.hasOwn(architectures, architecture))
    throw fields.refuse(
      "this GGUF file holds a model of a family that is not converted",
      Object.keys(architectures).join(", "),
      architecture,
    );
  const model = new Reading(header, fields, architecture, divisors);
  if (model.integer("expert_count", 0, 4_096, 0) > 0)
    throw fields.refuse("mixtures of experts are not converted", "a dense model", `${architecture} with experts`);
  const described = architectures[architecture as keyof typeof architectures](model);
  for (const key of harmless) fields.has(`${architecture}.${key}`);
  const unasked = fields.unasked(`${architecture}.`);
  const warnings =
    unasked.length > 0
      ? [`keys of the GGUF file that this conversion does not know: ${unasked.slice(0, 8).join(", ")}`]
      : [];
  checkTensors(header, described.tensors, fields);
  return { ...described, vocabulary: model.vocabulary, contextLength: model.contextLength, warnings };
}

/** Keys that change nothing in a dense model, or only repeat what a tensor's shape says. */
const harmless = ["vocab_size", "expert_used_count", "tensor_data_layout", "rope.scaling.finetuned"];

type Described = Pick<DescribedModel, "config" | "tensors">;

const architectures = {
  llama: (m) => {
    const window = m.integer("attention.sliding_window", 0, limits.context, 0);
    const attentionBias = m.has("attn_q.bias", "attn_k.bias", "attn_v.bias", "attn_output.bias");
    const feedForwardBias = m.has("ffn_gate.bias", "ffn_up.bias", "ffn_down.bias");
    // Llama has no window and Mistral no biases, so a window or a bias tells the family
    const mistral = window > 0 && window < m.contextLength;
    if (mistral && (attentionBias || feedForwardBias))
      throw m.fields.refuse("no family has both a sliding window and biases here", "one of them");
    return llamaLike(
      m,
      { interleaved: true, attentionBias: attentionBias ? "qkvo" : "", feedForwardBias },
      {
        ...(mistral
          ? { architectures: ["MistralForCausalLM"], model_type: "mistral", sliding_window: window }
          : {
              ...{ architectures: ["LlamaForCausalLM"], model_type: "llama" },
              ...{ attention_bias: attentionBias, mlp_bias: feedForwardBias },
            }),
      },
    );
  },
  qwen2: (m) => {
    m.refuseWindow();
    return llamaLike(
      m,
      { attentionBias: "qkv" },
      { architectures: ["Qwen2ForCausalLM"], model_type: "qwen2", use_sliding_window: false },
    );
  },
  qwen3: (m) => {
    m.refuseWindow();
    const biases = m.has("attn_q.bias", "attn_k.bias", "attn_v.bias", "attn_output.bias");
    return llamaLike(
      m,
      { attentionBias: biases ? "qkvo" : "", norms: true },
      {
        ...{
          architectures: ["Qwen3ForCausalLM"],
          model_type: "qwen3",
          use_sliding_window: false,
          attention_bias: biases,
        },
      },
    );
  },
  gpt2: (m) => {
    const D = m.integer("embedding_length", 1, limits.width);
    const F = m.alike("feed_forward_length", 1, limits.forward);
    const layers = m.layers;
    const same = { kind: "same" } as const;
    const tensors: MappedTensor[] = [
      { gguf: "token_embd.weight", hub: "transformer.wte.weight", shape: [m.vocabulary, D], order: same },
      { gguf: "position_embd.weight", hub: "transformer.wpe.weight", shape: [m.contextLength, D], order: same },
    ];
    const both = (gguf: string, hub: string, shape: number[], order: Order = same) => {
      tensors.push({ gguf: `${gguf}.weight`, hub: `transformer.${hub}.weight`, shape, order });
      tensors.push({ gguf: `${gguf}.bias`, hub: `transformer.${hub}.bias`, shape: shape.slice(-1), order: same });
    };
    for (let layer = 0; layer < layers; layer++) {
      const [from, to] = [`blk.${layer}`, `h.${layer}`];
      const turned = { kind: "transposed" } as const;
      both(`${from}.attn_norm`, `${to}.ln_1`, [D]);
      both(`${from}.attn_qkv`, `${to}.attn.c_attn`, [D, 3 * D], turned);
      both(`${from}.attn_output`, `${to}.attn.c_proj`, [D, D], turned);
      both(`${from}.ffn_norm`, `${to}.ln_2`, [D]);
      both(`${from}.ffn_up`, `${to}.mlp.c_fc`, [D, F], turned);
      both(`${from}.ffn_down`, `${to}.mlp.c_proj`, [F, D], turned);
    }
    both("output_norm", "ln_f", [D]);
    const config = {
      ...{ architectures: ["GPT2LMHeadModel"], model_type: "gpt2", activation_function: "gelu_new" },
      ...{ n_embd: D, n_head: m.integer("attention.head_count", 1, limits.heads), n_layer: layers, n_inner: F },
      ...{ n_positions: m.contextLength, layer_norm_epsilon: m.positive("attention.layer_norm_epsilon") },
    };
    return m.withHead(config, tensors, D);
  },
} satisfies Record<string, (m: Reading) => Described>;

interface LlamaLike {
  /** q and k rows interleaved per head. */
  readonly interleaved?: boolean;
  /** Which of the four projections have biases. */
  readonly attentionBias: "" | "qkv" | "qkvo";
  readonly feedForwardBias?: boolean;
  /** Norms of q and k per head. */
  readonly norms?: boolean;
}

function llamaLike(m: Reading, kind: LlamaLike, family: JsonObject): Described {
  const D = m.integer("embedding_length", 1, limits.width);
  const heads = m.alike("attention.head_count", 1, limits.heads);
  const kv = m.alike("attention.head_count_kv", 1, heads, heads);
  if (heads % kv !== 0) throw m.fields.wrong(m.key("attention.head_count_kv"), `a divisor of ${heads}`);
  const K = m.integer("attention.key_length", 2, limits.headWidth, Math.floor(D / heads));
  const valueWidth = m.integer("attention.value_length", 2, limits.headWidth, K);
  const turning = m.integer("rope.dimension_count", 1, limits.headWidth, K);
  if (K % 2 !== 0 || valueWidth !== K || turning !== K)
    throw m.fields.refuse(
      "this model's heads are not of one even width",
      "equal widths of keys, values and rotation",
      `${K}, ${valueWidth}, ${turning}`,
    );
  const F = m.alike("feed_forward_length", 1, limits.forward);
  const tensors: MappedTensor[] = [];
  const add = (gguf: string, hub: string, shape: number[], order: Order = { kind: "same" }) =>
    tensors.push({ gguf, hub, shape, order });
  add("token_embd.weight", "model.embed_tokens.weight", [m.vocabulary, D]);
  for (let layer = 0; layer < m.layers; layer++) {
    const linear = (gguf: string, hub: string, shape: [number, number], bias: boolean, turnedHeads?: number) => {
      const order: Order = kind.interleaved && turnedHeads ? { kind: "halves", heads: turnedHeads } : { kind: "same" };
      add(`blk.${layer}.${gguf}.weight`, `model.layers.${layer}.${hub}.weight`, shape, order);
      if (bias) add(`blk.${layer}.${gguf}.bias`, `model.layers.${layer}.${hub}.bias`, [shape[0]], order);
    };
    const norm = (gguf: string, hub: string, width: number) =>
      add(`blk.${layer}.${gguf}.weight`, `model.layers.${layer}.${hub}.weight`, [width]);
    norm("attn_norm", "input_layernorm", D);
    linear("attn_q", "self_attn.q_proj", [heads * K, D], kind.attentionBias !== "", heads);
    linear("attn_k", "self_attn.k_proj", [kv * K, D], kind.attentionBias !== "", kv);
    linear("attn_v", "self_attn.v_proj", [kv * K, D], kind.attentionBias !== "");
    linear("attn_output", "self_attn.o_proj", [D, heads * K], kind.attentionBias === "qkvo");
    if (kind.norms) {
      norm("attn_q_norm", "self_attn.q_norm", K);
      norm("attn_k_norm", "self_attn.k_norm", K);
    }
    norm("ffn_norm", "post_attention_layernorm", D);
    linear("ffn_gate", "mlp.gate_proj", [F, D], kind.feedForwardBias ?? false);
    linear("ffn_up", "mlp.up_proj", [F, D], kind.feedForwardBias ?? false);
    linear("ffn_down", "mlp.down_proj", [D, F], kind.feedForwardBias ?? false);
  }
  add("output_norm.weight", "model.norm.weight", [D]);
  const theta = m.positive("rope.freq_base", 10_000);
  const scaling = m.ropeScaling(theta, K);
  const config = {
    ...family,
    ...{ hidden_act: "silu", hidden_size: D, head_dim: K, intermediate_size: F, num_hidden_layers: m.layers },
    ...{ num_attention_heads: heads, num_key_value_heads: kv, max_position_embeddings: m.contextLength },
    ...{ rms_norm_eps: m.positive("attention.layer_norm_rms_epsilon"), rope_theta: theta },
    ...(scaling ? { rope_scaling: scaling } : {}),
  };
  return m.withHead(config, tensors, D);
}

/** One file as its architecture's function reads it: keys without the architecture's name before them. */
class Reading {
  readonly layers: number;
  readonly contextLength: number;
  readonly vocabulary: number;
  constructor(
    private readonly header: GgufHeader,
    readonly fields: Fields,
    private readonly architecture: string,
    private readonly divisors: Float32Array | null,
  ) {
    this.layers = this.integer("block_count", 1, limits.layers);
    this.contextLength = this.integer("context_length", 1, limits.context);
    this.vocabulary = header.tensors.get("token_embd.weight")?.shape[0] ?? 0;
    if (this.vocabulary === 0)
      throw fields.refuse("tensor token_embd.weight is missing", "the embedding of the tokens");
  }

  key(name: string): string {
    return `${this.architecture}.${name}`;
  }
  integer(name: string, least: number, most: number, fallback?: number): number {
    return this.fields.integer(this.key(name), least, most, fallback);
  }
  alike(name: string, least: number, most: number, fallback?: number): number {
    return this.fields.alike(this.key(name), least, most, fallback);
  }
  positive(name: string, fallback?: number): number {
    return this.fields.positive(this.key(name), fallback);
  }

  /** Whether some layer has one of these tensors; then every layer must have all of them. */
  has(...parts: string[]): boolean {
    for (const name of this.header.tensors.keys())
      if (/^blk\.\d+\./.test(name) && parts.includes(name.replace(/^blk\.\d+\./, ""))) return true;
    return false;
  }

  refuseWindow(): void {
    const window = this.integer("attention.sliding_window", 0, limits.context, 0);
    if (window > 0 && window < this.contextLength)
      throw this.fields.refuse(`a sliding window is not converted for ${this.architecture}`, "none", window);
  }

  /** The head, tied to the embedding where the file has none. */
  withHead(config: JsonObject, tensors: MappedTensor[], width: number): Described {
    const own = this.header.tensors.has("output.weight");
    if (own) {
      const shape = [this.vocabulary, width];
      tensors.push({ gguf: "output.weight", hub: "lm_head.weight", shape, order: { kind: "same" } });
    }
    return { config: { ...config, tie_word_embeddings: !own, vocab_size: this.vocabulary }, tensors };
  }

  /** `rope_scaling` of config.json, or null. */
  ropeScaling(theta: number, headWidth: number): JsonObject | null {
    const type = this.fields.text(this.key("rope.scaling.type"), "none");
    const older = this.positive("rope.scale_linear", 1);
    const factor = this.positive("rope.scaling.factor", older);
    this.fields.has(this.key("rope.scaling.original_context_length"));
    if (!["none", "linear"].includes(type))
      throw this.fields.refuse("this scaling of positions is not converted", "none, linear, or llama3", type);
    const linear = (type === "linear" || older !== 1) && factor !== 1 ? { rope_type: "linear", factor } : null;
    const divisors = this.divisors;
    if (divisors === null || divisors.every((d) => d === 1)) return linear;
    const found = linear ? null : llama3Scaling(divisors, theta, headWidth);
    if (found) return found;
    throw this.fields.refuse(
      `${ropeFreqs} is no scaling that is known`,
      "the divisors of a llama3 scaling, or ones",
      [...divisors.slice(0, 40)].map((d) => Number(d.toPrecision(6))),
    );
  }
}

/**
 * The llama3 scaling with these divisors, or null. The largest divisor is the factor itself. The lengths that bound the ramp cannot be
 * computed from the numbers, so the lengths that models use are tried; the whole table must match.
 */
export function llama3Scaling(divisors: Float32Array, theta: number, headWidth: number): JsonObject | null {
  if (divisors.length !== headWidth / 2 || !divisors.every((d) => Number.isFinite(d) && d >= 1)) return null;
  const factor = divisors.reduce((a, b) => Math.max(a, b), 0);
  for (const original of [8192, 4096, 2048, 16_384, 32_768, 65_536, 131_072])
    for (const high of [4, 2, 8]) {
      const scaling = { rope_type: "llama3", factor, low_freq_factor: 1, high_freq_factor: high };
      const expected = llama3Divisors(theta, headWidth, factor, high, original);
      if (expected.every((d, i) => Math.abs(d - divisors[i]!) <= 1e-4 * d))
        return { ...scaling, original_max_position_embeddings: original };
    }
  return null;
}

/** Plain ÷ scaled frequencies (transformers `modeling_rope_utils.py`, _compute_llama3_parameters, with a low factor of 1). */
function llama3Divisors(theta: number, headWidth: number, factor: number, high: number, original: number): number[] {
  return Array.from({ length: headWidth / 2 }, (_, i) => {
    const turns = original / (2 * Math.PI * theta ** ((2 * i) / headWidth));
    if (turns > high) return 1;
    if (turns < 1) return factor;
    const smooth = (turns - 1) / (high - 1);
    return 1 / ((1 - smooth) / factor + smooth);
  });
}

/**
 * Checks that every tensor of the table is there with its shape, and no other. An unused bias, for example, would mean a different model.
 */
function checkTensors(header: GgufHeader, tensors: readonly MappedTensor[], fields: Fields): void {
  const missing = tensors.filter(({ gguf }) => !header.tensors.has(gguf)).map(({ gguf }) => gguf);
  if (missing.length > 0)
    throw fields.refuse(
      missing.length === 1 ? `tensor ${missing[0]} is missing` : `${missing.length} tensors are missing`,
      missing.slice(0, 5).join(", "),
      [...header.tensors.keys()].slice(0, 5),
      "is this a shard of a split model? Its other files must lie beside it",
    );
  for (const { gguf, shape, order } of tensors) {
    const stored = order.kind === "transposed" ? [...shape].reverse() : shape;
    const found = header.tensors.get(gguf)!;
    if (found.shape.length !== stored.length || found.shape.some((n, i) => n !== stored[i]))
      throw fields.refuse(
        `tensor ${gguf} does not fit the file's metadata`,
        shapeText(found.type, stored),
        shapeText(found.type, found.shape),
      );
  }
  const known = new Set([ropeFreqs, ...tensors.map(({ gguf }) => gguf)]);
  const others = [...header.tensors.keys()].filter((name) => !known.has(name));
  if (others.length > 0)
    throw fields.refuse(
      `${others.length} tensors are no part of this model: ${others
        .slice(0, 5)
        .map((name) => name.slice(0, 100))
        .join(", ")}`,
      `the tensors of ${fields.text("general.architecture")}`,
      undefined,
      "leaving them out would run another model than the file holds",
    );
}
