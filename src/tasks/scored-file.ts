/**
 * @file One file of labelled rows for a task that an adapter recorded: what `eval --adapter A --test FILE` scores.
 */
import { basename } from "node:path";
import { SoftpromptError } from "../base/errors.js";
import { pickOptions } from "../base/options.js";
import { rowsOf } from "../data/dataset.js";
import type { Row, Task } from "../data/row.js";
import { type Fields, skippedNotice, type TableOptions } from "../data/rows.js";
import { readTable } from "../data/table.js";
import { columnValue, compileTemplate } from "../data/template.js";
import { declaredReader } from "./choices.js";
import { asRecorded, type DataOptions, dataOptions, loadData, withColumnsOf } from "./data.js";

/** Rows of one file, and what the reader should know of them. */
export interface ScoredFile {
  readonly task: Task;
  readonly rows: readonly Row[];
  readonly notices: readonly string[];
}

/** @throws SoftpromptError "data" (the file, a row of it, no column of labels), "usage" (an option that the task's own files cannot have). */
export async function loadScored(
  recorded: Task,
  file: string,
  options: DataOptions,
  signal?: AbortSignal,
): Promise<ScoredFile> {
  const declared = options.template === undefined ? declaredReader(recorded) : null;
  if (declared !== null) return officialRows(recorded, file, declared, options, signal);
  // the file is loaded as training rows, and every row of it is scored: what draws a few training rows is not for it
  const { validation: _, test: __, fewShot: ___, fewShotPer: ____, ...shared } = options;
  const found = recorded.columns === undefined ? [] : (await readTable(file, tableOptions(options, signal))).columns;
  const all = asRecorded(
    { ...shared, train: file },
    withColumnsOf(recorded, (column) => found.includes(column)),
  );
  const column = all.labelColumn ?? all.targetColumn ?? (await answerColumn(recorded, file, all));
  const { verbalizer } = recorded;
  const named = verbalizer === null ? { targetColumn: column } : { labelColumn: column };
  const {
    task,
    train,
    notices = [],
  } = await loadData({
    ...pickOptions(dataOptions, { ...all, ...named, validationShare: 0 }),
    signal,
  });
  return { task: { ...task, ...(recorded.scoring && { scoring: recorded.scoring }) }, rows: train, notices };
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
      expected: `no column, or a template of your own beside it (the adapter's task is ${task.name})`,
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

/** The column with the answers: "label" ("target" of free text), or the only other one that holds nothing but labels of the task. */
async function answerColumn(task: Task, file: string, options: DataOptions): Promise<string> {
  const { columns, rows } = await readTable(file, tableOptions(options));
  const usual = task.verbalizer === null ? "target" : "label";
  if (columns.includes(usual)) return usual;
  const holes = compileTemplate(task.template).fields;
  const labels = Object.keys(task.verbalizer ?? {});
  // bad rows shall not hide the column that is right in most others
  const enough = options.skipBadRows ? rows.length / 2 : rows.length - 1;
  const fitting = columns.filter((column) => {
    const isLabel = ({ fields }: { fields: Fields }) => labels.includes(String(columnValue(fields, column)).trim());
    return !holes.includes(column) && rows.filter(isLabel).length > enough;
  });
  if (fitting.length === 1) return fitting[0]!;
  const flag = task.verbalizer === null ? "--target-column" : "--label-column";
  throw new SoftpromptError("data", "which column holds the answers?", {
    where: basename(file),
    expected: fitting.length === 0 ? `a column with ${labels.join(", ") || "the texts to be written"}` : "one of them",
    got: (fitting.length === 0 ? columns : fitting).join(", "),
    hint: `say it with ${flag}`,
  });
}
