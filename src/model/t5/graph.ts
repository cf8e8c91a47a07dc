/**
 * @file T5 as graphs: encoder, decoder and head for v1.0, v1.1 and Flan, full or partial.
 *
 * In: a Builder, a T5Config. Out: graph values. Follows transformers' modeling_t5.py: pre-norm blocks, no attention scaling, no biases,
 * one relative position table per stack (owned by block 0, whichever blocks are kept), tied heads scaled by D^-1/2. Dropout is off: the
 * model is frozen.
 */
import { plus } from "../../graph/dims.js";
import { constant, type Dim, type Graph, scalar, type Value } from "../../graph/graph.js";
import * as ops from "../../graph/ops.js";
import {
  type Builder,
  bothEnds,
  type Decoded,
  type Decoding,
  type Ends,
  hiddenScore,
  type KeyValue,
  type Prefilled,
} from "../architecture.js";
import type { T5Config } from "./config.js";

/** Token embeddings as float32: ids […] → […, D]. Rows are gathered before they are widened. */
export function embed(b: Builder, ids: Value): Value {
  return ops.cast(b.graph, ops.gather(b.graph, b.weight("shared.weight"), ids), "float32");
}

/**
 * The encoder over prompt and text, and the decoder's keys and values over its output. Declares
 * padding [B, 1, 1, S] (0 where a position counts, `hiddenScore` where it is padding) and encoderBuckets int32 [S, S].
 * @param x [B, S, D] embeddings, the prompt before the text; of the text alone where the prompt enters later. A late prompt stands before
 *   the first kept block that is not below its own, and after all if there is none
 */
export function encoder(b: Builder, config: T5Config, x: Value, ends: Ends = bothEnds): Prefilled {
  const { graph: g, late } = b;
  const S = late ? plus([late.tokens, x.shape[1]!]) : x.shape[1]!;
  const before = b.before({ stack: "encoder", attention: "self" });
  const buckets = b.feed("encoderBuckets", "int32", [S, plus([before, S])]);
  // One bias for all layers: position + padding, [B, H, S, S].
  const bias = ops.add(g, positionBias(b, config, "encoder", buckets, false), padding(b, S, before));
  const activations: Value[] = [];
  let hidden = x;
  let seen = late ? ofText(g, bias, x) : bias;
  const enter = () => {
    if (seen === bias) return;
    hidden = b.embeddings(hidden);
    seen = bias;
  };
  for (const layer of b.kept.stacks.encoder!.layers) {
    if (late && layer >= late.layer) enter();
    const at = `encoder.block.${layer}.layer`;
    const normed = norm(b, config, hidden, `${at}.0.layer_norm.weight`);
    const site = { stack: "encoder", layer, attention: "self" } as const;
    const keys = b.keyValues(keyValue(b, config, normed, `${at}.0.SelfAttention`), site);
    hidden = ops.add(g, hidden, attention(b, config, normed, keys, seen, `${at}.0.SelfAttention`));
    const ff = feedForward(b, config, norm(b, config, hidden, `${at}.1.layer_norm.weight`), `${at}.1.DenseReluDense`);
    activations.push(ff.activation);
    hidden = ops.add(g, hidden, ff.output);
  }
  enter();
  if (!ends.last) return { memory: [], hidden, activations: { encoder: activations } };
  hidden = norm(b, config, hidden, "encoder.final_layer_norm.weight");
  return { memory: memoryOf(b, config, hidden), hidden, activations: { encoder: activations } };
}

/** The part of the bias [B, H, S, S] that belongs to the text x [B, T, D] behind a prompt: distances within it are the same without one. */
function ofText(g: Graph, bias: Value, x: Value): Value {
  const column = ops.unsqueeze(g, ops.mean(g, x, [2]), 1);
  const rows = ops.slice(g, bias, column, 2, "end");
  return ops.slice(g, rows, ops.transpose(g, column, [0, 1, 3, 2]), 3, "end");
}

/** The decoder's keys and values over the encoder's last hidden states [B, S, D]. */
export function memoryOf(b: Builder, config: T5Config, hidden: Value): readonly KeyValue[] {
  return b.kept.stacks.decoder!.layers.map((layer) =>
    b.keyValues(keyValue(b, config, hidden, `decoder.block.${layer}.layer.1.EncDecAttention`), {
      stack: "decoder",
      layer,
      attention: "cross",
    }),
  );
}

/**
 * The decoder. Declares decoderBuckets int32 [U, keys] (the bucket number `relativeBuckets` marks a key that lies in the future) and padding.
 * @param x [B, U, D] embeddings, or [B, C, U, D] for C choices per row: they share the row's encoder output, so the
 *   cross attention takes them as C·U queries over one set of keys
 * @param memory keys and values over the encoder's output, per kept layer. Led: declares decodedPadding [B, 1, 1, keys] too, because some
 *   of what is decoded may be padding where prompts of a batch differ in length
 */
export function decoder(
  b: Builder,
  config: T5Config,
  x: Value,
  memory: readonly KeyValue[],
  { past, led = false, ends = bothEnds }: Decoding = {},
): Decoded {
  const { graph: g } = b;
  const U = x.shape.at(-2)!;
  const before = b.before({ stack: "decoder", attention: "self" });
  const keys = plus([...(before > 0 ? [before] : []), ...(past ? [past[0]!.key.shape.at(-2)!] : []), U]);
  const distances = positionBias(b, config, "decoder", b.feed("decoderBuckets", "int32", [U, keys]), true);
  const bias = led ? ops.add(g, distances, b.feed("decodedPadding", "float32", ["B", 1, 1, keys])) : distances;
  const beforeMemory = b.before({ stack: "decoder", attention: "cross" });
  const memoryBias = padding(b, beforeMemory === 0 ? (memory[0]?.key.shape.at(-2) ?? "T") : "P+T", beforeMemory);
  const activations: Value[] = [];
  const present: KeyValue[] = [];
  let hidden = x;
  for (const [i, layer] of b.kept.stacks.decoder!.layers.entries()) {
    const at = `decoder.block.${layer}.layer`;
    let normed = norm(b, config, hidden, `${at}.0.layer_norm.weight`);
    const now = append(g, past?.[i], keyValue(b, config, normed, `${at}.0.SelfAttention`));
    present.push(now);
    const seen = b.keyValues(now, { stack: "decoder", layer, attention: "self" });
    hidden = ops.add(g, hidden, attention(b, config, normed, seen, bias, `${at}.0.SelfAttention`));
    normed = norm(b, config, hidden, `${at}.1.layer_norm.weight`);
    hidden = ops.add(g, hidden, attention(b, config, normed, memory[i]!, memoryBias, `${at}.1.EncDecAttention`));
    const ff = feedForward(b, config, norm(b, config, hidden, `${at}.2.layer_norm.weight`), `${at}.2.DenseReluDense`);
    activations.push(ff.activation);
    hidden = ops.add(g, hidden, ff.output);
  }
  if (ends.last) hidden = norm(b, config, hidden, "decoder.final_layer_norm.weight");
  return { hidden, present, activations: { decoder: activations } };
}

/** Logits […, V] of decoder states […, D]. */
export function head(b: Builder, config: T5Config, hidden: Value): Value {
  if (!config.tiedHead) return b.linear(hidden, "lm_head");
  return b.linear(ops.mul(b.graph, hidden, scalar(b.graph, config.width ** -0.5)), "shared");
}

/** The bias that hides the padding among S positions, after the given number of keys that always count. */
function padding(b: Builder, S: Dim, before: number): Value {
  const own = b.feed("padding", "float32", ["B", 1, 1, S]);
  if (before === 0) return own;
  const open = constant(b.graph, [1, 1, 1, before], new Float32Array(before));
  return ops.concat(b.graph, [ops.broadcastLike(b.graph, open, own), own], 3);
}

function norm(b: Builder, config: T5Config, x: Value, name: string): Value {
  return ops.rmsNorm(b.graph, x, b.vector(name), config.normEpsilon);
}

function keyValue(b: Builder, config: T5Config, x: Value, at: string): KeyValue {
  const project = (name: string) => ops.splitHeads(b.graph, b.linear(x, `${at}.${name}`), config.heads);
  return { key: project("k"), value: project("v") };
}

function append(g: Graph, past: KeyValue | undefined, now: KeyValue): KeyValue {
  if (!past) return now;
  const join = (a: Value, b: Value) => ops.concat(g, [a, b], a.shape.length - 2);
  return { key: join(past.key, now.key), value: join(past.value, now.value) };
}

/** softmax(q·kᵀ + bias)·v, projected out; T5 folds the usual 1/√K into its weights. */
function attention(b: Builder, config: T5Config, x: Value, { key, value }: KeyValue, bias: Value, at: string): Value {
  const { graph: g } = b;
  const q = b.linear(x, `${at}.q`);
  // Choices of a row ([B, C, U, ·]) over keys of the row ([B, H, S, K]): one long list of queries.
  const joined = q.shape.length > key.shape.length - 1 ? ops.flatten(g, q, 1) : q;
  const mixed = ops.mergeHeads(g, ops.attend(g, ops.splitHeads(g, joined, config.heads), key, value, bias));
  const context = joined === q ? mixed : ops.reshapeLike(g, mixed, q);
  return b.linear(context, `${at}.o`);
}

function feedForward(b: Builder, config: T5Config, x: Value, at: string): { activation: Value; output: Value } {
  const { graph: g } = b;
  const into = (name: string) => b.linear(x, `${at}.${name}`);
  const activate = activations[config.activation];
  const activation = config.gated ? ops.mul(g, activate(g, into("wi_0")), into("wi_1")) : activate(g, into("wi"));
  return { activation, output: b.linear(activation, `${at}.wo`) };
}

const activations = {
  relu: ops.relu,
  gelu: ops.gelu,
  silu: (g, x) => ops.mul(g, x, ops.sigmoid(g, x)),
} satisfies Record<T5Config["activation"], (g: Graph, x: Value) => Value>;

/** [1, H, queries, keys] from the stack's table [buckets, H]; `causal` adds the bucket of what must not be seen. */
function positionBias(
  b: Builder,
  config: T5Config,
  stack: "encoder" | "decoder",
  buckets: Value,
  causal: boolean,
): Value {
  const { graph: g } = b;
  const table = b.vector(`${stack}.block.0.layer.0.SelfAttention.relative_attention_bias.weight`);
  const byHead = ops.transpose(g, table, [1, 0]);
  const future = new Float32Array(config.heads).fill(hiddenScore);
  const whole = causal ? ops.concat(g, [byHead, constant(g, [config.heads, 1], future)], 1) : byHead;
  return ops.unsqueeze(g, ops.gather(g, whole, buckets, 1), 0);
}

/**
 * Relative position buckets as T5 computes them, in float32 like PyTorch, since a rounding decides at powers of √2.
 * @param queries positions first … first+queries-1
 * @param keys positions 0 … keys-1
 * @returns int32 [queries, keys]; causal ones mark the future with `relativeBuckets`
 */
export function relativeBuckets(
  config: T5Config,
  queries: number,
  keys: number,
  { causal, first = 0 }: { causal: boolean; first?: number },
): Int32Array {
  const table = new Int32Array(queries * keys);
  const side = causal ? config.relativeBuckets : config.relativeBuckets / 2;
  const exact = Math.floor(side / 2);
  const range = Math.fround(Math.log(config.relativeMaxDistance / exact));
  const far = (distance: number) => {
    const share = Math.fround(Math.fround(Math.log(Math.fround(distance / exact))) / range);
    return Math.min(exact + Math.trunc(Math.fround(share * (side - exact))), side - 1);
  };
  const bucket = (distance: number) => (distance < exact ? distance : far(distance));
  for (let q = 0; q < queries; q++)
    for (let k = 0; k < keys; k++) {
      const ahead = k - (q + first);
      table[q * keys + k] = causal
        ? ahead > 0
          ? config.relativeBuckets
          : bucket(-ahead)
        : (ahead > 0 ? side : 0) + bucket(Math.abs(ahead));
    }
  return table;
}
