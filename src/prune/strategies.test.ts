/**
 * @file The searches against the papers' counts: 18 and 81 retrainings, halving within its budget, ties to fewer parameters.
 */
import fc from "fast-check";
import { expect, test } from "vitest";
import { fullMask } from "../method/mask.js";
import type { Forecast } from "../train/forecast.js";
import { holdOut, paperCounts, pruneCounts, rewindTarget } from "./space.js";
import {
  type CountPair,
  halvingPlan,
  linearFlops,
  planFlops,
  rank,
  type SearchSpace,
  strategies,
} from "./strategies.js";
import type { Candidate } from "./types.js";

/** Every step costs one, an evaluation so many. */
function flat(steps: number, evaluation = 0, evalEvery = steps): Forecast {
  const due = (step: number) => step === steps || step % evalEvery === 0;
  const before = (step: number) => Math.floor(step / evalEvery) + (step === steps && step % evalEvery !== 0 ? 1 : 0);
  return {
    steps,
    spent: (step) => step + evaluation * before(step),
    evaluatedAt: (step) => step > 0 && due(step),
    evaluation,
    evalEvery,
  };
}

const paper: SearchSpace = {
  tokens: paperCounts(20),
  pieces: paperCounts(16),
  steps: 1000,
  halvingMinSteps: 8,
  halvingBudget: 0.4,
  forecast: () => flat(1000),
};

/** Trains nothing: a candidate's score is given, its curve is flat, its steps are counted. */
function pretend(score: (pair: CountPair, steps: number) => number) {
  const trained = new Map<string, number>();
  const calls: { pairs: number; steps: number }[] = [];
  const retrain = async (pairs: readonly CountPair[], steps: number): Promise<Candidate[]> => {
    calls.push({ pairs: pairs.length, steps });
    return pairs.map((pair) => {
      trained.set(`${pair.tokensPruned}/${pair.piecesPruned}`, steps);
      return candidate(pair, score(pair, steps), steps);
    });
  };
  return { retrain, calls, trained, total: () => [...trained.values()].reduce((a, b) => a + b, 0) };
}

function candidate(pair: CountPair, score: number, steps = 1000): Candidate {
  const parameters = (20 - pair.tokensPruned) * (16 - pair.piecesPruned);
  return {
    name: `${pair.tokensPruned}/${pair.piecesPruned}`,
    ...pair,
    mask: fullMask(1, 1),
    counts: { tokens: 20 - pair.tokensPruned, pieces: parameters, parameters, fraction: parameters / 320 },
    prompt: { shape: [1, 1], data: new Float32Array(1) },
    score,
    scores: { accuracy: score },
    loss: 1 - score,
    bestStep: steps,
    steps,
    finished: steps >= 1000,
    cost: { trainFlops: steps, evalFlops: 0, paperFlops: 0, seconds: 0, trainSeconds: 0, evalSeconds: 0 },
    history: [],
  };
}

test("the papers' counts (xprompt.md §3.3)", () => {
  expect(paperCounts(20)).toEqual([2, 4, 6, 8, 10, 12, 14, 16, 18]);
  expect(paperCounts(16)).toEqual([1, 3, 4, 6, 8, 9, 11, 12, 14]);
  expect(paperCounts(3)).toEqual([1, 2]);
  expect(paperCounts(1)).toEqual([]);
});

test("counts: any integers, sorted, without doubles; nothing may die out; a level can be off", () => {
  const options = { level: "both", pieces: 16, layout: "contiguous", tokensPruned: [3, 1, 1, 0] } as const;
  const counts = (more: object) => pruneCounts({ ...options, piecesPruned: undefined, ...more }, 20, 2048);
  expect(counts({}).tokens).toEqual([1, 3]);
  expect(counts({ level: "pieces" })).toEqual({ tokens: [], pieces: paperCounts(16) });
  expect(() => counts({ tokensPruned: [20] })).toThrow(/1 to 19 of 20 tokens/);
  expect(() => counts({ piecesPruned: [16] })).toThrow(/1 to 15 of 16 pieces/);
  expect(() => counts({ pieces: 15 })).toThrow(/divides 2048/);
  expect(() => counts({ tokensPruned: [0], level: "tokens" })).toThrow(/nothing to try/);
});

test("linear: 18 retrainings, the second nine at the best token count", async () => {
  const run = pretend(({ tokensPruned, piecesPruned }) => 1 - Math.abs(tokensPruned - 6) / 20 - piecesPruned / 100);
  const found = await strategies.linear(paper, run.retrain);
  expect(found.length).toBe(18);
  expect(found.slice(9).every((c) => c.tokensPruned === 6)).toBe(true);
  expect(rank(found)[0]!.name).toBe("6/0");
});

test("grid: 81 retrainings; one level off leaves nine", async () => {
  expect((await strategies.grid(paper, pretend(() => 0).retrain)).length).toBe(81);
  expect((await strategies.grid({ ...paper, tokens: [] }, pretend(() => 0).retrain)).length).toBe(9);
});

test("iterative: one after the other, each after the one before; the pieces after the best token count", async () => {
  const after: (string | undefined)[] = [];
  const score = ({ tokensPruned, piecesPruned }: CountPair) => 1 - Math.abs(tokensPruned - 6) / 20 - piecesPruned / 100;
  const found = await strategies.iterative(paper, async (trials, steps) => {
    after.push(...trials.map((trial) => trial.after?.name));
    return trials.map(({ after: _, ...pair }) => candidate(pair, score(pair), steps));
  });
  expect(found.map(({ name }) => name)).toEqual([
    ...[2, 4, 6, 8, 10, 12, 14, 16, 18].map((n) => `${n}/0`),
    ...[1, 3, 4, 6, 8, 9, 11, 12, 14].map((n) => `6/${n}`),
  ]);
  expect(after).toEqual([
    undefined,
    ...found.slice(0, 8).map(({ name }) => name),
    "6/0",
    ...found.slice(9, 17).map(({ name }) => name),
  ]);
  // a search that is being stopped trains no more
  let asked = 0;
  const stopped = async (trials: readonly CountPair[]) => (++asked > 2 ? [] : trials.map((pair) => candidate(pair, 0)));
  expect(await strategies.iterative({ ...paper, pieces: [] }, stopped)).toHaveLength(2);
  expect(asked).toBe(3);
});

test("halving: 90 start, each rung keeps the better half going, for at most 40 % of linear's FLOPs", async () => {
  const score = ({ tokensPruned, piecesPruned }: CountPair) =>
    1 - Math.abs(tokensPruned - 6) / 20 - Math.abs(piecesPruned - 4) / 30;
  const run = pretend(score);
  const found = await strategies.halving(paper, run.retrain);
  expect(run.calls[0]!.pairs).toBe(90);
  for (const [i, call] of run.calls.entries()) {
    const next = run.calls[i + 1];
    if (next) expect(next.pairs).toBe(Math.ceil(90 / 2 ** (i + 1)));
    expect(call.steps).toBe(Math.round(1000 / 2 ** (run.calls.length - 1 - i)));
  }
  expect(found.every((c) => c.finished)).toBe(true);
  expect(rank(found)[0]!.name).toBe("6/4");
  expect(run.total()).toBe(planFlops(halvingPlan(90, paper), flat(1000)));
  expect(run.total()).toBeLessThanOrEqual(0.4 * 18 * 1000);
});

test("a plan's FLOPs, worked out by hand: evaluations of the trainer, and at rungs that end between them", () => {
  // evaluated by the trainer at 50 and 100; the rungs end at 25 (an evaluation of its own), 50 (none more) and 100
  const plan = [25, 50, 100].map((steps, i) => ({ steps, candidates: [8, 4, 2][i]! }));
  expect(planFlops(plan, flat(100, 30, 50))).toBe(8 * (25 + 30) + 4 * (25 + 30) + 2 * (50 + 30));
  const space = { ...paper, steps: 100, forecast: () => flat(100, 30, 50) };
  expect(linearFlops(space)).toBe(18 * (100 + 2 * 30));
});

test("halving counts evaluations: a large selection set lets fewer start and ends rungs where the trainer evaluates", () => {
  // BoolQ: an evaluation of 3270 rows costs as much as about a hundred steps of 16
  const dear = { ...paper, forecast: () => flat(1000, 100, 250) };
  const plan = halvingPlan(90, dear);
  const unaware = halvingPlan(90, paper);
  expect(planFlops(unaware, dear.forecast())).toBeGreaterThan(0.4 * linearFlops(dear));
  expect(planFlops(plan, dear.forecast())).toBeLessThanOrEqual(0.4 * linearFlops(dear));
  expect(plan[0]!.candidates).toBeGreaterThan(0.2 * 90);
  expect(plan.filter(({ steps }) => steps >= 250).every(({ steps }) => steps % 250 === 0)).toBe(true);
});

test("a rung drops by what was reached at its end, however far a candidate was trained since", async () => {
  // a late starter: behind at 250 steps, ahead at 1000; another search trained it to its end already
  const late = ({ tokensPruned }: CountPair) => tokensPruned === 2;
  const space = { ...paper, tokens: [2, 4, 6, 8], pieces: [], halvingMinSteps: 250, halvingBudget: 0.6 };
  const chosen = async (trained: boolean) => {
    const run = pretend(() => 0);
    const found = await strategies.halving(space, async (pairs, steps) =>
      (await run.retrain(pairs, trained ? 1000 : steps)).map((c) => {
        const score = (step: number) => (late(c) ? step / 1000 : 0.5 - c.tokensPruned / 100);
        const history = [250, 500, 1000].filter((step) => step <= c.steps);
        const curve = history.map((step) => ({ step, score: score(step), loss: 1, flops: 0 }));
        return { ...c, score: score(c.steps), history: curve };
      }),
    );
    return found.map(({ name }) => name);
  };
  expect(await chosen(false)).toEqual(["4/0"]);
  expect(await chosen(true)).toEqual(["4/0"]);
});

test("halving that cannot compare two candidates within its budget is refused, not made without a choice", () => {
  const two = { ...paper, tokens: [2, 4], pieces: [] };
  expect(() => halvingPlan(2, two)).toThrow(/even two candidates/);
  expect(halvingPlan(1, { ...two, tokens: [2] })).toEqual([{ candidates: 1, steps: 1000 }]);
});

test("any halving plan ends with a whole retraining, never grows, and keeps its budget", () => {
  const spaces = fc.record({
    pairs: fc.integer({ min: 1, max: 200 }),
    steps: fc.integer({ min: 1, max: 30_000 }),
    halvingMinSteps: fc.integer({ min: 1, max: 500 }),
    halvingBudget: fc.double({ min: 0.05, max: 1, noNaN: true }),
    evaluation: fc.integer({ min: 0, max: 2000 }),
    evalEvery: fc.integer({ min: 1, max: 2000 }),
  });
  fc.assert(
    fc.property(spaces, ({ pairs, evaluation, evalEvery, ...more }) => {
      const forecast = flat(more.steps, evaluation, evalEvery);
      const space = { ...paper, ...more, forecast: () => forecast };
      let plan: ReturnType<typeof halvingPlan>;
      try {
        plan = halvingPlan(pairs, space);
      } catch (error) {
        expect(error).toMatchObject({ kind: "usage" });
        return;
      }
      expect(plan.at(-1)!.steps).toBe(space.steps);
      for (const [i, rung] of plan.entries()) {
        expect(rung.candidates).toBeGreaterThanOrEqual(1);
        expect(rung.candidates).toBeLessThanOrEqual(plan[i - 1]?.candidates ?? pairs);
        expect(rung.steps).toBeGreaterThan(plan[i - 1]?.steps ?? 0);
      }
      if (pairs > 1) expect(planFlops(plan, forecast)).toBeLessThanOrEqual(space.halvingBudget * linearFlops(space));
    }),
  );
});

test("ties go to fewer parameters", () => {
  const tied = [
    candidate({ tokensPruned: 2, piecesPruned: 0 }, 0.8),
    candidate({ tokensPruned: 18, piecesPruned: 0 }, 0.8),
  ];
  expect(rank(tied)[0]!.tokensPruned).toBe(18);
});

test("rewinding: tuned, init, or a step of stage A; nothing else", () => {
  const schedule = {
    name: "x",
    stages: [{ partial: null as never, steps: 10 }] as const,
    resetOptimizerOnGrow: false,
    plateau: null,
  };
  expect(rewindTarget("step:10", schedule).keep).toEqual([10]);
  expect(rewindTarget("tuned", schedule).keep).toEqual([]);
  for (const bad of ["step:11", "step:-1", "step:", "start"])
    expect(() => rewindTarget(bad, schedule)).toThrow(/step:N/);
});

test("a holdout is disjoint, seeded, and keeps groups together", () => {
  const row = (n: number) => ({ id: `${n}`, input: "", target: "", label: null, references: [], group: `g${n % 10}` });
  const rows = Array.from({ length: 40 }, (_, n) => row(n));
  const { train, held } = holdOut(rows, 0.2, 1);
  expect([train.length, held.length]).toEqual([32, 8]);
  expect(held.some((a) => train.some((b) => b.group === a.group))).toBe(false);
  expect(holdOut(rows, 0.2, 1)).toEqual({ train, held });
  expect(holdOut(rows, 0.2, 2).held).not.toEqual(held);
  expect(holdOut(rows, 0, 1).train).toBe(rows);
  const rare = rows.map((row, i) => ({ ...row, group: undefined, label: i % 5 === 0 ? "rare" : "often" }));
  const of = (list: readonly { label: string | null }[]) => list.filter((row) => row.label === "rare").length;
  for (let seed = 0; seed < 10; seed++) expect(of(holdOut(rare, 0.2, seed).held)).toBe(Math.round(of(rare) * 0.2));
  expect(() => holdOut(rows.slice(0, 1), 0.2, 1)).toThrow(/too few rows/);
});
