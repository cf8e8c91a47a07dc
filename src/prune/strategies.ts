/**
 * @file Strategies for searching token and piece counts: linear, grid, halving, iterative, as one table (xprompt.md §3.3).
 *
 * In: the counts to try, a way to retrain candidates. Out: every candidate that was retrained to its end.
 * A strategy decides only which candidates are trained for how many steps. The caller does masks, rewinding and training.
 */
import { SoftpromptError } from "../base/errors.js";
import type { Forecast } from "../train/forecast.js";
import type { Candidate } from "./types.js";

/** How many are pruned; (0, 0) is the control. */
export interface CountPair {
  readonly tokensPruned: number;
  readonly piecesPruned: number;
}

export interface SearchSpace {
  /** Token counts to try, ascending, without 0; empty switches the level off. */
  readonly tokens: readonly number[];
  /** Piece counts to try, likewise. */
  readonly pieces: readonly number[];
  /** Steps of one whole retraining. */
  readonly steps: number;
  readonly halvingMinSteps: number;
  /** Share of the linear search's FLOPs, evaluations included. */
  readonly halvingBudget: number;
  /** Cost of one retraining per step, at the whole prompt's length (if pruned tokens are dropped, it costs less). */
  readonly forecast: () => Forecast;
}

/** Counts to train, and by which importance. */
export interface Trial extends CountPair {
  /** Its survivors are scored anew, and more of them are pruned. Default: the importance of the tuned prompt, which is the same for all. */
  readonly after?: Candidate | undefined;
}

/**
 * Trains the trials up to `steps` (from wherever each stopped before) and evaluates them. Results are in the given order; there are fewer if
 * the search is being stopped.
 */
export type Retrain = (trials: readonly Trial[], steps: number) => Promise<Candidate[]>;

export type Strategy = (space: SearchSpace, retrain: Retrain) => Promise<Candidate[]>;

export const strategies = {
  /** Best token count first, then the best piece count for it: 9 + 9 retrainings on the papers' grid. */
  linear: async (space, retrain) => {
    const byTokens = await retrain(tokenPairs(space), space.steps);
    const best = byTokens.length > 0 ? rank(byTokens)[0]!.tokensPruned : 0;
    const byPieces = await retrain(
      space.pieces.map((piecesPruned) => ({ tokensPruned: best, piecesPruned })),
      space.steps,
    );
    return [...byTokens, ...byPieces];
  },
  /** Every pair: 81 retrainings on the papers' grid. */
  grid: (space, retrain) => retrain(gridPairs(space), space.steps),
  /** Successive halving (Jamieson & Talwalkar 2016): all start; at each rung the worse half stops and the rest continue. */
  halving: async (space, retrain) => {
    const pairs = halvingPairs(space);
    const plan = halvingPlan(pairs.length, space);
    let alive: readonly CountPair[] = thin(pairs, plan[0]!.candidates);
    let finished: Candidate[] = [];
    for (const { steps, candidates } of plan) {
      finished = await retrain(alive.slice(0, candidates), steps);
      alive = rankRung(finished, steps);
    }
    return finished;
  },
  /**
   * As linear, but the survivors of each candidate are scored anew after its retraining, and the next one prunes more of them. Masks nest
   * whatever the scores say. Ours: iterative pruning with rewinding (Frankle & Carbin 2019), where the paper scores once.
   */
  iterative: async (space, retrain) => {
    const onward = async (pairs: readonly CountPair[], from?: Candidate) => {
      const found: Candidate[] = [];
      for (const pair of pairs) {
        // what failed has no survivors to be scored anew
        const after = found.findLast(({ failed }) => failed === undefined) ?? from;
        const [done] = await retrain([{ ...pair, after }], space.steps);
        if (done === undefined) break;
        found.push(done);
      }
      return found;
    };
    const byTokens = await onward(tokenPairs(space));
    const best = rank(byTokens)[0];
    const tokensPruned = best?.tokensPruned ?? 0;
    const byPieces = await onward(
      space.pieces.map((piecesPruned) => ({ tokensPruned, piecesPruned })),
      best,
    );
    return [...byTokens, ...byPieces];
  },
} as const satisfies Record<string, Strategy>;

export type StrategyName = keyof typeof strategies;

/** Finished candidates by score, best first; ties go to fewer parameters (xprompt.md §4). */
export function rank(candidates: readonly Candidate[]): Candidate[] {
  return [...candidates].sort((a, b) => b.score - a.score || a.counts.parameters - b.counts.parameters);
}

/** The best of those that were trained to their end. @param where in the error @throws SoftpromptError "numeric" where none was */
export function bestOf(candidates: readonly Candidate[], where: string): Candidate {
  const [best] = rank(candidates.filter(({ finished }) => finished));
  if (best !== undefined) return best;
  throw new SoftpromptError("numeric", "no candidate could be trained to its end", {
    where,
    expected: "a candidate whose losses and gradients are finite and whose prompt moves",
    got: candidates.map(({ name, failed }) => `${name}: ${failed ?? "stopped"}`).join("; "),
    hint: "lower the learning rate, or prune less",
  });
}

/**
 * Ranks by the state at the end of the rung, not by later training, because a search that is resumed or repeated must drop the same
 * candidates. On a small dev set ties are frequent after a few steps; then the loss is a better criterion than the size.
 */
function rankRung(candidates: readonly Candidate[], steps: number): Candidate[] {
  return candidates
    .map((candidate) => ({ candidate, ...standing(candidate, steps) }))
    .sort(
      (a, b) => b.score - a.score || a.loss - b.loss || a.candidate.counts.parameters - b.candidate.counts.parameters,
    )
    .map(({ candidate }) => candidate);
}

/**
 * Best score until a step, the latest of equals. If another search trained a candidate past the step and it has no evaluation before the
 * step, its next evaluation counts.
 */
function standing({ history, score, loss }: Candidate, steps: number): { score: number; loss: number } {
  return bestUntil(history, steps) ?? history[0] ?? { score, loss };
}

/** The best evaluation until a step, the latest of equals; undefined where there was none. */
export function bestUntil(history: Candidate["history"], steps: number): Candidate["history"][number] | undefined {
  const [first, ...rest] = history.filter(({ step }) => step <= steps);
  return first && rest.reduce((best, entry) => (entry.score >= best.score ? entry : best), first);
}

export interface Rung {
  /** How many are trained in this rung. */
  readonly candidates: number;
  /** Up to this step, counted from the start. */
  readonly steps: number;
}

/**
 * Rungs that end with at least one candidate trained to its end, for at most `halvingBudget` of the linear search's FLOPs.
 * Steps double from rung to rung while candidates halve. Every rung ends with an evaluation of all its candidates, which on a large
 * selection set costs more than the steps before it. So the number of rungs is chosen that lets most candidates start within the budget.
 * Among equal choices the fewest rungs are taken, because then the first rung is longest.
 * @throws SoftpromptError "usage" where no two candidates can be compared within the budget.
 */
export function halvingPlan(pairs: number, space: SearchSpace): Rung[] {
  const forecast = space.forecast();
  const budget = space.halvingBudget * linearFlops(space);
  const most = Math.max(
    0,
    Math.min(Math.ceil(Math.log2(Math.max(1, pairs))), Math.floor(Math.log2(space.steps / space.halvingMinSteps))),
  );
  let best = rungs(1, 0, forecast);
  for (let halvings = 0; halvings <= most; halvings++)
    for (let start = pairs; start > best[0]!.candidates; start--) {
      const plan = rungs(start, halvings, forecast);
      if (planFlops(plan, forecast) <= budget) best = plan;
    }
  if (pairs > 1 && best[0]!.candidates < 2)
    throw new SoftpromptError("usage", "halving cannot compare even two candidates within its budget", {
      where: "halvingBudget",
      expected: "room for two candidates, one of them trained to its end, evaluations included",
      got: `${space.halvingBudget} of the linear search's FLOPs, which are ${space.tokens.length + space.pieces.length} retrainings`,
      hint: "raise --halving-budget, try more counts, evaluate fewer rows (--max-eval-rows), or take --search linear",
    });
  return best;
}

/** The pairs with which halving starts: every pair, and every token count alone. */
export function halvingPairs(space: SearchSpace): CountPair[] {
  return [...(space.pieces.length > 0 ? tokenPairs(space) : []), ...gridPairs(space)];
}

/** Total FLOPs of the linear search over the same counts: every retraining to its end. */
export function linearFlops({ tokens, pieces, forecast }: SearchSpace): number {
  const each = forecast();
  return (tokens.length + pieces.length) * each.spent(each.steps);
}

/**
 * Total FLOPs of a plan: steps, the trainer's own evaluations, and one at each rung's end where the trainer makes none.
 * Survivors go on, so each rung costs only what is new in it.
 */
export function planFlops(plan: readonly Rung[], { spent, evaluatedAt, evaluation, steps: all }: Forecast): number {
  return plan.reduce((sum, { candidates, steps }, i) => {
    const extra = steps < all && !evaluatedAt(steps) ? evaluation : 0;
    return sum + candidates * (spent(steps) - spent(plan[i - 1]?.steps ?? 0) + extra);
  }, 0);
}

/** A rung that is long enough ends at a step where the trainer evaluates anyway: it is rounded to the nearest such step. */
function rungs(start: number, halvings: number, { steps, evalEvery }: Forecast): Rung[] {
  const end = (r: number) => {
    const exact = Math.max(1, Math.round(steps / 2 ** (halvings - r)));
    return r === halvings || exact < evalEvery ? exact : evalEvery * Math.round(exact / evalEvery);
  };
  return Array.from({ length: halvings + 1 }, (_, r) => ({ candidates: Math.ceil(start / 2 ** r), steps: end(r) }));
}

function tokenPairs({ tokens }: SearchSpace): CountPair[] {
  return tokens.map((tokensPruned) => ({ tokensPruned, piecesPruned: 0 }));
}

/** The product; with one level off, the other alone. */
function gridPairs({ tokens, pieces }: SearchSpace): CountPair[] {
  return (tokens.length > 0 ? tokens : [0]).flatMap((tokensPruned) =>
    (pieces.length > 0 ? pieces : [0]).map((piecesPruned) => ({ tokensPruned, piecesPruned })),
  );
}

/** `count` of the pairs, spread evenly over their order. */
function thin(pairs: readonly CountPair[], count: number): CountPair[] {
  return Array.from({ length: count }, (_, i) => pairs[Math.floor(((i + 0.5) * pairs.length) / count)]!);
}
