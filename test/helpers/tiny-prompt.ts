/**
 * @file What tests of XPrompt on the tiny T5 start from: rows, a prompt, scoring and training settings, plain tuning.
 */
import { fileURLToPath } from "node:url";
import { defaults } from "../../src/base/options.js";
import { random } from "../../src/base/random.js";
import type { Tensor } from "../../src/base/tensor.js";
import { type Engine, openEngine } from "../../src/engine/engine.js";
import { openCheckpoint } from "../../src/model/checkpoint.js";
import type { ImportanceOptions } from "../../src/prune/importance.js";
import { singleStage } from "../../src/schedule/schedule.js";
import { trainOptions } from "../../src/train/options.js";
import { train } from "../../src/train/trainer.js";
import type { TrainInput } from "../../src/train/types.js";
import { tinyDataset, tinyTokenizer } from "./tiny.js";

/** Axes of the prompt: P tokens of D dimensions in K pieces. */
export const P = 4;
export const D = 32;
export const K = 8;
export const { task, train: rows, validation } = tinyDataset(24, 12);
const draw = random(5, "xprompt test");
export const prompt: Tensor = {
  shape: [P, D],
  data: Float32Array.from({ length: P * D }, () => draw.uniform(-1.5, 1.5)),
};

export async function openTiny(): Promise<Engine> {
  const folder = fileURLToPath(new URL("../fixtures/tiny-t5-v11", import.meta.url));
  return openEngine(await openCheckpoint(folder), { threads: 1 });
}

export const scoring: ImportanceOptions = {
  pieces: K,
  layout: "contiguous",
  mode: "perExample",
  normalise: false,
  maxExamples: 0,
  batchSize: 8,
  maxInputTokens: 492,
  seed: 0,
};

export const settings = {
  ...defaults(trainOptions),
  learningRate: 0.05,
  batchSize: 8,
  microBatchSize: 8,
  evalEvery: 4,
  snapshotSeconds: 0,
};

/** Tunes the prompt on all of the model. */
export const plain = (engine: Engine, steps: number, more: Partial<TrainInput> = {}) =>
  train({
    engine,
    tokenizer: tinyTokenizer,
    task,
    train: rows,
    validation,
    parameters: { prompt },
    mask: null,
    schedule: singleStage(engine.checkpoint.config, steps),
    settings,
    run: null,
    observe: () => {},
    ...more,
  });
