/**
 * @file Datasets: a declared task with its folder, the user's own files, or rows in memory, as labelled text.
 *
 * In: a DatasetSpec. Out: Dataset, with sha256 of every file, few-shot sample and holdout taken, notices said.
 */
import { readdir } from "node:fs/promises";
import { basename, join, resolve } from "node:path";
import { nearest, SoftpromptError } from "../base/errors.js";
import { isObject } from "../base/json.js";
import { currentNames } from "../base/options.js";
import { checkKeys, defineTask, type TaskDefinition } from "./define.js";
import { type MemoryRow, tableOf } from "./memory.js";
import { caseNotice, datasetNotices, type EmptyRow, labelSpellings, spellingNotice } from "./notices.js";
import type { Example } from "./records.js";
import type { Dataset, Row, Task } from "./row.js";
import { examples, type Fields, pauses, skippedNotice, type Table, type TableOptions, tableLimits } from "./rows.js";
import { type FewShot, holdout, sampleFewShot } from "./split.js";
import { readTable } from "./table.js";
import { type DeclaredTask, type Format, type Split, type TaskName, taskNames, tasks } from "./tasks.js";
import {
  checkTemplate,
  columnValue,
  compileTemplate,
  type PromptPosition,
  positionTokens,
  type Template,
  textOf,
} from "./template.js";
import { labelOf, labelText, maxLabels } from "./verbalizer.js";

/** Options for rows of every origin. */
export interface CommonSpec extends TableOptions {
  /** Put before every input, e.g. "sst2 ". Default "". */
  readonly inputPrefix?: string;
  /** Put before every target, e.g. "<extra_id_0>" as in fpt.md §6. Default "". */
  readonly targetPrefix?: string;
  /** Where the virtual tokens stand, for a template that does not say it. Default "start". */
  readonly promptPosition?: PromptPosition;
  /** A few training rows instead of all. */
  readonly fewShot?: FewShot;
  /** Share of the training rows held out as validation where there is none. Default 0.1. */
  readonly validationShare?: number;
  /** Seed of the holdout. Default 0. */
  readonly seed?: number;
}

/** One of the tasks in tasks.ts, from a folder with its official files. */
export interface DeclaredSpec extends CommonSpec {
  readonly task: string;
  readonly folder: string;
  /** One of the task's formats. Default its first. */
  readonly format?: string;
  /** Longest target in tokens. Default the task's own. */
  readonly maxTargetTokens?: number;
}

/** Options for the user's own rows, in files or in memory. */
export interface OwnSpec
  extends CommonSpec,
    Omit<TaskDefinition, "name" | "inputPrefix" | "targetPrefix" | "promptPosition"> {
  /** Default the training file's name, or "rows". */
  readonly name?: string;
  /** Column with the label. Either this or `target`. Without a verbalizer the labels are their own words. */
  readonly label?: string;
  /** Column with the free text to be written; a list of texts is a list of accepted answers. */
  readonly target?: string;
  /** Name in the template → column of the file. */
  readonly columns?: Readonly<Record<string, string>>;
}

/** The user's own files. */
export interface FilesSpec extends OwnSpec {
  readonly files: { readonly train: string; readonly validation?: string; readonly test?: string };
  /** Paths are relative to this folder. Default the working directory. */
  readonly base?: string;
}

/** Rows that the program has already. */
export interface RowsSpec extends OwnSpec {
  readonly rows: {
    readonly train: readonly MemoryRow[];
    readonly validation?: readonly MemoryRow[];
    readonly test?: readonly MemoryRow[];
  };
}

/** Where rows come from: a declared task's folder, files, or rows of a program. */
export type DatasetSpec = DeclaredSpec | FilesSpec | RowsSpec;

const commonKeys = [
  "inputPrefix",
  "targetPrefix",
  "promptPosition",
  "fewShot",
  "validationShare",
  "seed",
  "skipBadRows",
  "header",
  "quotes",
  "delimiter",
];
const declaredKeys = ["task", "folder", "format", "maxTargetTokens", ...commonKeys];
const ownKeys = [
  ...["name", "template", "verbalizer", "label", "target", "columns", "metrics", "maxTargetTokens", "scoring"],
  ...commonKeys,
];
const splits = ["train", "validation", "test"] as const satisfies readonly Split[];

/** Where the rows of a split lie. */
interface Place {
  /** Path of the file; "rows" and the like for rows in memory. */
  readonly path: string;
  /** Read once, however often it is asked for. */
  readonly table: () => Promise<Table & { sha256: string }>;
  /** Names a row in ids and errors. */
  readonly row: (line: number) => string;
  /** Names the whole in errors. */
  readonly name: string;
}

/** Where rows come from, whatever the spec: the task, the place of each split, and how a record becomes examples. */
interface Source {
  readonly task: Task;
  readonly places: Readonly<Record<Split, Place | null>>;
  readonly read: (fields: Fields, place: { where: string; split: Split }) => Example[];
  /** Columns that must be there, checked once for a file. */
  readonly checkColumns?: (columns: readonly string[], where: string) => void;
  readonly notices: readonly string[];
}

/** Loads a dataset. @param signal stops it. Throws SoftpromptError (usage for the spec, data for the files, interrupted). */
export async function loadDataset(given: DatasetSpec, signal?: AbortSignal): Promise<Dataset> {
  const spec = currentNames(given, { holdoutFraction: "validationShare" }, "loadDataset()");
  const began = performance.now();
  const source = "task" in spec ? await declaredSource(spec, signal) : await ownSource(spec, signal);
  const { fewShot, validationShare = 0.1, seed = 0 } = spec;
  const files: { path: string; sha256: string; rows: number }[] = [];
  const notices: string[] = [...source.notices];
  const empty: EmptyRow[] = [];
  const bad: string[] = [];
  let skipped = 0;
  const load = async (split: Split): Promise<Row[]> => {
    const place = source.places[split];
    if (place === null) return [];
    const found = await rowsOf(source, place, split, { ...spec, signal });
    files.push({ path: place.path, sha256: found.sha256, rows: found.rows.length });
    notices.push(...found.notices);
    empty.push(...found.empty);
    bad.push(...found.bad);
    skipped += found.skipped;
    if (found.rows.length === 0 && split !== "test")
      throw new SoftpromptError("data", `the ${split} ${"rows" in spec ? "list" : "file"} has no usable row`, {
        where: place.path,
        got: found.skipped > 0 ? `${found.skipped} bad rows: ${examples(found.bad, found.skipped)}` : undefined,
      });
    return found.rows;
  };
  let train = await load("train");
  let validation = await load("validation");
  const test = await load("test");
  if (validation.length === 0 && validationShare > 0) {
    const { kept, held } = holdout(train, { fraction: validationShare, seed });
    [train, validation] = [kept, held];
    notices.push(
      `no validation ${"rows" in spec ? "rows" : "file"}: ${held.length} of ${kept.length + held.length} training rows are held out (seed ${seed})`,
    );
  }
  if (fewShot) {
    const of = train.length;
    train = sampleFewShot(train, fewShot);
    notices.push(`few-shot: ${train.length} of ${of} training rows are used (seed ${fewShot.seed})`);
  }
  notices.push(...skippedNotice(skipped, bad));
  notices.push(...datasetNotices(source.task, { train, validation, test }, empty));
  const seconds = (performance.now() - began) / 1000;
  const promptTokens = positionTokens(spec.promptPosition);
  const asked = promptTokens === undefined ? {} : { promptTokens };
  return { task: source.task, train, validation, test, files, skipped, notices, ...asked, seconds };
}

interface LoadedRows {
  readonly rows: Row[];
  readonly skipped: number;
  readonly bad: readonly string[];
  readonly empty: readonly EmptyRow[];
  readonly sha256: string;
  readonly notices: readonly string[];
}

/** The rows of one split. */
export async function rowsOf(
  source: Pick<Source, "task" | "read" | "checkColumns">,
  place: Place,
  split: Split,
  options: TableOptions,
): Promise<LoadedRows> {
  const table = await place.table();
  if (table.rows.length > 0) source.checkColumns?.(table.columns, place.name);
  const template = compileTemplate(source.task.template, `${source.task.name}, template`);
  let skipped = table.skipped;
  const bad: string[] = [...table.bad];
  const rows: Row[] = [];
  const empty: EmptyRow[] = [];
  const pause = pauses(place.path, options.signal);
  for (const record of table.rows) {
    await pause();
    const id = place.row(record.line);
    try {
      for (const example of source.read(record.fields, { where: record.where ?? id, split })) {
        const row = toRow(example, id, template, source.task);
        rows.push(row);
        const columns = template.fields.filter((name) => textOf(example.fields, name, id).trim() === "");
        if (row.label === null && row.target.trim() === "" && split !== "test") columns.push("its target");
        if (columns.length > 0) empty.push({ id: row.id, columns });
      }
    } catch (error) {
      if (!(error instanceof SoftpromptError) || error.kind !== "data" || !options.skipBadRows) throw error;
      skipped++;
      if (bad.length < 4) bad.push(`${id} (${error.problem})`);
    }
    if (rows.length > tableLimits.rows) throw new SoftpromptError("data", "too many rows", { where: place.path });
  }
  return { rows, skipped, bad, empty, sha256: table.sha256, notices: table.notices };
}

function toRow(example: Example, where: string, template: Template, task: Task): Row {
  const id = example.part === "" ? where : `${where}#${example.part}`;
  const words = example.label === null ? "" : (task.verbalizer?.[example.label] ?? "");
  const target = example.target ?? words;
  return {
    id,
    ...template.fillRow(example.fields, id),
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
  options: Pick<DeclaredSpec, "format" | "inputPrefix" | "targetPrefix" | "promptPosition" | "maxTargetTokens"> = {},
): Task {
  const { name, format, declared, formatName } = chooseFormat(nameOrAlias, options.format);
  return defineTask({
    name: formatName === Object.keys(declared.formats)[0] ? name : `${name}/${formatName}`,
    template: format.template,
    verbalizer: format.verbalizer,
    metrics: declared.metrics,
    maxTargetTokens: options.maxTargetTokens ?? format.maxTargetTokens ?? declared.maxTargetTokens,
    inputPrefix: options.inputPrefix,
    targetPrefix: options.targetPrefix,
    promptPosition: options.promptPosition,
    scoring: format.scoring ?? declared.scoring,
    selectBy: declared.selectBy,
    generative: declared.generative,
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

async function declaredSource(spec: DeclaredSpec, signal: AbortSignal | undefined): Promise<Source> {
  checkKeys(spec, declaredKeys, "dataset");
  const { declared, format } = chooseFormat(spec.task, spec.format);
  return {
    task: declaredTask(spec.task, spec),
    places: filePlaces(await findFiles(spec.folder, declared), { ...spec, signal }),
    read: format.read ?? declared.read,
    notices: [],
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

async function findFiles(folder: string, declared: DeclaredTask): Promise<Readonly<Record<Split, string | null>>> {
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

function filePlaces(paths: Readonly<Record<Split, string | null>>, options: TableOptions): Source["places"] {
  const place = (path: string | null): Place | null =>
    path === null
      ? null
      : {
          path,
          table: once(() => readTable(path, options)),
          row: (line) => `${basename(path)}:${line}`,
          name: basename(path),
        };
  return { train: place(paths.train), validation: place(paths.validation), test: place(paths.test) };
}

function memoryPlaces({ rows }: RowsSpec): Source["places"] {
  const place = (split: Split): Place | null => {
    const given = rows[split];
    if (given === undefined) return null;
    const name = split === "train" ? "rows" : `${split}Rows`;
    return {
      path: name,
      table: once(async () => tableOf(given, name)),
      row: (line) => `${name}[${line - 1}]`,
      name,
    };
  };
  return { train: place("train"), validation: place("validation"), test: place("test") };
}

function once<T>(read: () => Promise<T>): () => Promise<T> {
  let found: Promise<T> | undefined;
  return () => (found ??= read());
}

async function ownSource(spec: FilesSpec | RowsSpec, signal: AbortSignal | undefined): Promise<Source> {
  checkKeys(spec, [...("rows" in spec ? ["rows"] : ["files", "base"]), ...ownKeys], "dataset");
  const given: unknown = "rows" in spec ? spec.rows : spec.files;
  if (!isObject(given))
    throw new SoftpromptError("usage", "no files given", { where: "dataset", expected: "files: { train: … }" });
  checkKeys(given, splits, "dataset, files");
  const path = (split: Split): string | null => {
    const said = "rows" in spec ? undefined : spec.files[split];
    return said ? resolve((spec as FilesSpec).base ?? ".", said) : null;
  };
  const places =
    "rows" in spec
      ? memoryPlaces(spec)
      : filePlaces({ train: path("train"), validation: path("validation"), test: path("test") }, { ...spec, signal });
  const { train } = places;
  if (train === null) throw new SoftpromptError("usage", "no training file given", { where: "dataset, files.train" });
  if ((spec.label === undefined) === (spec.target === undefined))
    throw new SoftpromptError("usage", "either a label column or a target column", {
      where: "dataset",
      expected: `label for classification, target for free text; the columns are ${(await train.table()).columns.join(", ")}`,
      got: spec.label === undefined ? "neither" : "both",
      hint: "labelColumn (--label-column) or targetColumn (--target-column) names it",
    });
  if (spec.target !== undefined && spec.verbalizer)
    throw new SoftpromptError("usage", "a verbalizer is for labels, not for free text", {
      where: "dataset, verbalizer",
    });
  const column = spec.label ?? spec.target!;
  const own = spec.label === undefined || spec.verbalizer ? null : await labelsOf(train, spec.label);
  const verbalizer = spec.label === undefined ? null : (spec.verbalizer ?? own!.verbalizer);
  const columns = spec.columns ?? {};
  const task = defineTask({
    name: spec.name ?? ("rows" in spec ? "rows" : train.name.replace(/\.[^.]*$/, "")),
    template: spec.template,
    verbalizer,
    metrics: spec.metrics,
    maxTargetTokens: spec.maxTargetTokens,
    inputPrefix: spec.inputPrefix,
    targetPrefix: spec.targetPrefix,
    promptPosition: spec.promptPosition,
    scoring: spec.scoring,
    columns: { fields: columns, label: spec.label, target: spec.target },
  });
  const labels = Object.keys(verbalizer ?? {});
  const holes = compileTemplate(task.template);
  const told = holes.fields.filter((field) => (Object.hasOwn(columns, field) ? columns[field] : field) === column);
  return {
    task,
    places,
    notices: [
      ...(own?.notices ?? []),
      ...told.map(
        (field) => `the template shows the answer: {${field}} is column ${column}, which is what shall be said`,
      ),
    ],
    checkColumns: (found, where) => {
      // a column that is mapped to another template name leaves its own name free for the marker
      const free = found.filter((name) => name !== "prompt" || !Object.values(columns).includes(name));
      checkTemplate(holes, [...free, ...Object.keys(columns)], `${where} and template`);
      for (const name of [column, ...Object.values(columns)]) checkColumn(name, found, where);
    },
    read: (fields, { where, split }) => {
      const named = renamed(fields, columns);
      const value = columnValue(fields, column);
      const unknown = split === "test" && labelText(value) === "";
      if (spec.label !== undefined) {
        const label = unknown ? null : labelOf(value, labels, where, column);
        return [{ part: "", fields: named, label, target: null }];
      }
      const references = unknown ? [""] : answersOf(fields, column, where);
      return [{ part: "", fields: named, label: null, target: references[0]!, references }];
    },
  };
}

/**
 * Labels as their own words: those of the training rows, sorted. A row without a label is skipped here; reading it as an example reports
 * it.
 */
async function labelsOf(place: Place, column: string) {
  const table = await place.table();
  if (table.rows.length === 0)
    throw new SoftpromptError("data", "the train file has no usable row", {
      where: place.path,
      got: table.columns.length > 0 ? `only a header: ${table.columns.join(", ")}` : undefined,
    });
  checkColumn(column, table.columns, place.name);
  const found = new Set<string>();
  for (const { fields, line } of table.rows) {
    const text = labelText(columnValue(fields, column));
    if (text === null)
      textOf(fields, column, place.row(line)); // says what it is
    else if (text !== "") found.add(text);
    if (found.size > maxLabels)
      throw new SoftpromptError("usage", `column ${column} has more than ${maxLabels} different values`, {
        where: place.name,
        hint: "if it is a text to be written, give it as target instead of label",
      });
  }
  const spellings = labelSpellings(found);
  const labels = [...spellings.keys()].sort();
  if (labels.length < 2)
    throw new SoftpromptError(
      "data",
      labels.length === 0 ? `column ${column} is empty in every row` : `column ${column} holds only one value`,
      {
        where: place.name,
        expected: "two labels at least",
        got: labels[0],
        hint: "a verbalizer names labels that no row has yet; free text goes into a target column",
      },
    );
  return {
    verbalizer: Object.fromEntries(labels.map((l) => [l, l])) as Record<string, string>,
    notices: [...spellingNotice(column, spellings), ...caseNotice(column, labels)],
  };
}

function checkColumn(name: string, found: readonly string[], where: string): void {
  if (!found.includes(name.split(".")[0]!) && !found.includes(name)) noColumn(name, found, where);
}

function answersOf(fields: Fields, column: string, where: string): string[] {
  const value = columnValue(fields, column);
  if (Array.isArray(value) && value.length > 0 && value.every((v) => typeof v === "string")) return value as string[];
  return [textOf(fields, column, where)];
}

function renamed(fields: Fields, columns: Readonly<Record<string, string>>): Fields {
  const out = Object.assign(Object.create(null), fields) as Record<string, unknown>;
  for (const [name, column] of Object.entries(columns)) out[name] = columnValue(fields, column);
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
