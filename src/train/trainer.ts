/**
 * @file The training loop: stages, steps, evaluations, snapshots. It does not depend on FPT or XPrompt; these are expressed by a schedule
 * and a mask.
 *
 * In: TrainInput. Out: TrainResult, and events while it runs. Source: fpt.md §4, §5, §7; xprompt.md §2, §4.
 * The loop goes from one TrainState to the next: it evaluates, stops, grows, or makes a step (step.ts). Every move is decided by the state
 * alone (job.ts), so a run that was stopped between any two transitions continues to the same bytes.
 */
import { initParameters } from "../optim/parameters.js";
import { rowNotices } from "../text/rows.js";
import { openReadAhead } from "./ahead.js";
import { identityOf } from "./identity.js";
import { evaluationDue, type Job, prepare, shouldGrow, stopReason } from "./job.js";
import { checkState, initialState, largestState, type TrainState } from "./state.js";
import { evaluation, grow, type Observe, step, total } from "./step.js";
import type { StopReason, TrainInput, TrainResult } from "./types.js";

/**
 * Trains the parameters of the engine's method.
 *
 * @throws SoftpromptError "usage" (settings that cannot train), "data", "run" (folder busy, damaged or changed), "numeric" (nothing
 *   moves, or three steps in a row are not finite), "io". An abort is no error: the result's reason is "interrupted".
 */
export async function train(input: TrainInput): Promise<TrainResult> {
  const job = prepare(input);
  const readAhead = openReadAhead(job);
  const { totalSteps } = job;
  const { run } = input;
  const { stages } = input.schedule;
  const { snapshotEvery, snapshotSeconds } = input.settings;
  const observe: Observe = (event) => {
    run?.record(event);
    input.observe(event);
  };
  const fresh = initialState(
    job.start,
    initParameters(job.optimizer, job.start),
    stages[0].partial.name,
    input.keep ?? [],
  );
  const warn = (message: string) => observe({ kind: "warning", message });
  const saved = run?.begin(await identityOf(input), warn, largestState(fresh, input.keep?.length ?? 0)) ?? null;
  if (saved !== null) checkState(saved, fresh, { stages: stages.length, totalSteps }, run!.folder);
  let state = saved ?? fresh;
  let savedAt = performance.now();
  let savedState: TrainState | null = saved;
  const save = () => {
    if (run === null || savedState === state) return;
    run.save(state);
    savedAt = performance.now();
    savedState = state;
    observe({ kind: "snapshot", step: state.step });
  };
  const ended = (reason: StopReason, say = observe): TrainResult => {
    say({ kind: "end", reason, step: state.step });
    return resultOf(state, reason);
  };

  // a snapshot already counts the first line, even at step 0
  const begun = saved === null ? observe : input.observe;
  begun({ kind: "start", totalSteps, step: state.step, stages: stages.length });
  if (state.finished !== null) return ended(state.finished, input.observe); // its last line is written already
  if (saved === null) observe({ kind: "stage", step: 0, stage: 0, partial: stages[0].partial.name });
  warnOfRows(job, observe);

  for (;;) {
    if (input.signal?.aborted) {
      save();
      return ended("interrupted");
    }
    const model = evaluationDue(job, state);
    if (model !== null) {
      const next = await evaluation(job, state, model, observe);
      if (next === null) continue; // aborted on the way; it will be made again
      state = next;
      save();
      continue;
    }
    const finished = stopReason(job, state);
    if (finished === null && input.pauseAfter !== undefined && state.step >= input.pauseAfter) {
      save();
      return ended("interrupted");
    }
    if (finished !== null) {
      state = { ...state, finished };
      const result = ended(finished);
      save(); // after the last line of metrics.jsonl, which it counts
      return result;
    }
    // more than once where a stage has no steps
    while (shouldGrow(job, state)) state = await grow(job, state, observe);
    state = await step(job, state, { run, observe, readAhead });
    if (
      (snapshotEvery > 0 && state.step % snapshotEvery === 0) ||
      (snapshotSeconds > 0 && performance.now() - savedAt >= snapshotSeconds * 1000)
    )
      save();
  }
}

function warnOfRows({ encoded, validation, input }: Job, observe: Observe): void {
  const { tokenizer, settings } = input;
  const rows = [...input.train, ...validation.rows];
  for (const message of rowNotices(rows, [...encoded, ...validation.encoded], tokenizer, settings.maxInputTokens))
    observe({ kind: "warning", message });
}

function resultOf(state: TrainState, reason: StopReason): TrainResult {
  const [trainFlops, trainSeconds, evalSeconds, openSeconds] = [
    total(state, "flops"),
    total(state, "seconds"),
    total(state, "evalSeconds"),
    total(state, "openSeconds"),
  ];
  const recomputedFlops = total(state, "recomputedFlops");
  return {
    best: state.best ?? { parameters: state.parameters, step: state.step, scores: {} },
    bestOnFull: state.bestOnFull,
    last: state.parameters,
    steps: state.step,
    skipped: state.skipped,
    reason,
    cost: {
      flops: trainFlops + state.evalFlops,
      trainFlops,
      evalFlops: state.evalFlops,
      paperFlops: total(state, "paperFlops"),
      ...(recomputedFlops > 0 && { recomputedFlops }),
      seconds: trainSeconds + evalSeconds + openSeconds,
      trainSeconds,
      evalSeconds,
      openSeconds,
      perStage: state.perStage,
    },
    history: state.history,
    kept: state.kept,
  };
}
