/**
 * @file What the trainer needs of the place it writes to. The trainer itself knows no disk: run/folder.ts makes a Run of a folder.
 */
import type { Identity } from "./identity.js";
import type { TrainState } from "./state.js";
import type { TrainEvent } from "./types.js";

/** Where a training records its events and saves its states; whoever opened it closes it. */
export interface Run {
  /** Its name for messages: the folder. */
  readonly folder: string;
  /**
   * Says what the run is made from: written down at the first call, compared ever after.
   * @returns the newest good state, the recorded events cut back to it; null where nothing was saved yet.
   * @throws SoftpromptError "run" naming what changed, or where no saved state is usable.
   */
  begin(identity: Identity, tell: (message: string) => void): TrainState | null;
  /** Records the event if it is one that is recorded. */
  record(event: TrainEvent): void;
  /** Saves a state durably. */
  save(state: TrainState): void;
  /** Writes another file of the run, whole or not at all: what is needed to see a bad step again. */
  write(name: string, content: string | Uint8Array): void;
}
