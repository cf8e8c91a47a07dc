/**
 * @file What a child process of the comparison of methods does: opens its own engine, then runs the units that its parent names.
 *
 * In: the path of the parent's plan, UnitOrders by IPC. Out: cells in the folder, UnitReports by IPC; ends the process.
 * A signal finishes the step in progress; what was not finished is trained again. The parent's death ends the process at once.
 */
import { readFileSync } from "node:fs";
import { fromText } from "../base/kept.js";
import type { Checkpoint } from "../model/checkpoint.js";
import { endWithFailure, openLikeParent } from "../run/child.js";
import type { Tokenizer } from "../text/tokenizer.js";
import { isUntrained } from "./method-options.js";
import { type ComparisonInput, runUnit, unitsOf } from "./method-runs.js";
import { countingSteps } from "./runs.js";
import type { UnitOrder, UnitPlan, UnitReport } from "./unit-pool.js";

/** Serves the parent until it is done with this process. @param path of the parent's plan @param loadTokenizer of the base model */
export function serveUnits(path: string, loadTokenizer: (checkpoint: Checkpoint) => Promise<Tokenizer>): void {
  const stop = new AbortController();
  for (const signal of ["SIGTERM", "SIGINT"] as const) process.on(signal, () => stop.abort(signal));
  process.on("disconnect", () => process.exit(0));
  let input: Promise<ComparisonInput> | undefined;
  process.on("message", ({ unit }: UnitOrder) => {
    input ??= open(path, loadTokenizer, stop.signal);
    input
      .then((known) => timed(known, unit))
      .then(
        (seconds) => tell({ kind: "done", unit, seconds }),
        // the parent that stopped this process reports it itself
        (error: unknown) => endWithFailure(error, path, (failure) => !stop.signal.aborted && tell(failure)),
      );
  });
  tell({ kind: "ready" });
}

/** Runs a unit. @returns seconds; null where it was read back */
async function timed(known: ComparisonInput, unit: number): Promise<number | null> {
  const { input, steps } = countingSteps(known);
  const own = unitsOf(input)[unit]!;
  const begun = performance.now();
  await runUnit(input, own, (_, run) => run());
  return steps() > 0 || isUntrained(own.method) ? (performance.now() - begun) / 1000 : null;
}

function tell(report: UnitReport): void {
  if (process.connected) process.send!(report);
}

async function open(
  path: string,
  loadTokenizer: (checkpoint: Checkpoint) => Promise<Tokenizer>,
  signal: AbortSignal,
): Promise<ComparisonInput> {
  const plan = fromText(readFileSync(path, "utf8"), path) as UnitPlan;
  const { base, name, options, rules, ...input } = plan;
  return {
    ...input,
    ...(await openLikeParent({ base, name, options, rules }, loadTokenizer, signal)),
    observe: () => {},
    signal,
  };
}
