/**
 * @file XPrompt whole: tune → score → prune to many candidates → rewind and retrain each → choose (xprompt.md §0).
 *
 * In: rows, a start prompt, schedules for tuning and retraining, PruneOptions. Out: the chosen candidate, all others, the control,
 * the scores, and what everything cost. FPT × XPrompt is a schedule of several stages in either place; nothing here knows of it.
 *
 *     RUN/tune/                 stage A, a run folder
 *     RUN/scores.json           importance
 *     RUN/candidates/NAME/      one run folder each, "control" among them
 */
import { existsSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { SoftpromptError } from "../base/errors.js";
import { sha256, writeFileAtomic } from "../base/files.js";
import { parseJson } from "../base/json.js";
import type { Tensor } from "../base/tensor.js";
import type { Row, Task } from "../data/row.js";
import { maskFromScores, type PromptMask } from "../method/mask.js";
import { fullModel, partialModel } from "../model/partial.js";
import type { Engine } from "../session/engine.js";
import type { Tokenizer } from "../text/tokenizer.js";
import { type Evaluation, evaluate } from "../train/evaluate.js";
import { tensorHash } from "../train/identity.js";
import type { Schedule } from "../train/stage.js";
import { train } from "../train/trainer.js";
import type { Scores, TrainEvent, TrainResult, TrainSettings } from "../train/types.js";
import type { Candidate, CandidateJob, Retraining } from "./candidate.js";
import { type Importance, importance } from "./importance.js";
import type { PruneOptions } from "./options.js";
import { defaultWorkers, trainCandidates, type WorkerSettings } from "./pool.js";
import { holdOut, pruneCounts, rewindTarget } from "./space.js";
import { type PruneCell, rank, type SearchSpace, strategies } from "./strategies.js";

export interface XPromptInput {
  readonly engine: Engine;
  readonly tokenizer: Tokenizer;
  readonly task: Task;
  readonly train: readonly Row[];
  readonly validation: readonly Row[];
  /** [P, D] start values of stage A. */
  readonly prompt: Tensor;
  /** Stage A; any schedule. */
  readonly schedule: Schedule;
  /** Each retraining; any schedule. */
  readonly retrainSchedule: Schedule;
  readonly settings: TrainSettings;
  /** Of the retrainings. Default the same. */
  readonly retrainSettings?: TrainSettings;
  readonly options: PruneOptions;
  /** Where everything is kept; null works in a temporary folder that is removed. */
  readonly run: string | null;
  readonly resume: boolean;
  readonly observe: (event: XPromptEvent) => void;
  readonly signal?: AbortSignal;
  /** A tuning done before with the same rows, instead of stage A. */
  readonly tuned?: Tuned;
  readonly workers?: Partial<WorkerSettings>;
}

export type XPromptEvent =
  | { readonly kind: "phase"; readonly phase: "tune" | "score" | "control" | "search" | "report" }
  | { readonly kind: "tune"; readonly event: TrainEvent }
  | { readonly kind: "scores"; readonly importance: Importance }
  | { readonly kind: "candidate"; readonly name: string; readonly event: TrainEvent }
  | { readonly kind: "retrained"; readonly candidate: Candidate };

/** What stage A leaves. */
export interface Tuned {
  /** [P, D] before the first step. */
  readonly init: Tensor;
  /** Best checkpoint. */
  readonly prompt: Tensor;
  readonly score: number;
  readonly scores: Scores;
  /** Prompts after the steps that rewinding wants. */
  readonly kept: ReadonlyMap<number, Tensor>;
  readonly cost: Pick<TrainResult["cost"], "trainFlops" | "evalFlops" | "seconds">;
  readonly steps: number;
}

export interface XPromptResult {
  readonly tuned: Tuned;
  readonly importance: Importance;
  /** Every candidate that was trained, finished or stopped early, in the order of the search; without the control. */
  readonly candidates: readonly Candidate[];
  /** Plain tuning continued for as many steps with a fresh optimizer. */
  readonly control: Candidate;
  /** Best finished candidate on the selection rows; ties go to fewer parameters. */
  readonly best: Candidate;
  /** Mean and sample standard deviation of the finished candidates' selection scores: what one would have got without choosing. */
  readonly mean: { readonly score: number; readonly deviation: number; readonly count: number };
  /** Which rows chose, and how many there were. */
  readonly selection: { readonly split: "validation" | "holdout"; readonly rows: number };
  /** On the validation rows. With a holdout they were not looked at before. */
  readonly reported: { readonly best: Scores; readonly control: Scores; readonly tuned: Scores };
  readonly cost: {
    /** Honest FLOPs. */
    readonly tuning: number;
    readonly scoring: number;
    readonly control: number;
    /** Retrainings with their evaluations, the control left out. */
    readonly search: number;
    readonly total: number;
    readonly seconds: number;
  };
}

/**
 * Runs XPrompt, or goes on with it.
 * @throws what train() throws; SoftpromptError "usage" for counts the prompt cannot have; "interrupted" when the signal is aborted
 * (everything done until then is kept: resume with the same input).
 */
export async function xprompt(input: XPromptInput): Promise<XPromptResult> {
  if (input.run !== null) return search(input, input.run);
  const folder = mkdtempSync(join(tmpdir(), "softprompt-xprompt-"));
  try {
    return await search({ ...input, resume: false }, folder);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

async function search(input: XPromptInput, folder: string): Promise<XPromptResult> {
  const { engine, tokenizer, task, options, settings, signal, observe } = input;
  const retrainSettings = input.retrainSettings ?? settings;
  const [P, D] = input.prompt.shape as [number, number];
  const counts = pruneCounts(options, P, D);
  const rewind = rewindTarget(options.rewindTo, input.schedule);
  const { train: rows, held } = holdOut(input.train, options.holdout, settings.seed);
  const selection = held.length > 0 ? held : input.validation;
  const identity = sha256(
    JSON.stringify([
      options,
      input.retrainSchedule,
      retrainSettings,
      tensorHash(input.prompt),
      input.train,
      input.validation,
    ]),
  );
  claim(folder, identity, input.resume);
  const steps = input.retrainSchedule.stages.reduce((sum, stage) => sum + stage.steps, 0);

  observe({ kind: "phase", phase: "tune" });
  const tuned = input.tuned ?? (await tune(input, rows, selection, join(folder, "tune"), rewind.keep));
  stopIf(signal, folder);

  observe({ kind: "phase", phase: "score" });
  const measure = (prompt: Tensor) =>
    importance(engine, tokenizer, task, rows, prompt, {
      pieces: options.pieces,
      layout: options.layout,
      mode: options.importance,
      normalise: options.normaliseScores,
      maxExamples: options.importanceExamples,
      batchSize: settings.microBatchSize,
      maxInputTokens: settings.maxInputTokens,
      seed: settings.seed,
      ...(options.importanceDepth === undefined
        ? {}
        : { partial: partialModel(engine.checkpoint.config, { depth: options.importanceDepth }) }),
      signal,
    });
  const scores = await kept(join(folder, "scores.json"), tensorHash(tuned.prompt), () => measure(tuned.prompt));
  observe({ kind: "scores", importance: scores });
  let rescoring = { flops: 0, seconds: 0 };

  const retraining: Retraining = {
    engine,
    tokenizer,
    task,
    train: rows,
    selection,
    schedule: input.retrainSchedule,
    settings: retrainSettings,
    signal,
  };
  const start = rewind.values(tuned);
  const maskOf = async ({ tokensPruned, piecesPruned }: PruneCell): Promise<PromptMask> => {
    const how = { tokensPruned, ranking: options.pieceRanking, layout: options.layout };
    if (!options.rescorePieces || tokensPruned === 0 || piecesPruned === 0)
      return maskFromScores(scores, { ...how, piecesPruned });
    const tokenMask = maskFromScores(scores, { ...how, piecesPruned: 0 });
    const at = { shape: tuned.prompt.shape, data: applied(tuned.prompt, tokenMask) };
    const again = await kept(join(folder, `scores-t${tokensPruned}.json`), tensorHash(at), async () => {
      const found = await measure(at);
      rescoring = { flops: rescoring.flops + found.flops, seconds: rescoring.seconds + found.seconds };
      return found;
    });
    return maskFromScores({ tokens: scores.tokens, pieces: again.pieces }, { ...how, piecesPruned });
  };
  const jobOf = async (cell: PruneCell): Promise<CandidateJob> => ({
    name: cellName(cell),
    ...cell,
    prompt: start,
    mask: await maskOf(cell),
    drop: options.prunedTokens === "drop",
  });
  const workers: WorkerSettings = {
    ...input.workers,
    count: input.workers?.count ?? options.workers ?? defaultWorkers(engine.checkpoint.bytes),
  };
  const candidates = join(folder, "candidates");
  const watch = (name: string, event: TrainEvent) => observe({ kind: "candidate", name, event });
  const found = new Map<string, Candidate>();
  const retrain = async (jobs: readonly CandidateJob[], until: number) => {
    const done = await trainCandidates(retraining, jobs, candidates, until, workers, watch);
    stopIf(signal, folder);
    for (const candidate of done) {
      found.set(candidate.name, candidate);
      observe({ kind: "retrained", candidate });
    }
    return done;
  };

  observe({ kind: "phase", phase: "control" });
  const plain = { name: "control", tokensPruned: 0, piecesPruned: 0, prompt: tuned.prompt, mask: null, drop: false };
  const [control] = await retrain([plain], steps);
  found.delete("control");

  observe({ kind: "phase", phase: "search" });
  const { halvingMinSteps, halvingBudget } = options;
  const space: SearchSpace = { ...counts, steps, halvingMinSteps, halvingBudget };
  const finished = (
    await strategies[options.search](space, async (cells, until) => {
      const jobs: CandidateJob[] = [];
      for (const cell of cells) jobs.push(await jobOf(cell));
      return retrain(jobs, until);
    })
  ).filter((candidate) => candidate.finished);
  const best = rank(finished)[0]!;

  observe({ kind: "phase", phase: "report" });
  const report = async (prompt: Tensor, known: Scores): Promise<Scores> => {
    if (held.length === 0) return known;
    const full = fullModel(engine.checkpoint.config);
    const found: Evaluation = await evaluate(engine, full, tokenizer, task, input.validation, prompt, {
      by: settings.evaluateBy,
      maxInputTokens: settings.maxInputTokens,
      batchSize: 4 * settings.microBatchSize,
      loss: false,
    });
    return found.scores;
  };
  const all = [...found.values()];
  const searchFlops = all.reduce((sum, { cost }) => sum + cost.trainFlops + cost.evalFlops, 0);
  const controlFlops = control!.cost.trainFlops + control!.cost.evalFlops;
  const tuning = tuned.cost.trainFlops + tuned.cost.evalFlops;
  const scoring = scores.flops + rescoring.flops;
  return {
    tuned,
    importance: scores,
    candidates: all,
    control: control!,
    best,
    mean: moments(finished.map(({ score }) => score)),
    selection: { split: held.length > 0 ? "holdout" : "validation", rows: selection.length },
    reported: {
      best: await report(best.prompt, best.scores),
      control: await report(control!.prompt, control!.scores),
      tuned: await report(tuned.prompt, tuned.scores),
    },
    cost: {
      tuning,
      scoring,
      control: controlFlops,
      search: searchFlops,
      total: tuning + scoring + controlFlops + searchFlops,
      seconds:
        tuned.cost.seconds +
        scores.seconds +
        rescoring.seconds +
        control!.cost.seconds +
        all.reduce((sum, { cost }) => sum + cost.seconds, 0),
    },
  };
}

/** Stage A. @throws "interrupted" when stopped. */
async function tune(
  input: XPromptInput,
  rows: readonly Row[],
  selection: readonly Row[],
  folder: string,
  keep: readonly number[],
): Promise<Tuned> {
  const result = await train({
    ...input,
    train: rows,
    validation: selection,
    mask: null,
    run: folder,
    resume: existsSync(join(folder, "run.json")),
    observe: (event) => input.observe({ kind: "tune", event }),
    keep,
  });
  if (result.reason === "interrupted") stopIf(input.signal, folder, true);
  return tunedFrom(input.prompt, result, input.task);
}

/** A finished training as stage A. */
export function tunedFrom(init: Tensor, result: TrainResult, task: Task): Tuned {
  const { prompt, scores } = result.bestOnFull ?? result.best;
  return {
    init,
    prompt,
    scores,
    score: scores[task.metrics[0]] ?? Number.NaN,
    kept: result.kept,
    cost: { trainFlops: result.cost.trainFlops, evalFlops: result.cost.evalFlops, seconds: result.cost.seconds },
    steps: result.steps,
  };
}

export function cellName({ tokensPruned, piecesPruned }: PruneCell): string {
  return `t${String(tokensPruned).padStart(2, "0")}-p${String(piecesPruned).padStart(2, "0")}`;
}

function applied(prompt: Tensor, mask: PromptMask): Float32Array {
  const width = prompt.shape[1]!;
  return prompt.data.map((v, n) => (mask.tokens[Math.floor(n / width)] ? v : 0));
}

/** The folder is this search's, or empty. What is trained in it is vouched for by the trainer itself. */
function claim(folder: string, identity: string, resume: boolean): void {
  const path = join(folder, "search.json");
  if (!existsSync(path)) {
    writeFileAtomic(path, `${JSON.stringify({ format: 1, identity })}\n`);
    return;
  }
  const saved = parseJson(readFileSync(path, "utf8"), path, "run") as { identity?: unknown };
  if (!resume)
    throw new SoftpromptError("run", "this folder already holds a search", {
      where: folder,
      hint: "resume it, or choose another folder",
    });
  if (saved.identity !== identity)
    throw new SoftpromptError(
      "run",
      "the search cannot be resumed: its options, schedule, rows or start prompt changed",
      {
        where: folder,
        hint: "put back what changed, or start in another folder",
      },
    );
}

/** Scores read back where they are of the same prompt; else measured and kept. */
async function kept(path: string, prompt: string, measure: () => Promise<Importance>): Promise<Importance> {
  try {
    const saved = JSON.parse(readFileSync(path, "utf8")) as { prompt: string; check: string; scores: Importance };
    if (saved.prompt === prompt && saved.check === sha256(JSON.stringify(saved.scores))) return saved.scores;
  } catch {
    // absent or torn: measure again
  }
  const scores = await measure();
  const check = sha256(JSON.stringify(scores));
  writeFileAtomic(path, `${JSON.stringify({ prompt, check, scores })}\n`);
  return scores;
}

function stopIf(signal: AbortSignal | undefined, folder: string, always = false): void {
  if (!always && !signal?.aborted) return;
  const term = signal?.reason === "SIGTERM";
  throw new SoftpromptError("interrupted", "the search was stopped; everything done is saved", {
    where: folder,
    hint: "resume it with the same options",
    ...(term ? { exitCode: 143 } : {}),
  });
}

function moments(values: readonly number[]): XPromptResult["mean"] {
  const score = values.reduce((a, b) => a + b, 0) / values.length;
  const squares = values.reduce((sum, v) => sum + (v - score) ** 2, 0);
  return { score, deviation: values.length > 1 ? Math.sqrt(squares / (values.length - 1)) : 0, count: values.length };
}
