/** @file What an evaluation after a training costs is what was foreseen, at a rung and at the end: texts that are kept are not read again. */

import { rmSync } from "node:fs";
import { join } from "node:path";
import { afterAll, expect, test } from "vitest";
import { scratch } from "../../test/helpers/job.js";
import { tinyCausal } from "../../test/helpers/tiny-causal.js";
import { defaults } from "../base/options.js";
import { random } from "../base/random.js";
import { trainCandidate } from "../prune/candidate.js";
import { singleStage } from "../schedule/schedule.js";
import { forecast } from "../train/forecast.js";
import { trainOptions } from "../train/options.js";
import { loadRows } from "./data.js";
import { openModel } from "./model.js";
import { forPrompt } from "./readied.js";
import { tune } from "./tune.js";

const root = scratch("candidate");
afterAll(() => rmSync(root, { recursive: true, force: true }));

const P = 4;
const rows = ["a", "some words", "a longer text of many words", "b c", "the end of it", "x y z"].map((text, n) => ({
  text,
  label: n % 2 ? "b" : "a",
}));
const settings = { ...defaults(trainOptions), batchSize: 2, microBatchSize: 2, evalEvery: 2, snapshotSeconds: 0 };

test.each(["off", "float32"] as const)("with kept texts %s", async (textCache) => {
  const opened = await openModel(tinyCausal(), { threads: 1, textCache });
  try {
    const data = await loadRows(rows, { template: "{text}{prompt} is", validationRows: rows });
    const { task, train, validation } = data;
    const model = forPrompt(opened, P);
    const { engine, tokenizer } = model;
    const { width } = engine.checkpoint.config;
    const draw = random(7, "candidate");
    const prompt = { shape: [P, width], data: Float32Array.from({ length: P * width }, () => draw.uniform(-1, 1)) };
    const schedule = singleStage(engine.checkpoint.config, 4);
    // as planSearch says it of a tuning that took the same rows
    const readBefore = textCache === "off" ? {} : { readBefore: [{ partial: "full", from: 0, to: 4 }] };
    const shared = { engine, tokenizer, task, train, schedule, settings, ...readBefore };
    const told = forecast({ ...shared, validation, parameters: { prompt }, mask: null, observe: () => {} });
    const job = { name: "c", tokensPruned: 0, piecesPruned: 0, prompt, mask: null, drop: false };
    const { cost } = (await trainCandidate({ ...shared, selection: validation }, job, join(root, textCache), 1))!;
    expect(cost.trainFlops + cost.evalFlops).toBeCloseTo(told.spent(1) + told.evaluation, 0);

    // the kept prompt of a tuning is scored on the rows of its evaluations, which it has read
    const { result, training } = await tune(opened, data, { ...settings, steps: 4, baselines: false, prompt });
    expect(result.cost.evalFlops - training.cost.evalFlops).toBeCloseTo(told.evaluation, 0);
  } finally {
    await opened.dispose();
  }
});
