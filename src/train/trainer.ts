/**
 * @file The training loop: stages, steps, evaluations, checkpoints. It knows nothing of FPT or XPrompt; a schedule and a mask make them.
 *
 * In: TrainInput. Out: TrainResult, and events while it runs. Source: fpt.md §4, §5, §7; xprompt.md §2, §4.
 * The loop is a walk over TrainState values: evaluate what is due, stop, grow, or step. Every turn is decided by the state alone,
 * so a run that was stopped between any two turns goes on to the same bytes.
 */
import { SoftpromptError } from "../base/errors.js";
import type { Tensor } from "../base/tensor.js";
import { applyMask, entryMask, maskCounts } from "../method/mask.js";
import { stepFlops } from "../model/flops.js";
import { fullModel, isFull, type PartialModel } from "../model/partial.js";
import { learningRateAt } from "../optim/learning-rate.js";
import type { Optimizer } from "../optim/optimizer.js";
import { optimizers } from "../optim/optimizers.js";
import type { EncodedRow } from "../text/batch.js";
import { encodeRows } from "./encode.js";
import { evaluatePrepared, type Prepared, prepareEvaluation } from "./evaluate.js";
import { identityOf } from "./identity.js";
import { batchOrder, stepsPerEpoch } from "./order.js";
import { reproduction } from "./reproduction.js";
import { openRun, type Run } from "./run-folder.js";
import { checkState, initialState, noCost, type TrainState } from "./state.js";
import type { Chosen, HistoryEntry, StageCost, StopReason, TrainEvent, TrainInput, TrainResult } from "./types.js";
import { applyUpdate, batchGradient } from "./update.js";

/** Skipped steps in a row that stop a run. */
const skipsAllowed = 3;

/**
 * Trains a soft prompt.
 *
 * @throws SoftpromptError "usage" (settings that cannot train), "data", "run" (folder busy, damaged or changed), "numeric" (nothing
 *   moves, or three steps in a row are not finite), "io". An abort is no error: the result's reason is "interrupted".
 */
export async function train(input: TrainInput): Promise<TrainResult> {
  const job = prepare(input);
  if (typeof input.run !== "string") return work(job, input.run);
  const run = openRun(input.run, { resume: input.resume });
  try {
    return await work(job, run);
  } finally {
    run.close();
  }
}

/** What stays the same over the whole training. */
interface Job {
  readonly input: TrainInput;
  readonly start: Tensor;
  /** [P × D] of 0 and 1, or null for all ones. */
  readonly live: Float32Array | null;
  readonly optimizer: Optimizer;
  readonly encoded: readonly EncodedRow[];
  readonly rowsOf: (step: number) => readonly number[];
  readonly validation: Prepared;
  readonly totalSteps: number;
  readonly evalEvery: number;
}

function prepare(input: TrainInput): Job {
  const { engine, settings, prompt, mask, task, tokenizer, schedule } = input;
  const D = engine.checkpoint.config.width;
  if (prompt.shape.length !== 2 || prompt.shape[1] !== D || prompt.data.length !== prompt.shape[0]! * D)
    throw new SoftpromptError("usage", "the prompt does not fit the base model", {
      where: engine.checkpoint.name,
      expected: `[tokens, ${D}]`,
      got: `[${prompt.shape.join(", ")}]`,
    });
  if (input.train.length === 0)
    throw new SoftpromptError("data", "there are no training rows", { where: task.name, expected: "1 row or more" });
  if (mask !== null && maskCounts(mask, D).parameters === 0)
    throw new SoftpromptError("usage", "the mask leaves nothing to train", { where: "prompt mask", got: "all zero" });
  const encoded = encodeRows(task, input.train, tokenizer, settings.maxInputTokens);
  return {
    input,
    start: mask === null ? prompt : applyMask(prompt, mask),
    live: mask === null ? null : entryMask(mask, D),
    optimizer: optimizers[settings.optimizer](settings),
    encoded,
    rowsOf: batchOrder(encoded, settings.batchSize, settings.seed),
    validation: prepareEvaluation(tokenizer, task, input.validation, {
      by: settings.evaluateBy,
      maxInputTokens: settings.maxInputTokens,
      batchSize: 4 * settings.microBatchSize,
      maxEvalRows: settings.maxEvalRows,
      seed: settings.seed,
    }),
    totalSteps: schedule.stages.reduce((sum, stage) => sum + stage.steps, 0),
    evalEvery: settings.evalEvery || stepsPerEpoch(encoded.length, settings.batchSize),
  };
}

async function work(job: Job, run: Run | null): Promise<TrainResult> {
  const { input, totalSteps } = job;
  const { stages } = input.schedule;
  const { checkpointEvery, checkpointSeconds } = input.settings;
  const tell: Tell = (event) => {
    run?.record(event);
    input.observe(event);
  };
  const fresh = initialState(job.start, job.optimizer.init(job.start), stages[0].partial.name, input.keep ?? []);
  const saved = run?.begin(await identityOf(input), (message) => tell({ kind: "warning", message })) ?? null;
  if (saved !== null) checkState(saved, fresh, { stages: stages.length, totalSteps }, run!.folder);
  let state = saved ?? fresh;
  let savedAt = performance.now();
  let savedState: TrainState | null = saved;
  const save = () => {
    if (run === null || savedState === state) return;
    run.save(state);
    savedAt = performance.now();
    savedState = state;
    tell({ kind: "checkpoint", step: state.step });
  };
  const ended = (reason: StopReason, say = tell): TrainResult => {
    say({ kind: "end", reason, step: state.step });
    return resultOf(state, reason);
  };

  tell({ kind: "start", totalSteps, step: state.step, stages: stages.length });
  if (state.finished !== null) return ended(state.finished, input.observe); // its last line is written already
  if (saved === null) tell({ kind: "stage", step: 0, stage: 0, partial: stages[0].partial.name });
  warnOfCuts(job, tell);

  for (;;) {
    if (input.signal?.aborted) {
      save();
      return ended("interrupted");
    }
    const model = evaluationDue(job, state);
    if (model !== null) {
      const next = await evaluation(job, state, model, tell);
      if (next === null) continue; // aborted on the way; it will be made again
      state = next;
      save();
      continue;
    }
    const finished = over(job, state);
    if (finished !== null) {
      state = { ...state, finished };
      const result = ended(finished);
      save(); // after the last line of metrics.jsonl, which it counts
      return result;
    }
    if (stageOver(job, state)) state = await grow(job, state, tell);
    state = await step(job, state, run, tell);
    if (
      (checkpointEvery > 0 && state.step % checkpointEvery === 0) ||
      (checkpointSeconds > 0 && performance.now() - savedAt >= checkpointSeconds * 1000)
    )
      save();
  }
}

type Tell = (event: TrainEvent) => void;

function partialOf({ input }: Job, { stage }: TrainState): PartialModel {
  return input.schedule.stages[stage]!.partial;
}

/** Step at which the current stage ends if nothing ends it earlier; the last takes what is left. */
function stageEnd({ input, totalSteps }: Job, { stage, stageStart }: TrainState): number {
  const { stages } = input.schedule;
  return stage === stages.length - 1 ? totalSteps : Math.min(totalSteps, stageStart + stages[stage]!.steps);
}

/** Why the training is over, or null. `patience` counts in the last stage only: earlier ones hand over to the next. */
function over(job: Job, state: TrainState): TrainState["finished"] {
  const { schedule, settings } = job.input;
  if (state.step >= job.totalSteps) return "steps";
  const last = state.stage === schedule.stages.length - 1;
  return last && settings.patience > 0 && state.sinceBest >= settings.patience ? "patience" : null;
}

/** The model to evaluate on now, or null. At the very end the full model has its turn even if the last stage is a partial one. */
function evaluationDue(job: Job, state: TrainState): PartialModel | null {
  if (job.validation.rows.length === 0) return null;
  const partial = partialOf(job, state);
  if (state.evaluatedAt !== state.step) {
    const due = state.step === stageEnd(job, state) || state.step % job.evalEvery === 0;
    return state.step > 0 && due ? partial : null;
  }
  const { config } = job.input.engine.checkpoint;
  const full = fullModel(config);
  const done = state.history.some((entry) => entry.step === state.step && entry.partial === full.name);
  return over(job, state) !== null && !isFull(config, partial) && !done ? full : null;
}

function stageOver(job: Job, state: TrainState): boolean {
  const { stages, plateau } = job.input.schedule;
  if (state.stage === stages.length - 1) return false;
  const flat = plateau !== null && state.evaluatedAt === state.step && state.sincePlateau >= plateau.patience;
  return flat || state.step >= stageEnd(job, state);
}

/** Growth: the next stage's model, the same prompt, the same optimizer state unless the schedule says afresh. */
async function grow(job: Job, state: TrainState, tell: Tell): Promise<TrainState> {
  const { engine, schedule } = job.input;
  const old = partialOf(job, state);
  const stage = state.stage + 1;
  const { partial } = schedule.stages[stage]!;
  if (!schedule.stages.slice(stage).some((later) => later.partial.name === old.name)) await engine.release(old);
  tell({ kind: "stage", step: state.step, stage, partial: partial.name });
  return {
    ...state,
    stage,
    stageStart: state.step,
    optimizer: schedule.resetOptimizerOnGrow ? job.optimizer.init(state.prompt) : state.optimizer,
    stageBest: null,
    sinceBest: 0,
    plateauBest: null,
    sincePlateau: 0,
    perStage: [...state.perStage, noCost(partial.name)],
  };
}

async function step(job: Job, state: TrainState, run: Run | null, tell: Tell): Promise<TrainState> {
  const { input, live } = job;
  const { engine, settings } = input;
  const partial = partialOf(job, state);
  const program = await engine.train(partial);
  const started = performance.now();
  const numbers = job.rowsOf(state.step);
  const rows = numbers.map((n) => job.encoded[n]!);
  const learningRate = learningRateAt(state.step + 1, job.totalSteps, settings);
  const batch = await batchGradient({
    program,
    prompt: state.prompt,
    rows,
    microBatchSize: settings.microBatchSize,
    flopsOf: (shape) => stepFlops(engine.checkpoint.config, partial, shape),
  });
  const update = applyUpdate(batch, state.prompt, state.optimizer, job.optimizer, {
    learningRate,
    clip: settings.clip,
    live,
  });
  const seconds = (performance.now() - started) / 1000;
  const next: TrainState = {
    ...state,
    step: state.step + 1,
    perStage: addCost(state.perStage, {
      steps: 1,
      seconds,
      flops: batch.flops.honest,
      paperFlops: batch.flops.paper,
    }),
  };
  const where = { step: next.step, stage: state.stage };

  if ("problem" in update) {
    const ids = rows.map((row) => row.id);
    tell({ kind: "skip", ...where, problem: update.problem, rows: ids });
    const skippedInRow = state.skippedInRow + 1;
    if (skippedInRow >= skipsAllowed) throw stopped(job, state, run, numbers, learningRate, update.problem);
    return { ...next, skipped: state.skipped + 1, skippedInRow };
  }
  // weight decay alone would move the prompt too, so the gradient is asked as well
  if (!state.moved && (update.norm === 0 || update.prompt.data.every((p, i) => p === state.prompt.data[i])))
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
  tell({
    kind: "step",
    ...where,
    loss: batch.loss,
    learningRate,
    gradientNorm: update.norm,
    tokens: batch.tokens,
    seconds,
    flops: total(next, "flops"),
    paperFlops: total(next, "paperFlops"),
  });
  return {
    ...next,
    prompt: update.prompt,
    optimizer: update.optimizer,
    moved: true,
    skippedInRow: 0,
    kept: input.keep?.includes(next.step) ? new Map([...state.kept, [next.step, update.prompt]]) : state.kept,
  };
}

/** The error of repeated skips, after leaving behind what is needed to see it again. */
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
    partial: partialOf(job, state).name,
    problem,
    learningRate,
    settings: job.input.settings,
    prompt: state.prompt,
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
async function evaluation(job: Job, state: TrainState, partial: PartialModel, tell: Tell): Promise<TrainState | null> {
  const { engine, tokenizer, task, schedule, signal } = job.input;
  const found = await evaluatePrepared(engine, partial, tokenizer, job.validation, state.prompt, signal);
  if (found === null) return null;
  const { scores, loss, seconds } = found;
  const score = scores[task.metrics[0]] ?? Number.NaN;
  const chosen: Chosen = { prompt: state.prompt, step: state.step, scores };
  const beats = (old: Chosen | null) =>
    old === null || score >= (old.scores[task.metrics[0]] ?? Number.NEGATIVE_INFINITY);
  const best = beats(state.best);
  const full = isFull(engine.checkpoint.config, partial);
  const [flops, paperFlops] = [total(state, "flops"), total(state, "paperFlops")];
  const entry: HistoryEntry = {
    step: state.step,
    stage: state.stage,
    partial: partial.name,
    loss,
    scores,
    flops,
    paperFlops,
    seconds: total(state, "seconds"),
  };
  tell({
    kind: "eval",
    step: state.step,
    stage: state.stage,
    partial: partial.name,
    scores,
    loss,
    seconds,
    best,
    flops,
  });
  const better = state.stageBest === null || score > state.stageBest;
  const rising = state.plateauBest === null || score > state.plateauBest + (schedule.plateau?.minDelta ?? 0);
  return {
    ...state,
    // the extra evaluation on the full model decides nothing but the best
    ...(partial.name === partialOf(job, state).name && {
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

function addCost(perStage: readonly StageCost[], more: Partial<Omit<StageCost, "partial">>): StageCost[] {
  const last = perStage.at(-1)!;
  const sum = (key: keyof Omit<StageCost, "partial">) => last[key] + (more[key] ?? 0);
  return [
    ...perStage.slice(0, -1),
    {
      partial: last.partial,
      steps: sum("steps"),
      seconds: sum("seconds"),
      evalSeconds: sum("evalSeconds"),
      flops: sum("flops"),
      paperFlops: sum("paperFlops"),
    },
  ];
}

function total(state: TrainState, key: keyof Omit<StageCost, "partial">): number {
  return state.perStage.reduce((sum, stage) => sum + stage[key], 0);
}

function warnOfCuts({ encoded, validation, input }: Job, tell: Tell): void {
  const cut = [...encoded, ...validation.encoded].filter((row) => row.truncated).length;
  const all = encoded.length + validation.encoded.length;
  if (cut > 0)
    tell({
      kind: "warning",
      message: `${cut} of ${all} inputs are longer than ${input.settings.maxInputTokens} tokens and lose their tail (--max-input-tokens)`,
    });
}

function resultOf(state: TrainState, reason: StopReason): TrainResult {
  const [trainFlops, trainSeconds, evalSeconds] = [
    total(state, "flops"),
    total(state, "seconds"),
    total(state, "evalSeconds"),
  ];
  return {
    best: state.best ?? { prompt: state.prompt, step: state.step, scores: {} },
    bestOnFull: state.bestOnFull,
    last: state.prompt,
    steps: state.step,
    skipped: state.skipped,
    reason,
    cost: {
      flops: trainFlops + state.evalFlops,
      trainFlops,
      evalFlops: state.evalFlops,
      paperFlops: total(state, "paperFlops"),
      seconds: trainSeconds + evalSeconds,
      trainSeconds,
      evalSeconds,
      perStage: state.perStage,
    },
    history: state.history,
    kept: state.kept,
  };
}
