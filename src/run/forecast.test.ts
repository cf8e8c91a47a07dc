/**
 * @file What a training will cost, against what the trainer counts when it is done; and pauses, which change nothing but when.
 */
import { join } from "node:path";
import { expect, test } from "vitest";
import { fakeConfig, fakeEngine } from "../../test/helpers/fake-engine.js";
import { fingerprint, fptJob, metricsOf, scratch } from "../../test/helpers/job.js";
import { partialModel } from "../model/partial.js";
import { forecast } from "../train/forecast.js";
import { type RunInput, trainRun } from "./train.js";

const last = partialModel(fakeConfig, { depth: 0.5 });
const written = { ...fptJob().settings, evaluateBy: "generation" } as const;
/** Never says that an answer is over. */
function wordy(): RunInput["engine"] {
  const engine = fakeEngine();
  const generate: typeof engine.generate = async (partial) => ({
    ...(await engine.generate(partial)),
    run: async (_, rows, most) => rows.map(() => new Array<number>(most).fill(35)),
  });
  return { ...engine, generate };
}
const jobs: Record<string, Partial<RunInput>> = {
  "three stages": {},
  "generation of answers as long as the task allows": { engine: wordy(), settings: written },
  "capped evaluations": { settings: { ...fptJob().settings, maxEvalRows: 7, evalEvery: 0 } },
  "no validation rows": { validation: [] },
  "a last stage that is partial": { schedule: { ...fptJob().schedule, stages: [{ partial: last, steps: 9 }] } },
};

test.each(Object.keys(jobs))("%s: spent to the FLOP what was foreseen, at the end and at every pause", async (name) => {
  const job = fptJob(jobs[name]);
  const foreseen = forecast(job);
  for (let step = 1; step <= foreseen.steps; step++) {
    const { cost, history } = await trainRun({ ...job, pauseAfter: step });
    expect(cost.flops / foreseen.spent(step)).toBeCloseTo(1, 12);
    const full = history.filter((entry) => entry.step === step && entry.partial === "full");
    expect(full.length > 0).toBe(foreseen.evaluatedAt(step));
  }
  expect(foreseen.spent(0)).toBe(0);
});

test("generation: what is foreseen is the most that it can cost; answers that end earlier cost less", async () => {
  const job = fptJob({ settings: written });
  const foreseen = forecast(job);
  const { cost } = await trainRun(job);
  const evaluations = foreseen.spent(foreseen.steps) - cost.trainFlops;
  expect(cost.evalFlops).toBeLessThan(evaluations);
  expect(cost.evalFlops).toBeGreaterThan(evaluations / 2);
});

test("paused at any steps and resumed, a run is bit for bit the run that was not", async () => {
  const folder = join(scratch("pause"), "run");
  const whole = join(scratch("pause"), "whole");
  const expected = fingerprint(await trainRun({ ...fptJob(), run: whole }));
  let resume = false;
  // the second pause at 5 is where a process was killed before it said that it had come there
  for (const pauseAfter of [4, 5, 5, 11]) {
    const paused = await trainRun({ ...fptJob(), run: folder, resume, pauseAfter });
    expect(paused).toMatchObject({ steps: pauseAfter, reason: "interrupted" });
    resume = true;
  }
  expect(fingerprint(await trainRun({ ...fptJob(), run: folder, resume, pauseAfter: 99 }))).toEqual(expected);
  expect(metricsOf(folder)).toEqual(metricsOf(whole));
});
