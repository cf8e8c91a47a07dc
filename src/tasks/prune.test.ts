/**
 * @file XPrompt whole on the fake engine: what it leaves in its folder is a run's result like any other, told again from the files.
 */
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, describe, expect, test } from "vitest";
import { fakeConfig, fakeEngine, fakeRows, fakeTask, fakeTokenizer } from "../../test/helpers/fake-engine.js";
import { scratch } from "../../test/helpers/job.js";
import { loadAdapter } from "../adapter/adapter.js";
import type { Dataset } from "../data/row.js";
import { evaluate, majorityBaseline, scoredRows } from "../evaluate/evaluate.js";
import { fullModel } from "../model/partial.js";
import { type PruneResult, readPruneResult } from "../prune/record.js";
import { scoreText } from "../report/format.js";
import { prunePage, pruneText } from "../report/prune.js";
import { readResult } from "../run/result.js";
import { openAdapter } from "./adapter-place.js";
import type { Model } from "./model.js";
import { type Pruned, prune } from "./prune.js";
import { readMetrics, readPredictions } from "./recorded.js";
import { writeReport } from "./run-report.js";
import { tune } from "./tune.js";

const root = scratch("prune");
afterAll(() => rmSync(root, { recursive: true, force: true }));
const data: Dataset = {
  task: fakeTask,
  train: fakeRows(24),
  validation: fakeRows(30, "validation.jsonl"),
  test: [],
  files: [{ path: "train.jsonl", sha256: "2".repeat(64), rows: 24 }],
  skipped: 0,
};
const options = {
  ...{ virtualTokens: 4, init: "uniform" as const, steps: 6, batchSize: 8, microBatchSize: 8, evalEvery: 3 },
  ...{ learningRate: 0.05, pieces: 4, tokensPruned: [1, 2], piecesPruned: [1, 2], workers: 1 },
};
const { encoderLayers: L, feedForwardWidth: F } = fakeConfig;

/** With neurons to score; says on how many rows that was done. */
function model(): Model & { scored: number } {
  const counted = { rows: 0 };
  const engine = fakeEngine();
  engine.activations = async () => ({
    run: async (_, { size }) => {
      counted.rows += size;
      return {
        encoder: Float32Array.from({ length: size * L * F }, (_, n) => n % F),
        decoder: new Float32Array(size * L * F),
      };
    },
  });
  return {
    checkpoint: { ...engine.checkpoint, parameters: 1000, bytes: 4000 },
    tokenizer: fakeTokenizer,
    engine,
    device: "cpu",
    dispose: async () => {},
    get scored() {
      return counted.rows;
    },
  };
}

test("pruning makes no adapter larger: the mask and the search's settings take the room of blanks", async () => {
  const sized = { ...options, virtualTokens: 20, tokensPruned: [12], piecesPruned: [2] };
  const { record, adapter } = await prune(model(), data, { ...sized, output: join(root, "pruned") });
  const { pieces, tokensPruned, piecesPruned, workers, ...tuning } = sized;
  const { result } = await tune(model(), data, { ...tuning, output: join(root, "unpruned") });
  expect(adapter.mask).not.toBeNull();
  expect(record.cost.adapterBytes).toBeLessThanOrEqual(result.cost.adapterBytes);
});

test("a search that was stopped does not score the frozen model again", async () => {
  const output = join(root, "stopped");
  const told: string[] = [];
  const go = async (resume: boolean, stopAt?: string) => {
    const stop = new AbortController();
    told.length = 0;
    return prune(model(), data, {
      ...options,
      output,
      onEvent: (event: { kind: string; what?: string }) => {
        if (event.kind === "work") told.push(event.what!);
        if (event.kind === stopAt) stop.abort("SIGINT");
      },
      signal: stop.signal,
      resume,
    });
  };
  const scored = () => told.filter((what) => what.startsWith("scoring the frozen model")).length;
  await expect(go(false, "retrained")).rejects.toMatchObject({ kind: "interrupted" });
  expect(scored()).toBe(1);
  const resumed = await go(true);
  expect(scored()).toBe(0);
  expect(resumed.record.baseline.noPrompt!.accuracy).toEqual(expect.any(Number));
});

test("a search that goes on needs its folder", async () => {
  await expect(prune(model(), data, { ...options, resume: true })).rejects.toThrow(
    /prune\(\): there is nothing to resume/,
  );
});

test("a stopped search without a run folder says that nothing is kept, and names no folder that is gone", async () => {
  const stop = new AbortController();
  const onEvent = ({ kind }: { kind: string }) => kind === "retrained" && stop.abort("SIGINT");
  const stopped = prune(model(), data, { ...options, onEvent, signal: stop.signal });
  await expect(stopped).rejects.toThrow(/nothing of it is kept.*output folder goes on/s);
  await expect(stopped).rejects.not.toThrow(/everything done is saved|tmp/);
  await expect(stopped).rejects.toMatchObject({ kind: "interrupted" });
});

describe("result.json", () => {
  const output = join(root, "whole");

  test("is a run's result, with baselines, and the search beside it", async () => {
    const { record, result, report, predictions } = await prune(model(), data, { ...options, output });
    const run = readResult(output);
    expect(readPruneResult(output)).toEqual(record);
    expect(run.run).toMatchObject({ task: "parabola", method: "xprompt", seed: 0 });
    expect(run.scores).toEqual(result.best.scores);
    expect(run.scoredOn).toEqual({ split: "validation", rows: 30 });
    expect(run.baseline.majority).toEqual(majorityBaseline(fakeTask, data.train, data.validation).scores);
    expect(run.baseline.noPrompt!.accuracy).toEqual(expect.any(Number));
    expect(run.where).toMatchObject({ device: "cpu", model: { name: "fake" }, data: data.files });
    const { cost } = run;
    expect(cost.flops / (cost.trainFlops + cost.evalFlops + cost.scoringFlops)).toBeCloseTo(1, 12);
    expect(cost.seconds).toBeCloseTo(cost.trainSeconds + cost.evalSeconds + cost.openSeconds + cost.scoringSeconds, 9);
    // 6 runs of 6 steps: the tuning, the control, four candidates
    expect(cost.paperFlops / result.tuned.cost.paperFlops).toBeCloseTo(6, 9);
    expect(cost.trainedParameters).toBe(result.best.counts.parameters);
    // the chosen prompt was asked once more, which counts: half of what its two evaluations took
    expect(cost.flops - result.cost.total - (await evaluationCost(30, false))).toBeCloseTo(
      result.best.cost.evalFlops / 2,
      3,
    );
    const told = readPredictions(output);
    expect(told.map(({ correct }) => correct)).toEqual(predictions.map(({ correct }) => correct));
    expect(told.map(({ id }) => id)).toEqual(data.validation.map(({ id }) => id));
    expect(told.filter(({ correct }) => correct).length / 30).toBeCloseTo(run.scores.accuracy!, 12);
    const page = readFileSync(report!, "utf8");
    expect(page).toBe(prunePage(record, told));
    for (const heading of ["Confusion", "Right answers", "Cost", "Where"])
      expect(page).toContain(`<h2>${heading}</h2>`);
  });

  test("the page is made again from the two files alone, to the byte", async () => {
    const page = readFileSync(join(output, "report.html"), "utf8");
    const copy = join(root, "copy");
    mkdirSync(copy);
    for (const file of ["result.json", "predictions.jsonl"])
      writeFileSync(join(copy, file), readFileSync(join(output, file)));
    expect(readFileSync(await writeReport(copy), "utf8")).toBe(page);
  });

  const changes: Record<string, [change: (search: Search) => Partial<Search>, message: RegExp]> = {
    "a mask of another prompt": [({ mask }) => ({ mask: { ...mask!, tokens: "11" } }), /cannot be read|another prompt/],
    "a mask of other letters": [
      ({ mask }) => ({ mask: { ...mask!, tokens: mask!.tokens.replace(/./, "2") } }),
      /mask's tokens cannot be read/,
    ],
    "pieces that do not fit": [
      ({ importance }) => ({ importance: { ...importance, pieces: importance.pieces.slice(1) } }),
      /15 piece scores for 4 tokens/,
    ],
    "no such candidate": [() => ({ best: "t99" }), /no candidate is called t99/],
    "words for a number": [({ cost }) => ({ cost: { ...cost, total: "much" as never } }), /search\.cost\.total/],
    "no candidates": [() => ({ candidates: undefined as never }), /search\.candidates/],
  };
  test.each(Object.keys(changes))("%s: refused by name, never drawn", async (name) => {
    const [change, message] = changes[name]!;
    const folder = join(root, name.replaceAll(" ", "-"));
    mkdirSync(folder);
    const found = JSON.parse(readFileSync(join(output, "result.json"), "utf8"));
    writeFileSync(
      join(folder, "result.json"),
      JSON.stringify({ ...found, search: { ...found.search, ...change(found.search) } }),
    );
    await expect(writeReport(folder)).rejects.toMatchObject({ kind: "run", message: expect.stringMatching(message) });
  });
});

type Search = PruneResult["search"];

/** What scoring the chosen prompt once more took: the evaluations that are no training's. */
function finalFlops({ tuned, control, candidates }: Pruned["result"], { cost }: PruneResult): number {
  return cost.evalFlops - [tuned, control, ...candidates].reduce((sum, of) => sum + of.cost.evalFlops, 0);
}

/** What one evaluation of so many validation rows costs: without a prompt, or with one of four tokens. */
async function evaluationCost(rows: number, prompted: boolean): Promise<number> {
  const { engine } = model();
  const prompt = prompted ? { prompt: { shape: [4, 8], data: new Float32Array(32) } } : null;
  const scored = scoredRows(data.validation, { maxEvalRows: rows });
  // in passes of four micro-batches, as the tasks evaluate
  return (await evaluate(engine, fullModel(fakeConfig), fakeTokenizer, fakeTask, scored, prompt, { batchSize: 32 }))
    .flops;
}

test("baselines cost an evaluation only where asked for", async () => {
  const { record } = await prune(model(), data, { ...options, baselines: false });
  expect(record.baseline.noPrompt).toBeNull();
  expect(record.baseline.majority).not.toBeNull();
});

test("the cost holds the neuron scores, which are made once for the tuning and the retrainings", async () => {
  const fpt = { schedule: "fpt-fr" as const, retrainSchedule: "fpt-fr" as const };
  for (const output of [undefined, join(root, "neurons")]) {
    const own = model();
    const { record, result } = await prune(own, data, { ...options, ...fpt, output });
    expect(own.scored).toBe(30);
    expect(result.cost.neurons).toBeGreaterThan(0);
    const { neurons, retrainNeurons, tuning, scoring, control, search, total } = result.cost;
    expect(retrainNeurons).toBe(0);
    expect(total).toBe(neurons + tuning + scoring + control + search);
    expect(record.cost.flops).toBeCloseTo(total + finalFlops(result, record), 3);
    expect(record.cost.scoringFlops).toBe(neurons + scoring);
  }
});

test("a tuning's metrics count what its result counts: training, evaluations, neuron scores; its stages have their costs", async () => {
  const output = join(root, "counted");
  const tuning = {
    ...({ virtualTokens: 4, init: "uniform", steps: 6, evalEvery: 3, schedule: "fpt-fr" } as const),
    microBatchSize: 8,
  };
  const { result } = await tune(model(), data, { ...tuning, output });
  const { cost } = result;
  const [first, ...rest] = readMetrics(output).filter((event) => event.kind === "step" || event.kind === "eval");
  const last = rest.at(-1)!;
  const [bare, final] = [await evaluationCost(30, false), await evaluationCost(30, true)];
  expect(first!.totalFlops - first!.flops).toBeCloseTo(cost.scoringFlops + bare, 3);
  expect(cost.scoringFlops).toBeGreaterThan(0);
  expect(last).toMatchObject({ kind: "eval", flops: cost.trainFlops, paperFlops: cost.paperFlops });
  // the kept prompt is scored after the last event
  expect((last.totalFlops + final) / cost.flops).toBeCloseTo(1, 12);
  expect(cost.flops).toBe(cost.trainFlops + cost.evalFlops + cost.scoringFlops);
  const sum = (of: (stage: (typeof cost.perStage)[number]) => number) => cost.perStage.reduce((s, v) => s + of(v), 0);
  expect(cost.perStage.length).toBeGreaterThan(1);
  expect(sum((s) => s.steps)).toBe(6);
  const parts = cost.readSeconds! + cost.evalSeconds + cost.scoringSeconds;
  expect(sum((s) => s.seconds + s.openSeconds) + parts).toBeCloseTo(cost.seconds, 9);
  expect(cost.readSeconds).toBeGreaterThan(0);
  expect(cost.evalSeconds).toBeGreaterThan(sum((s) => s.evalSeconds));
  expect(readFileSync(join(output, "report.html"), "utf8")).toContain("<h2>Stages</h2>");
});

test("neuron scores that the retrainings alone need are not charged to the tuning", async () => {
  const { record, result } = await prune(model(), data, { ...options, retrainSchedule: "fpt-fr" });
  const { neurons, retrainNeurons, total } = record.search.cost;
  expect([neurons, retrainNeurons > 0]).toEqual([0, true]);
  expect(record.cost.flops).toBeCloseTo(total + finalFlops(result, record), 3);
  expect(record.cost.scoringFlops).toBe(retrainNeurons + record.search.cost.scoring);
});

describe("what options alone make impossible is refused before anything is scored, and makes no folder", () => {
  test.each<[string, object, RegExp]>([
    ["pieces that do not divide the width", { pieces: 7 }, /7/],
    ["more tokens than there are", { tokensPruned: [30] }, /nothing would survive/],
    ["a budget for no two candidates", { search: "halving", halvingBudget: 0.1 }, /even two candidates/],
    ["a step that is never made", { rewindTo: "step:9" }, /no such point to rewind to/],
    ["a point that is none", { rewindTo: "end" }, /no such point to rewind to/],
    ["a depth to score on that the model has not", { importanceDepth: 9 }, /cannot keep 9 of 4 layers/],
    ["a holdout of no row", { holdout: 0.001 }, /too few rows/],
    ["a custom retraining without sizes", { retrainSchedule: "custom" }, /needs the sizes/],
    ["a budget that the retraining cannot meet", { schedule: "vanilla", budget: 0.5 }, /needs partial stages/],
    ["text to start from that is not given", { init: "text" }, /needs initText/],
    [
      "a start that another init reads",
      { init: "sampledVocab", initRange: 0.5 },
      /initRange has no effect[\s\S]*init uniform/,
    ],
    [
      "token counts of a search for pieces",
      { level: "pieces" },
      /tokensPruned has no effect[\s\S]*--level both or tokens/,
    ],
    ["piece counts of a search for tokens", { level: "tokens" }, /piecesPruned has no effect/],
    [
      "pieces scored again where all is",
      { search: "iterative", rescorePieces: true },
      /rescorePieces[\s\S]*scores once/,
    ],
    ["a budget of halving elsewhere", { halvingBudget: 0.6 }, /halvingBudget[\s\S]*--search halving/],
  ])("%s", async (name, more, message) => {
    const output = join(root, name.replaceAll(" ", "-"));
    const told: string[] = [];
    const observe = ({ kind }: { kind: string }) => told.push(kind);
    await expect(prune(model(), data, { ...options, ...more, output, onEvent: observe })).rejects.toMatchObject({
      kind: "usage",
      message: expect.stringMatching(message),
    });
    expect(told).toEqual([]);
    expect(existsSync(output)).toBe(false);
  });

  test("a method whose result alone can be pruned: the message says how", async () => {
    const searched = (method: string) => prune(model(), data, { ...options, method } as object);
    await expect(searched("p-tuning")).rejects.toThrow(/prompt, prefix[\s\S]*--init fromPrompt --init-from RUN/);
    await expect(searched("lora")).rejects.not.toThrow(/--init-from/);
  });
});

test.each([
  ["search.json", "prune"],
  ["run.json", "train"],
])("a folder with %s and no adapter says how to go on", async (begun, command) => {
  const folder = join(root, `without-adapter-${command}`);
  mkdirSync(folder);
  writeFileSync(join(folder, begun), "{}");
  const refused = (hint: string) => ({
    kind: "adapter",
    problem: "this run has left no adapter yet",
    parts: { hint: expect.stringContaining(hint) },
  });
  // a program's run has no configuration that a command could read
  await expect(openAdapter(folder)).rejects.toMatchObject(refused("the same call with resume: true"));
  writeFileSync(join(folder, "config.yaml"), "steps: 1\n");
  await expect(openAdapter(folder)).rejects.toMatchObject(refused(`softprompt ${command} --resume`));
  mkdirSync(join(folder, "adapter"));
  await expect(openAdapter(folder)).rejects.toThrow(/this is not an adapter/);
});

describe("steps that the stages count", () => {
  const staged = { ...options, schedule: "fpt-ld", stageSteps: [1, 1, 1, 2], steps: 50 } as const;

  test("the control and every candidate train as long as the tuning, and the record says so", async () => {
    const { result, record } = await prune(model(), data, staged);
    expect(result.tuned.steps).toBe(5);
    expect(result.control.steps).toBe(5);
    expect(result.candidates.map(({ steps }) => steps)).toEqual(result.candidates.map(() => 5));
    expect(record.run.options).toMatchObject({ steps: 5 });
  });

  test("retrainings by the same stages cannot be of another length", async () => {
    const other = { ...staged, retrainSchedule: "fpt-ld", retrainSteps: 3 } as const;
    await expect(prune(model(), data, other)).rejects.toThrow(/retrainings' steps are given twice/);
  });
});

test("with a holdout neurons are scored on training rows, and the record says so", async () => {
  const held = { ...options, schedule: "fpt-fr", holdout: 0.25, scoreSplit: "validation" } as const;
  const { record, adapter } = await prune(model(), data, held);
  expect(record.run.options).toMatchObject({ scoreSplit: "train" });
  expect(adapter.training?.settings).toMatchObject({ scoreSplit: "train" });
});

describe("two searches in one folder", () => {
  const wide = {
    ...options,
    // so fast that it is best long before the end
    learningRate: 3,
    steps: 24,
    evalEvery: 24,
    maxEvalRows: 4,
    tokensPruned: [1, 2, 3],
    piecesPruned: [1, 2, 3],
  };
  const halving = { ...wide, search: "halving", halvingMinSteps: 1, halvingBudget: 0.6 } as const;
  const grid = { ...wide, search: "grid" } as const;
  const asked = (folder: string, what: typeof halving | typeof grid, resume: boolean) =>
    prune(model(), data, { ...what, output: join(root, folder), resume, configText: `search: ${what.search}\n` });

  test("what halving saw at its rungs chooses no prompt: grid after it says what grid says alone", async () => {
    await asked("halved", halving, false);
    const after = await asked("halved", grid, true);
    const alone = await asked("gridded", grid, false);
    const told = ({ result }: typeof alone) =>
      result.candidates.map(({ name, score, bestStep, prompt }) => ({ name, score, bestStep, prompt }));
    expect(told(after)).toEqual(told(alone));
    expect(after.result.mean).toEqual(alone.result.mean);
    expect(after.result.candidates.every(({ bestStep }) => bestStep === 24)).toBe(true);
  });

  test("halving after grid drops most and counts them so far; the configuration is the newer one", async () => {
    await asked("both", grid, false);
    const { result } = await asked("both", halving, true);
    const finished = result.candidates.filter((candidate) => candidate.finished);
    expect(result.mean.count).toBe(finished.length);
    expect(finished.length).toBeLessThan(result.candidates.length / 2);
    expect(finished.map(({ name }) => name)).toContain(result.best.name);
    const fresh = await asked("fresh", halving, false);
    // the candidates read back are without the evaluations at rungs
    expect(result.cost.search).toBeLessThanOrEqual(fresh.result.cost.search);
    expect(result.cost.search).toBeGreaterThan(0.7 * fresh.result.cost.search);
    expect(readFileSync(join(root, "both", "config.yaml"), "utf8")).toBe("search: halving\n");
  });
});

describe("the tuning of a run", () => {
  const { pieces, tokensPruned, piecesPruned, workers, ...tuning } = options;
  /** A search from it; what was told meanwhile. */
  const searched = async (from: string, output: string, more: object = {}) => {
    const told: string[] = [];
    const onEvent = ({ kind }: { kind: string }) => told.push(kind);
    const failed = await prune(model(), data, { ...options, from, output, onEvent, ...more }).then(
      () => null,
      (error: unknown) => error,
    );
    return { failed, told };
  };
  const snapshots = (folder: string) => readdirSync(join(folder, "snapshots"));

  test("is taken as it is: no step is made in its folder", async () => {
    const [from, output] = [join(root, "source"), join(root, "from-source")];
    await tune(model(), data, { ...tuning, output: from });
    const before = [snapshots(from), readFileSync(join(from, "metrics.jsonl"), "utf8")];
    const { failed } = await searched(from, output);
    expect(failed).toBeNull();
    expect([snapshots(from), readFileSync(join(from, "metrics.jsonl"), "utf8")]).toEqual(before);
  });

  test("is refused before anything is scored and before there is a folder, where it cannot be taken", async () => {
    const [from, output] = [join(root, "source-longer"), join(root, "from-longer")];
    const refused = async (message: RegExp, source = from, more = {}) => {
      const { failed, told } = await searched(source, output, more);
      expect(failed).toMatchObject({ kind: "run", message: expect.stringMatching(message) });
      expect(told).toEqual([]);
      expect(existsSync(output)).toBe(false);
    };
    await refused(/there is no result yet/, join(root, "nowhere"));
    await tune(model(), data, { ...tuning, output: from });
    await refused(/held out/, from, { holdout: 0.25 });
    await refused(/changed since it began: settings.learningRate/, from, { learningRate: 1 });
    const stop = new AbortController();
    const observe = (event: { kind: string; step?: number }) => {
      if (event.kind === "step" && event.step === 8) stop.abort("SIGINT");
    };
    const further = { ...tuning, output: from, resume: true, further: true, steps: 3000 };
    await tune(model(), data, { ...further, onEvent: observe, signal: stop.signal });
    const before = snapshots(from);
    for (const steps of [6, 3000])
      await refused(
        /the run is not finished[\s\S]*6 steps and a state of step 8[\s\S]*same call with resume: true/,
        from,
        {
          steps,
        },
      );
    expect(snapshots(from)).toEqual(before);
  });
});

test("a rewinding to a step that the tuning never reached is refused before anything is scored", async () => {
  const events: string[] = [];
  const observe = (event: { kind: string; phase?: string }) => {
    if (event.kind === "phase") events.push(event.phase!);
  };
  const early = { ...options, steps: 12, evalEvery: 1, patience: 1, learningRate: 1e-9, rewindTo: "step:11" as const };
  await expect(prune(model(), data, { ...early, output: join(root, "early"), onEvent: observe })).rejects.toMatchObject(
    {
      kind: "run",
      problem: "the prompt of that step was not kept",
    },
  );
  expect(events).toEqual(["tune"]);
});

test("weights that change on disk during the search are found out, and no adapter is left", async () => {
  const output = join(root, "changed");
  const changing = model();
  const checkpoint = {
    ...changing.checkpoint,
    sha256: async (how?: { fresh?: boolean }) => (how?.fresh ? "b" : "a").repeat(64),
  };
  await expect(prune({ ...changing, checkpoint }, data, { ...options, output })).rejects.toMatchObject({
    kind: "checkpoint",
    problem: expect.stringContaining("changed during the run"),
  });
  expect(existsSync(join(output, "adapter"))).toBe(false);
});

test("the pass for importance says how far it is", async () => {
  const told: string[] = [];
  const onEvent = (event: { kind: string; phase?: string; done?: number; total?: number }) => {
    if (event.kind === "phase") told.push(event.phase!);
    if (event.kind === "rows" && told.at(-1) !== "tune") told.push(`${event.done}/${event.total}`);
  };
  await prune(model(), data, { ...options, baselines: false, onEvent });
  const [from, to] = ["score", "control"].map((phase) => told.indexOf(phase));
  expect(told.slice(from! + 1, to)).toEqual(["0/24", "8/24", "16/24", "24/24"]);
});

test("another search's folder is refused before the frozen model is scored", async () => {
  const output = join(root, "others");
  await prune(model(), data, { ...options, output, baselines: false });
  const told: string[] = [];
  const again = prune(model(), data, { ...options, output, onEvent: ({ kind }) => told.push(kind) });
  await expect(again).rejects.toThrow(/already holds a search/);
  expect(told).toEqual([]);
});

test("a second prune into the folder is refused before it does anything", async () => {
  const output = join(root, "twice");
  const first = prune(model(), data, { ...options, output });
  const late = model();
  await expect(prune(late, data, { ...options, output, schedule: "fpt-fr" })).rejects.toMatchObject({ kind: "run" });
  expect(late.scored).toBe(0);
  await first;
});

test("rows: a cap bounds what is reported and the baselines too, with a holdout as without; finalEvalRows says otherwise", async () => {
  const capped = await prune(model(), data, { ...options, maxEvalRows: 7 });
  expect(capped.record.scoredOn.rows).toBe(7);
  expect(capped.record.search.selection).toEqual({ split: "validation", rows: 7, reportedRows: 7 });
  const seventh = 7 * capped.record.baseline.noPrompt!.accuracy!;
  expect(Math.abs(seventh - Math.round(seventh))).toBeLessThan(1e-9);
  const bounded = await prune(model(), data, { ...options, maxEvalRows: 3, holdout: 0.25 });
  expect(bounded.record.search.selection).toEqual({ split: "holdout", rows: 3, reportedRows: 3 });
  const { cost } = bounded.record;
  const three = await evaluationCost(3, true);
  expect(bounded.result.cost.reporting).toBe(3 * three);
  // and the chosen prompt once more, for what it says to each row
  expect(cost.flops).toBe(bounded.result.cost.total + (await evaluationCost(3, false)) + three);
  expect(cost.flops).toBe(cost.trainFlops + cost.evalFlops + cost.scoringFlops);
  const all = await prune(model(), data, { ...options, maxEvalRows: 7, finalEvalRows: 0 });
  expect(all.record.search.selection).toEqual({ split: "validation", rows: 7, reportedRows: 30 });
  expect(all.record.scoredOn.rows).toBe(30);
  const held = await prune(model(), data, { ...options, maxEvalRows: 3, finalEvalRows: 0, holdout: 0.25 });
  expect(held.record.scoredOn.rows).toBe(30);
  expect(held.record.search.selection).toEqual({ split: "holdout", rows: 3, reportedRows: 30 });
  expect(pruneText(held.record)).toContain("Chosen on 3 holdout rows");
  expect(pruneText(held.record)).toContain("30 validation rows that are reported");
});

test("without rows to choose by, a search is refused before anything runs", async () => {
  const own = model();
  await expect(prune(own, { ...data, validation: [] }, options)).rejects.toMatchObject({
    kind: "usage",
    parts: { where: "holdout", hint: expect.stringContaining("--holdout 0.1") },
  });
  expect(own.scored).toBe(0);
  // with rows held out it chooses by them
  const { record } = await prune(model(), { ...data, validation: [] }, { ...options, holdout: 0.25 });
  expect(record.search.selection).toMatchObject({ split: "holdout" });
});

test("the summary of a task that is chosen by the mean of its metrics has its scores; one candidate has no deviation", async () => {
  const { record } = await prune(model(), data, { ...options, tokensPruned: [1], piecesPruned: [], level: "tokens" });
  expect(pruneText(record)).toContain(scoreText(record.search.reported.best.accuracy!));
  expect(pruneText(record)).not.toMatch(/mean selection score of 1 candidate.*±/);
  const both = { accuracy: 0.5, f1: 0.25 };
  const { search, baseline } = record;
  const text = pruneText({
    ...record,
    baseline: { ...baseline, majority: both, noPrompt: both },
    search: { ...search, metric: "mean of accuracy, f1", reported: { tuned: both, control: both, best: both } },
  });
  // the most frequent label, no prompt, tuned, control, best
  expect(text.split(scoreText(0.375)).length - 1).toBeGreaterThanOrEqual(5);
});

test("a halving search says that the mean is of survivors' selection scores, on the page as in the terminal", async () => {
  const { record } = await prune(model(), data, {
    ...options,
    search: "halving",
    halvingMinSteps: 1,
    halvingBudget: 0.6,
  });
  const finished = record.search.candidates.filter((c) => c.finished);
  expect(finished.length).toBeLessThan(record.search.candidates.length);
  const words = `${finished.length} survivors of ${record.search.candidates.length} candidates`;
  for (const text of [pruneText(record), prunePage(record)]) {
    expect(text).toContain(`mean selection score of ${words}`);
    expect(text).toContain(`among ${words}`);
  }
  expect(record.search.mean.score).toBeCloseTo(finished.reduce((sum, c) => sum + c.score, 0) / finished.length, 12);
});

test("a dropped prompt's adapter loads and answers as the candidate did; its page greys what was pruned", async () => {
  const output = join(root, "dropped");
  const given = { ...options, prunedTokens: "drop" as const, search: "grid" as const };
  const { result, adapter, record } = await prune(model(), data, { ...given, output });
  const { best } = result;
  const loaded = loadAdapter(join(output, "adapter"));
  expect(loaded.training!.settings).toMatchObject({ prunedTokens: "drop", steps: 6 });
  expect(JSON.stringify(loaded.training)).not.toContain(root);
  expect(loaded.prompt).toEqual(best.prompt);
  expect(loaded.prompt.shape[0]).toBe(best.counts.tokens);
  expect(adapter.mask!.tokens.length).toBe(best.counts.tokens);
  const full = fullModel(fakeConfig);
  const { scores } = await evaluate(model().engine, full, fakeTokenizer, fakeTask, data.validation, {
    prompt: loaded.prompt,
  });
  expect(scores).toEqual(best.scores);
  const cells = record.search.importance.pieces.length;
  // every pruned cell has no colour and no number on the map after pruning, and all have one before it
  expect(prunePage(record).split(": none</title>").length - 1).toBe(cells - best.counts.pieces);
  expect(cells).toBeGreaterThan(best.counts.pieces);
});

test("config.yaml is written into a search's own folder, once, and never into somebody else's", async () => {
  const output = join(root, "configured");
  const told = { configText: "steps: 6\n" };
  await prune(model(), data, { ...options, output, baselines: false, ...told });
  expect(readFileSync(join(output, "config.yaml"), "utf8")).toBe("steps: 6\n");
  const again = prune(model(), data, { ...options, output, baselines: false, configText: "steps: 7\n" });
  await expect(again).rejects.toThrow(/already holds a search/);
  expect(readFileSync(join(output, "config.yaml"), "utf8")).toBe("steps: 6\n");
  for (const [name, problem] of [
    ["run.json", /something else than a search/],
    ["adapter", /something else than a search|link/],
  ] as const) {
    const foreign = join(root, `foreign ${name}`);
    mkdirSync(foreign);
    symlinkSync(output, join(foreign, name));
    await expect(prune(model(), data, { ...options, output: foreign, ...told })).rejects.toThrow(problem);
    expect(readdirSync(foreign)).toEqual([name]);
  }
});

test("an adapter folder that became a link while the search went on is not written into", async () => {
  const output = join(root, "linked");
  const elsewhere = join(root, "elsewhere");
  mkdirSync(elsewhere);
  const observe = (event: { kind: string }) => {
    if (event.kind === "scores") symlinkSync(elsewhere, join(output, "adapter"));
  };
  const search = prune(model(), data, { ...options, output, baselines: false, onEvent: observe });
  await expect(search).rejects.toThrow(/this is a link/);
  expect(readdirSync(elsewhere)).toEqual([]);
});
