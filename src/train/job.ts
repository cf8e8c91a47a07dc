/**
 * @file The constant parts of a training, and decisions about what to do next. The decisions depend only on the state.
 *
 * In: TrainInput. Out: Job; of a Job and a TrainState: the model to evaluate on, whether the stage or the whole is over.
 * Nothing here has an effect or looks at a clock, which is what makes a resume exact.
 */
import { SoftpromptError } from "../base/errors.js";
import { type Parameters, size } from "../base/tensor.js";
import { addFlops, beginningsOf, type Flops, noFlops, textFlops } from "../engine/flops.js";
import type { Place } from "../engine/graphs.js";
import { placeOf, readsBefore } from "../engine/place.js";
import { evaluationOptions, type Prepared, prepareEvaluation, type Reading } from "../evaluate/evaluate.js";
import { applyMask, entryMask, maskCounts } from "../method/mask.js";
import { fullModel, isFull, type PartialModel } from "../model/partial.js";
import type { Optimizer } from "../optim/optimizer.js";
import { optimizers } from "../optim/optimizers.js";
import { type EncodedRow, sharesText } from "../text/batch.js";
import { encodeRows } from "../text/rows.js";
import { batchOrder, stepsPerEpoch } from "./order.js";
import { totalSteps } from "./stage.js";
import type { TrainState } from "./state.js";
import type { TrainInput } from "./types.js";
import { microBatches } from "./update.js";

/** What stays the same over the whole training. */
export interface Job {
  readonly input: TrainInput;
  readonly start: Parameters;
  /** Mask of the prompt, [P × D] of 0 and 1, or null for all ones. */
  readonly live: Float32Array | null;
  readonly optimizer: Optimizer;
  readonly encoded: readonly EncodedRow[];
  /** Where the virtual tokens stand. */
  readonly place: Place;
  readonly rowsOf: (step: number) => readonly number[];
  readonly validation: Prepared;
  readonly totalSteps: number;
  readonly evalEvery: number;
}

/** @throws SoftpromptError for inputs that cannot be trained: wrong shapes, no rows, a mask of zeros, unknown labels. */
export function prepare(input: TrainInput): Job {
  const { engine, settings, parameters, mask, task, tokenizer, schedule } = input;
  for (const { name, shape } of engine.method.parameters(engine.checkpoint.config)) {
    const given = parameters[name];
    const fits =
      given?.shape.length === shape.length &&
      shape.every((n, i) => typeof n === "string" || n === given.shape[i]) &&
      given.data.length === size(given.shape);
    if (!fits)
      throw new SoftpromptError("usage", `the ${name} does not fit the base model`, {
        where: engine.checkpoint.name,
        expected: `[${shape.map((n) => (n === "P" ? "tokens" : n)).join(", ")}]`,
        got: given === undefined ? "nothing" : `[${given.shape.join(", ")}]`,
      });
  }
  if (input.train.length === 0)
    throw new SoftpromptError("data", "there are no training rows", { where: task.name, expected: "1 row or more" });
  const D = parameters.prompt?.shape[1] ?? 0;
  if (mask !== null && maskCounts(mask, D).parameters === 0)
    throw new SoftpromptError("usage", "the mask leaves nothing to train", { where: "prompt mask", got: "all zero" });
  const encoded = encodeRows(task, input.train, tokenizer, settings.maxInputTokens);
  return {
    input,
    start: mask === null ? parameters : { ...parameters, prompt: applyMask(parameters.prompt!, mask) },
    live: mask === null ? null : entryMask(mask, D),
    optimizer: optimizers[settings.optimizer](settings),
    encoded,
    place: placeOf(engine.checkpoint.config, encoded),
    rowsOf: batchOrder(encoded, settings.batchSize, settings.seed),
    validation: prepareEvaluation(tokenizer, task, input.validation, {
      ...evaluationOptions(settings),
      maxEvalRows: settings.maxEvalRows,
    }),
    totalSteps: totalSteps(schedule),
    evalEvery: settings.evalEvery || stepsPerEpoch(encoded.length, settings.batchSize),
  };
}

/**
 * What a step spends on reading texts that stand before the virtual tokens: with a store only texts that no step since `since` has read
 * count. Texts that the store already held count too, so that a run's cost does not depend on earlier runs. Without a store all texts
 * count.
 */
export function readingFlops(
  { input, place, encoded, rowsOf }: Pick<Job, "input" | "place" | "encoded" | "rowsOf">,
  partial: PartialModel,
  { step, since }: { readonly step: number; readonly since: number },
): Flops {
  if (!readsBefore(place)) return noFlops;
  const { config } = input.engine.checkpoint;
  const numbers = rowsOf(step);
  const rows = numbers.map((n) => encoded[n]!);
  const before = (input.readBefore ?? []).filter((read) => read.partial === partial.name);
  const earlier = () =>
    rowsRead(rowsOf, encoded.length, input.settings.batchSize, [...before, { from: since, to: step }]);
  const begun = (had: ReadonlySet<number>) => beginningsOf([...had].map((n) => encoded[n]!));
  if (input.engine.texts === null) {
    const beginnings = rows.some(sharesText) ? begun(earlier()) : undefined;
    return microBatches(rows, input.settings.microBatchSize)
      .map((micro) => textFlops(config, partial, micro, { together: true, beginnings }))
      .reduce(addFlops, noFlops);
  }
  const had = earlier();
  const fresh = numbers.filter((n) => !had.has(n)).map((n) => encoded[n]!);
  return textFlops(config, partial, fresh, { beginnings: fresh.some(sharesText) ? begun(had) : undefined });
}

/** What an evaluation of a run need not read again. @param textsKnown the store holds its texts */
export function evaluationReading({ input, encoded }: Pick<Job, "input" | "encoded">, textsKnown: boolean): Reading {
  // steps have read what the training rows begin with
  return { textsKnown, together: input.engine.texts === null, beginnings: beginningsOf(encoded) };
}

/** Row numbers of these steps' batches. */
export function rowsRead(
  rowsOf: (step: number) => readonly number[],
  rows: number,
  batchSize: number,
  steps: readonly { readonly from: number; readonly to: number }[],
): Set<number> {
  const had = new Set<number>();
  // an epoch and what may be left of the one before it have every row
  const most = 2 * stepsPerEpoch(rows, batchSize);
  for (const { from, to } of steps)
    for (let step = Math.max(from, to - most); step < to && had.size < rows; step++)
      for (const n of rowsOf(step)) had.add(n);
  return had;
}

/** The model of the current stage. */
export function stageModel({ input }: Job, { stage }: TrainState): PartialModel {
  return input.schedule.stages[stage]!.partial;
}

/** Step at which the current stage ends if nothing ends it earlier; the last takes what is left. */
export function stageEnd({ input, totalSteps }: Job, { stage, stageStart }: TrainState): number {
  const { stages } = input.schedule;
  return stage === stages.length - 1 ? totalSteps : Math.min(totalSteps, stageStart + stages[stage]!.steps);
}

/** Why the training is over, or null. `patience` counts in the last stage only: earlier ones hand over to the next. */
export function stopReason(job: Job, state: TrainState): TrainState["finished"] {
  const { schedule, settings } = job.input;
  if (state.step >= job.totalSteps) return "steps";
  const last = state.stage === schedule.stages.length - 1;
  return last && settings.patience > 0 && state.sinceBest >= settings.patience ? "patience" : null;
}

/** The model to evaluate on now, or null. At the very end it is the full model, even if the last stage is a partial one. */
export function evaluationDue(job: Job, state: TrainState): PartialModel | null {
  if (job.validation.rows.length === 0) return null;
  const partial = stageModel(job, state);
  if (state.evaluatedAt !== state.step) {
    const due = state.step === stageEnd(job, state) || state.step % job.evalEvery === 0;
    return state.step > 0 && due ? partial : null;
  }
  const { config } = job.input.engine.checkpoint;
  const full = fullModel(config);
  const done = state.history.some((entry) => entry.step === state.step && entry.partial === full.name);
  return stopReason(job, state) !== null && !isFull(config, partial) && !done ? full : null;
}

/** Whether it is time to grow: at the stage's end, or earlier on a plateau. */
export function shouldGrow(job: Job, state: TrainState): boolean {
  const { stages, plateau } = job.input.schedule;
  if (state.stage === stages.length - 1) return false;
  const flat = plateau !== null && state.evaluatedAt === state.step && state.sincePlateau >= plateau.patience;
  return flat || state.step >= stageEnd(job, state);
}
