/**
 * @file How the search goes through token and piece counts: linear, grid, halving, as one table (xprompt.md §3.3).
 *
 * In: the counts to try, a way to retrain candidates. Out: every candidate that was retrained to its end.
 * A strategy decides only who is trained for how many steps; masks, rewinding and training are the caller's.
 */
import type { Candidate } from "./candidate.js";

/** How many are pruned; (0, 0) is the control. */
export interface PruneCell {
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
  /** Of the linear search's steps. */
  readonly halvingBudget: number;
}

/**
 * Trains the cells up to `steps` (from wherever each stopped before) and evaluates them. In the order asked for; fewer when
 * the search is being stopped.
 */
export type Retrain = (cells: readonly PruneCell[], steps: number) => Promise<Candidate[]>;

export type Strategy = (space: SearchSpace, retrain: Retrain) => Promise<Candidate[]>;

export const strategies = {
  /** Best token count first, then the best piece count for it: 9 + 9 retrainings on the papers' grid. */
  linear: async (space, retrain) => {
    const byTokens = await retrain(tokenCells(space), space.steps);
    const best = byTokens.length > 0 ? rank(byTokens)[0]!.tokensPruned : 0;
    const byPieces = await retrain(
      space.pieces.map((piecesPruned) => ({ tokensPruned: best, piecesPruned })),
      space.steps,
    );
    return [...byTokens, ...byPieces];
  },
  /** Every pair: 81 retrainings on the papers' grid. */
  grid: (space, retrain) => retrain(gridCells(space), space.steps),
  /** Successive halving (Jamieson & Talwalkar 2016): all start, the worse half stops at each rung, the rest go on from where they are. */
  halving: async (space, retrain) => {
    const cells = [...(space.pieces.length > 0 ? tokenCells(space) : []), ...gridCells(space)];
    const plan = halvingPlan(cells.length, space);
    let alive: readonly PruneCell[] = thin(cells, plan[0]!.candidates);
    let finished: Candidate[] = [];
    for (const { steps, candidates } of plan) {
      finished = await retrain(alive.slice(0, candidates), steps);
      alive = rankRung(finished);
    }
    return finished;
  },
} as const satisfies Record<string, Strategy>;

export type StrategyName = keyof typeof strategies;

/** Finished candidates by score, best first; ties go to fewer parameters (xprompt.md §4). */
export function rank(candidates: readonly Candidate[]): Candidate[] {
  return [...candidates].sort((a, b) => b.score - a.score || a.counts.parameters - b.counts.parameters);
}

/** Unfinished ones: a small dev set ties often after a few steps, and there the loss says more than the size. */
function rankRung(candidates: readonly Candidate[]): Candidate[] {
  return [...candidates].sort(
    (a, b) => b.score - a.score || a.loss - b.loss || a.counts.parameters - b.counts.parameters,
  );
}

export interface Rung {
  /** How many are trained in this rung. */
  readonly candidates: number;
  /** Up to this step, counted from the start. */
  readonly steps: number;
}

/**
 * Rungs that end with at least one candidate trained to the end, for at most `halvingBudget` of the linear search's steps.
 * Steps double from rung to rung while candidates halve. As many rungs as min steps allow; where even so the budget is
 * passed, fewer candidates start.
 */
export function halvingPlan(cells: number, space: SearchSpace): Rung[] {
  const linear = space.tokens.length + space.pieces.length;
  const budget = space.halvingBudget * linear * space.steps;
  const halvings = Math.max(
    0,
    Math.min(Math.ceil(Math.log2(Math.max(1, cells))), Math.floor(Math.log2(space.steps / space.halvingMinSteps))),
  );
  for (let start = cells; start > 1; start--) {
    const plan = rungs(start, halvings, space.steps);
    if (planSteps(plan) <= budget) return plan;
  }
  return rungs(1, 0, space.steps);
}

/** Training steps a plan takes altogether; survivors go on, so each rung costs only what is new in it. */
export function planSteps(plan: readonly Rung[]): number {
  return plan.reduce((sum, { candidates, steps }, i) => sum + candidates * (steps - (plan[i - 1]?.steps ?? 0)), 0);
}

function rungs(start: number, halvings: number, steps: number): Rung[] {
  return Array.from({ length: halvings + 1 }, (_, r) => ({
    candidates: Math.ceil(start / 2 ** r),
    steps: Math.max(1, Math.round(steps / 2 ** (halvings - r))),
  }));
}

function tokenCells({ tokens }: SearchSpace): PruneCell[] {
  return tokens.map((tokensPruned) => ({ tokensPruned, piecesPruned: 0 }));
}

/** The product; with one level off, the other alone. */
function gridCells({ tokens, pieces }: SearchSpace): PruneCell[] {
  return (tokens.length > 0 ? tokens : [0]).flatMap((tokensPruned) =>
    (pieces.length > 0 ? pieces : [0]).map((piecesPruned) => ({ tokensPruned, piecesPruned })),
  );
}

/** `count` of the cells, spread evenly over their order. */
function thin(cells: readonly PruneCell[], count: number): PruneCell[] {
  return Array.from({ length: count }, (_, i) => cells[Math.floor(((i + 0.5) * cells.length) / count)]!);
}
