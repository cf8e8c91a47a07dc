/**
 * @file From a Row to token ids: truncation, targets, candidates.
 *
 * In: rows of the data room, a Task, a Tokenizer. Out: EncodedRow.
 * The encoder's text is cut on the right and always ends with end-of-sequence (fpt.md §2). `maxInputTokens` counts the
 * text with its end-of-sequence, never the prompt. Candidates are never cut: a shortened label would be another label.
 */
import { SoftpromptError } from "../base/errors.js";
import type { Row, Task } from "../data/row.js";
import type { EncodedRow } from "./batch.js";
import type { Tokenizer } from "./tokenizer.js";

export interface EncodeOptions {
  /** Longest input in tokens, end-of-sequence counted, prompt not. At least 2. */
  readonly maxInputTokens: number;
}

/** What encoding needs of a task. */
export type EncodedTask = Pick<Task, "name" | "verbalizer" | "maxTargetTokens" | "targetPrefix">;

/** Encodes rows in order. Throws SoftpromptError if two candidates of a row have the same ids (they could never be told apart). */
export function encodeRows(
  rows: readonly Row[],
  task: EncodedTask,
  tokenizer: Tokenizer,
  options: EncodeOptions,
): EncodedRow[] {
  if (!(options.maxInputTokens >= 2))
    throw new SoftpromptError("usage", "maxInputTokens is too small", {
      where: "maxInputTokens",
      expected: "at least 2: one token of text and the end-of-sequence",
      got: options.maxInputTokens,
    });
  const words = (text: string) => Int32Array.from([...tokenizer.encode(task.targetPrefix + text), tokenizer.eosId]);
  const encodeChoices = (choices: Readonly<Record<string, string>>, where: string) => {
    const encoded = Object.values(choices).map(words);
    const labels = Object.keys(choices);
    const seen = new Map<string, number>();
    encoded.forEach((ids, i) => {
      const key = ids.join(" ");
      const same = seen.get(key);
      // Two names of one entity may tokenise alike (ReCoRD): harmless, the first is ranked. Two labels may not.
      if (same !== undefined && choices === task.verbalizer)
        throw new SoftpromptError("data", `the labels ${labels[same]} and ${labels[i]} have the same tokens`, {
          where,
          expected: "label words that the tokenizer can tell apart",
          got: `${choices[labels[same]!]} and ${choices[labels[i]!]}`,
        });
      seen.set(key, i);
    });
    return { labels, encoded };
  };
  const shared = task.verbalizer === null ? null : encodeChoices(task.verbalizer, `task ${task.name}, verbalizer`);

  return rows.map((row) => {
    const ids = tokenizer.encode(row.input);
    const truncated = ids.length > options.maxInputTokens - 1;
    const kept = truncated ? ids.slice(0, options.maxInputTokens - 1) : ids;
    const choices = row.choices ? encodeChoices(row.choices, row.id) : shared;
    let target = words(row.target);
    if (choices === null && target.length > task.maxTargetTokens) {
      target = target.slice(0, task.maxTargetTokens);
      target[target.length - 1] = tokenizer.eosId;
    }
    return {
      id: row.id,
      input: Int32Array.from([...kept, tokenizer.eosId]),
      target,
      choices: choices?.encoded ?? null,
      gold: choices === null || row.label === null ? -1 : choices.labels.indexOf(row.label),
      truncated,
    };
  });
}

/** The ids of one text as an encoder input, as `encodeRows` makes them; for predictions on texts without a Row. */
export function encodeInput(text: string, tokenizer: Tokenizer, options: EncodeOptions): Int32Array {
  return Int32Array.from([...tokenizer.encode(text).slice(0, options.maxInputTokens - 1), tokenizer.eosId]);
}
