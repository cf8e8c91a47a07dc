/**
 * @file The complete XPrompt: tune → score → prune to many candidates → rewind and retrain each → choose (xprompt.md §0).
 *
 * In: rows, a start prompt, schedules for tuning and retraining, PruneOptions. Out: the chosen candidate, all others, the control,
 * the scores, and what everything cost. The folder's layout is search.ts's.
 */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { interrupted, SoftpromptError } from "../base/errors.js";
import { type FolderLock, lockFolder } from "../base/lock.js";
import type { Scores } from "../data/metrics.js";
import { claim } from "../run/layout.js";
import type { ScoringCost } from "../schedule/neuron-scores.js";
import type { Importance } from "./importance.js";
import { openSearch, type XPromptSelection } from "./search.js";
import type { SearchInput, Tuned } from "./search-types.js";
import { bestOf } from "./strategies.js";
import type { Candidate } from "./types.js";

export interface XPromptInput extends SearchInput {
  /** Where everything is kept; null works in a temporary folder that is removed. */
  readonly run: string | null;
  /** The folder's lock where the caller holds it already; else it is taken for as long as the search runs. */
  readonly lock?: FolderLock;
  /**
   * Cost of neuron scores that were computed before for the schedules; part of the total. Default nothing. `tuning`: scores that the tuning
   * needs, which the retrainings use too. `retraining`: scores that only the retrainings need.
   */
  readonly neurons?: Record<"tuning" | "retraining", Pick<ScoringCost, "flops" | "seconds">>;
}

/** Everything that a search found: scores, candidates, the control and the chosen prompt. */
export interface XPromptResult {
  readonly tuned: Tuned;
  readonly importance: Importance;
  /** Every candidate that was trained, finished or stopped early, in the order of the search; without the control. */
  readonly candidates: readonly Candidate[];
  /** Plain tuning continued for as many steps with a fresh optimizer. */
  readonly control: Candidate;
  /** Best finished candidate on the selection rows; ties go to fewer parameters. */
  readonly best: Candidate;
  /**
   * Mean and sample standard deviation of the finished candidates' selection scores; in a halving search only the survivors are finished.
   */
  readonly mean: { readonly score: number; readonly deviation: number; readonly count: number };
  /** The rows by which the candidate was chosen, and their number. */
  readonly selection: XPromptSelection;
  /** Scores on the validation rows. With a holdout these rows were not used before. */
  readonly reported: { readonly best: Scores; readonly control: Scores; readonly tuned: Scores };
  readonly cost: {
    /** Total FLOPs. Neuron scores that the tuning needs, and further ones that the retrainings and the control need. */
    readonly neurons: number;
    readonly retrainNeurons: number;
    readonly tuning: number;
    /** Importance of tokens and pieces. */
    readonly scoring: number;
    readonly control: number;
    /** Retrainings with their evaluations, the control left out. */
    readonly search: number;
    /** Scoring of the reported result, if other rows were used for choosing. */
    readonly reporting: number;
    readonly reportingSeconds: number;
    readonly total: number;
    readonly seconds: number;
  };
}

/**
 * Runs XPrompt, or goes on with it.
 * @throws what train() throws; SoftpromptError "usage" for counts the prompt cannot have; "interrupted" when the signal is aborted
 * (with a run folder everything done until then is kept: resume with the same input).
 */
export async function xprompt(input: XPromptInput): Promise<XPromptResult> {
  if (input.run !== null) {
    claim(input.run, "search", input.resume);
    const lock = input.lock ?? lockFolder(input.run);
    try {
      return await whole(input, input.run);
    } finally {
      if (input.lock === undefined) lock.release();
    }
  }
  const folder = mkdtempSync(join(tmpdir(), "softprompt-xprompt-"));
  try {
    return await whole({ ...input, resume: false }, folder);
  } catch (error) {
    if (!(error instanceof SoftpromptError) || error.kind !== "interrupted") throw error;
    throw interrupted(input.signal, "the search was stopped, and nothing of it is kept", {
      where: "a search without a run folder",
      hint: "a search with an output folder goes on where it was stopped",
    });
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

async function whole(input: XPromptInput, folder: string): Promise<XPromptResult> {
  const search = await openSearch(input, folder);
  const { tuned } = search;
  const control = await search.control();
  const candidates = await search.run(input.options.search, input.options.level);
  const finished = candidates.filter((candidate) => candidate.finished);
  const best = bestOf(candidates, folder);
  input.observe({ kind: "phase", phase: "report" });
  const scoring = search.scoringCost();
  const nothing = { flops: 0, seconds: 0 };
  const { tuning: neurons, retraining: more } = input.neurons ?? { tuning: nothing, retraining: nothing };
  const tuning = tuned.cost.trainFlops + tuned.cost.evalFlops;
  const searching = candidateCost(candidates);
  const controlling = candidateCost([control]);
  const reported = {
    best: await search.report(best.prompt, best.scores),
    control: await search.report(control.prompt, control.scores),
    tuned: await search.report(tuned.prompt, tuned.scores),
  };
  const all = Object.values(reported);
  const reporting = {
    flops: all.reduce((sum, { flops }) => sum + flops, 0),
    seconds: all.reduce((sum, { seconds }) => sum + seconds, 0),
  };
  return {
    tuned,
    importance: search.importance,
    candidates,
    control,
    best,
    mean: moments(finished.map(({ score }) => score)),
    selection: search.selection,
    reported: { best: reported.best.scores, control: reported.control.scores, tuned: reported.tuned.scores },
    cost: {
      neurons: neurons.flops,
      retrainNeurons: more.flops,
      tuning,
      scoring: scoring.flops,
      control: controlling.flops,
      search: searching.flops,
      reporting: reporting.flops,
      reportingSeconds: reporting.seconds,
      total: [neurons, more, { flops: tuning }, scoring, controlling, searching, reporting].reduce(
        (sum, { flops }) => sum + flops,
        0,
      ),
      seconds: [neurons, more, tuned.cost, scoring, controlling, searching, reporting].reduce(
        (all, { seconds }) => all + seconds,
        0,
      ),
    },
  };
}

/** Total FLOPs, evaluations included, and seconds of retrainings. */
export function candidateCost(candidates: readonly Candidate[]): { flops: number; seconds: number } {
  return candidates.reduce(
    (sum, { cost }) => ({
      flops: sum.flops + cost.trainFlops + cost.evalFlops,
      seconds: sum.seconds + cost.seconds,
    }),
    { flops: 0, seconds: 0 },
  );
}

function moments(values: readonly number[]): XPromptResult["mean"] {
  const score = values.reduce((a, b) => a + b, 0) / values.length;
  const squares = values.reduce((sum, v) => sum + (v - score) ** 2, 0);
  return { score, deviation: values.length > 1 ? Math.sqrt(squares / (values.length - 1)) : 0, count: values.length };
}
