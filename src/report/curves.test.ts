import { expect, test } from "vitest";
import type { TrainEvent } from "../train/types.js";
import { courseOf, runCharts } from "./curves.js";

const costs = { flops: 1, paperFlops: 1, totalFlops: 1 };
const where = { stage: 0, learningRate: 0.3, gradientNorm: 1, tokens: 1 };
const step = (n: number, seconds: number, openSeconds: number): TrainEvent => ({
  ...{ kind: "step", step: n, loss: 1, seconds, openSeconds, ...where, ...costs },
});

test("the wall clock holds the opening of models, steps that were skipped, and evaluations", () => {
  const events: TrainEvent[] = [
    step(1, 1, 20),
    { kind: "skip", step: 2, stage: 0, problem: "NaN", rows: [], seconds: 2, openSeconds: 0.5, totalFlops: 1 },
    { kind: "eval", step: 2, partial: "full", scores: {}, loss: 1, seconds: 4, best: true, stage: 0, ...costs },
    step(3, 1, 0),
  ];
  const { steps, evals } = courseOf(events);
  expect([...steps, ...evals].map(({ seconds }) => seconds)).toEqual([21, 28.5, 27.5]);
  expect(runCharts(courseOf(events), "time")[0]!.x).toBe("wall clock (s)");
});

test("a skipped step of an earlier version, which says nothing of its time, takes none", () => {
  const skip = { kind: "skip", step: 2, stage: 0, problem: "NaN", rows: [] } as unknown as TrainEvent;
  expect(courseOf([step(1, 1, 0), skip, step(3, 1, 0)]).steps.at(-1)!.seconds).toBe(2);
});
