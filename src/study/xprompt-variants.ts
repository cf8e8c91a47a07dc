/**
 * @file The prompts that XPrompt's tables and Fig. 5 compare, as one table: how each is had from a search (xprompt.md §7, §9).
 */
import { random } from "../base/random.js";
import type { Tensor } from "../base/tensor.js";
import type { Scores } from "../data/metrics.js";
import {
  complementMask,
  fullMask,
  isFull,
  type MaskCounts,
  maskCounts,
  type PromptMask,
  randomMask,
} from "../method/mask.js";
import type { Candidate, CandidateJob } from "../prune/candidate.js";
import type { PruneOptions } from "../prune/options.js";
import { rank } from "../prune/strategies.js";
import { candidateCost } from "../prune/xprompt.js";
import type { Outcome, VariantSearch } from "./xprompt-runs.js";

export type Measured = Omit<Outcome, "label" | "variant" | "task" | "seed">;

interface VariantEntry {
  readonly label: string;
  /** Levels whose candidates it asks the search for. */
  readonly levels: readonly PruneOptions["level"][];
  readonly run: (search: VariantSearch) => Promise<Measured>;
}

/** Draws of Random Prompt; the paper does not say, xprompt.md §9 asks for three or more. */
export const randomDraws = 3;

export const variants = {
  pt: {
    label: "PT",
    levels: [],
    run: (search) => measured(search, search.tuned.prompt, search.tuned.scores, [], null),
  },
  control: {
    label: "PT continued",
    levels: [],
    run: async (search) => {
      const control = await search.control();
      return measured(search, control.prompt, control.scores, [control], control);
    },
  },
  tokens: { label: "token-only", levels: ["tokens"], run: (search) => chosen(search, "tokens") },
  pieces: { label: "piece-only", levels: ["pieces"], run: (search) => chosen(search, "pieces") },
  xprompt: { label: "XPrompt", levels: ["both"], run: (search) => chosen(search, "both") },
  /** What one gets without choosing: the mean over XPrompt's finished candidates. */
  mean: {
    label: "XPrompt, mean of candidates",
    levels: ["both"],
    run: async (search) => {
      const { best, all } = await pick(search, "both");
      const finished = all.filter((candidate) => candidate.finished);
      const metric = search.dataset.task.metrics[0];
      const scores = await Promise.all(finished.map((c) => search.report(c.prompt, c.scores)));
      const average = (values: number[]) => values.reduce((a, b) => a + b, 0) / values.length;
      return {
        ...(await measured(search, best.prompt, best.scores, all, best)),
        score: average(scores.map((s) => s[metric] ?? Number.NaN)),
        counts: {
          tokens: average(finished.map((c) => c.counts.tokens)),
          pieces: average(finished.map((c) => c.counts.pieces)),
          parameters: average(finished.map((c) => c.counts.parameters)),
          fraction: average(finished.map((c) => c.counts.fraction)),
        },
      };
    },
  },
  /** The pieces that XPrompt pruned, and no others. */
  reversed: {
    label: "Reversed",
    levels: ["both"],
    run: async (search) => {
      const { best } = await pick(search, "both");
      return retrained(search, [{ name: "reversed", mask: complementMask(await search.maskOf(best)) }], best);
    },
  },
  /** As many tokens and pieces as XPrompt, but those of highest score pruned (Super-Tickets' losing ticket). */
  losing: {
    label: "losing ticket",
    levels: ["both"],
    run: async (search) => {
      const { best } = await pick(search, "both");
      return retrained(search, [{ name: "losing", mask: await search.maskOf(best, "highest") }], best);
    },
  },
  /** As many tokens and pieces as XPrompt, drawn; the mean of three draws. */
  random: {
    label: "Random",
    levels: ["both"],
    run: async (search) => {
      const { best } = await pick(search, "both");
      const mask = await search.maskOf(best);
      const draws = Array.from({ length: randomDraws }, (_, n) => ({
        name: `random-${n}`,
        mask: randomMask(mask, random(search.seed, `random-mask/${n}`)),
      }));
      return retrained(search, draws, best);
    },
  },
  /** A fresh prompt as long as XPrompt's surviving tokens. */
  length: {
    label: "Length",
    levels: ["both"],
    run: async (search) => {
      const { best } = await pick(search, "both");
      const prompt = await search.freshPrompt(best.counts.tokens);
      return retrained(search, [{ name: `length-${best.counts.tokens}`, mask: null, prompt }], best);
    },
  },
} as const satisfies Record<string, VariantEntry>;

export type VariantName = keyof typeof variants;

/** Best of a level's candidates, with all of them. Read back from the search's folder after the first time. */
export async function pick(search: VariantSearch, level: PruneOptions["level"]) {
  const all = await search.run(search.options.search, level);
  return { best: rank(all.filter((candidate) => candidate.finished))[0]!, all };
}

async function chosen(search: VariantSearch, level: PruneOptions["level"]): Promise<Measured> {
  const { best, all } = await pick(search, level);
  return measured(search, best.prompt, best.scores, all, best);
}

/** Trains the given masks from the search's start and averages their scores. The cost is one retraining beside stage A and scoring. */
async function retrained(
  search: VariantSearch,
  wanted: readonly { name: string; mask: PromptMask | null; prompt?: Tensor }[],
  { tokensPruned, piecesPruned }: Candidate,
): Promise<Measured> {
  const jobs = wanted.map(
    ({ name, mask, prompt }): CandidateJob => ({
      // the same name under another best candidate is another mask, so the counts belong to it
      name: `${name}-of-t${tokensPruned}-p${piecesPruned}`,
      tokensPruned,
      piecesPruned,
      prompt: prompt ?? search.start,
      mask,
      drop: search.options.prunedTokens === "drop",
    }),
  );
  const found = await search.retrain(jobs);
  const each = await Promise.all(found.map((c) => measured(search, c.prompt, c.scores, [c], c)));
  const average = (of: (m: Measured) => number) => each.reduce((sum, m) => sum + of(m), 0) / each.length;
  return {
    ...each[0]!,
    score: average((m) => m.score),
    flops: average((m) => m.flops),
    seconds: average((m) => m.seconds),
  };
}

async function measured(
  search: VariantSearch,
  prompt: Tensor,
  scores: Scores,
  candidates: readonly Candidate[],
  best: Candidate | null,
): Promise<Measured> {
  const { tuned } = search;
  const [tokens, width] = tuned.prompt.shape as [number, number];
  const retraining = candidateCost(candidates);
  // the control needs no scores
  const { neurons } = search;
  const neuronCost = (candidates.length > 0 ? neurons.retraining : null) ?? neurons.tuning ?? { flops: 0, seconds: 0 };
  const scoring = best?.mask && !isFull(best.mask) ? search.scoringCost() : { flops: 0, seconds: 0 };
  return {
    score: (await search.report(prompt, scores))[search.dataset.task.metrics[0]] ?? Number.NaN,
    // a prompt without a mask may be shorter than the one it is compared with (Length)
    counts: best?.mask
      ? best.counts
      : shareOf(maskCounts(fullMask(prompt.shape[0]!, search.options.pieces), width), tokens * width),
    flops: tuned.cost.trainFlops + tuned.cost.evalFlops + neuronCost.flops + scoring.flops + retraining.flops,
    seconds: tuned.cost.seconds + neuronCost.seconds + scoring.seconds + retraining.seconds,
    steps: tuned.steps + candidates.reduce((sum, c) => sum + c.steps, 0),
    prompt,
    candidates: candidates.length,
  };
}

function shareOf(counts: MaskCounts, parameters: number): MaskCounts {
  return { ...counts, fraction: counts.parameters / parameters };
}
