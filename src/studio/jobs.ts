/**
 * @file Commands that the studio runs, each in a process of its own, so many at a time. In: commands. Out: their states.
 *
 * A process is asked to stop once (SIGINT): it ends its step and saves. It has a process group of its own, so that Ctrl-C in the studio's
 * terminal reaches it only through the studio: twice would end it at once. If the studio dies, it goes on.
 */
import type { ChildProcess } from "node:child_process";
import { randomBytes } from "node:crypto";
import { SoftpromptError, signalExitCodes } from "../base/errors.js";
import { isObject } from "../base/json.js";
import { mostOutput, notStarted, type Program, readOutput, type Started, startProgram } from "./program.js";
import type { JobState, JobStatus, ToldError } from "./protocol.js";

/** A command that shall run. */
export interface JobOrder {
  readonly command: string;
  readonly options: Readonly<Record<string, unknown>>;
  /** The options as words. */
  readonly words: readonly string[];
  /** As it would be typed. */
  readonly line: string;
  /** Where its results go, relative to the studio's folder; null where they go elsewhere. */
  readonly path: string | null;
}

interface Job extends Omit<JobState, "lines"> {
  status: JobStatus;
  pid: number | null;
  lines: string[];
  linesBefore: number;
  error: ToldError | null;
  started: string | null;
  ended: string | null;
  readonly words: readonly string[];
  process: ChildProcess | null;
}

/** Lines of progress and jobs that ended which are kept. */
const mostLines = 200;
const mostEnded = 100;
/** In characters. */
const longestLine = 2000;

const stopCodes: ReadonlySet<number | null> = new Set(Object.values(signalExitCodes));
const toldError = ({ kind, problem, parts: { where, got, hint } }: SoftpromptError): ToldError => ({
  ...{ kind, problem, where, got },
  ...(hint !== undefined && { hint }),
});
/** A job as it is told, a copy. */
const stateOf = ({ words: _, process: __, ...state }: Job): JobState => ({ ...state, lines: [...state.lines] });
const now = () => new Date().toISOString();

export class Jobs {
  readonly #jobs = new Map<string, Job>();
  readonly #program: Program;
  readonly #atOnce: number;
  /** An address that names a command of an earlier studio shall not mean one of this. */
  readonly #prefix = randomBytes(3).toString("hex");
  #next = 1;
  #closed = false;
  #idle: () => void = () => {};

  constructor(program: Program, atOnce: number) {
    this.#program = program;
    this.#atOnce = atOnce;
  }

  get list(): JobState[] {
    return [...this.#jobs.values()].map(stateOf);
  }

  find(id: string): JobState | undefined {
    const job = this.#jobs.get(id);
    return job && stateOf(job);
  }

  /** A job that has not ended and writes there. */
  at(path: string): JobState | undefined {
    const job = [...this.#jobs.values()].find((one) => one.path === path && one.ended === null);
    return job && stateOf(job);
  }

  /** Puts a command behind those that wait. */
  add({ command, options, words, line, path }: JobOrder): JobState {
    const id = `${this.#prefix}-${this.#next++}`;
    this.#jobs.set(id, {
      ...{ id, command, options, words, line, path, status: "waiting", pid: null, error: null },
      ...{ lines: [], linesBefore: 0 },
      ...{ asked: now(), started: null, ended: null, process: null },
    });
    this.#startNext();
    return this.find(id)!;
  }

  /** Asks a job to stop, or takes it out of those that wait. @returns whether there was one to stop. */
  stop(id: string): boolean {
    const job = this.#jobs.get(id);
    if (job === undefined || job.ended !== null) return false;
    if (job.status === "waiting") this.#end(job, "stopped");
    else if (job.status === "running") {
      job.status = "stopping";
      job.process?.kill("SIGINT");
    }
    return true;
  }

  /** Forgets a job that ended; its results stay. @returns whether there was one. */
  forget(id: string): boolean {
    return this.#jobs.get(id)?.ended != null && this.#jobs.delete(id);
  }

  /** Stops every job and waits until all have saved. Nothing is started any more. */
  async close(): Promise<void> {
    this.#closed = true;
    for (const id of [...this.#jobs.keys()]) this.stop(id);
    if (this.#running() === 0) return;
    await new Promise<void>((resolve) => {
      this.#idle = resolve;
    });
  }

  #running(): number {
    return [...this.#jobs.values()].filter((job) => job.process !== null).length;
  }

  #startNext(): void {
    for (const job of this.#jobs.values()) {
      if (this.#closed || this.#running() >= this.#atOnce) return;
      if (job.status === "waiting") this.#start(job);
    }
  }

  #start(job: Job): void {
    let child: Started;
    try {
      child = startProgram(this.#program, [job.command, ...job.words, "--json"], {
        detached: true,
        env: { ...process.env, NO_COLOR: "1" },
      });
    } catch (error) {
      if (!(error instanceof SoftpromptError)) throw error;
      job.error = toldError(error);
      this.#end(job, "failed");
      return;
    }
    Object.assign(job, { status: "running", process: child, pid: child.pid ?? null, started: now() });
    let out = "";
    let rest = "";
    child.stdout.setEncoding("utf8").on("data", (text: string) => {
      if (out.length < mostOutput) out += text;
    });
    child.stderr.setEncoding("utf8").on("data", (text: string) => {
      const lines = (rest + text).split("\n");
      rest = lines.pop()!.slice(-longestLine);
      job.lines.push(...lines.map((line) => line.slice(0, longestLine)));
      job.linesBefore += job.lines.splice(0, job.lines.length - mostLines).length;
    });
    child.on("error", (error) => {
      job.error ??= toldError(notStarted(this.#program.file, error));
    });
    child.on("close", (exitCode, signal) => {
      if (rest !== "") job.lines.push(rest);
      const { value, error } = readOutput(out);
      const saved = isObject(value) && value.interrupted === true;
      // a process that had not listened yet is ended by the signal itself
      const stopped = saved || error?.kind === "interrupted" || stopCodes.has(exitCode) || signal === "SIGINT";
      if (!stopped && (exitCode !== 0 || job.error !== null))
        job.error ??= error ?? { kind: "bug", problem: `it ended with ${signal ?? `exit code ${exitCode}`}` };
      this.#end(job, job.error !== null ? "failed" : stopped ? "stopped" : "done");
    });
  }

  #end(job: Job, status: JobStatus): void {
    Object.assign(job, { status, process: null, pid: null, ended: now() });
    const ended = [...this.#jobs.values()].filter((other) => other.ended !== null);
    for (const { id } of ended.slice(0, -mostEnded)) this.#jobs.delete(id);
    this.#startNext();
    if (this.#running() === 0) this.#idle();
  }
}
