/** @file The runs under a folder, as they lie on disk. What is expected is what the trainer itself returned. */
import { appendFileSync, cpSync, mkdirSync, rmSync, symlinkSync, utimesSync, writeFileSync } from "node:fs";
import { basename, join } from "node:path";
import { afterAll, expect, test } from "vitest";
import { fakeConfig, fakeEngine } from "../../test/helpers/fake-engine.js";
import { fptJob, scratch } from "../../test/helpers/job.js";
import { openRun } from "../run/folder.js";
import { trainRun } from "../run/train.js";
import { singleStage } from "../schedule/schedule.js";
import { identityOf } from "../train/identity.js";
import { train } from "../train/trainer.js";
import { keptRun } from "./kept-runs.js";
import { keptEvents, type ListedRun, listRuns } from "./run-list.js";

const root = scratch("run-list");
afterAll(() => rmSync(root, { recursive: true, force: true }));

const listed = (found: readonly ListedRun[], name: string) => found.find(({ path }) => path === join(root, name))!;

test("trainings, a study's runs and what cannot be read, newest first", async () => {
  // done: three stages of 5 + 5 + 8 steps, a prompt of 4 × 8 numbers
  const done = await trainRun(fptJob({ run: join(root, "done") }));
  // stopped: the signal comes at a pass in the middle
  const abort = new AbortController();
  let passes = 0;
  const engine = fakeEngine({ before: () => void (++passes === 30 && abort.abort()) });
  const stopped = await trainRun(fptJob({ engine, signal: abort.signal, run: join(root, "deep/er/stopped") }));
  writeFileSync(join(root, "deep/er/stopped/config.yaml"), "model: some/model\nmethod: prompt\nschedule: fpt-cr\n");
  // failed: its last step was not finite, and no process is there
  const failing = await trainRun(fptJob({ run: join(root, "failed"), schedule: singleStage(fakeConfig, 4) }));
  const skip = { kind: "skip", step: 5, stage: 0, problem: "the loss is not finite", rows: [], time: "" };
  const spent = { seconds: 1, openSeconds: 0, flops: 1, paperFlops: 1, totalFlops: failing.cost.flops + 7 };
  appendFileSync(join(root, "failed/metrics.jsonl"), `${JSON.stringify({ ...skip, ...spent })}\n`);
  // a finished training of a study, of which one file is kept
  const job = fptJob({ schedule: singleStage(fakeConfig, 6) });
  const { task, settings } = job;
  const cell = { ...job, run: null };
  mkdirSync(join(root, "study"));
  for (const [file, text] of [
    ["config.yaml", "model: t5-nano\n"],
    ["result.md", "# a study\n"],
  ] as const)
    writeFileSync(join(root, "study", file), text);
  const name = `${task.name}-seed${settings.seed}-PT`;
  const kept = await keptRun(join(root, "study/runs"), name, await identityOf(cell), async () => {
    const { kept: _, ...rest } = await train(cell);
    return rest;
  });
  // a search that stopped behind its tuning
  cpSync(join(root, "done"), join(root, "search/tune"), { recursive: true });
  writeFileSync(join(root, "search/search.json"), "{}");
  mkdirSync(join(root, "broken"));
  writeFileSync(join(root, "broken/run.json"), "{");
  symlinkSync(join(root, "done"), join(root, "link"));
  const running = openRun(join(root, "running"), { resume: false });
  for (const [i, path] of ["failed", "deep/er/stopped", "done"].entries())
    for (const file of ["run.json", "metrics.jsonl", "snapshots"])
      utimesSync(join(root, path, file), 1000 * (i + 1), 1000 * (i + 1));

  const found = listRuns(root);
  running.close();
  expect(found.map(({ path }) => path.slice(root.length + 1).replace(/-[0-9a-f]{12}\.json$/, ""))).toEqual(
    expect.arrayContaining(["running", "broken", `study/runs/${name}`, "done", "deep/er/stopped", "failed"]),
  );
  expect(found).toHaveLength(7);
  expect(listed(found, "search")).toMatchObject({
    ...{ kind: "search", state: "stopped", method: "xprompt", steps: 18 },
    // of the tuning alone these would be too few
    ...{ trainedParameters: null, flops: null },
  });
  expect(found.slice(-3).map(({ path }) => path)).toEqual(
    ["done", "deep/er/stopped", "failed"].map((name) => join(root, name)),
  );
  const metric = task.metrics[0]!;
  expect(listed(found, "done")).toEqual({
    ...{ path: join(root, "done"), kind: "run", state: "done", pid: null, host: null, error: null },
    ...{ task: task.name, method: "prompt-tuning", model: null, seed: 0, steps: 18, plannedSteps: 18, metric },
    ...{ score: done.best.scores[metric], trainedParameters: 32, flops: done.cost.flops },
    written: new Date(3_000_000).toISOString(),
  });
  expect(stopped.reason).toBe("interrupted");
  expect(listed(found, "deep/er/stopped")).toMatchObject({
    ...{ state: "stopped", steps: stopped.steps, plannedSteps: 18, method: "prompt-tuning+fpt-cr" },
    ...{ model: "some/model", trainedParameters: 32, flops: stopped.cost.flops },
  });
  expect(listed(found, "failed")).toMatchObject({
    ...{ state: "failed", error: "step 5: the loss is not finite" },
    // the skipped step was paid for
    flops: failing.cost.flops + 7,
  });
  expect(listed(found, "running")).toMatchObject({ state: "running", pid: process.pid, steps: 0, score: null });
  expect(listed(found, "broken")).toMatchObject({ state: "unreadable", error: expect.stringContaining("run.json") });
  expect(found.find(({ kind }) => kind === "study run")).toMatchObject({
    ...{ state: "done", task: task.name, method: "PT", model: "t5-nano", seed: 0, steps: 6, plannedSteps: 6, metric },
    ...{ trainedParameters: 32, flops: kept.cost.flops, score: (kept.bestOnFull ?? kept.best).scores[metric] },
  });

  // its curve is that of the training itself
  const file = found.find(({ kind }) => kind === "study run")!.path;
  const events = keptEvents(file).flatMap((event) => (event.kind === "eval" ? [event] : []));
  expect(events.map(({ step, loss, scores, flops }) => ({ step, loss, scores, flops }))).toEqual(
    kept.history.map(({ step, loss, scores, flops }) => ({ step, loss, scores, flops })),
  );
  expect(events.reduce((sum, { seconds }) => sum + seconds, 0)).toBeCloseTo(kept.history.at(-1)!.seconds, 9);

  const scores = listRuns(root, { sort: "score" }).map(({ score }) => score);
  const known = scores.filter((score) => score !== null);
  expect(scores.slice(0, known.length)).toEqual([...known].sort((a, b) => b - a));
  expect(known).toHaveLength(5);
});

test("runs beside a configuration of the user's own are none of a study's", async () => {
  const own = join(root, "own");
  await trainRun(fptJob({ run: join(own, "runs/train"), schedule: singleStage(fakeConfig, 2) }));
  mkdirSync(join(own, "runs/search"));
  writeFileSync(join(own, "runs/search/search.json"), "{}");
  writeFileSync(join(own, "config.yaml"), "model: another/model\n");
  writeFileSync(join(own, "result.json"), "{}");
  const found = () => listRuns(join(own, "runs")).map(({ path, state, model }) => [basename(path), state, model]);
  expect(found().sort()).toEqual([
    ["search", "stopped", null],
    ["train", "done", null],
  ]);
  // a study's summary makes them the study's, by whatever path they are asked for
  writeFileSync(join(own, "result.md"), "# a study\n");
  const before = process.cwd();
  process.chdir(join(own, "runs"));
  try {
    expect(listRuns(".").map(({ model }) => model)).toEqual(["another/model", "another/model"]);
  } finally {
    process.chdir(before);
  }
});

test("a learning rate whose training failed is listed as failed", async () => {
  const job = fptJob({ schedule: singleStage(fakeConfig, 6), run: null });
  const name = `${job.task.name}-seed0-prompt 9`;
  const runs = join(root, "rates/runs");
  mkdirSync(runs, { recursive: true });
  const cost = { flops: 12, seconds: 1 };
  await keptRun(runs, name, await identityOf(job), async () => ({ failed: "3 steps in a row were not finite", cost }));
  expect(listRuns(runs)).toMatchObject([
    { kind: "study run", state: "failed", error: "3 steps in a row were not finite", method: "prompt 9", flops: 12 },
  ]);
});

test("a folder that is not there is an error, one without runs an empty list", () => {
  expect(() => listRuns(join(root, "nowhere"))).toThrow("no such file or folder");
  mkdirSync(join(root, "none"));
  expect(listRuns(join(root, "none"))).toEqual([]);
});
