/**
 * A prompt in several parts: `start:4,end:16` and numbered markers, their ids, the same in every family, and whole tasks.
 *
 * The authority is the model with its prompt in front, which is compared with PyTorch (parity-causal.test.ts, parity.test.ts): virtual
 * tokens that are the embeddings of words must do what the words do, and a whole text given as virtual tokens has the same gradient at the
 * places of the parts.
 */
import { mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, test } from "vitest";
import { loadAdapter, saveAdapter } from "../src/adapter/adapter.js";
import { defineTask } from "../src/data/define.js";
import { aroundText, checkPromptTokens, compileTemplate, unpositioned } from "../src/data/template.js";
import { openEngine } from "../src/engine/engine.js";
import { placeOf } from "../src/engine/place.js";
import { architectureOf } from "../src/model/architectures.js";
import { openCheckpoint } from "../src/model/checkpoint.js";
import { asRecorded, loadRows } from "../src/tasks/data.js";
import { evaluate } from "../src/tasks/evaluate.js";
import { exportPrompt } from "../src/tasks/export.js";
import { generate } from "../src/tasks/generate.js";
import { type Model, openModel } from "../src/tasks/model.js";
import { predict } from "../src/tasks/predict.js";
import { prune } from "../src/tasks/prune.js";
import { tune } from "../src/tasks/tune.js";
import { type EncodedRow, makeBatch } from "../src/text/batch.js";
import { encodeRows } from "../src/text/rows.js";
import { distance } from "./helpers/close.js";
import { tinyCausal, tinyChat } from "./helpers/tiny-causal.js";
import { fixture } from "./helpers/tiny-job.js";

const folder = mkdtempSync(join(tmpdir(), "parts-"));
const opened: { dispose(): Promise<void> }[] = [];
afterAll(async () => {
  for (const one of opened) await one.dispose();
  rmSync(folder, { recursive: true, force: true });
});
async function model(options: Parameters<typeof tinyCausal>[0] = {}): Promise<Model> {
  const found = await openModel(tinyCausal(options), { threads: 1 });
  opened.push(found);
  return found;
}

describe("the places of parts", () => {
  const task = (template: string, more: object = {}) =>
    defineTask({ name: "t", template, verbalizer: { no: "a", yes: "b" }, ...more });

  test("are said by two numbers or by numbered markers", () => {
    expect(task("{a}", { promptPosition: "start:4,end:16" }).template).toBe("{prompt:4}{a}{prompt:16}");
    expect(task("{a}", { promptPosition: " end:16 , start:4" }).template).toBe("{prompt:4}{a}{prompt:16}");
    expect(task("{a}", { promptPosition: "start:4,end:16", inputPrefix: "x " }).template).toBe(
      "{prompt:4}x {a}{prompt:16}",
    );
    const row = compileTemplate("{prompt:2}one {a}{prompt: 3 } two{prompt}").fillRow({ a: "b" }, "r");
    expect(row).toMatchObject({ input: "one b two", promptAt: 9 });
    expect(row.promptBefore).toEqual([
      { at: 0, tokens: 2, outside: true },
      { at: 5, tokens: 3 },
    ]);
  });
  test("all at one end are the plain position", () => {
    expect(task("{a}", { promptPosition: "start:7" })).toEqual(task("{a}"));
    expect(task("{a}", { promptPosition: "end:7" })).toEqual(task("{a}", { promptPosition: "end" }));
  });
  test("are refused where they say nothing, too much or another thing twice", () => {
    for (const [position, problem] of [
      ["start,end", /without a number/],
      ["start:0,end:4", /without a number/],
      ["start:4,start:5", /said twice/],
      ["front:4,end:5", /no such place/],
      ["strat", /did you mean start/],
      ["", /no such place/],
    ] as const)
      expect(() => task("{a}", { promptPosition: position })).toThrow(problem);
    expect(() => compileTemplate("{prompt}{a}{prompt:4}")).toThrow(/two places/);
    expect(() => compileTemplate("{prompt:0}{a}{prompt}")).toThrow(/empty/);
    expect(() => task("{a}{prompt}", { promptPosition: "start:1,end:2" })).toThrow(/said twice/);
  });
  test("agree with the prompt's length", async () => {
    checkPromptTokens("{prompt:4}{a}{prompt:16}", 20);
    checkPromptTokens("{prompt:4}{a}{prompt}", 5);
    checkPromptTokens("{a}", 5);
    expect(() => checkPromptTokens("{prompt:4}{a}{prompt:16}", 19)).toThrow(/do not agree/);
    expect(() => checkPromptTokens("{prompt:4}{a}{prompt}", 4)).toThrow(/do not agree/);
    const tiny = await model();
    const rows = [{ text: "a", label: "a" }];
    for (const promptPosition of ["end:5", "start:2,end:3"]) {
      const data = await loadRows(rows, {
        template: "{text}",
        promptPosition,
        validationRows: rows,
        labels: ["a", "b"],
      });
      await expect(tune(tiny, data, { virtualTokens: 4, steps: 1 })).rejects.toThrow(/do not agree/);
      await expect(prune(tiny, data, { virtualTokens: 4, steps: 1 })).rejects.toThrow(/do not agree/);
    }
  });
  test("are taken off a recorded template, and put around another text", () => {
    expect(unpositioned("{prompt:4}x {a}{prompt:16}")).toEqual({ text: "x {a}", position: "start:4,end:16" });
    expect(unpositioned("x {a}{prompt}")).toEqual({ text: "x {a}", position: "end" });
    expect(unpositioned("x{prompt} {a}")).toBeNull();
    expect(aroundText("{prompt:4}{a}{prompt}")!("words")).toEqual({
      promptAt: 5,
      promptBefore: [{ at: 0, tokens: 4, outside: true }],
    });
    expect(aroundText("{a}{prompt:4} x{prompt}")).toBeNull();
    const recorded = task("{a}", { promptPosition: "start:4,end:16" });
    expect(
      asRecorded(
        { task: "sst2" },
        { ...recorded, name: "sst2", template: "{prompt:4}sst2 sentence: {sentence}{prompt:16}" },
      ),
    ).toMatchObject({
      promptPosition: "start:4,end:16",
    });
  });
  test("in ids: the front part before everything, also BOS and a chat's frame; the text as without markers", async () => {
    for (const options of [{ bos: true }, { chat: tinyChat }, {}]) {
      const { tokenizer } = await model(options);
      const { task: own, train } = await loadRows([{ text: "some words of a text", label: "a" }], {
        template: "{text}{prompt:2} is",
        labels: ["a", "b"],
        validationShare: 0,
      });
      const parted = { ...own, template: "{prompt:3}{text}{prompt} is" };
      const rows = train.map((row) => ({
        ...row,
        ...compileTemplate(parted.template).fillRow({ text: "some words of a text" }, "r"),
      }));
      const [plain] = encodeRows(own, train, tokenizer, 200);
      const [row] = encodeRows(parted, rows, tokenizer, 200);
      expect(row!.promptBefore![0]!.at).toBe(0);
      expect({ ...row, promptBefore: undefined }).toEqual({ ...plain, promptBefore: undefined });
      // what is cut is before the last part
      const [cut] = encodeRows(parted, rows, tokenizer, plain!.input.length - 5);
      expect(cut!.truncated).toBe(true);
      expect(cut!.promptAt).toBeLessThan(row!.promptAt!);
    }
  });
});

const causal = ["llama", "mistral", "qwen2-window", "gpt2", "neox"].map((family) => `tiny-causal-${family}`);
describe.each([...causal, "tiny-t5-v11", "tiny-t5-v10"])("%s: in parts, as words and as a prompt in front", (name) => {
  test("loss, gradient, ranking and greedy ids, rows of different length, prompts of different length", async () => {
    const engine = openEngine(await openCheckpoint(fixture(name)), { threads: 1 });
    opened.push(engine);
    const { config } = engine.checkpoint;
    const goesOn = name.includes("causal");
    const embedding = (ids: number[]) => engine.checkpoint.readRows(architectureOf(config).embedding, ids);
    const none = { prompt: { shape: [0, config.width], data: new Float32Array(0) } };
    const end = goesOn ? [] : [1];
    const texts: [number[], { at: number; tokens: number }[], number][] = [
      [[3, 9, 14, 2, ...end], [{ at: 0, tokens: 2 }], 4],
      [[8, 17, ...end], [{ at: 1, tokens: 1 }], 2],
      [
        [3, 3, 4, 5, 6, 7, 8, ...end],
        [
          { at: 0, tokens: 1 },
          { at: 3, tokens: 1 },
        ],
        6,
      ],
    ];
    const words = [
      [7, 11, 5, 12],
      [13, 6],
      [21, 22, 23],
    ];
    const rowOf = (ids: number[], more: object): EncodedRow => ({
      id: "r",
      ...(goesOn ? { input: Int32Array.from(ids.slice(0, -1)), first: ids.at(-1)! } : { input: Int32Array.from(ids) }),
      target: Int32Array.of(9, 4, 1),
      choices: [Int32Array.of(9, 4, 1), Int32Array.of(6, 1)],
      gold: 0,
      truncated: false,
      ...more,
    });
    const rows = texts.map(([ids, promptBefore, promptAt]) => rowOf(ids, { promptBefore, promptAt }));
    /** The row as one list: what each place holds, an id of the text or a virtual token. */
    const laid = texts.map(([ids, parts, at], b) => {
      const list: { id: number; virtual?: number }[] = [];
      let [read, virtual] = [0, 0];
      const all = [...parts, { at, tokens: words[b]!.length - parts.reduce((n, { tokens }) => n + tokens, 0) }];
      for (const part of all) {
        for (; read < part.at; read++) list.push({ id: ids[read]! });
        for (let n = 0; n < part.tokens; n++, virtual++) list.push({ id: words[b]![virtual]!, virtual });
      }
      for (; read < ids.length; read++) list.push({ id: ids[read]! });
      return list;
    });
    const place = placeOf(config, rows);
    expect(place).toBe(goesOn ? "parted" : "within");
    const given = await Promise.all(words.map(async (ids) => ({ prompt: await embedding(ids) })));
    const ones = new Float32Array(3).fill(1);
    const got = await (await engine.train(undefined, place)).run(given, makeBatch(rows), ones);
    const written = laid.map((list) =>
      rowOf(
        list.map(({ id }) => id),
        {},
      ),
    );
    const wanted = await (await engine.train()).run(none, makeBatch(written), ones);
    expect(distance(got.loss, wanted.loss)).toBeLessThan(1e-5);
    const most = Math.max(...words.map(({ length }) => length));
    const D = config.width;
    for (const [b, list] of laid.entries()) {
      // the text's ids as virtual tokens in front, all but the last, which every row needs
      const whole = { prompt: await embedding(list.slice(0, -1).map(({ id }) => id)) };
      const { gradients } = await (await engine.train()).run(
        whole,
        makeBatch([rowOf([list.at(-1)!.id], {})]),
        ones.subarray(0, 1),
      );
      const own = words[b]!.length;
      for (const [n, { virtual }] of list.slice(0, -1).entries()) {
        if (virtual === undefined) continue;
        const at = (b * most + most - own + virtual) * D;
        const there = got.gradients.prompt!.data.subarray(at, at + D);
        expect(distance(there, gradients.prompt!.data.subarray(n * D, (n + 1) * D))).toBeLessThan(2e-5);
        // the last virtual token is in sight of the target in every model; a window may hide the others
        if (virtual === own - 1) expect(there.some((value) => value !== 0)).toBe(true);
      }
      // places that no virtual token of the row takes
      const unused = got.gradients.prompt!.data.subarray(b * most * D, (b * most + most - own) * D);
      expect(unused.every((value) => value === 0)).toBe(true);
    }
    const scores = await (await engine.score(undefined, place)).run(given, rows);
    const plain = await (await engine.score()).run(none, written);
    for (const [b, row] of scores.entries())
      expect(distance(Float32Array.from(row), Float32Array.from(plain[b]!))).toBeLessThan(1e-5);
    const ids = await (await engine.generate(undefined, place)).run(given, rows, 6);
    expect(ids).toEqual(await (await engine.generate()).run(none, written, 6));
    // without a prompt the parts are nowhere
    const bare = texts.map(([list]) => rowOf(list, {}));
    const without = await (await engine.train(undefined, place)).run(none, makeBatch(rows), ones);
    expect(distance(without.loss, (await (await engine.train()).run(none, makeBatch(bare), ones)).loss)).toBeLessThan(
      1e-5,
    );
    const few = given.map(({ prompt }) => ({ prompt: { shape: [1, D], data: prompt.data.subarray(0, D) } }));
    await expect((await engine.train(undefined, place)).run(few, makeBatch(rows), ones)).rejects.toThrow(
      /fewer virtual tokens/,
    );
    await expect((await engine.train()).run(given, makeBatch(rows), ones)).rejects.toThrow(/stand elsewhere/);
    // activations: the partial models of FPT are chosen by them
    const activations = await (await engine.activations(place)).run(given, makeBatch(rows));
    const asWords = await (await engine.activations()).run(none, makeBatch(written));
    for (const [stack, values] of Object.entries(activations))
      expect(distance(values, asWords[stack]!)).toBeLessThan(1e-5);
  });
});

describe("a whole tuning with both ends", () => {
  const texts = ["a", "some words", "a longer text of many words, and more", "b c", "the end of it", "x y z"];
  const rows = texts.map((text, n) => ({ text, label: n % 2 ? "b" : "a" }));
  const options = { steps: 4, virtualTokens: 4, batchSize: 3, evalEvery: 2, learningRate: 0.1, tensorboard: false };
  const data = (promptPosition = "start:1,end:3") =>
    loadRows(rows, { template: "{text} is", validationRows: rows, promptPosition });

  test.each([{}, { schedule: "fpt-cr" } as const])(
    "is recorded, resumed to the same bytes, and answers as it was tuned: %o",
    async (more) => {
      const tiny = await model();
      const run = async (name: string, pause: boolean) => {
        const output = join(folder, `${name}-${Object.keys(more).length}`);
        const stop = new AbortController();
        const observe = (event: { kind: string; step?: number }) => {
          if (pause && event.kind === "step" && event.step === 2) stop.abort();
        };
        const how = { ...options, ...more, output, baselines: false };
        const tuned = await tune(tiny, await data(), { ...how, onEvent: observe, signal: stop.signal });
        return pause ? tune(tiny, await data(), { ...how, resume: true }) : tuned;
      };
      const [whole, resumed] = [await run("whole", false), await run("stopped", true)];
      expect(resumed.adapter.prompt).toEqual(whole.adapter.prompt);
      const kept = join(folder, `whole-${Object.keys(more).length}`, "adapter");
      expect(readdirSync(kept)).toEqual(["README.md", "softprompt.json"]);
      expect(readFileSync(join(kept, "softprompt.json"), "utf8")).toContain("{prompt:1}{text} is{prompt:3}");
      const adapter = loadAdapter(kept);
      expect(adapter.prompt).toEqual(whole.adapter.prompt);
      const answers = await predict(tiny, adapter, texts);
      expect(answers.map(({ label }) => label)).toEqual(whole.predictions.map(({ label }) => label));
      const { loss } = await evaluate(tiny, (await data()).validation, { adapter });
      expect(Number.isFinite(loss)).toBe(true);
      const [text] = await generate(tiny, { prompt: ["some words"], adapter, maxTokens: 4 });
      expect(text).toBeDefined();
      const shorter = {
        ...adapter,
        prompt: { shape: [3, adapter.prompt.shape[1]!], data: adapter.prompt.data.slice(adapter.prompt.shape[1]!) },
      };
      saveAdapter(join(folder, "shorter"), shorter);
      expect(() => loadAdapter(join(folder, "shorter"))).toThrow(/do not agree/);
      expect(() => saveAdapter(join(folder, "peft"), adapter, "peft")).toThrow(/cannot say where/);
      await expect(exportPrompt("npy", { adapter, output: folder })).rejects.toThrow(/does not stand before the text/);
    },
  );

  test("all at one end: the bytes of that end", async () => {
    const tiny = await model();
    const prompts = async (promptPosition: string) =>
      (await tune(tiny, await data(promptPosition), { ...options, baselines: false })).adapter;
    expect(await prompts("start:4")).toEqual(await prompts("start"));
    expect(await prompts("end:4")).toEqual(await prompts("end"));
    expect((await prompts("start:1,end:3")).prompt).not.toEqual((await prompts("end")).prompt);
  });

  test("a search masks it; its tokens are not dropped, because the numbers of the parts would change", async () => {
    const tiny = await model();
    const search = { ...options, pieces: 4, tokensPruned: [1], piecesPruned: [1], workers: 1 };
    const { adapter } = await prune(tiny, await data(), search);
    expect(adapter.prompt.shape[0]).toBe(4);
    expect(adapter.task!.template).toBe("{prompt:1}{text} is{prompt:3}");
    await expect(prune(tiny, await data(), { ...search, prunedTokens: "drop" })).rejects.toThrow(/gives their number/);
    const counted = { template: "{text}{prompt:4} is", validationRows: rows };
    const alone = await loadRows(rows, counted);
    await expect(prune(tiny, alone, { ...search, prunedTokens: "drop" })).rejects.toThrow(/gives their number/);
  });
});
