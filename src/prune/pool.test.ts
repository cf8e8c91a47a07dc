/** @file Candidates are told of as they end, one by one, and given back in the order of the jobs. */
import { rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, expect, test } from "vitest";
import { fakeConfig, fakeEngine, fakeRows, fakeTask, fakeTokenizer } from "../../test/helpers/fake-engine.js";
import { fptJob, scratch, startPrompt } from "../../test/helpers/job.js";
import { singleStage } from "../schedule/schedule.js";
import { trainCandidates } from "./pool.js";
import type { CandidateJob, Retraining } from "./types.js";

const root = scratch("pool");
afterAll(() => rmSync(root, { recursive: true, force: true }));

const retraining: Retraining = {
  ...{ engine: fakeEngine(), tokenizer: fakeTokenizer, task: fakeTask },
  ...{ train: fakeRows(16), selection: fakeRows(20, "validation.jsonl") },
  schedule: singleStage(fakeConfig, 4),
  settings: { ...fptJob().settings, learningRateSchedule: "constant" },
};
const jobOf = (name: string): CandidateJob => ({
  ...{ name, tokensPruned: 0, piecesPruned: 0, prompt: startPrompt, mask: null, drop: false },
});
const jobs = ["slow", "quick"].map(jobOf);

test("in this process: each is told of before the next one begins, and again when it is read back", async () => {
  const told: string[] = [];
  const go = () =>
    trainCandidates(
      ...([retraining, jobs, join(root, "one"), 4, { count: 1 }] as const),
      (name, { kind }) => void (kind === "start" && told.push(`${name} begins`)),
      ({ name, steps }) => told.push(`${name} ends after ${steps}`),
    );
  expect((await go()).map(({ name }) => name)).toEqual(["slow", "quick"]);
  expect(told.splice(0)).toEqual(["slow begins", "slow ends after 4", "quick begins", "quick ends after 4"]);
  await go();
  expect(told).toEqual(["slow ends after 4", "quick ends after 4"]);
});

test("what those who watch throw ends a search in processes as it does in one, and the processes with it", async () => {
  const module = join(root, "endless.mjs");
  writeFileSync(
    module,
    `process.on("SIGTERM", () => process.exit(0));
     process.on("disconnect", () => process.exit(0));
     process.on("message", ({ name }) => process.send({ kind: "event", name, event: { kind: "snapshot", step: 1 } }));
     process.send({ kind: "ready" });
     setInterval(() => {}, 1000);`,
  );
  let heard = 0;
  const watch = () => {
    heard++;
    throw new Error("the watcher's own");
  };
  for (const [count, name] of [
    [1, "alone"],
    [2, "together"],
  ] as const) {
    heard = 0;
    await expect(
      trainCandidates(retraining, jobs, join(root, `watched ${name}`), 4, { count, module }, watch),
    ).rejects.toThrow("the watcher's own");
    expect(heard).toBe(1);
  }
});

test("in processes of their own: in the order in which they end; the result is in the order of the jobs", async () => {
  const folder = join(root, "two");
  await trainCandidates(retraining, jobs, folder, 4, { count: 1 }, () => {});
  // a worker whose candidates are trained already: the slow one says so later
  const module = join(root, "worker.mjs");
  writeFileSync(
    module,
    `process.on("disconnect", () => process.exit(0));
     process.on("message", ({ name }) =>
       setTimeout(() => process.send({ kind: "done", name }), name === "slow" ? 1000 : 0));
     process.send({ kind: "ready" });`,
  );
  const told: string[] = [];
  const done = await trainCandidates(
    ...([retraining, jobs, folder, 4, { count: 2, module }, () => {}] as const),
    ({ name }) => told.push(name),
  );
  expect(told).toEqual(["quick", "slow"]);
  expect(done.map(({ name }) => name)).toEqual(["slow", "quick"]);
});
