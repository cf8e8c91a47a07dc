/**
 * @file Computes the cost of a training in advance: the total FLOPs of its steps and its evaluations, batch by batch.
 *
 * In: what the trainer takes. Out: Forecast. The batches of every step and the evaluations due are functions of the inputs alone,
 * so the result is exact, not an estimate, if the schedule grows at its step counts, there is no patience and answers are ranked. If a
 * plateau or patience ends a stage or the run early, the forecast is the cost without that early end; if answers are written, it is the cost
 * of answers as long as the task allows.
 */

import { shapeOfRows, stepFlops } from "../engine/flops.js";
import { evaluationFlops } from "../evaluate/evaluate.js";
import { fullModel, isFull, type PartialModel } from "../model/partial.js";
import { evaluationReading, inTurn, prepare, readingFlops } from "./job.js";
import { boundaries } from "./stage.js";
import type { TrainInput } from "./types.js";
import { microBatches } from "./update.js";

export interface Forecast {
  /** Optimizer steps in all. */
  readonly steps: number;
  /** Total FLOPs after so many steps, with every evaluation that the trainer makes until then, at that step too. 0 … steps. */
  spent(step: number): number;
  /** Whether one of these, at this step, is on the full model. */
  evaluatedAt(step: number): boolean;
  /** One evaluation on the full model. */
  readonly evaluation: number;
  /** Steps from one evaluation to the next. */
  readonly evalEvery: number;
}

/** @throws what prepare() throws for inputs that cannot train. */
export function forecast(input: Omit<TrainInput, "run">): Forecast {
  const job = prepare({ ...input, run: null });
  const { engine, schedule, settings, parameters } = input;
  const { config } = engine.checkpoint;
  const P = engine.method.adds(parameters).tokens;
  const ends = boundaries(schedule);
  const full = fullModel(config);
  const measured = job.validation.rows.length > 0;
  const again = engine.texts !== null;
  const costOf = (partial: PartialModel, textsKnown = false) =>
    evaluationFlops(config, partial, job.validation, P, evaluationReading(job, textsKnown), engine.method);
  const evaluation = costOf(full, again);
  const own = schedule.stages.map(({ partial }) => costOf(partial, again));
  const evaluated = new Set((input.readBefore ?? []).map(({ partial }) => partial));
  /** The additional cost of the first evaluation on a model: reading its texts. */
  const firstOf = (partial: PartialModel): number => {
    if (evaluated.has(partial.name)) return 0;
    evaluated.add(partial.name);
    return costOf(partial) - costOf(partial, again);
  };
  const turns = inTurn(schedule.stages.map(({ partial, steps }) => ({ partial: partial.name, steps })));
  const stageOf = (step: number) => ends.findIndex((end) => step <= end);
  const due = (step: number) => measured && (ends.includes(step) || step % job.evalEvery === 0);
  const fullStage = (step: number) => isFull(config, schedule.stages[stageOf(step)]!.partial);

  const spent = new Float64Array(job.totalSteps + 1);
  for (let step = 1; step <= job.totalSteps; step++) {
    const stage = stageOf(step);
    const rows = job.rowsOf(step - 1).map((n) => job.encoded[n]!);
    const { partial } = schedule.stages[stage]!;
    let flops = due(step) ? own[stage]! + firstOf(partial) : 0;
    const since = stage === 0 ? 0 : ends[stage - 1]!;
    flops += readingFlops(job, partial, { step: step - 1, since, earlier: turns.slice(0, stage) }).total;
    for (const micro of microBatches(rows, settings.microBatchSize))
      flops += stepFlops(config, partial, shapeOfRows(config, micro, P), engine.method).total;
    // the full model is evaluated at the very end, even if the last stage is a partial one
    if (step === job.totalSteps && measured && !fullStage(step)) flops += evaluation + firstOf(full);
    spent[step] = spent[step - 1]! + flops;
  }
  return {
    steps: job.totalSteps,
    spent: (step) => spent[step]!,
    evaluatedAt: (step) => step > 0 && due(step) && (fullStage(step) || step === job.totalSteps),
    evaluation,
    evalEvery: job.evalEvery,
  };
}
