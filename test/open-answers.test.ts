/**
 * A decoder-only model's ranked label words are trained as they are ranked, without an end token: the loss is the one that ranking has,
 * what is written keeps its end token, and runs of earlier versions go on as they began.
 */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, expect, test } from "vitest";
import { loadAdapter, saveAdapter } from "../src/adapter/adapter.js";
import { random } from "../src/base/random.js";
import type { Dataset } from "../src/data/row.js";
import { placeOf } from "../src/engine/place.js";
import { exportReadme } from "../src/export/readme.js";
import { fullModel } from "../src/model/partial.js";
import { answersFor, loadRows } from "../src/tasks/data.js";
import { generate } from "../src/tasks/generate.js";
import { openModel } from "../src/tasks/model.js";
import { openPredictor } from "../src/tasks/predictor.js";
import { prune } from "../src/tasks/prune.js";
import { tune } from "../src/tasks/tune.js";
import { encodeRows } from "../src/text/rows.js";
import { rulesOf } from "../src/text/rules.js";
import { commandLine } from "./helpers/command-line.js";
import { tinyCausal } from "./helpers/tiny-causal.js";

const base = tinyCausal();
const place = mkdtempSync(join(tmpdir(), "open-answers-"));
const model = await openModel(base, { threads: 1 });
const t5 = await openModel("t5-nano", { threads: 1 });
afterAll(async () => {
  await model.dispose();
  await t5.dispose();
  rmSync(base, { recursive: true, force: true });
  rmSync(place, { recursive: true, force: true });
});

const texts = ["a", "some words", "a longer text of many words, and more", "b c", "the end of it", "x y z"];
const labelled = (words: readonly [string, string], position: string): Promise<Dataset> =>
  loadRows(
    texts.map((text, n) => ({ text, label: words[n % 2]! })),
    {
      template: "{text} is",
      promptPosition: position,
      validationRows: texts.map((text) => ({ text, label: words[0] })),
    },
  );
const encode = (data: Dataset) => encodeRows(data.task, data.train, model.tokenizer, 100);
const open = (data: Dataset) => answersFor(data, model, { trainEnd: false, evaluateBy: "ranking" });
const settings = {
  virtualTokens: 3,
  steps: 1,
  batchSize: texts.length,
  microBatchSize: texts.length,
  baselines: false,
  learningRate: 0.01,
} as const;

test("an open answer is the label's words as they are ranked; a closed one has the end token too", async () => {
  const data = await labelled(["good", "bad"], "start");
  const end = rulesOf(model.tokenizer, {}).targetEnd;
  for (const [n, row] of encode(open(data)).entries()) {
    expect(row.target).toEqual(row.choices![row.gold]);
    expect([...encode(data)[n]!.target]).toEqual([...row.target, end]);
  }
});

test("a label whose words begin another's keeps its end token, without which the longer could never win", async () => {
  const data = await labelled(["so", "so bad"], "start");
  expect(encode(open(data)).map(({ target }) => [...target])).toEqual(encode(data).map(({ target }) => [...target]));
});

test("what is written, what is asked for, and T5 keep the end token", async () => {
  const data = await labelled(["good", "bad"], "start");
  const ranking = { trainEnd: false, evaluateBy: "ranking" } as const;
  expect(open(data).task.openAnswers).toBe(true);
  expect(answersFor(data, model, { ...ranking, trainEnd: true })).toBe(data);
  expect(answersFor(data, model, { ...ranking, evaluateBy: "generation" })).toBe(data);
  expect(answersFor(data, t5, ranking)).toBe(data);
  const written = await loadRows([{ text: "a", to: "b" }], {
    template: "{text}",
    targetColumn: "to",
    validationRows: [{ text: "c", to: "d" }],
  });
  expect(answersFor(written, model, ranking)).toBe(written);
  // a recorded task may be used again with other options
  expect(answersFor(open(data), model, { ...ranking, trainEnd: true }).task).toEqual(data.task);
  expect(answersFor(open(data), model, { ...ranking, evaluateBy: "generation" }).task).toEqual(data.task);
  expect(answersFor(open(data), t5, ranking).task).toEqual(data.task);
  const generative = { ...data, task: { ...data.task, generative: true } };
  expect(answersFor(generative, model, ranking)).toBe(generative);
});

test.each(["start", "end", "start:1,end:2"])(
  "at %s the loss of a step is the one that ranking has",
  async (position) => {
    const data = await labelled(["good", "bad"], position);
    const draw = random(1, "open answers");
    const D = model.checkpoint.config.width;
    const prompt = { shape: [3, D], data: Float32Array.from({ length: 3 * D }, () => draw.uniform(-1, 1)) };
    const losses: number[] = [];
    const { adapter } = await tune(model, data, {
      ...settings,
      prompt,
      onEvent: (event) => {
        if (event.kind === "step") losses.push(event.loss);
      },
    });
    expect(adapter.task!.openAnswers).toBe(true);
    const rows = encode(open(data));
    const { engine, checkpoint } = model;
    const program = await engine.score(fullModel(checkpoint.config), placeOf(checkpoint.config, rows));
    const scores = await program.run({ prompt }, rows);
    const tokens = rows.reduce((sum, { target }) => sum + target.length, 0);
    const mean = scores.reduce((sum, row, n) => sum - row[rows[n]!.gold]!, 0) / tokens;
    expect(losses[0]).toBeCloseTo(mean, 5);
  },
);

test("a prompt that did not learn to end its answer says so where it shall write", async () => {
  const data = await labelled(["good", "bad"], "start");
  const notices: string[] = [];
  const onEvent = (event: { readonly kind: string; readonly message?: string }) => {
    if (event.kind === "notice") notices.push(event.message!);
  };
  const said = /without an end token/;
  for (const trainEnd of [false, true]) {
    const { adapter } = await tune(model, data, { ...settings, trainEnd });
    expect(adapter.task!.openAnswers).toBe(trainEnd ? undefined : true);
    await generate(model, { prompt: "a text", adapter, maxTokens: 2, onEvent });
    const writer = await openPredictor(model, { adapters: { mine: { adapter } }, evaluateBy: "generation", onEvent });
    await writer.dispose();
    expect(notices.filter((message) => said.test(message))).toHaveLength(trainEnd ? 0 : 2);
    const ranker = await openPredictor(model, { adapters: { mine: { adapter } }, onEvent });
    await ranker.dispose();
    expect(notices.filter((message) => said.test(message))).toHaveLength(trainEnd ? 0 : 2);
    notices.length = 0;
  }
});

test("a search trains and scores open answers too", async () => {
  const data = await labelled(["good", "bad"], "start");
  const search = { ...settings, tokensPruned: [1], piecesPruned: [1], pieces: 4, retrainSteps: 1, importanceRows: 6 };
  const [one, two] = [await prune(model, data, search), await prune(model, data, { ...search, trainEnd: true })];
  expect(one.adapter.task!.openAnswers).toBe(true);
  expect(two.adapter.task!.openAnswers).toBeUndefined();
});

test("an adapter keeps it, and a README.md says it", async () => {
  const data = await labelled(["good", "bad"], "start");
  const { adapter } = await tune(model, data, settings);
  saveAdapter(join(place, "kept"), adapter);
  expect(loadAdapter(join(place, "kept")).task).toEqual(adapter.task);
  const readme = (of: typeof adapter) =>
    exportReadme({
      adapter: of,
      checkpoint: model.checkpoint,
      pipeline: "text-generation",
      promptInput: false,
      models: [],
    });
  expect(readme(adapter)).toMatch(/without an end token/);
  expect(readme({ ...adapter, task: data.task })).not.toMatch(/without an end token/);
});

test("a program that goes on with a run of an earlier version is told how", async () => {
  const data = await labelled(["good", "bad"], "start");
  const output = join(place, "program");
  await tune(model, data, { ...settings, output, trainEnd: true });
  await expect(tune(model, data, { ...settings, output, resume: true })).rejects.toThrow(/--train-end/);
  const { result } = await tune(model, data, { ...settings, output, resume: true, trainEnd: true });
  expect(result.run.steps).toBe(1);
});

test("what reading texts takes is within the training's time", async () => {
  const data = await labelled(["good", "bad"], "end");
  const one = await openModel(base, { threads: 1, textCacheDisk: 0 });
  const slow = {
    ...one,
    engine: {
      ...one.engine,
      readTexts: async (...given: Parameters<typeof one.engine.readTexts>) => {
        await new Promise((done) => setTimeout(done, 300));
        await one.engine.readTexts(...given);
      },
    },
  };
  const { result } = await tune(slow, data, settings);
  expect(result.cost.trainSeconds).toBeGreaterThan(0.29);
  await one.dispose();
});

test("a run whose configuration does not name it was trained with the end token, and goes on so", async () => {
  const file = join(place, "rows.jsonl");
  writeFileSync(file, texts.map((text, n) => `${JSON.stringify({ text, label: n % 2 ? "good" : "bad" })}\n`).join(""));
  const run = async (...more: string[]) => {
    const { code, stderr } = await commandLine(["train", ...more, "--no-baselines", "--json"]);
    expect(code, stderr).toBe(0);
  };
  const begin = ["--model", base, "--threads", "1", "--train", file, "--validation", file, "--template", "{text} is"];
  const same = [...begin, "--label-column", "label", "--virtual-tokens", "3", "--eval-every", "2", "--train-end"];
  const [earlier, whole] = [join(place, "earlier"), join(place, "whole")];
  await run(...same, "--steps", "2", "--output", earlier);
  const config = join(earlier, "config.yaml");
  const unnamed = () => {
    const named = readFileSync(config, "utf8");
    writeFileSync(config, named.replace("trainEnd: true\n", ""));
    return named;
  };
  expect(unnamed()).toContain("trainEnd: true\n");
  await run("--resume", earlier, "--steps", "4");
  await run(...same, "--steps", "4", "--output", whole);
  const losses = (folder: string) =>
    readFileSync(join(folder, "metrics.jsonl"), "utf8")
      .split("\n")
      .filter((line) => line.includes('"kind":"step"'))
      .map((line) => JSON.parse(line).loss);
  expect(losses(earlier)).toEqual(losses(whole));

  // a search that begins with it trains its candidates so too
  unnamed();
  const search = join(place, "search");
  const counts = ["--tokens-pruned", "1", "--pieces-pruned", "1", "--pieces", "4", "--retrain-steps", "1"];
  const { code, stderr } = await commandLine(["prune", "--from", earlier, ...counts, "--output", search, "--json"]);
  expect(code, stderr).toBe(0);
  expect(readFileSync(join(search, "config.yaml"), "utf8")).toContain("trainEnd: true\n");
});
