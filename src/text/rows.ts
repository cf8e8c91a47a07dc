/**
 * @file Labelled rows as token ids. Uses text/encode.ts, encodes each row once, and checks that every label is among its row's choices.
 *
 * In: Task, rows, Tokenizer. Out: EncodedRow. A row's ids are kept as long as the row is: the memory estimate, the plan, the neuron
 * scores, the training and every evaluation ask for the same rows, and tokenizing takes longer than the work that most of them do with the
 * ids.
 */
import { SoftpromptError } from "../base/errors.js";
import type { Row, Task } from "../data/row.js";
import type { EncodedRow } from "./batch.js";
import { type EncodedTask, tokenizeRows } from "./encode.js";
import { inputNotices } from "./notices.js";
import type { EncodingRules } from "./rules.js";
import type { Tokenizer } from "./tokenizer.js";

/** The labels a row can have, in ranking order, with their words; null for free text. */
export function choicesOf(task: Task, row: Row): Readonly<Record<string, string>> | null {
  return row.choices ?? task.verbalizer;
}

/** Whether answers are generated freely. False if each row has its own choices (COPA), although no label has words then. */
export function isFreeText({ task, train }: { readonly task: Task; readonly train: readonly Row[] }): boolean {
  return train.some((row) => choicesOf(task, row) === null);
}

/** Whether a task's answers are written: as it says, else where rows have nothing to choose from. */
export function isWritten(data: { readonly task: Task; readonly train: readonly Row[] }): boolean {
  return data.task.generative ?? isFreeText(data);
}

/**
 * Ids of rows by what they depend on: tokenizer, limits, task, row. Rows are immutable, and the weak references here do not keep them
 * alive.
 */
const kept = new WeakMap<Tokenizer, Map<string, WeakMap<Row, EncodedRow>>>();

function keptFor(tokenizer: Tokenizer, task: EncodedTask, limits: object): WeakMap<Row, EncodedRow> {
  const { name, verbalizer, maxTargetTokens, targetPrefix, openAnswers } = task;
  const words = verbalizer && Object.entries(verbalizer);
  const key = JSON.stringify([name, words, maxTargetTokens, targetPrefix, openAnswers, limits]);
  const byKey = kept.get(tokenizer) ?? new Map<string, WeakMap<Row, EncodedRow>>();
  kept.set(tokenizer, byKey);
  const rows = byKey.get(key) ?? new WeakMap<Row, EncodedRow>();
  byKey.set(key, rows);
  return rows;
}

/**
 * Rows as ids, in order. A row that was encoded before, by the same tokenizer under the same task and limits, is not encoded again.
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
  const known = keptFor(tokenizer, task, { maxInputTokens, rules });
  const missing = rows.filter((row) => !known.has(row));
  // rows that are all known have passed the checks of task and limits, and the label words are not encoded again; without rows they are checked
  if (missing.length > 0 || rows.length === 0)
    for (const [n, encoded] of tokenizeRows(missing, task, tokenizer, { maxInputTokens, rules }).entries())
      known.set(missing[n]!, encoded);
  return rows.map((row) => {
    const encoded = known.get(row)!;
    if (encoded.choices !== null && encoded.gold < 0)
      throw new SoftpromptError("data", "the row's label is none of its choices", {
        where: row.id,
        expected: Object.keys(choicesOf(task, row)!).join(", "),
        got: row.label ?? "no label",
      });
    return encoded;
  });
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
