/**
 * @file Descriptions of a command: help text for the terminal, a docs page in Markdown, a JSON schema for editors.
 *
 * In: a Command. Out: text or plain data. The code here does not depend on particular commands.
 */
import { errorKinds } from "../base/errors.js";
import { expectation, flagName, type ListOption, type Option, type OptionTable } from "../base/options.js";
import { type Command, globalOptions, optionTable } from "./command.js";
import { type Colors, plainColors } from "./terminal.js";

/** `softprompt train [MODEL] [options]` */
export function usage(name: string, command: Command): string {
  const places = command.positionals.map((p) => {
    const place = p.name.toUpperCase() + (p.many ? "…" : "");
    return p.required ? place : `[${place}]`;
  });
  return ["softprompt", name, ...places, "[options]"].join(" ");
}

/** The page `softprompt NAME --help` prints. */
export function helpText(name: string, command: Command, c: Colors, columns = 100): string {
  const known = Object.values(command.sections).flatMap((table) => Object.keys(table));
  const lines = [c.bold(usage(name, command)), "", ...wrap(command.description, "", columns), ""];
  const rows = (entries: readonly (readonly [string, string])[]) => {
    const left = Math.min(34, Math.max(...entries.map(([l]) => l.length)) + 2);
    for (const [l, r] of entries) {
      const [first = "", ...rest] = wrap(r, "", Math.max(30, columns - left - 2));
      lines.push(
        l.length >= left ? `  ${c.cyan(l)}\n  ${" ".repeat(left)}${first}` : `  ${c.cyan(l.padEnd(left))}${first}`,
      );
      for (const line of rest) lines.push(`  ${" ".repeat(left)}${line}`);
    }
    lines.push("");
  };
  if (command.positionals.length > 0) {
    lines.push(c.bold("Arguments"));
    rows(command.positionals.map((p) => [p.name.toUpperCase(), p.help] as const));
  }
  for (const [heading, table] of [...Object.entries(command.sections), ["Everywhere", globalOptions] as const]) {
    if (Object.keys(table).length === 0) continue;
    lines.push(c.bold(heading));
    rows(
      Object.entries(table).map(([key, option]) => [flagText(key, option), asFlags(sentence(option), known)] as const),
    );
  }
  if (command.examples.length > 0) lines.push(c.bold("Examples"), ...command.examples.map((e) => `  ${e}`), "");
  return lines.join("\n").trimEnd();
}

/** The same for `--json`: the text, and its parts; `options` is the schema of a configuration file. */
export function helpData(name: string, command: Command) {
  return {
    help: helpText(name, command, plainColors),
    command: name,
    summary: command.summary,
    usage: usage(name, command),
    arguments: command.positionals,
    options: jsonSchema(optionTable(command), `softprompt ${name}`),
    examples: command.examples,
  };
}

/** The page docs/commands/NAME.md. */
export function docsPage(name: string, command: Command): string {
  const parts = [
    `# softprompt ${name}`,
    "<!-- Made from the option tables by `npm run docs`; edit src/cli/commands instead. -->",
    command.description,
    `\`\`\`\n${usage(name, command)}\n\`\`\``,
  ];
  if (command.positionals.length > 0)
    parts.push(
      markdownRows(
        ["argument", "meaning"],
        command.positionals.map((p) => [`\`${p.name.toUpperCase()}\``, p.help]),
      ),
    );
  for (const [heading, table] of [...Object.entries(command.sections), ["Everywhere", globalOptions] as const])
    if (Object.keys(table).length > 0) parts.push(`## ${heading}`, optionsMarkdown(table));
  if (command.examples.length > 0) parts.push("## Examples", `\`\`\`sh\n${command.examples.join("\n")}\n\`\`\``);
  return `${parts.join("\n\n")}\n`;
}

/** One Markdown row per option: flag, config key, value, default, source. */
export function optionsMarkdown(table: OptionTable): string {
  return markdownRows(
    ["flag", "in the config", "value", "default", "what it does"],
    Object.entries(table).map(([key, option]) => [
      `\`${flagName(key)}\``,
      `\`${key}\``,
      expectation(option),
      option.required ? "required" : option.default === undefined ? "" : `\`${shown(option.default)}\``,
      option.help + (option.source === undefined ? "" : ` (${option.source})`),
    ]),
  );
}

/** JSON schema (2020-12) of a config file for this table. */
export function jsonSchema(table: OptionTable, title: string): Record<string, unknown> {
  return {
    $schema: "https://json-schema.org/draft/2020-12/schema",
    title,
    type: "object",
    additionalProperties: false,
    required: Object.keys(table).filter((key) => table[key]!.required),
    properties: Object.fromEntries(Object.entries(table).map(([key, option]) => [key, propertySchema(option)])),
  };
}

/** Exit codes as Markdown, from the one table of error kinds. */
export function exitCodesMarkdown(): string {
  const rows = [
    ["0", "success"],
    ["1", "`docs --check`: a page differs from what the commands say"],
    ...Object.entries(errorKinds).map(([kind, { exitCode, meaning }]) => [String(exitCode), `${kind}: ${meaning}`]),
    ["70", "a bug of softprompt; please report it"],
  ];
  return markdownRows(["code", "meaning"], rows);
}

function propertySchema(option: Option): Record<string, unknown> {
  const described = {
    description: option.help + (option.unit === undefined ? "" : ` (${option.unit})`),
    ...(option.default !== undefined && { default: option.default }),
  };
  const bounds = (o: { min?: number; max?: number }) => ({
    ...(o.min !== undefined && { minimum: o.min }),
    ...(o.max !== undefined && { maximum: o.max }),
  });
  switch (option.kind) {
    case "number":
    case "integer":
      return { type: option.kind, ...bounds(option), ...described };
    case "boolean":
      return { type: option.kind, ...described };
    case "string":
      return { type: option.kind, ...(option.placeholder !== undefined && { minLength: 1 }), ...described };
    case "choice":
      return { enum: option.values, ...described };
    case "list": {
      const item = {
        type: option.of,
        ...bounds(option),
        ...(option.values && { enum: option.values }),
        ...(option.placeholder !== undefined && { minLength: 1 }),
      };
      const several = { type: "array", items: item };
      return option.whole ? { anyOf: [item, several], ...described } : { ...several, ...described };
    }
    case "map":
      return { type: "object", additionalProperties: { type: "string" }, ...described };
  }
}

function flagText(key: string, option: Option): string {
  const flag = flagName(key);
  const value = {
    number: () => " N",
    integer: () => " N",
    boolean: () => "",
    string: () => ` ${"placeholder" in option && option.placeholder ? placeText(option.placeholder) : "TEXT"}`,
    choice: () => " NAME",
    list: () => {
      const { whole, placeholder } = option as ListOption;
      return placeholder !== undefined ? ` ${placeText(placeholder)}` : whole ? " TEXT" : " A,B,…";
    },
    map: () => " NAME=TEXT",
  } satisfies Record<Option["kind"], () => string>;
  if (option.kind === "boolean" && option.default === true) return `--no-${flag.slice(2)}`;
  return flag + value[option.kind]();
}

/** "run folder" → "RUN-FOLDER"; literal words stay: "tuned, init or step:N" → "tuned|init|step:N". */
function placeText(placeholder: string): string {
  return placeholder.includes(",")
    ? placeholder.replaceAll(/, | or /g, "|")
    : placeholder.toUpperCase().replaceAll(" ", "-");
}

/** Help texts use configuration names of options ("evalEvery"); on the command line they become flags. */
function asFlags(text: string, known: readonly string[]): string {
  return text.replaceAll(/\b[a-z]+(?:[A-Z][a-z]*)+\b/g, (word) => (known.includes(word) ? flagName(word) : word));
}

function sentence(option: Option): string {
  const notes = [
    option.kind === "choice"
      ? option.values.join(" | ")
      : option.kind === "list" && option.values
        ? option.values.join(" | ")
        : "",
    option.unit ?? "",
    option.required ? "required" : "",
    option.default === undefined || option.kind === "boolean" || shown(option.default) === ""
      ? ""
      : `default ${shown(option.default)}`,
    option.source ?? "",
  ].filter((n) => n !== "");
  // The flag shown is the one that turns it off.
  const help = option.kind === "boolean" && option.default === true ? `Turns off: ${option.help}` : option.help;
  return help + (notes.length > 0 ? ` [${notes.join("; ")}]` : "");
}

function shown(value: unknown): string {
  if (Array.isArray(value)) return value.join(",");
  return typeof value === "object" && value !== null
    ? Object.entries(value)
        .map(([k, v]) => `${k}=${v}`)
        .join(" ")
    : String(value);
}

function markdownRows(head: readonly string[], rows: readonly (readonly string[])[]): string {
  const line = (cells: readonly string[]) =>
    `| ${cells.map((c) => c.replaceAll("|", "\\|").replaceAll("\n", " ")).join(" | ")} |`;
  return [line(head), line(head.map(() => "---")), ...rows.map(line)].join("\n");
}

function wrap(text: string, indent: string, columns: number): string[] {
  return text.split("\n").flatMap((paragraph) => {
    const lines: string[] = [];
    let line = indent;
    for (const word of paragraph.split(" ")) {
      if (line.length > indent.length && line.length + word.length + 1 > columns) {
        lines.push(line);
        line = indent;
      }
      line += (line.length > indent.length ? " " : "") + word;
    }
    return [...lines, line];
  });
}
