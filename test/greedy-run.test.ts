/** @file A tuning on greedily chosen layers, as a run folder: what the result says, what it cost, and that a resume uses the choice that was kept. */
import { mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { openEngine } from "../src/engine/engine.js";
import { openCheckpoint } from "../src/model/checkpoint.js";
import { readResult } from "../src/run/result.js";
import { greedyDrops } from "../src/schedule/greedy-layers.js";
import type { Model } from "../src/tasks/model.js";
import { type TuneInput, tune } from "../src/tasks/tune.js";
import { deep } from "./helpers/deep.js";
import { tinyDataset, tinyTokenizer } from "./helpers/tiny.js";

const folder = deep("tiny-t5-v11", 5);
const root = mkdtempSync(join(tmpdir(), "greedy-run-"));
const data = tinyDataset(24, 8);
let model: Model;
beforeAll(async () => {
  const checkpoint = await openCheckpoint(folder);
  const engine = openEngine(checkpoint, { threads: 1 });
  model = { checkpoint, tokenizer: tinyTokenizer, engine, device: "cpu", dispose: () => engine.dispose() };
});
afterAll(async () => {
  await model.dispose();
  for (const made of [folder, root]) rmSync(made, { recursive: true });
});

const options = {
  ...{ virtualTokens: 3, batchSize: 4, microBatchSize: 4, maxInputTokens: 12, evalEvery: 100, init: "uniform" },
  ...{ schedule: "custom", depths: [3], stageSteps: [3, 3], layerChoice: "greedy", layerRows: 10, scoreBatchSize: 4 },
  baselines: false,
} satisfies TuneInput;

test("the result names the layers and their cost, the report shows them, and a resume does not choose again", async () => {
  const output = join(root, "run");
  const stop = new AbortController();
  const onEvent: TuneInput["onEvent"] = (event) => {
    if (event.kind === "step" && event.step === 2) stop.abort("SIGTERM");
  };
  const first = await tune(model, data, { ...options, output, onEvent, signal: stop.signal });
  expect(first.result.run.reason).toBe("interrupted");
  const kept = readdirSync(output).filter((name) => name.startsWith("layer-drop-"));
  expect(kept).toHaveLength(2);

  const closed = { ...model, engine: { ...model.engine, layers: () => Promise.reject(new Error("chosen again")) } };
  const { result, adapter } = await tune(closed, data, { ...options, output, resume: true });
  const { order, cost } = await greedyDrops(
    model.engine,
    tinyTokenizer,
    data,
    { encoder: 2 },
    { ...options, seed: 0, folder: null },
  );
  const name = result.cost.perStage[0]!.partial;
  const encoder = [0, 1, 2, 3, 4].filter((layer) => !order.encoder!.includes(layer));
  expect(result.run.layers).toEqual({ [name]: { encoder, decoder: [0, 1, 2, 3, 4] } });
  expect(result.cost.scoringFlops).toBe(cost.flops);
  expect(result.cost.flops).toBe(result.cost.trainFlops + result.cost.evalFlops + cost.flops);
  expect(readResult(output)).toEqual(result);
  expect(readFileSync(join(output, "report.html"), "utf8")).toContain(`encoder ${encoder.join(" ")}`);

  const whole = await tune(model, data, options);
  expect(whole.result.scores).toEqual(result.scores);
  expect(whole.adapter.prompt).toEqual(adapter.prompt);
});
