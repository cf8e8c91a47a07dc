/** @file A training on the fake engine that uses everything: three stages, a mask, early evaluations, kept prompts. */
import { existsSync, mkdtempSync, readFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { defaults } from "../../src/base/options.js";
import { random } from "../../src/base/random.js";
import type { Tensor } from "../../src/base/tensor.js";
import { maskFromScores } from "../../src/method/mask.js";
import { fullModel, partialModel } from "../../src/model/partial.js";
import { withoutClock } from "../../src/run/metrics.js";
import type { RunInput } from "../../src/run/train.js";
import { trainOptions } from "../../src/train/options.js";
import type { TrainEvent, TrainResult } from "../../src/train/types.js";
import { fakeConfig, fakeEngine, fakeRows, fakeTask, fakeTokenizer } from "./fake-engine.js";

const draw = random(1, "prompt");

/** [4, 8] */
export const startPrompt: Tensor = {
  shape: [4, 8],
  data: Float32Array.from({ length: 32 }, () => draw.uniform(-0.5, 0.5)),
};

/** FPT's compound growth in small: half, three quarters, full; with a mask of XPrompt's kind. */
export function fptJob(more: Partial<RunInput> = {}): RunInput & { events: TrainEvent[] } {
  const events: TrainEvent[] = [];
  const mask = maskFromScores(
    { tokens: [4, 3, 2, 1], pieces: Float32Array.from({ length: 16 }, (_, n) => n % 5) },
    { tokensPruned: 1, piecesPruned: 1 },
  );
  return {
    engine: fakeEngine(),
    tokenizer: fakeTokenizer,
    task: fakeTask,
    train: fakeRows(21),
    validation: fakeRows(30, "validation.jsonl"),
    parameters: { prompt: startPrompt },
    mask,
    schedule: {
      name: "fpt-test",
      stages: [
        { partial: partialModel(fakeConfig, { depth: 0.5, width: 0.25, neuronChoice: "first" }), steps: 5 },
        { partial: partialModel(fakeConfig, { depth: 0.75, width: 0.5, neuronChoice: "first" }), steps: 5 },
        { partial: fullModel(fakeConfig), steps: 8 },
      ],
      resetOptimizerOnGrow: false,
      plateau: null,
    },
    settings: {
      ...defaults(trainOptions),
      batchSize: 8,
      microBatchSize: 3,
      evalEvery: 4,
      learningRate: 0.3,
      warmupSteps: 3,
      learningRateSchedule: "cosine",
      snapshotSeconds: 0,
    },
    keep: [0, 6],
    run: null,
    resume: false,
    observe: (event) => events.push(event),
    ...more,
    events,
  };
}

/** A result without what the clock decided, prompts as bytes: equal exactly when every bit is. */
export function fingerprint(result: TrainResult): unknown {
  const bits = (t: Tensor) => Buffer.from(t.data.buffer, t.data.byteOffset, t.data.byteLength).toString("hex");
  const clocks = new Set(["seconds", "trainSeconds", "evalSeconds", "openSeconds"]);
  return JSON.parse(
    JSON.stringify(result, (key, value: unknown) => {
      if (clocks.has(key)) return undefined;
      if (value instanceof Map) return [...value];
      if (value !== null && typeof value === "object" && "data" in value && "shape" in value)
        return bits(value as Tensor);
      return value;
    }),
  );
}

/** A new folder for a test, in memory where the system has such a place: thousands of fsyncs on a disk take minutes. */
export function scratch(name: string): string {
  return mkdtempSync(join(existsSync("/dev/shm") ? "/dev/shm" : tmpdir(), `softprompt-${name}-`));
}

/** metrics.jsonl of a run without times. */
export function metricsOf(folder: string): string[] {
  const text = readFileSync(join(folder, "metrics.jsonl"), "utf8");
  if (!text.endsWith("\n")) throw new Error("metrics.jsonl ends inside a line");
  return text.trimEnd().split("\n").map(withoutClock);
}
