/**
 * @file The command line as another process, asked for one answer. In: words of a command. Out: the JSON that it writes, or the error that
 * it tells.
 */
import { spawn } from "node:child_process";
import { SoftpromptError } from "../base/errors.js";
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
const mostOutput = 16 * 2 ** 20;

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
export async function askProgram(
  { file, args, cwd }: Program,
  words: readonly string[],
  signal: AbortSignal,
): Promise<unknown> {
  const child = spawn(file, [...args, ...words, "--json", "--quiet"], { cwd, stdio: ["ignore", "pipe", "pipe"] });
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
      child.on("error", (cause) =>
        reject(new SoftpromptError("io", "a process could not be started", { where: file, cause })),
      );
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
