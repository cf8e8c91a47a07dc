/**
 * @file result.json of an XPrompt search: the same form as every run's result, with the search's findings under one more key.
 *
 * In: XPromptResult, or a folder. Out: plain data, enough for the report page, so that it can be made again from the file alone.
 * A file that is read is untrusted: every field is checked.
 */
import { z } from "zod";
import { SoftpromptError } from "../base/errors.js";
import { type MaskJson, maskFromJson, maskToJson, type PieceLayout, pieceLayouts } from "../method/mask.js";
import { type RunResult, readResultFile, type Scores } from "../run/result.js";
import { costForm } from "./candidate-file.js";
import { type ImportanceMode, importanceModes } from "./scores.js";
import type { Candidate } from "./types.js";
import type { XPromptResult } from "./xprompt.js";

/** A candidate without its tensors, which are in its own folder. */
export type SearchCandidate = Omit<Candidate, "prompt" | "mask" | "scores"> & { readonly scores: Scores };

/** A search without its tensors, as result.json has it. */
export interface SearchSummary extends Pick<XPromptResult, "mean" | "selection" | "cost"> {
  /** What the candidates are compared by: the task's first metric, or the mean of all metrics. */
  readonly metric: string;
  readonly tuned: { readonly score: number; readonly scores: Scores; readonly steps: number };
  /** Name of the chosen candidate. */
  readonly best: string;
  /** Its mask over the whole prompt; null = nothing pruned. */
  readonly mask: MaskJson | null;
  readonly control: SearchCandidate;
  /** In the order of the search, without the control. */
  readonly candidates: readonly SearchCandidate[];
  /** Scores on the rows that `scoredOn` of the run names. */
  readonly reported: { readonly best: Scores; readonly control: Scores; readonly tuned: Scores };
  readonly importance: {
    /** [P] */
    readonly tokens: readonly number[];
    /** [P × k], row-major by token. */
    readonly pieces: readonly number[];
    readonly piecesPerToken: number;
    readonly examples: number;
    readonly mode: ImportanceMode;
    readonly partial: string;
  };
}

/** The result that `prune` writes to its folder. Its cost is that of the whole search, control included. */
export interface PruneResult extends RunResult {
  readonly search: SearchSummary;
}

/** The search as plain data. */
export function searchSummary(result: XPromptResult, metric: string): SearchSummary {
  const { tuned, candidates, control, best, mean, selection, cost, reported, importance } = result;
  const bare = (c: Candidate): SearchCandidate => ({
    name: c.name,
    tokensPruned: c.tokensPruned,
    piecesPruned: c.piecesPruned,
    counts: c.counts,
    score: c.score,
    scores: c.scores as Scores,
    loss: c.loss,
    bestStep: c.bestStep,
    steps: c.steps,
    finished: c.finished,
    ...(c.failed !== undefined && { failed: c.failed }),
    cost: c.cost,
    history: c.history,
  });
  return {
    metric,
    selection,
    mean,
    cost,
    tuned: { score: tuned.score, scores: tuned.scores as Scores, steps: tuned.steps },
    best: best.name,
    mask: best.mask && maskToJson(best.mask),
    control: bare(control),
    candidates: candidates.map(bare),
    reported: reported as SearchSummary["reported"],
    importance: {
      tokens: importance.tokens,
      pieces: importance.pieces,
      piecesPerToken: importance.piecesPerToken,
      examples: importance.examples,
      mode: importance.mode,
      partial: importance.partial,
    },
  };
}

/**
 * Reads a folder's result.json. @returns null for a run without a search.
 * @throws SoftpromptError "run" if it is not a result, or its search is not valid.
 */
export function readPruneResult(folder: string): PruneResult | null {
  const { file, json, result } = readResultFile(folder);
  const { search } = json as { search?: unknown };
  if (search === undefined) return null;
  const wrong = (got: string) =>
    new SoftpromptError("run", "this is not the result of a search", {
      where: file,
      expected: "result.json as softprompt prune writes it",
      got,
    });
  const parsed = searchForm.safeParse(search);
  if (!parsed.success) {
    const issue = parsed.error.issues[0]!;
    throw wrong(`${["search", ...issue.path].join(".")}: ${issue.message}`);
  }
  const { importance, mask, best, candidates } = parsed.data;
  const [tokens, pieces] = [importance.tokens.length, importance.pieces.length];
  if (pieces !== tokens * importance.piecesPerToken) throw wrong(`${pieces} piece scores for ${tokens} tokens`);
  if (mask !== null) {
    const { tokens: alive, pieces } = maskFromJson(mask, file, "run");
    if (alive.length !== tokens || pieces !== importance.piecesPerToken) throw wrong("a mask of another prompt");
  }
  if (!candidates.some(({ name }) => name === best)) throw wrong(`no candidate is called ${best}`);
  return { ...result, search: parsed.data };
}

const text = z.string().max(10_000);
/** JSON has no NaN: such a number is written as null. */
const figure = z.union([z.number(), z.null().transform(() => Number.NaN)]);
const scores = z.record(text, figure);
const amount = z.number().nonnegative();
const count = z.int().nonnegative();

const candidateForm = z.object({
  name: text,
  tokensPruned: count,
  piecesPruned: count,
  counts: z.object({ tokens: amount, pieces: amount, parameters: amount, fraction: amount }),
  score: figure,
  scores,
  loss: figure,
  bestStep: count,
  steps: count,
  finished: z.boolean(),
  failed: text.optional(),
  cost: costForm,
  history: z.array(z.object({ step: count, score: figure, loss: figure, flops: amount })),
});

const searchForm = z.object({
  metric: text,
  selection: z.object({ split: z.enum(["validation", "holdout"]), rows: count, reportedRows: count }),
  mean: z.object({ score: figure, deviation: figure, count }),
  cost: z.object({
    neurons: amount,
    retrainNeurons: amount,
    tuning: amount,
    scoring: amount,
    control: amount,
    search: amount,
    // absent in files of versions that did not count it
    reporting: amount.default(0),
    reportingSeconds: amount.default(0),
    total: amount,
    seconds: amount,
  }),
  tuned: z.object({ score: figure, scores, steps: count }),
  best: text,
  mask: z
    .object({
      pieces: count,
      layout: z.enum(Object.keys(pieceLayouts) as [PieceLayout]),
      tokens: z.string(),
      piecesKept: z.array(z.string()),
    })
    .nullable(),
  control: candidateForm,
  candidates: z.array(candidateForm),
  reported: z.object({ best: scores, control: scores, tuned: scores }),
  importance: z.object({
    tokens: z.array(figure).min(1),
    pieces: z.array(figure),
    piecesPerToken: z.int().positive(),
    examples: count,
    mode: z.enum(Object.keys(importanceModes) as [ImportanceMode]),
    partial: text,
  }),
}) satisfies z.ZodType<SearchSummary>;
