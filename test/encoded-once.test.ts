/**
 * @file A row is tokenised once per call, whoever asks for its ids: counted with a tokenizer that keeps what it was given, in `tune()` on
 * the fake engine and in the command line's train on the bundled model.
 */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, test, vi } from "vitest";
import { commands as loaders } from "../src/cli/commands.js";
import { run } from "../src/cli/run.js";
import type { Dataset, Row } from "../src/data/row.js";
import * as models from "../src/tasks/model.js";
import { tune } from "../src/tasks/tune.js";
import type { Tokenizer } from "../src/text/tokenizer.js";
import { fakeConfig, fakeEngine, fakeRows, fakeTask, fakeTokenizer } from "./helpers/fake-engine.js";

vi.mock("../src/tasks/model.js", { spy: true });

const place = mkdtempSync(join(tmpdir(), "softprompt-once-"));
afterAll(() => rmSync(place, { recursive: true, force: true }));

/** The tokenizer, and how often it was given each text. */
function counting(tokenizer: Tokenizer): { tokenizer: Tokenizer; times: Map<string, number> } {
  const times = new Map<string, number>();
  const encode: Tokenizer["encode"] = (text, options) => {
    times.set(text, (times.get(text) ?? 0) + 1);
    return tokenizer.encode(text, options);
  };
  return { tokenizer: { ...tokenizer, encode }, times };
}

describe("tune() tokenises every row once", () => {
  const data: Dataset = {
    task: fakeTask,
    train: fakeRows(16),
    validation: fakeRows(20, "validation.jsonl"),
    test: [],
    files: [],
    skipped: 0,
  };
  const smallest = { virtualTokens: 4, init: "uniform", steps: 4, batchSize: 8, microBatchSize: 2, evalEvery: 2 };
  test.each<[string, object]>([
    ["the smallest tuning, with its baseline and final evaluation", {}],
    ["evaluations on some of the rows", { maxEvalRows: 6, finalEvalRows: 0 }],
    ["FPT with neuron scores and a budget", { schedule: "fpt-cr", budget: 0.8, steps: 20 }],
    ["neurons scored on training rows", { schedule: "fpt-fr", scoreSplit: "train", steps: 20 }],
  ])("%s", async (_, more) => {
    const { tokenizer, times } = counting(fakeTokenizer);
    const engine = fakeEngine();
    const { encoderLayers: L, feedForwardWidth: F } = fakeConfig;
    engine.activations = async () => ({
      run: async (_, { size }) => ({
        encoder: Float32Array.from({ length: size * L * F }, (_, n) => n % F),
        decoder: new Float32Array(size * L * F),
      }),
    });
    const model: models.Model = {
      checkpoint: { ...engine.checkpoint, parameters: 1000 },
      tokenizer,
      engine,
      device: "cpu",
      dispose: async () => {},
    };
    await tune(model, data, { ...smallest, ...more } as object);
    const counts = [...data.train, ...data.validation].map(({ input }: Row) => times.get(input));
    expect(new Set(counts)).toEqual(new Set([1]));
  });
});

test("the command line's train tokenises every row once, its notices and memory estimate too", async () => {
  let times = new Map<string, number>();
  const open = vi.mocked(models.openModel);
  const real = (await vi.importActual<typeof models>("../src/tasks/model.js")).openModel;
  open.mockImplementation(async (...args: Parameters<typeof real>) => {
    const model = await real(...args);
    const counted = counting(model.tokenizer);
    times = counted.times;
    return { ...model, tokenizer: counted.tokenizer, dispose: () => model.dispose() };
  });
  const argv =
    "train --model t5-nano --task quickstart --few-shot 4 --max-eval-rows 4 --batch-size 4 --micro-batch-size 4";
  const shape = "--steps 8 --virtual-tokens 2 --init uniform --schedule fpt-cr --budget 0.9 --output";
  let stderr = "";
  const sink = {
    write: (text: unknown) => {
      stderr += String(text);
      return true;
    },
  };
  const code = await run(
    [...`${argv} ${shape}`.split(" "), join(place, "run")],
    { stdout: sink, stderr: sink, env: {}, signal: new AbortController().signal },
    loaders,
  );
  expect(code, stderr).toBe(0);
  const rows = [...times].filter(([text]) => text.startsWith("review: ") || text.split(" ").length > 4);
  expect(rows.length).toBeGreaterThan(8);
  expect(rows.filter(([, n]) => n !== 1)).toEqual([]);
});
