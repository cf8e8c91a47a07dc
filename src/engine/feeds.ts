/**
 * @file From batches to feeds: what the host computes for a graph (masks as biases, shifted targets, position buckets).
 */
import { SoftpromptError } from "../base/errors.js";
import { shapeText } from "../base/tensor.js";
import type { T5Config } from "../model/t5/config.js";
import { hiddenScore, relativeBuckets } from "../model/t5/graph.js";
import type { Feed } from "../runtime/runtime.js";
import type { Feeds } from "../runtime/session.js";
import type { Batch } from "../text/batch.js";
import type { PromptFeed } from "./types.js";

export const float = (shape: readonly number[], data: Float32Array): Feed => ({ dtype: "float32", shape, data });
export const int = (shape: readonly number[], data: Int32Array): Feed => ({ dtype: "int32", shape, data });

/** Padded encoder ids: the part of a Batch the encoder reads. */
export type EncoderBatch = Pick<Batch, "size" | "inputIds" | "inputMask" | "inputLength">;

/** P of a prompt; refuses one that does not fit the model or the batch. */
export function promptLength(prompt: PromptFeed, config: T5Config, rows: number): number {
  const { shape, data } = prompt;
  const fits =
    (shape.length === 2 || (shape.length === 3 && shape[0] === rows)) &&
    shape.at(-1) === config.width &&
    data.length === shape.reduce((a, b) => a * b, 1);
  if (!fits)
    throw new SoftpromptError("engine", "the prompt does not fit the model", {
      where: "prompt",
      expected: `float32[P, ${config.width}], or float32[${rows}, P, ${config.width}] with one prompt per row`,
      got: shapeText("float32", shape),
      hint: "a prompt belongs to the base model it was trained on",
    });
  return shape.at(-2)!;
}

/** prompt, inputIds, padding and encoderBuckets of a batch. */
export function encoderFeeds(prompt: PromptFeed, batch: EncoderBatch, config: T5Config): Record<string, Feed> {
  const { size: B, inputLength: T } = batch;
  const P = promptLength(prompt, config, B);
  checkIds("input", batch.inputIds, config.vocabulary);
  const S = P + T;
  const padding = new Float32Array(B * S);
  for (let b = 0; b < B; b++)
    for (let t = 0; t < T; t++) if (!batch.inputMask[b * T + t]) padding[b * S + P + t] = hiddenScore;
  return {
    prompt: float([B, P, config.width], prompt.shape.length === 3 ? prompt.data : repeat(prompt.data, B)),
    inputIds: int([B, T], batch.inputIds),
    padding: float([B, 1, 1, S], padding),
    encoderBuckets: int([S, S], buckets(config, S, false)),
  };
}

/** decoderIds (targets shifted right behind the start token) and decoderBuckets; `leading` is [B] or [B, C]. */
export function decoderFeeds(ids: Int32Array, leading: readonly number[], U: number, config: T5Config): Feeds {
  checkIds("target", ids, config.vocabulary);
  const shifted = new Int32Array(ids.length);
  for (let at = 0; at < ids.length; at += U) {
    shifted[at] = config.decoderStartId;
    shifted.set(ids.subarray(at, at + U - 1), at + 1);
  }
  return { decoderIds: int([...leading, U], shifted), decoderBuckets: int([U, U], buckets(config, U, true)) };
}

const tables = new WeakMap<T5Config, Map<string, Int32Array>>();

/** Bucket tables depend on the length only; the last few are kept. */
function buckets(config: T5Config, length: number, causal: boolean): Int32Array {
  const known = tables.get(config) ?? new Map<string, Int32Array>();
  tables.set(config, known);
  const key = `${length}${causal}`;
  let table = known.get(key);
  if (!table) {
    if (known.size >= 16) known.clear();
    table = relativeBuckets(config, length, length, { causal });
    known.set(key, table);
  }
  return table;
}

function repeat(data: Float32Array, times: number): Float32Array {
  const out = new Float32Array(data.length * times);
  for (let i = 0; i < times; i++) out.set(data, i * data.length);
  return out;
}

/** A wrong id would read outside the embedding, or, below zero, silently from its end. */
function checkIds(what: string, ids: Int32Array, vocabulary: number): void {
  const wrong = ids.findIndex((id) => id < 0 || id >= vocabulary);
  if (wrong >= 0)
    throw new SoftpromptError("engine", `${what} id ${ids[wrong]} is not in the model's vocabulary`, {
      where: `${what} ids, element ${wrong}`,
      expected: `0 … ${vocabulary - 1}`,
      got: ids[wrong],
      hint: "is this the model's own tokenizer?",
    });
}
