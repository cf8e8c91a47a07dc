/**
 * @file Which tensors a T5 checkpoint must hold: Hugging Face names and shapes, derived from the config.
 *
 * In: a T5Config and what the files say they hold. Out: canonical name → entry, and what is left over; a tensor that is
 * missing or does not fit is refused by name, with both shapes.
 * Source: module tree of transformers `models/t5/modeling_t5.py`; Linear weights are stored [out, in].
 */
import { SoftpromptError } from "../../base/errors.js";
import { shapeText } from "../../base/tensor.js";
import { floatType, type SafetensorsEntry } from "../safetensors.js";
import type { T5Config } from "./config.js";

/** One tensor the graph may ask for. */
export interface ExpectedWeight {
  /** Canonical name, e.g. "encoder.block.0.layer.0.SelfAttention.q.weight". */
  readonly name: string;
  readonly shape: readonly number[];
  /** Other names of the same tensor: tried in order when `name` is not there, and copies of it when it is. */
  readonly aliases: readonly string[];
  /** Other tensors that serve when neither `name` nor an alias is there. */
  readonly standIns: readonly string[];
  /** Part of the model, for `inspect`. */
  readonly part: WeightPart;
}

export const weightParts = ["embedding", "encoder", "decoder", "head"] as const;
export type WeightPart = (typeof weightParts)[number];

/** Every tensor of the model, in the order of the forward pass. */
export function expectedWeights(c: T5Config): readonly ExpectedWeight[] {
  const { width: D, feedForwardWidth: F, vocabulary: V } = c;
  const inner = c.heads * c.headWidth;
  const specs: ExpectedWeight[] = [];
  const add = (part: WeightPart, name: string, shape: number[], aliases: string[] = [], standIns: string[] = []) =>
    specs.push({ name, shape, aliases, standIns, part });
  const embeddingCopies = ["encoder.embed_tokens.weight", "decoder.embed_tokens.weight"];

  add("embedding", "shared.weight", [V, D], c.tiedHead ? [...embeddingCopies, "lm_head.weight"] : embeddingCopies);
  for (const part of ["encoder", "decoder"] as const) {
    const layers = part === "encoder" ? c.encoderLayers : c.decoderLayers;
    const attentions = part === "encoder" ? ["SelfAttention"] : ["SelfAttention", "EncDecAttention"];
    for (let block = 0; block < layers; block++) {
      const at = (layer: number, rest: string) => `${part}.block.${block}.layer.${layer}.${rest}.weight`;
      for (const [layer, attention] of attentions.entries()) {
        for (const x of ["q", "k", "v"]) add(part, at(layer, `${attention}.${x}`), [inner, D]);
        add(part, at(layer, `${attention}.o`), [D, inner]);
        // the first block owns the position bias of the whole stack; cross-attention has none
        if (block === 0 && layer === 0)
          add(part, at(layer, `${attention}.relative_attention_bias`), [c.relativeBuckets, c.heads]);
        add(part, at(layer, "layer_norm"), [D]);
      }
      const last = attentions.length;
      for (const wi of c.gated ? ["wi_0", "wi_1"] : ["wi"]) add(part, at(last, `DenseReluDense.${wi}`), [F, D]);
      add(part, at(last, "DenseReluDense.wo"), [D, F]);
      add(part, at(last, "layer_norm"), [D]);
    }
    add(part, `${part}.final_layer_norm.weight`, [D]);
  }
  const embeddings = ["shared.weight", ...embeddingCopies];
  if (!c.tiedHead) add("head", "lm_head.weight", [V, D], [], c.headMayShareEmbedding ? embeddings : []);
  return specs;
}

/** Left in T5's first checkpoints by an early bug; transformers ignores it too. */
const knownLeftOvers = new Set(["decoder.block.0.layer.1.EncDecAttention.relative_attention_bias.weight"]);

export interface MatchedWeights<Entry> {
  /** Canonical name → the entry in a file (whose own name may be an alias). */
  readonly weights: ReadonlyMap<string, Entry>;
  /** Tensors of the files that no part of the model uses; harmless, but worth a warning. */
  readonly unexpected: readonly string[];
  /** Second copies of a matched tensor under another name, as [copy, original]; their bytes must be equal. */
  readonly copies: readonly (readonly [string, string])[];
}

/**
 * Finds each expected tensor among `entries` and checks its shape and type.
 * @throws SoftpromptError("checkpoint") naming the tensor and both shapes, or those that are missing.
 */
export function matchWeights<Entry extends SafetensorsEntry>(
  config: T5Config,
  entries: ReadonlyMap<string, Entry>,
  where: string,
): MatchedWeights<Entry> {
  const weights = new Map<string, Entry>();
  const copies: [string, string][] = [];
  const used = new Set<string>(knownLeftOvers);
  const missing: string[] = [];
  for (const spec of expectedWeights(config)) {
    const [same, ...others] = [spec.name, ...spec.aliases].filter((name) => entries.has(name));
    const first = same ?? spec.standIns.find((name) => entries.has(name));
    if (first === undefined) {
      missing.push(spec.name);
      continue;
    }
    const entry = entries.get(first)!;
    if (entry.shape.length !== spec.shape.length || entry.shape.some((n, i) => n !== spec.shape[i]))
      throw new SoftpromptError("checkpoint", `tensor ${first} does not fit config.json`, {
        where,
        expected: shapeText(entry.storedType, spec.shape),
        got: shapeText(entry.storedType, entry.shape),
        hint: "config.json and the weights belong to different models",
      });
    floatType(entry, where);
    weights.set(spec.name, entry);
    used.add(first);
    for (const other of others) {
      copies.push([other, first]);
      used.add(other);
    }
  }
  if (missing.length > 0) {
    const more = missing.length - 5;
    throw new SoftpromptError(
      "checkpoint",
      missing.length === 1 ? `tensor ${missing[0]} is missing` : `${missing.length} tensors are missing`,
      {
        where,
        expected: missing.slice(0, 5).join(", ") + (more > 0 ? ` and ${more} more` : ""),
        got: [...entries.keys()].slice(0, 5),
        hint: "is this an encoder-only model, or one of another family? config.json must describe these weights",
      },
    );
  }
  return { weights, unexpected: [...entries.keys()].filter((name) => !used.has(name)), copies };
}
