import { expect, test } from "vitest";
import { defaults, readOptions } from "../base/options.js";
import { t5Shape } from "../model/t5/shapes.js";
import { boundaries, totalSteps } from "../train/stage.js";
import { type ScheduleOptions, scheduleOptions } from "./options.js";
import { presets } from "./presets.js";
import { leastFullShare, makeSchedule, needsNeuronScores, scheduleShare } from "./schedule.js";

const large = t5Shape("large");
const xl = t5Shape("xl");
const papers = { batch: 32, prompt: 20, input: 492, target: 5 };
const make = (given: Record<string, unknown>, config = large, freeText = false) =>
  makeSchedule(readOptions(scheduleOptions, { neuronChoice: "first", ...given }, "test"), {
    config,
    freeText,
    scores: null,
  });

test("vanilla is one stage on the full model", () => {
  const { stages, resetOptimizerOnGrow, plateau } = make({ steps: 30000 });
  expect(stages.map((s) => [s.partial.name, s.steps])).toEqual([["full", 30000]]);
  expect([resetOptimizerOnGrow, plateau]).toEqual([false, null]);
});

// fpt.md §4, the table's two rows
test.each([
  ["large", 30000, [6000, 12000, 18000, 30000], [704, 1408, 2112]],
  ["xl", 15000, [3000, 6000, 9000, 15000], [1280, 2560, 3840]],
] as const)("the papers' schedule on %s", (model, steps, ends, widths) => {
  const config = t5Shape(model);
  const ld = make({ schedule: "fpt-ld", steps }, config);
  expect(boundaries(ld)).toEqual(ends);
  expect(ld.stages.map((s) => s.partial.stacks.encoder!.layers.length)).toEqual([6, 12, 18, 24]);
  expect(ld.stages.every((s) => s.partial.stacks.decoder!.layers.length === 24)).toBe(true);
  const fr = make({ schedule: "fpt-fr", steps }, config);
  expect(fr.stages.map((s) => s.partial.stacks.encoder!.neurons?.[0]?.length)).toEqual([...widths, undefined]);
  const cr = make({ schedule: "fpt-cr", steps }, config, true);
  expect(
    cr.stages.map((s) => [s.partial.stacks.decoder!.layers.length, s.partial.stacks.decoder!.neurons?.[0]?.length]),
  ).toEqual([
    [6, widths[0]],
    [12, widths[1]],
    [18, widths[2]],
    [24, undefined],
  ]);
});

test("XL variants of the presets reproduce Table 2's FLOPs averaged over the five tasks", () => {
  const percent = (schedule: string) => {
    const shares = [5, 5, 200, 200, 512].map((target) => {
      const made = make({ schedule, steps: 15000 }, xl, target !== 5);
      return scheduleShare(xl, made, { ...papers, target }).paper;
    });
    return ((100 * shares.reduce((a, b) => a + b, 0)) / 5).toFixed(1);
  };
  const names = Object.keys(presets).filter((n) => n.includes("-xl-"));
  expect(Object.fromEntries(names.map((n) => [n, percent(n)]))).toEqual({
    "fpt-ld-xl-a": "86.1",
    "fpt-cr-xl-a": "73.8",
    "fpt-ld-xl-b": "86.1",
    "fpt-cr-xl-b": "74.5",
    "fpt-ld-xl-c": "86.1",
    "fpt-cr-xl-c": "74.0",
  });
});

test("fpt-one is one partial stage, and saves more than fpt-cr by the papers' count", () => {
  const small = t5Shape("small");
  const one = make({ schedule: "fpt-one", steps: 100, reduceDecoder: "yes" }, small);
  const sizes = { depths: [small.encoderLayers / 2], widths: [0.25], stageFractions: [0.7] };
  expect(one.stages).toEqual(make({ schedule: "custom", ...sizes, steps: 100, reduceDecoder: "yes" }, small).stages);
  expect(one.stages.map(({ steps }) => steps)).toEqual([70, 30]);
  const saved = (schedule: string) => {
    const shares = [5, 5, 200, 200, 512].map(
      (target) =>
        scheduleShare(large, make({ schedule, steps: 30000 }, large, target !== 5), { ...papers, target }).paper,
    );
    return ((100 * shares.reduce((a, share) => a + 1 - share, 0)) / 5).toFixed(1);
  };
  expect([saved("fpt-cr"), saved("fpt-one")]).toEqual(["34.7", "47.1"]);
});

test("rates of stages: of the partial ones, or of all; 1 is not written, so that runs of before go on", () => {
  const rates = (own: Record<string, unknown>) =>
    make({ schedule: "fpt-ld", steps: 10, ...own }).stages.map(({ rate }) => rate);
  expect(rates({})).toEqual([undefined, undefined, undefined, undefined]);
  expect(rates({ stageRates: [2, 1, 0.5] })).toEqual([2, undefined, 0.5, undefined]);
  expect(rates({ stageRates: [1, 1, 1, 0.25] })).toEqual([undefined, undefined, undefined, 0.25]);
  // a stage of no steps takes its rate with it
  expect(rates({ stageRates: [2, 3, 4], stageSteps: [0, 5, 5] })).toEqual([3, 4]);
  // a budget of 1 leaves the full model alone
  expect(rates({ stageRates: [2, 3, 4, 5], budget: 1 })).toEqual([5]);
  expect(() => rates({ stageRates: [2] })).toThrow(/3 values, or 4/);
  expect(() => make({ schedule: "vanilla", stageRates: [2, 3] })).toThrow(/wrong number of stages/);
});

test("stages in steps or shares, own sizes, and steps that never get lost in rounding", () => {
  const own = make({ schedule: "custom", depths: [0.25, 12], stageSteps: [10, 20], steps: 100 });
  expect(own.stages.map((s) => [s.partial.stacks.encoder!.layers.length, s.steps])).toEqual([
    [6, 10],
    [12, 20],
    [24, 70],
  ]);
  expect(totalSteps(make({ schedule: "fpt-ld", stageSteps: [1, 2, 3, 4] }))).toBe(10);
  for (let steps = 1; steps < 200; steps++) {
    const made = make({ schedule: "fpt-ld", steps });
    expect(totalSteps(made)).toBe(steps);
    expect(made.stages.every((s) => s.steps > 0)).toBe(true);
  }
  const noFull = make({ schedule: "fpt-ld", stageFractions: [0.5, 0.25, 0.25, 0], steps: 8 });
  expect(noFull.stages.map((s) => s.partial.name)).toEqual(["e6d24", "e12d24", "e18d24"]);
});

test.each([
  [{ schedule: "custom" }, /needs the sizes/],
  [{ depths: [0.5] }, /no partial stages/],
  [{ schedule: "custom", depths: [0.5], widths: [0.5, 0.6] }, /different numbers of stages/],
  [{ schedule: "fpt-ld", stageFractions: [0.5, 0.5, 0.5] }, /do not add up/],
  [{ schedule: "fpt-ld", stageFractions: [0.2, 0.2, 0.2, 0.2] }, /do not add up/],
  [{ schedule: "fpt-ld", stageFractions: [0.5] }, /3 values, or 4/],
  [{ schedule: "fpt-ld", stageSteps: [400, 400, 400] }, /at most 1000/],
  [{ schedule: "fpt-ld", stageSteps: [1, 1, 1], stageFractions: [0.1, 0.1, 0.1] }, /given twice/],
  [{ schedule: "fpt-ld", stageSteps: [0, 0, 0, 0] }, /no steps/],
  [{ schedule: "fpt-dl" }, /did you mean "fpt-ld"/],
  [{ budget: 0.5 }, /a budget needs partial stages/],
  [{ schedule: "fpt-cr", budget: 0.7, grow: "plateau" }, /a budget cannot be kept where a plateau/],
  [{ schedule: "fpt-fr", budget: 0.5 }, /cannot spend so little[\s\S]*at least 0\.614/],
])("refuses %j", (given, message) => {
  expect(() => make(given)).toThrow(message);
});

test.each([
  [{ steps: 10.5 }, /steps.*whole number/s],
  [{ steps: Number.NaN }, /steps.*NaN/s],
  // it was a schedule of 105 steps, and the next one of 150
  [{ schedule: "custom", depths: [0.5], steps: 100, stageSteps: [-5] }, /stageSteps.*at least 0/s],
  [{ schedule: "custom", depths: [0.5], steps: 100, stageFractions: [-0.5] }, /stageFractions.*from 0 to 1/s],
  [{ schedule: "fpt-ld", grow: "plateau", plateauPatience: 0 }, /plateauPatience.*at least 1/s],
  [{ schedule: "fpt-ld", stageRates: [1, Number.NaN, 1] }, /stageRates.*at least 0/s],
] as [Partial<ScheduleOptions>, RegExp][])("refuses %j of a program that reads no options", (given, message) => {
  const target = { config: large, freeText: false, scores: null };
  expect(() => makeSchedule({ ...defaults(scheduleOptions), ...given }, target)).toThrow(message);
});

test("however few the steps, a budget leaves a tenth of them to the full model", () => {
  for (let steps = 2; steps <= 40; steps++) {
    const { stages } = make({ schedule: "fpt-cr", budget: 0.35, steps });
    const last = stages.at(-1)!;
    expect([last.partial.name, last.steps >= leastFullShare * steps]).toEqual(["full", true]);
    expect(stages.reduce((sum, stage) => sum + stage.steps, 0)).toBe(steps);
  }
});

test("a budget is met to a thousandth, in the accounting asked for", () => {
  for (const schedule of ["fpt-ld", "fpt-fr", "fpt-cr"])
    for (const budgetBy of ["paper", "total"] as const)
      for (const budget of [0.7, 0.8, 0.95]) {
        const made = make({ schedule, budget, budgetBy, steps: 30000 });
        expect(scheduleShare(large, made, papers)[budgetBy]).toBeCloseTo(budget, 3);
        expect(totalSteps(made)).toBe(30000);
      }
  // Scaled alike, fpt-fr cannot go below 0.743 with a tenth of the steps on the full model: 0.7 moves steps to width ¼.
  const fr = make({ schedule: "fpt-fr", budget: 0.7, steps: 30000 });
  expect(fr.stages.at(-1)!.steps).toBe(3000);
  expect(fr.stages[0]!.steps).toBeGreaterThan(fr.stages[2]!.steps);
  expect(scheduleShare(large, make({ schedule: "fpt-cr", budget: 0.6, steps: 30000 }), papers).paper).toBeCloseTo(
    0.6,
    3,
  );
});

test("the lowest budget named by the error can be met, and leaves the full model its share", () => {
  let lowest = 0;
  try {
    make({ schedule: "fpt-cr", budget: 0.1, steps: 30000 });
  } catch (error) {
    lowest = Number(/at least (0\.\d+)/.exec(String(error))![1]);
  }
  const made = make({ schedule: "fpt-cr", budget: lowest, steps: 30000 });
  expect(made.stages.at(-1)!.steps / 30000).toBeCloseTo(leastFullShare, 2);
});

test("a budget of 1 is vanilla, with the budget's name for the schedule and no scores needed", () => {
  const options = readOptions(scheduleOptions, { schedule: "fpt-cr", budget: 1, steps: 50 }, "test");
  expect(needsNeuronScores(options)).toBe(false);
  const { stages } = makeSchedule(options, { config: large, freeText: false, scores: null });
  expect(stages.map((s) => [s.partial.name, s.steps])).toEqual([["full", 50]]);
});

test("scores are asked for exactly where a choice is by score", () => {
  const needs = (given: Record<string, unknown>) => needsNeuronScores(readOptions(scheduleOptions, given, "test"));
  expect(needs({})).toBe(false);
  expect(needs({ schedule: "fpt-ld" })).toBe(false);
  expect(needs({ schedule: "fpt-ld", layerChoice: "score" })).toBe(true);
  expect(needs({ schedule: "fpt-fr" })).toBe(true);
  expect(needs({ schedule: "fpt-fr", neuronChoice: "first" })).toBe(false);
});

test("plateau growth is a property of the schedule", () => {
  expect(make({ schedule: "fpt-ld", grow: "plateau", plateauPatience: 5 }).plateau).toEqual({
    patience: 5,
    minDelta: 0.002,
  });
});
