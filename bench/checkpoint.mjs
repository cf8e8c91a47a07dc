/**
 * @file A random model of a given shape as a Hugging Face folder, for benchmarks: a T5 or a Llama, written in pieces, any size.
 */
import { closeSync, existsSync, mkdirSync, mkdtempSync, openSync, rmSync, writeFileSync, writeSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { inEightBits, largestEightBit, openEngine, t5Shape, t5Sizes, t5Tensors } from "softprompt/engine";

/** An engine whose layers are in 8 bits, made for it alone: the user's cache is not touched. The caller calls `dispose`. */
export async function openEightBit(checkpoint, session) {
  const cache = mkdtempSync(join(tmpdir(), "softprompt-bench-int8-"));
  const remove = () => rmSync(cache, { recursive: true, force: true });
  try {
    const most = await largestEightBit(session);
    const engine = openEngine(await inEightBits(checkpoint, { most, cache }), { ...session, eightBit: most });
    return { most, train: () => engine.train(), dispose: () => engine.dispose().finally(remove) };
  } catch (cause) {
    remove();
    throw cause;
  }
}

/** Bytes written at once. */
const piece = 1 << 22;

/** Llamas by name, as their config.json has them. */
const llamas = {
  "smollm2-135m": llama({ width: 576, inner: 1536, layers: 30, heads: 9, keyHeads: 3, vocabulary: 49152, tied: true }),
  "tinyllama-1.1b": llama({ width: 2048, inner: 5632, layers: 22, heads: 32, keyHeads: 4, vocabulary: 32000 }),
  /** To try a benchmark. */
  "llama-small": llama({ width: 64, inner: 128, layers: 2, heads: 4, keyHeads: 2, vocabulary: 512, tied: true }),
};
/** What can be asked for by name. */
export const shapes = [...t5Sizes, ...Object.keys(llamas)];

/** Whether a shape's targets go on from its text. */
export const isCausal = (shape) => Object.hasOwn(llamas, shape);

function llama({ width, inner, layers, heads, keyHeads, vocabulary, tied = false }) {
  return {
    model_type: "llama",
    architectures: ["LlamaForCausalLM"],
    hidden_size: width,
    intermediate_size: inner,
    num_hidden_layers: layers,
    num_attention_heads: heads,
    num_key_value_heads: keyHeads,
    vocab_size: vocabulary,
    max_position_embeddings: 8192,
    hidden_act: "silu",
    rms_norm_eps: 1e-5,
    rope_theta: 100000,
    tie_word_embeddings: tied,
    attention_bias: false,
    mlp_bias: false,
    bos_token_id: 1,
    eos_token_id: 2,
  };
}

/** Names and shapes of a Llama's tensors. */
function llamaTensors(c) {
  const [D, F, V] = [c.hidden_size, c.intermediate_size, c.vocab_size];
  const keys = (D / c.num_attention_heads) * c.num_key_value_heads;
  const of = (name, ...shape) => ({ name: `${name}.weight`, shape });
  return [
    of("model.embed_tokens", V, D),
    ...Array.from({ length: c.num_hidden_layers }, (_, i) => `model.layers.${i}`).flatMap((at) => [
      of(`${at}.input_layernorm`, D),
      of(`${at}.self_attn.q_proj`, D, D),
      of(`${at}.self_attn.k_proj`, keys, D),
      of(`${at}.self_attn.v_proj`, keys, D),
      of(`${at}.self_attn.o_proj`, D, D),
      of(`${at}.post_attention_layernorm`, D),
      of(`${at}.mlp.gate_proj`, F, D),
      of(`${at}.mlp.up_proj`, F, D),
      of(`${at}.mlp.down_proj`, D, F),
    ]),
    of("model.norm", D),
    ...(c.tie_word_embeddings ? [] : [of("lm_head", V, D)]),
  ];
}

/**
 * A shape's model in a temporary folder, or a folder or a GGUF file as it is.
 * @param {string} shape one of `shapes`, a folder, or a GGUF file
 * @param {"F32" | "BF16"} dtype
 */
export function modelFolder(shape, dtype = "F32") {
  if (!shapes.includes(shape)) {
    if (!existsSync(join(shape, "config.json")) && !(shape.endsWith(".gguf") && existsSync(shape)))
      throw new Error(`${shape} is no folder of a model and no GGUF file; shapes: ${shapes.join(", ")}`);
    return { folder: shape, dispose: () => {} };
  }
  const folder = mkdtempSync(join(tmpdir(), "softprompt-bench-"));
  if (isCausal(shape)) writeRandom(folder, llamas[shape], llamaTensors(llamas[shape]), dtype);
  else writeRandomCheckpoint(folder, t5Shape(shape), dtype);
  return { folder, dispose: () => rmSync(folder, { recursive: true }) };
}

/**
 * A T5 of any sizes.
 * @param {string} folder made if missing
 * @param {import("softprompt/engine").T5Config} config
 * @param {"F32" | "BF16"} dtype
 */
export function writeRandomCheckpoint(folder, config, dtype) {
  writeRandom(folder, huggingFaceConfig(config), t5Tensors(config), dtype);
}

/** Writes config.json and model.safetensors. */
function writeRandom(folder, config, weights, dtype) {
  mkdirSync(folder, { recursive: true });
  writeFileSync(join(folder, "config.json"), JSON.stringify(config));
  const width = dtype === "F32" ? 4 : 2;
  const header = {};
  let offset = 0;
  for (const { name, shape } of weights) {
    const length = shape.reduce((a, b) => a * b, width);
    header[name] = { dtype, shape, data_offsets: [offset, offset + length] };
    offset += length;
  }
  let text = JSON.stringify(header);
  text += " ".repeat((8 - (text.length % 8)) % 8);
  const size = Buffer.alloc(8);
  size.writeBigUInt64LE(BigInt(text.length));
  const file = openSync(join(folder, "model.safetensors"), "w");
  writeSync(file, size);
  writeSync(file, text);
  for (const { name, shape } of weights) {
    // Uniform with the variance of 1/inputs keeps activations of order one through any depth; norms are ones. An embedding that is the head too is
    // that small as well: logits of fourteen times the size make probabilities denormal numbers, which no real model does, and which take ten times as long.
    const embedding = /^shared|embed_tokens/.test(name) && !config.tie_word_embeddings;
    const scale = shape.length === 1 ? 0 : embedding ? 1 : Math.sqrt(3 / shape[1]);
    const block = random(
      Math.min(
        piece / 4,
        shape.reduce((a, b) => a * b, 1),
      ),
      scale,
      shape.length === 1 ? 1 : 0,
    );
    const bytes = dtype === "F32" ? Buffer.from(block.buffer) : narrow(block);
    for (let left = shape.reduce((a, b) => a * b, width); left > 0; left -= bytes.length)
      writeSync(file, bytes, 0, Math.min(left, bytes.length));
  }
  closeSync(file);
}

let state = 1;
function random(count, scale, centre) {
  const out = new Float32Array(count);
  for (let i = 0; i < count; i++) {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    out[i] = centre + scale * (state / 2147483648 - 1);
  }
  return out;
}

/** float32 → bfloat16 by cutting; random numbers need no rounding. */
function narrow(values) {
  const bits = new Uint32Array(values.buffer);
  const out = new Uint16Array(values.length);
  for (let i = 0; i < out.length; i++) out[i] = bits[i] >>> 16;
  return Buffer.from(out.buffer);
}

function huggingFaceConfig(c) {
  return {
    model_type: "t5",
    d_model: c.width,
    d_kv: c.headWidth,
    num_heads: c.heads,
    d_ff: c.feedForwardWidth,
    num_layers: c.encoderLayers,
    num_decoder_layers: c.decoderLayers,
    vocab_size: c.vocabulary,
    feed_forward_proj: c.gated ? "gated-gelu" : "relu",
    tie_word_embeddings: c.tiedHead,
    layer_norm_epsilon: c.normEpsilon,
    relative_attention_num_buckets: c.relativeBuckets,
    relative_attention_max_distance: c.relativeMaxDistance,
    pad_token_id: c.padId,
    eos_token_id: c.eosId,
    decoder_start_token_id: c.decoderStartId,
  };
}
