/**
 * What many texts begin with is read once: its ids, numbers equal to those without sharing in every family, few-shot blocks, and what is said.
 *
 * The authority is the same rows without the split, which parity-causal.test.ts compares with PyTorch.
 */
import { rmSync } from "node:fs";
import { afterAll, describe, expect, test } from "vitest";
import { defaults } from "../src/base/options.js";
import type { Row } from "../src/data/row.js";
import { compileTemplate } from "../src/data/template.js";
import { openEngine } from "../src/engine/engine.js";
import { textFlops } from "../src/engine/flops.js";
import type { TextStore } from "../src/engine/text-store.js";
import { evaluatePrepared, evaluationOptions, prepareEvaluation } from "../src/evaluate/evaluate.js";
import { drawExamples, inContext } from "../src/evaluate/in-context.js";
import { architectureOf } from "../src/model/architectures.js";
import { openCheckpoint } from "../src/model/checkpoint.js";
import { fullModel } from "../src/model/partial.js";
import { openTextCache } from "../src/run/text-cache.js";
import { loadRows } from "../src/tasks/data.js";
import { evaluate } from "../src/tasks/evaluate.js";
import { openModel } from "../src/tasks/model.js";
import { tune } from "../src/tasks/tune.js";
import { aroundPrompt, type EncodedRow, makeBatch } from "../src/text/batch.js";
import { encodeRows } from "../src/text/rows.js";
import { trainOptions } from "../src/train/options.js";
import { distance } from "./helpers/close.js";
import { tinyCausal, tinyChat } from "./helpers/tiny-causal.js";
import { fixture } from "./helpers/tiny-job.js";

const opened: { dispose(): Promise<void> }[] = [];
const folders: string[] = [];
afterAll(async () => {
  for (const one of opened) await one.dispose();
  for (const folder of folders) rmSync(folder, { recursive: true, force: true });
});
async function model(options: Parameters<typeof tinyCausal>[0] = {}, more: object = {}) {
  const folder = tinyCausal(options);
  folders.push(folder);
  const found = await openModel(folder, { threads: 1, ...more });
  opened.push(found);
  return found;
}

const texts = ["a", "some words", "a longer text, of many words", "b c", "the end of it", "x y z"];
const rows = texts.map((text, n) => ({ text, label: n % 2 ? "b" : "a" }));
const long = "Say a or b, as it is: {text}{prompt} is";
const data = (template = long) => loadRows(rows, { template, validationRows: rows });

describe("the ids that texts share", () => {
  test("are those before the first field, also of a chat's frame; few are not worth it", async () => {
    const plain = await model();
    const { task, train } = await data();
    const encoded = encodeRows(task, train, plain.tokenizer, 200);
    const head = plain.tokenizer.encode("Say a or b, as it is:");
    const [first] = encoded;
    expect(first!.shared).toBeGreaterThanOrEqual(head.length);
    for (const row of encoded) {
      expect(row.shared).toBe(first!.shared);
      expect(aroundPrompt(row).before.subarray(0, row.shared)).toEqual(
        aroundPrompt(first!).before.subarray(0, row.shared),
      );
    }
    const short = await data("Say it now: {text}{prompt} is");
    for (const row of encodeRows(short.task, short.train, plain.tokenizer, 200))
      expect(row).not.toHaveProperty("shared");
    const chat = await openModel(await chatFolder(), { threads: 1, chat: true });
    opened.push(chat);
    const framed = encodeRows(short.task, short.train, chat.tokenizer, 200);
    expect(framed[0]!.shared).toBeGreaterThanOrEqual(16);
    // nothing is shared where texts are not read before the virtual tokens
    const front = await data("Say a or b, as it is: {text} is");
    for (const row of encodeRows(front.task, front.train, plain.tokenizer, 200))
      expect(row).not.toHaveProperty("shared");
  });
  async function chatFolder() {
    const folder = tinyCausal({ chat: tinyChat });
    folders.push(folder);
    return folder;
  }
  test("end where a cut or another word makes the ids differ", async () => {
    const { tokenizer } = await model();
    const { task } = await data();
    const row = (text: string): Row => ({
      ...compileTemplate(long).fillRow({ text }, "r"),
      ...{ id: "r", target: "a", label: "a", references: ["a"] },
    });
    const [whole, cut] = [200, 40].map((most) => encodeRows(task, [row("word ".repeat(20))], tokenizer, most)[0]!);
    expect(cut!.truncated).toBe(true);
    expect(cut!.shared).toBe(whole!.shared);
  });
});

describe.each(["llama", "mistral", "qwen2-window", "gpt2", "neox", "llama-bias"])(
  "%s: with what is shared read once",
  (name) => {
    test("loss, gradient, scores and greedy ids are those without", async () => {
      const checkpoint = await openCheckpoint(fixture(`tiny-causal-${name}`));
      const { config } = checkpoint;
      const reads: number[] = [];
      const counted = (): TextStore => {
        const store = openTextCache({
          ...{ precision: "float32", memory: 2 ** 24, disk: 0, folder: null, identity: async () => "tiny" },
        });
        return {
          ...store,
          put: (partial, ids, values) => {
            reads.push(values.length);
            return store.put(partial, ids, values);
          },
        };
      };
      const engine = openEngine(checkpoint, { threads: 1 }, undefined, counted);
      opened.push(engine);
      const begin = [5, 9, 31, 7, 22, 14, 8, 3];
      const row = (ids: number[], promptAt: number, shared?: number): EncodedRow => ({
        ...{ id: "r", input: Int32Array.from([...begin, ...ids.slice(0, -1)]), first: ids.at(-1)! },
        ...{ target: Int32Array.of(9, 4, 1), choices: [Int32Array.of(9, 4, 1), Int32Array.of(6, 1)], gold: 0 },
        ...{ truncated: false, promptAt: begin.length + promptAt },
        ...(shared === undefined ? {} : { shared }),
      });
      const each = (shared?: number) => [
        row([11, 12, 40], 3, shared),
        row([13], 1, shared),
        row([17, 18, 19, 20, 21, 23, 24], 5, shared),
        row([30, 33], 0, shared), // nothing but the beginning
        row([11, 12, 40], 2, shared && 5),
      ];
      const [parted, plain] = [each(begin.length), each()];
      const prompt = { prompt: await checkpoint.readRows(architectureOf(config).embedding, [7, 11, 5]) };
      const ones = new Float32Array(5).fill(1);
      const train = await engine.train(undefined, "behind");
      const score = await engine.score(undefined, "behind");
      const write = await engine.generate(undefined, "behind");
      const wanted = await train.run(prompt, makeBatch(plain), ones);
      const kept = reads.splice(0).reduce((sum, n) => sum + n, 0);
      const got = await train.run(prompt, makeBatch(parted), ones);
      const own = reads.splice(0).reduce((sum, n) => sum + n, 0);
      expect(distance(got.loss, wanted.loss)).toBeLessThan(1e-5);
      expect(distance(got.gradients.prompt!.data, wanted.gradients.prompt!.data)).toBeLessThan(1e-5);
      // 11, 9, 13, 8 and 10 ids against 3, 1, 5, none and 5 of their own
      expect(own / kept).toBeCloseTo(14 / 51, 5);
      const [scores, plainly] = [await score.run(prompt, parted), await score.run(prompt, plain)];
      for (const [b, log] of scores.entries())
        expect(distance(Float32Array.from(log), Float32Array.from(plainly[b]!))).toBeLessThan(1e-5);
      expect(await write.run(prompt, parted, 6)).toEqual(await write.run(prompt, plain, 6));
      // everything is kept by now; again, and each row alone, it is the same
      expect(await train.run(prompt, makeBatch(parted), ones)).toEqual(got);
      expect(reads).toEqual([]);
      for (const one of parted) {
        const { loss } = await train.run(prompt, makeBatch([one]), ones.subarray(0, 1));
        expect(loss[0]! / got.loss[parted.indexOf(one)]!).toBeCloseTo(1, 5);
      }
      const full = fullModel(config);
      const [all, less] = [textFlops(config, full, plain).total, textFlops(config, full, parted).total];
      expect(less).toBeGreaterThan(0);
      expect(less).toBeLessThan(all);
      const again = new Set<string>();
      textFlops(config, full, parted, { beginnings: again });
      expect([...again].filter((name) => !name.startsWith("text "))).toHaveLength(2);
      expect(textFlops(config, full, parted, { beginnings: again }).total).toBeLessThan(less);
    });
  },
);

describe.each(["llama", "mistral", "gpt2"])("%s: many prompts on one text, whose memory comes once for all", (name) => {
  test("each has the loss, gradient, scores and ids that it has alone, and beside another text", async () => {
    const checkpoint = await openCheckpoint(fixture(`tiny-causal-${name}`));
    const engine = openEngine(checkpoint, { threads: 1 });
    opened.push(engine);
    const table = architectureOf(checkpoint.config).embedding;
    const row: EncodedRow = {
      ...{ id: "r", input: Int32Array.of(5, 9, 31, 7, 22), first: 14, target: Int32Array.of(9, 4, 1), promptAt: 4 },
      ...{ choices: [Int32Array.of(9, 4, 1), Int32Array.of(6, 1)], gold: 0, truncated: false },
    };
    const other = { ...row, input: Int32Array.of(8, 3), first: 40, promptAt: 2 };
    const prompts = await Promise.all([[7, 11, 5], [13], [21, 22]].map((ids) => checkpoint.readRows(table, ids)));
    const given = prompts.map((prompt) => ({ prompt }));
    const [P, D] = [3, checkpoint.config.width];
    const train = await engine.train(undefined, "behind");
    const score = await engine.score(undefined, "behind");
    const write = await engine.generate(undefined, "behind");
    const ones = (n: number) => new Float32Array(n).fill(1);
    const rows = given.map(() => row);
    const [once, beside] = [
      await train.run(given, makeBatch(rows), ones(3)),
      await train.run([...given, given[0]!], makeBatch([...rows, other]), ones(4)),
    ];
    expect(distance(once.loss, beside.loss.subarray(0, 3))).toBeLessThan(1e-5);
    const [scores, ids] = [await score.run(given, rows), await write.run(given, rows, 5)];
    for (const [b, set] of given.entries()) {
      const alone = await train.run(set, makeBatch([row]), ones(1));
      expect(once.loss[b]! / alone.loss[0]!).toBeCloseTo(1, 5);
      const own = once.gradients.prompt!.data.subarray((b * P + P - set.prompt.shape[0]!) * D, (b + 1) * P * D);
      expect(distance(own, alone.gradients.prompt!.data)).toBeLessThan(1e-5);
      const [lone] = await score.run(set, [row]);
      expect(distance(Float32Array.from(scores[b]!), Float32Array.from(lone!))).toBeLessThan(1e-5);
      expect(await write.run(set, [row], 5)).toEqual([ids[b]]);
    }
  });
});

describe("examples and an instruction before each row", () => {
  test.each(["float32", "float16", "off"] as const)(
    "are read once for all rows, and change no answer: texts %s",
    async (textCache) => {
      const tiny = await model({}, { textCache });
      const loaded = await data("{text} is");
      const { task, train, validation } = loaded;
      const { engine, tokenizer, checkpoint } = tiny;
      const context = { instruction: "Say what it is.", examples: drawExamples(train, 3, 0) };
      const asked = inContext(task, validation, context, tokenizer, 400);
      const prepared = prepareEvaluation(tokenizer, task, asked.rows, {
        ...evaluationOptions(defaults(trainOptions)),
        batchSize: 2,
        maxInputTokens: 400,
      });
      expect(prepared.encoded.every(({ shared }) => shared! > 40)).toBe(true);
      const full = fullModel(checkpoint.config);
      const none = { prompt: { shape: [0, checkpoint.config.width], data: new Float32Array(0) } };
      const once = (await evaluatePrepared(engine, full, tokenizer, prepared, null))!;
      const each = (await evaluatePrepared(engine, full, tokenizer, prepared, none))!;
      expect(once.loss / each.loss).toBeCloseTo(1, 5);
      for (const [n, { label, probabilities }] of once.predictions.entries()) {
        expect(label).toBe(each.predictions[n]!.label);
        expect(probabilities!.a).toBeCloseTo(each.predictions[n]!.probabilities!.a!, 5);
      }
      expect(once.flops).toBeLessThan(each.flops);
      const same = await evaluate(tiny, loaded, {
        adapter: null,
        task,
        shots: 3,
        instruction: context.instruction,
        maxInputTokens: 400,
      });
      expect(same.loss / each.loss).toBeCloseTo(1, 5);
    },
  );
});

test("rows without room for an example are answered beside the others, alone in a batch too", async () => {
  const tiny = await model();
  const words = [...texts, Array.from({ length: 30 }, (_, n) => `word ${n}`).join(" ")];
  const uneven = words.map((text, n) => ({ text, label: n % 2 ? "b" : "a" }));
  const loaded = await loadRows(uneven, { template: "{text} is", validationRows: uneven });
  const room = { maxInputTokens: 60, shots: 3 };
  const found = await evaluate(tiny, loaded, { adapter: null, ...room, batchSize: 1 });
  expect(found.predictions).toHaveLength(words.length);
  const together = await evaluate(tiny, loaded, { adapter: null, ...room, batchSize: 16 });
  expect(together.loss / found.loss).toBeCloseTo(1, 5);
});

test("without a store every pass over texts is counted", async () => {
  const [kept, read] = [await model(), await model({}, { textCache: "off" })];
  const loaded = await data();
  const cost = async (of: Awaited<ReturnType<typeof model>>) => {
    const options = { ...evaluationOptions(defaults(trainOptions)), batchSize: 2 };
    const prepared = prepareEvaluation(of.tokenizer, loaded.task, loaded.validation, options);
    const none = {
      prompt: { shape: [1, of.checkpoint.config.width], data: new Float32Array(of.checkpoint.config.width) },
    };
    const found = await evaluatePrepared(of.engine, fullModel(of.checkpoint.config), of.tokenizer, prepared, none);
    return { flops: found!.flops, prepared };
  };
  const [once, each] = [await cost(kept), await cost(read)];
  const { config } = kept.checkpoint;
  const whole = each.prepared.batches
    .map((numbers) => numbers.map((n) => each.prepared.encoded[n]!))
    .map((batch) => textFlops(config, fullModel(config), batch, { together: true }).total);
  const apart = textFlops(config, fullModel(config), once.prepared.encoded).total;
  expect(each.flops - once.flops).toBe(whole.reduce((a, b) => a + b) - apart);
  expect(each.flops).toBeGreaterThan(once.flops);
});

test("a tuning says how many tokens are read, and how many of them once for all", async () => {
  const tiny = await model();
  const said: string[] = [];
  const loaded = await data();
  const observe = (event: { kind: string; what?: string }) => void (event.kind === "work" && said.push(event.what!));
  await tune(tiny, loaded, {
    steps: 2,
    virtualTokens: 2,
    batchSize: 6,
    learningRate: 0.1,
    baselines: false,
    onEvent: observe,
  });
  const encoded = encodeRows(loaded.task, loaded.train, tiny.tokenizer, 492);
  const { shared } = encoded[0]!;
  const tokens = encoded.reduce((sum, row) => sum + row.promptAt! - shared!, shared!);
  const line = said.find((what) => /texts once/.test(what));
  expect(line).toContain(`reading 6 texts once: ${tokens} tokens`);
  expect(line).toContain(`what many begin with (${shared} tokens) is read once for all`);
});
