/**
 * @file One invocation of the command line as a function, so that tests can call it. In: argv, streams. Out: exit code.
 */
import { interrupted, nearest, SoftpromptError, withHint } from "../base/errors.js";
import { type OnRenamed, type OptionTable, readOptions } from "../base/options.js";
import { packageInfo } from "../base/package.js";
import { type Answer, type Command, globalOptions, optionTable } from "./command.js";
import { commands as allCommands, type Loaders, loadCommands } from "./commands.js";
import { tablesWithin } from "./printable.js";
import {
  type Colors,
  terminal as openTerminal,
  plainColors,
  type Terminal,
  type TerminalSettings,
} from "./terminal.js";

export interface World extends Pick<TerminalSettings, "stdout" | "stderr" | "env"> {
  readonly signal: AbortSignal;
}

const exitOfABug = 70;

/** Runs `softprompt …argv`. Never throws. @returns the exit code. */
export async function run(argv: readonly string[], world: World, commands: Loaders = allCommands): Promise<number> {
  // Errors in the flags themselves must already honour --json and --quiet.
  let terminal = openTerminal({ ...world, json: argv.includes("--json"), quiet: argv.includes("--quiet") });
  try {
    const [name = "--help", ...rest] = argv;
    if (["--version", "-V", "version"].includes(name)) {
      terminal.result(terminal.json ? JSON.stringify({ version: packageInfo().version }) : packageInfo().version);
      return 0;
    }
    if (["--help", "-h", "help"].includes(name) && (rest.length === 0 || rest[0]!.startsWith("-"))) {
      const all = await loadCommands(commands);
      if (terminal.json) terminal.result(JSON.stringify(overviewData(all), null, 2));
      else terminal.result(overview(terminal.resultColors, all));
      return 0;
    }
    const [wanted, args] = name === "help" ? [rest[0]!, ["--help"]] : [name, rest];
    const command = await find(wanted, commands)();
    const table = optionTable(command);
    const { parseFlags } = await import("./flags.js");
    const renamed: string[] = [];
    const onRenamed = (message: string) => renamed.push(message);
    const { values, positionals } = parseFlags(table, args, `softprompt ${wanted}`, onRenamed);
    if (values.help) {
      const { helpData, helpText } = await import("./describe.js");
      if (terminal.json) terminal.result(JSON.stringify(helpData(wanted, command), null, 2));
      else terminal.result(helpText(wanted, command, terminal.resultColors, Math.min(110, terminal.columns)));
      return 0;
    }
    const config = values.config === undefined ? {} : await configOf(String(values.config), table, commands, onRenamed);
    const options = readOptions(table, { ...config, ...values }, `softprompt ${wanted}`) as Record<string, unknown>;
    checkPositionals(wanted, command, positionals);
    terminal = openTerminal({ ...world, json: Boolean(options.json), quiet: Boolean(options.quiet) });
    for (const message of renamed) terminal.note(`${terminal.colors.yellow("notice")} ${message}`);
    const own = (all: Readonly<Record<string, unknown>>) =>
      Object.fromEntries(Object.entries(all).filter(([key]) => !Object.hasOwn(globalOptions, key)));
    let done: (() => string) | undefined;
    const work = command.run(own(options), positionals, {
      terminal,
      signal: world.signal,
      given: own({ ...config, ...values }),
      flags: own(values),
      atStop: (told) => {
        done = told;
      },
    });
    const answer = await untilSignal(work, wanted, command, terminal, world.signal).catch((error) => {
      const stopped = error instanceof SoftpromptError && error.kind === "interrupted" && done !== undefined;
      throw stopped ? withHint(error, done!()) : error;
    });
    if (answer !== null)
      terminal.result(terminal.json ? JSON.stringify(answer.json, null, 2) : shown(answer, terminal));
    return answer?.exitCode ?? 0;
  } catch (error) {
    terminal.settle();
    return report(error, terminal, world);
  }
}

/** Values of the configuration file; keys that are only options of other commands are ignored. */
async function configOf(
  file: string,
  table: OptionTable,
  commands: Loaders,
  onRenamed: OnRenamed,
): Promise<Record<string, unknown>> {
  const { readConfig } = await import("./config.js");
  // if commands use a name for different options (--adapter), the first command's meaning is the usual one
  const tables = Object.values(await loadCommands(commands)).map(optionTable);
  const everyOption = Object.assign({}, ...tables.reverse());
  return readConfig(file, table, everyOption, onRenamed);
}

function find(name: string, commands: Loaders): () => Promise<Command> {
  if (Object.hasOwn(commands, name)) return commands[name]!;
  const near = nearest(name, Object.keys(commands));
  throw new SoftpromptError("usage", `unknown command ${JSON.stringify(name)}`, {
    where: "softprompt",
    expected: `one of ${Object.keys(commands).join(", ")}`,
    got: name,
    hint: near === undefined ? "softprompt --help lists the commands" : `did you mean "${near}"?`,
  });
}

function checkPositionals(name: string, command: Command, given: readonly string[]): void {
  const required = command.positionals.filter((p) => p.required);
  const missing = required[given.length];
  const where = `softprompt ${name}`;
  if (missing !== undefined)
    throw new SoftpromptError("usage", `${missing.name.toUpperCase()} is missing`, {
      where,
      expected: missing.help,
      hint: `softprompt ${name} --help`,
    });
  const many = command.positionals.some((p) => p.many);
  if (!many && given.length > command.positionals.length)
    throw new SoftpromptError("usage", "too many arguments", {
      where,
      expected:
        command.positionals.length === 0
          ? "options only"
          : command.positionals.map((p) => p.name.toUpperCase()).join(" "),
      got: given[command.positionals.length],
      hint: "put a text with blanks in quotes",
    });
}

/** How long a command with nothing to save may take to end by itself after a signal, in milliseconds. */
const grace = 1500;

/** Reports at a signal what happens now. A command with nothing to save that does not react is abandoned. */
async function untilSignal<T>(
  work: Promise<T>,
  name: string,
  { saves }: Command,
  terminal: Terminal,
  signal: AbortSignal,
): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const left = new Promise<never>((_, leave) => {
    const told = () => {
      terminal.settle();
      terminal.warn(`${signal.reason}: ${saves ?? "stopping"}; once more ends at once`);
      const error = interrupted(signal, "stopped before the end", { where: `softprompt ${name}` });
      if (saves === undefined) timer = setTimeout(() => leave(error), grace);
    };
    if (signal.aborted) told();
    else signal.addEventListener("abort", told, { once: true });
  });
  try {
    return await Promise.race([work, left]);
  } finally {
    clearTimeout(timer);
  }
}

/** An answer's text, its tables no wider than the terminal. */
function shown({ text }: Answer, { resultColumns }: Terminal): string {
  return resultColumns === null ? text : tablesWithin(text, resultColumns);
}

type Commands = Readonly<Record<string, Command>>;

/** The overview for `--json`. */
function overviewData(commands: Commands) {
  return {
    help: overview(plainColors, commands),
    commands: Object.entries(commands).map(([name, { summary }]) => ({ name, summary })),
  };
}

function overview(c: Colors, commands: Commands): string {
  const { version, description } = packageInfo();
  const width = Math.max(...Object.keys(commands).map((n) => n.length)) + 2;
  return [
    `${c.bold("softprompt")} ${version}  ${description}`,
    "",
    c.bold("Commands"),
    ...Object.entries(commands).map(([name, { summary }]) => `  ${c.cyan(name.padEnd(width))}${summary}`),
    "",
    "softprompt COMMAND --help shows the options of one. Start with: softprompt quickstart",
  ].join("\n");
}

/** Reports an error in the requested form. @returns its exit code. */
function report(thrown: unknown, { colors: c, json, ...terminal }: Terminal, { env }: World): number {
  const error = lostPlace(thrown);
  if (error instanceof SoftpromptError) {
    if (json)
      terminal.result(
        JSON.stringify({
          error: { kind: error.kind, problem: error.problem, ...plain(error.parts), exitCode: error.exitCode },
        }),
      );
    else terminal.error(`${c.red("error")} ${error.message}`);
    if (env.SOFTPROMPT_DEBUG) terminal.error(String(error.stack));
    return error.exitCode;
  }
  const text = error instanceof Error ? (error.stack ?? error.message) : String(error);
  if (json) terminal.result(JSON.stringify({ error: { kind: "bug", problem: text, exitCode: exitOfABug } }));
  terminal.error(`${c.red("this is a bug of softprompt")}; please report it with these lines:\n${text}`);
  return exitOfABug;
}

/** Error of the only system call without a path in it: the process asks for its working directory. */
function lostPlace(thrown: unknown): unknown {
  if ((thrown as NodeJS.ErrnoException | null)?.syscall !== "uv_cwd") return thrown;
  return new SoftpromptError("io", "the working directory is gone", {
    where: "softprompt",
    hint: "it was deleted or moved while this shell was in it: cd to another folder",
    cause: thrown,
  });
}

function plain({ where, expected, got, hint }: SoftpromptError["parts"]) {
  return { where, expected, got, hint };
}
