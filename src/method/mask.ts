/**
 * @file Masks: which entries of a soft prompt live. Vanilla prompt tuning is all ones; XPrompt is everything else (xprompt.md §3.1).
 *
 * In: token mask γ [P] and piece mask ζ [P, pieces]. Out: an entry mask [P, D] of zeros and ones.
 */

/** A structured mask. `layout` says which dimensions a piece holds: contiguous blocks, or every pieces-th (strided). */
export interface PromptMask {
  /** [P] of 0 and 1. */
  readonly tokens: Uint8Array;
  /** [P × pieces] of 0 and 1. */
  readonly piecesKept: Uint8Array;
  readonly pieces: number;
  readonly layout: "contiguous" | "strided";
}
