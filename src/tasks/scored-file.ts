/**
 * @file One file of labelled rows for a task that an adapter recorded: what `eval --adapter A --test FILE` scores.
 */
import { basename } from "node:path";
import { SoftpromptError } from "../base/errors.js";
import type { Row, Task } from "../data/row.js";
import { readTable } from "../data/table.js";
import { columnValue, compileTemplate } from "../data/template.js";
import { declaredReader } from "./choices.js";
import { asRecorded, type DataOptions, loadData } from "./data.js";

/** @throws SoftpromptError "data" (the file, a row of it, no column of labels). */
export async function loadScored(
  recorded: Task,
  file: string,
  options: DataOptions,
): Promise<{ readonly task: Task; readonly rows: readonly Row[] }> {
  const declared = options.template === undefined ? declaredReader(recorded) : null;
  if (declared !== null) return { task: recorded, rows: await officialRows(recorded, file, declared, options) };
  const { validation: _, test: __, ...shared } = options;
  const all = asRecorded({ ...shared, train: file }, recorded);
  const column = all.labelColumn ?? all.targetColumn ?? (await answerColumn(recorded, file, all));
  const { verbalizer } = recorded;
  const named = verbalizer === null ? { targetColumn: column } : { labelColumn: column };
  // the file is also given as validation, so that no rows are held out
  const { task, train } = await loadData({ ...all, ...named, validation: file });
  return { task: { ...task, ...(recorded.scoring && { scoring: recorded.scoring }) }, rows: train };
}

/** Rows of a declared task's own file, as its folder would give them. */
async function officialRows(
  task: Task,
  file: string,
  read: NonNullable<ReturnType<typeof declaredReader>>,
  { skipBadRows = false }: DataOptions,
): Promise<Row[]> {
  const template = compileTemplate(task.template);
  const rows: Row[] = [];
  for (const { fields, line, where = `${basename(file)}:${line}` } of (await readTable(file, { skipBadRows })).rows)
    try {
      for (const { part, label, ...example } of read(fields, { where, split: "validation" })) {
        const id = part === "" ? where : `${where}#${part}`;
        const target = example.target ?? (label === null ? "" : (task.verbalizer?.[label] ?? ""));
        rows.push({
          id,
          input: template.fill(example.fields, id),
          target,
          label,
          references: example.references ?? [target],
          ...(example.group === undefined ? {} : { group: example.group }),
          ...(example.choices === undefined ? {} : { choices: example.choices }),
        });
      }
    } catch (error) {
      if (!skipBadRows || !(error instanceof SoftpromptError) || error.kind !== "data") throw error;
    }
  return rows;
}

/** The column with the answers: "label" ("target" of free text), or the only other one that holds nothing but labels of the task. */
async function answerColumn(task: Task, file: string, options: DataOptions): Promise<string> {
  const header = options.header;
  const { columns, rows } = await readTable(file, header === undefined ? {} : { header });
  const usual = task.verbalizer === null ? "target" : "label";
  if (columns.includes(usual)) return usual;
  const holes = compileTemplate(task.template).fields;
  const labels = Object.keys(task.verbalizer ?? {});
  const fitting = columns.filter(
    (column) =>
      !holes.includes(column) &&
      rows.every(({ fields }) => labels.includes(String(columnValue(fields, column)).trim())),
  );
  if (fitting.length === 1) return fitting[0]!;
  const flag = task.verbalizer === null ? "--target-column" : "--label-column";
  throw new SoftpromptError("data", "which column holds the answers?", {
    where: basename(file),
    expected: fitting.length === 0 ? `a column with ${labels.join(", ") || "the texts to be written"}` : "one of them",
    got: (fitting.length === 0 ? columns : fitting).join(", "),
    hint: `say it with ${flag}`,
  });
}
