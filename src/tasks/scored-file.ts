/**
 * @file One file of labelled rows: what `eval --test FILE` scores, for the task that an adapter recorded or that the options say.
 */
import { basename } from "node:path";
import { SoftpromptError } from "../base/errors.js";
import { pickOptions } from "../base/options.js";
import { rowsOf } from "../data/dataset.js";
import type { Row, Task } from "../data/row.js";
import { type Fields, skippedNotice, type TableOptions } from "../data/rows.js";
import { readTable } from "../data/table.js";
import { columnValue, compileTemplate } from "../data/template.js";
import { labelText, spelling } from "../data/verbalizer.js";
import { declaredReader } from "./choices.js";
import { asRecorded, type DataOptions, dataOptions, loadData, loadTask, taskOptions, withColumnsOf } from "./data.js";

/** Rows of one file, and what the reader should know of them. */
export interface ScoredFile {
  readonly task: Task;
  readonly rows: readonly Row[];
  readonly notices: readonly string[];
}

/**
 * @param recorded the adapter's task; without it the options say how texts are put, and where no label words are given the file's labels
 * are their own. @throws SoftpromptError "data" (the file, a row of it, no column of labels), "usage" (an option that the task's own files
 * cannot have, or nothing that says how texts are put).
 */
export async function loadScored(
  recorded: Task | null,
  file: string,
  options: DataOptions,
  signal?: AbortSignal,
): Promise<ScoredFile> {
  if (recorded === null && options.template === undefined) {
    // the task as said has its prefixes and the place of its virtual tokens already
    const { inputPrefix: _, promptPosition: __, format: ___, ...rest } = options;
    return loadScored(saidTask(options), file, rest, signal);
  }
  const declared = recorded === null || options.template !== undefined ? null : declaredReader(recorded);
  if (declared !== null) return officialRows(recorded!, file, declared, options, signal);
  // the file is loaded as training rows, and every row of it is scored: what draws a few training rows is not for it
  const { validation: _, test: __, fewShot: ___, fewShotPer: ____, ...shared } = options;
  let read: ReturnType<typeof readTable> | undefined;
  const table = () => (read ??= readTable(file, tableOptions(options, signal)));
  const found = recorded?.columns === undefined ? [] : (await table()).columns;
  const all = asRecorded(
    { ...shared, train: file },
    recorded && withColumnsOf(recorded, (column) => found.includes(column)),
  );
  const known = recorded ?? (options.verbalizer && loadTask(pickOptions(taskOptions, options))) ?? null;
  const column = all.labelColumn ?? all.targetColumn ?? answerColumn(known, file, all, await table());
  const written = known === null ? column === all.targetColumn || column === "target" : known.verbalizer === null;
  const named = written ? { targetColumn: column } : { labelColumn: column };
  const {
    task,
    train,
    notices = [],
  } = await loadData({
    ...pickOptions(dataOptions, { ...all, ...named, validationShare: 0 }),
    signal,
  });
  return { task: { ...task, ...(recorded?.scoring && { scoring: recorded.scoring }) }, rows: train, notices };
}

/** The declared task or the bundled rows' one that the options name. */
function saidTask(options: DataOptions): Task {
  const task = options.task === undefined ? null : loadTask(pickOptions(taskOptions, options));
  if (task !== null) return task;
  throw new SoftpromptError("usage", "nothing says how the texts are put", {
    where: "template",
    expected: "a text with {column} holes, or an adapter that records its task",
    hint: 'e.g. --template "review: {text}" --label-column COLUMN',
  });
}

/** How a file is read, of the options that say it. */
const tableOptions = ({ header, delimiter, quotes, skipBadRows }: DataOptions, signal?: AbortSignal): TableOptions => ({
  ...(header !== undefined && { header }),
  ...(delimiter !== undefined && { delimiter }),
  ...(quotes !== undefined && { quotes }),
  ...(skipBadRows !== undefined && { skipBadRows }),
  ...(signal && { signal }),
});

/** Rows of a declared task's own file, as its folder would give them. */
async function officialRows(
  task: Task,
  file: string,
  read: NonNullable<ReturnType<typeof declaredReader>>,
  options: DataOptions,
  signal: AbortSignal | undefined,
): Promise<ScoredFile> {
  const { columns = {}, labelColumn, targetColumn } = options;
  if (targetColumn !== undefined)
    throw new SoftpromptError("usage", "the files of a declared task say themselves where the answers are", {
      where: "targetColumn",
      expected: `no column, or a template of your own beside it (the task is ${task.name})`,
      got: targetColumn,
    });
  const renamed = Object.entries({ ...(labelColumn !== undefined && { label: labelColumn }), ...columns });
  const named = (fields: Fields): Fields =>
    renamed.length === 0
      ? fields
      : { ...fields, ...Object.fromEntries(renamed.map(([name, column]) => [name, columnValue(fields, column)])) };
  const how = tableOptions(options, signal);
  const name = basename(file);
  const place = { path: file, name, table: () => readTable(file, how), row: (line: number) => `${name}:${line}` };
  const source = { task, read: (fields: Fields, at: Parameters<typeof read>[1]) => read(named(fields), at) };
  const { rows, skipped, bad, notices } = await rowsOf(source, place, "validation", how);
  return { task, rows, notices: [...notices, ...skippedNotice(skipped, bad)] };
}

/**
 * The column with the answers: "label" ("target" of free text), or the only other one that holds labels of the task: in every row, or
 * where no column does so in most rows, because a wrong label shall be told of by its row.
 * @param task null where the file's own labels are the task's
 */
function answerColumn(
  task: Task | null,
  file: string,
  options: DataOptions,
  { columns, rows }: Awaited<ReturnType<typeof readTable>>,
): string {
  const flag = task?.verbalizer === null ? "--target-column" : "--label-column";
  const usual = task === null ? ["label", "target"] : task.verbalizer === null ? ["target"] : ["label"];
  const there = usual.find((column) => columns.includes(column));
  if (there !== undefined) return there;
  const holes = compileTemplate(options.template!).fields.map((hole) => options.columns?.[hole] ?? hole);
  const labels = Object.keys(task?.verbalizer ?? {});
  const spellings = new Set(labels.map((label) => spelling(labelText(label)!)));
  const isLabel = (value: unknown) => spellings.has(spelling(labelText(value) ?? ""));
  const counts = columns
    .filter((column) => !holes.includes(column))
    .map((column) => ({ column, n: rows.filter(({ fields }) => isLabel(columnValue(fields, column))).length }));
  const holding = (more: number) => counts.filter(({ n }) => n > more).map(({ column }) => column);
  const all = holding(rows.length - 1);
  const fitting = all.length > 0 ? all : holding(rows.length / 2);
  if (fitting.length === 1) return fitting[0]!;
  throw new SoftpromptError("data", "which column holds the answers?", {
    where: basename(file),
    expected: fitting.length === 0 ? `a column with ${labels.join(", ") || "the answers"}` : "one of them",
    got: (fitting.length === 0 ? columns : fitting).join(", "),
    hint: `say it with ${flag}${task === null ? ", or --target-column for written texts" : ""}`,
  });
}
