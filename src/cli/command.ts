/**
 * @file The type of a command: data (summary, positionals, option tables) and one function.
 *
 * Help, documentation pages, the JSON schema and the parser are all made from this one value.
 */
import { boolean, type OptionTable, type OptionValues, string } from "../base/options.js";
import type { Terminal } from "./terminal.js";

export interface Positional {
  readonly name: string;
  readonly help: string;
  readonly required: boolean;
  /** Takes all remaining arguments. Only the last positional may do so. */
  readonly many?: boolean;
}

type Sections = Readonly<Record<string, OptionTable>>;
type Intersection<U> = (U extends unknown ? (u: U) => void : never) extends (i: infer I) => void ? I : never;
/** All option tables of a command as one. */
export type Merged<S extends Sections> = Intersection<S[keyof S]> extends infer T extends OptionTable ? T : never;

/** What a command is given to work with. */
export interface CommandContext {
  readonly terminal: Terminal;
  /** Aborted at the first SIGINT, SIGTERM or SIGHUP; the reason is the signal's name. */
  readonly signal: AbortSignal;
  /** The values given by flags and config file, without defaults. */
  readonly given: Readonly<Record<string, unknown>>;
  /** Those of them that are flags. */
  readonly flags: Readonly<Record<string, unknown>>;
  /** What the error of a signal says of the work that is done by then; asked when the signal ends the command. */
  readonly atStop: (done: () => string) => void;
}

/** A command's answer: `json` for `--json`, `text` for people. Null if the command has written its own output. */
export interface Answer {
  readonly json: unknown;
  readonly text: string;
  /** Exit code when it is not 0 though nothing was thrown (interrupted runs, a doctor that found a fault). */
  readonly exitCode?: number;
}

export interface Command<S extends Sections = Sections> {
  /** One line for the list of commands. */
  readonly summary: string;
  /** Paragraphs for --help and the docs page. */
  readonly description: string;
  readonly positionals: readonly Positional[];
  /** Heading → options. */
  readonly sections: S;
  /** Example command lines. */
  readonly examples: readonly string[];
  /**
   * Present if the command must finish something after a signal, however long that takes: the message about it. Other commands end at once.
   */
  readonly saves?: string;
  /** Refuses what can be refused of checked options before any work; the studio asks it before it starts the command. */
  check?(options: Readonly<Record<string, unknown>>): Promise<void>;
  run(
    options: OptionValues<Merged<S>>,
    positionals: readonly string[],
    context: CommandContext,
  ): Promise<Answer | null>;
}

/** Keeps the exact option types while a command is declared. */
// biome-ignore lint/suspicious/noExplicitAny: the commands table holds commands of all option types
export function command<const S extends Sections>(definition: Command<S>): Command<any> {
  return definition;
}

/** Options every command has. */
export const globalOptions = {
  config: string({
    help: "YAML or JSON file with option values; flags override it",
    placeholder: "file",
  }),
  json: boolean({ default: false, help: "machine-readable: stdout carries only JSON" }),
  quiet: boolean({ default: false, help: "no progress, no notes; errors and results only" }),
  help: boolean({ default: false, help: "show this help" }),
} satisfies OptionTable;

/** All options of a command in one table, the global ones last. */
export function optionTable(command: Command): OptionTable {
  return Object.assign({}, ...Object.values(command.sections), globalOptions);
}
