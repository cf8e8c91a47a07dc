/**
 * @file The library's face: one object per call and the earlier form, rows of a program, evaluate, generate, and
 * several adapters in one predictor.
 */
import { afterAll, beforeAll, describe, expect, test, vi } from "vitest";
import type { Adapter } from "../adapter/types.js";
import { SoftpromptError } from "../base/errors.js";
import { random } from "../base/random.js";
import { defineTask } from "../data/define.js";
import type { Task } from "../data/row.js";
import type { MethodName } from "../method/options.js";
import { type EarlierContext, oneObject } from "./call.js";
import { loadData, loadRows } from "./data.js";
import { evaluate } from "./evaluate.js";
import { generate } from "./generate.js";
import { ownRate, sayRate, withOwnRate } from "./learning-rate.js";
import { sayMemory, tuningMemory } from "./memory-warning.js";
import { type OpenModel, openModel } from "./model.js";
import { predict } from "./predict.js";
import { openPredictor } from "./predictor.js";
import { type TuneEvent, tune } from "./tune.js";

let model: OpenModel;
beforeAll(async () => {
  model = await openModel("t5-nano");
});
afterAll(() => model.dispose());

const mood = defineTask({
  name: "mood",
  template: "sentence: {text}",
  verbalizer: { negative: "negative", positive: "positive" },
});
const team = defineTask({
  name: "team",
  template: "message: {message}",
  verbalizer: { money: "money", computer: "computer", person: "person" },
});
const free = defineTask({ name: "free", template: "say: {text}", maxTargetTokens: 3 });

/** A prompt of a large norm: forgotten, shifted or mixed up, it shows. */
function adapterOf(task: Task, tokens: number, seed: number): Adapter {
  const D = model.checkpoint.config.width;
  const draw = random(seed, "face");
  return {
    prompt: { shape: [tokens, D], data: Float32Array.from({ length: tokens * D }, () => draw.uniform(-3, 3)) },
    mask: null,
    base: { name: "t5-nano", revision: null, sha256: null, family: "t5", width: D, layers: null, heads: null },
    tokenizer: null,
    task,
    training: null,
    scores: null,
    kept: { config: {}, extras: {} },
  };
}

const tiny = {
  virtualTokens: 2,
  steps: 2,
  batchSize: 2,
  evalEvery: 2,
  baselines: false,
  evaluateBy: "ranking",
} as const;
const rows = [
  { text: "fine food", label: "positive" },
  { text: "cold food", label: "negative" },
  { text: "warm room", label: "positive" },
  { text: "dull room", label: "negative" },
];
const own = { rows, validationRows: rows, template: "sentence: {text}", verbalizer: mood.verbalizer! };

describe("one object per call", () => {
  test("onEvent and signal stand beside the options; rows of the program need no loading", async () => {
    const told: string[] = [];
    const { result } = await tune(model, own, { ...tiny, onEvent: ({ kind }) => told.push(kind) });
    expect(result.run.steps).toBe(2);
    expect(told.filter((kind) => kind === "step")).toHaveLength(2);
    // what should be known of the rows reaches a listener of the tuning
    expect(told).toContain("warning");
  });
  test("a misspelt key is refused with the nearest", async () => {
    await expect(tune(model, own, { ...tiny, onEvnt: () => {} } as never)).rejects.toMatchObject({ kind: "usage" });
    await expect(openModel("t5-nano", { thread: 1 } as never)).rejects.toThrow(/threads/);
  });
  test("the earlier form works, and says once what the new one is", async () => {
    const warn = vi.spyOn(process, "emitWarning").mockImplementation(() => {});
    try {
      const told: string[] = [];
      const observe = ({ kind }: TuneEvent) => told.push(kind);
      for (let n = 0; n < 2; n++) await tune(model, own, tiny, { observe } as EarlierContext);
      expect(told.filter((kind) => kind === "step")).toHaveLength(4);
      expect(warn).toHaveBeenCalledTimes(1);
      expect(warn.mock.calls[0]![0]).toMatch(/tune takes one options object/);
      const said: unknown[] = [];
      const given = oneObject(
        { a: 1 },
        { say: (message) => said.push(message), progress: (at) => said.push(at) },
        "x",
      ) as {
        a: number;
        onEvent: (event: object) => void;
      };
      given.onEvent({ kind: "notice", message: "odd" });
      given.onEvent({ kind: "progress", done: 1 });
      expect([given.a, said]).toEqual([1, ["odd", { kind: "progress", done: 1 }]]);
    } finally {
      warn.mockRestore();
    }
  });
  test("loadData tells its notices; a holdout of 0 holds nothing out", async () => {
    const told: string[] = [];
    const data = await loadData({
      rows,
      template: "{text}",
      validationShare: 0.5,
      onEvent: ({ message }) => told.push(message),
    });
    expect(told).toEqual(data.notices);
    expect(told.length).toBeGreaterThan(0);
    expect((await loadRows(rows, { template: "{text}", validationShare: 0 })).train).toHaveLength(4);
  });
  test("await using: the model has the symbol where the runtime has it", async () => {
    const opened = await openModel("t5-nano");
    await opened[Symbol.asyncDispose]();
    await expect(predict(opened, null, ["x"], { task: mood })).rejects.toBeInstanceOf(SoftpromptError);
  });
});

describe("evaluate", () => {
  test("a Dataset, its rows, and rows of the program give one result", async () => {
    const adapter = adapterOf(mood, 3, 1);
    const data = await loadRows(rows, { template: mood.template, verbalizer: mood.verbalizer!, validationRows: rows });
    const found = [
      await evaluate(model, data, { adapter }),
      await evaluate(model, data.validation, { adapter }),
      await evaluate(model, rows, { adapter }),
      await evaluate(model, { rows, template: mood.template, verbalizer: mood.verbalizer! }, { adapter }),
    ];
    for (const { scores, loss, predictions } of found) {
      expect(scores).toEqual(found[0]!.scores);
      expect(loss).toBeCloseTo(found[0]!.loss, 5);
      expect(predictions.map(({ label }) => label)).toEqual(found[0]!.predictions.map(({ label }) => label));
    }
    expect((await evaluate(model, data, { adapter: null })).loss).not.toBeCloseTo(found[0]!.loss, 3);
    await expect(evaluate(model, data, { adapter, split: "test" })).rejects.toThrow(/no rows to score/);
    await expect(evaluate(model, rows)).rejects.toMatchObject({
      kind: "usage",
      message: expect.stringMatching(/neither/),
    });
  });
});

describe("generate", () => {
  test("writes what a free-text task writes, one text or several, no longer than asked", async () => {
    const [answer] = await predict(model, null, ["hello"], { task: free });
    expect(await generate(model, { prompt: "say: hello", maxTokens: 3 })).toBe(answer!.text);
    const many = await generate(model, { prompt: ["say: hello", "sentence: a dull film"], maxTokens: 3 });
    expect(many).toHaveLength(2);
    expect(many[0]).toBe(answer!.text);
    await expect(generate(model, { prompt: "x", maxTokens: 0 })).rejects.toMatchObject({ kind: "usage" });
    await expect(generate(model, { prompt: 7 as never })).rejects.toMatchObject({ kind: "usage" });
  });
});

describe("a predictor", () => {
  test("answers rows of several adapters together as each does alone: prompts, tasks and ways of answering differ", async () => {
    const adapters = { mood: adapterOf(mood, 3, 1), team: adapterOf(team, 7, 2), free: adapterOf(free, 5, 3) };
    await using predictor = await openPredictor(model, {
      adapters: { ...adapters, bare: { adapter: null, task: mood } },
    });
    expect(predictor.adapters).toEqual(["mood", "team", "free", "bare"]);
    const asked = [
      { adapter: "mood", input: "a dull film" },
      { adapter: "team", input: "I was charged twice, and nobody answers" },
      { adapter: "free", input: "hello" },
      { adapter: "bare", input: "a dull film" },
      { adapter: "mood", input: "fine" },
    ];
    const together = await predictor.predict(asked);
    for (const [i, { adapter, input }] of asked.entries()) {
      const alone = adapter === "bare" ? null : adapters[adapter as keyof typeof adapters];
      const [one] = await predict(model, alone, [input], adapter === "bare" ? { task: mood } : {});
      expect([together[i]!.label, together[i]!.text]).toEqual([one!.label, one!.text]);
      for (const [label, p] of Object.entries(one!.probabilities ?? {}))
        expect(together[i]!.probabilities![label]).toBeCloseTo(p, 4);
    }
    // one prompt for all would give equal answers
    expect(together[0]!.probabilities!.positive).not.toBeCloseTo(together[3]!.probabilities!.positive!, 3);
  });

  test("adapters come and go; unknown names, other bases and a use after dispose are refused", async () => {
    const predictor = await openPredictor(model, { adapters: {} });
    await predictor.add("reviews", adapterOf(mood, 2, 1));
    await expect(predictor.predict([{ adapter: "review", input: "x" }])).rejects.toThrow(/did you mean reviews/);
    const other = { ...adapterOf(mood, 2, 1), base: { ...adapterOf(mood, 2, 1).base, sha256: "0".repeat(64) } };
    await expect(predictor.add("other", other)).rejects.toMatchObject({ kind: "adapter" });
    expect(predictor.task("reviews").name).toBe("mood");
    const inputs = [
      { adapter: "reviews", input: { other: "no such field" } },
      { adapter: "reviews", input: "fine" },
    ];
    await expect(predictor.predict(inputs)).rejects.toMatchObject({ kind: "data" });
    const [bad, good] = await predictor.predict(inputs, { skipBadRows: true });
    expect([bad!.error?.kind, good!.error]).toEqual(["data", undefined]);
    expect([predictor.remove("reviews"), predictor.remove("reviews"), predictor.adapters]).toEqual([true, false, []]);
    await predictor.dispose();
    await predictor.dispose();
    await expect(predictor.predict([])).rejects.toThrow(/disposed/);
  });
});

test("what is no model, data or adapter is refused by its name, not by an error of the language", async () => {
  const none = undefined as never;
  const refused = { name: "SoftpromptError", kind: "usage" };
  await expect(openModel(none)).rejects.toMatchObject(refused);
  await expect(tune(model, null as never)).rejects.toMatchObject(refused);
  await expect(evaluate(model, none)).rejects.toMatchObject(refused);
  await expect(loadData(none)).rejects.toMatchObject(refused);
  for (const adapter of [undefined, 5, {}])
    await expect(predict(model, adapter as never, ["a"])).rejects.toMatchObject(refused);
  await expect(openPredictor(model, {} as never)).rejects.toMatchObject(refused);
  await expect(openPredictor(model, { adapters: { a: undefined as never } })).rejects.toMatchObject(refused);
});

test("an option of another call is told where it belongs", async () => {
  const data = await loadRows(rows, { template: "{text}", validationRows: rows });
  await expect(tune(model, data, { threads: 1 } as never)).rejects.toThrow(/threads is an option of openModel\(\)/);
  await expect(predict(model, null, ["a"], { steps: 1 } as never)).rejects.toThrow(
    /steps is an option of tune\(\) and of prune\(\)/,
  );
});

test("a tuning that needs more memory than there is says so", async () => {
  const data = await loadRows(rows, { template: "{text}", validationRows: rows });
  const { defaults } = await import("../base/options.js");
  const { tuneOptions } = await import("./options.js");
  const options = defaults(tuneOptions);
  const told: string[] = [];
  const need = tuningMemory(model, data, options);
  await sayMemory(model, data, options, ({ message }) => told.push(message), need * 2);
  expect(told).toEqual([]);
  await sayMemory(model, data, options, ({ message }) => told.push(message), need / 2);
  expect(told).toHaveLength(1);
  expect(told[0]).toMatch(/may not fit/);
});

test("a rate that is not given follows the size of the vocabulary's vectors, and never exceeds the papers'", async () => {
  const { checkpoint } = model;
  // every number of the vocabulary is `size`
  const vectorsOf = (size: number) => ({
    ...checkpoint,
    config: checkpoint.config,
    readRows: async (_name: string, rows: readonly number[]) => ({
      shape: [rows.length, checkpoint.config.width],
      data: new Float32Array(rows.length * checkpoint.config.width).fill(size),
    }),
  });
  const rates = (method: MethodName) =>
    Promise.all([2, 1, 0.1, 0].map((size) => ownRate(method, vectorsOf(size) as typeof checkpoint)));
  expect(await rates("prompt")).toEqual([0.3, 0.3, 0.03, 0.3]);
  expect(await rates("shift")).toEqual([0.3, 0.3, 0.03, 0.3]);
  // numbers that are no vectors of the vocabulary
  expect(await rates("lora")).toEqual([0.003, 0.003, 0.003, 0.003]);
  expect(await rates("superpos")).toEqual([0.05, 0.05, 0.05, 0.05]);
  const small = vectorsOf(0.1) as typeof checkpoint;
  expect(await withOwnRate({ learningRate: 0.7 }, small)).toEqual({ learningRate: 0.7 });
  expect(await withOwnRate({}, small)).toEqual({ learningRate: 0.03 });
  expect(await withOwnRate({ method: null, learningRate: null }, small)).toEqual({ method: null, learningRate: 0.03 });
  expect(await withOwnRate({ method: "none" }, small)).toEqual({ method: "none" });
});

test("a rate whose steps are larger than the vocabulary's vectors is warned of, with one that suits them", async () => {
  const told: string[] = [];
  const say = (method: "prompt" | "lora", optimizer: "adafactor" | "sgd", learningRate: number) =>
    sayRate(model, { method, optimizer, learningRate }, ({ message }) => told.push(message));
  await say("prompt", "adafactor", 0.3);
  await say("prompt", "sgd", 3);
  await say("lora", "adafactor", 3);
  expect(told).toEqual([]);
  await say("prompt", "adafactor", 3);
  // t5-nano's vectors have numbers of size 1, as T5's have
  expect(told).toEqual([expect.stringMatching(/^learning rate 3 lets each step .* are large \(1\.0\); try 0\.3 /)]);
});
