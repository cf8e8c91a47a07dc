/**
 * @file Rows as token ids, and batches of them as padded arrays. In: Row, Task, Tokenizer. Out: EncodedRow, Batch.
 */
import { SoftpromptError } from "../base/errors.js";
import type { Row, Task } from "../data/row.js";
import type { Batch, EncodedRow } from "../text/batch.js";
import type { Tokenizer } from "../text/tokenizer.js";

/** The labels a row can have, in ranking order, with their words; null for free text. */
export function choicesOf(task: Task, row: Row): Readonly<Record<string, string>> | null {
  return row.choices ?? task.verbalizer;
}

/**
 * Encodes rows; equal texts of labels are encoded once.
 *
 * @param maxInputTokens including end-of-sequence; longer inputs lose their tail.
 * @throws SoftpromptError "data" naming the row whose label or target cannot be used.
 */
export function encodeRows(
  task: Task,
  rows: readonly Row[],
  tokenizer: Tokenizer,
  maxInputTokens: number,
): EncodedRow[] {
  const targets = new Map<string, Int32Array>();
  const target = (text: string) => {
    let ids = targets.get(text);
    if (ids === undefined) {
      ids = Int32Array.from([...tokenizer.encode(task.targetPrefix + text), tokenizer.eosId]);
      targets.set(text, ids);
    }
    return ids;
  };
  return rows.map((row) => {
    const ids = tokenizer.encode(row.input);
    const cut = ids.slice(0, maxInputTokens - 1);
    const choices = choicesOf(task, row);
    const labels = choices === null ? [] : Object.keys(choices);
    const gold = row.label === null ? -1 : labels.indexOf(row.label);
    if (choices !== null && gold < 0)
      throw new SoftpromptError("data", "the row's label is none of its choices", {
        where: row.id,
        expected: labels.join(", "),
        got: row.label ?? "no label",
      });
    return {
      id: row.id,
      input: Int32Array.from([...cut, tokenizer.eosId]),
      target: target(row.target),
      choices: choices === null ? null : Object.values(choices).map(target),
      gold,
      truncated: cut.length < ids.length,
    };
  });
}

/** Pads rows to the longest of them. Padding id is 0; the masks say what counts. */
export function collate(rows: readonly EncodedRow[]): Batch {
  const B = rows.length;
  const T = Math.max(...rows.map((row) => row.input.length));
  const U = Math.max(...rows.map((row) => row.target.length));
  const inputIds = new Int32Array(B * T);
  const inputMask = new Int32Array(B * T);
  const targetIds = new Int32Array(B * U);
  const targetMask = new Int32Array(B * U);
  for (const [b, row] of rows.entries()) {
    inputIds.set(row.input, b * T);
    inputMask.fill(1, b * T, b * T + row.input.length);
    targetIds.set(row.target, b * U);
    targetMask.fill(1, b * U, b * U + row.target.length);
  }
  return {
    size: B,
    inputIds,
    inputMask,
    inputLength: T,
    targetIds,
    targetMask,
    targetLength: U,
    ids: rows.map((row) => row.id),
  };
}
