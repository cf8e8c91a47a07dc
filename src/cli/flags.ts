/**
 * @file The command line of an option table, on node:util parseArgs. In: argv, a table. Out: given values and positionals.
 *
 * Text is converted to numbers, lists and maps here; only base/options.ts checks the values.
 * Every key has one flag (`learningRate` → `--learning-rate`); booleans have `--no-…` too; `--flag=value` and `--flag value`
 * both work; lists take commas or repeated flags; maps take `key=text`, repeated. Of any other flag that is given twice the last value is
 * taken, which is said where the values differ; a name of a map has one text.
 */
import { parseArgs } from "node:util";
import { nearest, SoftpromptError } from "../base/errors.js";
import { checkOption, expectation, flagName, type Option, type OptionTable, renamedText } from "../base/options.js";

export interface ParsedFlags {
  /** Key → checked value, only what was given. */
  readonly values: Readonly<Record<string, unknown>>;
  readonly positionals: readonly string[];
}

/** Short forms, the same for every command. */
const shorts: Readonly<Record<string, string>> = { h: "help", q: "quiet", V: "version" };

/**
 * @param onNotice is called for renamed flags, and for values that a later one replaces.
 * @throws SoftpromptError "usage" for unknown flags (with the nearest name), missing values, values out of range.
 */
export function parseFlags(
  table: OptionTable,
  argv: readonly string[],
  command: string,
  onNotice: (message: string) => void = () => {},
): ParsedFlags {
  const byFlag = new Map<string, { key: string; option: Option; negated: boolean }>();
  for (const [key, option] of Object.entries(table)) {
    const flag = flagName(key).slice(2);
    byFlag.set(flag, { key, option, negated: false });
    if (option.kind === "boolean") byFlag.set(`no-${flag}`, { key, option, negated: true });
  }
  const known = [...byFlag.keys()];
  for (const [key, option] of Object.entries(table)) {
    const flag = option.formerly === undefined ? "" : flagName(option.formerly).slice(2);
    if (flag !== "" && !byFlag.has(flag)) byFlag.set(flag, { key, option, negated: false });
  }
  const { tokens } = parseArgs({
    args: [...argv],
    strict: false,
    allowPositionals: true,
    tokens: true,
    options: Object.fromEntries(
      [...byFlag].map(([flag, { key, option }]) => {
        const short = Object.entries(shorts).find(([, name]) => name === key)?.[0];
        return [flag, { type: option.kind === "boolean" ? "boolean" : "string", ...(short && { short }) }] as const;
      }),
    ),
  });
  const texts = new Map<string, { option: Option; flag: string; values: (string | boolean)[] }>();
  const positionals: string[] = [];
  for (const token of tokens) {
    if (token.kind === "positional") positionals.push(token.value);
    if (token.kind !== "option") continue;
    const found = byFlag.get(token.name);
    if (found === undefined) throw unknownFlag(token.rawName, known, command);
    const { key, option, negated } = found;
    if (!known.includes(token.name)) onNotice(renamedText(token.rawName, flagName(key)));
    const entry = texts.get(key) ?? { option, flag: token.rawName, values: [] };
    texts.set(key, entry);
    if (option.kind === "boolean") {
      if (token.value !== undefined)
        throw new SoftpromptError("usage", "this flag takes no value", {
          where: token.rawName,
          got: token.value,
          hint: `write --${flagName(key).slice(2)} or --no-${flagName(key).slice(2)}`,
        });
      entry.values.push(!negated);
    } else {
      // In non-strict mode parseArgs takes the next flag as the value. A negative number is the only allowed value that begins with "-".
      const swallowed = !token.inlineValue && /^-(?![\d.])./.test(token.value ?? "");
      if (token.value === undefined || swallowed)
        throw new SoftpromptError("usage", "this flag needs a value", {
          where: token.rawName,
          expected: expectation(option),
          got: swallowed ? `the flag ${token.value}` : undefined,
        });
      entry.values.push(token.value);
    }
  }
  const values: Record<string, unknown> = {};
  for (const [key, { option, flag, values: given }] of texts) {
    values[key] = checkOption(option, fromText(option, given, flag), flag, onNotice);
    const single = option.kind !== "list" && option.kind !== "map";
    if (single && new Set(given).size > 1)
      onNotice(
        `${flag} is given ${given.length} times: ${given.slice(0, -1).join(", ")} is not used, ${given.at(-1)} is`,
      );
  }
  return { values, positionals };
}

/** A text as a value of an option, as its flag reads it; true or false for a boolean. @throws SoftpromptError "usage" */
export function valueFromText(option: Option, text: string, where: string): unknown {
  const truth = option.kind === "boolean" && (text === "true" || text === "false");
  return checkOption(option, truth ? text === "true" : fromText(option, [text], where), where);
}

/** Flag texts as the JSON value the option means; text that cannot be converted stays text, and checkOption refuses it. */
function fromText(option: Option, given: readonly (string | boolean)[], flag: string): unknown {
  const last = given[given.length - 1]!;
  switch (option.kind) {
    case "number":
    case "integer":
      return numeric(String(last));
    case "list": {
      if (option.whole) return given.map(String);
      const items = given.flatMap((text) => (text === "" ? [] : String(text).split(",")));
      return option.of === "string" ? items : items.map(numeric);
    }
    case "map": {
      const pairs = new Map<string, string>();
      for (const text of given.map(String)) {
        const at = text.indexOf("=");
        if (at < 1)
          throw new SoftpromptError("usage", "this is not a name with a text", {
            where: flag,
            expected: "name=text, the flag repeated for each name",
            got: text,
          });
        const [name, own] = [text.slice(0, at), text.slice(at + 1)];
        if ((pairs.get(name) ?? own) !== own)
          throw new SoftpromptError("usage", "one name has two texts", {
            where: flag,
            expected: "each name once",
            got: `${name}=${pairs.get(name)}, ${text}`,
          });
        pairs.set(name, own);
      }
      return Object.fromEntries(pairs);
    }
    default:
      return last;
  }
}

function numeric(text: string): number | string {
  return /^[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?$/i.test(text.trim()) ? Number(text) : text;
}

function unknownFlag(raw: string, known: readonly string[], command: string): SoftpromptError {
  const near = nearest(raw.replace(/^--?/, ""), known);
  return new SoftpromptError("usage", `unknown option ${raw}`, {
    where: command,
    expected: `an option of this command; see ${command} --help`,
    got: raw,
    hint: near === undefined ? undefined : `did you mean --${near}?`,
  });
}
