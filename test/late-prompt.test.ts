/**
 * A prompt that enters T5's encoder late: against PyTorch (test/oracles/t5_late_prompt.py), on partial models against central differences, and
 * whole tasks on t5-nano.
 */
import { mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, describe, expect, test } from "vitest";
import { loadAdapter, saveAdapter } from "../src/adapter/adapter.js";
import { defaults } from "../src/base/options.js";
import type { Tensor } from "../src/base/tensor.js";
import { openEngine } from "../src/engine/engine.js";
import { layerFlops, shapeOfRows, stepFlops } from "../src/engine/flops.js";
import { openMethod } from "../src/method/methods.js";
import { methodOptions } from "../src/method/options.js";
import { promptTuning } from "../src/method/prompt.js";
import { openCheckpoint } from "../src/model/checkpoint.js";
import { fullModel } from "../src/model/partial.js";
import { loadRows } from "../src/tasks/data.js";
import { exportPrompt } from "../src/tasks/export.js";
import { openModel } from "../src/tasks/model.js";
import { predict } from "../src/tasks/predict.js";
import { prune } from "../src/tasks/prune.js";
import { tune } from "../src/tasks/tune.js";
import { makeBatch } from "../src/text/batch.js";
import { distance, expectClose } from "./helpers/close.js";
import { oracleRows } from "./helpers/oracle-rows.js";
import { readFixture } from "./helpers/safetensors.js";
import { tinyCausal } from "./helpers/tiny-causal.js";

const opened: { dispose(): Promise<void> }[] = [];
const folder = mkdtempSync(join(tmpdir(), "late-"));
afterAll(async () => {
  for (const one of opened) await one.dispose();
  rmSync(folder, { recursive: true, force: true });
});

const folderOf = (name: string) => fileURLToPath(new URL(`fixtures/${name}`, import.meta.url));
const json = (name: string, file: string) => JSON.parse(readFileSync(join(folderOf(name), file), "utf8"));
const late = (insertLayer: number, virtualTokens: number) =>
  openMethod({ ...defaults(methodOptions), method: "prompt", insertLayer, virtualTokens, seed: 0 });

interface Wanted {
  readonly maxTokens: number;
  readonly blocks: Readonly<Record<string, { loss: number[]; gradient: number[][]; greedy: number[][] }>>;
}

const ones = (n: number) => new Float32Array(n).fill(1);

describe.each(["tiny-t5-v10", "tiny-t5-v11"])("%s", (name) => {
  const rows = oracleRows(json(name, "oracle.json"));
  const wanted = json(name, "late.json") as Wanted;
  const prompt: Tensor = readFixture(new URL(`fixtures/${name}/oracle.safetensors`, import.meta.url)).prompt!;
  const [P, D] = prompt.shape as [number, number];

  test.each(Object.entries(wanted.blocks))(
    "before block %s: loss, gradient, ranking and greedy ids are PyTorch's, in a batch and alone",
    async (block, { loss, gradient, greedy }) => {
      const engine = openEngine(await openCheckpoint(folderOf(name)), { threads: 1 }, late(Number(block), P));
      opened.push(engine);
      const [train, score, write] = [await engine.train(), await engine.score(), await engine.generate()];
      const got = await train.run({ late: prompt }, makeBatch(rows), ones(rows.length));
      expect(distance(got.loss, Float32Array.from(loss))).toBeLessThan(2e-5);
      const all = { shape: [rows.length, P, D], data: Float32Array.from(gradient.flat()) };
      expectClose({ ...all, data: got.gradients.late!.data }, all, 5e-5);
      const scores = await score.run({ late: prompt }, rows);
      const logs = Float32Array.from(scores, (log) => -log[0]!);
      expect(distance(logs, Float32Array.from(loss))).toBeLessThan(2e-5);
      expect(await write.run({ late: prompt }, rows, wanted.maxTokens)).toEqual(greedy);
      for (const [b, row] of rows.entries()) {
        const alone = await train.run({ late: prompt }, makeBatch([row]), ones(1));
        expect(alone.loss[0]! / loss[b]!).toBeCloseTo(1, 5);
      }
    },
  );

  test("before block 0 it is prompt tuning itself", () => {
    expect(late(0, P)).toBe(promptTuning);
    expect(Object.keys(wanted.blocks).length).toBeGreaterThan(0);
  });
});

describe("the last block's prompt on tiny-t5-v11", async () => {
  const checkpoint = await openCheckpoint(folderOf("tiny-t5-v11"));
  const { config } = checkpoint;
  const rows = oracleRows(json("tiny-t5-v11", "oracle.json"));
  const prompt: Tensor = readFixture(new URL("fixtures/tiny-t5-v11/oracle.safetensors", import.meta.url)).prompt!;
  const [P, D] = prompt.shape as [number, number];

  // without the blocks from 2 on it enters after all
  test.each([
    [[0, 2], "before the block"],
    [[1, 2], "before the block"],
    [[0, 1], "after all"],
  ])("on encoder layers %j it enters %s; the gradient is the difference quotient of the loss", async (kept) => {
    const full = fullModel(config);
    const partial = { name: `e${kept}`, stacks: { ...full.stacks, encoder: { layers: kept, neurons: null } } };
    const engine = openEngine(checkpoint, { threads: 1 }, late(2, P));
    opened.push(engine);
    const train = await engine.train(partial);
    const lossAt = async (data: Float32Array) => {
      const { loss } = await train.run({ late: { shape: [P, D], data } }, makeBatch(rows), ones(rows.length));
      return loss.reduce((sum, l) => sum + l, 0);
    };
    const { gradients } = await train.run({ late: prompt }, makeBatch(rows), ones(rows.length));
    const gradient = new Float32Array(P * D);
    for (const [i, v] of gradients.late!.data.entries()) gradient[i % (P * D)]! += v;
    // along the gradient: a difference of one element would drown in float32
    const norm = Math.hypot(...gradient);
    const step = 0.02;
    const moved = (sign: number) => prompt.data.map((v, i) => v + (sign * step * gradient[i]!) / norm);
    const quotient = ((await lossAt(moved(1))) - (await lossAt(moved(-1)))) / (2 * step);
    expect(norm).toBeGreaterThan(1e-3);
    expect(quotient / norm).toBeCloseTo(1, 2);
  });

  test("a step costs less, by the blocks below: they are read without the prompt, and only forwards", () => {
    const full = fullModel(config);
    const shape = shapeOfRows(config, rows, P);
    const [front, middle, last] = [0, 1, 2].map((layer) => stepFlops(config, full, shape, late(layer, P)).total);
    expect(middle).toBeLessThan(front!);
    expect(last).toBeLessThan(middle!);
    // what is left when all blocks below are taken out
    const below = layerFlops(config, { stack: "encoder", layer: 0 }, { ...shape, prompt: 0 }).total;
    expect(below).toBeGreaterThan(0);
    expect(middle! - below).toBeLessThan(middle!);
  });
});

test("what cannot be is refused: a block that is not there, a decoder-only model, another place", async () => {
  const checkpoint = await openCheckpoint(folderOf("tiny-t5-v11"));
  const engine = openEngine(checkpoint, { threads: 1 }, late(3, 2));
  opened.push(engine);
  await expect(engine.train()).rejects.toThrow(/cannot enter there[\s\S]*0 … 2/);
  const within = openEngine(checkpoint, { threads: 1 }, late(1, 2));
  opened.push(within);
  await expect(within.train(undefined, "within")).rejects.toThrow(/at this place/);
  const tiny = await openModel(tinyCausal(), { threads: 1 });
  opened.push(tiny);
  const rows = [{ text: "a", label: "a" }];
  const data = await loadRows(rows, { template: "{text}", validationRows: rows, labels: ["a", "b"] });
  await expect(tune(tiny, data, { steps: 1, virtualTokens: 2, insertLayer: 1 })).rejects.toThrow(/with an encoder/);
});

test("a whole task on t5-nano: tuned, recorded, resumed to the same bytes, predicted; files that cannot say it are refused", {
  timeout: 120_000,
}, async () => {
  const texts = ["a slow delight", "dull", "it was good , and long enough", "no", "a mess of a film", "warm and funny"];
  const rows = texts.map((text, n) => ({ text, label: n % 2 ? "bad" : "good" }));
  const data = await loadRows(rows, { template: "{text}", validationRows: rows });
  const options = { steps: 4, virtualTokens: 3, batchSize: 3, evalEvery: 2, insertLayer: 2, tensorboard: false };
  const model = await openModel(new URL("../models/t5-nano", import.meta.url).pathname, { threads: 1 });
  opened.push(model);
  const run = async (name: string, pause: boolean) => {
    const stop = new AbortController();
    const how = { ...options, output: join(folder, name), baselines: false };
    const onEvent = (event: { kind: string; step?: number }) => {
      if (pause && event.kind === "step" && event.step === 2) stop.abort();
    };
    const tuned = await tune(model, data, { ...how, signal: stop.signal, onEvent });
    return pause ? tune(model, data, { ...how, resume: true }) : tuned;
  };
  const [whole, resumed] = [await run("whole", false), await run("stopped", true)];
  expect(resumed.adapter.applied).toEqual(whole.adapter.applied);
  expect(readdirSync(join(folder, "whole", "adapter")).sort()).toEqual([
    ...["README.md", "softprompt.json", "softprompt.safetensors"],
  ]);
  const adapter = loadAdapter(join(folder, "whole"));
  expect(adapter.applied).toMatchObject({ method: "prompt", settings: { insertLayer: 2, virtualTokens: 3 } });
  const answers = await predict(model, adapter, texts);
  expect(answers.map(({ label }) => label)).toEqual(whole.predictions.map(({ label }) => label));
  expect(() => saveAdapter(join(folder, "peft"), adapter, "peft")).toThrow(/has no such form/);
  await expect(exportPrompt("npy", { adapter, output: join(folder, "npy") })).rejects.toThrow(/more than vectors/);
  const search = { ...options, pieces: 4, tokensPruned: [1], piecesPruned: [1], workers: 1 };
  await expect(prune(model, data, search)).rejects.toThrow(/can be pruned/);
  const placed = await loadRows(rows, { template: "{text}{prompt}", validationRows: rows });
  await expect(tune(model, placed, { ...options, steps: 1 })).rejects.toThrow(/at this place/);
});
