/**
 * @file The command line as another process, asked for one answer. In: words of a command. Out: the JSON that it writes, or the error that
 * it tells.
 */
import { type ChildProcess, type ChildProcessByStdio, type SpawnOptions, spawn } from "node:child_process";
import type { Readable } from "node:stream";
import { interrupted, SoftpromptError } from "../base/errors.js";
import { isObject } from "../base/json.js";
import { ApiError } from "../serve/api-error.js";
import type { ToldError } from "./protocol.js";

/** How softprompt is started: a program and the first of its arguments. */
export interface Program {
  readonly file: string;
  readonly args: readonly string[];
  readonly cwd: string;
}

/** Longest output of a command that is kept, in characters. */
export const mostOutput = 16 * 2 ** 20;

/** A process whose output is read. */
export type Started = ChildProcessByStdio<null, Readable, Readable>;

/** Starts a command. @throws SoftpromptError "io". Some reasons come later, as the process's "error" event: notStarted says them. */
export function startProgram(
  { file, args, cwd }: Program,
  words: readonly string[],
  options: Pick<SpawnOptions, "detached" | "env"> = {},
): Started {
  let child: ChildProcess;
  try {
    child = spawn(file, [...args, ...words], { ...options, cwd, stdio: ["ignore", "pipe", "pipe"] });
  } catch (cause) {
    throw notStarted(file, cause as NodeJS.ErrnoException);
  }
  if (child.stdout) return child as Started;
  // Node makes no pipes then, and the process has no "close" event
  child.on("error", () => {});
  throw notStarted(file, new Error("too many files are open"));
}

/** The error of a process that could not be started. */
export function notStarted(file: string, cause: NodeJS.ErrnoException): SoftpromptError {
  return new SoftpromptError("io", "the process could not be started", {
    where: file,
    got: cause.message,
    ...(cause.code === "E2BIG" && {
      hint: "an option is too long for a command line: write it in a configuration file",
    }),
    cause,
  });
}

/** What a command's standard output says under `--json`. */
export function readOutput(text: string): { readonly value: unknown; readonly error: ToldError | null } {
  try {
    const value: unknown = JSON.parse(text);
    const error = isObject(value) && isObject(value.error) ? (value.error as unknown as ToldError) : null;
    return { value, error };
  } catch {
    return { value: null, error: null };
  }
}

/** "folder/x: there is no such run; expected: …; got: …; hint" */
export function toldText({ problem, where, expected, got, hint }: ToldError): string {
  return [
    where === undefined ? problem : `${where}: ${problem}`,
    ...(expected === undefined ? [] : [`expected: ${expected}`]),
    ...(got === undefined ? [] : [`got: ${typeof got === "string" ? got : JSON.stringify(got)}`]),
    ...(hint === undefined ? [] : [hint]),
  ].join("; ");
}

/**
 * Runs a command that only reads, and gives its JSON.
 * @param signal ends the process. @throws ApiError 422 with the command's own error.
 */
export async function askProgram(program: Program, words: readonly string[], signal: AbortSignal): Promise<unknown> {
  if (signal.aborted) throw interrupted(signal, "stopped before the command was started", { where: words[0]! });
  const child = startProgram(program, [...words, "--json", "--quiet"]);
  const stop = () => child.kill();
  signal.addEventListener("abort", stop, { once: true });
  let [out, err] = ["", ""];
  child.stdout.setEncoding("utf8").on("data", (text: string) => {
    if (out.length < mostOutput) out += text;
  });
  child.stderr.setEncoding("utf8").on("data", (text: string) => {
    err = (err + text).slice(-2000);
  });
  try {
    const exitCode = await new Promise<number | null>((resolve, reject) => {
      child.on("error", (cause) => reject(notStarted(program.file, cause)));
      child.on("close", resolve);
    });
    const { value, error } = readOutput(out);
    if (exitCode === 0 && value !== null) return value;
    const told = error === null ? err.trim() || `it ended with exit code ${exitCode}` : toldText(error);
    throw new ApiError(422, told, { code: error?.kind ?? "command_failed" });
  } finally {
    signal.removeEventListener("abort", stop);
  }
}
