/**
 * @file The transitions of a training from state to state: a step, an evaluation, a growth.
 *
 * In: Job, TrainState. Out: the next TrainState, and events. Source: fpt.md §4, §5, §7.
 */
import { SoftpromptError } from "../base/errors.js";
import type { Parameters } from "../base/tensor.js";
import { type Scores, selectionScore } from "../data/metrics.js";
import { keepsLittle, recomputedFlops, stepFlops } from "../engine/flops.js";
import { evaluatePrepared, rowsEvent } from "../evaluate/evaluate.js";
import { isFull, type PartialModel } from "../model/partial.js";
import { learningRateAt } from "../optim/learning-rate.js";
import { initParameters } from "../optim/parameters.js";
import type { ReadAhead } from "./ahead.js";
import { evaluationReading, inTurn, type Job, readingFlops, stageModel } from "./job.js";
import { reproduction } from "./reproduction.js";
import { noCost, type TrainState } from "./state.js";
import type { Chosen, HistoryEntry, Run, StageCost, TrainEvent } from "./types.js";
import { applyUpdate, batchGradient } from "./update.js";

/** Skipped steps in a row that stop a run. */
const skipsAllowed = 3;

export type Observe = (event: TrainEvent) => void;

/** Growth: the next stage's model, the same parameters, the same optimizer state unless the schedule says afresh. */
export async function grow(job: Job, state: TrainState, observe: Observe): Promise<TrainState> {
  const { engine, schedule } = job.input;
  const old = stageModel(job, state);
  const stage = state.stage + 1;
  const { partial } = schedule.stages[stage]!;
  if (!schedule.stages.slice(stage).some((later) => later.partial.name === old.name)) await engine.release(old);
  observe({ kind: "stage", step: state.step, stage, partial: partial.name });
  return {
    ...state,
    stage,
    stageStart: state.step,
    optimizer: schedule.resetOptimizerOnGrow ? initParameters(job.optimizer, state.parameters) : state.optimizer,
    stageBest: null,
    sinceBest: 0,
    plateauBest: null,
    sincePlateau: 0,
    perStage: [...state.perStage, noCost(partial.name)],
  };
}

/** One optimizer step, or a skipped one, or none after an abort while texts were read. @throws SoftpromptError "numeric". */
export async function step(
  job: Job,
  state: TrainState,
  { run, observe, readAhead }: { readonly run: Run | null; readonly observe: Observe; readonly readAhead: ReadAhead },
): Promise<TrainState> {
  const { input, live } = job;
  const { engine, settings } = input;
  const partial = stageModel(job, state);
  const began = performance.now();
  await readAhead(state, input.observe);
  if (input.signal?.aborted) return state;
  const opened = performance.now();
  const readSeconds = (opened - began) / 1000;
  const program = await engine.train(partial, job.place);
  const started = performance.now();
  const openSeconds = (started - opened) / 1000;
  const numbers = job.rowsOf(state.step);
  const rows = numbers.map((n) => job.encoded[n]!);
  const { rate = 1 } = input.schedule.stages[state.stage]!;
  const learningRate = rate * learningRateAt(state.step + 1, job.totalSteps, settings);
  const again = keepsLittle(engine.options, Boolean(engine.options.blocks));
  const batch = await batchGradient({
    program,
    method: engine.method,
    config: engine.checkpoint.config,
    parameters: state.parameters,
    rows,
    microBatchSize: settings.microBatchSize,
    flopsOf: (shape) => stepFlops(engine.checkpoint.config, partial, shape, engine.method),
    recomputedOf: (shape) => (again ? recomputedFlops(engine.checkpoint.config, partial, shape, engine.method) : 0),
    flopsBefore: readingFlops(job, partial, {
      step: state.step,
      since: state.stageStart,
      earlier: inTurn(state.perStage.slice(0, -1)),
    }),
  });
  const update = applyUpdate(batch, state.parameters, state.optimizer, job.optimizer, {
    learningRate,
    clip: settings.clip,
    live,
  });
  const seconds = readSeconds + (performance.now() - started) / 1000;
  const next: TrainState = {
    ...state,
    step: state.step + 1,
    perStage: addCost(state.perStage, {
      steps: 1,
      seconds,
      openSeconds,
      flops: batch.flops.total,
      paperFlops: batch.flops.paper,
      recomputedFlops: batch.recomputed,
    }),
  };
  const where = { step: next.step, stage: state.stage };
  const keeping = (parameters: Parameters) =>
    input.keep?.includes(next.step) ? new Map([...state.kept, [next.step, parameters]]) : state.kept;

  if ("problem" in update) {
    const ids = rows.map((row) => row.id);
    const spent = { seconds, openSeconds, totalFlops: everything(job, next) };
    observe({ kind: "skip", ...where, problem: update.problem, rows: ids, ...spent });
    const skippedInRow = state.skippedInRow + 1;
    if (skippedInRow >= skipsAllowed) throw stopped(job, state, run, numbers, learningRate, update.problem);
    return { ...next, skipped: state.skipped + 1, skippedInRow, kept: keeping(state.parameters) };
  }
  // weight decay alone would change the prompt too, so the gradient is checked as well
  if (!state.moved && (update.norm === 0 || equalParameters(update.parameters, state.parameters)))
    throw new SoftpromptError(
      "numeric",
      "the first step did not move the prompt by its gradient: nothing is being learnt",
      {
        where: `step ${next.step}`,
        expected: "an update that moves the prompt",
        got: `gradient norm ${update.norm}, learning rate ${learningRate}`,
        hint: "raise the learning rate; if the gradient norm is 0, the targets do not depend on the prompt",
      },
    );
  observe({
    kind: "step",
    ...where,
    loss: batch.loss,
    learningRate,
    gradientNorm: update.norm,
    tokens: batch.tokens,
    seconds,
    openSeconds,
    flops: total(next, "flops"),
    paperFlops: total(next, "paperFlops"),
    totalFlops: everything(job, next),
  });
  return {
    ...next,
    parameters: update.parameters,
    optimizer: update.optimizer,
    moved: true,
    skippedInRow: 0,
    kept: keeping(update.parameters),
  };
}

function equalParameters(a: Parameters, b: Parameters): boolean {
  return Object.entries(a).every(([name, { data }]) => {
    const other = b[name]!.data;
    for (let n = 0; n < data.length; n++) if (data[n] !== other[n]) return false;
    return true;
  });
}

/** The error of repeated skips, after writing the files that reproduce the step. */
function stopped(
  job: Job,
  state: TrainState,
  run: Run | null,
  numbers: readonly number[],
  learningRate: number,
  problem: string,
): SoftpromptError {
  const rows = numbers.map((n) => job.input.train[n]!);
  const files = reproduction({
    step: state.step + 1,
    partial: stageModel(job, state).name,
    problem,
    learningRate,
    settings: job.input.settings,
    parameters: state.parameters,
    encoded: numbers.map((n) => job.encoded[n]!),
    rows,
  });
  for (const [name, content] of Object.entries(files)) run?.write(name, content);
  return new SoftpromptError("numeric", `${skipsAllowed} steps in a row were not finite: ${problem}`, {
    where: `step ${state.step + 1}, rows ${rows.map((row) => row.id).join(", ")}`,
    expected: "finite losses, gradients and updates",
    got: problem,
    hint:
      run === null
        ? "lower the learning rate"
        : `lower the learning rate; the batch and the prompt are saved in ${run.folder}: ${Object.keys(files).join(", ")}`,
  });
}

/** @returns the state after the evaluation, or null when it was aborted on the way. */
export async function evaluation(
  job: Job,
  state: TrainState,
  partial: PartialModel,
  observe: Observe,
): Promise<TrainState | null> {
  const { engine, tokenizer, task, schedule, signal } = job.input;
  const evaluated = [...state.history, ...(job.input.readBefore ?? [])].some((entry) => entry.partial === partial.name);
  const textsKnown = engine.texts !== null && evaluated;
  const found = await evaluatePrepared(
    engine,
    partial,
    tokenizer,
    job.validation,
    state.parameters,
    signal,
    (...rows) => observe(rowsEvent(...rows)),
    evaluationReading(job, textsKnown),
  );
  if (found === null) return null;
  const { scores, loss, seconds } = found;
  const scoreOf = (of: Scores) => finiteOr(selectionScore(task, of), -Number.MAX_VALUE);
  const score = scoreOf(scores);
  const chosen: Chosen = { parameters: state.parameters, step: state.step, scores };
  const beats = (old: Chosen | null) => old === null || score >= scoreOf(old.scores);
  // the extra evaluation on the full model changes only the best of the full model; `best` stays a score of the trained model
  const own = partial.name === stageModel(job, state).name;
  const best = own && beats(state.best);
  const full = isFull(engine.checkpoint.config, partial);
  const [flops, paperFlops] = [total(state, "flops"), total(state, "paperFlops")];
  const totalFlops = everything(job, state) + found.flops;
  const entry: HistoryEntry = {
    step: state.step,
    stage: state.stage,
    partial: partial.name,
    loss,
    scores,
    flops,
    paperFlops,
    totalFlops,
    seconds: total(state, "seconds"),
  };
  observe({
    kind: "eval",
    step: state.step,
    stage: state.stage,
    partial: partial.name,
    scores,
    loss,
    seconds,
    best,
    flops,
    paperFlops,
    totalFlops,
  });
  if (!Number.isFinite(loss))
    observe({ kind: "warning", message: `the validation loss at step ${state.step} on ${partial.name} is ${loss}` });
  const better = state.stageBest === null || score > state.stageBest;
  const rising = state.plateauBest === null || score > state.plateauBest + (schedule.plateau?.minDelta ?? 0);
  return {
    ...state,
    ...(own && {
      evaluatedAt: state.step,
      stageBest: better ? score : state.stageBest,
      sinceBest: better ? 0 : state.sinceBest + 1,
      plateauBest: rising ? score : state.plateauBest,
      sincePlateau: rising ? 0 : state.sincePlateau + 1,
    }),
    best: best ? chosen : state.best,
    bestOnFull: full && beats(state.bestOnFull) ? chosen : state.bestOnFull,
    evalFlops: state.evalFlops + found.flops,
    perStage: addCost(state.perStage, { evalSeconds: seconds }),
    history: [...state.history, entry],
  };
}

function finiteOr(value: number | undefined, instead: number): number {
  return value !== undefined && Number.isFinite(value) ? value : instead;
}

function addCost(perStage: readonly StageCost[], more: Partial<Omit<StageCost, "partial">>): StageCost[] {
  const last = perStage.at(-1)!;
  const sum = (key: keyof Omit<StageCost, "partial">) => (last[key] ?? 0) + (more[key] ?? 0);
  return [
    ...perStage.slice(0, -1),
    {
      partial: last.partial,
      steps: sum("steps"),
      seconds: sum("seconds"),
      evalSeconds: sum("evalSeconds"),
      openSeconds: sum("openSeconds"),
      flops: sum("flops"),
      paperFlops: sum("paperFlops"),
      ...(sum("recomputedFlops") > 0 && { recomputedFlops: sum("recomputedFlops") }),
    },
  ];
}

/** Total FLOPs of everything so far, including costs before the first step. */
function everything({ input }: Job, state: TrainState): number {
  return (input.flopsBefore ?? 0) + total(state, "flops") + state.evalFlops;
}

/** A cost summed over the stages. */
export function total(state: TrainState, key: keyof Omit<StageCost, "partial">): number {
  return state.perStage.reduce((sum, stage) => sum + (stage[key] ?? 0), 0);
}
