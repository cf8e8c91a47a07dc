/**
 * @file The comparison of methods end to end on a tiny checkpoint: what is run and kept, in this process and in others, what chooses a rate,
 * and what the tables say.
 */
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, expect, test } from "vitest";
import { sealed, unsealed } from "../src/base/kept.js";
import { readOptions } from "../src/base/options.js";
import type { Dataset } from "../src/data/row.js";
import { type Engine, openEngine } from "../src/engine/engine.js";
import { openCheckpoint } from "../src/model/checkpoint.js";
import { pruneOptions } from "../src/prune/options.js";
import { neuronScoreOptions } from "../src/schedule/neuron-options.js";
import { scheduleOptions } from "../src/schedule/options.js";
import { comparisonOptions } from "../src/study/method-options.js";
import { bestRate, type ComparisonInput, instructionOf, runUnit, unitsOf } from "../src/study/method-runs.js";
import { compareMethods, inChildren, lastWithin } from "../src/study/methods.js";
import type { StudyEvent } from "../src/study/runs.js";
import type { Spread, StudyResult } from "../src/study/study.js";
import { trainOptions } from "../src/train/options.js";
import { bundle } from "./helpers/bundle.js";
import { tinyDataset, tinyTokenizer } from "./helpers/tiny.js";

let engine: Engine;
const root = mkdtempSync(join(tmpdir(), "methods-"));
beforeAll(async () => {
  const fixture = fileURLToPath(new URL("fixtures/tiny-t5-v11", import.meta.url));
  engine = openEngine(await openCheckpoint(fixture), { threads: 1 });
});
afterAll(async () => {
  await engine.dispose();
  rmSync(root, { recursive: true, force: true });
});

const methods = ["prompt", "lora", "full", "superpos", "fpt-cr", "few-shot", "instruction", "xprompt"] as const;
const other = { ...tinyDataset(16, 8), task: { ...tinyDataset().task, name: "parity2" } };
const comparison = {
  methods,
  rateFactors: [0.5, 1],
  scoreSteps: [2, 4, 9],
  shots: 2,
  loraRank: 2,
  superposBasis: 4,
  instructions: { parity: "5 6", parity2: "7" },
};
const input = (folder: string | null, more: Partial<ComparisonInput> = {}): ComparisonInput => {
  if (folder !== null) mkdirSync(join(root, folder), { recursive: true });
  return {
    engine,
    tokenizer: tinyTokenizer,
    tasks: [tinyDataset(16, 8), other],
    seeds: [0, 1],
    settings: readOptions(trainOptions, { batchSize: 4, microBatchSize: 4, evalEvery: 2, maxInputTokens: 40 }, "test"),
    schedule: readOptions(scheduleOptions, { steps: 4 }, "test"),
    virtualTokens: 4,
    init: { kind: "uniform" },
    scoring: readOptions(neuronScoreOptions, { scoreSplit: "train" }, "test"),
    prune: readOptions(pruneOptions, { pieces: 4, tokensPruned: [1], piecesPruned: [1], workers: 1 }, "test"),
    comparison: readOptions(comparisonOptions, comparison, "test"),
    folder: folder === null ? null : join(root, folder),
    observe: () => undefined,
    ...more,
  };
};
/** Without what a clock said. */
const timeless = (result: StudyResult): unknown =>
  JSON.parse(
    JSON.stringify({
      ...result,
      tables: result.tables.map((table) => ({
        ...table,
        rows: table.rows.map((row) => row.filter((_, i) => table.columns[i]?.unit !== "s")),
      })),
      scores: result.scores?.map(({ seconds: _, ...score }) => score),
    }),
  );
const column = (result: StudyResult, table: number, name: string, unit?: string) =>
  result.tables[table]!.columns.findIndex((c) => c.name === name && c.unit === unit);
const rowOf = (result: StudyResult, table: number, name: string) =>
  result.tables[table]!.rows.find(([first]) => first === name)!;

const stepsOf = (all: StudyEvent[]) => all.filter((e) => e.kind === "train" && e.event.kind === "step").length;

let whole: StudyResult;

test("every method is run on every task and seed; a second call trains nothing and says the same", async () => {
  const events: StudyEvent[] = [];
  whole = await compareMethods(input("whole", { observe: (event) => events.push(event) }));
  // trained ones: two tasks, two rates and two seeds each
  const done = events.filter(({ kind }) => kind === "done").length;
  expect(done).toBe(2 * (5 * (2 + 2) + 2 * 2 + (2 + 2)));
  // four steps each; XPrompt's rates are prompt tuning's, which are read back
  expect(stepsOf(events)).toBeGreaterThanOrEqual(4 * 2 * 5 * 4);
  const again: StudyEvent[] = [];
  const second = await compareMethods(input("whole", { observe: (event) => again.push(event) }));
  expect(stepsOf(again)).toBe(0);
  expect(timeless(second)).toEqual(timeless(whole));
});

test("a rate under which a training breaks down is not chosen, and what it spent until then is the search's", async () => {
  const spentAfter = new Map<number, number>();
  const searched = async (rateFactors: readonly number[], watch = false) => {
    const own = { ...comparison, methods: ["prompt"], rateFactors } as const;
    const observe = (event: StudyEvent) => {
      if (watch && event.kind === "train" && event.event.kind === "step" && !spentAfter.has(event.event.step))
        spentAfter.set(event.event.step, event.event.totalFlops);
    };
    const given = input(null, { seeds: [0], comparison: readOptions(comparisonOptions, own, "test"), observe });
    const [run] = await runUnit(given, unitsOf(given)[0]!, async (_, work) => work());
    return run!.search!;
  };
  const sound = await searched([1, 0.5], true);
  // 3e39 is no float32: every step of it is skipped, and the third stops the training
  const broken = await searched([1, 1e40]);
  expect(broken.tried.map(({ score }) => score === null)).toEqual([false, true]);
  expect(broken.tried.map(({ failed }) => failed)).toEqual([undefined, expect.stringMatching(/^3 steps in a row/)]);
  expect(broken.rate).toBe(sound.tried[0]!.rate);
  expect(broken.flops / (sound.flops / 2 + spentAfter.get(3)!)).toBeCloseTo(1, 12);
  expect(broken.seconds).toBeGreaterThan(0);
});

test("a rate that failed is told of and kept like a result: the search goes on, and a second call trains nothing", async () => {
  const own = { ...comparison, methods: ["prompt"], rateFactors: [1e40, 1] } as const;
  const asked = async () => {
    const events: StudyEvent[] = [];
    const result = await compareMethods(
      input("failed", {
        tasks: [other],
        seeds: [0],
        comparison: readOptions(comparisonOptions, own, "test"),
        observe: (event) => events.push(event),
      }),
    );
    return { events, result };
  };
  const [first, second] = [await asked(), await asked()];
  expect(stepsOf(first.events)).toBe(2 * 4);
  const trained = second.events.flatMap((event) =>
    event.kind === "train" && (event.event.kind === "step" || event.event.kind === "skip") ? [event.event] : [],
  );
  expect(trained).toEqual([]);
  expect(timeless(second.result)).toEqual(timeless(first.result));
  for (const { events, result } of [first, second]) {
    const done = events.filter((event) => event.kind === "done");
    expect(done.map(({ failed }) => failed !== undefined)).toEqual([true, false, false]);
    expect(done[0]!.failed).toMatch(/^3 steps in a row were not finite/);
    expect(done[0]!.score).toBeNaN();
    expect(result.notes.join("\n")).toMatch(
      /Rates whose training failed.*: prompt on parity2, rate 7.5e\+38 \(3 steps in a/,
    );
    expect(result.tables.at(-1)!.rows[0]![3]).toMatch(/^7.5e\+38: failed, 0\.075: \d/);
  }
  // how many runs are left, this one included; how long, once one was computed
  const left = first.events.flatMap((event) => (event.kind === "run" ? [event.left] : []));
  expect(left.map(({ runs }) => runs)).toEqual([3, 2, 1]);
  // a failed one says nothing of a whole one, nor does one that was read back
  expect(left.slice(0, 2).map(({ seconds }) => seconds)).toEqual([null, null]);
  const again = second.events.flatMap((event) => (event.kind === "run" ? [event.left.seconds] : []));
  expect(again).toEqual([null, null, null]);
});

test("a rate under which no step was finite is not taken, also where that are too few steps to end the training", async () => {
  const own = { ...comparison, methods: ["prompt"], rateFactors: [1e40, 1] } as const;
  const asked = input(null, {
    tasks: [other],
    seeds: [0],
    schedule: readOptions(scheduleOptions, { steps: 2 }, "test"),
    comparison: readOptions(comparisonOptions, own, "test"),
  });
  const [unit] = unitsOf(asked);
  const [run] = await runUnit(asked, unit!, (_, work) => work());
  expect(run!.search!.tried).toMatchObject([
    { score: null, failed: "no step was finite" },
    { score: expect.any(Number) },
  ]);
  expect(run!.search!.rate).toBe(run!.search!.tried[1]!.rate);
});

test("only where every rate failed there is an error, of all of them; what is no number is never the best", () => {
  const failed = { rate: 3, score: null, loss: Number.NaN, failed: "3 steps in a row were not finite" };
  const also = { rate: 9, score: null, loss: Number.NaN, failed: "the loss of held out rows is not finite" };
  const [low, high, tied] = [
    { rate: 0.1, score: 0.5, loss: 1 },
    { rate: 0.3, score: 0.75, loss: 2 },
    { rate: 0.5, score: 0.75, loss: 1.5 },
  ];
  expect(bestRate([failed, low, high, tied], "prompt", "rte")).toBe(tied);
  expect(bestRate([also, low, failed], "prompt", "rte")).toBe(low);
  expect(() => bestRate([failed, also], "prompt", "rte")).toThrow(
    /prompt on rte.*3: 3 steps in a row were not finite; 9: the loss of held out rows is not finite/s,
  );
});

test("a rate that was taken at an end of what was tried is noted", () => {
  // of two rates either is an end
  const noted = whole.notes.find((note) => note.startsWith("Rates at an end of what was tried"))!;
  expect(noted).toMatch(/\(--rate-factors\): prompt on [^ ]+ \((lowest|highest)\), /);
  expect(noted).not.toMatch(/few-shot|xprompt/);
});

test("what the tables say of sizes, cost and steps", () => {
  const numbers = column(whole, 0, "trained numbers");
  const at = (name: string, c: number) => rowOf(whole, 0, name)[c] as number;
  expect(at("prompt", numbers)).toBe(4 * 32);
  expect(at("superpos", numbers)).toBe(4 * 4);
  expect(at("full", numbers)).toBe(engine.checkpoint.parameters);
  expect(rowOf(whole, 0, "few-shot")[numbers]).toBeNull();
  // one token and a quarter of each other's vector are pruned
  expect(at("xprompt", numbers)).toBe(3 * 24);
  const training = column(whole, 0, "training", "GFLOP");
  const answer = column(whole, 0, "one answer", "GFLOP");
  expect(at("few-shot", training)).toBe(0);
  expect(at("full", training)).toBeGreaterThan(at("prompt", training));
  expect(at("few-shot", answer)).toBeGreaterThan(at("instruction", answer));
  const search = column(whole, 0, "search", "GFLOP");
  expect(at("instruction", search)).toBe(0);
  expect(at("xprompt", search)).toBe(at("prompt", search));
  const steps = whole.tables[1]!;
  expect(steps.columns.map(({ name }) => name)).toEqual(["method", "2 steps", "4 steps"]);
  for (const name of ["prompt", "lora", "full"])
    expect((rowOf(whole, 1, name)[2] as Spread).mean).toBeCloseTo(
      (rowOf(whole, 0, name)[column(whole, 0, "average")] as Spread).mean,
      10,
    );
  // the first two steps of FPT were not on the full model
  expect(rowOf(whole, 1, "fpt-cr")[1]).toBeNull();
  const flops = whole.tables[2]!;
  expect((rowOf(whole, 2, "prompt").at(-1) as Spread).mean).toBeCloseTo(
    (rowOf(whole, 1, "prompt")[2] as Spread).mean,
    10,
  );
  expect(flops.columns.at(-1)!.name).toBe("100 % of prompt tuning's");
  // of FPT the last point of the curve is all that its training spent, neuron scores included, as the first table says
  const spent = whole.scores!.filter(({ line }) => line === "fpt-cr");
  for (const name of ["parity", "parity2"]) {
    const chart = whole.charts.find(({ x, title }) => x === "flops" && title.startsWith(`${name}:`))!;
    const points = chart.series.find((series) => series.name === "fpt-cr")!.points;
    const own = spent.filter(({ task }) => task === name);
    expect(points.at(-1)![0] / (own.reduce((sum, { flops }) => sum + flops!, 0) / own.length)).toBeCloseTo(1, 12);
  }
  expect(whole.tables[3]!.rows).toHaveLength(2 * (methods.length - 1));
  // pairs after the steps before the last, of every method that was evaluated there: the mean is that of the table of steps
  const early = whole.tables[4]!.rows;
  expect(early.map(([pair, step, , , pairs]) => [pair, step, pairs])).toEqual(
    ["lora", "full", "superpos"].map((name) => [`${name} − prompt`, 2, 4]),
  );
  const meanAt = (name: string) => (rowOf(whole, 1, name)[1] as Spread).mean;
  for (const [pair, , points] of early)
    expect(points).toBeCloseTo(meanAt(String(pair).split(" ")[0]!) - meanAt("prompt"), 10);
  expect(whole.scores).toHaveLength(methods.length * 2 * 2);
});

test("stopped on the way and in child processes, it ends the same", async () => {
  const abort = new AbortController();
  let steps = 0;
  const observe = (event: StudyEvent) => {
    if (event.kind === "train" && event.event.kind === "step" && ++steps === 30) abort.abort("SIGINT");
  };
  await expect(compareMethods(input("cut", { observe, signal: abort.signal }))).rejects.toMatchObject({
    kind: "interrupted",
  });
  const module = await bundle("test/helpers/tiny-unit-worker.ts");
  const two = input("cut", { prune: { ...input(null).prune, workers: 2 } });
  await inChildren(two, unitsOf(two), module);
  const events: StudyEvent[] = [];
  const found = await compareMethods(input("cut", { observe: (event) => events.push(event) }));
  // of XPrompt's folders the ends are told again, of nothing a step
  expect(stepsOf(events)).toBe(0);
  expect(timeless(found)).toEqual(timeless(whole));
});

test("units that child processes read back say nothing of the time that is left, however long a model takes to open", async () => {
  const own = { ...comparison, methods: ["prompt", "lora"], rateFactors: [1] } as const;
  const events: StudyEvent[] = [];
  const asked = input("read-back", {
    tasks: [tinyDataset(16, 8), other],
    seeds: [0],
    comparison: readOptions(comparisonOptions, own, "test"),
    prune: { ...input(null).prune, workers: 1 },
    observe: (event) => events.push(event),
  });
  await compareMethods(asked);
  events.length = 0;
  const module = await bundle("test/helpers/slow-unit-worker.ts");
  await inChildren(asked, unitsOf(asked), module);
  const left = events.flatMap((event) => (event.kind === "run" ? [event.left] : []));
  expect(left).toEqual([4, 3, 2, 1].map((runs) => ({ runs, seconds: null })));
});

test("without prompt tuning there are no pairs, and the rest is told", async () => {
  const own = { ...comparison, methods: ["superpos"], rateFactors: [1], scoreSteps: [2, 4] } as const;
  const found = await compareMethods(
    input(null, { seeds: [0], comparison: readOptions(comparisonOptions, own, "test") }),
  );
  expect(found.tables.map(({ title }) => title).join()).not.toMatch(/pair by pair|equal training FLOPs/);
  expect(found.tables[1]!.rows[0]).toEqual(["superpos", expect.anything(), expect.anything()]);
});

test("a rate whose loss on held out rows is no number fails in the same words when it is read back", async () => {
  const own = { ...comparison, methods: ["prompt"], rateFactors: [1, 0.5] } as const;
  const asked = input("no-loss", {
    tasks: [other],
    seeds: [0],
    comparison: readOptions(comparisonOptions, own, "test"),
  });
  const found = await compareMethods(asked);
  // the trial at a factor of ½, which JSON keeps without its number
  const half = readdirSync(asked.folder!).find((name) => /-prompt_0\.0375-.*\.json$/.test(name))!;
  const path = join(asked.folder!, half);
  const opened = unsealed(readFileSync(path, "utf8")) as { key: string; body: string };
  const kept = JSON.parse(opened.body) as { result: { history: { loss: number | null }[] } };
  kept.result.history.at(-1)!.loss = null;
  writeFileSync(path, sealed(JSON.stringify(kept), opened.key));
  const again = await compareMethods(asked);
  expect(found.notes.join()).not.toContain("failed");
  expect(again.notes.join()).toContain("(the loss of held out rows is not finite)");
});

test("what cannot be run is refused before anything is trained, naming method and task", async () => {
  const free = { ...tinyDataset(16, 8), task: { ...tinyDataset().task, name: "free", verbalizer: null } };
  const parts = { ...other, task: { ...other.task, template: "{prompt:9}{words}{prompt:9}" } };
  for (const [names, more, problem] of [
    [["prompt", "instruction"], { tasks: [tinyDataset(16, 8), free] }, /^instruction on free: .*no label words/],
    [["prompt", "few-shot"], { shots: 17 }, /^few-shot on parity: cannot draw 17 rows/],
    [["prompt", "xprompt"], { pieces: 5 }, /^xprompt on parity: .*cannot be cut into equal pieces/],
    [["few-shot", "lora"], { tasks: [parts] }, /^lora on parity2: the parts of the prompt and its length/],
    [["few-shot", "prompt"], { tasks: [tinyDataset(1, 8)], shots: 1 }, /^prompt on parity: cannot hold rows out/],
    [["few-shot", "prompt"], { tasks: [{ ...other, validation: [] }] }, /there are none/],
  ] as const) {
    const {
      tasks,
      shots = 2,
      pieces = 4,
    } = { tasks: undefined, ...more } as {
      tasks?: ComparisonInput["tasks"];
      shots?: number;
      pieces?: number;
    };
    const events: StudyEvent[] = [];
    const asked = compareMethods(
      input(null, {
        ...(tasks && { tasks }),
        comparison: readOptions(comparisonOptions, { methods: names, rateFactors: [0.5, 1], shots }, "test"),
        prune: { ...input(null).prune, pieces },
        observe: (event) => events.push(event),
      }),
    );
    await expect(asked, names.join()).rejects.toMatchObject({ problem: expect.stringMatching(problem) });
    expect(events, names.join()).toEqual([]);
  }
});

test("a rate is searched for once, by what the task selects by, and its evaluations are apart from the run's", async () => {
  const own = { ...comparison, methods: ["prompt", "xprompt"] } as const;
  const metrics = ["accuracy", "macroF1"] as const;
  const data = { ...tinyDataset(16, 8), task: { ...tinyDataset().task, metrics, selectBy: "mean" as const } };
  const asked = async (folder: string | null) => {
    const events: StudyEvent[] = [];
    const result = await compareMethods(
      input(folder, {
        tasks: [data],
        seeds: [0],
        comparison: readOptions(comparisonOptions, own, "test"),
        observe: (event) => events.push(event),
      }),
    );
    const searched = events.filter(({ kind }, n) => {
      const next = events[n + 1];
      return kind === "run" && next?.kind === "train" && JSON.stringify(events[n]).includes("held out");
    });
    return { result, events, searched };
  };
  // two rates, and XPrompt takes prompt tuning's, whether the study is kept or not
  const { result, events, searched } = await asked(null);
  expect(searched).toHaveLength(2);
  const last = events.filter((event) => event.kind === "train" && event.event.kind === "eval").slice(0, 2);
  const means = last.map((event) => {
    const { accuracy, macroF1 } = (event as { event: { scores: Record<string, number> } }).event.scores;
    return (100 * (accuracy! + macroF1!)) / 2;
  });
  const tried = String(result.tables.at(-1)!.rows[0]![3]);
  expect(tried.split(", ").map((text) => text.split(": ")[1])).toEqual(means.map((mean) => mean.toFixed(2)));

  await asked("apart");
  const folders = readdirSync(join(root, "apart"), { withFileTypes: true }).filter((entry) => entry.isDirectory());
  const looks = (name: string) =>
    readFileSync(join(root, "apart", name, "events.out.tfevents.softprompt"), "latin1").match(/validation\/loss/g)!
      .length;
  const told = folders.filter(({ name }) => name.startsWith("parity-seed0-prompt_")).map(({ name }) => name);
  // steps 2 and 4 of the run itself; the searches look once, at their end
  expect(told.filter((name) => name.endsWith("-held-out")).map(looks)).toEqual([1, 1]);
  expect(told.filter((name) => !name.endsWith("-held-out")).map(looks)).toEqual([2]);
});

test("the rates share one pass of neuron scores; an instruction is asked once for all seeds", async () => {
  const of = async (rateFactors: readonly number[], names: readonly string[], seeds = [0]) => {
    const events: StudyEvent[] = [];
    const given = input(`shared-${names.join()}`, {
      tasks: [tinyDataset(16, 8)],
      seeds,
      comparison: readOptions(comparisonOptions, { ...comparison, methods: names, rateFactors }, "test"),
      observe: (event) => events.push(event),
    });
    return { events, runs: await runUnit(given, unitsOf(given)[0]!, async (_, work) => work()), folder: given.folder! };
  };
  const two = await of([0.5, 1], ["fpt-fr"]);
  // what each training had spent at its end; the first two are the search's
  const ends: number[] = [];
  let spent = 0;
  for (const event of two.events) {
    if (event.kind !== "train") continue;
    if ("totalFlops" in event.event) spent = event.event.totalFlops;
    if (event.event.kind === "end") ends.push(spent);
  }
  const [first, second] = ends as [number, number];
  const { before, search } = two.runs[0]!;
  expect(before).toBeGreaterThan(0);
  const scoring = search!.flops - (first + second);
  // both totals hold the pass, which was made once: minus one pass over the rows that were not held out
  expect(scoring).toBeLessThan(0);
  expect(-scoring / before).toBeCloseTo(13 / 16, 1);

  const { folder } = await of([1], ["instruction"], [0, 1, 2]);
  expect(readdirSync(folder).filter((name) => name.includes("instruction"))).toHaveLength(1);
  for (const { line, flops, seconds } of whole.scores!)
    expect([flops, seconds].every((cost) => (cost === undefined) === ["few-shot", "instruction"].includes(line))).toBe(
      true,
    );
});

test("a child's error keeps what was expected and what to do", async () => {
  const module = await bundle("test/helpers/tiny-unit-worker.ts");
  const own = readOptions(comparisonOptions, { methods: ["prompt"], rateFactors: [1e40, 2e40] }, "test");
  const two = input("fails", { seeds: [0], comparison: own, prune: { ...input(null).prune, workers: 2 } });
  await expect(inChildren(two, unitsOf(two).slice(0, 1), module)).rejects.toMatchObject({
    kind: "numeric",
    parts: {
      where: "worker, prompt on parity",
      expected: expect.stringMatching(/stay finite/),
      hint: "give smaller --rate-factors",
    },
  });
});

test("two studies in one folder have processes of their own, and leave no plan behind", async () => {
  const module = await bundle("test/helpers/tiny-unit-worker.ts");
  const of = (names: readonly string[], steps: number, observe = (_: StudyEvent): void => undefined) =>
    input("two", {
      tasks: [tinyDataset(16, 8)],
      seeds: [0],
      comparison: readOptions(comparisonOptions, { ...comparison, methods: names, rateFactors: [1] }, "test"),
      schedule: readOptions(scheduleOptions, { steps }, "test"),
      observe,
    });
  const [one, two] = [of(["prompt", "lora"], 4), of(["prompt"], 2)];
  await Promise.all([one, two].map((own) => inChildren(own, unitsOf(own), module)));
  const events: StudyEvent[] = [];
  await compareMethods(of(["prompt", "lora"], 4, (event) => events.push(event)));
  await compareMethods(of(["prompt"], 2, (event) => events.push(event)));
  expect(stepsOf(events)).toBe(0);
  expect(readdirSync(join(root, "two")).filter((name) => name.startsWith("worker"))).toEqual([]);
});

test("what an observer throws ends all processes, and the study's folder has no plan even then", async () => {
  const module = await bundle("test/helpers/tiny-unit-worker.ts");
  const observe = () => {
    expect(readdirSync(join(root, "watched"))).toEqual([]);
    throw new Error("told badly");
  };
  const two = input("watched", { observe, prune: { ...input(null).prune, workers: 2 } });
  await expect(inChildren(two, unitsOf(two), module)).rejects.toThrow("told badly");
});

test("what was kept is found again where a task says under which names its values stood", async () => {
  const own = { ...comparison, methods: ["fpt-cr", "xprompt", "few-shot"], rateFactors: [1] };
  const run = async (columns?: Dataset["task"]["columns"]) => {
    const { task, ...data } = tinyDataset(16, 8);
    const events: StudyEvent[] = [];
    await compareMethods(
      input("columns", {
        tasks: [{ ...data, task: { ...task, ...(columns && { columns }) } }],
        seeds: [0],
        comparison: readOptions(comparisonOptions, own, "test"),
        schedule: readOptions(scheduleOptions, { steps: 4, layerChoice: "greedy" }, "test"),
        observe: (event) => events.push(event),
      }),
    );
    return { steps: stepsOf(events), kept: readdirSync(join(root, "columns"), { recursive: true }).sort() };
  };
  const before = await run();
  expect(before.steps).toBeGreaterThan(0);
  expect(await run({ fields: { words: "Ticket Text" }, label: "Team" })).toEqual({ steps: 0, kept: before.kept });
});

test("the validation rows choose nothing", async () => {
  const of = (validation: ReturnType<typeof tinyDataset>["validation"]) =>
    compareMethods(
      input(null, {
        tasks: [{ ...tinyDataset(16, 8), validation }],
        seeds: [0],
        comparison: readOptions(comparisonOptions, { ...comparison, methods: ["prompt", "fpt-cr"] }, "test"),
      }),
    );
  const rows = tinyDataset(16, 8).validation;
  const [one, two] = [await of(rows), await of(tinyDataset(24, 30).validation.slice(12))];
  expect(two.tables.at(-1)).toEqual(one.tables.at(-1));
  expect(rowOf(two, 0, "fpt-cr")[column(two, 0, "training", "GFLOP")]).toEqual(
    rowOf(one, 0, "fpt-cr")[column(one, 0, "training", "GFLOP")],
  );
});

test("a score within a budget, and an instruction's text", () => {
  const entry = (step: number, flops: number, accuracy: number) =>
    ({ step, flops, scores: { accuracy } }) as unknown as Parameters<typeof lastWithin>[0]["history"][number];
  const run = {
    training: { flops: 40, seconds: 1 },
    before: 0,
    history: [entry(2, 20, 0.5), entry(4, 40, 0.25)],
  };
  const { task } = tinyDataset();
  expect([10, 20, 34, 36, 40].map((flops) => lastWithin(run, { task }, flops))).toEqual([null, 0.5, 0.5, 0.25, 0.25]);
  // neuron scores are spent before the first step, and are no part of a step
  const scored = {
    training: { flops: 140, seconds: 1 },
    before: 100,
    history: [entry(2, 120, 0.5), entry(4, 140, 0.25)],
  };
  expect([40, 114, 116, 134, 136].map((flops) => lastWithin(scored, { task }, flops))).toEqual([
    ...[null, null, 0.5, 0.5, 0.25],
  ]);
  expect(instructionOf(task, { instructions: undefined })).toBe("Answer with one of these: 40 41, 50.");
  expect(instructionOf(task, { instructions: { parity: "Say it" } })).toBe("Say it");
  expect(() => instructionOf({ name: "free", verbalizer: null }, { instructions: undefined })).toThrow(
    /--instructions/,
  );
});

test.each([
  ["none", []],
  ["one twice", ["prompt", "prompt"]],
])("methods: %s is refused", async (_, names) => {
  const own = { ...input(null).comparison, methods: names as ComparisonInput["comparison"]["methods"] };
  await expect(compareMethods(input(null, { comparison: own }))).rejects.toMatchObject({ kind: "usage" });
  for (const rateFactors of [[], [0, 1]]) {
    const none = { ...input(null).comparison, rateFactors };
    await expect(compareMethods(input(null, { comparison: none }))).rejects.toThrow(/no learning rate to try/);
  }
});
