/** @file A training on the real engine over the random tiny T5 of test/fixtures: two stages and a mask, a second or two. */
import { fileURLToPath } from "node:url";
import { random } from "../../src/base/random.js";
import { type Engine, openEngine } from "../../src/engine/engine.js";
import { maskFromScores } from "../../src/method/mask.js";
import { openCheckpoint } from "../../src/model/checkpoint.js";
import { fullModel, partialModel } from "../../src/model/partial.js";
import type { RunInput } from "../../src/run/train.js";
import type { TrainEvent } from "../../src/train/types.js";
import { fakeRows, fakeTokenizer } from "./fake-engine.js";
import { fptJob } from "./job.js";

/** The caller disposes it. @param folder default: the fixture beside this file. */
export async function tinyEngine(threads = 1, folder = fixture("tiny-t5-v11")): Promise<Engine> {
  return openEngine(await openCheckpoint(folder), { threads });
}

export function fixture(name: string): string {
  return fileURLToPath(new URL(`../fixtures/${name}`, import.meta.url));
}

/** One id per printable character, inside the fixture's 96. */
export const tinyTokenizer = {
  ...fakeTokenizer,
  encode: (text: string) => [...text].map((c) => 3 + ((c.charCodeAt(0) - 32) % 90)),
  decode: (ids: readonly number[]) => String.fromCharCode(...ids.filter((id) => id > 2).map((id) => id + 29)),
  size: 96,
};

export function tinyJob(engine: Engine, more: Partial<RunInput> = {}): RunInput & { events: TrainEvent[] } {
  const { config } = engine.checkpoint;
  const draw = random(2, "prompt");
  const D = config.width;
  const base = fptJob();
  return fptJob({
    engine,
    tokenizer: tinyTokenizer,
    train: fakeRows(21),
    validation: fakeRows(12, "validation.jsonl"),
    parameters: {
      prompt: { shape: [4, D], data: Float32Array.from({ length: 4 * D }, () => draw.uniform(-0.5, 0.5)) },
    },
    mask: maskFromScores({ tokens: [4, 3, 2, 1], pieces: new Float32Array(32) }, { tokensPruned: 1, piecesPruned: 2 }),
    schedule: {
      ...base.schedule,
      stages: [
        { partial: partialModel(config, { depth: 2, width: 0.5, neuronChoice: "first" }), steps: 4 },
        { partial: fullModel(config), steps: 6 },
      ],
    },
    settings: { ...base.settings, evalEvery: 3, learningRate: 0.1 },
    ...more,
  });
}
