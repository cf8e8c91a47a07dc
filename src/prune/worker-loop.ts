/**
 * @file What a worker process of a search does: opens its own engine, then trains the candidates its parent names, one after another.
 *
 * In: the search's folder, Orders by IPC. Out: files in each candidate's folder, Reports by IPC; ends the process.
 * SIGTERM and SIGINT finish the step in progress and save. The parent's death ends the process at once, as a kill would.
 */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { openMethod, prunableForm } from "../method/methods.js";
import type { ModelConfig } from "../model/architecture.js";
import type { Checkpoint } from "../model/checkpoint.js";
import { endWithFailure, openLikeParent } from "../run/child.js";
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
    (error: unknown) => endWithFailure(error, folder, tell),
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
  const { method } = plan;
  const parent = { base: plan.base, options: plan.engine, rules: plan.rules };
  const methodFor = method && ((config: ModelConfig) => prunableForm(openMethod(method), config)!.method);
  const { engine, tokenizer } = await openLikeParent(parent, loadTokenizer, signal, methodFor);
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
