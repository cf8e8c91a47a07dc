/**
 * @file Which tensors a checkpoint must hold, and finding them in its files.
 *
 * In: what an architecture expects and what the files say they hold. Out: canonical name → entry, and what is left over; a tensor that is
 * missing or does not fit is refused by name, with both shapes.
 */
import { SoftpromptError } from "../base/errors.js";
import { shapeText } from "../base/tensor.js";
import { floatType, type SafetensorsEntry } from "./safetensors.js";

/** One tensor the graph may ask for. */
export interface ExpectedTensor {
  /** Canonical name, e.g. "encoder.block.0.layer.0.SelfAttention.q.weight". */
  readonly name: string;
  readonly shape: readonly number[];
  /** Other names of the same tensor: tried in order when `name` is not there, and copies of it when it is. */
  readonly aliases?: readonly string[];
  /** Other tensors that are used when neither `name` nor an alias is there. */
  readonly standIns?: readonly string[];
  /** Part of the model, for `inspect`: a stack's name, "embedding" or "head". */
  readonly part: string;
  /** The block it belongs to, counted in the full model; a partial model without the block does not need the tensor. */
  readonly layer?: number;
  /** Which axis holds the feed-forward neurons of its block: a partial model keeps some of them. */
  readonly neurons?: { readonly axis: 0 | 1 };
  /** A linear layer's matrix that is stored [in, out] (GPT-2). Default [out, in]. */
  readonly transposed?: boolean;
}

export interface MatchedTensors<Entry> {
  /** Canonical name → the entry in a file (whose own name may be an alias). */
  readonly tensors: ReadonlyMap<string, Entry>;
  /** Tensors of the files that no part of the model uses; harmless, but worth a warning. */
  readonly unexpected: readonly string[];
  /** Second copies of a matched tensor under another name, as [copy, original]; their bytes must be equal. */
  readonly copies: readonly (readonly [string, string])[];
}

/** Parameters of the model, each shared tensor counted once. */
export function parameterCount(expected: readonly ExpectedTensor[]): number {
  return expected.reduce((sum, { shape }) => sum + shape.reduce((a, b) => a * b, 1), 0);
}

/** The names that families give to the output head, which a model with a tied head lacks. */
const headNames = new Set(["lm_head.weight", "embed_out.weight"]);

/**
 * Finds each expected tensor among `entries` and checks its shape and type.
 * @throws SoftpromptError("checkpoint") naming the tensor and both shapes, or those that are missing.
 */
export function matchTensors<Entry extends SafetensorsEntry>(
  expected: readonly ExpectedTensor[],
  entries: ReadonlyMap<string, Entry>,
  where: string,
  leftOver: (name: string) => boolean = () => false,
): MatchedTensors<Entry> {
  const tensors = new Map<string, Entry>();
  const copies: [string, string][] = [];
  const used = new Set<string>();
  const missing: string[] = [];
  for (const { name, shape, aliases = [], standIns = [] } of expected) {
    const [same, ...others] = [name, ...aliases].filter((candidate) => entries.has(candidate));
    const first = same ?? standIns.find((candidate) => entries.has(candidate));
    if (first === undefined) {
      missing.push(name);
      continue;
    }
    const entry = entries.get(first)!;
    if (entry.shape.length !== shape.length || entry.shape.some((n, i) => n !== shape[i]))
      throw new SoftpromptError("checkpoint", `tensor ${first} does not fit config.json`, {
        where,
        expected: shapeText(entry.storedType, shape),
        got: shapeText(entry.storedType, entry.shape),
        hint: "config.json and the weights belong to different models",
      });
    floatType(entry, where);
    tensors.set(name, entry);
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
        hint:
          missing.length === 1 && headNames.has(missing[0]!)
            ? `config.json says "tie_word_embeddings": false, but the file has no ${missing[0]}; if the head is tied, say true`
            : "is this an encoder-only model, or one of another family? config.json must describe these weights",
      },
    );
  }
  const unexpected = [...entries.keys()].filter((name) => !used.has(name) && !leftOver(name));
  // a model whose bias is silently left out writes fluent but wrong text
  const bias = unexpected.find((name) => name.endsWith(".bias") && used.has(name.replace(/bias$/, "weight")));
  if (bias !== undefined)
    throw new SoftpromptError("checkpoint", `tensor ${bias} has no place in the model that config.json describes`, {
      where,
      expected: `${bias.replace(/bias$/, "weight")} without a bias`,
      got: bias,
      hint: "config.json and the weights belong to different models",
    });
  return { tensors, unexpected, copies };
}
