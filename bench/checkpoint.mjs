/**
 * @file A random T5 of a given shape as a Hugging Face folder, for benchmarks: written in pieces, any size.
 */
import { closeSync, mkdirSync, openSync, writeFileSync, writeSync } from "node:fs";
import { join } from "node:path";
import { t5Tensors } from "softprompt/engine";

/** Bytes written at once. */
const piece = 1 << 22;

/**
 * Writes config.json and model.safetensors.
 * @param {string} folder made if missing
 * @param {import("softprompt/engine").T5Config} config
 * @param {"F32" | "BF16"} dtype
 */
export function writeRandomCheckpoint(folder, config, dtype) {
  mkdirSync(folder, { recursive: true });
  writeFileSync(join(folder, "config.json"), JSON.stringify(huggingFaceConfig(config)));
  const width = dtype === "F32" ? 4 : 2;
  const header = {};
  let offset = 0;
  const weights = t5Tensors(config);
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
    // Uniform with the variance of 1/inputs keeps activations of order one through any depth; norms are ones.
    const scale = shape.length === 1 ? 0 : name.startsWith("shared") ? 1 : Math.sqrt(3 / shape[1]);
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
