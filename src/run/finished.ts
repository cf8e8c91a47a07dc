/**
 * @file A finished run whose result is taken over by other work. It is read, and no step is ever made in it.
 *
 * In: a run folder. Out: RunFolder for a trainer that makes no step, or a refusal. result.json alone does not say that a run is finished:
 * it stays while the run goes on to more steps.
 */
import { join } from "node:path";
import { SoftpromptError } from "../base/errors.js";
import { diskOps } from "../base/files.js";
import { lockFolder } from "../base/lock.js";
import type { TrainState } from "../train/state.js";
import { reopened } from "./extend.js";
import { mostSaved, openRun, type RunFolder, readHead } from "./folder.js";
import { fileNames, snapshotFolder } from "./layout.js";
import { readResult } from "./result.js";
import { loadSnapshot } from "./snapshot.js";

/**
 * Checks that the run's newest state is the finished one that its result tells of.
 * @param hint how to finish it. @throws SoftpromptError "run": no result yet, not finished, in use.
 */
export function refuseUnfinished(folder: string, hint: string): void {
  const result = readResult(folder).run;
  const lock = lockFolder(folder);
  try {
    const identity = readHead(join(folder, fileNames.run));
    const state = loadSnapshot(snapshotFolder(folder), () => {}, diskOps, mostSaved)?.state ?? null;
    const now = identity === null ? { ...state, finished: null } : reopened(state, identity);
    refuseState(folder, now, result.steps, hint);
  } finally {
    lock.release();
  }
}

/**
 * Opens it for a trainer, which gets its end as its state; the caller closes it.
 * @throws SoftpromptError "run" as refuseUnfinished, and at `begin` where it went on in between.
 */
export function openFinished(folder: string, hint: string): RunFolder {
  const { steps } = readResult(folder).run;
  const run = openRun(folder, { resume: true });
  return {
    ...run,
    begin: (...facts) => {
      const state = run.begin(...facts);
      refuseState(folder, state, steps, hint);
      return state;
    },
  };
}

/** @param steps of the result */
function refuseState(
  folder: string,
  state: Partial<Pick<TrainState, "step" | "finished">> | null,
  steps: number,
  hint: string,
): void {
  if (state?.finished && state.step === steps) return;
  const saved = state?.step === undefined ? "no saved state" : `a state of step ${state.step}`;
  throw new SoftpromptError("run", "the run is not finished", {
    where: folder,
    expected: "a finished run, whose last state is that of its result",
    got: `a result of ${steps} steps and ${saved}${state?.finished ? "" : ", which is not its end"}`,
    hint,
  });
}
