/**
 * @file What a child process of a comparison of methods or of a sweep does: opens its own engine, then runs the units that its parent names.
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
import { runUnit, unitsOf } from "./method-runs.js";
import { countingSteps, type StudyEvent, type StudyInput } from "./runs.js";
import { readySetting, runSetting, scoreOf } from "./sweep-runs.js";
import type { UnitOrder, UnitPlan, UnitReport, UnitWork } from "./unit-pool.js";

/** Serves the parent until it is done with this process. @param path of the parent's plan @param loadTokenizer of the base model */
export function serveUnits(path: string, loadTokenizer: (checkpoint: Checkpoint) => Promise<Tokenizer>): void {
  const stop = new AbortController();
  for (const signal of ["SIGTERM", "SIGINT"] as const) process.on(signal, () => stop.abort(signal));
  process.on("disconnect", () => process.exit(0));
  let opened: Promise<Units> | undefined;
  process.on("message", ({ unit }: UnitOrder) => {
    opened ??= open(path, loadTokenizer, stop.signal);
    opened
      .then((units) => timed(units, unit))
      .then(
        (ended) => tell({ kind: "done", unit, ...ended }),
        // the parent that stopped this process reports it itself
        (error: unknown) => endWithFailure(error, path, (failure) => !stop.signal.aborted && tell(failure)),
      );
  });
  tell({ kind: "ready" });
}

/** What a process runs. */
interface Units {
  /** @param observe is told of every step that is computed */
  run(unit: number, observe: (event: StudyEvent) => void): Promise<UnitEnd>;
}

/** How a unit ended. */
interface UnitEnd {
  /** Time is spent without steps. */
  readonly asked?: boolean;
  /** null where it has none, or it is no number. */
  readonly score: number | null;
  readonly failed?: string;
}

/** Runs a unit. @returns how it ended, and seconds; null where it was read back */
async function timed(
  units: Units,
  unit: number,
): Promise<Omit<UnitEnd, "asked"> & { readonly seconds: number | null }> {
  const { input, steps } = countingSteps({ observe: () => {} });
  const begun = performance.now();
  const { asked = false, ...end } = await units.run(unit, input.observe);
  return { ...end, seconds: steps() > 0 || asked ? (performance.now() - begun) / 1000 : null };
}

function tell(report: UnitReport): void {
  if (process.connected) process.send!(report);
}

/** What a plan's work needs beside the plan. */
type Opened = Pick<StudyInput, "engine" | "tokenizer" | "signal">;

/** Each kind of work → its units. */
const kinds = {
  methods: ({ kind: _, ...input }, opened) => {
    const units = unitsOf({ ...input, ...opened, observe: () => {} });
    return {
      run: async (n, observe) => {
        const unit = units[n]!;
        const runs = await runUnit({ ...input, ...opened, observe }, unit, (_, run) => run());
        const score = runs.reduce((sum, run) => sum + run.score, 0) / runs.length;
        return { asked: isUntrained(unit.method), score: Number.isFinite(score) ? score : null };
      },
    };
  },
  sweep: ({ kind: _, ...plan }, opened) => {
    const { settings, seeds } = plan;
    // it was loaded by the parent, so nothing is asked of a hub
    const model = { ...opened, checkpoint: opened.engine.checkpoint, offline: true };
    return {
      run: async (n, observe) => {
        const setting = settings[n % settings.length]!;
        const { signal } = opened;
        const readied = await readySetting(model, plan, setting, { onEvent: observe, signal });
        const found = scoreOf(await runSetting(readied, seeds[Math.floor(n / settings.length)]!), readied.dataset);
        return "failed" in found ? { score: null, failed: found.failed } : { score: found.first };
      },
    };
  },
} satisfies { readonly [K in UnitWork["kind"]]: (work: Extract<UnitWork, { kind: K }>, opened: Opened) => Units };

async function open(
  path: string,
  loadTokenizer: (checkpoint: Checkpoint) => Promise<Tokenizer>,
  signal: AbortSignal,
): Promise<Units> {
  const { engine, work } = fromText(readFileSync(path, "utf8"), path) as UnitPlan;
  const opened = { ...(await openLikeParent(engine, loadTokenizer, signal)), signal };
  return kinds[work.kind](work as never, opened);
}
