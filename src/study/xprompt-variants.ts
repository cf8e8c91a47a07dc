/**
 * @file The prompts that XPrompt's tables and Fig. 5 compare, as one table: how each is made from a search (xprompt.md §7, §9).
 */
import { random } from "../base/random.js";
import type { Tensor } from "../base/tensor.js";
import type { Scores } from "../data/metrics.js";
import { complementMask, fullMask, type MaskCounts, maskCounts, maskFromScores } from "../method/mask.js";
import type { PruneOptions } from "../prune/options.js";
import type { Ranking } from "../prune/search.js";
import { bestOf } from "../prune/strategies.js";
import type { Candidate } from "../prune/types.js";
import { candidateCost } from "../prune/xprompt.js";
import type { Outcome, VariantSearch } from "./xprompt-types.js";

/** What is measured of a variant. The study adds label, variant, task and seed. */
export type Measured = Omit<Outcome, "label" | "variant" | "task" | "seed">;

/** A variant: its label, its levels, and how it is made from a search. */
export interface VariantEntry {
  readonly label: string;
  /** Levels whose candidates it needs from the search. */
  readonly levels: readonly PruneOptions["level"][];
  /** Whether it draws a start prompt of another length, which a given prompt cannot be. */
  readonly drawsAnew?: boolean;
  readonly run: (search: VariantSearch) => Promise<Measured>;
}

/**
 * The controls of XPrompt's own ranking. Each searches the same counts with the same strategy, so that both sides are the best of equally
 * many tries. Otherwise masks chosen by importance could win only because more of them were tried.
 */
export const rankings = {
  /** The pieces that XPrompt's mask at these counts prunes, and no others. */
  reversed: {
    label: "Reversed",
    scored: true,
    of: () => async (pair, own) => complementMask(await own(pair)),
  },
  /** Prunes the highest scores first (Super-Tickets' losing ticket). */
  losing: { label: "losing ticket", scored: true, of: () => (pair, own) => own(pair, "highest") },
  /** Random scores, drawn once for the whole search, so that masks nest as XPrompt's do. */
  random: {
    label: "Random",
    scored: false,
    of: (search) => {
      const draw = random(search.seed, "random-mask");
      const uniform = (values: readonly number[]) => values.map(() => draw.uniform(0, 1));
      const { tokens, pieces } = search.importance;
      const scores = { tokens: uniform(tokens), pieces: uniform(pieces) };
      const { pieceRanking: ranking, layout } = search.options;
      return async (pair) => maskFromScores(scores, { ...pair, ranking, layout });
    },
  },
} as const satisfies Record<
  string,
  {
    label: string /** Whether it needs importance. */;
    scored: boolean;
    of: (search: VariantSearch) => Ranking["maskOf"];
  }
>;

type RankingName = keyof typeof rankings;

/** Variants of XPrompt and their controls, by name. */
export const variants = {
  pt: {
    label: "PT",
    levels: [],
    run: (search) => measured(search, search.tuned.prompt, search.tuned.scores, {}),
  },
  control: {
    label: "PT continued",
    levels: [],
    run: async (search) => {
      const control = await search.control();
      return measured(search, control.prompt, control.scores, { trained: [control] });
    },
  },
  tokens: { label: "token-only", levels: ["tokens"], run: (search) => chosen(search, "tokens") },
  pieces: { label: "piece-only", levels: ["pieces"], run: (search) => chosen(search, "pieces") },
  xprompt: { label: "XPrompt", levels: ["both"], run: (search) => chosen(search, "both") },
  /** The expected score without choosing: the mean over XPrompt's finished candidates. */
  mean: { label: "XPrompt, mean of candidates", levels: ["both"], run: (search) => meanOf(search) },
  ...ofRanking("reversed"),
  ...ofRanking("losing"),
  ...ofRanking("random"),
  /** A fresh prompt as long as XPrompt's surviving tokens, tuned as XPrompt's was and then trained on as its candidates were. */
  length: {
    label: "Length",
    levels: ["both"],
    drawsAnew: true,
    run: async (search) => {
      const { best, all } = await pick(search, "both");
      const name = `length-${best.counts.tokens}`;
      const tuned = await search.tuneAnew({ name, prompt: await search.freshPrompt(best.counts.tokens) });
      const [last] = await search.retrain([
        { name, tokensPruned: 0, piecesPruned: 0, prompt: tuned.prompt, mask: null, drop: false },
      ]);
      const own = await measured(search, last!.prompt, last!.scores, { trained: [...all, tuned, last!], scored: true });
      return { ...own, steps: tuned.steps + last!.steps, candidates: 1 };
    },
  },
} as const satisfies Record<string, VariantEntry>;

/** Name of a variant. */
export type VariantName = keyof typeof variants;

/** The best of a ranking's candidates, and their mean, as two variants. */
function ofRanking<N extends RankingName>(name: N) {
  const { label } = rankings[name];
  const [best, mean]: VariantEntry[] = [
    { label, levels: ["both"], run: (search) => chosen(search, "both", name) },
    { label: `${label}, mean of candidates`, levels: ["both"], run: (search) => meanOf(search, name) },
  ];
  return { [name]: best, [`${name}Mean`]: mean } as Record<N | `${N}Mean`, VariantEntry>;
}

/** Best of a level's candidates, with all of them. Read back from the search's folder after the first time. */
export async function pick(search: VariantSearch, level: PruneOptions["level"], name?: RankingName) {
  const ranking = name && { name, maskOf: rankings[name].of(search) };
  const all = await search.run(search.options.search, level, ranking);
  return { best: bestOf(all, search.folder), all };
}

async function chosen(search: VariantSearch, level: PruneOptions["level"], name?: RankingName): Promise<Measured> {
  const { best, all } = await pick(search, level, name);
  return measured(search, best.prompt, best.scores, { trained: all, best, scored: isScored(name) });
}

/** The expected score without choosing: the mean over the finished candidates. */
async function meanOf(search: VariantSearch, name?: RankingName): Promise<Measured> {
  const { all } = await pick(search, "both", name);
  const finished = all.filter((candidate) => candidate.finished);
  const each: Measured[] = [];
  for (const one of finished)
    each.push(await measured(search, one.prompt, one.scores, { trained: all, best: one, scored: isScored(name) }));
  const average = (of: (m: Measured) => number) => each.reduce((sum, m) => sum + of(m), 0) / each.length;
  return {
    ...each[0]!,
    score: average((m) => m.score),
    counts: {
      tokens: average((m) => m.counts.tokens),
      pieces: average((m) => m.counts.pieces),
      parameters: average((m) => m.counts.parameters),
      fraction: average((m) => m.counts.fraction),
    },
    flops: average((m) => m.flops),
    seconds: average((m) => m.seconds),
  };
}

/** Whether a ranking needs importance scores. XPrompt's own ranking has no name. */
const isScored = (name: RankingName | undefined) => name === undefined || rankings[name].scored;

/** The cost of making a prompt, and its score on the reported rows. */
async function measured(
  search: VariantSearch,
  prompt: Tensor,
  scores: Scores,
  {
    trained = [],
    best = null,
    scored = false,
  }: {
    /** All candidates that were trained for it after stage A, chosen or not. */
    trained?: readonly Candidate[];
    /** The candidate whose counts it has; without one, the prompt is not pruned. */
    best?: Candidate | null;
    /** Whether importance had to be measured. */
    scored?: boolean;
  },
): Promise<Measured> {
  const { tuned } = search;
  const [tokens, width] = tuned.prompt.shape as [number, number];
  const retraining = candidateCost(trained);
  const nothing = { flops: 0, seconds: 0 };
  const { neurons } = search;
  const more = trained.length > 0 ? neurons.retraining : nothing;
  const scoring = scored ? search.scoringCost(trained) : nothing;
  const reported = await search.report(prompt, scores);
  return {
    score: reported.scores[search.dataset.task.metrics[0]] ?? Number.NaN,
    // a prompt without a mask may be shorter than the one it is compared with (Length)
    counts: best?.mask
      ? best.counts
      : shareOf(maskCounts(fullMask(prompt.shape[0]!, search.options.pieces), width), tokens * width),
    flops:
      tuned.cost.trainFlops +
      tuned.cost.evalFlops +
      neurons.tuning.flops +
      more.flops +
      scoring.flops +
      retraining.flops +
      reported.flops,
    seconds:
      tuned.cost.seconds +
      neurons.tuning.seconds +
      more.seconds +
      scoring.seconds +
      retraining.seconds +
      reported.seconds,
    steps: tuned.steps + trained.reduce((sum, c) => sum + c.steps, 0),
    prompt,
    candidates: trained.length,
  };
}

function shareOf(counts: MaskCounts, parameters: number): MaskCounts {
  return { ...counts, fraction: counts.parameters / parameters };
}
