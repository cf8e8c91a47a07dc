/**
 * @file How rows are encoded for a family of models. In: a tokenizer. Out: EncodingRules. A family that differs has rules of its own.
 */
import { SoftpromptError } from "../base/errors.js";
import type { EncodingRules, Tokenizer } from "./tokenizer.js";

export type { ContextWindow, EncodingRules } from "./tokenizer.js";

/** T5: input and target are two texts, each with end-of-sequence. Throws SoftpromptError (checkpoint) if there is none. */
export function seq2seqRules(tokenizer: Tokenizer): EncodingRules {
  const end = endToken(tokenizer, "</s>");
  return { before: [], after: [end], targetEnd: end, guardFields: false, joined: null };
}

/**
 * Llama and its kin: the target goes on where the input ends; BOS as the tokenizer's own files have it; a user's text never
 * becomes a control token.
 * @param options `targetEnd` where a model stops at another token than its tokenizer says (a chat model's end of turn).
 */
export function causalRules(
  tokenizer: Tokenizer,
  options: { readonly targetEnd?: number; readonly separator?: string } = {},
): EncodingRules {
  return {
    before: tokenizer.frame.before,
    after: [],
    targetEnd: options.targetEnd ?? endToken(tokenizer, "end token (eos_token)"),
    guardFields: true,
    joined: { separator: options.separator ?? " " },
  };
}

function endToken(tokenizer: Tokenizer, name: string): number {
  const [id] = tokenizer.eosIds;
  if (id !== undefined) return id;
  throw new SoftpromptError("checkpoint", `the vocabulary has no ${name}`, {
    where: "tokenizer",
    expected: "a token that ends targets",
    hint: "eos_token of tokenizer_config.json names it",
  });
}

/** Ids that end a written text, besides those of the model's own files: what targets are trained to end with is one of them. */
export function endsOf(tokenizer: Tokenizer): number[] {
  return [...new Set([...tokenizer.eosIds, rulesOf(tokenizer, {}).targetEnd])];
}

/**
 * Whether what a model writes after these ids goes on from a text (DecodeOptions.continues). An answer of T5's or a chat's is a text of its
 * own, and nothing but BOS is no text.
 */
export function goesOnFrom(ids: Iterable<number>, tokenizer: Tokenizer): boolean {
  const { joined, chat } = rulesOf(tokenizer, {});
  return joined !== null && chat === undefined && [...ids].some((id) => !tokenizer.controls.has(id));
}

/** The rules by which rows are encoded: as asked, else as the tokenizer's model wants them, else T5's. */
export function rulesOf(tokenizer: Tokenizer, { rules }: { readonly rules?: EncodingRules }): EncodingRules {
  return rules ?? tokenizer.rules ?? seq2seqRules(tokenizer);
}
