/**
 * @file The constant parts of a training, and decisions about what to do next. The decisions depend only on the state.
 *
 * In: TrainInput. Out: Job; of a Job and a TrainState: the model to evaluate on, whether the stage or the whole is over.
 * Nothing here has an effect or looks at a clock, which is what makes a resume exact.
 */
import { SoftpromptError } from "../base/errors.js";
import { checkOptions } from "../base/options.js";
import { type Parameters, size } from "../base/tensor.js";
import { addFlops, beginningsOf, type Flops, firstWithText, noFlops, textFlops } from "../engine/flops.js";
import type { Place } from "../engine/graphs.js";
import { placeOf, readsBefore } from "../engine/place.js";
import { evaluationOptions, type Prepared, prepareEvaluation, type Reading } from "../evaluate/evaluate.js";
import { applyMask, entryMask, maskCounts } from "../method/mask.js";
import { fullModel, isFull, type PartialModel } from "../model/partial.js";
import type { Optimizer } from "../optim/optimizer.js";
import { optimizers } from "../optim/optimizers.js";
import { type EncodedRow, sharesText } from "../text/batch.js";
import { encodeRows } from "../text/rows.js";
import { trainOptions } from "./options.js";
import { batchOrder, stepsPerEpoch } from "./order.js";
import { checkStages, totalSteps } from "./stage.js";
import type { TrainState } from "./state.js";
import type { ReadSteps, TrainInput } from "./types.js";
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

/**
 * @throws SoftpromptError for inputs that cannot be trained: settings out of range, stages without a number of steps, wrong shapes, no rows, a
 *   mask of zeros, unknown labels.
 */
export function prepare(input: TrainInput): Job {
  const { engine, settings, parameters, mask, task, tokenizer, schedule } = input;
  // a program's own values: a batch of no rows or NaN steps would never end
  checkOptions(trainOptions, settings, "settings of the training");
  checkStages(schedule);
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
 * What a step spends on reading texts that stand before the virtual tokens: with a store only texts that no step since `since`, and none of
 * `earlier` on the same model, has read count. Texts that the store already held count too, so that a run's cost does not depend on earlier
 * runs. Without a store all texts count.
 * @param earlier steps of the run before its stage. Default none
 */
export function readingFlops(
  { input, place, encoded, rowsOf }: Pick<Job, "input" | "place" | "encoded" | "rowsOf">,
  partial: PartialModel,
  {
    step,
    since,
    earlier = [],
  }: { readonly step: number; readonly since: number; readonly earlier?: readonly ReadSteps[] },
): Flops {
  if (!readsBefore(place)) return noFlops;
  const { config } = input.engine.checkpoint;
  const numbers = rowsOf(step);
  const rows = numbers.map((n) => encoded[n]!);
  const before = [...(input.readBefore ?? []), ...earlier].filter((read) => read.partial === partial.name);
  const had = () => hadBefore({ encoded, rowsOf }, input.settings.batchSize, before, { step, since });
  // a copy, because what these rows begin with is added
  const begun = (of: readonly EncodedRow[]) => (of.some(sharesText) ? new Set(had().beginnings) : undefined);
  if (input.engine.texts === null) {
    const beginnings = begun(rows);
    return microBatches(rows, input.settings.microBatchSize)
      .map((micro) => textFlops(config, partial, micro, { together: true, beginnings }))
      .reduce(addFlops, noFlops);
  }
  const first = firstWithText(encoded);
  const { texts } = had();
  const fresh = numbers.filter((n) => !texts.has(first[n]!)).map((n) => encoded[n]!);
  return textFlops(config, partial, fresh, { beginnings: begun(fresh) });
}

/** What steps have read. */
interface Had {
  /** Which steps, up to `to`. */
  readonly of: string;
  to: number;
  /** Numbers of the rows, and of the first row with each of their texts: an equal text of another row is read too. */
  readonly rows: Set<number>;
  readonly texts: Set<number>;
  /** What many texts begin with. */
  readonly beginnings: Set<string>;
}

const lastHad = new WeakMap<Job["rowsOf"], Had>();

/**
 * What the steps of `before` and those from `since` to `step` have read. The last answer is kept and added to: a training asks for one step
 * after the other, and all of an epoch's rows at every step are quadratic work.
 */
function hadBefore(
  { encoded, rowsOf }: Pick<Job, "encoded" | "rowsOf">,
  batchSize: number,
  before: readonly ReadSteps[],
  { step, since }: { readonly step: number; readonly since: number },
): Had {
  const first = firstWithText(encoded);
  const of = JSON.stringify([before, since]);
  let had = lastHad.get(rowsOf);
  const add = (to: Had, numbers: Iterable<number>) => {
    for (const n of numbers) {
      if (to.rows.has(n)) continue;
      to.rows.add(n);
      to.texts.add(first[n]!);
      for (const beginning of beginningsOf([encoded[n]!])) to.beginnings.add(beginning);
    }
  };
  if (had?.of !== of || had.to > step) {
    had = { of, to: step, rows: new Set(), texts: new Set(), beginnings: new Set() };
    add(had, rowsRead(rowsOf, encoded.length, batchSize, [...before, { from: since, to: step }]));
    lastHad.set(rowsOf, had);
  }
  for (; had.to < step; had.to++) if (had.rows.size < encoded.length) add(had, rowsOf(had.to));
  return had;
}

/** The steps that each of these stages has, one after the other, and on which model. */
export function inTurn(stages: readonly { readonly partial: string; readonly steps: number }[]): ReadSteps[] {
  let from = 0;
  return stages.map(({ partial, steps }) => {
    const read = { partial, from, to: from + steps };
    from += steps;
    return read;
  });
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
