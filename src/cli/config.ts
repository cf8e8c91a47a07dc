/**
 * @file One configuration file: YAML or JSON whose every field is an option. In: a path, a table. Out: checked values.
 */
import { existsSync } from "node:fs";
import { join } from "node:path";
import { parseDocument, stringify } from "yaml";
import { SoftpromptError } from "../base/errors.js";
import { readWhole } from "../base/files.js";
import { type OptionTable, pickOptions, readPartialOptions } from "../base/options.js";
import { runFiles } from "../workflow/tune.js";

/** Longer files are no configuration; the YAML parser takes seconds for a megabyte of numbers. */
const maxBytes = 1 << 17;

/**
 * Reads `--config FILE`. JSON is YAML too, so one parser reads both; duplicate keys and aliases are refused.
 *
 * @param table options of the command. @param others options of other commands: their keys may stand in the file too and are
 *   left alone, so that one file serves show, train and eval; a key that nobody knows is refused with the nearest name.
 */
export async function readConfig(
  file: string,
  table: OptionTable,
  others: OptionTable = {},
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
  const checked = readPartialOptions({ ...others, ...table }, value, file) as Record<string, unknown>;
  return pickOptions(table, checked);
}

/**
 * Options of what is in a folder already: its own config.yaml, flags over it. What must not change is refused by whoever goes on with it.
 * @param name of the command @throws SoftpromptError "run" where there is no configuration.
 */
export async function resumedOptions(
  name: string,
  folder: string,
  table: OptionTable,
  flags: Readonly<Record<string, unknown>>,
): Promise<Record<string, unknown>> {
  const file = join(folder, runFiles.config);
  if (!existsSync(file))
    throw new SoftpromptError("run", "there is no run here to resume", {
      where: folder,
      expected: `a run folder with ${runFiles.config}`,
      hint: `softprompt ${name} without --resume starts a new run`,
    });
  return { ...(await readConfig(file, table)), ...flags, output: folder };
}

/** The resolved configuration as YAML, keys in the table's order, absent ones left out. */
export function configText(table: OptionTable, options: Readonly<Record<string, unknown>>): string {
  const given = Object.keys(table).filter((key) => options[key] !== undefined);
  return stringify(Object.fromEntries(given.map((key) => [key, options[key]])));
}
