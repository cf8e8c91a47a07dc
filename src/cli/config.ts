/**
 * @file One configuration file: YAML or JSON whose every field is an option. In: a path, a table. Out: checked values.
 */
import { existsSync } from "node:fs";
import { join, resolve } from "node:path";
import { Document, isMap, isPair, isScalar, parseDocument, type Scalar, stringify } from "yaml";
import { isHubAdapter } from "../adapter/hub-name.js";
import { SoftpromptError, withHint } from "../base/errors.js";
import { readWhole } from "../base/files.js";
import { type OnRenamed, type OptionTable, pickOptions, readPartialOptions } from "../base/options.js";
import { type FolderKind, fileNames, holds } from "../run/layout.js";
import { resumeCommand } from "../tasks/shell.js";

/** Longer files are no configuration; the YAML parser takes seconds for a megabyte of numbers. */
const maxBytes = 1 << 17;

/**
 * Reads `--config FILE`. JSON is YAML too, so one parser reads both; duplicate keys and aliases are refused.
 *
 * @param table options of the command. @param others options of other commands: their keys may stand in the file too and are
 *   left alone, so that one file serves show, train and eval; a key that no command has is refused with the nearest name.
 * @param onRenamed is called for renamed keys.
 */
export async function readConfig(
  file: string,
  table: OptionTable,
  others: OptionTable = {},
  onRenamed: OnRenamed = () => {},
): Promise<Record<string, unknown>> {
  const text = readWhole(file, "usage", maxBytes)?.toString("utf8");
  if (text === undefined)
    throw new SoftpromptError("usage", "there is no such configuration", {
      where: file,
      expected: "a YAML or JSON file",
    });
  const document = parseDocument(text, { uniqueKeys: true, strict: true });
  const [problem] = document.errors;
  if (problem !== undefined)
    throw new SoftpromptError("usage", "the configuration is not valid YAML or JSON", {
      where: `${file}:${problem.linePos?.[0].line ?? 1}`,
      expected: "one `key: value` per line",
      got: problem.message.split("\n")[0],
    });
  takeTextsAsWritten(document, { ...others, ...table });
  let value: unknown;
  try {
    value = document.toJS({ maxAliasCount: 0 });
  } catch (cause) {
    throw new SoftpromptError("usage", "the configuration uses YAML aliases", {
      where: file,
      expected: "plain values",
      cause,
    });
  }
  const checked = readPartialOptions({ ...others, ...table }, value, file, onRenamed) as Record<string, unknown>;
  return pickOptions(table, checked);
}

/**
 * YAML reads some words as booleans and numbers against the user's intention: `{ no: False, yes: True }` would teach "false" and "true",
 * and the label `1.0` would become `1`. For options that expect texts, the source text is taken.
 */
function takeTextsAsWritten(document: ReturnType<typeof parseDocument>, table: OptionTable): void {
  if (!isMap(document.contents)) return;
  for (const { key, value } of document.contents.items) {
    const name = isScalar(key) ? String(key.value) : "";
    if (!Object.hasOwn(table, name) || table[name]!.kind !== "map" || !isMap(value)) continue;
    for (const pair of value.items)
      if (isPair(pair)) {
        asWritten(pair.key);
        asWritten(pair.value);
      }
  }
}

function asWritten(node: unknown): void {
  if (isScalar(node) && ["boolean", "number", "bigint"].includes(typeof node.value) && node.source !== undefined)
    node.value = node.source;
}

/**
 * Options for resuming a folder: its own config.yaml, overridden by flags. The resumed work refuses forbidden changes.
 * @param name of the command @throws SoftpromptError "run" where there is no configuration.
 */
export async function resumedOptions(
  name: string,
  folder: string,
  table: OptionTable,
  flags: Readonly<Record<string, unknown>>,
): Promise<Record<string, unknown>> {
  const file = join(folder, fileNames.config);
  if (!existsSync(file))
    throw new SoftpromptError("run", "there is no run here to resume", {
      where: folder,
      expected: `a run folder with ${fileNames.config}`,
      hint: `softprompt ${name} without --resume starts a new run`,
    });
  if (typeof flags.output === "string" && resolve(flags.output) !== resolve(folder))
    throw new SoftpromptError("usage", "what is gone on with stays in its folder", {
      where: "output",
      expected: `no --output, or ${folder}`,
      got: flags.output,
      hint: "copy the folder first, and go on with the copy",
    });
  const [own, other]: readonly FolderKind[] = name === "train" ? ["run", "search"] : ["search", "run"];
  if (!holds(folder, own!) && holds(folder, other!))
    throw new SoftpromptError("run", `this folder holds a ${other}, not a ${own}`, {
      where: folder,
      expected: `a ${own} to go on with`,
      hint: `go on with it: ${resumeCommand(name === "train" ? "prune" : "train", folder)}`,
    });
  // a run is gone on with in the precision that it began with, which its configuration has
  const { precision, ...others } = flags;
  return {
    // what runs of earlier versions did: their configuration does not name it
    trainEnd: true,
    ...(await readConfig(file, table)),
    ...(precision === "auto" || precision === undefined ? others : flags),
    output: folder,
  };
}

/** Does work that records into a folder; where the file system ends it, the error says how to go on with what is kept there. */
export async function withResume<T>(kind: FolderKind, folder: string, work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    if (!(error instanceof SoftpromptError) || error.kind !== "io" || !holds(folder, kind)) throw error;
    throw withHint(error, `then ${howToGoOn[kind](folder)}`);
  }
}

const howToGoOn = {
  run: (folder) => `go on with: ${resumeCommand("train", folder)}`,
  search: (folder) => `go on with: ${resumeCommand("prune", folder)}`,
  study: () => "run the same command again: finished runs are kept",
} satisfies Record<FolderKind, (folder: string) => string>;

/** The resolved configuration as YAML, keys in the table's order, absent ones left out. */
export function configText(table: OptionTable, options: Readonly<Record<string, unknown>>): string {
  return stringify(given(table, options));
}

function given(table: OptionTable, options: Readonly<Record<string, unknown>>): Record<string, unknown> {
  const keys = Object.keys(table).filter((key) => options[key] !== undefined);
  return Object.fromEntries(keys.map((key) => [key, options[key]]));
}

/** Options that are always paths; `model` and `initFrom` can be names of a hub too. */
const paths: ReadonlySet<string> = new Set(["data", "train", "validation", "test", "from", "output"]);

/**
 * The configuration of a run that may be resumed from elsewhere: as configText, with absolute paths. The model's original name is a comment
 * behind its path, because records use that name, also after a resume.
 */
export function runConfigText(
  table: OptionTable,
  options: Readonly<Record<string, unknown>>,
  label: string | undefined,
): string {
  const isFolder = typeof options.model === "string" && existsSync(options.model);
  const isPath = (key: string, value: string) =>
    paths.has(key) || (key === "model" && isFolder) || (key === "initFrom" && !isHubAdapter(value));
  const whole = Object.entries(options).map(([key, value]) => [
    key,
    typeof value === "string" && value !== "" && isPath(key, value) ? resolve(value) : value,
  ]);
  const document = new Document(given(table, Object.fromEntries(whole)));
  const model = document.get("model", true);
  const name = label ?? (options.model as string);
  // biome-ignore lint/suspicious/noControlCharactersInRegex: a comment is one line
  if (isFolder && isScalar(model) && model.value !== name && name.trim() === name && !/[\x00-\x1f]/.test(name))
    (model as Scalar).comment = ` ${name}`;
  return document.toString({ lineWidth: 0 });
}

/** The name of a run's model at its begin, if it differs from the path and the path is still `path`. */
export function modelLabel(folder: string, path: string): string | undefined {
  const text = readWhole(join(folder, fileNames.config), "run", maxBytes)?.toString("utf8");
  const model = parseDocument(text ?? "").get("model", true);
  return (isScalar(model) && model.value === path && model.comment?.trim()) || undefined;
}
