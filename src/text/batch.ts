/**
 * @file Batches of token ids. (contract; the text room fills it in)
 */

/** A Row as token ids. */
export interface EncodedRow {
  readonly id: string;
  /** Encoder ids with end-of-sequence, truncated on the right to maxInputTokens. */
  readonly input: Int32Array;
  /** Decoder target ids with end-of-sequence. */
  readonly target: Int32Array;
  /** Candidate targets in verbalizer order (each with end-of-sequence), or null for free text. */
  readonly choices: readonly Int32Array[] | null;
  /** Index of the right choice, or -1. */
  readonly gold: number;
  /** True when the input had to be cut. */
  readonly truncated: boolean;
}

/** Padded arrays for the engine. Padding id is 0 in both; the masks say what counts. */
export interface Batch {
  /** B */
  readonly size: number;
  /** [B, T] */
  readonly inputIds: Int32Array;
  /** [B, T], 1 for text, 0 for padding. */
  readonly inputMask: Int32Array;
  /** T */
  readonly inputLength: number;
  /** [B, U] target ids. */
  readonly targetIds: Int32Array;
  /** [B, U], 1 where the target counts in the loss. */
  readonly targetMask: Int32Array;
  /** U */
  readonly targetLength: number;
  readonly ids: readonly string[];
}
