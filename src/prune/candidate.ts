/**
 * @file One candidate of a search: a mask over rewound values, retrained (xprompt.md §4). Plain data, and its files.
 *
 * In: a job (start prompt, mask), how to train, until which step. Out: a Candidate; finished ones are read back, interrupted ones go on.
 * Its folder is a run folder of the trainer, with `candidate.json` in it: the candidate's inputs and its result.
 */
import { join } from "node:path";
import { SoftpromptError } from "../base/errors.js";
import { sha256 } from "../base/files.js";
import type { Tensor } from "../base/tensor.js";
import { type Scores, selectionScore } from "../data/metrics.js";
import type { Task } from "../data/row.js";
import { evaluatePrepared, evaluationOptions, prepareEvaluation } from "../evaluate/evaluate.js";
import { applyMask, dropPruned, type MaskCounts, maskCounts, type PromptMask, withoutDead } from "../method/mask.js";
import { fullModel } from "../model/partial.js";
import { holds } from "../run/layout.js";
import { type RunInput, trainRun } from "../run/train.js";
import { encodeRows } from "../text/rows.js";
import { identityOf } from "../train/identity.js";
import { evaluationReading } from "../train/job.js";
import type { TrainEvent } from "../train/types.js";
import { type Kept, readCandidate, writeCandidate } from "./candidate-file.js";
import type { Candidate, CandidateJob, Retraining } from "./types.js";

/**
 * Trains a candidate up to `steps` of its schedule, going on from where it stopped before.
 * @param folder its own; made if need be.
 * @returns null if the signal stopped it before that step.
 */
export async function trainCandidate(
  retraining: Retraining,
  job: CandidateJob,
  folder: string,
  steps: number,
  observe: (event: TrainEvent) => void = () => {},
): Promise<Candidate | null> {
  const { engine, tokenizer, task, selection, schedule, settings, signal } = retraining;
  const total = schedule.stages.reduce((sum, stage) => sum + stage.steps, 0);
  const until = Math.min(steps, total);
  const { prompt, mask } = shapeOf(job);
  const full = fullModel(engine.checkpoint.config);
  const input: RunInput = {
    engine,
    tokenizer,
    task,
    train: retraining.train,
    validation: selection,
    parameters: { prompt },
    mask,
    schedule,
    settings,
    readBefore: retraining.readBefore,
    run: join(folder, "run"),
    resume: holds(join(folder, "run"), "run"),
    observe,
    signal,
    // the end of a rung; the trainer saves there and can go on later
    pauseAfter: until,
  };
  const key = sha256(JSON.stringify(await identityOf(input)));
  const kept = readCandidate(folder, key);
  const before = kept && factsOf(job, kept);
  if (before && (before.finished || before.failed !== undefined || before.steps >= until)) return before;

  const spent = meter();
  const watch = (event: TrainEvent) => {
    spent.take(event);
    observe(event);
  };
  let result: Awaited<ReturnType<typeof trainRun>>;
  try {
    result = await trainRun({ ...input, observe: watch });
  } catch (error) {
    // one mask whose numbers go wrong is a bad candidate; a control that cannot be trained is a bad search
    if (!(error instanceof SoftpromptError) || error.kind !== "numeric" || mask === null) throw error;
    const failed = failedCandidate(job, { prompt, problem: error.problem, ...spent.read() });
    writeCandidate(folder, key, failed);
    return failed;
  }
  if (signal?.aborted && result.reason === "interrupted") return null;
  const own = result.history
    .filter((entry) => entry.partial === full.name)
    .map(({ step, scores, loss, flops }) => ({ step, score: selectionScore(task, scores), loss, flops }));
  const rungs = [...(before?.rungs ?? [])];
  const finished = result.reason !== "interrupted";
  // scores on a partial model cannot be compared with those on the full one, so a rung inside a partial stage uses only its own evaluation
  const chosen = result.bestOnFull ?? (finished ? result.best : { ...result.best, scores: {} });
  let best = {
    prompt: chosen.parameters.prompt!,
    scores: chosen.scores,
    score: scoreOf(task, chosen.scores),
    step: chosen.step,
    loss: own.find((entry) => entry.step === chosen.step)?.loss ?? Number.NaN,
  };
  // unfinished candidates are ranked by the evaluations at the rungs. A finished candidate is judged only by the trainer's own evaluations,
  // as the control is, because the best of more evaluations would favour it
  if (!finished && before && before.score > best.score)
    best = {
      prompt: before.prompt,
      scores: before.scores,
      score: before.score,
      step: before.bestStep,
      loss: before.loss,
    };
  let rungFlops = before?.rungFlops ?? 0;
  let rungSeconds = before?.rungSeconds ?? 0;
  // a rung that ends where the trainer evaluates on the full model has its score already
  if (!finished && !own.some(({ step }) => step === result.steps)) {
    const rows = prepareEvaluation(tokenizer, task, selection, {
      ...evaluationOptions(settings),
      maxEvalRows: settings.maxEvalRows,
    });
    // as the trainer counts its own: texts that an evaluation on the full model has read are kept
    const evaluated = own.length > 0 || rungs.length > 0;
    const read = evaluated || (retraining.readBefore ?? []).some(({ partial }) => partial === full.name);
    const encoded = encodeRows(task, retraining.train, tokenizer, settings.maxInputTokens);
    const reading = evaluationReading({ input: { ...input, run: null }, encoded }, engine.texts !== null && read);
    const now = await evaluatePrepared(engine, full, tokenizer, rows, result.last, signal, undefined, reading);
    if (now === null) return null;
    rungFlops += now.flops;
    rungSeconds += now.seconds;
    const entry = {
      step: result.steps,
      score: selectionScore(task, now.scores),
      loss: now.loss,
      flops: result.cost.trainFlops,
    };
    rungs.push(entry);
    if (entry.score >= best.score) best = { prompt: result.last.prompt!, scores: now.scores, ...entry };
  }
  const { trainFlops, evalFlops, paperFlops, seconds, trainSeconds, evalSeconds } = result.cost;
  const candidate: Kept = {
    name: job.name,
    tokensPruned: job.tokensPruned,
    piecesPruned: job.piecesPruned,
    mask: job.mask,
    counts: countsOf(job),
    prompt: best.prompt,
    score: best.score,
    scores: best.scores,
    loss: best.loss,
    bestStep: best.step,
    steps: result.steps,
    finished,
    cost: {
      trainFlops,
      evalFlops: evalFlops + rungFlops,
      paperFlops,
      seconds: seconds + rungSeconds,
      trainSeconds,
      evalSeconds: evalSeconds + rungSeconds,
    },
    history: [...rungs, ...own].sort((a, b) => a.step - b.step),
    rungs,
    rungFlops,
    rungSeconds,
  };
  writeCandidate(folder, key, candidate);
  return candidate;
}

/** What a training that ends by an error has spent, by its events: since it was last resumed, for the seconds. */
function meter() {
  let [steps, trainFlops, paperFlops, total, trainSeconds, evalSeconds] = [0, 0, 0, 0, 0, 0];
  return {
    take(event: TrainEvent): void {
      if (event.kind !== "step" && event.kind !== "skip" && event.kind !== "eval") return;
      if (event.kind === "eval") evalSeconds += event.seconds;
      else trainSeconds += event.seconds;
      // a skipped step was computed too
      if (event.kind === "skip") trainFlops += event.totalFlops - total;
      else [trainFlops, paperFlops] = [event.flops, event.paperFlops];
      [steps, total] = [event.step, event.totalFlops];
    },
    read: () => ({
      steps,
      cost: {
        trainFlops,
        evalFlops: Math.max(0, total - trainFlops),
        paperFlops,
        seconds: trainSeconds + evalSeconds,
        trainSeconds,
        evalSeconds,
      },
    }),
  };
}

/** @param prompt its start */
function failedCandidate(
  job: CandidateJob,
  { prompt, problem, steps, cost }: Pick<Candidate, "prompt" | "steps" | "cost"> & { readonly problem: string },
): Kept {
  return {
    name: job.name,
    tokensPruned: job.tokensPruned,
    piecesPruned: job.piecesPruned,
    mask: job.mask,
    counts: countsOf(job),
    prompt,
    score: Number.NEGATIVE_INFINITY,
    scores: {},
    loss: Number.NaN,
    bestStep: 0,
    steps,
    finished: false,
    failed: problem,
    cost,
    history: [],
    rungs: [],
    rungFlops: 0,
    rungSeconds: 0,
  };
}

/** The score that chooses; the worst possible if it was not measured. */
function scoreOf(task: Task, scores: Scores): number {
  const score = selectionScore(task, scores);
  return Number.isNaN(score) ? Number.NEGATIVE_INFINITY : score;
}

/** The prompt and mask that are trained: the whole prompt with zeros, or without the pruned tokens. */
export function shapeOf({ prompt, mask, drop }: CandidateJob): { prompt: Tensor; mask: PromptMask | null } {
  if (mask === null) return { prompt, mask };
  return drop ? dropPruned(prompt, mask) : { prompt: applyMask(prompt, mask), mask };
}

/** What the mask leaves of the whole prompt; the rest may be zeros or removed. */
function countsOf({ prompt, mask }: CandidateJob): MaskCounts {
  const [tokens, width] = prompt.shape as [number, number];
  return mask ? maskCounts(mask, width) : { tokens, pieces: tokens, parameters: tokens * width, fraction: 1 };
}

/** The mask that fits the candidate's own prompt: of the surviving tokens alone, where the others were dropped. */
export function ownMask({ prompt, mask }: Pick<Candidate, "prompt" | "mask">): PromptMask | null {
  return mask === null || prompt.shape[0] === mask.tokens.length ? mask : withoutDead(mask);
}

/** The candidate as read back, with mask and sizes of the job, because an earlier version wrote those of the dropped prompt. */
export function factsOf<C extends Candidate>(job: CandidateJob, candidate: C): C {
  return { ...candidate, mask: job.mask, counts: countsOf(job) };
}
