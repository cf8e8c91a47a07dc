/**
 * @file The connection between requests and the engine's thread: one bounded queue of rows, loaded adapters by name, and a new thread if
 * one died.
 *
 * In: rows with listeners. Out: their events. Waiting and running rows are counted here, so that overload is refused before work is done. A
 * row that is no longer wanted is removed.
 */
import { fileURLToPath } from "node:url";
import "../runtime/telemetry.js";
import { Worker } from "node:worker_threads";
import { SoftpromptError } from "../base/errors.js";
import { threadOptions } from "../base/exec-argv.js";
import { errorOf } from "./failure.js";
import type { AskedRow, BegunBatch, EngineStart, Failure, Order, Report, RowEvent, SkillFacts } from "./protocol.js";

/** A row without its number, which the desk assigns. */
export type NewRow = AskedRow extends infer Row ? (Row extends AskedRow ? Omit<Row, "id"> : never) : never;

/** An adapter that is listed, or the bare model. */
export interface Listed {
  /** null is the bare model. */
  readonly name: string | null;
  readonly skill: number;
  readonly facts: SkillFacts;
  /** Seconds since 1970. */
  readonly created: number;
}

/** Location of an adapter. */
export interface AdapterPlace {
  readonly folder: string;
  readonly anyBase: boolean;
}

/** Events of the engine. */
export type DeskEvent =
  | Extract<Report, { kind: "opening" }>["event"]
  | { readonly kind: "notice"; readonly message: string }
  | ({ readonly kind: "batch" } & BegunBatch);

/** Input of a desk. */
export interface DeskOptions {
  readonly start: Omit<EngineStart, "parked">;
  /** Most rows that may wait or run at a time. */
  readonly mostRows: number;
  /** The program of the engine's thread. */
  readonly module?: string | undefined;
  readonly onEvent: (event: DeskEvent) => void;
  /** Called if the engine died and is not opened again. */
  readonly onLost: (error: Error) => void;
}

/** Rows that were asked for. */
export interface Asked {
  /** Cancels them. */
  cancel(): void;
}

/** Listener for the events of one request's rows. */
export type RowListener = (row: number, event: RowEvent) => void;

/** A row that waits or runs. */
interface WaitingRow {
  readonly listener: RowListener;
  readonly index: number;
  begun: boolean;
  /** Some row of its request has begun. */
  readonly request: { begun: boolean };
}

/** The thread is not started again after so many deaths within so many milliseconds. */
const deaths = { most: 3, within: 600_000 } as const;
/** How long the current pass may take to end before its thread is terminated anyway. */
const parkMilliseconds = 3000;
const isLast = ({ kind }: RowEvent) => kind === "answer" || kind === "end" || kind === "failed";
const lost: Failure = {
  kind: "engine",
  problem: "the engine stopped in the middle of this row",
  where: "engine",
  hint: "ask again",
};
/** Why an adapter is not loaded: a passing reason while the engine is opened again. */
const notOpen: Failure = {
  kind: "engine",
  problem: "the engine ended, or is not open, so no adapter is loaded",
  where: "engine",
  hint: "add it again when the server is ready",
};

/** The engine's thread and the requests that wait for it. */
export class Desk {
  /** The model's name by its files. */
  modelName = "";
  #worker: Worker | null = null;
  #parked: Int32Array | null = null;
  /**
   * Lets the engine's thread end its pass and sleep before it is ended: a thread that is terminated inside the runtime aborts the whole
   * process. No further event runs before the process exits, so this blocks for a limited time.
   */
  readonly #park = (): void => {
    if (this.#worker === null || this.#parked === null) return;
    this.#send({ kind: "park" });
    Atomics.wait(this.#parked, 0, 0, parkMilliseconds);
  };
  #state: "starting" | "ready" | "closed" | "lost" = "starting";
  #nextRow = 1;
  #nextSkill = 1;
  readonly #waiting = new Map<number, WaitingRow>();
  readonly #unsent: AskedRow[] = [];
  readonly #listed = new Map<string, Listed & AdapterPlace>();
  readonly #loading = new Map<number, { resolve(facts: SkillFacts): void; reject(error: Error): void }>();
  #bare: Listed | null = null;
  readonly #died: number[] = [];
  #exitCode = 0;
  #finished = 0;
  #finishedSince = performance.now();
  #rate = 0;

  constructor(private readonly options: DeskOptions) {}

  /** Opens the model. @throws what opening it throws. */
  async open(): Promise<void> {
    await this.#start();
    if (this.#state === "starting") this.#state = "ready";
  }

  #start(): Promise<void> {
    const { start, module, onEvent } = this.options;
    return new Promise((resolve, reject) => {
      const parked = new Int32Array(new SharedArrayBuffer(8));
      const workerData: EngineStart = { ...start, parked };
      const worker = new Worker(module ?? fileURLToPath(new URL("./worker.js", import.meta.url)), {
        workerData,
        ...threadOptions(),
      });
      this.#worker = worker;
      this.#parked = parked;
      process.on("exit", this.#park);
      worker.on("message", (report: Report) => {
        if (report.kind === "ready") {
          this.modelName = report.name;
          this.#bare = { name: null, skill: 0, facts: report.bare, created: now() };
          resolve();
        } else if (report.kind === "broken") reject(errorOf(report.failure));
        else if (report.kind === "opening") onEvent(report.event);
        else this.#hear(report);
      });
      worker.on("error", (error) => {
        onEvent({ kind: "notice", message: `the engine's thread died: ${error.message}` });
      });
      worker.on("exit", (code) => {
        process.off("exit", this.#park);
        if (this.#worker !== worker) return;
        this.#worker = null;
        this.#exitCode = code;
        reject(
          new SoftpromptError("engine", "the engine's thread ended before the model was open", {
            where: start.model,
            got: `exit code ${code}`,
          }),
        );
        for (const { reject } of this.#loading.values()) reject(errorOf(notOpen));
        this.#loading.clear();
        // a death while it is opened again is seen by the loop that opens it
        if (this.#state === "ready") void this.#revive();
      });
    });
  }

  /** Whether rows are accepted. */
  get state(): "starting" | "ready" | "closed" | "lost" {
    return this.#state;
  }

  /** Rows that wait or run. */
  get rows(): { readonly waiting: number; readonly running: number } {
    let running = 0;
    for (const { begun } of this.#waiting.values()) if (begun) running++;
    return { waiting: this.#waiting.size - running, running };
  }

  /** Whether the queue has no room for so many more rows. */
  full(more = 1): boolean {
    return this.#waiting.size + more > this.options.mostRows;
  }

  /** After how many seconds there may be room again: estimated from the waiting rows and the recent speed. */
  get retryAfter(): number {
    this.#measure();
    return this.#rate === 0 ? 1 : Math.min(60, Math.max(1, Math.ceil(this.#waiting.size / this.#rate)));
  }

  /** What is listed, the bare model first. */
  get listed(): readonly Listed[] {
    return [...(this.#bare ? [this.#bare] : []), ...this.#listed.values()];
  }

  /** @returns undefined where nothing is listed under this name */
  find(name: string | null): Listed | undefined {
    return name === null ? (this.#bare ?? undefined) : this.#listed.get(name);
  }

  /** Queues the rows of one request. Check `full` first. */
  ask(rows: readonly NewRow[], listener: RowListener): Asked {
    const numbered = rows.map((row) => ({ ...row, id: this.#nextRow++ }) as AskedRow);
    const request = { begun: false };
    for (const [index, { id }] of numbered.entries()) this.#waiting.set(id, { listener, index, begun: false, request });
    this.#sendRows(numbered);
    return {
      cancel: () => {
        const ids = numbered.map(({ id }) => id).filter((id) => this.#waiting.delete(id));
        if (ids.length > 0) this.#send({ kind: "drop", ids });
      },
    };
  }

  /**
   * Loads an adapter, tries it, and lists it under this name in place of another. @throws SoftpromptError "adapter": the old one stays;
   * "engine" at once while no model is open: orders that reach a thread before that are lost.
   */
  async add(name: string, place: AdapterPlace): Promise<SkillFacts> {
    if (this.#state !== "ready") throw errorOf(notOpen);
    const skill = this.#nextSkill++;
    const facts = await this.#load(skill, name, place);
    const before = this.#listed.get(name);
    this.#listed.set(name, { name, skill, facts, created: now(), ...place });
    if (before !== undefined) this.#send({ kind: "remove", skill: before.skill });
    return facts;
  }

  /** New rows cannot use it; running rows keep it until they end. @returns whether there was one. */
  remove(name: string): boolean {
    const found = this.#listed.get(name);
    if (found === undefined) return false;
    this.#listed.delete(name);
    this.#send({ kind: "remove", skill: found.skill });
    return true;
  }

  /** Fails requests that still wait for their turn, with every row. */
  failWaiting(failure: Failure): void {
    for (const [id, { request }] of [...this.#waiting]) if (!request.begun) this.#fail(id, failure);
  }

  /** Ends the thread; waiting rows fail. */
  async close(failure: Failure): Promise<void> {
    this.#state = "closed";
    const worker = this.#worker;
    for (const id of [...this.#waiting.keys()]) this.#fail(id, failure);
    if (worker === null) return;
    const ended = new Promise<void>((resolve) => worker.once("exit", () => resolve()));
    this.#send({ kind: "close" });
    const late = setTimeout(() => {
      this.#park();
      void worker.terminate();
    }, 10_000);
    await ended;
    clearTimeout(late);
  }

  /** Ends the thread at once. */
  async kill(): Promise<void> {
    // it is not started again
    this.#state = "closed";
    this.#park();
    await this.#worker?.terminate();
  }

  #send(order: Order): void {
    this.#flush();
    this.#worker?.postMessage(order);
  }

  /** Rows that come in one turn of the event loop go as one message: a message for each costs more than the rest of a request. */
  #sendRows(rows: readonly AskedRow[]): void {
    if (this.#unsent.length === 0) setImmediate(() => this.#flush());
    this.#unsent.push(...rows);
  }

  #flush(): void {
    const rows = this.#unsent.splice(0);
    if (rows.length > 0) this.#worker?.postMessage({ kind: "rows", rows } satisfies Order);
  }

  /** @throws SoftpromptError "engine" where the thread has ended or ends meanwhile: nobody else would answer. */
  #load(skill: number, name: string, place: AdapterPlace): Promise<SkillFacts> {
    return new Promise((resolve, reject) => {
      if (this.#worker === null) return reject(errorOf(notOpen));
      this.#loading.set(skill, { resolve, reject });
      this.#send({ kind: "add", skill, name, ...place });
    });
  }

  #hear(report: Exclude<Report, { kind: "ready" | "broken" | "opening" }>): void {
    if (report.kind === "added" || report.kind === "refused") {
      const loading = this.#loading.get(report.skill);
      this.#loading.delete(report.skill);
      if (report.kind === "added") loading?.resolve(report.facts);
      else loading?.reject(errorOf(report.failure));
      return;
    }
    for (const batch of report.batches) this.options.onEvent({ kind: "batch", ...batch });
    for (const [id, event] of report.events) {
      const row = this.#waiting.get(id);
      if (row === undefined) continue;
      row.begun = true;
      row.request.begun = true;
      if (isLast(event)) {
        this.#waiting.delete(id);
        this.#finished++;
      }
      row.listener(row.index, event);
    }
  }

  #fail(id: number, failure: Failure): void {
    const row = this.#waiting.get(id);
    this.#waiting.delete(id);
    this.#send({ kind: "drop", ids: [id] });
    row?.listener(row.index, { kind: "failed", failure });
  }

  /** Rows per second over the last seconds. */
  #measure(): void {
    const seconds = (performance.now() - this.#finishedSince) / 1000;
    if (seconds < 1) return;
    this.#rate = this.#finished / seconds;
    this.#finished = 0;
    this.#finishedSince = performance.now();
  }

  /** Running rows are lost. The model and its adapters are opened again, unless the thread died too often. */
  async #revive(): Promise<void> {
    const { onEvent, onLost } = this.options;
    this.#state = "starting";
    this.#unsent.length = 0;
    for (const id of [...this.#waiting.keys()]) this.#fail(id, lost);
    let error = this.#deathError();
    while (!this.#diedTooOften()) {
      onEvent({
        kind: "notice",
        message: `the engine's thread ended with code ${this.#exitCode}; it is started again`,
      });
      try {
        await this.#start();
      } catch (cause) {
        error = cause instanceof Error ? cause : error;
        break;
      }
      await this.#reload();
      // closed meanwhile
      if (this.state !== "starting") return;
      if (this.#worker !== null) {
        this.#state = "ready";
        return;
      }
      error = this.#deathError();
    }
    if (this.state !== "starting") return;
    this.#state = "lost";
    onLost(error);
  }

  /** Counts one death. */
  #diedTooOften(): boolean {
    this.#died.push(performance.now());
    return this.#died.filter((at) => performance.now() - at < deaths.within).length >= deaths.most;
  }

  #deathError(): Error {
    return new SoftpromptError("engine", "the engine's thread died", {
      where: this.options.start.model,
      got: `exit code ${this.#exitCode}`,
      hint: "the system's log may say why; less memory is needed with --batch-size and --max-input-tokens",
    });
  }

  /** Loads what is listed into a new thread; ends early if that thread ends. What it refuses is listed no longer. */
  async #reload(): Promise<void> {
    for (const [name, { folder, anyBase, skill }] of [...this.#listed]) {
      // taken out meanwhile
      if (this.#listed.get(name)?.skill !== skill) continue;
      try {
        await this.#load(skill, name, { folder, anyBase });
      } catch (cause) {
        if (this.#worker === null || this.state !== "starting") return;
        this.#listed.delete(name);
        const why = cause instanceof Error ? cause.message : String(cause);
        this.options.onEvent({ kind: "notice", message: `adapter ${name} could not be loaded again: ${why}` });
      }
      // its order reached a thread that did not have it yet
      if (this.#listed.get(name)?.skill !== skill) this.#send({ kind: "remove", skill });
    }
  }
}

const now = () => Math.floor(Date.now() / 1000);
