/**
 * @file Labelled rows as token ids: text/encode.ts, and the promise that every label is among its row's choices.
 *
 * In: Task, rows, Tokenizer. Out: EncodedRow.
 */
import { SoftpromptError } from "../base/errors.js";
import type { Row, Task } from "../data/row.js";
import type { EncodedRow } from "./batch.js";
import { encodeRows as encode } from "./encode.js";
import { inputNotices } from "./notices.js";
import type { EncodingRules } from "./rules.js";
import type { Tokenizer } from "./tokenizer.js";

export { makeBatch as collate } from "./batch.js";

/** The labels a row can have, in ranking order, with their words; null for free text. */
export function choicesOf(task: Task, row: Row): Readonly<Record<string, string>> | null {
  return row.choices ?? task.verbalizer;
}

/** Whether answers are written freely: not where each row brings the answers to choose from (COPA), though no label has words. */
export function isFreeText({ task, train }: { readonly task: Task; readonly train: readonly Row[] }): boolean {
  return train.some((row) => choicesOf(task, row) === null);
}

/**
 * @param maxInputTokens including end-of-sequence; longer inputs lose the end of their longest field.
 * @param rules how the model's family wants its rows; default the tokenizer's, else T5's.
 * @throws SoftpromptError "data" naming the row whose label is none of its choices.
 */
export function encodeRows(
  task: Task,
  rows: readonly Row[],
  tokenizer: Tokenizer,
  maxInputTokens: number,
  rules?: EncodingRules,
): EncodedRow[] {
  const encoded = encode(rows, task, tokenizer, { maxInputTokens, rules });
  for (const [n, row] of rows.entries())
    if (encoded[n]!.choices !== null && encoded[n]!.gold < 0)
      throw new SoftpromptError("data", "the row's label is none of its choices", {
        where: row.id,
        expected: Object.keys(choicesOf(task, row)!).join(", "),
        got: row.label ?? "no label",
      });
  return encoded;
}

/** What a user should know of these inputs: cuts, unknown characters, control tokens, rows that became equal. */
export function rowNotices(
  rows: readonly Row[],
  encoded: readonly EncodedRow[],
  tokenizer: Tokenizer,
  maxInputTokens: number,
  rules?: EncodingRules,
): string[] {
  return inputNotices({ rows, encoded }, tokenizer, { maxInputTokens, rules });
}
