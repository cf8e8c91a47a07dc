import { expect, test } from "vitest";
import { tinyDataset } from "../../test/helpers/tiny.js";
import { defaults } from "../base/options.js";
import { trainOptions } from "../train/options.js";
import { compareTables } from "./compare.js";
import { studyPage } from "./pages.js";
import { type FinishedRun, rowsText, type Variant } from "./runs.js";
import type { Spread } from "./study.js";

const dataset = tinyDataset();
const variants: Variant[] = [
  { label: "PT", schedule: { schedule: "vanilla" } },
  { label: "FPT-CR", schedule: { schedule: "fpt-cr" } },
];

/** A run of ten steps: PT costs 10 a step; CR two stages of five steps, 2 and 10 a step. */
function run(label: string, seed: number, scores: number[], secondsPerStep: number[]): FinishedRun {
  const perStep = label === "PT" ? [10, 10] : [2, 10];
  const at = (step: number) => perStep[0]! * Math.min(step, 5) + perStep[1]! * Math.max(0, step - 5);
  const history = scores.map((accuracy, i) => {
    const step = 2 * (i + 1);
    const partial = label === "PT" || step > 5 ? "full" : "e2d2";
    return {
      step,
      stage: 0,
      partial,
      loss: 1,
      scores: { accuracy },
      flops: 3 * at(step),
      paperFlops: at(step),
      totalFlops: 3 * at(step) + 20,
      seconds: step,
    };
  });
  const best = Math.max(...history.filter((h) => h.partial === "full").map((h) => h.scores.accuracy));
  const stages = [0, 1].map((i) => ({
    partial: label === "PT" || i === 1 ? "full" : "e2d2",
    steps: 5,
    seconds: 5 * secondsPerStep[i]!,
    evalSeconds: 1,
    // the full model's is paid by who runs first
    openSeconds: i === 0 && label !== "PT" ? 1.5 : 7,
    flops: 15 * perStep[i]!,
    paperFlops: 5 * perStep[i]!,
  }));
  const chosen = {
    parameters: { prompt: { shape: [0, 0], data: new Float32Array() } },
    step: 10,
    scores: { accuracy: best },
  };
  const trainSeconds = stages.reduce((sum, s) => sum + s.seconds, 0);
  return {
    label,
    task: dataset.task.name,
    seed,
    start: chosen.parameters.prompt,
    scoring: label === "PT" ? null : { seconds: 4, flops: 30, examples: 5 },
    result: {
      best: chosen,
      bestOnFull: chosen,
      last: chosen.parameters,
      steps: 10,
      skipped: 0,
      reason: "steps",
      history,
      cost: {
        flops: 3 * at(10) + 20,
        trainFlops: 3 * at(10),
        evalFlops: 20,
        paperFlops: at(10),
        seconds: trainSeconds + 2,
        trainSeconds,
        evalSeconds: 2,
        openSeconds: label === "PT" ? 0 : 2,
        perStage: stages,
      },
    },
  };
}

const tables = (runs: FinishedRun[], seeds: number[]) => compareTables([dataset], seeds, variants, runs, {}).tables;
const mean = (cell: unknown) => (cell as Spread).mean;

// PT costs 100, CR 60. PT's evaluations at or below 60 (steps 2, 4, 6): best 70 and 72. CR: 80 and 70 → Improve +10, −2.
const runs = [
  run("PT", 0, [0.5, 0.7, 0.6, 0.8, 0.7], [2, 2]),
  run("PT", 1, [0.5, 0.6, 0.72, 0.7, 0.74], [2, 2]),
  run("FPT-CR", 0, [0.9, 0.9, 0.6, 0.8, 0.7], [1, 2]),
  run("FPT-CR", 1, [0.3, 0.4, 0.5, 0.6, 0.7], [1, 2]),
];

test("scores, shares and Improve, worked by hand", () => {
  const [table] = tables(runs, [0, 1]);
  const [pt, cr, stopped] = table!.rows;
  const column = (name: string, unit?: string) => table!.columns.findIndex((c) => c.name === name && c.unit === unit);
  expect(mean(pt![column("average")])).toBeCloseTo(77, 10);
  // A partial model's 90 does not count as FPT's score.
  expect(mean(cr![column("average")])).toBeCloseTo(75, 10);
  expect(mean(stopped![column("average")])).toBeCloseTo(71, 10);
  expect(mean(cr![column("FLOPs", "% (papers' count)")])).toBeCloseTo(60, 10);
  expect(mean(cr![column("FLOPs", "% (all products)")])).toBeCloseTo(60, 10);
  // (180 + 20 + 30) / (300 + 20)
  expect(mean(cr![column("FLOPs", "% (with scoring, evaluation)")])).toBeCloseTo((100 * 230) / 320, 10);
  expect(mean(cr![column("wall", "% (training)")])).toBeCloseTo(75, 10);
  expect(mean(cr![column("wall", "% (with growth)")])).toBeCloseTo((100 * 16.5) / 20, 10);
  expect(mean(cr![column("wall", "% (with growth, scoring)")])).toBeCloseTo((100 * 20.5) / 20, 10);
  expect(mean(cr![column("Improve", "points")])).toBeCloseTo(4, 10);
});

test("prompt tuning never evaluated within a method's FLOPs gives no score to compare with, and the study says so", () => {
  // The first evaluation costs 100, CR 60 in all; on seed 1 there is one at 60.
  const late = (r: FinishedRun, from: number): FinishedRun => ({
    ...r,
    result: { ...r.result, history: r.result.history.slice(from) },
  });
  const list = runs.map((r) => (r.label === "PT" ? late(r, r.seed === 0 ? 4 : 2) : r));
  const { tables: found, notes } = compareTables([dataset], [0, 1], variants, list, {});
  const [, cr, stopped] = found[0]!.rows;
  expect(stopped!.slice(1, 3)).toEqual([null, null]);
  expect(cr!.at(-1)).toBeNull();
  expect(notes.join("\n")).toMatch(/before it had spent what FPT-CR did.*smaller --eval-every/);
  const own = compareTables([dataset], [1], variants, list, {});
  expect(mean(own.tables[0]!.rows[2]![1])).toBeCloseTo(72, 10);
  expect(mean(own.tables[0]!.rows[1]!.at(-1))).toBeCloseTo(-2, 10);
  expect(own.notes.join("\n")).not.toMatch(/eval-every/);
});

test("the full model's opening is counted for none, whoever ran first; partial models' is", () => {
  const [table] = tables(
    runs.filter((r) => r.seed === 0),
    [0],
  );
  const [pt, cr] = table!.rows;
  const growth = table!.columns.findIndex((c) => c.unit === "% (with growth)");
  expect(mean(pt![growth])).toBe(100);
  expect(mean(cr![growth])).toBeCloseTo((100 * (15 + 1.5)) / 20, 10);
});

test("differences to PT are paired, with their standard error and signs, also at equal looks", () => {
  const early = runs.map((r) =>
    r.label === "PT" && r.seed === 0 ? run("PT", 0, [0.5, 0.9, 0.6, 0.8, 0.7], [2, 2]) : r,
  );
  const found = compareTables([dataset], [0, 1], variants, early, {});
  const [plain, equal, stopped] = found.tables[1]!.rows;
  // 80 − 90 and 70 − 74: mean −7, deviation 4.243, over √2
  expect(plain!.slice(0, 1)).toEqual(["FPT-CR − PT"]);
  expect(plain![1]).toBeCloseTo(40, 10);
  expect(plain![2]).toBeCloseTo(17.5, 10);
  expect(plain![3]).toBeCloseTo(-7, 10);
  expect(plain![4]).toBeCloseTo(3, 10);
  expect(plain!.slice(5)).toEqual([2, "0 / 0 / 2"]);
  // CR is on the full model at steps 6, 8 and 10: there PT's best are 80 and 74
  expect(equal![3]).toBeCloseTo(-2, 10);
  expect(equal![4]).toBeCloseTo(2, 10);
  expect(equal!.slice(5)).toEqual([2, "0 / 1 / 1"]);
  // drawn with twice the standard error, which by the protocol decides
  const drawn = found.dots.find(({ differences }) => differences)!.entries;
  expect(drawn[0]!.name).toBe("FPT-CR − PT");
  expect(drawn[0]!.value!.mean).toBeCloseTo(-7, 10);
  expect(drawn[0]!.value!.deviation).toBeCloseTo(6, 10);
  expect(studyPage(found)).toContain("points, ± twice the standard error");
  expect(stopped![0]).toBe("FPT-CR − PT, stopped at its FLOPs");
  // within CR's FLOPs PT's best are 90 and 72: −10 and −2, mean −6, deviation 5.657, over √2
  expect(stopped![3]).toBeCloseTo(-6, 10);
  expect(stopped![4]).toBeCloseTo(4, 10);
  expect(stopped!.slice(5)).toEqual([2, "0 / 0 / 2"]);
  expect(found.notes.join("\n")).toContain("PT is the best of 5 on the full model, FPT-CR of 3");
  // what a reader needs to do the same
  const line = (name: string) => found.scores!.filter((s) => s.line === name).map((s) => [s.seed, s.score]);
  expect(line("PT")).toEqual([
    [0, 90],
    [1, 74],
  ]);
  expect(line("PT, equal looks with FPT-CR")).toEqual([
    [0, 80],
    [1, 74],
  ]);
  expect(compareTables([dataset], [0], variants, early, {}).tables[1]!.rows[0]!.slice(4)).toEqual([
    null,
    1,
    "0 / 0 / 1",
  ]);
});

test("a control at equal FLOPs with scoring has what neuron scores cost as well", () => {
  // in all products CR's training is 180 and its scores 90, so PT, at 30 a step, has its evaluation at step 8 too (240), but not that at 10
  const scored = runs.map((r) => (r.scoring === null ? r : { ...r, scoring: { ...r.scoring, flops: 90 } }));
  const { tables: found, scores, notes } = compareTables([dataset], [0, 1], variants, scored, {});
  const rowOf = (name: string) => found[1]!.rows.find(([first]) => first === `FPT-CR − PT, ${name}`)!;
  // 80 − 70 and 70 − 72
  expect(rowOf("stopped at its FLOPs")[3]).toBeCloseTo(4, 10);
  // 80 − 80 and 70 − 72
  expect(rowOf("stopped at its FLOPs with scoring")[3]).toBeCloseTo(-1, 10);
  expect(rowOf("stopped at its FLOPs with scoring").slice(5)).toEqual([2, "0 / 1 / 1"]);
  const each = scores!.filter(({ line }) => line === "PT, stopped at FPT-CR's FLOPs with scoring");
  expect(each.map(({ score }) => score)).toEqual([80, 72]);
  expect(notes.join("\n")).toMatch(/With scoring. counts all products/);
});

test("a stage's seconds are its steps at the median pace over seeds, so one disturbed run says little", () => {
  const three = [
    ...runs,
    run("PT", 2, [0.5, 0.5, 0.5, 0.5, 0.5], [50, 50]),
    run("FPT-CR", 2, [0.5, 0.5, 0.5, 0.5, 0.5], [1, 2]),
  ];
  const [table] = tables(three, [0, 1, 2]);
  const wall = table!.columns.findIndex((c) => c.unit === "% (training)");
  expect(mean(table!.rows[1]![wall])).toBeCloseTo(75, 10);
});

test("a table's foot says how many validation rows were scored: the capped ones, or those that are reported", () => {
  const rows = tinyDataset(24, 12);
  const settings = { ...defaults(trainOptions), maxEvalRows: 5 };
  expect(rowsText(rows, settings)).toBe("parity: 24 rows, 5 of 12 validation");
  expect(rowsText(rows, settings, true)).toBe("parity: 24 rows, 5 of 12 validation");
  expect(rowsText(rows, { ...settings, finalEvalRows: 0 }, true)).toBe("parity: 24 rows, 12 validation");
  expect(rowsText(rows, defaults(trainOptions))).toBe("parity: 24 rows, 12 validation");
});

test("every score behind the tables is there by seed, prompt tuning's at equal FLOPs too", () => {
  const { tables: found, scores = [] } = compareTables([dataset], [0, 1], variants, runs, {});
  const own = scores.filter(({ line }) => line === "PT at FPT-CR's FLOPs");
  // the best of PT's evaluations at or below 60, as above
  expect(own.map(({ seed, score }) => [seed, score])).toEqual([
    [0, 70],
    [1, 72],
  ]);
  const row = found[0]!.rows.find(([name]) => name === own[0]!.line)!;
  expect(mean(row[1])).toBeCloseTo(71, 10);
});

test("a curve is the mean over seeds at the steps where all of them were evaluated", () => {
  // a plateau ended seed 0's stage at step 4, and seed 1's at step 5
  const at = (r: FinishedRun, steps: number[]): FinishedRun => ({
    ...r,
    result: { ...r.result, history: r.result.history.map((entry, i) => ({ ...entry, step: steps[i]! })) },
  });
  const list = runs.map((r) => (r.seed === 0 ? at(r, [2, 4, 6, 8, 10]) : at(r, [2, 5, 6, 8, 10])));
  const { charts } = compareTables([dataset], [0, 1], variants, list, {});
  const { points } = charts[0]!.series[0]!;
  // PT: (50 + 50) / 2, (60 + 72) / 2, (80 + 70) / 2, (70 + 74) / 2
  expect(points.map(([step, score]) => [step, Math.round(score)])).toEqual([
    [2, 50],
    [6, 66],
    [8, 75],
    [10, 72],
  ]);
});
