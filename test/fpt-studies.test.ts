/**
 * @file FPT's studies end to end on a tiny checkpoint: what is run, what is kept, what the tables say.
 */
import { mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, expect, test } from "vitest";
import { defaults, readOptions } from "../src/base/options.js";
import { type Engine, openEngine } from "../src/engine/engine.js";
import { openCheckpoint } from "../src/model/checkpoint.js";
import { neuronScoreOptions } from "../src/schedule/neuron-options.js";
import { presetSchedule, scheduleOptions } from "../src/schedule/options.js";
import { bestWithin, compare } from "../src/study/compare.js";
import { distinctSizes, partialAlone, tableOneSizes } from "../src/study/partial-alone.js";
import {
  type FinishedRun,
  type StudyEvent,
  type StudyInput,
  startPrompt,
  type Variant,
  vanilla,
} from "../src/study/runs.js";
import { similarity } from "../src/study/similarity.js";
import type { Spread, StudyResult } from "../src/study/study.js";
import { trainOptions } from "../src/train/options.js";
import { tinyDataset, tinyTokenizer } from "./helpers/tiny.js";

let engine: Engine;
const folder = mkdtempSync(join(tmpdir(), "study-"));
beforeAll(async () => {
  const fixture = fileURLToPath(new URL("fixtures/tiny-t5-v11", import.meta.url));
  engine = openEngine(await openCheckpoint(fixture), { threads: 1 });
});
afterAll(async () => {
  await engine.dispose();
  rmSync(folder, { recursive: true, force: true });
});

const other = { ...tinyDataset(16, 8), task: { ...tinyDataset().task, name: "parity2" } };
const input = (more: Partial<StudyInput> = {}): StudyInput => ({
  engine,
  tokenizer: tinyTokenizer,
  tasks: [tinyDataset(16, 8), other],
  seeds: [0, 1],
  settings: readOptions(trainOptions, { batchSize: 4, microBatchSize: 4, evalEvery: 2, maxInputTokens: 12 }, "test"),
  schedule: readOptions(scheduleOptions, { steps: 10 }, "test"),
  virtualTokens: 3,
  init: { kind: "uniform" },
  scoring: defaults(neuronScoreOptions),
  folder: null,
  observe: () => undefined,
  ...more,
});
const cellOf = (result: StudyResult, row: string, column: number) =>
  result.tables[0]!.rows.find((r) => r[0] === row)![column] as Spread;

test("compare: one run per task, seed and method; a second call runs nothing and says the same", async () => {
  const events: StudyEvent[] = [];
  const first = await compare(input({ folder, observe: (e) => events.push(e) }));
  const stepsOf = (all: StudyEvent[]) => all.filter((e) => e.kind === "train" && e.event.kind === "step").length;
  expect(events.filter((e) => e.kind === "done")).toHaveLength(2 * 2 * 4);
  expect(stepsOf(events)).toBe(2 * 2 * 4 * 10);
  const kept = readdirSync(folder).filter((f) => f.startsWith("parity-seed0-"));
  expect(kept.filter((f) => f.endsWith(".json"))).toHaveLength(4);
  // and for TensorBoard, in folders that have the runs' names, the evaluations
  const named = kept.filter((f) => !f.endsWith(".json")).sort();
  expect(named).toEqual(["FPT-CR", "FPT-FR", "FPT-LD", "PT"].map((label) => `parity-seed0-${label}`));
  for (const name of named) {
    const text = readFileSync(join(folder, name, "events.out.tfevents.softprompt"), "latin1");
    expect(text.match(/validation\/accuracy/g)!.length, name).toBeGreaterThan(2);
  }

  const again: StudyEvent[] = [];
  expect(await compare(input({ folder, observe: (e) => again.push(e) }))).toEqual(first);
  expect(stepsOf(again)).toBe(0);
  // what is left is told from the first trained run on; a run that is read back says nothing of the time of others
  const left = (all: StudyEvent[]) => all.flatMap((e) => (e.kind === "run" ? [e.left] : []));
  expect(left(events).map(({ runs }) => runs)).toEqual(Array.from({ length: 16 }, (_, n) => 16 - n));
  expect(left(again).every(({ seconds }) => seconds === null)).toBe(true);

  expect(first.tables[0]!.rows.map((r) => r[0])).toEqual([
    "PT",
    "FPT-LD",
    "PT at FPT-LD's FLOPs",
    "FPT-FR",
    "PT at FPT-FR's FLOPs",
    "FPT-CR",
    "PT at FPT-CR's FLOPs",
  ]);
  for (const row of first.tables[0]!.rows) expect(row).toHaveLength(first.tables[0]!.columns.length);
  const flops = first.tables[0]!.columns.findIndex((c) => c.unit === "% (papers' count)");
  expect(cellOf(first, "PT", flops)).toMatchObject({ mean: 100, deviation: 0, count: 2 });
  for (const method of ["FPT-LD", "FPT-FR", "FPT-CR"]) {
    expect(cellOf(first, method, flops).mean).toBeLessThan(100);
    expect(cellOf(first, method, flops).mean).toBeGreaterThan(50);
  }
  expect(cellOf(first, "FPT-CR", flops).mean).toBeLessThan(cellOf(first, "FPT-FR", flops).mean);
  expect(first.charts).toHaveLength(2 * 4);
  // prompt tuning has one stage and no strip; every other method has its own, from its beginning on
  for (const { view, series } of first.charts) {
    expect(series[0]!.stages).toBeUndefined();
    for (const { name, stages, points } of series.slice(1)) {
      const at = stages!.map(({ x }) => x);
      expect(stages!.at(-1)!.partial, name).toBe("full");
      if (view !== "all FLOPs") expect(at[0], name).toBe(0); // neuron scores come before the first stage
      expect(at, name).toEqual([...at].sort((a, b) => a - b));
      expect(at.at(-1)!, name).toBeLessThan(points.at(-1)![0]);
    }
  }
  expect(new Set(first.charts[0]!.series.slice(1).map(({ stages }) => stages![0]!.partial)).size).toBe(3);
  for (const column of first.tables[0]!.columns.keys())
    if (first.tables[0]!.columns[column]!.name === "wall")
      expect(cellOf(first, "FPT-LD", column)).toMatchObject({ deviation: null, count: 2 });
});

test("compare: one's own schedule stands beside the papers', which stay as they are", async () => {
  const own = readOptions(scheduleOptions, { steps: 4, schedule: "custom", widths: [0.5], budget: 0.95 }, "test");
  const result = await compare(input({ seeds: [0], tasks: [other], schedule: own }));
  expect(result.tables[0]!.rows.map((r) => r[0])).toContain("custom budget 0.95");
  const papers = await compare(
    input({ seeds: [0], tasks: [other], schedule: readOptions(scheduleOptions, { steps: 4 }, "test") }),
  );
  const flops = papers.tables[0]!.columns.findIndex((c) => c.unit === "% (papers' count)");
  for (const method of ["PT", "FPT-LD", "FPT-FR", "FPT-CR"])
    expect(cellOf(result, method, flops)).toEqual(cellOf(papers, method, flops));
});

test("a variant that cannot be scheduled is refused before the first run, and nothing is left behind", async () => {
  const at = mkdtempSync(join(tmpdir(), "study-"));
  const events: StudyEvent[] = [];
  const impossible = { label: "too small", schedule: { schedule: "custom", widths: [0.5], budget: 0.05 } } as const;
  const refused = compare(input({ folder: at, observe: (e) => events.push(e) }), [impossible]);
  await expect(refused).rejects.toMatchObject({ kind: "usage" });
  await expect(refused).rejects.toThrow(/too small/);
  expect(events).toEqual([]);
  expect(readdirSync(at)).toEqual([]);
  rmSync(at, { recursive: true, force: true });
});

test("compare: what is asked of vanilla's stages is refused or stands beside the others, never ignored", async () => {
  const asked = (own: object) =>
    compare(
      input({ seeds: [0], tasks: [other], schedule: readOptions(scheduleOptions, { steps: 4, ...own }, "test") }),
    );
  const refused = [{ depths: [0.5] }, { widths: [0.5] }, { budget: 0.5 }, { stageFractions: [0.5] }];
  for (const own of [...refused, { grow: "plateau" }])
    await expect(asked(own), JSON.stringify(own)).rejects.toMatchObject({ kind: "usage" });
  const half = await asked({ stageSteps: [2] });
  const flops = half.tables[0]!.columns.findIndex((c) => c.unit === "% (papers' count)");
  expect(cellOf(half, "vanilla", flops).mean).toBeCloseTo(50, -1);
});

test("a seed given twice is refused: its runs are equal, and their deviation would say 0", async () => {
  for (const study of [compare, partialAlone, similarity])
    await expect(study(input({ seeds: [1, 1] }))).rejects.toMatchObject({ kind: "usage", parts: { where: "seeds" } });
});

test("two tasks of one name are refused: tables know a task by it", async () => {
  const { tasks } = input();
  for (const study of [compare, partialAlone, similarity])
    await expect(study(input({ tasks: [tasks[0]!, tasks[0]!] }))).rejects.toMatchObject({
      kind: "usage",
      parts: { where: "tasks", got: tasks[0]!.task.name },
    });
});

test("a task without validation rows is refused before anything is trained: every score is of them", async () => {
  const bare = { ...tinyDataset(16, 8), validation: [] };
  for (const study of [compare, partialAlone, similarity]) {
    const events: StudyEvent[] = [];
    await expect(study(input({ tasks: [bare, other], observe: (e) => events.push(e) }))).rejects.toMatchObject({
      kind: "data",
      parts: { where: "parity", got: 0 },
    });
    expect(events).toEqual([]);
  }
});

test("a label stands for one variant, and PT for prompt tuning", async () => {
  const events: StudyEvent[] = [];
  const asked = (variants: readonly Variant[]) =>
    compare(input({ seeds: [0], tasks: [other], observe: (e) => events.push(e) }), variants);
  const [ld, cr] = [{ schedule: presetSchedule("fpt-ld") }, { schedule: presetSchedule("fpt-cr") }];
  for (const variants of [
    [
      { label: "A", ...ld },
      { label: "A", ...cr },
    ],
    [{ label: "PT", ...cr }],
    [{ ...vanilla, settings: { learningRate: 1 } }],
  ])
    await expect(asked(variants)).rejects.toMatchObject({
      kind: "usage",
      problem: "two variants have the same label",
      parts: { where: "variants", got: variants.at(-1)!.label },
    });
  expect(events).toEqual([]);
});

test("a template that gives the prompt's length has a prompt of that length, as in a tuning", async () => {
  const parts = { ...other, task: { ...other.task, template: "{prompt:2}{words}{prompt:2}" } };
  await expect(compare(input({ tasks: [tinyDataset(16, 8), parts] }))).rejects.toMatchObject({
    kind: "usage",
    problem: "PT on parity2: the parts of the prompt and its length do not agree",
    parts: { where: "virtualTokens", expected: expect.stringMatching(/^4,/), got: 3 },
  });
});

test("a training that breaks down says which of the study's it was", async () => {
  const settings = { ...input().settings, learningRate: 3e39 };
  await expect(compare(input({ seeds: [7], settings }))).rejects.toMatchObject({
    kind: "numeric",
    problem: expect.stringMatching(/^PT on parity, seed 7: /),
  });
});

test("a stopped study keeps what was finished and says how to go on", async () => {
  const at = mkdtempSync(join(tmpdir(), "study-"));
  const stop = new AbortController();
  let done = 0;
  const stopped = compare(
    input({
      folder: at,
      signal: stop.signal,
      observe: (e) => {
        if (e.kind === "done" && ++done === 3) stop.abort();
      },
    }),
  );
  await expect(stopped).rejects.toMatchObject({ kind: "interrupted" });
  expect(readdirSync(at).filter((f) => f.startsWith("parity") && f.endsWith(".json"))).toHaveLength(3);
  rmSync(at, { recursive: true });
});

test("every method of a seed starts from the same prompt; another seed from another", async () => {
  const [a, b, c] = [await startPrompt(input(), 0), await startPrompt(input(), 0), await startPrompt(input(), 1)];
  expect(a).toEqual(b);
  expect(a).not.toEqual(c);
});

test("prompt tuning at equal FLOPs is its best score among evaluations it could afford", () => {
  const dataset = tinyDataset();
  const history = [10, 20, 30, 40].map((step) => ({
    step,
    stage: 0,
    partial: "full",
    loss: 1,
    scores: { accuracy: [0.5, 0.7, 0.6, 0.9][step / 10 - 1]! },
    flops: step * 3,
    paperFlops: step * 1.0,
    seconds: step,
  }));
  const run = { result: { history, steps: 40, cost: { paperFlops: 40 } } } as unknown as FinishedRun;
  // a twentieth of the whole training counts as the same cost
  for (const [most, best] of [
    [40, 0.9],
    [38.1, 0.9],
    [37.9, 0.7],
    [28.1, 0.7],
    [10, 0.5],
    [8.1, 0.5],
    [7.9, null],
  ] as const)
    expect(bestWithin(run, dataset, most)).toBe(best);
});

test("partial models alone: the papers' rows, each cheaper than the full model, scored on itself", async () => {
  const sizes = tableOneSizes([0.5]);
  const result = await partialAlone(input({ folder, seeds: [0] }), sizes);
  expect(result.tables[0]!.rows.map((r) => r[0])).toEqual(["PT", "LD 0.5", "FR 0.5", "CR 0.5"]);
  const flops = result.tables[0]!.columns.findIndex((c) => c.unit === "% (papers' count)");
  const [ld, fr, cr] = ["LD 0.5", "FR 0.5", "CR 0.5"].map((label) => cellOf(result, label, flops).mean) as number[];
  expect(cr).toBeLessThan(Math.min(ld!, fr!));
  expect(Math.max(ld!, fr!)).toBeLessThan(100);
  // three encoder layers, 48 neurons: half of three is two, as is a third
  expect(result.tables[0]!.rows.map((r) => r.slice(1, 3))).toEqual([
    [3, 48],
    [2, 48],
    [3, 24],
    [2, 24],
  ]);
  const labels = distinctSizes(engine.checkpoint.config, tableOneSizes([0.25, 0.5])).map((s) => s.label);
  expect(labels).toEqual(["LD 0.25", "FR 0.25", "FR 0.5", "CR 0.25", "CR 0.5"]);
  // 0.95 of three layers are three: a size that is the whole model is prompt tuning again, and no partial model
  const whole = [
    { label: "LD 0.95", size: { depth: 0.95 } },
    { label: "FR 1", size: { width: 1 } },
  ];
  expect(distinctSizes(engine.checkpoint.config, [...whole, ...sizes])).toEqual(sizes);
});

test("similarity: a signal ends it at the next batch, among the activations and the transfers too", async () => {
  const sizes = tableOneSizes([0.5]);
  await similarity(input({ folder, seeds: [0, 1] }), sizes);
  /** With every training read back, what is left of the study, told batch by batch. */
  const run = async (stopAt: number) => {
    const stop = new AbortController();
    const batches: string[] = [];
    const told =
      <A extends unknown[], P extends { run: (...given: never[]) => unknown }>(
        kind: string,
        open: (...given: A) => Promise<P>,
      ) =>
      async (...given: A): Promise<P> => {
        const program = await open(...given);
        const run = (...batch: never[]) => {
          if (batches.push(kind) === stopAt) stop.abort("SIGINT");
          return program.run(...batch);
        };
        return { ...program, run };
      };
    const watched: Engine = {
      ...engine,
      activations: told("activations", engine.activations),
      score: told("score", engine.score),
      generate: told("generate", engine.generate),
    };
    const study = similarity(input({ engine: watched, folder, seeds: [0, 1], signal: stop.signal }), sizes);
    return { batches, study };
  };
  const whole = await run(0);
  await whole.study;
  expect(new Set(whole.batches).size).toBeGreaterThan(1);
  const firstTransfer = whole.batches.findIndex((kind) => kind !== "activations");
  for (const stopAt of [1, 3, firstTransfer + 1, whole.batches.length - 2]) {
    const { batches, study } = await run(stopAt);
    await expect(study).rejects.toMatchObject({ kind: "interrupted", exitCode: 130 });
    expect(batches.length).toBe(stopAt);
  }
});

test("similarity: stopped without a folder, it does not say that runs are kept", async () => {
  for (const place of [null, folder]) {
    const stop = new AbortController();
    const activations: Engine["activations"] = (...asked) => {
      stop.abort("SIGINT");
      return engine.activations(...asked);
    };
    const study = similarity(
      input({ engine: { ...engine, activations }, folder: place, seeds: [0], tasks: [other], signal: stop.signal }),
      [],
    );
    await expect(study).rejects.toMatchObject({
      problem: "the study was stopped while activations were measured",
      parts: { hint: place === null ? undefined : expect.stringContaining("finished runs are kept") },
    });
  }
});

test("similarity: rows are encoded once, however many prompts are compared", async () => {
  const encoded = async (share: readonly number[]) => {
    let texts = 0;
    const encode = (text: string) => {
      texts++;
      return tinyTokenizer.encode(text);
    };
    // LD's neurons need no scores, and every training is read back
    const sizes = share.map((depth) => ({ label: `LD ${depth}`, size: { depth } }));
    const asked = input({ folder, seeds: [0], tasks: [other] });
    await similarity(asked, sizes);
    await similarity({ ...asked, tokenizer: { ...tinyTokenizer, encode } }, sizes);
    return texts;
  };
  expect(await encoded([0.5])).toBe(await encoded([]));
});

test("similarity: a prompt is itself, the controls are there, trainings are shared with the other study", async () => {
  const events: StudyEvent[] = [];
  const sizes = tableOneSizes([0.5]);
  const result = await similarity(input({ folder, seeds: [0, 1], observe: (e) => events.push(e) }), sizes);
  const seedsTrained = new Set(
    events
      .flatMap((e, i) => (e.kind === "train" && e.event.kind === "start" ? [events[i - 1]] : []))
      .map((e) => (e?.kind === "run" ? `${e.label}/${e.seed}` : "")),
  );
  expect([...seedsTrained].every((name) => name.endsWith("/1") && !name.startsWith("PT"))).toBe(true);
  const [cosine] = result.matrices;
  cosine!.values.forEach((row, i) => {
    expect(row[i]).toBeCloseTo(1, 6);
  });
  expect(cosine!.rows).toContain("start s0");
  expect(cosine!.rows).toContain("parity PT s1");
  const [relations, transfer] = result.tables;
  expect(relations!.rows.map((r) => r[0])).toContain("other task, other seed");
  // active neurons of a prompt that was never trained stand beside those of trained ones
  expect(relations!.rows.at(-1)!.slice(0, 2)).toEqual(["two starts, never trained", 1]);
  const overlap = result.matrices.at(-1)!;
  expect(overlap.rows).toContain("start s1");
  for (const [i, row] of overlap.values.entries()) expect(row[i]).toBe(1);
  expect(transfer!.rows.map((r) => r[0])).toEqual(["start", "PT", "LD 0.5", "FR 0.5", "CR 0.5"]);
  for (const table of result.tables) for (const row of table.rows) expect(row).toHaveLength(table.columns.length);
});
