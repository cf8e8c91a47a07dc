/** @file A finished run that is read by other work: no step is made in it, whatever its result says. */
import { rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, expect, test } from "vitest";
import { fakeConfig, fakeEngine } from "../../test/helpers/fake-engine.js";
import { fingerprint, fptJob, scratch } from "../../test/helpers/job.js";
import { singleStage } from "../schedule/schedule.js";
import { openFinished, refuseUnfinished } from "./finished.js";
import { openRun } from "./folder.js";
import type { RunResult } from "./result.js";
import { type RunInput, trainRun } from "./train.js";

const root = scratch("finished");
afterAll(() => rmSync(root, { recursive: true, force: true }));

const settings = { ...fptJob().settings, evalEvery: 2, learningRateSchedule: "constant" as const };
const job = (steps: number, more: Partial<RunInput> = {}) =>
  fptJob({ schedule: singleStage(fakeConfig, steps), settings, keep: [], ...more });

/** As a tuning leaves it. */
function writeResult(folder: string, steps: number): void {
  const cost = { flops: 0, trainFlops: 0, evalFlops: 0, paperFlops: 0, scoringFlops: 0, perStage: [] };
  const seconds = { seconds: 0, trainSeconds: 0, evalSeconds: 0, scoringSeconds: 0, openSeconds: 0 };
  const result: RunResult = {
    run: { task: "t", method: "m", options: {}, seed: 0, commit: null, reason: "steps", steps, bestStep: steps },
    scores: {},
    scoredOn: { split: "validation", rows: 1 },
    baseline: { majority: null, noPrompt: null },
    cost: { ...cost, ...seconds, trainedParameters: 1, baseParameters: 1, adapterBytes: 1, peakBytes: 1 },
    where: {
      ...{ softprompt: "", node: "", onnxruntime: "", device: "cpu", platform: "", cpu: "", cores: 1, memoryBytes: 1 },
      model: { name: "", sha256: "" },
      data: [],
    },
  };
  writeFileSync(join(folder, "result.json"), JSON.stringify(result));
}

/** Trains in it again. */
async function readBack(folder: string, steps: number) {
  const engine = fakeEngine();
  const run = openFinished(folder, "finish it");
  try {
    return { result: await trainRun(job(steps, { run, engine })), calls: engine.calls };
  } finally {
    run.close();
  }
}

test("a finished run gives its result, and no model is run", async () => {
  const folder = join(root, "whole");
  const first = await trainRun(job(4, { run: folder }));
  expect(() => refuseUnfinished(folder, "finish it")).toThrow(/there is no result yet/);
  writeResult(folder, 4);
  refuseUnfinished(folder, "finish it");
  const { result, calls } = await readBack(folder, 4);
  expect(fingerprint(result)).toEqual(fingerprint(first));
  expect(calls).toEqual([]);
});

test.each([
  ["stopped on the way to more steps", 8, 6],
  ["stopped before the first of them", 8, 4],
])("%s, it is refused, though its result is that of a finished run", async (name, steps, pauseAfter) => {
  const folder = join(root, name.replaceAll(" ", "-"));
  await trainRun(job(4, { run: folder }));
  writeResult(folder, 4);
  const run = openRun(folder, { resume: true, longer: { evalEvery: 2 } });
  await trainRun(job(steps, { run, pauseAfter }));
  run.close();
  const refusal = { kind: "run", problem: "the run is not finished", parts: { hint: "finish it" } };
  await expect((async () => refuseUnfinished(folder, "finish it"))()).rejects.toMatchObject(refusal);
  await expect(readBack(folder, steps)).rejects.toMatchObject(refusal);
  // as the short run it is another one
  await expect(readBack(folder, 4)).rejects.toThrow(/schedule.stage 1.steps/);
});
