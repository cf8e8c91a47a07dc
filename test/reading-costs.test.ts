/**
 * @file What the reading of texts costs a training, step by step, and how much work it is to say so. Authorities: the trainer on a tiny
 * decoder-only model, each text's own cost, the number of batches that are looked up.
 */
import { rmSync } from "node:fs";
import { afterAll, expect, test } from "vitest";
import { defaults } from "../src/base/options.js";
import type { Tensor } from "../src/base/tensor.js";
import { openEngine } from "../src/engine/engine.js";
import { textFlops } from "../src/engine/flops.js";
import { openCheckpoint } from "../src/model/checkpoint.js";
import { fullModel, partialModel } from "../src/model/partial.js";
import { behindPrompt, openTokenizer } from "../src/model/tokenizer.js";
import { openTexts } from "../src/run/text-cache.js";
import { loadRows } from "../src/tasks/data.js";
import type { EncodedRow } from "../src/text/batch.js";
import { encodeRows } from "../src/text/rows.js";
import { forecast } from "../src/train/forecast.js";
import { readingFlops } from "../src/train/job.js";
import { trainOptions } from "../src/train/options.js";
import type { Schedule } from "../src/train/stage.js";
import { train } from "../src/train/trainer.js";
import type { TrainInput } from "../src/train/types.js";
import { tinyCausal } from "./helpers/tiny-causal.js";

const base = tinyCausal();
afterAll(() => rmSync(base, { recursive: true, force: true }));

const texts = ["a", "some words", "a longer text of many words, and more", "b c", "the end of it", "x y z"];
const rows = texts.map((text, n) => ({ text, label: n % 2 ? "b" : "a" }));
const kept = { precision: "float32", memory: 2 ** 24, disk: 0 } as const;

async function opened() {
  const checkpoint = await openCheckpoint(base);
  const engine = openEngine(checkpoint, { threads: 1, textCache: kept }, undefined, openTexts);
  const P = 3;
  const { width } = checkpoint.config;
  const prompt: Tensor = { shape: [P, width], data: Float32Array.from({ length: P * width }, (_, n) => Math.sin(n)) };
  const data = await loadRows(rows, { template: "{text}{prompt} is", validationRows: rows });
  const tokenizer = behindPrompt(await openTokenizer(checkpoint), P);
  const settings = { ...defaults(trainOptions), learningRate: 0.01, batchSize: 2, microBatchSize: 2, evalEvery: 100 };
  const input = (stages: Schedule["stages"]): TrainInput => ({
    ...{ engine, tokenizer, task: data.task, train: data.train, validation: [], parameters: { prompt }, settings },
    schedule: { name: "test", stages, resetOptimizerOnGrow: false, plateau: null },
    ...{ mask: null, run: null, observe: () => {} },
  });
  return { engine, config: checkpoint.config, input, encoded: encodeRows(data.task, data.train, tokenizer, 492) };
}

test("stages on one model read each text once between them, as one stage does; another model reads it anew", async () => {
  const { engine, config, input } = await opened();
  try {
    const [full, half] = [fullModel(config), partialModel(config, { depth: 0.5 })];
    const spent = async (stages: Schedule["stages"]) => {
      const { cost } = await train(input(stages));
      expect(cost.flops / forecast(input(stages)).spent(8)).toBeCloseTo(1, 12);
      return cost.flops;
    };
    const one = await spent([
      { partial: half, steps: 6 },
      { partial: full, steps: 2 },
    ]);
    const two = await spent([
      // an epoch each
      { partial: half, steps: 3 },
      { partial: half, steps: 3 },
      { partial: full, steps: 2 },
    ]);
    expect(two).toBe(one);
  } finally {
    await engine.dispose();
  }
});

test("of many epochs each step looks up a batch or two, not all before it, and each text is counted once", async () => {
  const { engine, config, input, encoded } = await opened();
  try {
    const full = fullModel(config);
    const job = input([{ partial: full, steps: 1 }]);
    // 60 rows of six texts, three to a step
    const all = Array.from({ length: 60 }, (_, n): EncodedRow => encoded[n % 6]!);
    let looked = 0;
    const rowsOf = (step: number) => {
      looked++;
      return [0, 1, 2].map((n) => (3 * step + n) % 60);
    };
    const of = {
      input: { ...job, settings: { ...job.settings, batchSize: 3 } },
      place: "behind",
      encoded: all,
      rowsOf,
    };
    const at = (step: number) => readingFlops(of as Parameters<typeof readingFlops>[0], full, { step, since: 0 }).total;
    const costs = Array.from({ length: 200 }, (_, step) => at(step));
    const alone = (n: number) => textFlops(config, full, [encoded[n]!]).total;
    expect(costs.slice(0, 2)).toEqual([alone(0) + alone(1) + alone(2), alone(3) + alone(4) + alone(5)]);
    expect(costs.slice(2).every((cost) => cost === 0)).toBe(true);
    expect(looked).toBeLessThan(3 * 200);
    // asked out of turn, it says the same
    expect([199, 1, 0].map(at)).toEqual([0, costs[1], costs[0]]);
  } finally {
    await engine.dispose();
  }
});
