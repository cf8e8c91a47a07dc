/**
 * @file What a user should know of rows that became ids: cuts, unknown characters, control tokens, rows that became equal.
 *
 * In: rows and their EncodedRows. Out: notices, one sentence each; what they name of the user's data is quoted as JSON, so
 * that no control character reaches a terminal.
 */
import { show } from "../base/errors.js";
import type { Row, Task } from "../data/row.js";
import type { EncodedRow } from "./batch.js";
import type { EncodeOptions } from "./encode.js";
import type { Tokenizer } from "./tokenizer.js";

/** Rows beside their ids: the same number of both, in the same order. */
export interface RowsAndIds {
  readonly rows: readonly Row[];
  readonly encoded: readonly EncodedRow[];
}

/** @param options as they were given to `encodeRows`. */
export function encodingNotices(
  { rows, encoded }: RowsAndIds,
  task: Pick<Task, "maxTargetTokens">,
  tokenizer: Tokenizer,
  options: EncodeOptions,
): string[] {
  return [
    cutInputs(encoded, options.maxInputTokens),
    cutTargets(encoded, task.maxTargetTokens),
    unknownCharacters({ rows, encoded }, tokenizer),
    equalRows({ rows, encoded }),
    ...(options.rules?.guardFields ? [] : [controlTokens({ rows, encoded }, tokenizer)]),
  ].filter((notice) => notice !== null);
}

/** Also what JSON leaves as it is and a terminal may obey: C1 controls, directions of writing, line separators. */
const quoted = (text: string) =>
  JSON.stringify(show(text, 40)).replace(
    /[\u007f-\u009f\u2028\u2029]|\p{Cf}/gu,
    (c) => `\\u{${c.codePointAt(0)!.toString(16)}}`,
  );
const sum = (numbers: readonly number[]) => numbers.reduce((a, b) => a + b, 0);

function cutInputs(encoded: readonly EncodedRow[], limit: number): string | null {
  const cut = encoded.filter((row) => row.truncated);
  if (cut.length === 0) return null;
  const head = `${cut.length} of ${encoded.length} inputs are longer than ${limit} tokens`;
  const lost = sum(cut.map((row) => row.cut?.tokens ?? 0));
  const byField = new Map<string, number>();
  for (const row of cut) for (const name of row.cut?.fields ?? []) byField.set(name, (byField.get(name) ?? 0) + 1);
  const fields = [...byField].map(([name, count]) => `{${show(name, 40)}} in ${count}`).join(", ");
  const what = fields === "" ? "lose their tail" : `lose the end of ${fields}`;
  return `${head} and ${what}, ${lost} tokens in all (--max-input-tokens)`;
}

function cutTargets(encoded: readonly EncodedRow[], limit: number): string | null {
  const cut = encoded.filter((row) => row.targetCut !== undefined);
  if (cut.length === 0) return null;
  return `${cut.length} of ${encoded.length} targets are longer than ${limit} tokens and are cut, ${sum(cut.map((row) => row.targetCut!))} tokens in all (--max-target-tokens)`;
}

/** Rows where half of the ids are unknown are hardly read at all. */
const mostlyUnknown = 0.5;

function unknownCharacters({ rows, encoded }: RowsAndIds, tokenizer: Tokenizer): string | null {
  const { unkId } = tokenizer;
  if (unkId === undefined) return null;
  const unknown = encoded.map((row) => row.input.reduce((count, id) => count + (id === unkId ? 1 : 0), 0));
  const some = unknown.filter((count) => count > 0).length;
  if (some === 0) return null;
  const at = unknown.findIndex((count) => count > 0);
  const character = [...rows[at]!.input].find((c) => tokenizer.encode(c).includes(unkId));
  const example = character === undefined ? "" : `, e.g. ${quoted(character)} in ${show(rows[at]!.id, 60)}`;
  const mostly = unknown.filter((count, i) => count >= mostlyUnknown * (encoded[i]!.input.length - 1)).length;
  return `${some} of ${rows.length} rows hold characters that the tokenizer does not know${example}${
    mostly > 0 ? `; ${mostly} become mostly unknown tokens` : ""
  }`;
}

/** Rows that a model cannot tell apart though they are labelled differently. */
function equalRows({ rows, encoded }: RowsAndIds): string | null {
  const seen = new Map<string, number>();
  let count = 0;
  let example = "";
  for (const [i, { input }] of encoded.entries()) {
    const key = Buffer.from(input.buffer, input.byteOffset, input.byteLength).toString("latin1");
    const before = seen.get(key);
    if (before === undefined) {
      seen.set(key, i);
      continue;
    }
    const [a, b] = [rows[before]!, rows[i]!];
    if (a.label === null || b.label === null || a.label === b.label) continue;
    if (count === 0) example = `${show(a.id, 60)} (${quoted(a.label)}) and ${show(b.id, 60)} (${quoted(b.label)})`;
    count++;
  }
  if (count === 0) return null;
  return `${count} of ${rows.length} rows become the same ids as a row with another label, e.g. ${example}`;
}

function controlTokens({ rows, encoded }: RowsAndIds, tokenizer: Tokenizer): string | null {
  const { controls } = tokenizer;
  if (controls.size === 0) return null;
  let count = 0;
  let example = "";
  for (const [i, { input }] of encoded.entries()) {
    const row = rows[i]!;
    // The ids say fast that there is none; what is the template's own is no user's.
    const ids = new Set([...input.subarray(0, -1)].filter((id) => controls.has(id) && id !== tokenizer.unkId));
    if (ids.size === 0) continue;
    const text = row.fields === undefined ? [row.input] : row.fields.map(({ from, to }) => row.input.slice(from, to));
    const found = [...ids].map((id) => controls.get(id)!).find((token) => text.some((t) => t.includes(token)));
    if (found === undefined) continue;
    if (count === 0) example = `${quoted(found)} in ${show(row.id, 60)}`;
    count++;
  }
  if (count === 0) return null;
  return `${count} of ${rows.length} rows hold the text of a control token, which the model reads as that token, e.g. ${example}`;
}
