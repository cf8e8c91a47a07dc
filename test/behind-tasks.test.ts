/**
 * Behind a text, whole tasks: one text under many adapters is read once, a start that is worse than none is told, what is cut is told, and
 * importance, search and generation over kept texts equal those that read every text in every pass.
 */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, test } from "vitest";
import type { Adapter } from "../src/adapter/types.js";
import { defaults, readOptions } from "../src/base/options.js";
import { random } from "../src/base/random.js";
import type { Tensor } from "../src/base/tensor.js";
import { openEngine } from "../src/engine/engine.js";
import { textFlops } from "../src/engine/flops.js";
import type { TextStore } from "../src/engine/text-store.js";
import { valuesPerToken } from "../src/engine/texts.js";
import type { EngineOptions } from "../src/engine/types.js";
import { openCheckpoint } from "../src/model/checkpoint.js";
import { fullModel } from "../src/model/partial.js";
import { behindPrompt, openTokenizer } from "../src/model/tokenizer.js";
import { type ImportanceOptions, importance } from "../src/prune/importance.js";
import { pruneOptions } from "../src/prune/options.js";
import { xprompt } from "../src/prune/xprompt.js";
import { openTextCache, openTexts } from "../src/run/text-cache.js";
import { singleStage } from "../src/schedule/schedule.js";
import { loadRows } from "../src/tasks/data.js";
import { evaluate } from "../src/tasks/evaluate.js";
import { generate } from "../src/tasks/generate.js";
import { tuningMemory } from "../src/tasks/memory-warning.js";
import { type Model, openModel } from "../src/tasks/model.js";
import { tuneOptions } from "../src/tasks/options.js";
import { openPredictor } from "../src/tasks/predictor.js";
import { prune } from "../src/tasks/prune.js";
import { tune } from "../src/tasks/tune.js";
import { encodeRows } from "../src/text/rows.js";
import { forecast } from "../src/train/forecast.js";
import { trainOptions } from "../src/train/options.js";
import { batchOrder } from "../src/train/order.js";
import { bundle } from "./helpers/bundle.js";
import { distance } from "./helpers/close.js";
import { tinyCausal } from "./helpers/tiny-causal.js";

const folder = mkdtempSync(join(tmpdir(), "behind-tasks-"));
const opened: { dispose(): Promise<void> }[] = [];
afterAll(async () => {
  for (const one of opened) await one.dispose();
  rmSync(folder, { recursive: true, force: true });
});

const texts = ["a", "some words", "a longer text of many words, and more", "b c", "the end of it", "x y z"];
const rows = texts.map((text, n) => ({ text, label: n % 2 ? "b" : "a" }));
const data = () => loadRows(rows, { template: "{text}{prompt} is", validationRows: rows });
const draw = random(7, "behind tasks");
const drawn = (tokens: number, width: number, range = 1): Tensor => ({
  shape: [tokens, width],
  data: Float32Array.from({ length: tokens * width }, () => draw.uniform(-range, range)),
});
const kept = { precision: "float32", memory: 2 ** 24, disk: 0 } as const;

async function engineOn(base: string, textCache: EngineOptions["textCache"]) {
  const engine = openEngine(await openCheckpoint(base), { threads: 1, textCache }, undefined, openTexts);
  opened.push(engine);
  return engine;
}
async function model(options: Parameters<typeof tinyCausal>[0] = {}, more: object = {}): Promise<Model> {
  const found = await openModel(tinyCausal(options), { threads: 1, ...more });
  opened.push(found);
  return found;
}

describe("many adapters on one text", () => {
  const adapters = async (width: number) => {
    const { task } = await data();
    const base = { name: "", revision: null, sha256: null, family: null, width, layers: null, heads: null };
    const rest = { mask: null, base, tokenizer: null, training: null, scores: null, kept: { config: {}, extras: {} } };
    return Object.fromEntries(
      [3, 5, 1, 4].map((tokens, n): [string, Adapter] => [
        `skill ${n}`,
        { prompt: drawn(tokens, width), task, ...rest },
      ]),
    );
  };

  test("read it once, in one batch and over batches, and answer as each does alone", async () => {
    const plain = await model({}, { textCache: "off" });
    const named = await adapters(plain.checkpoint.config.width);
    let reads = 0;
    const store = openTextCache({ ...kept, folder: null, identity: async () => "tiny" });
    const counting: TextStore = {
      ...store,
      put: (...read) => {
        reads++;
        return store.put(...read);
      },
    };
    const engine = openEngine(plain.checkpoint, plain.engine.options, undefined, () => counting);
    opened.push(engine);
    for (const batchSize of [32, 2]) {
      reads = 0;
      const text = `a text that nobody read before ${batchSize}`;
      const inputs = Object.keys(named).map((adapter) => ({ adapter, input: text }));
      const together = await (await openPredictor({ ...plain, engine }, { adapters: named, batchSize })).predict(
        inputs,
      );
      expect(reads).toBe(1);
      for (const [n, input] of inputs.entries()) {
        const [alone] = await (await openPredictor(plain, { adapters: named })).predict([input]);
        expect(together[n]!.label).toBe(alone!.label);
        expect(together[n]!.probabilities!.a).toBeCloseTo(alone!.probabilities!.a!, 5);
      }
      // without a store equal texts of a batch are read once too
      const uncached = await (await openPredictor(plain, { adapters: named, batchSize })).predict(inputs);
      for (const [n, { probabilities }] of uncached.entries())
        expect(probabilities!.a).toBeCloseTo(together[n]!.probabilities!.a!, 5);
    }
  });
});

describe("a tuning says", () => {
  const options = { steps: 1, virtualTokens: 3, batchSize: 4, evalEvery: 0, learningRate: 0.01 };
  const warnings = async (of: Model, more: object) => {
    const said: string[] = [];
    await tune(of, await data(), {
      ...options,
      ...more,
      onEvent: (event) => void (event.kind === "warning" && said.push(event.message)),
    });
    return said;
  };

  test("that its prompt starts worse than no prompt, and nothing of it where it starts better", async () => {
    const tiny = await model();
    const worse = /starts worse than no prompt \(loss [\d.]+ against [\d.]+ on 6 training rows\)/;
    const { width } = tiny.checkpoint.config;
    const { adapter } = await tune(tiny, await data(), options);
    const lossOf = async (prompt: Tensor | null) =>
      (await evaluate(tiny, (await data()).train, { adapter: { ...adapter, prompt: prompt ?? drawn(0, width) } })).loss;
    const bare = await lossOf(null);
    const found = new Set<boolean>();
    for (const range of [0.1, 0.5, 1, 2, 4, 8]) {
      const prompt = drawn(3, width, range);
      const isWorse = (await lossOf(prompt)) > bare;
      found.add(isWorse);
      const said = (await warnings(tiny, { prompt })).filter((message) => /starts worse/.test(message));
      expect(said).toHaveLength(isWorse ? 1 : 0);
      if (isWorse) expect(said[0]).toMatch(worse);
      expect((await warnings(tiny, { prompt, baselines: false })).join()).not.toMatch(/starts worse/);
    }
    expect(found.size).toBe(2);
  });

  test("and so does a search, before its own tuning", async () => {
    const tiny = await model();
    const told: string[] = [];
    const search = { pieces: 4, tokensPruned: [1], piecesPruned: [1], workers: 1, tensorboard: false };
    await prune(tiny, await data(), {
      ...{ ...options, ...search },
      onEvent: (event) => void told.push("what" in event && event.kind === "work" ? event.what : event.kind),
    });
    // four rows in the only step, one text each
    const at = told.findIndex((what) => /^reading 4 texts once/.test(what));
    expect(at).toBeGreaterThan(-1);
    expect(at).toBeLessThan(told.indexOf("phase"));
  });

  test("which rows do not fit into the model's window", async () => {
    const small = await model({ config: { max_position_embeddings: 32 } });
    const said = await warnings(small, {});
    expect(said.join()).toMatch(/2 of 12 inputs do not fit into the model's 32 positions beside 3 virtual tokens/);
  });
});

test("the memory that a tuning is said to need holds the texts that it keeps, up to the limit", async () => {
  const [off, on, little] = await Promise.all(
    [{ textCache: "off" }, { textCache: "float16" }, { textCache: "float16", textCacheMemory: 0 }].map((how) =>
      model({}, how),
    ),
  );
  const loaded = await data();
  const options = { ...readOptions(tuneOptions, { virtualTokens: 3 }, "test"), init: "continuation" } as const;
  const need = (of: Model | undefined) => tuningMemory(of!, loaded, options);
  const { config } = on!.checkpoint;
  const encoded = encodeRows(loaded.task, [...loaded.train, ...loaded.validation], on!.tokenizer, 492);
  const tokens = encoded.reduce((sum, row) => sum + row.promptAt!, 0);
  const kept = tokens * valuesPerToken(config, fullModel(config)) * 2;
  expect((need(on) - need(off)) / kept).toBeCloseTo(1, 1);
  expect(need(little)).toBe(need(off));
});

describe.each(["llama", "mistral", "gpt2"])("%s: over kept texts, as where each is read in every pass", (family) => {
  const base = tinyCausal({ family, config: family === "mistral" ? { sliding_window: 6 } : {} });
  const P = 4;

  test("importance, and a whole search, in one process and in two", { timeout: 120_000 }, async () => {
    const { task, train, validation } = await data();
    const [off, on] = [await engineOn(base, null), await engineOn(base, kept)];
    const tokenizer = behindPrompt(await openTokenizer(off.checkpoint), P);
    const prompt = drawn(P, off.checkpoint.config.width);
    const scoring: ImportanceOptions = {
      pieces: 4,
      layout: "contiguous",
      mode: "perExample",
      normalise: false,
      maxExamples: 0,
      batchSize: 4,
      maxInputTokens: 100,
      seed: 0,
    };
    const [a, b] = [off, on].map((engine) => importance(engine, tokenizer, task, train, prompt, scoring));
    expect(distance((await b!).tokens, (await a!).tokens)).toBeLessThan(1e-5);
    expect(distance((await b!).pieces, (await a!).pieces)).toBeLessThan(1e-5);
    const steps = { ...defaults(trainOptions), learningRate: 0.05, batchSize: 4, microBatchSize: 4, evalEvery: 2 };
    const schedule = singleStage(off.checkpoint.config, 2);
    const search = (engine: typeof on, more: object = {}) =>
      xprompt({
        ...{ engine, tokenizer, task, train, validation, prompt, schedule, retrainSchedule: schedule },
        settings: { ...steps, snapshotSeconds: 0 },
        options: { ...defaults(pruneOptions), pieces: 4, tokensPruned: [1, 2], piecesPruned: [1], workers: 1 },
        ...{ run: null, resume: false, observe: () => {}, ...more },
      });
    const [alone, over] = [await search(off), await search(on)];
    expect(over.candidates.map(({ name }) => name)).toEqual(alone.candidates.map(({ name }) => name));
    for (const [n, { loss }] of over.candidates.entries()) expect(loss / alone.candidates[n]!.loss).toBeCloseTo(1, 4);
    // the tuning read these texts, and its cost counts them: a retraining of the same batches costs that much less
    const { config } = on.checkpoint;
    const encoded = encodeRows(task, train, tokenizer, steps.maxInputTokens);
    const order = batchOrder(encoded, 4, steps.seed);
    const had = [...new Set([...order(0), ...order(1)])].map((n) => encoded[n]!);
    const read = textFlops(config, fullModel(config), had).total;
    expect(read).toBeGreaterThan(0);
    expect(over.tuned.cost.trainFlops - over.control.cost.trainFlops).toBeCloseTo(read, 0);
    const input = { engine: on, tokenizer, task, train, validation, parameters: { prompt }, mask: null, schedule };
    const readBefore = [{ partial: fullModel(config).name, from: 0, to: 2 }];
    const foreseen = forecast({ ...input, settings: steps, observe: () => {}, readBefore }).spent(2);
    expect(over.control.cost.trainFlops + over.control.cost.evalFlops).toBeCloseTo(foreseen, 0);
    if (family !== "llama") return;
    const module = await bundle("src/prune/worker.ts");
    const two = await search(on, { run: join(folder, "workers"), workers: { count: 2, module } });
    const facts = ({ candidates, control }: typeof two) =>
      [...candidates, control].map(({ name, loss, score, prompt }) => ({ name, loss, score, prompt }));
    expect(facts(two)).toEqual(facts(over));
  });

  test("generation", async () => {
    const { task } = await loadRows(rows, { template: "{text}", promptPosition: "end" });
    const [off, on] = await Promise.all(
      ["off", "float32"].map(async (textCache) => {
        const found = await openModel(base, { threads: 1, textCache: textCache as "off" });
        opened.push(found);
        return found;
      }),
    );
    const { width } = off!.checkpoint.config;
    const about = { name: "", revision: null, sha256: null, family: null, width, layers: null, heads: null };
    const rest = { mask: null, tokenizer: null, training: null, scores: null, kept: { config: {}, extras: {} } };
    const adapter: Adapter = { prompt: drawn(P, width, 4), task, base: about, ...rest };
    const asked = { prompt: texts, adapter, maxTokens: 12 };
    const written = await generate(off!, asked);
    expect(await generate(on!, asked)).toEqual(written);
    expect(await generate(on!, asked)).toEqual(written);
    expect(await generate(on!, { ...asked, adapter: null })).not.toEqual(written);
  });
});
