/**
 * @file What a worker process of a search does: opens its own engine, then trains the candidates its parent names, one after another.
 *
 * In: the search's folder, Orders by IPC. Out: files in each candidate's folder, Reports by IPC; ends the process.
 * SIGTERM and SIGINT finish the step in progress and save. The parent's death ends the process at once, as a kill would.
 */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { SoftpromptError } from "../base/errors.js";
import { openEngine } from "../engine/engine.js";
import { type Checkpoint, openCheckpoint } from "../model/checkpoint.js";
import { withEightBit } from "../model/eight-bit.js";
import { openTexts } from "../run/text-cache.js";
import type { Tokenizer } from "../text/tokenizer.js";
import { trainCandidate } from "./candidate.js";
import type { Order, Report } from "./pool.js";
import { jobFromText, retrainingFromText } from "./wire.js";

/** Serves the parent until it is done with this process. @param loadTokenizer of the base model */
export function serveSearch(folder: string, loadTokenizer: (checkpoint: Checkpoint) => Promise<Tokenizer>): void {
  const stop = new AbortController();
  for (const signal of ["SIGTERM", "SIGINT"] as const) process.on(signal, () => stop.abort(signal));
  // the parent no longer needs this process, or is dead. Work in progress may be lost, but the lock must not be held for another step
  process.on("disconnect", () => process.exit(0));
  serve(folder, loadTokenizer, stop.signal).then(
    () => process.exit(0),
    (error: unknown) => {
      const known = error instanceof SoftpromptError;
      const text = error instanceof Error ? (error.stack ?? error.message) : String(error);
      tell({
        kind: "error",
        error: known
          ? { kind: error.kind, problem: error.problem, where: error.parts.where }
          : { kind: null, problem: text, where: folder },
      });
      // give the channel a turn to send it
      setTimeout(() => process.exit(known ? error.exitCode : 70), 50);
    },
  );
}

function tell(report: Report): void {
  if (process.connected) process.send!(report);
}

async function serve(
  folder: string,
  loadTokenizer: (checkpoint: Checkpoint) => Promise<Tokenizer>,
  signal: AbortSignal,
): Promise<void> {
  const orders: Order[] = [];
  let wake = () => {};
  process.on("message", (order) => {
    orders.push(order as Order);
    wake();
  });
  signal.addEventListener("abort", () => wake());
  const plan = retrainingFromText(readFileSync(join(folder, "worker.json"), "utf8"));
  const plain = await openCheckpoint(plan.base);
  const { eightBit = null } = plan.engine;
  const checkpoint = eightBit === null ? plain : await withEightBit(plain, { most: eightBit, signal });
  const loaded = await loadTokenizer(checkpoint);
  const tokenizer = plan.rules === undefined ? loaded : { ...loaded, rules: plan.rules };
  const engine = openEngine(checkpoint, plan.engine, undefined, openTexts);
  const retraining = { ...plan, engine, tokenizer, signal };
  tell({ kind: "ready" });
  while (!signal.aborted) {
    const order = orders.shift();
    if (order === undefined) {
      await new Promise<void>((resolve) => {
        wake = resolve;
        if (orders.length > 0 || signal.aborted) resolve();
      });
      continue;
    }
    const at = join(folder, order.name);
    const job = jobFromText(readFileSync(join(at, "job.json"), "utf8"), join(at, "job.json"));
    await trainCandidate(retraining, job, at, order.steps, (event) => tell({ kind: "event", name: order.name, event }));
    if (!signal.aborted) tell({ kind: "done", name: order.name });
  }
  await engine.dispose();
}
