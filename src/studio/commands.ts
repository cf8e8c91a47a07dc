/**
 * @file The commands that the page starts: their forms, and what is given in one as words of a command line. In: option tables, values.
 * Out: Form, JobOrder.
 */
import { existsSync } from "node:fs";
import { basename, join, resolve } from "node:path";
import { SoftpromptError } from "../base/errors.js";
import { flagName, flagWords, type OptionTable, readPartialOptions } from "../base/options.js";
import { shellWord } from "../base/shell-word.js";
import { ApiError, invalid } from "../serve/api-error.js";
import type { JobOrder, Jobs } from "./jobs.js";
import { innerPath, shownPath } from "./paths.js";
import type { Program } from "./program.js";
import type { Form } from "./protocol.js";

/** A command of the command line, as the studio needs it. */
export interface StudioCommand {
  readonly summary: string;
  /** What can be refused of its options before any work. @throws SoftpromptError "usage", at "--NAME …" or "try: …" */
  check?(options: Readonly<Record<string, unknown>>): Promise<void>;
  /** Heading → options. */
  readonly sections: Readonly<Record<string, OptionTable>>;
}

const ofData = ["task", "data", "train", "validation", "template", "labelColumn", "verbalizer"];
const ofTraining = ["virtualTokens", "steps", "learningRate", "batchSize", "evalEvery", "seed", "output"];

/** The commands that the page starts, with the options that most people need. */
export const startedCommands = {
  train: ["model", ...ofData, "method", "schedule", ...ofTraining],
  prune: ["from", "model", ...ofData, "search", "tokensPruned", "piecesPruned", "retrainSteps", ...ofTraining],
  sweep: [
    "model",
    ...ofData,
    "try",
    "seeds",
    "searchHoldout",
    ...ofTraining.filter((key) => key !== "seed"),
    "workers",
  ],
  compare: ["model", "tasks", "methods", "seeds", "steps", "scoreSteps", "evalEvery", "batchSize", "workers", "output"],
} as const satisfies Record<string, readonly string[]>;
export type StartedCommand = keyof typeof startedCommands;
export const startedNames = Object.keys(startedCommands) as [StartedCommand, ...StartedCommand[]];

/** What they are made of; `show` is asked for rows and words alone. */
export type StudioCommands = Readonly<Record<StartedCommand | "show", StudioCommand>>;

/** All options of a command. */
export const tableOf = ({ sections }: StudioCommand): OptionTable => Object.assign({}, ...Object.values(sections));

/** A command's options for the page. */
export function formOf(command: StartedCommand, { summary, sections }: StudioCommand): Form {
  return {
    command,
    summary,
    essentials: startedCommands[command],
    sections: Object.entries(sections).map(([name, table]) => ({
      name,
      options: Object.entries(table).map(([key, option]) => ({
        key,
        flag: flagName(key),
        ...option,
        // only a resume needs none, and no form begins one
        required: option.required || key === "model",
      })),
    })),
  };
}

/** The options as words of a command line. @throws ApiError 400 that names the option. */
export function wordsOf(table: OptionTable, options: Readonly<Record<string, unknown>>): string[] {
  try {
    return flagWords(table, readPartialOptions(table, options, "options", () => {}) as Record<string, unknown>);
  } catch (error) {
    if (!(error instanceof SoftpromptError)) throw error;
    const { where = "" } = error.parts;
    const key = Object.keys(table).find((name) => flagName(name) === where);
    throw invalid(error.message, key === undefined ? where.replace(/^options: /, "options.") : `options.${key}`);
  }
}

/** Refuses what can be refused before a process is started for it. @throws ApiError 400 that names the option. */
export async function checkBefore(command: StudioCommand, given: Readonly<Record<string, unknown>>): Promise<void> {
  const table = tableOf(command);
  wordsOf(table, given);
  const missing = Object.entries(table).find(([key, option]) => option.required && given[key] === undefined);
  if (missing !== undefined && given.resume === undefined)
    throw invalid(`${missing[0]} is missing: ${missing[1].help}`, `options.${missing[0]}`);
  try {
    await command.check?.(given);
  } catch (error) {
    if (!(error instanceof SoftpromptError)) throw error;
    const { where = "" } = error.parts;
    throw invalid(error.message, `options.${/^(--)?try\b/.test(where) ? "try" : where}`);
  }
}

/** Where commands are started and who runs them. */
interface OrderContext {
  readonly folder: string;
  readonly program: Program;
  readonly commands: StudioCommands;
  readonly jobs: Jobs;
}

/**
 * A command as the page asks for it; where it names no place for its results, one under the studio's folder.
 * @throws ApiError 400 that names the option; 404 where nothing is to be gone on with; 409 where a command is already to write there.
 */
export function orderOf(
  { folder, program, commands, jobs }: OrderContext,
  command: StartedCommand,
  given: Readonly<Record<string, unknown>>,
): JobOrder {
  const table = tableOf(commands[command]);
  // before a place is made of them: an output without a name would be the folder that the studio stands in
  wordsOf(table, given);
  const goesOn = typeof given.resume === "string" ? innerPath(folder, given.resume) : undefined;
  const output =
    goesOn ??
    (typeof given.output === "string" ? resolve(program.cwd, given.output) : placeFor(folder, jobs, command, given));
  const options = goesOn === undefined ? { ...given, output } : { ...given, resume: goesOn };
  const words = wordsOf(table, options);
  const path = shownPath(folder, output);
  if (path !== null && jobs.at(path) !== undefined)
    throw new ApiError(409, "a command is already to write there", { code: "busy", param: "options.output" });
  return { command, options: given, words, path, line: ["softprompt", command, ...words].map(shellWord).join(" ") };
}

/** A free folder: FOLDER/TASK-METHOD-seedN, or of what has several seeds FOLDER/TASK-sweep, -comparison; where nothing is and no waiting command will write. */
function placeFor(
  folder: string,
  jobs: Jobs,
  command: StartedCommand,
  given: Readonly<Record<string, unknown>>,
): string {
  const word = (key: string) => (typeof given[key] === "string" ? (given[key] as string) : null);
  const source = word("task") ?? word("train") ?? word("from") ?? word("data") ?? command;
  const ways = [word("method"), word("schedule")].filter((way) => way !== null && way !== "vanilla");
  const seed = `seed${given.seed ?? 0}`;
  const kinds = {
    train: `${ways.join("-") || "prompt"}-${seed}`,
    prune: `xprompt-${seed}`,
    sweep: "sweep",
    compare: "comparison",
  } satisfies Record<StartedCommand, string>;
  const name = `${basename(source).replace(/\.\w+$/, "")}-${kinds[command]}`;
  const safe = name.replaceAll(/[^\w.-]+/g, "-").toLowerCase();
  for (let n = 1; ; n++) {
    const place = join(folder, n === 1 ? safe : `${safe}-${n}`);
    if (!existsSync(place) && jobs.at(shownPath(folder, place)!) === undefined) return place;
  }
}
