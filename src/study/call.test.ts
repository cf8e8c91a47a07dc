/**
 * @file Studies as calls on a whole decoder-only model: options that a study would not read, methods that its rows have no place for, and
 * prompts longer than the study's own.
 */
import { mkdtempSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { tinyCausal } from "../../test/helpers/tiny-causal.js";
import { lockFolder } from "../base/lock.js";
import { defaults } from "../base/options.js";
import type { Dataset } from "../data/row.js";
import { pruneOptions } from "../prune/options.js";
import { neuronScoreOptions } from "../schedule/neuron-options.js";
import { scheduleOptions } from "../schedule/options.js";
import { loadRows } from "../tasks/data.js";
import { type OpenModel, openModel } from "../tasks/model.js";
import { forPrompt } from "../tasks/readied.js";
import { trainOptions } from "../train/options.js";
import { type AnyStudyEvent, type CompareInput, compare, type StudyCallInput, study } from "./call.js";
import { outcomes } from "./xprompt-runs.js";

let model: OpenModel;
beforeAll(async () => {
  // 32 positions
  model = await openModel(tinyCausal({ family: "gpt2" }), { threads: 1 });
});
afterAll(() => model.dispose());

const dataOf = (texts: readonly string[], more: object = {}): Promise<Dataset> => {
  const rows = texts.map((text, n) => ({ text, label: n % 2 ? "b" : "a" }));
  return loadRows(rows, { template: "{text}", validationRows: rows, labels: ["a", "b"], ...more });
};
const short = ["good", "bad", "so good", "so bad"];
const tiny = { steps: 1, evalEvery: 1, batchSize: 2, seeds: [0], virtualTokens: 2 } as const;

describe("an option that would not be read is refused before anything is trained", () => {
  const cases: readonly (readonly [name: string | null, more: StudyCallInput & CompareInput, got: string])[] = [
    ["methods", { methods: ["prompt"], learningRate: 9 }, "learningRate"],
    ["partial-alone", { schedule: "fpt-cr", budget: 0.9 }, "schedule, budget"],
    ["length", { virtualTokens: 7 }, "virtualTokens"],
    // an old name is another name of the same option
    ["partial-alone", { importanceExamples: 7 } as object, "importanceRows"],
    // with it the validation rows would choose when a training ends
    ["methods", { methods: ["prompt"], patience: 1 }, "patience"],
    ["search", { shots: 2 }, "shots"],
    [null, { rateFactors: [7] }, "rateFactors"],
    // XPrompt would be scored on other rows than the methods that it is paired with
    [null, { methods: ["prompt", "xprompt"], maxEvalRows: 1, finalEvalRows: 4 }, "finalEvalRows"],
    [null, { methods: ["prompt"], variants: [] }, "both"],
  ];
  test.each(cases)("%s %j", async (name, more, got) => {
    const events: AnyStudyEvent[] = [];
    const given = { ...tiny, ...(name === "length" && { virtualTokens: undefined }), ...more };
    const onEvent = (event: AnyStudyEvent) => events.push(event);
    const data = [await dataOf(short)];
    const asked =
      name === null ? compare(model, data, { ...given, onEvent }) : study(model, name, data, { ...given, onEvent });
    await expect(asked).rejects.toMatchObject({ kind: "usage", parts: { got } });
    expect(events).toEqual([]);
  });

  test("the defaults say nothing, and an unknown study is told first", async () => {
    const data = [await dataOf(short)];
    const { tables } = await compare(model, data, { ...tiny, variants: [], rateFactors: [0.3, 1, 3], shots: 4 });
    expect(tables[0]!.rows.map(([line]) => line)).toEqual(["PT"]);
    await expect(study(model, "lengths", data, tiny)).rejects.toMatchObject({
      parts: { hint: "did you mean length?" },
    });
  });
});

test("with another arithmetic of the engine a study goes on in the same folder, with runs of its own", async () => {
  const folder = mkdtempSync(join(tmpdir(), "study-call-"));
  const data = [await dataOf(short)];
  const asked = {
    ...tiny,
    virtualTokens: 3,
    pieces: 4,
    tokensPruned: [1],
    piecesPruned: [1],
    workers: 1,
    output: folder,
  };
  await study(model, "parameters", data, asked);
  const own = await openModel(model.checkpoint.folder, { threads: 1, lowMemory: true });
  try {
    const { scores } = await study(own, "parameters", data, asked);
    expect(scores).toHaveLength(2);
  } finally {
    await own.dispose();
  }
  expect(readdirSync(folder).filter((name) => name.startsWith("rows-s0"))).toHaveLength(2);
  rmSync(folder, { recursive: true });
});

test("a study owns its folder: a second one in it is refused, and trains nothing", async () => {
  const folder = mkdtempSync(join(tmpdir(), "study-call-"));
  const data = [await dataOf(short)];
  const events: AnyStudyEvent[] = [];
  const asked = { ...tiny, output: folder, onEvent: (event: AnyStudyEvent) => events.push(event) };
  const lock = lockFolder(folder);
  for (const second of [
    () => compare(model, data, { ...asked, variants: [] }),
    () => study(model, "partial-alone", data, asked),
    () => study(model, "methods", data, { ...asked, methods: ["instruction"] }),
  ])
    await expect(second()).rejects.toMatchObject({
      kind: "run",
      parts: { where: folder, got: expect.stringMatching(`^process ${process.pid} on `) },
    });
  expect(events).toEqual([]);
  lock.release();
  await compare(model, data, { ...asked, variants: [] });
  expect(readdirSync(folder).filter((name) => name.startsWith("."))).toEqual([]);
  rmSync(folder, { recursive: true });
});

test("label words of one task are no start for two", async () => {
  const data = [
    { ...(await dataOf(short)) },
    { ...(await dataOf(short, { labels: undefined, verbalizer: { a: "x", b: "y" } })) },
  ];
  const tasks = data.map((one, n) => ({ ...one, task: { ...one.task, name: `t${n}` } }));
  await expect(compare(model, tasks, { ...tiny, variants: [], init: "classLabels" })).rejects.toMatchObject({
    kind: "usage",
    parts: { where: "init", got: "2 tasks" },
  });
});

test("a method that cannot be used where the virtual tokens stand is refused before another is trained", async () => {
  const data = [await dataOf(short, { promptPosition: "end" })];
  for (const method of ["prefix", "p-tuning", "lora", "full"] as const) {
    const events: AnyStudyEvent[] = [];
    const onEvent = (event: AnyStudyEvent) => events.push(event);
    await expect(
      compare(model, data, { ...tiny, methods: ["prompt", method], rateFactors: [1], onEvent }),
    ).rejects.toMatchObject({
      kind: "usage",
      problem: expect.stringMatching(`^${method} on rows: this method does not work`),
      parts: { where: "promptPosition" },
    });
    expect(events.filter(({ kind }) => kind === "run")).toEqual([]);
  }
});

describe("prompts of other lengths than the study's", () => {
  const input = (tasks: readonly Dataset[]) => ({
    engine: model.engine,
    tokenizer: forPrompt(model, 4).tokenizer,
    tasks,
    seeds: [0],
    settings: { ...defaults(trainOptions), batchSize: 2, microBatchSize: 2, evalEvery: 1, maxInputTokens: 40 },
    schedule: { ...defaults(scheduleOptions), steps: 1 },
    virtualTokens: 4,
    init: { kind: "uniform" } as const,
    scoring: defaults(neuronScoreOptions),
    prune: { ...defaults(pruneOptions), pieces: 4, tokensPruned: [1], piecesPruned: [1], workers: 1 },
    folder: null,
    observe: () => {},
  });

  test("a row keeps within the context window beside a longer prompt", async () => {
    const long = ["good dogs are everywhere now", "bad dogs are never seen here", ...short];
    const found = await outcomes(input([await dataOf(long)]), [{ label: "", virtualTokens: 20 }], ["pt", "xprompt"]);
    expect(found.map(({ counts }) => counts.tokens)).toEqual([20, 19]);
  });

  test("a template that gives the length takes no other, and none that is drawn anew", async () => {
    const parts = await dataOf(short, { template: "it is {prompt:3}{text} {prompt:1}" });
    await expect(outcomes(input([parts]), [{ label: "", virtualTokens: 10 }], ["pt"])).rejects.toMatchObject({
      kind: "usage",
      parts: { where: "virtualTokens", got: 10 },
    });
    await expect(outcomes(input([parts]), [{ label: "" }], ["length"])).rejects.toMatchObject({
      kind: "usage",
      parts: { where: "rows", got: parts.task.template },
    });
  });
});
