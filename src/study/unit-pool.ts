/**
 * @file Units of a comparison of methods, or trainings of a sweep, in child processes: each opens the model, and takes the next unit when it is
 * done with one.
 *
 * In: what is run, with a folder; its units. Out: cells in the folder, which the parent reads back; events of no single run.
 */
import { type ChildProcess, fork } from "node:child_process";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { interrupted, SoftpromptError } from "../base/errors.js";
import { execArgvForFile } from "../base/exec-argv.js";
import { withFolder, writeFileAtomic } from "../base/files.js";
import { toText } from "../base/kept.js";
import { type ChildFailure, errorOf, type ParentEngine, threadsEach } from "../run/child.js";
import { forecast, type RunKind } from "./left.js";
import type { ComparisonInput } from "./method-runs.js";
import type { StudyInput } from "./runs.js";
import type { SweepPlan } from "./sweep-runs.js";

/** What is run, as it can be written down: the units of a comparison of methods, or the trainings of a sweep. */
export type UnitWork =
  | ({ readonly kind: "methods" } & Omit<ComparisonInput, "engine" | "tokenizer" | "observe" | "signal">)
  | ({ readonly kind: "sweep" } & SweepPlan);

/** What a child needs to train like its parent. */
export interface UnitPlan {
  readonly engine: Required<ParentEngine>;
  readonly work: UnitWork;
}

/** A unit, as it is told of. */
export interface UnitName extends RunKind {
  readonly label: string;
  readonly seed: number;
}

/** What the parent works with. */
export interface Parent extends Pick<StudyInput, "engine" | "tokenizer" | "observe" | "signal"> {
  /** Processes, at most one for each unit. */
  readonly workers: number;
}

/** Parent → child: which unit. */
export interface UnitOrder {
  readonly unit: number;
}

/** Child → parent. */
export type UnitReport =
  | { readonly kind: "ready" }
  /** `seconds`: that it took once the model was open; null where it was read back. `score`: a fraction, its mean over the unit's runs. */
  | {
      readonly kind: "done";
      readonly unit: number;
      readonly seconds: number | null;
      readonly score: number | null;
      readonly failed?: string;
    }
  | ChildFailure;

/**
 * Runs the units, each in one of the processes.
 * @throws SoftpromptError of the first unit that failed; "interrupted" when the signal stops it: finished runs are kept.
 */
export async function inProcesses(
  { engine, tokenizer, observe, signal, workers }: Parent,
  work: UnitWork,
  units: readonly UnitName[],
  module = fileURLToPath(new URL("./unit-worker.js", import.meta.url)),
): Promise<void> {
  const count = Math.min(workers, units.length);
  const threads = threadsEach(engine.options.threads, count);
  const plan: UnitPlan = {
    engine: {
      base: engine.checkpoint.folder,
      name: engine.checkpoint.name,
      options: { ...engine.options, threads },
      rules: tokenizer.rules ?? null,
    },
    work,
  };
  const waiting = [...units.keys()];
  const { left, ended } = forecast(units, count);
  const failures: unknown[] = [];
  const stopped = () => signal?.aborted === true || failures.length > 0;
  const stops = new Set<() => void>();
  const next = (child: ChildProcess) => {
    const unit = stopped() ? undefined : waiting.shift();
    if (unit !== undefined) {
      const { label, task, seed } = units[unit]!;
      const told = { index: unit, total: units.length, task, seed };
      observe({ kind: "run", ...told, label: `${label}, in a process of its own`, left: left() });
      child.send({ unit } satisfies UnitOrder);
    } else if (child.connected) child.disconnect();
  };
  const one = (place: string) =>
    new Promise<void>((resolve) => {
      const child = fork(module, [place], {
        execArgv: execArgvForFile(),
        stdio: ["ignore", "inherit", "inherit", "ipc"],
      });
      const stop = () => child.kill("SIGTERM");
      stops.add(stop);
      signal?.addEventListener("abort", stop, { once: true });
      child.on("message", (message) => {
        const report = message as UnitReport;
        if (report.kind === "error") failures.push(errorOf(report));
        else
          try {
            if (report.kind === "done") {
              const { unit, seconds, score, failed } = report;
              ended(unit, seconds);
              const told = { index: unit, total: units.length, label: units[unit]!.label };
              const found = { score: score ?? Number.NaN, seconds: seconds ?? 0 };
              const more = {
                ...(seconds === null && { kept: true as const }),
                ...(failed !== undefined && { failed }),
              };
              observe({ kind: "done", ...told, ...found, ...more });
            }
            next(child);
          } catch (error) {
            // of who observes: thrown in an event of a child, nobody could catch it
            failures.push(error);
            for (const end of stops) end();
            // it waits for an order
            child.disconnect();
          }
      });
      child.on("error", (cause) => {
        failures.push(new SoftpromptError("run", "a worker process could not be started", { where: module, cause }));
        resolve();
      });
      child.on("exit", (code, killed) => {
        stops.delete(stop);
        signal?.removeEventListener("abort", stop);
        if ((code !== 0 || killed !== null) && !stopped())
          failures.push(
            new SoftpromptError("run", "a worker process died", {
              where: work.folder ?? module,
              got: killed ?? `exit code ${code}`,
              hint: "run the same command again: finished runs are kept; if it dies again, give fewer workers",
            }),
          );
        resolve();
      });
    });
  // not in the study's folder: it holds every row, and is not kept
  await withFolder(null, async (own) => {
    const place = join(own, "worker.json");
    writeFileAtomic(place, toText(plan));
    await Promise.all(Array.from({ length: count }, () => one(place)));
  });
  if (signal?.aborted)
    throw interrupted(signal, "the study was stopped", {
      where: work.kind,
      hint: "run the same command again: finished runs are kept",
    });
  if (failures.length > 0) throw failures[0];
}
