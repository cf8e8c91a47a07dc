/**
 * @file Datasets: a declared task with its folder, or the user's own files, as labelled text.
 *
 * In: a DatasetSpec. Out: Dataset, with sha256 of every file, few-shot sample and holdout taken, notices said.
 */
import { readdir } from "node:fs/promises";
import { basename, join, resolve } from "node:path";
import { nearest, SoftpromptError } from "../base/errors.js";
import { isObject } from "../base/json.js";
import { checkKeys, defineTask, type TaskDefinition } from "./define.js";
import type { Example } from "./records.js";
import type { Dataset, Row, Task } from "./row.js";
import { type Fields, type TableOptions, tableLimits } from "./rows.js";
import { type FewShot, holdout, sampleFewShot } from "./split.js";
import { readSquad } from "./squad.js";
import { readTable } from "./table.js";
import { type DeclaredTask, type Format, type Split, type TaskName, taskNames, tasks } from "./tasks.js";
import { cell, checkTemplate, compileTemplate, type Template, textOf } from "./template.js";
import { labelOf, maxLabels } from "./verbalizer.js";

interface CommonSpec extends TableOptions {
  /** Put before every input, e.g. "sst2 ". Default "". */
  readonly inputPrefix?: string;
  /** Put before every target, e.g. "<extra_id_0>" as in fpt.md §6. Default "". */
  readonly targetPrefix?: string;
  /** A few training rows instead of all. */
  readonly fewShot?: FewShot;
  /** Share of the training rows held out as validation where there is none. Default 0.1. */
  readonly holdoutFraction?: number;
  /** Seed of the holdout. Default 0. */
  readonly seed?: number;
}

/** One of the tasks in tasks.ts, from a folder with its official files. */
export interface DeclaredSpec extends CommonSpec {
  readonly task: string;
  readonly folder: string;
  /** One of the task's formats. Default its first. */
  readonly format?: string;
}

/** The user's own files. */
export interface FilesSpec extends CommonSpec, Omit<TaskDefinition, "name" | "inputPrefix" | "targetPrefix"> {
  readonly files: { readonly train: string; readonly validation?: string; readonly test?: string };
  /** Default the training file's name. */
  readonly name?: string;
  /** Column with the label. Either this or `target`. Without a verbalizer the labels are their own words. */
  readonly label?: string;
  /** Column with the free text to be written; a list of texts is a list of accepted answers. */
  readonly target?: string;
  /** Name in the template → column of the file. */
  readonly columns?: Readonly<Record<string, string>>;
  /** Paths are relative to this folder. Default the working directory. */
  readonly base?: string;
}

export type DatasetSpec = DeclaredSpec | FilesSpec;

const commonKeys = [
  "inputPrefix",
  "targetPrefix",
  "fewShot",
  "holdoutFraction",
  "seed",
  "skipBadRows",
  "header",
  "quotes",
];
const declaredKeys = ["task", "folder", "format", ...commonKeys];
const filesKeys = [
  ...[
    "files",
    "name",
    "template",
    "verbalizer",
    "label",
    "target",
    "columns",
    "base",
    "metrics",
    "maxTargetTokens",
    "scoring",
  ],
  ...commonKeys,
];

/** Where rows come from, whatever the spec: the task, the files of each split, and how a record becomes examples. */
interface Source {
  readonly task: Task;
  readonly paths: Readonly<Record<Split, string | null>>;
  readonly read: (fields: Fields, place: { where: string; split: Split }) => Example[];
  /** Columns that must be there, checked once for a file. */
  readonly checkColumns?: (columns: readonly string[], where: string) => void;
}

/** Loads a dataset. Throws SoftpromptError (usage for the spec, data for the files). */
export async function loadDataset(spec: DatasetSpec): Promise<Dataset> {
  const source = "task" in spec ? await declaredSource(spec) : await filesSource(spec);
  const { fewShot, holdoutFraction = 0.1, seed = 0 } = spec;
  const files: { path: string; sha256: string; rows: number }[] = [];
  const notices: string[] = [];
  let skipped = 0;
  const load = async (split: Split): Promise<Row[]> => {
    const path = source.paths[split];
    if (path === null) return [];
    const found = await loadRows(source, path, split, spec);
    files.push({ path, sha256: found.sha256, rows: found.rows.length });
    skipped += found.skipped;
    if (found.rows.length === 0 && split !== "test")
      throw new SoftpromptError("data", `the ${split} file has no usable row`, { where: path });
    return found.rows;
  };
  let train = await load("train");
  let validation = await load("validation");
  const test = await load("test");
  if (validation.length === 0) {
    const { kept, held } = holdout(train, { fraction: holdoutFraction, seed });
    [train, validation] = [kept, held];
    notices.push(
      `no validation file: ${held.length} of ${kept.length + held.length} training rows are held out (seed ${seed})`,
    );
  }
  if (fewShot) {
    const of = train.length;
    train = sampleFewShot(train, fewShot);
    notices.push(`few-shot: ${train.length} of ${of} training rows are used (seed ${fewShot.seed})`);
  }
  if (skipped > 0) notices.push(`${skipped} bad rows were skipped`);
  const seen = new Set(train.map((row) => row.input));
  const both = validation.filter((row) => seen.has(row.input)).length;
  if (both > 0)
    notices.push(`${both} of ${validation.length} validation rows have an input that also stands in the training rows`);
  return { task: source.task, train, validation, test, files, skipped, notices };
}

/** The rows of one file. */
async function loadRows(
  source: Source,
  path: string,
  split: Split,
  options: TableOptions,
): Promise<{ rows: Row[]; skipped: number; sha256: string }> {
  const table = path.endsWith(".json") ? await readSquad(path) : await readTable(path, options);
  source.checkColumns?.(table.columns, basename(path));
  const template = compileTemplate(source.task.template, `${source.task.name}, template`);
  let skipped = table.skipped;
  const rows: Row[] = [];
  for (const record of table.rows) {
    const where = `${basename(path)}:${record.line}`;
    try {
      for (const example of source.read(record.fields, { where: record.where ?? where, split }))
        rows.push(toRow(example, where, template, source.task));
    } catch (error) {
      if (!(error instanceof SoftpromptError) || error.kind !== "data" || !options.skipBadRows) throw error;
      skipped++;
    }
    if (rows.length > tableLimits.rows) throw new SoftpromptError("data", "too many rows", { where: path });
  }
  return { rows, skipped, sha256: table.sha256 };
}

function toRow(example: Example, where: string, template: Template, task: Task): Row {
  const id = example.part === "" ? where : `${where}#${example.part}`;
  const words = example.label === null ? "" : (task.verbalizer?.[example.label] ?? "");
  const target = example.target ?? words;
  return {
    id,
    input: template.fill(example.fields, id),
    target,
    label: example.label,
    references: example.references ?? [target],
    ...(example.group === undefined ? {} : { group: example.group }),
    ...(example.choices === undefined ? {} : { choices: example.choices }),
  };
}

/** The Task of a declared task in one of its formats, without any rows. Throws SoftpromptError (usage). */
export function declaredTask(
  nameOrAlias: string,
  options: Pick<DeclaredSpec, "format" | "inputPrefix" | "targetPrefix"> = {},
): Task {
  const { name, format, declared, formatName } = chooseFormat(nameOrAlias, options.format);
  return defineTask({
    name: formatName === Object.keys(declared.formats)[0] ? name : `${name}/${formatName}`,
    template: format.template,
    verbalizer: format.verbalizer,
    metrics: declared.metrics,
    maxTargetTokens: format.maxTargetTokens ?? declared.maxTargetTokens,
    inputPrefix: options.inputPrefix,
    targetPrefix: options.targetPrefix,
    scoring: format.scoring ?? declared.scoring,
  });
}

function chooseFormat(nameOrAlias: string, given: string | undefined) {
  const name = taskName(nameOrAlias);
  const declared: DeclaredTask = tasks[name];
  const formatName = given ?? Object.keys(declared.formats)[0]!;
  if (!Object.hasOwn(declared.formats, formatName))
    throw new SoftpromptError("usage", `${name} has no such format`, {
      where: "dataset, format",
      expected: Object.keys(declared.formats).join(", "),
      got: formatName,
    });
  const format: Format = declared.formats[formatName]!;
  return { name, declared, format, formatName };
}

async function declaredSource(spec: DeclaredSpec): Promise<Source> {
  checkKeys(spec, declaredKeys, "dataset");
  const { declared, format } = chooseFormat(spec.task, spec.format);
  return {
    task: declaredTask(spec.task, spec),
    paths: await findFiles(spec.folder, declared),
    read: format.read ?? declared.read,
  };
}

/** A declared task's name, in any spelling of case, "-" and "_". Throws SoftpromptError (usage). */
export function taskName(name: string): TaskName {
  const plain = String(name)
    .toLowerCase()
    .replace(/[-_ .]/g, "");
  const alias = { squad: "squad2", squad20: "squad2", squadv2: "squad2" }[plain] ?? plain;
  if (Object.hasOwn(tasks, alias)) return alias as TaskName;
  const near = nearest(alias, taskNames);
  throw new SoftpromptError("usage", "no such task", {
    where: "dataset, task",
    expected: taskNames.join(", "),
    got: name,
    hint: near ? `did you mean ${near}?` : "for your own data give files, template and label instead of a task",
  });
}

async function findFiles(folder: string, declared: DeclaredTask): Promise<Source["paths"]> {
  let names: string[];
  try {
    names = (await readdir(folder)).sort();
  } catch (cause) {
    throw new SoftpromptError("data", "cannot read the dataset's folder", { where: folder, cause, got: String(cause) });
  }
  const find = (split: Split): string | null => {
    for (const pattern of declared.files[split]) {
      const name = names.find((n) => pattern.test(n));
      if (name !== undefined) return join(folder, name);
    }
    return null;
  };
  const train = find("train");
  if (train === null)
    throw new SoftpromptError("data", "the folder has no training file of this task", {
      where: folder,
      expected: declared.files.train.map((p) => p.source.replace(/[\\^$]/g, "")).join(" or "),
      got: names.slice(0, 12).join(", ") || "an empty folder",
    });
  return { train, validation: find("validation"), test: find("test") };
}

async function filesSource(spec: FilesSpec): Promise<Source> {
  checkKeys(spec, filesKeys, "dataset");
  if (!isObject(spec.files))
    throw new SoftpromptError("usage", "no files given", { where: "dataset", expected: "files: { train: … }" });
  checkKeys(spec.files, ["train", "validation", "test"], "dataset, files");
  const path = (split: Split): string | null =>
    spec.files[split] ? resolve(spec.base ?? ".", spec.files[split]) : null;
  const train = path("train");
  if (train === null) throw new SoftpromptError("usage", "no training file given", { where: "dataset, files.train" });
  if ((spec.label === undefined) === (spec.target === undefined))
    throw new SoftpromptError("usage", "either a label column or a target column", {
      where: "dataset",
      expected: "label for classification, target for free text",
      got: spec.label === undefined ? "neither" : "both",
    });
  if (spec.target !== undefined && spec.verbalizer)
    throw new SoftpromptError("usage", "a verbalizer is for labels, not for free text", {
      where: "dataset, verbalizer",
    });
  const column = spec.label ?? spec.target!;
  const verbalizer = spec.label === undefined ? null : (spec.verbalizer ?? (await labelsOf(train, spec.label, spec)));
  const columns = spec.columns ?? {};
  const task = defineTask({
    name: spec.name ?? basename(train).replace(/\.[^.]*$/, ""),
    template: spec.template,
    verbalizer,
    metrics: spec.metrics,
    maxTargetTokens: spec.maxTargetTokens,
    inputPrefix: spec.inputPrefix,
    targetPrefix: spec.targetPrefix,
    scoring: spec.scoring,
  });
  const labels = Object.keys(verbalizer ?? {});
  const holes = compileTemplate(task.template);
  return {
    task,
    paths: { train, validation: path("validation"), test: path("test") },
    checkColumns: (found, where) => {
      checkTemplate(holes, [...found, ...Object.keys(columns)], `${where} and template`);
      for (const name of [column, ...Object.values(columns)])
        if (!found.includes(name.split(".")[0]!) && !found.includes(name)) noColumn(name, found, where);
    },
    read: (fields, { where, split }) => {
      const named = renamed(fields, columns);
      const value = cell(fields, column);
      const unknown = split === "test" && (value === undefined || value === null);
      if (spec.label !== undefined) {
        const label = unknown ? null : labelOf(value, labels, where, column);
        return [{ part: "", fields: named, label, target: null }];
      }
      const references = unknown ? [""] : answersOf(fields, column, where);
      return [{ part: "", fields: named, label: null, target: references[0]!, references }];
    },
  };
}

/** Labels as their own words: those of the training file, sorted. */
async function labelsOf(path: string, column: string, options: TableOptions): Promise<Record<string, string>> {
  const table = await readTable(path, options);
  if (!table.columns.includes(column.split(".")[0]!) && !table.columns.includes(column))
    noColumn(column, table.columns, basename(path));
  const found = new Set<string>();
  for (const { fields, line } of table.rows) {
    found.add(textOf(fields, column, `${basename(path)}:${line}`).trim());
    if (found.size > maxLabels)
      throw new SoftpromptError("usage", `column ${column} has more than ${maxLabels} different values`, {
        where: basename(path),
        hint: "if it is a text to be written, give it as target instead of label",
      });
  }
  return Object.fromEntries([...found].sort().map((l) => [l, l]));
}

function answersOf(fields: Fields, column: string, where: string): string[] {
  const value = cell(fields, column);
  if (Array.isArray(value) && value.length > 0 && value.every((v) => typeof v === "string")) return value as string[];
  return [textOf(fields, column, where)];
}

function renamed(fields: Fields, columns: Readonly<Record<string, string>>): Fields {
  const out = Object.assign(Object.create(null), fields) as Record<string, unknown>;
  for (const [name, column] of Object.entries(columns)) out[name] = cell(fields, column);
  return out;
}

function noColumn(name: string, columns: readonly string[], where: string): never {
  const near = nearest(name, columns);
  throw new SoftpromptError("data", `there is no column ${name}`, {
    where,
    expected: `one of ${columns.join(", ")}`,
    got: name,
    hint: near ? `did you mean ${near}?` : undefined,
  });
}
