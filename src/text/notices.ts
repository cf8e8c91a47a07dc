/**
 * @file What a user should know of rows that became ids: cuts, unknown characters, control tokens, rows that became equal.
 *
 * In: rows and their EncodedRows. Out: notices, one sentence each; what they name of the user's data is quoted as JSON, so
 * that no control character reaches a terminal.
 */
import type { Row, Task } from "../data/row.js";
import { labelOfText } from "../data/verbalizer.js";
import { type EncodedRow, textIds } from "./batch.js";
import type { EncodeOptions } from "./encode.js";
import { type ContextWindow, rulesOf } from "./rules.js";
import type { Tokenizer } from "./tokenizer.js";

/** Rows beside their ids: the same number of both, in the same order. */
export interface RowsAndIds {
  readonly rows: readonly Row[];
  readonly encoded: readonly EncodedRow[];
}

/** @param options as they were given to `tokenizeRows`. */
export function encodingNotices(
  { rows, encoded }: RowsAndIds,
  task: Pick<Task, "maxTargetTokens">,
  tokenizer: Tokenizer,
  options: EncodeOptions,
): string[] {
  const targets = cutTargets(encoded, task.maxTargetTokens);
  return [...inputNotices({ rows, encoded }, tokenizer, options), ...(targets === null ? [] : [targets])];
}

/** The same of the inputs alone. */
export function inputNotices({ rows, encoded }: RowsAndIds, tokenizer: Tokenizer, options: EncodeOptions): string[] {
  return [
    cutInputs(encoded, options.maxInputTokens, rulesOf(tokenizer, options).window),
    outOfSight(encoded, rulesOf(tokenizer, options).window),
    unknownCharacters({ rows, encoded }, tokenizer),
    unwritableWords(rows, tokenizer, options),
    equalRows({ rows, encoded }),
    ...(rulesOf(tokenizer, options).guardFields ? [] : [controlTokens({ rows, encoded }, tokenizer)]),
  ].filter((notice) => notice !== null);
}

const escaped = (c: string) => `\\u{${c.codePointAt(0)!.toString(16)}}`;
/** The user's text, shortened. Characters that JSON does not escape but a terminal may interpret are escaped too. */
const quoted = (text: string) =>
  JSON.stringify(text.length > 40 ? `${text.slice(0, 39)}…` : text).replace(
    /[\u007f-\u009f\u2028\u2029]|\p{Cf}/gu,
    escaped,
  );
/** A name from the user; plain names are not quoted. */
const named = (name: string) => (/^[\p{L}\p{N}\p{P} ]{1,60}$/u.test(name) ? name : quoted(name));
const sum = (numbers: readonly number[]) => numbers.reduce((a, b) => a + b, 0);

function cutInputs(encoded: readonly EncodedRow[], limit: number, window?: ContextWindow): string | null {
  const cut = encoded.filter((row) => row.truncated);
  if (cut.length === 0) return null;
  const byWindow = cut.some((row) => row.cut?.byWindow);
  const head = byWindow
    ? `${cut.length} of ${encoded.length} inputs do not fit into the model's ${window?.positions} positions beside ${window?.prompt} virtual tokens and the target`
    : `${cut.length} of ${encoded.length} inputs are longer than ${limit} tokens`;
  const lost = sum(cut.map((row) => row.cut?.tokens ?? 0));
  const byField = new Map<string, number>();
  for (const row of cut) for (const name of row.cut?.fields ?? []) byField.set(name, (byField.get(name) ?? 0) + 1);
  const fields = [...byField].map(([name, count]) => `{${named(name)}} in ${count}`).join(", ");
  const what = fields === "" ? "lose their tail" : `lose the end of ${fields}`;
  return `${head} and ${what}, ${lost} tokens in all${byWindow ? "" : " (--max-input-tokens)"}`;
}

/** With a sliding window the last tokens of a long row see the prompt only indirectly, through earlier tokens. */
function outOfSight(encoded: readonly EncodedRow[], window?: ContextWindow): string | null {
  const { sliding, prompt } = window ?? { prompt: 0 };
  if (sliding === undefined || prompt === 0) return null;
  const long = encoded.filter((row) => prompt + textIds(row).length + row.target.length > sliding).length;
  if (long === 0) return null;
  return `${long} of ${encoded.length} rows with ${prompt} virtual tokens are longer than the model's sliding window of ${sliding} positions: their last tokens do not see the whole prompt`;
}

function cutTargets(encoded: readonly EncodedRow[], limit: number): string | null {
  const cut = encoded.filter((row) => row.targetCut !== undefined);
  if (cut.length === 0) return null;
  return `${cut.length} of ${encoded.length} targets are longer than ${limit} tokens and are cut, ${sum(cut.map((row) => row.targetCut!))} tokens in all (--max-target-tokens)`;
}

/** If less than this share of a row is left, the model reads hardly anything of it. */
const mostlyUnknown = 0.5;

const invisible = /[\p{Default_Ignorable_Code_Point}\p{Cc}\p{Cf}\p{M}\p{Z}]/u;

function unknownCharacters({ rows, encoded }: RowsAndIds, tokenizer: Tokenizer): string | null {
  const { unkId } = tokenizer;
  if (unkId === undefined) return null;
  const unknown = encoded.map((row) => textIds(row).reduce((count, id) => count + (id === unkId ? 1 : 0), 0));
  const some = unknown.filter((count) => count > 0).length;
  if (some === 0) return null;
  const at = unknown.findIndex((count) => count > 0);
  const characters = [...new Set(rows[at]!.input)].filter((c) => tokenizer.encode(c).includes(unkId));
  // one that can be seen, where there is one: not a joiner or the sign that makes an emoji colourful
  const character = characters.find((c) => !invisible.test(c)) ?? characters[0];
  const shown = character === undefined ? "" : quoted(character).replace(invisible, escaped);
  const example = shown === "" ? "" : `, e.g. ${shown} in ${named(rows[at]!.id)}`;
  const mostly = rows.filter(
    (row, i) => unknown[i]! > 0 && keptShare(row, encoded[i]!, tokenizer) < mostlyUnknown,
  ).length;
  return `${some} of ${rows.length} rows hold characters that the tokenizer does not know${example}${
    mostly > 0 ? `; ${mostly} become mostly unknown tokens` : ""
  }`;
}

/** Words of labels that no ids of this tokenizer give back: whoever generates never says them. */
function unwritableWords(rows: readonly Row[], tokenizer: Tokenizer, options: EncodeOptions): string | null {
  const userText = rulesOf(tokenizer, options).guardFields ? true : [];
  const answers = rows.flatMap(({ label, target, choices }) =>
    label === null || choices !== undefined ? [] : [[target, label] as const],
  );
  const lost = [...new Map(answers)].filter(
    ([words, label]) =>
      labelOfText(tokenizer.decode(tokenizer.encode(words, { userText })), { [label]: words }) === null,
  );
  if (lost.length === 0) return null;
  const list = lost.slice(0, 3).map(([words, label]) => `${quoted(words)} of the label ${named(label)}`);
  const more = lost.length > list.length ? ` and ${lost.length - list.length} more` : "";
  return `the tokenizer cannot write ${list.join(", ")}${more} as it stands: a generated answer is never this label (a ranked one may be)`;
}

/** How many characters of the user's text the ids give back. Neighbouring unknown characters are one token. */
function keptShare(row: Row, encoded: EncodedRow, tokenizer: Tokenizer): number {
  if (encoded.truncated) return 1;
  const size = (text: string) => text.replace(/\p{White_Space}/gu, "").length;
  const written =
    row.fields === undefined ? size(row.input) : sum(row.fields.map((f) => size(row.input.slice(f.from, f.to))));
  const template = size(row.input) - written;
  return written === 0 ? 1 : (size(tokenizer.decode([...textIds(encoded)])) - template) / written;
}

/** Rows that a model cannot tell apart though they are labelled differently. */
function equalRows({ rows, encoded }: RowsAndIds): string | null {
  const seen = new Map<number, number[]>(); // by a hash: the ids themselves as text would be a copy of all data
  let count = 0;
  let example = "";
  for (const [i, row] of encoded.entries()) {
    const ids = textIds(row);
    const key = ids.reduce((hash, id) => (Math.imul(hash, 0x01000193) ^ id) | 0, ids.length);
    const alike = seen.get(key);
    if (alike === undefined) {
      seen.set(key, [i]);
      continue;
    }
    const before = alike.find((n) => same(textIds(encoded[n]!), ids));
    if (before === undefined) {
      alike.push(i);
      continue;
    }
    const [a, b] = [rows[before]!, rows[i]!];
    if (a.label === null || b.label === null || a.label === b.label) continue;
    if (count === 0) example = `${named(a.id)} (${quoted(a.label)}) and ${named(b.id)} (${quoted(b.label)})`;
    count++;
  }
  if (count === 0) return null;
  return `${count} of ${rows.length} rows become the same ids as a row with another label, e.g. ${example}`;
}

function same(a: Int32Array, b: Int32Array): boolean {
  return a.length === b.length && a.every((id, i) => id === b[i]);
}

function controlTokens({ rows, encoded }: RowsAndIds, tokenizer: Tokenizer): string | null {
  const { controls } = tokenizer;
  if (controls.size === 0) return null;
  const steers = new Uint8Array(tokenizer.size);
  for (const [id, { special }] of controls) if (special && id !== tokenizer.unkId) steers[id] = 1;
  let count = 0;
  let example = "";
  for (const [i, { input }] of encoded.entries()) {
    const row = rows[i]!;
    // The ids show quickly when there is no control token. Those that the template itself writes do not count.
    const ids = new Set(input.subarray(0, -1).filter((id) => steers[id] === 1));
    if (ids.size === 0) continue;
    const text = row.fields === undefined ? [row.input] : row.fields.map(({ from, to }) => row.input.slice(from, to));
    const found = [...ids].map((id) => controls.get(id)!.content).find((token) => text.some((t) => t.includes(token)));
    if (found === undefined) continue;
    if (count === 0) example = `${quoted(found)} in ${named(row.id)}`;
    count++;
  }
  if (count === 0) return null;
  return `${count} of ${rows.length} rows hold the text of a control token, which the model reads as that token, e.g. ${example}`;
}
