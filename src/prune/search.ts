/**
 * @file A search in progress. It tunes and scores once, then retrains candidates with any masks from the same start, each only once.
 *
 * In: rows, a start prompt, schedules for tuning and retraining, PruneOptions, a folder. Out: a Search that strategies and studies
 * ask for candidates. FPT × XPrompt is a schedule of several stages in either place; the code here does not depend on it.
 *
 *     FOLDER/tune/                 stage A, a run folder
 *     FOLDER/scores.json           importance
 *     FOLDER/candidates/NAME/      one run folder each, "control" among them
 */
import { join } from "node:path";
import { interrupted } from "../base/errors.js";
import { ownFolder, sha256 } from "../base/files.js";
import type { Tensor } from "../base/tensor.js";
import { type Scores, selectionScore } from "../data/metrics.js";
import type { Row, Task } from "../data/row.js";
import {
  type Evaluation,
  evaluate,
  evaluationOptions,
  reportedRows,
  rowsEvent,
  scoredRows,
} from "../evaluate/evaluate.js";
import { applyMask, fullMask, maskCounts, maskFromScores, type PromptMask, type PruneCounts } from "../method/mask.js";
import { promptTuning } from "../method/prompt.js";
import { fullModel } from "../model/partial.js";
import { roundingFacts } from "../model/quantise.js";
import { fileNames, holds } from "../run/layout.js";
import { trainRun } from "../run/train.js";
import type { EncodedRow } from "../text/batch.js";
import { encodeRows } from "../text/rows.js";
import { type Identity, tensorHash } from "../train/identity.js";
import { rowsRead } from "../train/job.js";
import { freeSettings, trainOptions } from "../train/options.js";
import { batchOrder } from "../train/order.js";
import { totalSteps } from "../train/stage.js";
import type { TrainEvent, TrainResult, TrainSettings } from "../train/types.js";
import { type Importance, importance } from "./importance.js";
import { type PruneOptions, pruneOptions } from "./options.js";
import { durable, planSearch } from "./plan.js";
import { defaultWorkers, trainCandidates } from "./pool.js";
import { survivorScores } from "./scores.js";
import { claimFolder, keptScores } from "./search-files.js";
import type { SearchInput, Tuned } from "./search-types.js";
import { bestUntil, type CountPair, type StrategyName, strategies } from "./strategies.js";
import type { Candidate, CandidateJob, Retraining, WorkerSettings } from "./types.js";

/** Tuned and scored; ready to retrain. */
export interface Search {
  readonly folder: string;
  readonly tuned: Tuned;
  readonly importance: Importance;
  /** [P, D] values that candidates start from (rewinding). */
  readonly start: Tensor;
  readonly retraining: Retraining;
  /** Steps of one whole retraining. */
  readonly steps: number;
  readonly selection: XPromptSelection;
  /**
   * Importance passes, rescoring included.
   * @param candidates whose masks count: the pass over the tuned prompt, and those that were made again for them. Default all so far.
   */
  scoringCost(candidates?: readonly Candidate[]): { readonly flops: number; readonly seconds: number };
  /** @param prune which end of the ranking is pruned; default lowest, as in XPrompt. */
  maskOf(pair: CountPair, prune?: PruneCounts["prune"]): Promise<PromptMask>;
  /** Plain tuning continued from the tuned prompt for as many steps with a fresh optimizer. */
  control(): Promise<Candidate>;
  /** Trains these, or reads them back. @throws "interrupted" when the signal is aborted. */
  retrain(jobs: readonly CandidateJob[], steps?: number): Promise<Candidate[]>;
  /** Tunes another start prompt as stage A does, or reads it back. @throws as retrain. */
  tuneAnew(job: Pick<CandidateJob, "name" | "prompt">): Promise<Candidate>;
  /**
   * Searches the counts. Returns every candidate that was trained, including stopped ones.
   * @param ranking the ranking that gives the masks for the counts. Default importance.
   */
  run(strategy: StrategyName, level: PruneOptions["level"], ranking?: Ranking): Promise<Candidate[]>;
  /**
   * Scores on the reported rows. If the same rows were used for choosing, the known scores are returned; otherwise they are measured once
   * per prompt. None where there are no such rows.
   */
  report(prompt: Tensor, known: Scores): Promise<Reported>;
}

/** Scores on the reported rows, and the additional cost of measuring them. */
export type Reported = Pick<Evaluation, "scores" | "flops" | "seconds">;

/** Another way to choose what is pruned at given counts. Its name is part of its candidates' names. */
export interface Ranking {
  readonly name: string;
  /** @param own XPrompt's ranking, as Search.maskOf, of which a ranking may make its own */
  readonly maskOf: (pair: CountPair, own: Search["maskOf"]) => Promise<PromptMask>;
}

/** The rows by which prompts and candidates are chosen. */
export interface XPromptSelection {
  readonly split: "validation" | "holdout";
  /** How many were scored; fewer than there are under maxEvalRows. */
  readonly rows: number;
  /** Number of validation rows of the reported scores. */
  readonly reportedRows: number;
}

/** Tunes and scores, or reads the results back, and returns a ready search. @throws as train(); "interrupted". */
export async function openSearch(input: SearchInput, folder: string): Promise<Search> {
  const { engine, tokenizer, task, options, signal, observe } = input;
  const [P] = input.prompt.shape as [number, number];
  // an impossible search is refused before anything is trained
  const { settings, rows, selection, heldOut, rewind, scoredOn, retraining, steps, read, spaceOf } = planSearch(input);
  const scored = scoredRows(selection, settings).length;
  const reported = reportedRows(input.reportOn ?? input.validation, settings);
  // both are drawn in the same way, so equal counts mean the same rows
  const known = !heldOut && input.reportOn === undefined && reported.length === scored;
  claimFolder(folder, identityOf(input), input.resume, input.files);

  observe({ kind: "phase", phase: "tune" });
  const tuned = input.tuned ?? (await tune(input, rows, selection, ownFolder(folder, fileNames.tune), rewind.keep));
  stopIf(signal, folder);
  // checked before scoring: a tuning that ended early may not have reached this step
  const start = rewind.values(tuned);

  /** Rows whose texts the tuning read on a model. */
  const readRows = (partial: string): ReadonlySet<EncodedRow> => {
    const encoded = encodeRows(task, rows, tokenizer, settings.maxInputTokens);
    const { batchSize, seed } = settings;
    const steps = read.filter((one) => one.partial === partial);
    const numbers = rowsRead(batchOrder(encoded, batchSize, seed), encoded.length, batchSize, steps);
    return new Set([...numbers].map((n) => encoded[n]!));
  };

  observe({ kind: "phase", phase: "score" });
  const measure = (prompt: Tensor) =>
    importance(engine, tokenizer, task, rows, prompt, {
      pieces: options.pieces,
      layout: options.layout,
      mode: options.importance,
      normalise: options.normaliseScores,
      maxExamples: options.importanceRows,
      batchSize: settings.microBatchSize,
      maxInputTokens: settings.maxInputTokens,
      seed: settings.seed,
      ...(scoredOn && { partial: scoredOn }),
      read: readRows((scoredOn ?? fullModel(engine.checkpoint.config)).name),
      signal,
      progress: (...rows) => observe(rowsEvent(...rows)),
    });
  const size = { tokens: P, pieces: options.pieces };
  const scores = await keptScores(join(folder, "scores.json"), tensorHash(tuned.prompt), size, () =>
    measure(tuned.prompt),
  );
  observe({ kind: "scores", importance: scores });
  const rescored = new Map<string, Importance>();
  /** Which of them each candidate's mask was made of. */
  const passesOf = new Map<string, ReadonlySet<string>>();
  const reports = new Map<string, Reported>();

  /** Importance of another prompt than the tuned one: measured once, and kept under the name. */
  const scoredAt = async (name: string, prompt: Tensor, asked: Set<string>): Promise<Importance> => {
    asked.add(name);
    const own = { ...size, tokens: prompt.shape[0]! };
    const again =
      rescored.get(name) ??
      (await keptScores(join(folder, `${name}.json`), tensorHash(prompt), own, () => measure(prompt)));
    rescored.set(name, again);
    return again;
  };
  const maskFor =
    (asked: Set<string>): Search["maskOf"] =>
    async ({ tokensPruned, piecesPruned }, prune = "lowest") => {
      const how = { tokensPruned, ranking: options.pieceRanking, layout: options.layout, prune };
      if (!options.rescorePieces || tokensPruned === 0 || piecesPruned === 0)
        return maskFromScores(scores, { ...how, piecesPruned });
      const at = applyMask(tuned.prompt, maskFromScores(scores, { ...how, piecesPruned: 0 }));
      const { pieces } = await scoredAt(`scores-t${tokensPruned}${prune === "lowest" ? "" : `-${prune}`}`, at, asked);
      return maskFromScores({ tokens: scores.tokens, pieces }, { ...how, piecesPruned });
    };
  /** The mask that prunes more of a candidate's survivors, by their importance after its retraining. */
  const maskAfter = async (after: Candidate, { tokensPruned, piecesPruned }: CountPair, asked: Set<string>) => {
    const again = await scoredAt(`scores-${after.name}`, after.prompt, asked);
    const { pieceRanking: ranking, layout } = options;
    return maskFromScores(survivorScores(again, after.mask!), { tokensPruned, piecesPruned, ranking, layout });
  };
  const workers: WorkerSettings = {
    ...input.workers,
    count: input.workers?.count ?? options.workers ?? defaultWorkers(engine.checkpoint.bytes),
  };
  const watch = (name: string, event: TrainEvent) => observe({ kind: "candidate", name, event });
  const retrain = async (jobs: readonly CandidateJob[], until = steps) => {
    const done = await trainCandidates(
      retraining,
      jobs,
      ownFolder(folder, fileNames.candidates),
      until,
      workers,
      watch,
      (candidate) => observe({ kind: "retrained", candidate }),
    );
    stopIf(signal, folder);
    return done;
  };
  return {
    folder,
    tuned,
    importance: scores,
    start,
    retraining,
    steps,
    selection: {
      split: heldOut ? "holdout" : "validation",
      rows: scored,
      reportedRows: reported.length,
    },
    scoringCost: (candidates) => {
      const asked = candidates && new Set(candidates.flatMap(({ name }) => [...(passesOf.get(name) ?? [])]));
      const again = [...rescored].filter(([name]) => asked?.has(name) ?? true).map(([, own]) => own);
      return [scores, ...again].reduce(
        (sum, { flops, seconds }) => ({ flops: sum.flops + flops, seconds: sum.seconds + seconds }),
        { flops: 0, seconds: 0 },
      );
    },
    maskOf: maskFor(new Set()),
    retrain,
    control: async () => {
      observe({ kind: "phase", phase: "control" });
      const plain = {
        name: "control",
        tokensPruned: 0,
        piecesPruned: 0,
        prompt: tuned.prompt,
        mask: null,
        drop: false,
      };
      const control = (await retrain([plain]))[0]!;
      const [tokens, width] = tuned.prompt.shape as [number, number];
      return { ...control, counts: maskCounts(fullMask(tokens, options.pieces), width) };
    },
    tuneAnew: async ({ name, prompt }) => {
      const job = { name, tokensPruned: 0, piecesPruned: 0, prompt, mask: null, drop: false };
      const tuning: Retraining = { ...retraining, settings, schedule: input.schedule };
      const all = totalSteps(input.schedule);
      // apart from the retrainings, which have another schedule
      const [done] = await trainCandidates(tuning, [job], ownFolder(folder, fileNames.anew), all, workers, watch);
      stopIf(signal, folder);
      return done!;
    },
    run: async (strategy, level, ranking) => {
      observe({ kind: "phase", phase: "search" });
      const found = new Map<string, Candidate>();
      await strategies[strategy](spaceOf(level), async (trials, until) => {
        const jobs: CandidateJob[] = [];
        for (const { tokensPruned, piecesPruned, after } of trials) {
          const pair = { tokensPruned, piecesPruned };
          // another ranking is not of importance, so nothing is scored anew
          const anew = ranking === undefined ? after : undefined;
          const name = trialName(pair, ranking?.name, anew);
          const asked = new Set<string>();
          const own = maskFor(asked);
          const mask =
            anew !== undefined
              ? await maskAfter(anew, pair, asked)
              : await (ranking === undefined ? own(pair) : ranking.maskOf(pair, own));
          passesOf.set(name, asked);
          jobs.push({ name, ...pair, prompt: start, mask, drop: options.prunedTokens === "drop" });
        }
        const done = (await retrain(jobs, until)).map((candidate) => viewAt(candidate, until));
        for (const candidate of done) found.set(candidate.name, candidate);
        return done;
      });
      return [...found.values()];
    },
    report: async (prompt, scores) => {
      if (known) return { scores, flops: 0, seconds: 0 };
      // a holdout alone has chosen, and no row is left to measure on: a score of 0 would be made up
      if (reported.length === 0) return { scores: {}, flops: 0, seconds: 0 };
      const key = tensorHash(prompt);
      const found =
        reports.get(key) ??
        (await evaluate(
          engine,
          fullModel(engine.checkpoint.config),
          tokenizer,
          task,
          reported,
          { prompt },
          {
            ...evaluationOptions(settings),
            loss: false,
            signal,
            progress: (...rows) => observe(rowsEvent(...rows)),
          },
        ));
      reports.set(key, found);
      return { scores: found.scores, flops: found.flops, seconds: found.seconds };
    },
  };
}

/** Stage A. @throws "interrupted" when stopped. */
async function tune(
  input: SearchInput,
  rows: readonly Row[],
  selection: readonly Row[],
  folder: string,
  keep: readonly number[],
): Promise<Tuned> {
  const result = await trainRun({
    ...input,
    parameters: { prompt: input.prompt },
    settings: durable(input.settings),
    train: rows,
    validation: selection,
    mask: null,
    run: folder,
    resume: holds(folder, "run"),
    observe: (event) => input.observe({ kind: "tune", event }),
    keep,
  });
  if (result.reason === "interrupted") stopIf(input.signal, folder, true);
  return tunedFrom(input.prompt, result, input.task);
}

/** A finished training as stage A. */
export function tunedFrom(init: Tensor, result: TrainResult, task: Task): Tuned {
  const { parameters, scores } = result.bestOnFull ?? result.best;
  const { trainFlops, evalFlops, paperFlops, seconds, trainSeconds, evalSeconds } = result.cost;
  return {
    init,
    prompt: parameters.prompt!,
    scores,
    score: selectionScore(task, scores),
    kept: new Map([...result.kept].map(([step, { prompt }]) => [step, prompt!])),
    cost: { trainFlops, evalFlops, paperFlops, seconds, trainSeconds, evalSeconds },
    steps: result.steps,
  };
}

/**
 * A candidate's state at a given step, even if another search in the same folder trained it further. This makes a search drop, choose and
 * count the same candidates every time. Its cost is in proportion to its steps.
 */
export function viewAt(candidate: Candidate, until: number): Candidate {
  const { steps, history, cost } = candidate;
  if (steps <= until) return candidate;
  const best = bestUntil(history, until);
  const part = (whole: number) => (whole * until) / steps;
  return {
    ...candidate,
    steps: until,
    finished: false,
    // if there is no evaluation up to this step, the next one counts
    history: best ? history.filter((entry) => entry.step <= until) : history.slice(0, 1),
    score: best?.score ?? Number.NEGATIVE_INFINITY,
    scores: {},
    loss: best?.loss ?? Number.NaN,
    bestStep: best?.step ?? 0,
    cost: {
      trainFlops: part(cost.trainFlops),
      evalFlops: part(cost.evalFlops),
      paperFlops: part(cost.paperFlops),
      seconds: part(cost.seconds),
      trainSeconds: part(cost.trainSeconds),
      evalSeconds: part(cost.evalSeconds),
    },
  };
}

/** A candidate's name. What is pruned after another one depends on all that came before it, which its name stands for. */
function trialName(pair: CountPair, ranking: string | undefined, after: Candidate | undefined): string {
  if (after !== undefined) return `${pairName(pair)}-${sha256(after.name).slice(0, 6)}`;
  return ranking === undefined ? pairName(pair) : `${ranking}-${pairName(pair)}`;
}

export function pairName({ tokensPruned, piecesPruned }: CountPair): string {
  return `t${String(tokensPruned).padStart(2, "0")}-p${String(piecesPruned).padStart(2, "0")}`;
}

/** Options that determine which candidates are tried, but not the result of any candidate. They may change on resume. */
export const freeOptions: ReadonlySet<keyof PruneOptions> = new Set([
  "search",
  "level",
  "tokensPruned",
  "piecesPruned",
  "halvingBudget",
  "halvingMinSteps",
  "workers",
]);

/** Named facts about everything that determines a candidate's training, except its own start and mask. */
function identityOf({ options, ...input }: SearchInput): Identity {
  const { retrainSchedule, settings, retrainSettings = settings, prompt, train, validation } = input;
  const facts: Record<string, string> = {
    "start prompt": tensorHash(prompt),
    "training rows": sha256(JSON.stringify(train)),
    "validation rows": sha256(JSON.stringify(validation)),
    "retraining schedule": sha256(JSON.stringify(retrainSchedule)),
    ...roundingFacts(input.engine),
    // searches of earlier versions do not name it: they pruned a prompt
    ...(input.engine.method.key === promptTuning.key ? {} : { method: input.engine.method.key }),
  };
  for (const key of Object.keys(pruneOptions) as (keyof PruneOptions)[])
    if (!freeOptions.has(key)) facts[`pruning.${key}`] = String(options[key]);
  // only keys of the table, because a caller's settings may have more keys than the trainer reads
  for (const key of Object.keys(trainOptions) as (keyof TrainSettings)[]) {
    if (freeSettings.has(key)) continue;
    facts[`settings.${key}`] = String(settings[key]);
    facts[`retraining.${key}`] = String(retrainSettings[key]);
  }
  return facts;
}

function stopIf(signal: AbortSignal | undefined, folder: string, always = false): void {
  if (!always && !signal?.aborted) return;
  throw interrupted(signal, "the search was stopped; everything done is saved", {
    where: folder,
    hint: "the same again with resume goes on",
  });
}
