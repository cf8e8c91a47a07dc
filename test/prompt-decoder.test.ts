/**
 * T5 with its prompt on the decoder's side: against what transformers computes (test/oracles/t5_decoder_prompt.py), with texts kept and read
 * in every pass, prompts and choices beside each other, and whole tasks.
 */
import { mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, describe, expect, test } from "vitest";
import { loadAdapter, saveAdapter } from "../src/adapter/adapter.js";
import type { Tensor } from "../src/base/tensor.js";
import { defineTask } from "../src/data/define.js";
import { compileTemplate } from "../src/data/template.js";
import { openEngine } from "../src/engine/engine.js";
import { generationFlops, shapeOfRows, stepFlops, textFlops } from "../src/engine/flops.js";
import { placeOf } from "../src/engine/place.js";
import type { EngineOptions } from "../src/engine/types.js";
import { openCheckpoint } from "../src/model/checkpoint.js";
import { fullModel } from "../src/model/partial.js";
import { openTexts } from "../src/run/text-cache.js";
import { loadRows } from "../src/tasks/data.js";
import { exportModel } from "../src/tasks/export.js";
import { generate } from "../src/tasks/generate.js";
import { type Model, openModel } from "../src/tasks/model.js";
import { predict } from "../src/tasks/predict.js";
import { prune } from "../src/tasks/prune.js";
import { tune } from "../src/tasks/tune.js";
import { type EncodedRow, makeBatch } from "../src/text/batch.js";
import { distance, expectClose } from "./helpers/close.js";
import { type OracleRows, oracleRows } from "./helpers/oracle-rows.js";
import { readFixture } from "./helpers/safetensors.js";
import { tinyCausal } from "./helpers/tiny-causal.js";

const opened: { dispose(): Promise<void> }[] = [];
const folder = mkdtempSync(join(tmpdir(), "decoder-"));
afterAll(async () => {
  for (const one of opened) await one.dispose();
  rmSync(folder, { recursive: true, force: true });
});

const folderOf = (name: string) => fileURLToPath(new URL(`fixtures/${name}`, import.meta.url));
const json = (name: string, file: string) => JSON.parse(readFileSync(join(folderOf(name), file), "utf8"));
interface Wanted {
  readonly loss: number[];
  readonly gradient: number[][];
  readonly greedy: number[][];
  readonly maxTokens: number;
}

const rowsOf = (oracle: OracleRows): EncodedRow[] =>
  oracleRows(oracle).map((row, b) => ({
    ...row,
    choices: [row.target, Int32Array.of(7, 9, 1), Int32Array.of(5, 1)].slice(0, 3 - (b % 2)),
    promptIn: "decoder",
  }));

const stores: [string, EngineOptions["textCache"]][] = [
  ["read in every pass", null],
  ["kept", { precision: "float32", memory: 2 ** 24, disk: 0 }],
];
describe.each(
  ["tiny-t5-v10", "tiny-t5-v11"].flatMap((name) => stores.map(([how, textCache]) => ({ name, how, textCache }))),
)("$name, texts $how", ({ name, textCache }) => {
  const oracle = json(name, "oracle.json") as OracleRows;
  const wanted = json(name, "decoder.json") as Wanted;
  const rows = rowsOf(oracle);
  const prompt: Tensor = readFixture(new URL(`fixtures/${name}/oracle.safetensors`, import.meta.url)).prompt!;
  const [P, D] = prompt.shape as [number, number];
  const ones = (n: number) => new Float32Array(n).fill(1);
  const tail = (n: number): Tensor => ({ shape: [P - n, D], data: prompt.data.slice(n * D) });

  test("loss, gradient, ranking and greedy ids are PyTorch's; each row as if it were alone", async () => {
    const engine = openEngine(await openCheckpoint(folderOf(name)), { threads: 1, textCache }, undefined, openTexts);
    opened.push(engine);
    const place = placeOf(engine.checkpoint.config, rows);
    expect(place).toBe("decoder");
    const [train, score, write] = await Promise.all([
      engine.train(undefined, place),
      engine.score(undefined, place),
      engine.generate(undefined, place),
    ]);
    // twice, because the second time a kept text is not read
    for (let time = 0; time < 2; time++) {
      const got = await train.run({ prompt }, makeBatch(rows), ones(rows.length));
      expect(distance(got.loss, Float32Array.from(wanted.loss))).toBeLessThan(2e-5);
      const gradient = { shape: [rows.length, P, D], data: Float32Array.from(wanted.gradient.flat()) };
      expectClose({ ...gradient, data: got.gradients.prompt!.data }, gradient, 5e-5);
      const scores = await score.run({ prompt }, rows);
      expect(
        distance(
          Float32Array.from(scores, (log) => -log[0]!),
          Float32Array.from(wanted.loss),
        ),
      ).toBeLessThan(2e-5);
      expect(await write.run({ prompt }, rows, wanted.maxTokens)).toEqual(wanted.greedy);
      for (const [b, row] of rows.entries())
        for (const [c, choice] of row.choices!.entries()) {
          const alone = await train.run({ prompt }, makeBatch([{ ...row, target: choice }]), ones(1));
          expect(-scores[b]![c]! / alone.loss[0]!).toBeCloseTo(1, 5);
        }
    }
    // prompts of different length
    const given = rows.map((_, b) => ({ prompt: tail(b % P) }));
    const together = await train.run(given, makeBatch(rows), ones(rows.length));
    const written = await write.run(given, rows, 4);
    for (const [b, row] of rows.entries()) {
      const alone = await train.run(given[b]!, makeBatch([row]), ones(1));
      expect(together.loss[b]! / alone.loss[0]!).toBeCloseTo(1, 5);
      const own = together.gradients.prompt!.data.subarray(b * P * D, (b + 1) * P * D);
      expect(own.subarray(0, (b % P) * D).every((v) => v === 0)).toBe(true);
      expect(distance(own.subarray((b % P) * D), alone.gradients.prompt!.data)).toBeLessThan(1e-5);
      expect(await write.run(given[b]!, [row], 4)).toEqual([written[b]]);
    }
    // without virtual tokens the model is as it was
    const none = { prompt: { shape: [0, D], data: new Float32Array(0) } };
    const plain = rows.map(({ promptIn: _, ...row }) => row);
    const bare = await (await engine.train()).run(none, makeBatch(plain), ones(rows.length));
    const same = await train.run(none, makeBatch(rows), ones(rows.length));
    expect(distance(same.loss, bare.loss)).toBeLessThan(1e-5);
    expect(await write.run(none, rows, 4)).toEqual(await (await engine.generate()).run(none, plain, 4));
    const [seen, before] = [await engine.activations(place), await engine.activations()];
    const activations = await seen.run(none, makeBatch(rows));
    for (const [stack, values] of Object.entries(await before.run(none, makeBatch(plain))))
      expect(distance(activations[stack]!, values)).toBeLessThan(1e-5);
    await expect((await engine.train()).run({ prompt }, makeBatch(rows), ones(4))).rejects.toThrow(/stand elsewhere/);
  });
});

test("a step costs the decoder alone, and its text once", async () => {
  const { config } = await openCheckpoint(folderOf("tiny-t5-v11"));
  const rows = rowsOf(json("tiny-t5-v11", "oracle.json"));
  const full = fullModel(config);
  const plain = rows.map(({ promptIn: _, ...row }) => row);
  const [own, front] = [shapeOfRows(config, rows, 5), shapeOfRows(config, plain, 5)];
  expect(own).toMatchObject({ place: "decoder", input: front.input, tail: 1 });
  expect(stepFlops(config, full, own).total).toBeLessThan(stepFlops(config, full, front).total / 2);
  expect(textFlops(config, full, rows).total).toBeGreaterThan(0);
  const [short, long] = [1, 3].map((target) => generationFlops(config, full, { ...own, target }).total);
  expect(long).toBeGreaterThan(short!);
});

test("the marker says it, alone, and decoder-only models refuse it", async () => {
  const task = defineTask({ name: "t", template: "{a} b", verbalizer: null, promptPosition: "decoder" });
  expect(task.template).toBe("{a} b{prompt:decoder}");
  expect(compileTemplate(task.template).fillRow({ a: "x" }, "r")).toEqual({
    input: "x b",
    fields: [{ name: "a", from: 0, to: 1 }],
    promptIn: "decoder",
  });
  expect(() => compileTemplate("{prompt:4}{a}{prompt:decoder}")).toThrow(/two places/);
  expect(() => compileTemplate("{prompt:decoder}{a}{prompt}")).toThrow(/two places/);
  const tiny = await openModel(tinyCausal(), { threads: 1 });
  opened.push(tiny);
  const rows = [{ text: "a", label: "a" }];
  const data = await loadRows(rows, {
    template: "{text}",
    promptPosition: "decoder",
    validationRows: rows,
    labels: ["a", "b"],
  });
  await expect(tune(tiny, data, { steps: 1, virtualTokens: 2 })).rejects.toThrow(/no decoder apart/);
});

describe("whole tasks on t5-nano", () => {
  const texts = ["a slow delight", "dull", "it was good , and long enough", "no", "a mess of a film", "warm and funny"];
  const rows = texts.map((text, n) => ({ text, label: n % 2 ? "bad" : "good" }));
  const options = { steps: 4, virtualTokens: 3, batchSize: 3, evalEvery: 2, learningRate: 0.1, tensorboard: false };
  const data = () => loadRows(rows, { template: "{text}", validationRows: rows, promptPosition: "decoder" });
  const nano = async (more: object = {}): Promise<Model> => {
    const found = await openModel(new URL("../models/t5-nano", import.meta.url).pathname, { threads: 1, ...more });
    opened.push(found);
    return found;
  };

  test("tuned, recorded, resumed to the same bytes, predicted, generated, pruned; files that cannot say it are refused", {
    timeout: 120_000,
  }, async () => {
    const model = await nano();
    const said: string[] = [];
    const run = async (name: string, pause: boolean) => {
      const stop = new AbortController();
      const how = { ...options, output: join(folder, name), baselines: false };
      const tuned = await tune(model, await data(), {
        ...how,
        signal: stop.signal,
        onEvent: (event) => {
          if ("what" in event && event.kind === "work") said.push(event.what);
          if (pause && event.kind === "step" && event.step === 2) stop.abort();
        },
      });
      return pause ? tune(model, await data(), { ...how, resume: true }) : tuned;
    };
    const [whole, resumed] = [await run("whole", false), await run("stopped", true)];
    expect(resumed.adapter.prompt).toEqual(whole.adapter.prompt);
    expect(said.join()).toMatch(/reading 6 texts once/);
    expect(readdirSync(join(folder, "whole", "adapter"))).toEqual(["README.md", "softprompt.json"]);
    const adapter = loadAdapter(join(folder, "whole"));
    expect(adapter.task!.template).toBe("{text}{prompt:decoder}");
    const answers = await predict(model, adapter, texts);
    expect(answers.map(({ label }) => label)).toEqual(whole.predictions.map(({ label }) => label));
    const off = await nano({ textCache: "off" });
    for (const [n, { probabilities }] of (await predict(off, adapter, texts)).entries())
      expect(probabilities!.good).toBeCloseTo(answers[n]!.probabilities!.good!, 3);
    const asked = { prompt: texts, adapter, maxTokens: 4 };
    expect(await generate(model, asked)).not.toEqual(await generate(model, { ...asked, adapter: null }));
    expect(() => saveAdapter(join(folder, "peft"), adapter, "peft")).toThrow(/cannot say where/);
    await expect(exportModel(model, { adapter, output: join(folder, "onnx") })).rejects.toThrow(
      /does not stand before/,
    );
    const search = { ...options, pieces: 4, tokensPruned: [1], piecesPruned: [1], workers: 1 };
    const found = await prune(model, await data(), { ...search, prunedTokens: "drop" });
    expect(found.adapter.task!.template).toBe("{text}{prompt:decoder}");
  });
});
