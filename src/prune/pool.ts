/**
 * @file Trains several candidates: in this process one after another, or in parallel child processes.
 *
 * In: jobs, one folder for all of them, a number of workers. Out: the candidates in the jobs' order.
 * A worker is a process of its own with its own engine; it takes one candidate after another. Everything it makes is in the
 * candidate's folder, so a killed worker, parent or machine loses at most the step in progress.
 */
import { fork } from "node:child_process";
import { availableParallelism, freemem } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { SoftpromptError } from "../base/errors.js";
import { execArgvForFile } from "../base/exec-argv.js";
import { ownFolder, writeFileAtomic } from "../base/files.js";
import { type ChildFailure, errorOf, threadsEach } from "../run/child.js";
import type { TrainEvent } from "../train/types.js";
import { factsOf, trainCandidate } from "./candidate.js";
import { readCandidate } from "./candidate-file.js";
import type { Candidate, CandidateJob, Retraining, WorkerSettings } from "./types.js";
import { jobText, retrainingText } from "./wire.js";

/** Events of candidates while they train. */
export type Watch = (name: string, event: TrainEvent) => void;

/**
 * Trains every job up to `steps`. Stops early, with what is done, when the signal is aborted.
 * @param ended is called with each candidate once it is trained or read back, in the order in which they end.
 */
export async function trainCandidates(
  retraining: Retraining,
  jobs: readonly CandidateJob[],
  folder: string,
  steps: number,
  workers: WorkerSettings,
  watch: Watch,
  ended: (candidate: Candidate) => void = () => {},
): Promise<Candidate[]> {
  for (const { name } of jobs) ownFolder(folder, name, "run");
  if (workers.count > 1 && jobs.length > 1) return inProcesses(retraining, jobs, folder, steps, workers, watch, ended);
  const done: Candidate[] = [];
  for (const job of jobs) {
    if (retraining.signal?.aborted) break;
    const at = join(folder, job.name);
    const candidate = await trainCandidate(retraining, job, at, steps, (event) => watch(job.name, event));
    if (candidate === null) continue;
    done.push(candidate);
    ended(candidate);
  }
  return done;
}

/**
 * Workers that fit: a process for every four cores, and for every so many bytes of free memory as an engine needs (weights twice,
 * once packed, and 512 MB for activations). @param bytes of the base model's weights
 */
export function defaultWorkers(bytes: number, cores = availableParallelism(), free = freemem()): number {
  return Math.max(1, Math.min(Math.floor(cores / 4), Math.floor((0.8 * free) / (2 * bytes + 2 ** 29))));
}

/** Parent → worker. */
export interface Order {
  readonly name: string;
  readonly steps: number;
}

/** Worker → parent. */
export type Report =
  | { readonly kind: "ready" }
  | { readonly kind: "event"; readonly name: string; readonly event: TrainEvent }
  | { readonly kind: "done"; readonly name: string }
  | ChildFailure;

async function inProcesses(
  retraining: Retraining,
  jobs: readonly CandidateJob[],
  folder: string,
  steps: number,
  workers: WorkerSettings,
  watch: Watch,
  ended: (candidate: Candidate) => void,
): Promise<Candidate[]> {
  const count = Math.min(workers.count, jobs.length);
  const shared = join(folder, "worker.json");
  // they use this process's engine options; threads are divided among them unless given
  const { options } = retraining.engine;
  writeFileAtomic(shared, retrainingText(retraining, { ...options, threads: threadsEach(options.threads, count) }));
  // texts that were read here need not be read again there
  await retraining.engine.texts?.share();
  for (const job of jobs) writeFileAtomic(join(folder, job.name, "job.json"), jobText(job));
  const left = [...jobs];
  const failures: unknown[] = [];
  const stopped = () => retraining.signal?.aborted === true || failures.length > 0;
  const total = retraining.schedule.stages.reduce((sum, stage) => sum + stage.steps, 0);
  /** What its worker has written, if that is trained far enough. */
  const found = (job: CandidateJob): Candidate[] => {
    const candidate = readCandidate(join(folder, job.name));
    return candidate &&
      (candidate.finished || candidate.failed !== undefined || candidate.steps >= Math.min(steps, total))
      ? [factsOf(job, candidate)]
      : [];
  };
  const module = workers.module ?? fileURLToPath(new URL("./worker.js", import.meta.url));
  const tell = (name: string) => {
    for (const job of jobs) if (job.name === name) found(job).forEach(ended);
  };
  const stops = new Set<() => void>();
  let broken = false;
  /** For what is thrown in an event of a child, where nobody could catch it, by those who watch too. It ends all, as it does in one process. */
  const breakOff = (error: unknown) => {
    broken = true;
    failures.push(error);
    for (const stop of stops) stop();
  };

  const oneWorker = () =>
    new Promise<void>((resolve) => {
      const child = fork(module, [folder], {
        execArgv: execArgvForFile(),
        serialization: "advanced",
        stdio: ["ignore", "inherit", "inherit", "ipc"],
      });
      const stop = () => child.kill("SIGTERM");
      stops.add(stop);
      retraining.signal?.addEventListener("abort", stop, { once: true });
      const next = () => {
        const job = stopped() ? undefined : left.shift();
        if (job) child.send({ name: job.name, steps } satisfies Order);
        else if (child.connected) child.disconnect();
      };
      child.on("message", (message) => {
        const report = message as Report;
        if (report.kind === "error") failures.push(errorOf(report));
        if (report.kind === "error" || broken) return;
        try {
          if (report.kind === "event") watch(report.name, report.event);
          else {
            if (report.kind === "done") tell(report.name);
            next();
          }
        } catch (error) {
          breakOff(error);
        }
      });
      child.on("error", (cause) => {
        failures.push(new SoftpromptError("run", "a worker process could not be started", { where: module, cause }));
        resolve();
      });
      child.on("exit", (code, signal) => {
        stops.delete(stop);
        retraining.signal?.removeEventListener("abort", stop);
        if ((code !== 0 || signal !== null) && !stopped())
          failures.push(
            new SoftpromptError("run", "a worker process died", {
              where: folder,
              got: signal ?? `exit code ${code}`,
              hint: "resume the search; if it dies again, give fewer workers (less memory)",
            }),
          );
        resolve();
      });
    });
  await Promise.all(Array.from({ length: count }, oneWorker));
  if (broken || (failures.length > 0 && !retraining.signal?.aborted)) throw failures[0];
  const done = jobs.flatMap(found);
  // a worker that is stopped from outside saves and exits with code 0; its candidate must not be missing from the ranking
  if (done.length < jobs.length && !retraining.signal?.aborted)
    throw new SoftpromptError("run", "a worker process was stopped before its candidate was trained", {
      where: folder,
      expected: `${jobs.length} candidates`,
      got: `${done.length}`,
      hint: "resume the search; what was trained is saved",
    });
  return done;
}
