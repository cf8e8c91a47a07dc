/**
 * @file Sweeps on a whole decoder-only model. The authority for a setting's score is `tune` on the same rows; for the split, `holdout`.
 */
import { mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { bundle } from "../../test/helpers/bundle.js";
import { tinyCausal } from "../../test/helpers/tiny-causal.js";
import { defaults } from "../base/options.js";
import type { Dataset } from "../data/row.js";
import { holdout } from "../data/split.js";
import { loadRows } from "../tasks/data.js";
import { type OpenModel, openModel } from "../tasks/model.js";
import { tuneOptions } from "../tasks/options.js";
import { tune } from "../tasks/tune.js";
import type { StudyEvent } from "./runs.js";
import { planSweep, rank, type SweepInput, type Swept, sweep, trainInChildren } from "./sweep.js";
import type { Tried } from "./sweep-options.js";

let model: OpenModel;
let data: Dataset;
let folder: string;
beforeAll(async () => {
  model = await openModel(tinyCausal({ family: "gpt2" }), { threads: 1 });
  const words = ["good", "fine", "nice", "best", "glad"].flatMap((word) => [`so ${word}`, `is ${word}`, `a ${word}`]);
  const rows = words.flatMap((text) => [
    { text, label: "a" },
    { text: `not ${text}`, label: "b" },
  ]);
  data = await loadRows(rows, { template: "{text}", validationRows: rows.slice(0, 4), labels: ["a", "b"] });
  folder = mkdtempSync(join(tmpdir(), "sweep-"));
});
afterAll(async () => {
  await model.dispose();
  rmSync(folder, { recursive: true });
});

const few = { steps: 6, evalEvery: 2, batchSize: 4, seeds: [0, 1], searchHoldout: 0.3 } as const;
const grid = { learningRate: [0.01, 0.3], virtualTokens: [2, 3] } as const;
const stepsOf = (events: readonly StudyEvent[]) =>
  events.filter((event) => event.kind === "train" && event.event.kind === "step").length;
/** Without seconds. */
const timeless = ({ settings, best, study }: Swept) => ({
  settings: settings.map((setting) => ({ ...setting, seconds: 0 })),
  best,
  tables: study.tables.map(({ columns, rows }) => rows.map((row) => row.filter((_, n) => columns[n]!.unit !== "s"))),
  scores: study.scores!.map((score) => ({ ...score, seconds: 0 })),
});
async function watched(input: SweepInput): Promise<{ found: Swept; events: StudyEvent[] }> {
  const events: StudyEvent[] = [];
  const found = await sweep(model, data, { ...few, ...input, onEvent: (event) => events.push(event) });
  return { found, events };
}

test("every combination has the score that a training on the same rows keeps, the best first; a second call trains nothing", async () => {
  const output = join(folder, "whole");
  const { found, events } = await watched({ try: grid, output });
  expect(found.settings).toHaveLength(4);
  expect(stepsOf(events)).toBe(4 * 2 * 6);
  const { kept, held } = holdout(data.train, { fraction: 0.3, seed: 0 });
  for (const { values, scores, loss } of found.settings) {
    const tuned = await Promise.all(
      few.seeds.map((seed) =>
        tune(
          model,
          { ...data, train: kept, validation: held },
          {
            ...{ steps: 6, evalEvery: 2, batchSize: 4, seed, baselines: false },
            ...(values as { learningRate: number; virtualTokens: number }),
          },
        ),
      ),
    );
    expect(scores).toEqual(tuned.map(({ result }) => result.scores.accuracy));
    const losses = tuned.map(({ training }) => {
      const { step } = training.bestOnFull!;
      return training.history.find((entry) => entry.step === step)!.loss;
    });
    expect(loss).toBeCloseTo((losses[0]! + losses[1]!) / 2, 12);
  }
  const means = found.settings.map(({ scores }) => (scores[0]! + scores[1]!) / 2);
  expect(means).toEqual([...means].sort((a, b) => b - a));
  const [first] = found.settings;
  expect(found.best).toEqual({ steps: 6, evalEvery: 2, batchSize: 4, ...first!.values });
  const [table, pairs] = found.study.tables;
  expect(table!.rows.map((row) => row.slice(0, 2))).toEqual(
    found.settings.map(({ values }) => [String(values.virtualTokens), String(values.learningRate)]),
  );
  // the difference that is told is that of the scores
  for (const [n, row] of pairs!.rows.entries()) expect(row[1]).toBeCloseTo(100 * (means[n + 1]! - means[0]!), 10);
  const again = await watched({ try: grid, output });
  expect(stepsOf(again.events)).toBe(0);
  expect(again.events.flatMap((event) => (event.kind === "done" ? [event.kept] : []))).toEqual(Array(8).fill(true));
  expect(timeless(again.found)).toEqual(timeless(found));
  // a wider sweep trains what is new
  const wider = await watched({ try: { ...grid, virtualTokens: [2, 3, 4] }, output });
  expect(stepsOf(wider.events)).toBe(2 * 2 * 6);
});

test("the validation rows change nothing", async () => {
  const { found } = await watched({ try: { learningRate: [0.01, 0.3] } });
  const others = { ...data, validation: data.train.slice(7) };
  const other = await sweep(model, others, { ...few, try: { learningRate: [0.01, 0.3] } });
  expect(timeless(other)).toEqual(timeless(found));
});

test("child processes train the same", async () => {
  const output = join(folder, "children");
  const input = { ...few, try: grid, output, workers: 2 };
  const module = await bundle("src/study/unit-worker.ts");
  const told: StudyEvent[] = [];
  await trainInChildren(await planSweep(model, data, { ...input, onEvent: (event) => told.push(event) }), module);
  const done = told.flatMap((event) => (event.kind === "done" ? [event] : []));
  expect(done).toHaveLength(8);
  expect(done.every(({ score, label, kept }) => score >= 0 && label !== undefined && kept === undefined)).toBe(true);
  const { found, events } = await watched({ try: grid, output });
  expect(stepsOf(events)).toBe(0);
  const { found: alone } = await watched({ try: grid });
  expect(timeless(found)).toEqual(timeless(alone));
});

const labels = ({ settings }: Swept) => settings.map(({ label }) => label).sort();

test("a setting that does not read an option stands for all its values, and its options have none of it", async () => {
  const one = await watched({ try: { method: ["prompt", "lora"], loraRank: [1, 2] }, loraAlpha: 4, seeds: [0] });
  expect(labels(one.found)).toEqual(["method lora, loraRank 1", "method lora, loraRank 2", "method prompt"]);
  const planned = await planSweep(model, data, { ...few, try: { method: ["prompt", "lora"] }, loraAlpha: 4 });
  expect(planned.settings.map(({ given, options }) => [given.loraAlpha, options.loraAlpha])).toEqual([
    [undefined, defaults(tuneOptions).loraAlpha],
    [4, 4],
  ]);
  for (const [tried, expected] of [
    [{ method: ["prompt", "lora"], virtualTokens: [2, 3] }, 3],
    [{ method: ["prompt", "lora"], init: ["sampledVocab", "uniform"] }, 3],
    [{ optimizer: ["adafactor", "sgd"], momentum: [0, 0.9] }, 3],
  ] as const) {
    const { settings } = await planSweep(model, data, { ...few, try: tried as Tried });
    expect(settings).toHaveLength(expected);
  }
  const counted = { ...few, steps: undefined, stageSteps: [4], try: { steps: [10, 20] } };
  await expect(planSweep(model, data, counted)).rejects.toMatchObject({
    parts: { where: "try: steps", got: "stageSteps 4" },
  });
});

test("what is given at its default says nothing", async () => {
  const usual = { loraRank: defaults(tuneOptions).loraRank, virtualTokens: 20 };
  const { settings } = await planSweep(model, data, { ...few, ...usual, try: { virtualTokens: [2, 3] } });
  expect(settings).toHaveLength(2);
  await expect(planSweep(model, data, { ...few, loraAlpha: 4, try: { weightDecay: [0.1] } })).rejects.toMatchObject({
    kind: "usage",
    parts: { where: "--lora-alpha", expected: "method lora" },
  });
});

test("a schedule by budget is planned as a tuning of that method plans it", async () => {
  const output = join(folder, "budget");
  const growing = { ...few, steps: 20, schedule: "fpt-cr", budget: 0.9, budgetBy: "total", seeds: [0] } as const;
  await sweep(model, data, { ...growing, try: { method: ["lora", "prompt"] }, output });
  const halves = holdout(data.train, { fraction: 0.3, seed: 0 });
  const rows = { ...data, train: halves.kept, validation: halves.held };
  const stepsIn = (facts: object) => Object.entries(facts).filter(([name]) => /^schedule\..*steps$/.test(name));
  const files = readdirSync(join(output, "runs")).filter((name) => name.endsWith(".json"));
  const kept = files.map((name) => JSON.parse(readFileSync(join(output, "runs", name), "utf8")).body);
  const inputs = kept.flatMap(({ inputs: facts }) => (facts?.["training rows"] === undefined ? [] : [facts]));
  expect(inputs).toHaveLength(2);
  for (const method of ["lora", "prompt"] as const) {
    const run = join(folder, `budget-${method}`);
    const { seeds: _, searchHoldout: __, ...options } = growing;
    await tune(model, rows, { ...options, method, output: run, baselines: false, tensorboard: false });
    const own = inputs.find((facts) => (facts.method ?? "prompt").startsWith(method));
    expect(stepsIn(own)).toEqual(stepsIn(JSON.parse(readFileSync(join(run, "run.json"), "utf8")).identity));
  }
});

test("trainings are found again whatever else was tried, in whatever order, with whatever seeds", async () => {
  const output = join(folder, "again");
  const first = await watched({ try: { learningRate: [0.1, 0.3] }, seeds: [1], output });
  expect(stepsOf(first.events)).toBe(2 * 6);
  const more = await watched({ try: { learningRate: [0.1, 0.3] }, output });
  expect(stepsOf(more.events)).toBe(2 * 6);
  // 20 is what it is without a word
  const named = await watched({ try: { virtualTokens: [20, 2], learningRate: [0.1, 0.3] }, output });
  expect(stepsOf(named.events)).toBe(2 * 2 * 6);
  const turned = await watched({ try: { learningRate: [0.3, 0.1], virtualTokens: [2, 20] }, output });
  expect(stepsOf(turned.events)).toBe(0);
  expect(labels(turned.found)).toEqual(labels(named.found));
});

test("long and foreign words of a setting make no name too long, and none twice", async () => {
  const output = join(folder, "words");
  const texts = ["good ".repeat(80), "goo", "bä", "bö"];
  const tried = { try: { initText: texts }, init: "text", seeds: [0], virtualTokens: 2, output } as const;
  await watched(tried);
  expect(stepsOf((await watched(tried)).events)).toBe(0);
  const names = readdirSync(join(output, "runs"));
  expect(names.filter((name) => name.endsWith("held-out") || !name.includes("."))).toHaveLength(4);
});

test("equal means are ranked by loss, also where their sums differ in the last digits", () => {
  const { settings } = ties;
  expect((0.1 + 0.2 + 0.4) / 3).toBeGreaterThan((0.1 + 0.1 + 0.5) / 3);
  const ranked = rank(settings, ties.runs, [0, 1, 2]);
  expect(ranked.map(({ told }) => told.label)).toEqual(["less loss", "more loss"]);
});

/** Two settings of one mean score. */
const ties = (() => {
  const run = (accuracy: number, loss: number) => {
    const entry = { step: 1, scores: { accuracy }, loss };
    const cost = { flops: 1, seconds: 1 };
    return { result: { history: [entry], best: entry, bestOnFull: entry, skipped: 0, steps: 1, cost }, scoring: null };
  };
  const setting = (label: string) => ({
    label,
    values: { label },
    given: {},
    dataset: { task: { metrics: ["accuracy"] } },
  });
  return {
    settings: [setting("more loss"), setting("less loss")] as unknown as Parameters<typeof rank>[0],
    runs: [
      [0.1, 0.2, 0.4].map((score) => run(score, 0.34)),
      [0.1, 0.1, 0.5].map((score) => run(score, 0.32)),
    ] as unknown as Parameters<typeof rank>[1],
  };
})();

test("one answer for every row is no gain, whatever shares its label has among the rows that are trained on", async () => {
  // no training changes the one answer: 9 of the 13 rows held out are of the label that is rarer in training
  const rows = (label: string, count: number) =>
    Array.from({ length: count }, (_, n) => ({ ...data.train[n]!, id: `${label}${n}`, label }));
  const skewed = { ...data, train: [...rows("a", 20), ...rows("b", 10)] };
  const input = { ...few, learningRate: 1e-9, try: { virtualTokens: [2, 3] } };
  const { study } = await sweep(model, skewed, input);
  const { plan } = await planSweep(model, skewed, input);
  const { validation } = plan.rows;
  const most = Math.max(...["a", "b"].map((label) => validation.filter((row) => row.label === label).length));
  expect(study.notes.join()).toContain(
    `Always these rows' most frequent label: ${((100 * most) / validation.length).toFixed(2)}`,
  );
  const best = Math.max(...study.scores!.map(({ score }) => score!));
  const learnt = best > (100 * most) / validation.length;
  expect(study.notes.join().includes("nothing was learnt")).toBe(!learnt);
  if (!learnt) expect(study.notes.join()).not.toContain("A better value may lie beyond");
});

test("the notes count the rows that are scored", async () => {
  const { found } = await watched({ try: { learningRate: [0.1] }, maxEvalRows: 3, seeds: [0] });
  expect(found.study.notes.join()).toContain("Scores are of 3 training rows that were held out");
});

test("a rate that is too large is warned of, once", async () => {
  const { events } = await watched({ try: { virtualTokens: [2, 3] }, learningRate: 50, seeds: [0] });
  const told = events.filter((event) => event.kind === "train" && event.event.kind === "warning");
  expect(told).toHaveLength(1);
});

test("a training whose numbers go wrong is told and ranked last; where all do, the error says so", async () => {
  const { found, events } = await watched({ try: { learningRate: [1e40, 0.1] }, optimizer: "sgd", clip: 0 });
  expect(found.settings.map(({ values }) => values.learningRate)).toEqual([0.1, 1e40]);
  const [, last] = found.settings;
  expect(last).toMatchObject({ scores: [null, null], loss: null, failed: expect.any(String) });
  expect(events.filter((event) => event.kind === "done" && event.failed !== undefined)).toHaveLength(2);
  const [table] = found.study.tables;
  expect(table!.columns.at(-1)!.name).toBe("failed");
  await expect(watched({ try: { learningRate: [1e40, 2e40] }, optimizer: "sgd", clip: 0 })).rejects.toMatchObject({
    kind: "numeric",
  });
});

test("so many of the combinations are drawn, the same for equal seeds, and the others are told", async () => {
  const wide = { learningRate: [0.01, 0.03, 0.1, 0.3], virtualTokens: [1, 2, 3] };
  const one = await watched({ try: wide, mostSettings: 3, seeds: [0] });
  const two = await watched({ try: wide, mostSettings: 3, seeds: [0] });
  expect(one.found.settings).toHaveLength(3);
  expect(two.found.settings.map(({ label }) => label)).toEqual(one.found.settings.map(({ label }) => label));
  expect(one.found.study.notes.join()).toContain("9 more combinations were not drawn");
  expect(one.found.study.notes.join()).toContain("There is one seed");
});

test("stopped on the way, it says that finished trainings are kept, and goes on", async () => {
  const output = join(folder, "stopped");
  const stop = new AbortController();
  let steps = 0;
  const onEvent = (event: StudyEvent) => {
    if (event.kind === "train" && event.event.kind === "step" && ++steps === 15) stop.abort("SIGINT");
  };
  await expect(sweep(model, data, { ...few, try: grid, output, onEvent, signal: stop.signal })).rejects.toMatchObject({
    kind: "interrupted",
    parts: { hint: expect.stringMatching(/finished runs are kept/) },
  });
  const { events } = await watched({ try: grid, output });
  expect(stepsOf(events)).toBe(6 * 6);
});

test("more combinations than can be gone through are refused, and so many as are drawn are not", async () => {
  const many = Array.from({ length: 300 }, (_, n) => n / 1000);
  const tried = { weightDecay: many, clip: many };
  await expect(planSweep(model, data, { ...few, try: { ...tried, warmupSteps: [0, 1] } })).rejects.toMatchObject({
    kind: "usage",
    parts: { where: "try", got: 180_000 },
  });
  const { settings, left } = await planSweep(model, data, { ...few, try: tried, mostSettings: 2 });
  expect([settings.length, left]).toEqual([2, 89_998]);
});

describe("what cannot be tried is refused before anything is trained or written", () => {
  const cases: readonly (readonly [input: object, parts: object])[] = [
    [{}, { where: "try" }],
    [{ try: {} }, { where: "try" }],
    [{ try: { learningrate: [1] } }, { where: "try: learningrate", hint: 'did you mean "learningRate"?' }],
    [{ try: { seed: [1] } }, { where: "try: seed" }],
    [{ try: { maxEvalRows: [1] } }, { where: "try: maxEvalRows" }],
    [{ try: { output: ["a"] } }, { where: "try: output" }],
    [{ try: { learningRate: [] } }, { where: "try: learningRate" }],
    [{ try: { learningRate: [0.1, "0.2"] } }, { where: "try: learningRate", got: "0.2" }],
    [{ try: { learningRate: [0.1, 0.1] } }, { where: "try: learningRate", got: 0.1 }],
    [
      { try: { learningRate: [0.1] }, learningRate: 0.2 },
      { where: "learningRate", expected: "one of the two" },
    ],
    [{ try: { learningRate: [0.1] }, seeds: [1, 1] }, { where: "seeds" }],
    [{ try: { virtualTokens: [2, 40] } }, {}],
    [
      { try: { initText: ["a", "b"] } },
      { where: "try: initText", hint: "give init text or continuation, or try that too" },
    ],
    [{ try: { insertLayer: [0, 99] } }, {}],
    [{ try: { method: ["prompt", "lora"] }, loraTargets: ["nosuch"] }, {}],
  ];
  test.each(cases)("%j", async (input, parts) => {
    const output = join(folder, "refused");
    const events: StudyEvent[] = [];
    const asked = sweep(model, data, {
      ...few,
      output,
      onEvent: (event: StudyEvent) => events.push(event),
      ...input,
    } as unknown as SweepInput);
    await expect(asked).rejects.toMatchObject({ kind: "usage", parts });
    expect(events).toEqual([]);
    expect(readdirSync(folder)).not.toContain("refused");
  });
});
