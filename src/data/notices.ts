/**
 * @file What a user should know about a dataset before training on it. Nothing here is an error, but each point can lead to wrong
 * conclusions.
 *
 * In: the task and its rows. Out: sentences, with a few examples each.
 */
import { codePoints } from "../base/printable.js";
import { positiveLabel } from "./metrics.js";
import type { Row, Task } from "./row.js";
import { examples } from "./rows.js";
import { spelling, visible } from "./verbalizer.js";

/** With fewer validation rows than this, the score is noisy. */
const fewRows = 10;
/** If there are more labels than this and all are numbers, they are probably a measured quantity, not classes. */
const fewNumbers = 20;

export type Splits = Readonly<Record<"train" | "validation" | "test", readonly Row[]>>;

/** A row whose text is blank, and in which columns. */
export interface EmptyRow {
  readonly id: string;
  readonly columns: readonly string[];
}

/** All notices about the rows and labels of a dataset. */
export function datasetNotices(task: Task, splits: Splits, empty: readonly EmptyRow[]): string[] {
  return [
    ...labelNotices(task, splits.train),
    ...emptyNotices(empty),
    ...leakNotices(splits),
    ...scoreNotices(task, splits),
  ];
}

/** Spellings that were merged into one label: "TRUE, True and true are one label, true". */
export function spellingNotice(column: string, spellings: ReadonlyMap<string, ReadonlySet<string>>): string[] {
  return [...spellings]
    .filter(([, forms]) => forms.size > 1)
    .map(([label, forms]) => `column ${column}: ${[...forms].sort().join(", ")} are taken as one label, ${label}`);
}

/** Labels that differ only in case: they are different labels, which may be meant or be a slip. */
export function caseNotice(column: string, labels: readonly string[]): string[] {
  const alike = new Map<string, string[]>();
  for (const label of labels) alike.set(label.toLowerCase(), [...(alike.get(label.toLowerCase()) ?? []), label]);
  const several = [...alike.values()].filter((list) => list.length > 1).map((list) => list.join(" and "));
  if (several.length === 0) return [];
  return [`column ${column}: labels that differ only in case are different labels: ${examples(several)}`];
}

function labelNotices({ verbalizer }: Task, train: readonly Row[]): string[] {
  if (verbalizer === null) return [];
  const labels = Object.keys(verbalizer);
  const notices: string[] = [];
  const alike = new Map<string, string[]>();
  for (const label of labels) alike.set(visible(label), [...(alike.get(visible(label)) ?? []), label]);
  const same = [...alike.values()].filter((list) => list.length > 1);
  if (same.length > 0)
    notices.push(
      `labels that look the same and are different: ${examples(same.map((list) => list.map((l) => `“${l}” (${codePoints(l)})`).join(" and ")))}`,
    );
  const missing = labels.filter((label) => /^(nan|none|null|n\/?a|<na>)$/i.test(label) && verbalizer[label] === label);
  if (missing.length > 0)
    notices.push(`the label ${missing.join(", ")} looks like a missing value; leave such rows out if it is one`);
  const numbers = labels.filter((label) => /^[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?$/i.test(label));
  if (numbers.length === labels.length && (labels.length > fewNumbers || numbers.some((n) => !/^[+-]?\d+$/.test(n))))
    notices.push(
      `the ${labels.length} labels are all numbers (${examples(labels)}): if they measure something, they are no classes`,
    );
  const counts = countLabels(train);
  if (counts.size === 1)
    notices.push(
      `all ${train.length} training rows have the label ${[...counts.keys()][0]}: there is nothing to learn`,
    );
  else {
    const without = labels.filter((label) => !counts.has(label));
    if (counts.size > 0 && without.length > 0) notices.push(`no training row has the label ${examples(without)}`);
  }
  return notices;
}

/** Rows in which a column holds blanks alone: they get an answer like any other. */
export function emptyNotices(empty: readonly EmptyRow[]): string[] {
  if (empty.length === 0) return [];
  const columns = [...new Set(empty.flatMap((row) => row.columns))];
  return [
    `${empty.length} row${empty.length === 1 ? " has" : "s have"} no text in ${columns.join(", ")}: ${examples(empty.map((row) => row.id))}`,
  ];
}

function leakNotices({ train, validation, test }: Splits): string[] {
  const notices: string[] = [];
  const seen = new Map(train.map((row) => [row.input, row.id]));
  for (const [name, rows] of [
    ["validation", validation],
    ["test", test],
  ] as const) {
    const both = rows.filter((row) => seen.has(row.input));
    if (both.length > 0)
      notices.push(
        `${both.length} of ${rows.length} ${name} rows have an input that also stands in the training rows: ${examples(both.map((row) => `${row.id} = ${seen.get(row.input)}`))}`,
      );
  }
  return notices;
}

function scoreNotices(task: Task, { validation }: Splits): string[] {
  const notices: string[] = [];
  if (validation.length > 0 && validation.length < fewRows)
    notices.push(
      `only ${validation.length} validation row${validation.length === 1 ? "" : "s"}: one answer is ${(100 / validation.length).toFixed(0)} points of the score`,
    );
  const f1 = task.metrics.filter((name) => name === "f1" || name === "f1a");
  const positive = positiveLabel(task);
  if (f1.length > 0 && positive !== null && task.scoring?.positiveLabel === undefined)
    notices.push(`${f1.join(" and ")} is that of the label ${positive} (positiveLabel says otherwise)`);
  return notices;
}

/** Label → rows, in order of appearance. A Map: labels may have any name. */
export function countLabels(rows: readonly Row[]): Map<string, number> {
  const counts = new Map<string, number>();
  for (const { label } of rows) if (label !== null) counts.set(label, (counts.get(label) ?? 0) + 1);
  return counts;
}

/** Texts of one column as labels: maps every spelling to its label. */
export function labelSpellings(texts: Iterable<string>): Map<string, Set<string>> {
  const byForm = new Map<string, Set<string>>();
  for (const text of texts) {
    const forms = byForm.get(spelling(text)) ?? new Set();
    byForm.set(spelling(text), forms.add(text));
  }
  // if each label has one spelling, it is kept; if one has several, all labels that have a plain spelling take it
  const several = [...byForm.values()].some((forms) => forms.size > 1);
  return new Map([...byForm].map(([form, forms]) => [several ? form : [...forms][0]!, forms]));
}

/** Said where a prompt that was trained on open answers (Task.openAnswers) shall write; null for all others. */
export function endNotice(task: Pick<Task, "openAnswers"> | null | undefined): string | null {
  return task?.openAnswers
    ? "this prompt learnt its label words without an end token, so what it writes goes on behind them: limit the tokens or give a stop text, or train it with --train-end (trainEnd)"
    : null;
}
