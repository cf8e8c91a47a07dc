/**
 * @file Prepares a run for more steps than it was begun with, in the same folder, so that it goes on exactly where it stopped.
 *
 * In: a run folder, a number of steps. Out: the folder, with a run of so many steps at its last snapshot. This is exact only if
 * all steps so far would have been the same in the longer run: one stage, and a learning rate that does not depend on the total. Anything
 * else is refused.
 */
import { existsSync } from "node:fs";
import { join } from "node:path";
import { SoftpromptError } from "../base/errors.js";
import { diskOps, type FileOps } from "../base/files.js";
import { lockFolder } from "../base/lock.js";
import { mostTrained } from "../method/full.js";
import type { Identity } from "../train/identity.js";
import { readHead, writeHead } from "./folder.js";
import { fileNames, snapshotFolder } from "./layout.js";
import { loadSnapshot, saveSnapshot } from "./snapshot.js";

/** Only the trainer knows the method, so this is the limit of the largest one: its values, two sets of best values, and moments. */
const mostSaved = 4 * 4 * mostTrained;

/** The fact of run.json that gives the steps of a run with one stage. */
const length = "schedule.stage 1.steps";

/**
 * @returns whether anything changed; false if the folder holds no begun run, or a run with exactly this many steps, whatever its stages.
 * @throws SoftpromptError "run" where going on would not be exact, or would be shorter.
 */
export function extendRun(folder: string, steps: number, ops: FileOps = diskOps): boolean {
  const head = join(folder, fileNames.run);
  if (!existsSync(head)) return false; // the resume reports what is missing
  const lock = lockFolder(folder, ops);
  try {
    const identity = readHead(head);
    if (identity === null) return false;
    const begun = stepsOf(identity);
    if (begun === steps) return false;
    refuseInexact(folder, identity, begun, steps);
    const snapshots = snapshotFolder(folder);
    const snapshot = loadSnapshot(snapshots, () => {}, ops, mostSaved);
    if (snapshot !== null) {
      const { state } = snapshot;
      if (state.finished !== null && state.finished !== "steps")
        throw notExact(folder, `it stopped by itself (${state.finished}), not for want of steps`, begun, steps);
      // before run.json is written: a run that is not marked as finished and has no step left ends in the same way again
      if (state.finished !== null)
        saveSnapshot(snapshots, { ...snapshot, number: snapshot.number + 1, state: { ...state, finished: null } }, ops);
    }
    writeHead(head, { ...identity, [length]: String(steps) }, ops);
    return true;
  } finally {
    lock.release();
  }
}

/** Steps of all stages together. */
function stepsOf(identity: Identity): number {
  const stages = Object.entries(identity).filter(([name]) => /^schedule\.stage \d+\.steps$/.test(name));
  return stages.reduce((sum, [, steps]) => sum + Number(steps), 0);
}

function refuseInexact(folder: string, identity: Identity, begun: number, steps: number): void {
  const rate = identity["settings.learningRateSchedule"];
  if (identity["schedule.stages"] !== "1")
    throw notExact(
      folder,
      "its schedule has several stages, whose lengths follow from the number of steps",
      begun,
      steps,
    );
  if (!(steps > begun))
    throw new SoftpromptError("run", "the run has made more steps already, or shall make as many", {
      where: folder,
      expected: `more than ${begun} steps`,
      got: steps,
    });
  if (rate !== "constant")
    throw notExact(
      folder,
      `its learning rate falls towards the end (${rate}), so every step so far would have been another`,
      begun,
      steps,
    );
}

function notExact(folder: string, why: string, begun: number, steps: number): SoftpromptError {
  return new SoftpromptError("run", `the run cannot go on exactly to more steps: ${why}`, {
    where: folder,
    expected: `${begun} steps`,
    got: steps,
    hint: `start a new run from its prompt: --init fromPrompt --init-from ${join(folder, fileNames.adapter)} with the steps to be added and another --output`,
  });
}
