/**
 * @file A training that can take a folder's name. It opens and locks the folder, trains in it, and releases it.
 *
 * In: TrainInput with a folder's name in place of a Run. Out: TrainResult.
 */

import { train } from "../train/trainer.js";
import type { Run, TrainInput, TrainResult } from "../train/types.js";
import { openRun } from "./folder.js";

export interface RunInput extends Omit<TrainInput, "run"> {
  /** A folder (opened, locked and released here), a run that the caller opened and will close, or null to train in memory only. */
  readonly run: string | Run | null;
  /** With a folder: go on with the run that is there (refused when there is none, or its inputs changed). */
  readonly resume: boolean;
}

/** @throws what openRun() and train() throw. */
export async function trainRun({ run, resume, ...input }: RunInput): Promise<TrainResult> {
  if (typeof run !== "string") return train({ ...input, run });
  const opened = openRun(run, { resume });
  try {
    return await train({ ...input, run: opened });
  } finally {
    opened.close();
  }
}
