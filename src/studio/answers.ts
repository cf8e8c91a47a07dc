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

export class Answering {
  readonly #module: string;
  #child: ChildProcess | null = null;
  #next = 1;
  readonly #waiting = new Map<number, { done: (report: AnswerReport) => void; fail: (error: Error) => void }>();

  constructor(module = fileURLToPath(new URL("./answers-child.js", import.meta.url))) {
    this.#module = module;
  }

  /** @throws ApiError: of several base models, of a model that cannot be opened. */
  async ask(runs: readonly Answerer[], input: Readonly<Record<string, string>>, frozen: boolean): Promise<Answers> {
    const [first] = runs;
    if (first === undefined) throw invalid("paths: no run is named", "paths");
    const other = runs.find(({ model }) => model !== first.model);
    if (other !== undefined)
      throw invalid(`paths: ${first.path} is of ${first.model}, ${other.path} of ${other.model}`, "paths");
    const began = performance.now();
    const id = this.#next++;
    const order: AnswerOrder = {
      ...{ id, model: first.model, options: first.options, input, frozen },
      adapters: runs.map(({ path, folder }) => ({ path, folder, stamp: stampOf(folder) })),
    };
    const report = await new Promise<AnswerReport>((done, fail) => {
      this.#waiting.set(id, { done, fail });
      this.#open().send(order);
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
    if (this.#child !== null) return this.#child;
    const child = fork(this.#module, [], { execArgv: execArgvForFile(), stdio: ["ignore", "ignore", "pipe", "ipc"] });
    let told = "";
    child.stderr!.setEncoding("utf8").on("data", (text: string) => {
      told = (told + text).slice(-2000);
    });
    child.on("message", (message) => {
      const report = message as AnswerReport;
      this.#waiting.get(report.id)?.done(report);
    });
    child.on("close", (exitCode, signal) => {
      if (this.#child === child) this.#child = null;
      const how = signal === "SIGKILL" ? "it was closed, or memory ran out" : told.trim() || `exit code ${exitCode}`;
      for (const { fail } of this.#waiting.values())
        fail(new ApiError(503, `the process that answers has ended: ${how}`, { code: "ended" }));
    });
    this.#child = child;
    return child;
  }
}

/** When the adapter was last written. */
function stampOf(folder: string): string {
  const { mtimeMs, ino } = statSync(join(folder, fileNames.adapter));
  return `${ino} ${mtimeMs}`;
}
