/**
 * @file A run that goes on to more steps than it was begun with, in the same folder: whether that is exact, which is checked before
 * anything is written.
 *
 * In: the facts in run.json, those of the longer run, the newest state. Out: nothing, or a refusal. Going on is exact only if everything so
 * far would have been the same in the longer run: one stage, and a learning rate that does not depend on the total. An evaluation that was made
 * only because the run ended there is told: its score stays among those that choose the best prompt.
 */
import { join } from "node:path";
import { SoftpromptError } from "../base/errors.js";
import type { Identity } from "../train/identity.js";
import type { TrainState } from "../train/state.js";
import { fileNames } from "./layout.js";

/** Permits a resume with more steps. */
export interface Longer {
  /** Steps between two evaluations, as they take effect. */
  readonly evalEvery: number;
}

const isLength = (fact: string) => /^schedule\.stage \d+\.steps$/.test(fact);

/** Steps of all stages together. */
export function stepsOf(identity: Identity): number {
  const stages = Object.entries(identity).filter(([name]) => isLength(name));
  return stages.reduce((sum, [, steps]) => sum + Number(steps), 0);
}

/** The facts of the saved run with the lengths of the other's stages; unchanged where both are equally long. */
export function lengthened(saved: Identity, now: Identity): Identity {
  if (stepsOf(saved) === stepsOf(now)) return saved;
  const lengths = Object.entries(now).filter(([name]) => isLength(name));
  return { ...saved, ...Object.fromEntries(lengths) };
}

/** The state of a run that was made longer: it has steps left, though its snapshot was the last one of the shorter run. */
export function reopened<S extends Pick<TrainState, "step" | "finished">>(
  state: S | null,
  identity: Identity,
): S | null {
  return state?.finished === "steps" && state.step < stepsOf(identity) ? { ...state, finished: null } : state;
}

/** Of a saved state what decides whether its run can go on to more steps. */
interface Ended extends Pick<TrainState, "finished"> {
  readonly history: readonly { readonly step: number }[];
}

/** Why a run cannot go on exactly to more steps than it was begun with; null where it can. @param state null where nothing was saved */
export function whyInexact(saved: Identity, state: Ended | null): string | null {
  const rate = saved["settings.learningRateSchedule"];
  if (saved["schedule.stages"] !== "1")
    return "its schedule has several stages, whose lengths follow from the number of steps";
  if (rate !== "constant")
    return `its learning rate falls towards the end (${rate}), so every step so far would have been another`;
  if (state === null) return null;
  if (state.finished === "patience") return "it stopped by itself (patience), not for want of steps";
  return state.history.filter((entry) => entry.step === stepsOf(saved)).length > 1
    ? "it was evaluated on the full model at its end, which a longer run does not do there"
    : null;
}

/**
 * Refuses a change of the number of steps after which the steps would not be what they would have been from the start.
 * @param state the newest one; null where nothing was saved. @returns what a reader of its scores should know, else null.
 * @throws SoftpromptError "run".
 */
export function refuseInexact(
  folder: string,
  { saved, now, state, longer }: { saved: Identity; now: Identity; state: TrainState | null; longer: Longer },
): string | null {
  const [begun, steps] = [stepsOf(saved), stepsOf(now)];
  if (begun === steps) return null;
  if (!(steps > begun))
    throw new SoftpromptError("run", "the run has made more steps already, or shall make as many", {
      where: folder,
      expected: `more than ${begun} steps`,
      got: steps,
    });
  const why = whyInexact(saved, state);
  if (why !== null) throw notExact(folder, why, { begun, steps });
  if (state === null) return null;
  if (state.evaluatedAt !== begun || begun % longer.evalEvery === 0) return null;
  return `the run was evaluated at its end, after step ${begun}, where a run of ${steps} steps from the start would not be (it is every ${longer.evalEvery} steps): that score counts among those that choose the best prompt`;
}

function notExact(
  folder: string,
  why: string,
  { begun, steps }: { readonly begun: number; readonly steps: number },
): SoftpromptError {
  return new SoftpromptError("run", `the run cannot go on exactly to more steps: ${why}`, {
    where: folder,
    expected: `${begun} steps`,
    got: steps,
    hint: `start a new run from its prompt: --init fromPrompt --init-from ${join(folder, fileNames.adapter)} with the steps to be added and another --output`,
  });
}
