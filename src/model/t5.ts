/**
 * @file T5 as graphs: encoder, decoder and head for v1.0, v1.1 and Flan, full or partial.
 *
 * In: config, weight references by Hugging Face name, a PartialModel. Out: graph values. Follows transformers'
 * modeling_t5.py: pre-norm blocks, no attention scaling, no biases, one relative position table per stack (owned by
 * block 0, whichever blocks are kept), tied heads scaled by D^-1/2. Dropout is off: the model is frozen.
 */
import type { Graph, Value } from "../graph/graph.js";
import { constant, scalar } from "../graph/graph.js";
import * as ops from "../graph/ops.js";
import type { T5Config } from "./config.js";
import type { PartialStack } from "./partial.js";

/** Added to the score of a position that must not be seen: exp of it is exactly 0 in float32, and it stays finite. */
export const hiddenScore = -1e9;

/** A model being written into a graph. `weight` declares a tensor by its Hugging Face name, in its stored type. */
export interface T5Graph {
  readonly graph: Graph;
  readonly config: T5Config;
  readonly weight: (name: string) => Value;
}

/** What a stack of blocks computed. */
export interface StackResult {
  /** After the final norm: [B, S, D], or […, U, D] in the decoder. */
  readonly hidden: Value;
  /** Per kept layer the input of `wo`: […, F] (fpt.md §3.3). */
  readonly activations: readonly Value[];
}

/** Keys and values of one attention: [B, H, S, K] each. */
export interface KeyValue {
  readonly key: Value;
  readonly value: Value;
}

/** Token embeddings as float32: ids […] → […, D]. Rows are gathered before they are widened. */
export function embed(m: T5Graph, ids: Value): Value {
  return ops.cast(m.graph, ops.gather(m.graph, m.weight("shared.weight"), ids), "float32");
}

/**
 * The encoder over prompt and text.
 * @param x [B, S, D] embeddings, the prompt before the text
 * @param padding [B, 1, 1, S] 0 where a position counts, `hiddenScore` where it is padding
 * @param buckets int32 [S, S] relative position buckets
 */
export function encoder(m: T5Graph, kept: PartialStack, x: Value, padding: Value, buckets: Value): StackResult {
  const { graph: g } = m;
  // One bias for all layers: position + padding, [B, H, S, S].
  const bias = ops.add(g, positionBias(m, "encoder", buckets, false), padding);
  const activations: Value[] = [];
  let hidden = x;
  for (const layer of kept.layers) {
    const at = `encoder.block.${layer}.layer`;
    const normed = norm(m, hidden, `${at}.0.layer_norm.weight`);
    const keys = keyValue(m, normed, `${at}.0.SelfAttention`);
    hidden = ops.add(g, hidden, attention(m, normed, keys, bias, `${at}.0.SelfAttention`));
    const ff = feedForward(m, norm(m, hidden, `${at}.1.layer_norm.weight`), `${at}.1.DenseReluDense`);
    activations.push(ff.activation);
    hidden = ops.add(g, hidden, ff.output);
  }
  return { hidden: norm(m, hidden, "encoder.final_layer_norm.weight"), activations };
}

/** What the decoder reads besides its own tokens. */
export interface DecoderContext {
  /** Keys and values over the encoder's output, per kept layer. */
  readonly cross: readonly KeyValue[];
  /** [B, 1, 1, S], as for the encoder. */
  readonly padding: Value;
  /** int32 [U, keys]; the bucket number `relativeBuckets` marks a key that lies in the future. */
  readonly buckets: Value;
  /** Earlier keys and values per kept layer (generation), else undefined. */
  readonly past?: readonly KeyValue[];
}

/** The decoder's keys and values over the encoder's output, per kept layer. */
export function crossKeyValues(m: T5Graph, kept: PartialStack, encoded: Value): KeyValue[] {
  return kept.layers.map((layer) => keyValue(m, encoded, `decoder.block.${layer}.layer.1.EncDecAttention`));
}

/**
 * The decoder.
 * @param x [B, U, D] embeddings, or [B, C, U, D] for C choices per row: they share the row's encoder output, so the
 *   cross attention takes them as C·U queries over one set of keys
 * @returns also the self-attention keys and values of each layer, earlier ones included
 */
export function decoder(
  m: T5Graph,
  kept: PartialStack,
  x: Value,
  context: DecoderContext,
): StackResult & { present: KeyValue[] } {
  const { graph: g } = m;
  const bias = positionBias(m, "decoder", context.buckets, true);
  const activations: Value[] = [];
  const present: KeyValue[] = [];
  let hidden = x;
  for (const [i, layer] of kept.layers.entries()) {
    const at = `decoder.block.${layer}.layer`;
    let normed = norm(m, hidden, `${at}.0.layer_norm.weight`);
    const now = append(m, context.past?.[i], keyValue(m, normed, `${at}.0.SelfAttention`));
    present.push(now);
    hidden = ops.add(g, hidden, attention(m, normed, now, bias, `${at}.0.SelfAttention`));
    normed = norm(m, hidden, `${at}.1.layer_norm.weight`);
    hidden = ops.add(g, hidden, attention(m, normed, context.cross[i]!, context.padding, `${at}.1.EncDecAttention`));
    const ff = feedForward(m, norm(m, hidden, `${at}.2.layer_norm.weight`), `${at}.2.DenseReluDense`);
    activations.push(ff.activation);
    hidden = ops.add(g, hidden, ff.output);
  }
  return { hidden: norm(m, hidden, "decoder.final_layer_norm.weight"), activations, present };
}

/** Logits […, V] of decoder states […, D]. */
export function head(m: T5Graph, hidden: Value): Value {
  const { graph: g, config } = m;
  if (!config.tiedHead) return ops.linear(g, hidden, m.weight("lm_head.weight"));
  return ops.linear(g, ops.mul(g, hidden, scalar(g, config.width ** -0.5)), m.weight("shared.weight"));
}

function norm(m: T5Graph, x: Value, name: string): Value {
  return ops.rmsNorm(m.graph, x, ops.cast(m.graph, m.weight(name), "float32"), m.config.normEpsilon);
}

function keyValue(m: T5Graph, x: Value, at: string): KeyValue {
  const project = (name: string) =>
    ops.splitHeads(m.graph, ops.linear(m.graph, x, m.weight(`${at}.${name}.weight`)), m.config.heads);
  return { key: project("k"), value: project("v") };
}

function append(m: T5Graph, past: KeyValue | undefined, now: KeyValue): KeyValue {
  if (!past) return now;
  const join = (a: Value, b: Value) => ops.concat(m.graph, [a, b], a.shape.length - 2);
  return { key: join(past.key, now.key), value: join(past.value, now.value) };
}

/** softmax(q·kᵀ + bias)·v, projected out; T5 folds the usual 1/√K into its weights. */
function attention(m: T5Graph, x: Value, { key, value }: KeyValue, bias: Value, at: string): Value {
  const { graph: g, config } = m;
  const q = ops.linear(g, x, m.weight(`${at}.q.weight`));
  // Choices of a row ([B, C, U, ·]) over keys of the row ([B, H, S, K]): one long list of queries.
  const joined = q.shape.length > key.shape.length - 1 ? ops.flatten(g, q, 1) : q;
  const mixed = ops.mergeHeads(g, ops.attend(g, ops.splitHeads(g, joined, config.heads), key, value, bias));
  const context = joined === q ? mixed : ops.reshapeLike(g, mixed, q);
  return ops.linear(g, context, m.weight(`${at}.o.weight`));
}

function feedForward(m: T5Graph, x: Value, at: string): { activation: Value; output: Value } {
  const { graph: g, config } = m;
  const into = (name: string) => ops.linear(g, x, m.weight(`${at}.${name}.weight`));
  const activate = activations[config.activation];
  const activation = config.gated ? ops.mul(g, activate(g, into("wi_0")), into("wi_1")) : activate(g, into("wi"));
  return { activation, output: ops.linear(g, activation, m.weight(`${at}.wo.weight`)) };
}

const activations = {
  relu: ops.relu,
  gelu: ops.gelu,
  silu: (g, x) => ops.mul(g, x, ops.sigmoid(g, x)),
} satisfies Record<T5Config["activation"], (g: Graph, x: Value) => Value>;

/** [1, H, queries, keys] from the stack's table [buckets, H]; `causal` adds the bucket of what must not be seen. */
function positionBias(m: T5Graph, stack: "encoder" | "decoder", buckets: Value, causal: boolean): Value {
  const { graph: g, config } = m;
  const stored = m.weight(`${stack}.block.0.layer.0.SelfAttention.relative_attention_bias.weight`);
  const byHead = ops.transpose(g, ops.cast(g, stored, "float32"), [1, 0]);
  const future = new Float32Array(config.heads).fill(hiddenScore);
  const table = causal ? ops.concat(g, [byHead, constant(g, [config.heads, 1], future)], 1) : byHead;
  return ops.unsqueeze(g, ops.gather(g, table, buckets, 1), 0);
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
