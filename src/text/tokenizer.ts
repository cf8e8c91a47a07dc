/**
 * @file The tokenizer as the rest of the project sees it, for every family of files.
 */
import type { ChatFormat } from "./chat.js";
import type { DecodeOptions, StreamDecoder } from "./decoding.js";

export type { DecodeOptions, StreamDecoder } from "./decoding.js";

/** A stretch of a text in UTF-16 units: from … to-1. */
export interface Span {
  readonly from: number;
  readonly to: number;
}

/** How a text is encoded. */
export interface TextOptions {
  /** Put the ids of the tokenizer's own frame round the text (BOS before it, T5's `</s>` behind it). Default false. */
  readonly special?: boolean;
  /**
   * Stretches that a user wrote: the text of a control token there stays text, in order and without overlap; `true` is the
   * whole text. Default none: `</s>` in the text becomes its id.
   */
  readonly userText?: readonly Span[] | true;
}

/** How a family wants its rows as ids (rules.ts). */
export interface EncodingRules {
  /** Ids put before every input (BOS), and behind it (T5's end-of-sequence). */
  readonly before: readonly number[];
  readonly after: readonly number[];
  /** The id that closes every target. */
  readonly targetEnd: number;
  /** The text of control tokens in fields and targets stays text; otherwise `</s>` there is the token, as T5 has it. */
  readonly guardFields: boolean;
  /**
   * Input and target are one text (causal models): its ids are split where the target begins. `separator` is put between
   * them where neither has white space there. Null: two texts.
   */
  readonly joined: { readonly separator: string } | null;
  /** The input is the first message of a chat. */
  readonly chat?: ChatFormat;
  /** How many positions the model knows; inputs are cut so that the target fits behind them. */
  readonly window?: ContextWindow;
}

/** How many positions a model has, and how many of them are needed for other things than text. */
export interface ContextWindow {
  /** Absent where the model knows no limit. */
  readonly positions?: number;
  /** Size of the attention window in positions, the token's own included; absent where some layer sees all positions. */
  readonly sliding?: number;
  /** Virtual tokens; they are positions like all others. */
  readonly prompt: number;
}

/** Text to ids and back. Immutable. */
export interface Tokenizer {
  encode(text: string, options?: TextOptions): number[];
  /** Text of ids; special tokens are left out unless `keepSpecial`. */
  decode(ids: readonly number[], options?: DecodeOptions): string;
  /** Text of ids that come one after the other; what it gives joined is what `decode` gives for all of them. */
  openDecoder(options?: DecodeOptions): StreamDecoder;
  /** The piece of one id as written in the vocabulary ("▁the", "Ġthe"). */
  piece(id: number): string;
  /** Absent where the tokenizer's files name none. The model's family decides which of them it needs. */
  readonly padId?: number;
  readonly bosId?: number;
  readonly unkId?: number;
  /** Its own end tokens, maybe none; a model's generation config may name more. */
  readonly eosIds: readonly number[];
  /** The ids that `special` puts round a text. */
  readonly frame: { readonly before: readonly number[]; readonly after: readonly number[] };
  /** Tokens that could steer a model if a user wrote them: every added token except runs of blanks. By id. */
  readonly controls: ReadonlyMap<number, { readonly content: string; readonly special: boolean }>;
  /** Ids 0 … size-1 exist in the tokenizer; the model's vocabulary may be padded beyond it. */
  readonly size: number;
  /** Rows of the model's embedding where the tokenizer has more ids than that: rows that use one are refused by name. */
  readonly usable?: number;
  /** How the model's family wants its rows, where a model was opened with it. Default T5's. */
  readonly rules?: EncodingRules;
  /** sha256 of the file it was read from. */
  readonly sha256: string;
}

/** The tokenizer for a model whose embedding has `rows` rows. If the tokenizer has more ids than that, encoding checks every row. */
export function limitedTo(tokenizer: Tokenizer, rows: number): Tokenizer {
  return tokenizer.size > rows ? { ...tokenizer, usable: rows } : tokenizer;
}
