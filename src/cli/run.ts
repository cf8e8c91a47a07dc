/**
 * @file One invocation of the command line as a function, so that tests can call it. In: argv, streams. Out: exit code.
 */
import { nearest, SoftpromptError } from "../base/errors.js";
import { type OptionTable, readOptions } from "../base/options.js";
import { packageInfo } from "../base/package.js";
import { printable } from "../base/printable.js";
import { type Command, globalOptions, optionTable } from "./command.js";
import { commands as allCommands } from "./commands.js";
import { readConfig } from "./config.js";
import { helpData, helpText } from "./describe.js";
import { parseFlags } from "./flags.js";
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

type Commands = Readonly<Record<string, Command>>;

/** Runs `softprompt …argv`. Never throws. @returns the exit code. */
export async function run(argv: readonly string[], world: World, commands: Commands = allCommands): Promise<number> {
  // Errors in the flags themselves must already honour --json and --quiet.
  let terminal = openTerminal({ ...world, json: argv.includes("--json"), quiet: argv.includes("--quiet") });
  try {
    const [name = "--help", ...rest] = argv;
    if (["--version", "-V", "version"].includes(name)) {
      terminal.result(terminal.json ? JSON.stringify({ version: packageInfo().version }) : packageInfo().version);
      return 0;
    }
    if (["--help", "-h", "help"].includes(name) && (rest.length === 0 || rest[0]!.startsWith("-"))) {
      if (terminal.json) terminal.result(JSON.stringify(overviewData(commands), null, 2));
      else terminal.result(overview(terminal.resultColors, commands));
      return 0;
    }
    const [wanted, args] = name === "help" ? [rest[0]!, ["--help"]] : [name, rest];
    const command = find(wanted, commands);
    const table = optionTable(command);
    const { values, positionals } = parseFlags(table, args, `softprompt ${wanted}`);
    if (values.help) {
      if (terminal.json) terminal.result(JSON.stringify(helpData(wanted, command), null, 2));
      else terminal.result(helpText(wanted, command, terminal.resultColors, Math.min(110, terminal.columns)));
      return 0;
    }
    const config =
      values.config === undefined ? {} : await readConfig(String(values.config), table, everyOption(commands));
    const options = readOptions(table, { ...config, ...values }, `softprompt ${wanted}`) as Record<string, unknown>;
    checkPositionals(wanted, command, positionals);
    terminal = openTerminal({ ...world, json: Boolean(options.json), quiet: Boolean(options.quiet) });
    const own = (all: Readonly<Record<string, unknown>>) =>
      Object.fromEntries(Object.entries(all).filter(([key]) => !Object.hasOwn(globalOptions, key)));
    const answer = await command.run(own(options), positionals, {
      terminal,
      signal: world.signal,
      given: own({ ...config, ...values }),
    });
    if (answer !== null) terminal.result(terminal.json ? JSON.stringify(answer.json, null, 2) : answer.text);
    return answer?.exitCode ?? 0;
  } catch (error) {
    terminal.settle();
    return report(error, terminal, world);
  }
}

/** The options of all commands together. */
function everyOption(commands: Commands): OptionTable {
  return Object.assign({}, ...Object.values(commands).map(optionTable));
}

function find(name: string, commands: Commands): Command {
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

/** Tells an error in the form asked for. @returns its exit code. */
function report(error: unknown, { colors: c, json, ...terminal }: Terminal, { stderr, env }: World): number {
  if (error instanceof SoftpromptError) {
    if (json)
      terminal.result(
        JSON.stringify({
          error: { kind: error.kind, problem: error.problem, ...plain(error.parts), exitCode: error.exitCode },
        }),
      );
    else stderr.write(`${c.red("error")} ${error.message}\n`);
    if (env.SOFTPROMPT_DEBUG) stderr.write(`${error.stack}\n`);
    return error.exitCode;
  }
  const text = error instanceof Error ? (error.stack ?? error.message) : String(error);
  if (json) terminal.result(JSON.stringify({ error: { kind: "bug", problem: text, exitCode: exitOfABug } }));
  stderr.write(`${c.red("this is a bug of softprompt")}; please report it with these lines:\n${printable(text)}\n`);
  return exitOfABug;
}

function plain({ where, expected, got, hint }: SoftpromptError["parts"]) {
  return { where, expected, got, hint };
}
