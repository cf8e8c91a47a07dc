/**
 * @file The tokenizer as the rest of the house sees it. (contract; the text room fills it in)
 */

/** Text to ids and back. Immutable. */
export interface Tokenizer {
  /** Ids without end-of-sequence; special tokens written in the text (`<extra_id_0>`) become their own id. */
  encode(text: string): number[];
  /** Text of ids; special tokens are left out unless `keepSpecial`. */
  decode(ids: readonly number[], options?: { keepSpecial?: boolean }): string;
  /** The piece of one id as written in the vocabulary ("▁the"). */
  piece(id: number): string;
  readonly padId: number;
  readonly eosId: number;
  readonly unkId: number;
  /** Ids 0 … size-1 exist in the tokenizer; the model's vocabulary may be padded beyond it. */
  readonly size: number;
  /** sha256 of the file it was read from. */
  readonly sha256: string;
}
