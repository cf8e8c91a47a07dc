/**
 * @file Data as options: a declared task with its folder, the quickstart's own rows, the user's files, or rows of a program. Out: Dataset, Task.
 */
import { nearest, SoftpromptError } from "../base/errors.js";
import {
  boolean,
  choice,
  currentNames,
  flagName,
  integer,
  list,
  map,
  number,
  type OptionValues,
  optionsOf,
  readOptions,
  renamedIn,
  string,
} from "../base/options.js";
import { packageFile } from "../base/package.js";
import { type DatasetSpec, declaredTask, type FilesSpec, loadDataset, taskName } from "../data/dataset.js";
import { defineTask } from "../data/define.js";
import type { MemoryRow } from "../data/memory.js";
import { type MetricName, metricNames } from "../data/metrics.js";
import type { Dataset, Task } from "../data/row.js";
import { examples } from "../data/rows.js";
import { tasks } from "../data/tasks.js";
import { unpositioned } from "../data/template.js";
import { encodeRows, isWritten } from "../text/rows.js";
import { rulesOf } from "../text/rules.js";
import type { Tokenizer } from "../text/tokenizer.js";
import type { TrainSettings } from "../train/options.js";
import { type CallContext, type EarlierContext, type NoticeEvent, oneObject } from "./call.js";

/** The names of the bundled rows in the task option. */
export const quickstartTask = "quickstart";

/** The bundled rows (examples/quickstart/README.md says what they are), in SST-2's form without its name. */
const quickstartFiles = {
  files: {
    train: packageFile("examples/quickstart/train.jsonl"),
    validation: packageFile("examples/quickstart/validation.jsonl"),
  },
  name: quickstartTask,
  template: "sentence: {text}",
  label: "label",
  verbalizer: { negative: "negative", positive: "positive" },
} satisfies FilesSpec;

/** How text and labels are written, for tasks that are not declared. */
export const taskOptions = {
  task: string({
    placeholder: "name",
    help: `A declared task: ${Object.keys(tasks).join(", ")}; or ${quickstartTask}, the bundled rows. Beside --template it is the name of a task of your own, which adapters, run folders, reports and servers show`,
    source: "default for your own task: the training file's name",
  }),
  format: string({
    placeholder: "name",
    help: "One of the declared task's formats, e.g. t5, openprompt",
    source: "default its first",
  }),
  template: string({
    placeholder: "text",
    help: "The input's text with {column} holes; {{ and }} are braces; of a text that is too long {column!cut} is cut, else the longest column",
  }),
  verbalizer: map({ help: "Label and the words the decoder says for it; without it the labels are their own words" }),
  metrics: list({ values: metricNames, help: "What is reported; the first chooses the prompt that is kept" }),
  positiveLabel: string({
    placeholder: "label",
    help: "The label that f1 is of",
    source: "default the largest of numbers, else the last of the verbalizer",
  }),
  maxTargetTokens: integer({
    min: 1,
    max: 4096,
    unit: "tokens",
    help: "Longest text when generating",
    source: "default 10 with labels, else 200",
  }),
  inputPrefix: string({ help: "Put before every input, e.g. a task's name for models that know it" }),
  targetPrefix: string({ help: "Put before every target", source: "FPT: <extra_id_0>, fpt.md §6" }),
  promptPosition: string({
    placeholder: "start, end, start:N,end:N or decoder",
    help: "Where the virtual tokens stand, for a template without the marker {prompt}: before the text, or behind it (end), where a decoder-only model reads each text once and keeps it, or so many of them at either end (start:4,end:16), where it reads each text in every pass; with T5 also before the target (decoder), where each text is read once too",
    source: "default start",
  }),
};

/** Where rows come from. */
export const dataOptions = optionsOf("loadData()", {
  ...taskOptions,
  data: string({ placeholder: "folder", help: "Folder with the declared task's official files" }),
  train: string({ placeholder: "file", help: "Your own training rows: jsonl, json, csv, tsv or parquet" }),
  validation: string({
    placeholder: "file",
    help: "Your own validation rows; without them a share of the training rows is held out",
  }),
  test: string({ placeholder: "file", help: "Your own test rows, for eval --split test" }),
  labelColumn: string({ placeholder: "column", help: "Column with the label (classification)" }),
  targetColumn: string({
    placeholder: "column",
    help: "Column with the text to be written (free text), instead of a label",
  }),
  columns: map({ help: "Name in the template and the column of the file that it means" }),
  header: list({ help: "Column names of a csv or tsv file without a header line" }),
  delimiter: string({
    placeholder: "comma, semicolon, tab, pipe or a character",
    help: "What separates the fields of a csv or tsv file",
    source: "default what the file shows",
  }),
  quotes: boolean({
    help: 'Whether " quotes fields of a csv or tsv file; with --no-quotes it is text',
    source: "default yes; with tabs only where every quote is one of a quoted field",
  }),
  fewShot: integer({
    formerly: "trainRows",
    min: 1,
    unit: "rows",
    help: "Train on so few rows, drawn with --data-seed, the same rows for equal seeds; labels keep their shares, groups of rows stay whole",
  }),
  fewShotPer: choice({
    values: ["total", "class"],
    default: "total",
    source: "xprompt.md §5.3",
    help: "Whether fewShot counts rows in all or of each label",
  }),
  validationShare: number({
    formerly: "holdoutFraction",
    default: 0.1,
    min: 0,
    max: 0.9,
    unit: "share of the training rows",
    help: "Held out as validation rows where there is no validation file, 0 holds none out: the same rows for equal --data-seed; labels keep their shares, groups of rows and equal inputs stay on one side",
  }),
  dataSeed: integer({ default: 0, min: 0, help: "Draws few-shot rows and the holdout; equal seeds draw equal rows" }),
  skipBadRows: boolean({
    default: false,
    help: "Leave out and count rows that cannot be used, instead of stopping at the first",
  }),
});

/** Where rows come from and how they are written, by name: any of dataOptions. */
export type DataOptions = Partial<OptionValues<typeof dataOptions>> & FormerDataOptions;

/** Names of the previous version, which calls still accept. */
export interface FormerDataOptions {
  /** @deprecated validationShare */
  readonly holdoutFraction?: number | undefined;
}

/** Context of a loading. */
export type LoadContext = CallContext<NoticeEvent>;

/** Rows of a program instead of files, for the library. */
export interface RowsOptions
  extends Omit<
    DataOptions,
    "data" | "format" | "train" | "validation" | "test" | "header" | "delimiter" | "quotes" | "skipBadRows"
  > {
  /** Training rows: column → text, number or truth value. Errors name them by index: `rows[3]`. */
  readonly rows: readonly MemoryRow[];
  /** Validation rows; without them a share of `rows` is held out (`validationShare`). */
  readonly validationRows?: readonly MemoryRow[];
  readonly testRows?: readonly MemoryRow[];
  /** Labels that are their own words, instead of a verbalizer. */
  readonly labels?: readonly string[];
}

/**
 * Loads rows. @param options any of dataOptions; in a program, `rows` in place of files; `onEvent` and `signal` beside them. Notices about
 * the rows are in the Dataset's `notices` and are given to `onEvent`.
 * @throws SoftpromptError "usage" (wrong options), "data" (wrong content of files or rows), "interrupted".
 */
export function loadData(options: DataOptions & LoadContext, earlier?: EarlierContext): Promise<Dataset>;
export function loadData(options: RowsOptions & LoadContext, earlier?: EarlierContext): Promise<Dataset>;
// either form. Editors show no help for the keys of such a union, so the two overloads before it exist
export function loadData(
  options: (DataOptions | RowsOptions) & LoadContext,
  earlier?: EarlierContext,
): Promise<Dataset>;
export async function loadData(
  options: (DataOptions | RowsOptions) & LoadContext,
  earlier?: EarlierContext,
): Promise<Dataset> {
  if (typeof options !== "object" || options === null)
    throw new SoftpromptError("usage", "there are no options", {
      where: "loadData()",
      expected: "{ task, data }, { train, template, … } or { rows, template, … }",
      got: options,
    });
  const given = currentNames(oneObject(options, earlier, "loadData"), renamedIn(dataOptions), "loadData()");
  const { onEvent, signal, ...said } = given;
  const { rows, ...rest } = "rows" in said ? said : { ...said, rows: undefined };
  const data = await (rows === undefined
    ? loadDataset(specOf(readOptions(dataOptions, rest, "loadData()")), signal)
    : loadRows(rows, rest));
  for (const message of data.notices ?? []) onEvent?.({ kind: "notice", message });
  return data;
}

/** Returns a Dataset unchanged. Makes one from rows of a program and reports its notices as warnings. */
export async function datasetOf(
  source: Dataset | RowsOptions,
  onEvent: (event: { readonly kind: "warning"; readonly message: string }) => void = () => {},
): Promise<Dataset> {
  if (typeof source !== "object" || source === null)
    throw new SoftpromptError("usage", "there is no data", {
      where: "data",
      expected: "what loadData gave, or { rows, template, … }",
      got: source,
    });
  if (!("rows" in source)) return source;
  return loadData({ ...source, onEvent: ({ message }) => onEvent({ kind: "warning", message }) });
}

/**
 * The data as a training with these options takes it: on a decoder-only model, ranked label words are trained as they are ranked, without
 * an end token (Task.openAnswers). The same data where `trainEnd` is set, where answers are written, and for T5.
 */
export function answersFor(
  data: Dataset,
  { tokenizer }: { readonly tokenizer: Tokenizer },
  { trainEnd, evaluateBy }: { readonly trainEnd: boolean; readonly evaluateBy: TrainSettings["evaluateBy"] },
): Dataset {
  const { openAnswers, ...task } = data.task;
  const goesOn = rulesOf(tokenizer, {}).joined !== null;
  const ranked = evaluateBy === "ranking" && !isWritten(data);
  const open = goesOn && ranked && !trainEnd;
  if (open === (openAnswers ?? false)) return data;
  return { ...data, task: open ? { ...task, openAnswers: true } : task };
}

/**
 * Notices about targets that are longer than `maxTargetTokens` and so are cut in training; [] if there are none. @param maxInputTokens
 * given if all of these rows are encoded anyway; without it only long targets are encoded.
 */
export function targetNotices(
  { task, train, validation }: Dataset,
  tokenizer: Tokenizer,
  maxInputTokens?: number,
): string[] {
  const longest = task.maxTargetTokens - 1; // its end-of-sequence counts
  const rows = [...train, ...validation].filter((row) => row.choices === undefined && row.label === null);
  const encoded = maxInputTokens === undefined ? null : encodeRows(task, rows, tokenizer, maxInputTokens);
  const cut = rows.filter((row, n) => {
    if (encoded !== null) return encoded[n]!.targetCut !== undefined;
    const text = (task.targetPrefix + row.target).normalize("NFKC");
    return text.length > longest && tokenizer.encode(text).length > longest; // no token is shorter than a character
  });
  if (cut.length === 0) return [];
  return [
    `${cut.length} of ${rows.length} targets are longer than ${task.maxTargetTokens} tokens and are cut (${flagName("maxTargetTokens")}): ${examples(cut.map((row) => row.id))}`,
  ];
}

/**
 * Rows of a program as a Dataset, checked like a file: `loadRows([{ text: "fine", label: 1 }, …], { template: "{text}" })`.
 * The label column is `label` and the target column `target` unless said otherwise.
 */
export async function loadRows(rows: readonly MemoryRow[], options: Omit<RowsOptions, "rows">): Promise<Dataset> {
  const { validationRows, testRows, labels, ...rest } = options;
  const checked = readOptions(dataOptions, rest, "loadRows()");
  if (Array.isArray(rows) && rows.length === 0)
    throw new SoftpromptError("data", "there are no rows", { where: "rows", expected: "at least one row" });
  const without = ["data", "format", "train", "validation", "test", "header", "delimiter", "quotes"] as const;
  for (const key of without)
    if (checked[key] !== undefined)
      throw new SoftpromptError("usage", `${key} is for files`, {
        where: key,
        expected: "rows without it",
        got: checked[key],
      });
  if (labels !== undefined && checked.verbalizer !== undefined)
    throw new SoftpromptError("usage", "both labels and a verbalizer are given", {
      where: "labels",
      expected: "one of them",
    });
  const has = (column: string) => Array.isArray(rows) && rows.some((row) => Object.hasOwn(row ?? {}, column));
  const said = checked.labelColumn !== undefined || checked.targetColumn !== undefined;
  return loadDataset({
    ...sharedSpec(checked),
    rows: defined({ train: rows, validation: validationRows, test: testRows }),
    ...ownSpec(checked),
    ...(!said && (has("label") ? { label: "label" } : has("target") ? { target: "target" } : {})),
    ...(labels !== undefined && { verbalizer: Object.fromEntries(labels.map((label) => [label, label])) }),
  });
}

/**
 * The options, with missing ones filled from an adapter's record: its task, format, template, label words and prefixes. So a prompt is
 * scored on texts in the form in which it was trained. Given options stay.
 */
export function asRecorded(options: DataOptions, recorded: Task | null): DataOptions {
  if (recorded === null) return options;
  const { template, verbalizer, metrics, maxTargetTokens, targetPrefix, scoring, columns } = recorded;
  const answerSaid = options.labelColumn !== undefined || options.targetColumn !== undefined;
  if (options.train !== undefined)
    return {
      ...defined({
        columns: columns?.fields,
        ...(answerSaid ? {} : { labelColumn: columns?.label, targetColumn: columns?.target }),
        task: recorded.name,
        template,
        verbalizer: options.targetColumn === undefined ? (verbalizer ?? undefined) : undefined,
        metrics: [...metrics],
        maxTargetTokens,
        targetPrefix,
        positiveLabel: scoring?.positiveLabel,
      }),
      ...defined(options),
    };
  const [name, format] = recorded.name.split("/") as [string, string?];
  const known = name === quickstartTask || Object.hasOwn(tasks, name);
  const asked = options.task === undefined || options.task === quickstartTask ? options.task : taskName(options.task);
  if (!known || (asked !== undefined && asked !== name)) return options;
  const chosen = options.format ?? format;
  const declared = name === quickstartTask ? null : declaredTask(name, { format: chosen });
  const plain = declared?.template ?? quickstartFiles.template;
  const length = declared !== null && declared.maxTargetTokens !== maxTargetTokens ? maxTargetTokens : undefined;
  // a declared template has no marker, so those at its ends are the position's
  const { text, position: promptPosition } = unpositioned(template) ?? { text: template };
  const prefix = text.endsWith(plain) ? text.slice(0, text.length - plain.length) : "";
  const inputPrefix = prefix.replaceAll("{{", "{").replaceAll("}}", "}");
  const form = { inputPrefix, targetPrefix, promptPosition, maxTargetTokens: length };
  return { ...defined({ task: name, format: chosen, ...form }), ...defined(options) };
}

/** The task with those recorded columns alone that rows have; the others stand there under the template's names, or are said. */
export function withColumnsOf(task: Task, has: (column: string) => boolean): Task {
  const { columns, ...rest } = task;
  if (columns === undefined) return task;
  const { fields = {}, ...answers } = columns;
  const there = (names: Readonly<Record<string, string>>) =>
    Object.fromEntries(Object.entries(names).filter(([, column]) => has(column)));
  return { ...rest, columns: { fields: there(fields), ...there(answers) } };
}

/** The warning of such differences. */
export function otherTask(recorded: Task, differences: readonly string[]): string {
  return `the adapter was tuned on ${recorded.name} with another ${differences.join(", ")}: this is not how it learnt to answer`;
}

/** The differences between two tasks on which a prompt depends; for a warning. */
export function taskDifferences(recorded: Task, used: Task): string[] {
  return (["template", "verbalizer", "targetPrefix"] as const).filter(
    (key) => JSON.stringify(recorded[key]) !== JSON.stringify(used[key]),
  );
}

/**
 * The task that inputs are answered for: of the options, or the adapter's. A template alone changes the adapter's texts; its label words and
 * the rest stay. @throws SoftpromptError "usage" as loadTask
 */
export function taskBeside(options: Partial<OptionValues<typeof taskOptions>>, recorded: Task | null): Task | null {
  if (recorded === null || options.template === undefined || options.task !== undefined)
    return loadTask(options) ?? recorded;
  const { name, verbalizer, metrics, maxTargetTokens, targetPrefix, scoring, columns } = recorded;
  const kept = { verbalizer: verbalizer ?? undefined, metrics: [...metrics], maxTargetTokens, targetPrefix };
  const own = { ...kept, positiveLabel: scoring?.positiveLabel };
  const task = loadTask({ task: name, ...defined(own), ...defined(options) });
  return task && { ...task, ...defined({ columns }) };
}

/**
 * The task without rows, if the options give one. For adapters that record no task.
 * @throws SoftpromptError "usage", also for options that would have no effect.
 */
export function loadTask(options: Partial<OptionValues<typeof taskOptions>>): Task | null {
  const { task, format, template, verbalizer, metrics, maxTargetTokens, inputPrefix, targetPrefix } = options;
  const own = defined({ verbalizer, metrics: metrics as MetricName[] | undefined, maxTargetTokens });
  const scoring = scoringOf(options);
  const prefixes = defined({ inputPrefix, targetPrefix, promptPosition: options.promptPosition });
  const withoutEffect = (given: object, because: string) => {
    const [key] = Object.keys(given);
    if (key === undefined) return;
    throw new SoftpromptError("usage", `${key} has no effect ${because}`, {
      where: key,
      expected: "task or template with it, or neither",
      got: (given as Record<string, unknown>)[key],
    });
  };
  if (template !== undefined) {
    withoutEffect(defined({ format }), "on a template of your own");
    return defineTask({ ...prefixes, ...own, ...scoring, name: task ?? "task", template });
  }
  if (task === undefined) {
    withoutEffect(
      { ...defined({ format }), ...own, ...prefixes, ...defined({ positiveLabel: options.positiveLabel }) },
      "without a task or a template",
    );
    return null;
  }
  if (task === quickstartTask) {
    withoutEffect(defined({ format }), "on the bundled rows");
    const { name, template } = quickstartFiles;
    const words = verbalizer ?? quickstartFiles.verbalizer;
    return defineTask({ name, template, ...prefixes, ...own, ...scoring, verbalizer: words });
  }
  checkTaskName(task);
  const declared = declaredTask(task, { format, ...prefixes });
  return defineTask({
    ...declared,
    ...own,
    ...(scoring.scoring && { scoring: { ...declared.scoring, ...scoring.scoring } }),
  });
}

/** Refuses a name that is neither a declared task's, in any spelling, nor the bundled rows'. Throws SoftpromptError (usage). */
function checkTaskName(task: string): void {
  try {
    taskName(task);
  } catch (cause) {
    if (!(cause instanceof SoftpromptError)) throw cause;
    const names = [...Object.keys(tasks), quickstartTask];
    const near = nearest(task, names);
    throw new SoftpromptError("usage", "no such task", {
      where: "task",
      expected: names.join(", "),
      got: task,
      hint: near === undefined ? cause.parts.hint : `did you mean ${near}?`,
    });
  }
}

function scoringOf({ positiveLabel }: { readonly positiveLabel?: string }): Pick<FilesSpec, "scoring"> {
  return positiveLabel === undefined ? {} : { scoring: { positiveLabel } };
}

type Checked = OptionValues<typeof dataOptions>;

/** Options for every kind of rows. */
function sharedSpec(options: Checked) {
  const { fewShot, fewShotPer, dataSeed, validationShare, skipBadRows, header, delimiter, quotes } = options;
  return defined({
    inputPrefix: options.inputPrefix,
    targetPrefix: options.targetPrefix,
    promptPosition: options.promptPosition,
    fewShot: fewShot === undefined ? undefined : { count: fewShot, per: fewShotPer, seed: dataSeed },
    validationShare,
    seed: dataSeed,
    skipBadRows,
    header,
    delimiter,
    quotes,
  });
}

/** Options for the user's own rows. @throws SoftpromptError "usage" without a template. */
function ownSpec(options: Checked) {
  const { template, labelColumn, targetColumn } = options;
  if (template === undefined)
    throw new SoftpromptError("usage", "your own files need a template", {
      where: "template",
      expected: "a text with {column} holes",
      hint: 'e.g. --template "review: {text}"',
    });
  return {
    template,
    ...scoringOf(options),
    ...defined({
      name: options.task,
      label: labelColumn,
      target: targetColumn,
      verbalizer: options.verbalizer,
      columns: options.columns,
      metrics: options.metrics as MetricName[] | undefined,
      maxTargetTokens: options.maxTargetTokens,
    }),
  };
}

/** Options that only the user's own files have. */
const ownOnly = [
  "template",
  "verbalizer",
  "labelColumn",
  "targetColumn",
  "columns",
  "metrics",
  "positiveLabel",
  "maxTargetTokens",
  "validation",
  "test",
] as const satisfies readonly (keyof Checked)[];

/** Options that rows of an origin do not read. Ignored ones would let rows be scored that nobody asked for. */
const unread = {
  own: ["format"],
  declared: ownOnly.filter((key) => key !== "maxTargetTokens"),
  bundled: [...ownOnly, "data", "format", "header", "delimiter", "quotes"],
} as const satisfies Readonly<Record<string, readonly (keyof Checked)[]>>;

/** @throws SoftpromptError "usage" for an option that is given and would not be read */
function refuseForOrigin(origin: keyof typeof unread, options: Checked): void {
  const { task } = options;
  const key = unread[origin].find((name) => options[name] !== undefined);
  if (key === undefined) return;
  const own = (ownOnly as readonly string[]).includes(key);
  const said = {
    own: `${key} has no effect on your own files`,
    declared: `${key} is for your own files; the declared task ${task} has its own`,
    bundled: own
      ? `${key} is for your own files; the bundled rows of ${task} have their own`
      : `${key} has no effect on the bundled rows of ${task}`,
  };
  const expected = {
    own: "a declared task with it, or files without it",
    declared: "train FILE with it, or neither",
    bundled: own ? "train FILE with it, or neither" : `${task} without it`,
  };
  throw new SoftpromptError("usage", said[origin], { where: key, expected: expected[origin], got: options[key] });
}

function specOf(options: Checked): DatasetSpec {
  const { task, train, data } = options;
  const shared = sharedSpec(options);
  if (train !== undefined) {
    if (data !== undefined)
      throw new SoftpromptError("usage", "both a folder and files are given", {
        where: "data",
        expected: "data with a declared task, or train with a template",
      });
    refuseForOrigin("own", options);
    return {
      ...shared,
      files: defined({ train, validation: options.validation, test: options.test }) as FilesSpec["files"],
      ...ownSpec(options),
    };
  }
  if (task === undefined)
    throw new SoftpromptError("usage", "no data are given", {
      where: "data",
      expected: "a declared task with its folder, or your own files",
      hint: "--task sst2 --data FOLDER, or --train FILE --template TEXT --label-column COLUMN",
    });
  if (task === quickstartTask) {
    refuseForOrigin("bundled", options);
    return { ...shared, ...quickstartFiles };
  }
  refuseForOrigin("declared", options);
  checkTaskName(task); // a misspelt name is reported before its files are looked for
  if (data === undefined)
    throw new SoftpromptError("usage", `where are the files of ${task}?`, {
      where: "data",
      expected: "the folder with the task's official files",
      hint: "--data FOLDER",
    });
  const { format, maxTargetTokens } = options;
  return { ...shared, task, folder: data, ...defined({ format, maxTargetTokens }) };
}

function defined<T extends object>(object: T): { [K in keyof T]: Exclude<T[K], undefined> } {
  return Object.fromEntries(Object.entries(object).filter(([, v]) => v !== undefined)) as never;
}
