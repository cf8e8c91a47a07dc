/**
 * @file Kills a real training process again and again, resumes it every time, and compares the end with a run that was never killed.
 *
 * In: how many kills, which engine. Out: a summary; a loss is a run whose result, metrics.jsonl or last prompt differ by one bit,
 * or that could not be resumed.
 */
import { spawn } from "node:child_process";
import { readdirSync, rmSync } from "node:fs";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { type Random, random } from "../../src/base/random.js";
import { metricsOf, scratch } from "../helpers/job.js";
import type { WorkerPlan } from "./worker.js";

export interface KillSettings {
  /** The bundled worker.ts. */
  readonly program: string;
  readonly engine: WorkerPlan["engine"];
  readonly model: string;
  /** Stop when so many processes were killed. */
  readonly kills: number;
  /** Kills of one run before it is let through. */
  readonly killsPerRun: number;
  readonly seed: number;
}

export interface KillSummary {
  readonly engine: string;
  readonly runs: number;
  readonly kills: number;
  /** Killed from outside at a random moment; by the fault layer inside a write; before another file operation. */
  readonly kinds: { readonly moment: number; readonly byte: number; readonly operation: number };
  /** Sessions that ended before the kill came. */
  readonly escaped: number;
  /** Deaths before anything was saved, so that the run began anew. */
  readonly beforeFirstSave: number;
  readonly losses: readonly string[];
  readonly seconds: number;
}

interface Outcome {
  readonly killed: boolean;
  readonly output: { fingerprint: unknown; ops: { ops: number; bytes: number }; warnings: string[] } | null;
  readonly errors: string;
  /** Milliseconds from `ready` to the end. */
  readonly lasted: number;
}

export async function killRuns(settings: KillSettings): Promise<KillSummary> {
  const started = performance.now();
  const root = scratch("kill");
  const draw = random(settings.seed, `kill ${settings.engine}`);
  const session = (folder: string, faults: WorkerPlan["faults"], killAfter: number | null) =>
    runSession(settings, folder, faults, killAfter);

  const whole = join(root, "whole");
  const reference = await session(whole, {}, null);
  if (reference.output === null) throw new Error(`the reference run failed: ${reference.errors}`);
  const metrics = metricsOf(whole);
  const { ops, bytes } = reference.output.ops;

  const kinds = { moment: 0, byte: 0, operation: 0 };
  const losses: string[] = [];
  let [kills, runs, escaped, beforeFirstSave] = [0, 0, 0, 0];
  while (kills < settings.kills) {
    const folder = join(root, `run-${runs++}`);
    const story: string[] = [];
    let done: Outcome | null = null;
    for (let n = 0; n < settings.killsPerRun && done === null; n++) {
      const kind = pick(draw, ["moment", "byte", "operation"] as const);
      // a resumed session writes less than a whole run, so aim at its first part more often
      const at = draw.next() ** 2;
      const faults =
        kind === "byte"
          ? { dieAtByte: Math.floor(at * bytes) }
          : kind === "operation"
            ? { dieAtOp: Math.floor(at * ops) }
            : {};
      const outcome = await session(folder, faults, kind === "moment" ? at * reference.lasted : null);
      story.push(`${kind} ${JSON.stringify(faults)} ${outcome.killed ? "killed" : "ended"}`);
      if (outcome.killed) {
        kills++;
        kinds[kind]++;
        if (!saved(folder)) beforeFirstSave++;
      } else if (outcome.output === null) {
        losses.push(`run ${runs}: ${story.join(", ")}: ${outcome.errors}`);
        break;
      } else {
        escaped++;
        done = outcome;
      }
    }
    done ??= await session(folder, {}, null);
    const loss = difference(folder, done, reference, metrics);
    if (loss !== null) losses.push(`run ${runs}: ${story.join(", ")}: ${loss}`);
    else rmSync(folder, { recursive: true });
  }
  if (losses.length === 0) rmSync(root, { recursive: true });
  return {
    engine: settings.engine,
    runs,
    kills,
    kinds,
    escaped,
    beforeFirstSave,
    losses,
    seconds: Math.round((performance.now() - started) / 100) / 10,
  };
}

function difference(folder: string, done: Outcome, reference: Outcome, metrics: readonly string[]): string | null {
  if (done.output === null) return `it could not be resumed: ${done.errors}`;
  if (JSON.stringify(done.output.fingerprint) !== JSON.stringify(reference.output!.fingerprint))
    return "another result";
  if (JSON.stringify(metricsOf(folder)) !== JSON.stringify(metrics)) return "other metrics";
  const left = readdirSync(folder).filter((name) => name.endsWith(".tmp") || name.startsWith(".lock"));
  return left.length > 0 ? `left behind: ${left.join(", ")}` : null;
}

function saved(folder: string): boolean {
  try {
    return readdirSync(join(folder, "snapshots")).some((name) => /^\d+\.json$/.test(name));
  } catch {
    return false;
  }
}

function runSession(
  { program, engine, model }: KillSettings,
  folder: string,
  faults: WorkerPlan["faults"],
  killAfter: number | null,
): Promise<Outcome> {
  const plan: WorkerPlan = { engine, model, faults };
  const child = spawn(process.execPath, [program, folder, JSON.stringify(plan)], { stdio: ["ignore", "pipe", "pipe"] });
  let errors = "";
  let output: Outcome["output"] = null;
  let ready = 0;
  let timer: NodeJS.Timeout | undefined;
  child.stderr.on("data", (data) => {
    errors += data;
  });
  createInterface(child.stdout).on("line", (line) => {
    if (line === "ready") {
      ready = performance.now();
      if (killAfter !== null) timer = setTimeout(() => child.kill("SIGKILL"), killAfter);
    } else output = JSON.parse(line);
  });
  return new Promise((resolve, reject) => {
    child.on("error", reject);
    child.on("close", (_, signal) => {
      clearTimeout(timer);
      resolve({ killed: signal === "SIGKILL", output, errors, lasted: performance.now() - ready });
    });
  });
}

function pick<T>(draw: Random, from: readonly T[]): T {
  return from[draw.integer(from.length)]!;
}
