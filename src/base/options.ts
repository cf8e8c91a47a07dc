/**
 * @file Options as data: one declaration gives the TypeScript type and the check of a config object. From the same declaration cli/flags.ts
 * and cli/describe.ts make the command-line flags, help text, docs table and JSON schema.
 *
 * In: a table `{ learningRate: number({ default: 0.3, min: 0, help: "…" }), … }` and an unknown value (YAML, JSON).
 * Out: `OptionValues<typeof table>` with defaults filled in, or a SoftpromptError of kind "usage".
 * Keys are camelCase in code and config; the flag of `learningRate` is `--learning-rate`.
 * An option that was renamed says so (`formerly`): its old name is understood for one version, and a warning gives the new one.
 */
import { nearest, SoftpromptError } from "./errors.js";

/** What every option says of itself. */
export interface OptionDescription {
  /** One sentence: what the option does and what goes wrong with a bad value. Ends without a full stop in tables; any form is fine. */
  readonly help: string;
  /** "steps", "tokens, prompt not counted", … */
  readonly unit?: string;
  /** Where the default comes from: "xprompt.md §2", "our choice". */
  readonly source?: string;
  /** Its name in the version before. */
  readonly formerly?: string;
  /** Where it is not given, another value than the default may be taken, one that suits the other options. */
  readonly suited?: true;
}

/** What options of every kind have. */
export interface OptionCommon<V> extends OptionDescription {
  /** Value when absent; undefined where there is none. */
  readonly default: V | undefined;
  /** Absent is an error. */
  readonly required: boolean;
  /** Carries the type only; never set. */
  readonly value?: () => V;
}

/** A number or a whole number within bounds. */
export interface NumberOption<V = number | undefined> extends OptionCommon<V> {
  readonly kind: "number" | "integer";
  /** Inclusive bounds. */
  readonly min?: number;
  readonly max?: number;
}
/** True or false. */
export interface BooleanOption<V = boolean | undefined> extends OptionCommon<V> {
  readonly kind: "boolean";
}
/** Any text. */
export interface StringOption<V = string | undefined> extends OptionCommon<V> {
  readonly kind: "string";
  /** The word that the help shows instead of "text": "file", "folder", "path or hub id". */
  readonly placeholder?: string;
}
/** One of some words. */
export interface ChoiceOption<V = string | undefined> extends OptionCommon<V> {
  readonly kind: "choice";
  readonly values: readonly string[];
  /** Word of the version before → the word that it is now. */
  readonly formerValues?: Readonly<Record<string, string>>;
}
/** Several texts or numbers. */
export interface ListOption<V = readonly (string | number)[] | undefined> extends OptionCommon<V> {
  readonly kind: "list";
  readonly of: "string" | "number" | "integer";
  readonly min?: number;
  readonly max?: number;
  /** Every item must be one of these. */
  readonly values?: readonly string[];
  /** On the command line each flag is one item, commas and all; elsewhere a text alone is a list of one. */
  readonly whole?: boolean;
  /** What an item names, as of a text option: an item is not empty then. */
  readonly placeholder?: string;
}
/** Names with texts. */
export interface MapOption<V = Readonly<Record<string, string>> | undefined> extends OptionCommon<V> {
  readonly kind: "map";
  /** In a configuration a text may be a list, which is taken as JSON. */
  readonly lists?: true;
}

/** One option of a table. */
// biome-ignore lint/suspicious/noExplicitAny: V is invariant-free phantom here; any option whatever its value type
export type Option<V = any> =
  | NumberOption<V>
  | BooleanOption<V>
  | StringOption<V>
  | ChoiceOption<V>
  | ListOption<V>
  | MapOption<V>;

/** Key → option. Declare with `satisfies OptionTable` or plainly; the builders below keep the exact types. */
export type OptionTable = Readonly<Record<string, Option>>;

/** The record a table describes. Options with neither default nor `required` may be undefined. */
export type OptionValues<T extends OptionTable> = {
  readonly [K in keyof T]: T[K] extends { readonly value?: () => infer V } ? V : never;
};

/** T where the spec has a default or is required; T | undefined otherwise. */
type ValueOf<S, T> = S extends { default: T } ? T : S extends { required: true } ? T : T | undefined;
type Spec<T, Extra = unknown> = OptionDescription & { default?: T; required?: boolean } & Extra;
type Bounds = { min?: number; max?: number };

const common = (spec: { default?: unknown; required?: boolean }) => ({
  default: spec.default as never,
  required: spec.required ?? false,
});

/** A finite number within inclusive bounds. */
export function number<const S extends Spec<number, Bounds>>(spec: S): NumberOption<ValueOf<S, number>> {
  return { kind: "number", ...spec, ...common(spec) };
}

/** A whole number within inclusive bounds. */
export function integer<const S extends Spec<number, Bounds>>(spec: S): NumberOption<ValueOf<S, number>> {
  return { kind: "integer", ...spec, ...common(spec) };
}

/** True or false; `--name` and `--no-name`. */
export function boolean<const S extends Spec<boolean>>(spec: S): BooleanOption<ValueOf<S, boolean>> {
  return { kind: "boolean", ...spec, ...common(spec) };
}

/** Any text. */
export function string<const S extends Spec<string, { placeholder?: string }>>(
  spec: S,
): StringOption<ValueOf<S, string>> {
  return { kind: "string", ...spec, ...common(spec) };
}

/** One of `values`. */
export function choice<
  const S extends Spec<string, { values: readonly string[]; formerValues?: Readonly<Record<string, string>> }>,
>(
  spec: S,
): ChoiceOption<
  S extends { default: string } | { required: true } ? S["values"][number] : S["values"][number] | undefined
> {
  return { kind: "choice", ...spec, ...common(spec) } as never;
}

type ItemOf<S> = S extends { of: "number" | "integer" }
  ? number
  : S extends { values: readonly (infer V)[] }
    ? V
    : string;
type ListSpec = OptionDescription &
  Bounds & {
    of?: "string" | "number" | "integer";
    values?: readonly string[];
    default?: readonly (string | number)[];
    required?: boolean;
    whole?: boolean;
    placeholder?: string;
  };

/** A list of strings (or numbers, integers); on the command line comma-separated, or the flag repeated. */
export function list<const S extends ListSpec>(
  spec: S,
): ListOption<
  S extends { default: readonly unknown[] } | { required: true }
    ? readonly ItemOf<S>[]
    : readonly ItemOf<S>[] | undefined
> {
  return { kind: "list", of: "string", ...spec, ...common(spec) } as never;
}

/** Name → text, e.g. a verbalizer; on the command line `--verbalizer 0=terrible --verbalizer 1=great`. */
export function map<const S extends Spec<Readonly<Record<string, string>>, { lists?: true }>>(
  spec: S,
): MapOption<
  S extends { default: object } | { required: true }
    ? Readonly<Record<string, string>>
    : Readonly<Record<string, string>> | undefined
> {
  return { kind: "map", ...spec, ...common(spec) } as never;
}

/** Options of `table` by their defaults alone; throws where one is required. */
export function defaults<T extends OptionTable>(table: T): OptionValues<T> {
  return readOptions(table, {}, "defaults");
}

/**
 * Checks an object against a table and fills in the defaults.
 *
 * @param value e.g. a parsed YAML file; undefined or null is the empty object.
 * @param where named in errors: "run.yaml", "train()".
 * @param onRenamed is called for every renamed name that is used. Default: one process warning per name.
 * @throws SoftpromptError "usage" naming the key: unknown (with the nearest known name), wrong type, out of range, missing.
 */
export function readOptions<T extends OptionTable>(
  table: T,
  value: unknown,
  where: string,
  onRenamed: OnRenamed = warnOnce,
): OptionValues<T> {
  const given = readPartialOptions(table, value, where, onRenamed) as Record<string, unknown>;
  const out: Record<string, unknown> = {};
  for (const [key, option] of Object.entries(table)) {
    out[key] = given[key] ?? option.default;
    if (out[key] === undefined && option.required)
      throw new SoftpromptError("usage", `${key} is missing`, {
        where,
        expected: `${expectation(option)}: ${option.help}`,
        hint: `give ${flagName(key)} or write \`${key}:\` in the config`,
      });
  }
  return out as OptionValues<T>;
}

/** As readOptions, but only what was given: no defaults, nothing required. Null and undefined values count as absent. */
export function readPartialOptions<T extends OptionTable>(
  table: T,
  value: unknown,
  where: string,
  onRenamed: OnRenamed = warnOnce,
): Partial<OptionValues<T>> {
  if (value === undefined || value === null) return {};
  if (typeof value !== "object" || Array.isArray(value))
    throw new SoftpromptError("usage", "the configuration is not a mapping", {
      where,
      expected: "keys with values, e.g. `learningRate: 0.3`",
      got: value,
    });
  const out: Record<string, unknown> = {};
  for (const [key, v] of Object.entries(currentNames(value, renamedIn(table), where, onRenamed))) {
    if (!Object.hasOwn(table, key)) throw unknownOption(key, Object.keys(table), where);
    if (v !== undefined && v !== null) out[key] = checkOption(table[key]!, v, `${where}: ${key}`, onRenamed);
  }
  return out as Partial<OptionValues<T>>;
}

/**
 * Checks values that a program hands in complete, as readOptions returns them. Keys that are not of the table are not looked at.
 * @throws SoftpromptError "usage" naming the key: missing, wrong type, out of range.
 */
export function checkOptions<T extends OptionTable>(table: T, values: OptionValues<T>, where: string): void {
  for (const [key, option] of Object.entries(table)) {
    const value: unknown = values[key];
    // nothing is replaced here, so a word of the version before is no value
    const current = option.kind === "choice" ? { ...option, formerValues: {} } : option;
    if (value !== undefined) checkOption(current, value, `${where}: ${key}`);
    else if (option.required || option.default !== undefined)
      throw new SoftpromptError("usage", `${key} is missing`, {
        where,
        expected: expectation(option),
        hint: "start from the defaults of the table: { ...defaults(table), … }",
      });
  }
}

/** Called with the present name of a renamed option or word. */
export type OnRenamed = (message: string) => void;

/** Old name → the name that it is now. */
export type Renamed = Readonly<Record<string, string>>;

/** The options of a table that were renamed. */
export function renamedIn(table: OptionTable): Renamed {
  return Object.fromEntries(
    Object.entries(table).flatMap(([key, { formerly }]) => (formerly === undefined ? [] : [[formerly, key]])),
  );
}

/**
 * The object with values of old names moved to the new names.
 * @throws SoftpromptError "usage" where one option is given under both.
 */
export function currentNames<G extends object>(
  given: G,
  renamed: Renamed,
  where: string,
  onRenamed: OnRenamed = warnOnce,
): G {
  const old = Object.keys(given).filter((key) => Object.hasOwn(renamed, key));
  if (old.length === 0) return given;
  const out = { ...given } as Record<string, unknown>;
  for (const key of old) {
    const name = renamed[key]!;
    const value = out[key];
    delete out[key];
    if (value === undefined) continue;
    if (out[name] !== undefined)
      throw new SoftpromptError("usage", "one option is given under two names", {
        where,
        expected: name,
        got: `${key} and ${name}`,
        hint: `${key} is the old name of ${name}`,
      });
    onRenamed(renamedText(key, name));
    out[name] = value;
  }
  return out as G;
}

/** The warning about a renamed name. */
export function renamedText(old: string, name: string): string {
  return `${old} is called ${name} now; the old name is understood in this version for the last time`;
}

const warned = new Set<string>();

/** Emits the warning as Node emits deprecations. */
function warnOnce(message: string): void {
  if (warned.has(message)) return;
  warned.add(message);
  process.emitWarning(message, { type: "DeprecationWarning", code: "SOFTPROMPT_RENAMED" });
}

/** The options of one table out of those of several: a command's options hold every room's. */
export function pickOptions<T extends OptionTable>(table: T, options: object): Partial<OptionValues<T>> {
  return Object.fromEntries(Object.entries(options).filter(([key]) => Object.hasOwn(table, key))) as Partial<
    OptionValues<T>
  >;
}

/** Option → the library's calls that take it, by the tables that say whose they are. */
const calls = new Map<string, string[]>();

/** Says which call of the library takes these options, so that another call can tell where an option belongs. @returns the table */
export function optionsOf<T extends OptionTable>(call: string, table: T): T {
  for (const name of Object.keys(table)) calls.set(name, [...new Set([...(calls.get(name) ?? []), call])]);
  return table;
}

/** "unknown option" with the nearest known name as the hint, or the call of the library that has it. */
export function unknownOption(name: string, known: readonly string[], where: string): SoftpromptError {
  const near = nearest(name, known);
  // a call of the library is named with its brackets
  if (where.includes("()")) {
    const others = calls.get(name) ?? [];
    return new SoftpromptError("usage", `unknown option ${JSON.stringify(name)}`, {
      where,
      expected: near === undefined || known.length <= 12 ? `one of ${known.join(", ")}` : undefined,
      got: name,
      hint:
        others.length > 0
          ? `${name} is an option of ${others.slice(0, 3).join(" and of ")}`
          : near && `did you mean ${JSON.stringify(near)}?`,
    });
  }
  return new SoftpromptError("usage", `unknown option ${JSON.stringify(name)}`, {
    where,
    expected: known.length <= 12 ? `one of ${known.join(", ")}` : "a known option; see --help",
    got: name,
    hint: near === undefined ? undefined : `did you mean ${JSON.stringify(near)}?`,
  });
}

/** Checks one value (already of its JSON type). @returns the value, typed. @throws SoftpromptError "usage". */
export function checkOption(option: Option, value: unknown, where: string, onRenamed: OnRenamed = warnOnce): unknown {
  const refuse = (hint?: string) =>
    new SoftpromptError("usage", "this value cannot be used", {
      where,
      expected: expectation(option),
      got: value,
      hint,
    });
  switch (option.kind) {
    case "number":
    case "integer":
      if (!numberFits(value, option.kind, option)) throw refuse();
      return value;
    case "boolean":
      if (typeof value !== "boolean") throw refuse();
      return value;
    case "string":
      if (typeof value !== "string") throw refuse(typeof value === "number" ? "put it in quotes" : undefined);
      // a placeholder says what the value names, and nothing has an empty name: as a folder it would be the one that one stands in
      if (value === "" && option.placeholder !== undefined) throw refuse("leave the option out, or name one");
      return value;
    case "choice": {
      if (typeof value === "string" && option.values.includes(value)) return value;
      if (typeof value === "string" && Object.hasOwn(option.formerValues ?? {}, value)) {
        const word = option.formerValues![value]!;
        onRenamed(renamedText(`${where.split(" ").at(-1)} ${value}`, word));
        return word;
      }
      const near = typeof value === "string" ? nearest(value, option.values) : undefined;
      throw refuse(near === undefined ? undefined : `did you mean ${JSON.stringify(near)}?`);
    }
    case "list": {
      const items = option.whole && typeof value === "string" ? [value] : value;
      if (!Array.isArray(items)) throw refuse();
      for (const item of items) {
        if (item === "" && option.placeholder !== undefined) throw refuse("leave the option out, or name one");
        if (option.of !== "string" ? !numberFits(item, option.of, option) : typeof item !== "string") throw refuse();
        if (option.values !== undefined && !option.values.includes(item)) {
          const near = nearest(String(item), option.values);
          throw refuse(near === undefined ? undefined : `did you mean ${JSON.stringify(near)}?`);
        }
      }
      return items;
    }
    case "map": {
      if (typeof value !== "object" || value === null || Array.isArray(value)) throw refuse();
      const entries = Object.entries(value).map(([k, v]) => {
        if (option.lists && Array.isArray(v)) return [k, JSON.stringify(v)] as const;
        if (!["string", "number", "boolean"].includes(typeof v)) throw refuse();
        return [k, String(v)] as const;
      });
      return Object.fromEntries(entries);
    }
  }
}

/**
 * The values as words of a command line, in the table's order; what is undefined is left out. cli/flags.ts reads them back.
 * @throws SoftpromptError "usage" for what no flag can hold: an item of a list that has a comma or is a single empty one, a name of a map
 * that has "=" or is empty, a NUL.
 */
export function flagWords(table: OptionTable, values: Readonly<Record<string, unknown>>): string[] {
  return Object.entries(table).flatMap(([key, option]) => {
    const value = values[key];
    if (value === undefined || value === null) return [];
    const flag = flagName(key);
    const refuse = (expected: string, got: string) =>
      new SoftpromptError("usage", "this value cannot be written on a command line", {
        where: flag,
        expected,
        got,
        hint: "write it in a configuration file",
      });
    const words = (value: unknown) => {
      const text = String(value);
      if (text.includes("\0")) throw refuse("text without NUL characters", text);
      return text === "" || text.startsWith("-") ? [`${flag}=${text}`] : [flag, text];
    };
    switch (option.kind) {
      case "boolean":
        return [value ? flag : `--no-${flag.slice(2)}`];
      case "list": {
        const items = (Array.isArray(value) ? value : [value]).map(String);
        if (option.whole) return items.flatMap(words);
        const divided = items.find((item) => item.includes(","));
        if (divided !== undefined) throw refuse("items without commas", divided);
        if (items.length === 1 && items[0] === "") throw refuse("an item that is not empty", "");
        return words(items.join(","));
      }
      case "map":
        return Object.entries(value).flatMap(([name, text]) => {
          if (name === "" || name.includes("=")) throw refuse('names without "=", none of them empty', name);
          return words(`${name}=${text}`);
        });
      default:
        return words(value);
    }
  });
}

/** What a value of this option looks like, in words: "a whole number, at least 1 (steps)". */
export function expectation(option: Option): string {
  const words = {
    number: () => `a number${range(option as NumberOption)}`,
    integer: () => `a whole number${range(option as NumberOption)}`,
    boolean: () => "true or false",
    string: () => (option as StringOption).placeholder ?? "text",
    choice: () => `one of ${(option as ChoiceOption).values.join(", ")}`,
    list: () => {
      const { of, values, placeholder } = option as ListOption;
      if (placeholder !== undefined) return `${placeholder}, or a list of them`;
      const item = values
        ? values.join(", ")
        : of === "string"
          ? "texts"
          : of === "integer"
            ? "whole numbers"
            : "numbers";
      return `a list of ${item}${range(option as ListOption)}`;
    },
    map: () =>
      (option as MapOption).lists ? "names with lists of values" : "names with texts, e.g. { no: False, yes: True }",
  } satisfies Record<Option["kind"], () => string>;
  return words[option.kind]() + (option.unit === undefined ? "" : ` (${option.unit})`);
}

/** `learningRate` → `--learning-rate`. */
export function flagName(key: string): string {
  return `--${key.replace(/[A-Z]/g, (c) => `-${c.toLowerCase()}`)}`;
}

function range({ min, max }: { min?: number; max?: number }): string {
  if (min !== undefined && max !== undefined) return ` from ${min} to ${max}`;
  if (min !== undefined) return `, at least ${min}`;
  return max !== undefined ? `, at most ${max}` : "";
}

function numberFits(value: unknown, kind: "number" | "integer", { min, max }: { min?: number; max?: number }): boolean {
  return (
    typeof value === "number" &&
    (kind === "integer" ? Number.isSafeInteger(value) : Number.isFinite(value)) &&
    value >= (min ?? Number.NEGATIVE_INFINITY) &&
    value <= (max ?? Number.POSITIVE_INFINITY)
  );
}
