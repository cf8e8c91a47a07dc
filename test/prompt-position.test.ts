/**
 * Where the prompt stands: the template's marker, the ids around it, T5's encoder with a prompt in its text, adapters that record it, and a
 * whole tuning behind texts.
 *
 * The authority for T5 is the model without any prompt: virtual tokens that are the embeddings of words must do what the words do.
 */
import { cpSync, existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { loadAdapter, saveAdapter } from "../src/adapter/adapter.js";
import { defineTask } from "../src/data/define.js";
import type { Row } from "../src/data/row.js";
import { compileTemplate } from "../src/data/template.js";
import { openEngine } from "../src/engine/engine.js";
import { openCheckpoint } from "../src/model/checkpoint.js";
import { openTokenizer } from "../src/model/tokenizer.js";
import { loadRows } from "../src/tasks/data.js";
import { openModel } from "../src/tasks/model.js";
import { predict } from "../src/tasks/predict.js";
import { tune } from "../src/tasks/tune.js";
import { aroundPrompt, type EncodedRow, makeBatch, textIds } from "../src/text/batch.js";
import { encodeRows } from "../src/text/rows.js";
import { causalRules } from "../src/text/rules.js";
import type { Tokenizer } from "../src/text/tokenizer.js";
import { distance } from "./helpers/close.js";
import { fixture } from "./helpers/tiny-job.js";

const nano = new URL("../models/t5-nano", import.meta.url).pathname;
let tokenizer: Tokenizer;
beforeAll(async () => {
  tokenizer = await openTokenizer(await openCheckpoint(nano));
});

const task = (template: string, more: object = {}) =>
  defineTask({ name: "t", template, verbalizer: { no: "negative", yes: "positive" }, ...more });
const rowOf = (template: string, fields: Record<string, string>): Row => ({
  id: "row",
  ...compileTemplate(template).fillRow(fields, "row"),
  target: "positive",
  label: "yes",
  references: ["positive"],
});

describe("the marker", () => {
  test("is where it is said to be, and no hole", () => {
    const template = compileTemplate("{a} then{prompt} and {b}");
    expect(template.fields).toEqual(["a", "b"]);
    expect(template.fillRow({ a: "one", b: "two" }, "r")).toMatchObject({ input: "one then and two", promptAt: 8 });
    expect(compileTemplate("{{prompt}} {a}").marked).toBe(false);
    expect(compileTemplate("{a}").fillRow({ a: "x" }, "r")).not.toHaveProperty("promptAt");
    expect(compileTemplate("{prompt}{a}").fillRow({ a: "x" }, "r").promptAt).toBe(0);
  });
  test("stands once; the short way is for templates without it", () => {
    expect(() => compileTemplate("{prompt}{a}{prompt}")).toThrow(/two places/);
    expect(task("{a}", { promptPosition: "end" }).template).toBe("{a}{prompt}");
    expect(task("{a}", { promptPosition: "start" })).toEqual(task("{a}"));
    expect(() => task("{a}{prompt}", { promptPosition: "start" })).toThrow(/said twice/);
    expect(() => task("{a}", { promptPosition: "middle" })).toThrow(/no such place/);
  });
  test("is never taken for a column of the same name", async () => {
    const rows = [
      { prompt: "a b", label: "x" },
      { prompt: "c d", label: "y" },
    ];
    const with_ = (more: object) => loadRows(rows, { ...more, validationRows: rows } as never);
    await expect(with_({ template: "{prompt}" })).rejects.toThrow(/no hole|two things/);
    await expect(with_({ template: "{text} {prompt}", columns: { other: "label" } })).rejects.toThrow(/two things/);
    const { train } = await with_({ template: "{text}{prompt}", columns: { text: "prompt" } });
    expect(train[0]).toMatchObject({ input: "a b", promptAt: 3 });
  });
});

describe("ids around the prompt", () => {
  const texts = { premise: "the film was a long, slow delight", hypothesis: "it was good" };
  const marked = "{premise} Question: {hypothesis}{prompt} Answer:";
  const encode = (template: string, fields: object, max = 200, rules = causalRules(tokenizer)) =>
    encodeRows(task(template), [rowOf(template, fields as never)], tokenizer, max, rules)[0]!;

  test("are those of the same text without a marker, cut at a word", () => {
    const row = encode(marked, texts);
    const plain = encode(marked.replace("{prompt}", ""), texts);
    expect([...textIds(row)]).toEqual([...textIds(plain)]);
    expect(row.choices).toEqual(plain.choices);
    expect(plain).not.toHaveProperty("promptAt");
    const { before, tail } = aroundPrompt(row);
    expect(tokenizer.decode([...before])).toBe(`${texts.premise} Question: ${texts.hypothesis}`);
    expect(tokenizer.decode([...tail]).trim()).toBe("Answer:");
  });
  test("at the end nothing of the text follows; in front nothing stands before", () => {
    const end = encode("{premise}{prompt}", texts);
    expect(aroundPrompt(end).tail.length).toBe(0);
    expect(encode("{prompt}{premise}", texts).promptAt).toBe(0);
    const t5 = encodeRows(task("{premise}{prompt}"), [rowOf("{premise}{prompt}", texts)], tokenizer, 200)[0]!;
    expect(t5.promptAt).toBe(t5.input.length - 1); // before the end token
  });
  test("a text that is too long loses words before the prompt, never what follows it", () => {
    const template = "{premise} Question:{prompt} about {hypothesis} Answer:";
    const fields = { premise: "a word and another ".repeat(20), hypothesis: "it was good ".repeat(30).trim() };
    const row = encode(template, fields, 130);
    expect(row.cut!.fields).toEqual(["premise"]);
    const { before, tail } = aroundPrompt(row);
    expect(tokenizer.decode([...tail]).trim()).toBe(`about ${fields.hypothesis} Answer:`);
    expect(tokenizer.decode([...before])).toMatch(/^a word.* Question:$/);
    expect(() => encode(template, fields, 40)).toThrow(/template alone/);
  });
});

describe.each(["tiny-t5-v11", "tiny-t5-v10"])("%s: a prompt in the encoder's text", (name) => {
  test("does what the words do whose embeddings it has, in rows of different length", async () => {
    const engine = openEngine(await openCheckpoint(fixture(name)), { threads: 1 });
    const { width } = engine.checkpoint.config;
    const words = [7, 11, 5];
    const prompt = { prompt: await engine.checkpoint.readRows("shared.weight", words) };
    const none = { prompt: { shape: [0, width], data: new Float32Array(0) } };
    const row = (ids: number[], promptAt: number): EncodedRow => ({
      ...{
        id: "r",
        input: Int32Array.from(ids),
        target: Int32Array.of(9, 4, 1),
        choices: [Int32Array.of(9, 4, 1), Int32Array.of(6, 1)],
      },
      ...{ gold: 0, truncated: false, promptAt },
    });
    const rows = [row([3, 9, 14, 2, 1], 2), row([8, 1], 2), row([3, 3, 4, 5, 6, 7, 8, 1], 0)];
    const written = rows.map(({ promptAt, ...r }) => ({
      ...r,
      input: Int32Array.from([...r.input.slice(0, promptAt), ...words, ...r.input.slice(promptAt)]),
    }));
    const ones = new Float32Array(3).fill(1);
    const got = await (await engine.train(undefined, "within")).run(prompt, makeBatch(rows), ones);
    const wanted = await (await engine.train()).run(none, makeBatch(written), ones);
    expect(distance(got.loss, wanted.loss)).toBeLessThan(1e-5);
    const front = rows.map(({ promptAt: _, ...r }) => r);
    const before = await (await engine.train()).run(prompt, makeBatch(front), ones);
    const size = 3 * width;
    const of = (data: Float32Array, b: number) => data.subarray(b * size, (b + 1) * size);
    expect(distance(of(got.gradients.prompt!.data, 2), of(before.gradients.prompt!.data, 2))).toBeLessThan(1e-5);
    expect(distance(of(got.gradients.prompt!.data, 0), of(before.gradients.prompt!.data, 0))).toBeGreaterThan(1e-3);
    const scores = await (await engine.score(undefined, "within")).run(prompt, rows);
    const plain = await (await engine.score()).run(none, written);
    for (const [b, row] of scores.entries())
      expect(distance(Float32Array.from(row), Float32Array.from(plain[b]!))).toBeLessThan(1e-5);
    expect(await (await engine.generate(undefined, "within")).run(prompt, rows, 8)).toEqual(
      await (await engine.generate()).run(none, written, 8),
    );
    await expect((await engine.train()).run(prompt, makeBatch(rows), ones)).rejects.toThrow(/stand elsewhere/);
    await engine.dispose();
  });
});

describe("a whole tuning", () => {
  const folder = mkdtempSync(join(tmpdir(), "behind-"));
  afterAll(() => rmSync(folder, { recursive: true, force: true }));
  // a decoder-only model that can read: the small Llama with ids for a few characters
  const model = join(folder, "model");
  const say = (n: number) => ({ text: `${"ab cd ef "[n % 9]}b`.repeat(1 + (n % 3)), label: n % 2 ? "b" : "a" });
  const rows = Array.from({ length: 12 }, (_, n) => say(n));
  const options = { steps: 6, virtualTokens: 3, batchSize: 4, evalEvery: 3, learningRate: 0.1, tensorboard: false };
  beforeAll(() => {
    cpSync(fixture("tiny-causal-llama"), model, { recursive: true });
    const pieces = [..."abcdefghijklmnopqrstuvwxyzAIW?:,.", "Ġ", "Ċ"];
    const special = ["<unk>", "<s>", "</s>"];
    const flags = { special: true, normalized: false, lstrip: false, rstrip: false, single_word: false };
    const bytes = { type: "ByteLevel", add_prefix_space: false, trim_offsets: true, use_regex: true };
    const json = {
      version: "1.0",
      added_tokens: special.map((content, id) => ({ id, content, ...flags })),
      normalizer: null,
      pre_tokenizer: bytes,
      post_processor: null,
      decoder: bytes,
      model: {
        ...{ type: "BPE", dropout: null, unk_token: "<unk>", fuse_unk: false, byte_fallback: false, merges: [] },
        vocab: Object.fromEntries([...special, ...pieces].map((piece, id) => [piece, id])),
      },
    };
    writeFileSync(join(model, "tokenizer.json"), JSON.stringify(json));
    writeFileSync(join(model, "tokenizer_config.json"), JSON.stringify({ bos_token: "<s>", eos_token: "</s>" }));
  });
  const data = () => loadRows(rows, { template: "{text} is", validationRows: rows.slice(0, 6), promptPosition: "end" });

  test("records the place, is written without PEFT's files, and answers as it was tuned", async () => {
    const opened = await openModel(model, { threads: 1 });
    const said: string[] = [];
    const output = join(folder, "run");
    const observe = (event: { kind: string; what?: string }) => void (event.what && said.push(event.what));
    const tuned = await tune(opened, await data(), { ...options, output, onEvent: observe });
    expect(said.some((line) => /reading \d+ texts once: \d+ tokens/.test(line))).toBe(true);
    expect(readdirSync(join(output, "adapter"))).toEqual(["README.md", "softprompt.json"]);
    const loaded = loadAdapter(join(output, "adapter"));
    expect(loaded.prompt).toEqual(tuned.adapter.prompt);
    expect(loaded.task!.template).toBe("{text} is{prompt}");
    expect(() => saveAdapter(join(folder, "peft"), loaded, "peft")).toThrow(/cannot say where/);
    expect(existsSync(join(folder, "peft"))).toBe(false);
    const answers = await predict(
      opened,
      loaded,
      rows.slice(0, 6).map(({ text }) => text),
    );
    expect(answers.map(({ label }) => label)).toEqual(tuned.predictions.map(({ label }) => label));
    await opened.dispose();
  });

  test("stopped and resumed, with a store that is empty again, ends at the same bytes", async () => {
    const run = async (name: string, pause: boolean) => {
      const output = join(folder, name);
      const stop = new AbortController();
      const observe = (event: { kind: string; step?: number }) => {
        if (pause && event.kind === "step" && event.step === 2) stop.abort();
      };
      const first = await openModel(model, { threads: 1 });
      await tune(first, await data(), { ...options, output, baselines: false, onEvent: observe, signal: stop.signal });
      await first.dispose();
      if (pause) {
        const again = await openModel(model, { threads: 1 });
        await tune(again, await data(), { ...options, output, baselines: false, resume: true });
        await again.dispose();
      }
      return readFileSync(join(output, "adapter", "softprompt.json"), "utf8");
    };
    expect(await run("stopped", true)).toBe(await run("whole", false));
  });
});
