/**
 * @file Batches of token ids: padding, and the order of an epoch.
 *
 * In: EncodedRow. Out: Batch (padded arrays), and which rows stand in which batch. The order is a function of
 * (seed, epoch) alone, so an exact resume needs only the epoch and the number of the batch.
 */
import { type Random, random } from "../base/random.js";
import type { PromptPart } from "../data/row.js";

/** A Row as token ids. */
export interface EncodedRow {
  readonly id: string;
  /** Ids of the input, at most maxInputTokens: of T5 with end-of-sequence, of a causal model up to where the target begins. */
  readonly input: Int32Array;
  /** Target ids with end-of-sequence. */
  readonly target: Int32Array;
  /** The id that the target follows, where it is the row's own (a decoder-only model: the text's last token); else the model's start id. */
  readonly first?: number;
  /** How many of the text's ids stand before the virtual tokens (the last part of them); undefined where nothing does. */
  readonly promptAt?: number;
  /** The parts of the virtual tokens before the last one, in order; absent where they stand together. */
  readonly promptBefore?: readonly PromptPart[];
  /** The virtual tokens stand before the target on the decoder's side, not in the text. */
  readonly promptIn?: "decoder";
  /** How many of the text's ids, from the first on, are those of many rows: they may be read once for all. Absent where they are few. */
  readonly shared?: number;
  /** Candidate targets in verbalizer order (each with end-of-sequence), or null for free text. */
  readonly choices: readonly Int32Array[] | null;
  /** Index of the right choice, or -1. */
  readonly gold: number;
  /** True when the input had to be cut. */
  readonly truncated: boolean;
  /** What was cut of the input, where `truncated`: names of fields (none where they are not known), and tokens. */
  readonly cut?: {
    readonly fields: readonly string[];
    readonly tokens: number;
    /** The model's context window left less room than maxInputTokens. */
    readonly byWindow?: boolean;
  };
  /** Tokens cut off a free text's target. */
  readonly targetCut?: number;
}

/** All ids of a row's text, including the one that its target follows. */
export function textIds({ input, first }: EncodedRow): Int32Array {
  return first === undefined ? input : Int32Array.from([...input, first]);
}

/**
 * For a row whose target continues its text: its ids before and behind the virtual tokens. They are the text's own ids, split where the
 * virtual tokens stand, or where the first part of them does. Of a prompt on the decoder's side the whole text stands before it.
 */
export function aroundPrompt(row: EncodedRow): { readonly before: Int32Array; readonly tail: Int32Array } {
  const ids = textIds(row);
  const at = row.promptIn === "decoder" ? ids.length : (row.promptBefore?.[0]?.at ?? row.promptAt ?? 0);
  return { before: ids.subarray(0, at), tail: ids.subarray(at) };
}

/** The different texts of rows before their virtual tokens, and how many of a text's ids begin many texts. Empty ones are left out. */
export function textsBefore(rows: readonly EncodedRow[]): { readonly ids: Int32Array; readonly shared: number }[] {
  const texts = new Map<string, { readonly ids: Int32Array; readonly shared: number }>();
  for (const row of rows) {
    const { before: ids } = aroundPrompt(row);
    if (ids.length > 0) texts.set(ids.join(), { ids, shared: Math.min(row.shared ?? 0, ids.length) });
  }
  return [...texts.values()];
}

/** Whether a row begins as many do, so that its beginning may be read once for all. */
export const sharesText = ({ shared }: EncodedRow): boolean => shared !== undefined;

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
  /** [B] EncodedRow.first, or null where rows have none. */
  readonly firstIds?: Int32Array | null;
  /** [B] EncodedRow.promptAt, or null where no row has one. */
  readonly promptAt?: Int32Array | null;
  /** [B] EncodedRow.promptBefore, or null where no row has one. */
  readonly promptBefore?: readonly (readonly PromptPart[])[] | null;
  /** [B] EncodedRow.shared as far as it stands before the virtual tokens, or null where no row has one. */
  readonly shared?: Int32Array | null;
  /** EncodedRow.promptIn, or null where no row has one. */
  readonly promptIn?: "decoder" | null;
  /**
   * For rows whose target continues their text, with virtual tokens inside the text: `inputIds` then ends before the virtual tokens, and
   * this holds the text between them and the target, [B, …]. Otherwise null.
   */
  readonly tail?: Padded | null;
  readonly ids: readonly string[];
}

/** Ids [B, N] and mask [B, N], N the longest. */
export interface Padded {
  readonly ids: Int32Array;
  readonly mask: Int32Array;
  readonly length: number;
}

/** The part of a Batch that is the rows' text. */
export type TextBatch = Pick<
  Batch,
  | "size"
  | "inputIds"
  | "inputMask"
  | "inputLength"
  | "firstIds"
  | "promptAt"
  | "promptBefore"
  | "promptIn"
  | "shared"
  | "tail"
>;

/** The text of rows, padded to the longest. */
export function textBatch(rows: readonly EncodedRow[], padId = 0): TextBatch {
  const placed = rows.some((row) => row.promptAt !== undefined);
  const goesOn = rows.length > 0 && rows.every((row) => row.first !== undefined);
  const parts = placed && goesOn ? rows.map(aroundPrompt) : null;
  const input = pad(parts?.map(({ before }) => before) ?? rows.map((row) => row.input), padId);
  return {
    size: rows.length,
    inputIds: input.ids,
    inputMask: input.mask,
    inputLength: input.length,
    firstIds: goesOn ? Int32Array.from(rows, (row) => row.first!) : null,
    promptAt: placed ? Int32Array.from(rows, (row) => row.promptAt ?? 0) : null,
    promptIn: rows.some((row) => row.promptIn) ? "decoder" : null,
    promptBefore: rows.some((row) => row.promptBefore) ? rows.map((row) => row.promptBefore ?? []) : null,
    shared:
      parts && rows.some((row) => row.shared)
        ? Int32Array.from(rows, (row, b) => Math.min(row.shared ?? 0, parts[b]!.before.length))
        : null,
    tail:
      parts &&
      pad(
        parts.map(({ tail }) => tail),
        padId,
      ),
  };
}

/** Pads rows to the longest of them. Throws RangeError without rows. */
export function makeBatch(rows: readonly EncodedRow[]): Batch {
  if (rows.length === 0) throw new RangeError("a batch needs at least one row");
  const target = pad(rows.map((r) => r.target));
  return {
    ...textBatch(rows),
    targetIds: target.ids,
    targetMask: target.mask,
    targetLength: target.length,
    ids: rows.map((r) => r.id),
  };
}

/** Ids [B, N] and mask [B, N] of lists of different lengths, N the longest. */
export function pad(lists: readonly Int32Array[], padId = 0): Padded {
  const length = lists.reduce((most, list) => Math.max(most, list.length), 0);
  const ids = new Int32Array(lists.length * length).fill(padId);
  const mask = new Int32Array(lists.length * length);
  lists.forEach((list, b) => {
    ids.set(list, b * length);
    mask.fill(1, b * length, b * length + list.length);
  });
  return { ids, mask, length };
}

export interface OrderOptions {
  readonly seed: number;
  /** From 0. */
  readonly epoch: number;
  readonly batchSize: number;
  /** Batches whose rows are sorted by length together, to save padding; 1 is a plain shuffle. Default 16. */
  readonly bucket?: number;
}

/**
 * The batches of one epoch as lists of row indices: every row once, the last batch smaller if it must be.
 *
 * Rows are shuffled, cut into windows of `bucket` batches, sorted by length inside a window and cut into batches; then the
 * full batches are shuffled, so that length says nothing about when a row comes. Deterministic for (seed, epoch).
 */
export function epochOrder(rows: readonly Pick<EncodedRow, "input" | "target">[], options: OrderOptions): number[][] {
  const { seed, epoch, batchSize, bucket = 16 } = options;
  const chance = random(seed, `order/${epoch}`);
  const shuffled = [...chance.permutation(rows.length)];
  const length = (i: number) => rows[i]!.input.length * 4096 + rows[i]!.target.length;
  const full: number[][] = [];
  let rest: number[] = [];
  const window = batchSize * Math.max(1, bucket);
  for (let from = 0; from < shuffled.length; from += window) {
    const part = shuffled.slice(from, from + window);
    if (bucket > 1) part.sort((a, b) => length(a) - length(b)); // stable: equal lengths keep their shuffled order
    // The remainder is taken from a random place of the sorted window, so that the small batch does not always hold the longest rows.
    const spare = part.length % batchSize;
    if (spare > 0) rest = part.splice(chance.integer(part.length - spare + 1), spare);
    for (let i = 0; i < part.length; i += batchSize) full.push(part.slice(i, i + batchSize));
  }
  const order = shuffle(full, chance);
  return rest.length > 0 ? [...order, rest] : order;
}

/** Batches for evaluation: all rows once, longest together, in a fixed order. */
export function evaluationOrder(rows: readonly Pick<EncodedRow, "input" | "target">[], batchSize: number): number[][] {
  const sorted = rows.map((_, i) => i).sort((a, b) => rows[a]!.input.length - rows[b]!.input.length || a - b);
  const batches: number[][] = [];
  for (let i = 0; i < sorted.length; i += batchSize) batches.push(sorted.slice(i, i + batchSize));
  return batches;
}

function shuffle<T>(list: readonly T[], chance: Random): T[] {
  return [...chance.permutation(list.length)].map((i) => list[i]!);
}
