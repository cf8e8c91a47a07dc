/**
 * @file The studio's side of the process that answers: it is started at the first question and ended when it is not wanted any more.
 */
import { type ChildProcess, fork } from "node:child_process";
import { statSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { execArgvForFile } from "../base/exec-argv.js";
import { fileNames } from "../run/layout.js";
import { ApiError, invalid } from "../serve/api-error.js";
import { openOptions } from "../tasks/model.js";
import type { AnswerOrder, AnswerReport } from "./answers-protocol.js";
import type { Answers } from "./protocol.js";

/** A run whose adapter shall answer. */
export interface Answerer {
  readonly path: string;
  readonly folder: string;
  /** Its base model as its configuration names it, and how that is opened. */
  readonly model: string;
  readonly options: Readonly<Record<string, unknown>>;
}

/** A question that has no answer yet, and the process that has it. */
interface Waiting {
  readonly child: ChildProcess;
  readonly done: (report: AnswerReport) => void;
  readonly fail: (error: Error) => void;
}

export class Answering {
  readonly #module: string;
  #child: ChildProcess | null = null;
  #next = 1;
  readonly #waiting = new Map<number, Waiting>();

  constructor(module = fileURLToPath(new URL("./answers-child.js", import.meta.url))) {
    this.#module = module;
  }

  /** @throws ApiError: of several base models or several ways to open one, of a model that cannot be opened. */
  async ask(runs: readonly Answerer[], input: Readonly<Record<string, string>>, frozen: boolean): Promise<Answers> {
    const [first] = runs;
    if (first === undefined) throw invalid("paths: no run is named", "paths");
    const other = runs.find((run) => openedAs(run) !== openedAs(first));
    if (other !== undefined)
      throw invalid(`paths: ${first.path} is of ${openedAs(first)}, ${other.path} of ${openedAs(other)}`, "paths");
    const began = performance.now();
    const id = this.#next++;
    const order: AnswerOrder = {
      ...{ id, model: first.model, options: first.options, input, frozen },
      adapters: runs.map(({ path, folder }) => ({ path, folder, stamp: stampOf(folder) })),
    };
    const report = await new Promise<AnswerReport>((done, fail) => {
      const child = this.#open();
      this.#waiting.set(id, { child, done, fail });
      // where it cannot be sent, the process is at its end, and that is told
      child.send(order, () => {});
    }).finally(() => this.#waiting.delete(id));
    if ("problem" in report) throw new ApiError(422, report.problem, { code: "no_answer" });
    return { answers: report.answers, model: report.model, seconds: (performance.now() - began) / 1000 };
  }

  /** Ends the process and frees its memory; the next question starts another. */
  close(): void {
    this.#child?.kill("SIGKILL");
    this.#child = null;
  }

  #open(): ChildProcess {
    if (this.#child?.connected) return this.#child;
    const child = fork(this.#module, [], { execArgv: execArgvForFile(), stdio: ["ignore", "ignore", "pipe", "ipc"] });
    let told = "";
    const ended = (how: string) => {
      if (this.#child === child) this.#child = null;
      for (const { child: asked, fail } of this.#waiting.values())
        if (asked === child) fail(new ApiError(503, `the process that answers has ended: ${how}`, { code: "ended" }));
    };
    child.on("error", ({ message }) => ended(message));
    child.stderr!.setEncoding("utf8").on("data", (text: string) => {
      told = (told + text).slice(-2000);
    });
    child.on("message", (message) => {
      const report = message as AnswerReport;
      this.#waiting.get(report.id)?.done(report);
    });
    child.on("close", (exitCode, signal) => {
      const how = told.trim() || (signal ?? `exit code ${exitCode}`);
      ended(signal === "SIGKILL" ? "it was closed, or memory ran out" : how);
    });
    this.#child = child;
    return child;
  }
}

/** The base model, and what changes its answers where it is opened. */
function openedAs({ model, options }: Answerer): string {
  const [precision, chat] = (["precision", "chat"] as const).map((key) =>
    JSON.stringify(options[key] ?? openOptions[key].default),
  );
  return `${model} with precision ${precision}, chat ${chat}`;
}

/** When the adapter was last written. */
function stampOf(folder: string): string {
  const { mtimeMs, ino } = statSync(join(folder, fileNames.adapter));
  return `${ino} ${mtimeMs}`;
}
