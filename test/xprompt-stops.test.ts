/**
 * @file Searches that are stopped and resumed, and FPT in one place only: what is told, what may change, what is trained on.
 */
import { spawnSync } from "node:child_process";
import { rmSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, describe, expect, test } from "vitest";
import { defaults } from "../src/base/options.js";
import type { Dataset } from "../src/data/row.js";
import { openEngine } from "../src/engine/engine.js";
import { openCheckpoint } from "../src/model/checkpoint.js";
import { pruneOptions } from "../src/prune/options.js";
import type { SearchEvent } from "../src/prune/search-types.js";
import { xprompt } from "../src/prune/xprompt.js";
import { singleStage } from "../src/schedule/schedule.js";
import type { Model } from "../src/tasks/model.js";
import { type Pruned, type PruneEvent, prune } from "../src/tasks/prune.js";
import { trainOptions } from "../src/train/options.js";
import { bundle } from "./helpers/bundle.js";
import { fakeEngine, fakeRows, fakeTask, fakeTokenizer } from "./helpers/fake-engine.js";
import { memoryFolder } from "./helpers/memory-folder.js";
import { tinyDataset, tinyTokenizer } from "./helpers/tiny.js";

const root = memoryFolder("softprompt-xprompt-stops-");
afterAll(() => rmSync(root, { recursive: true, force: true }));
const data: Dataset = {
  task: fakeTask,
  train: fakeRows(24),
  validation: fakeRows(30, "validation.jsonl"),
  test: [],
  files: [],
  skipped: 0,
};
const options = {
  ...{ virtualTokens: 4, init: "uniform" as const, steps: 6, batchSize: 8, microBatchSize: 8, evalEvery: 3 },
  ...{ learningRate: 0.05, pieces: 4, tokensPruned: [1, 2], piecesPruned: [1, 2], workers: 1, baselines: false },
};
function model(): Model {
  const engine = fakeEngine();
  const checkpoint = { ...engine.checkpoint, parameters: 1000, bytes: 4000 };
  return { checkpoint, tokenizer: fakeTokenizer, engine, device: "cpu", dispose: async () => {} };
}

test.each([
  ["SIGINT", 130],
  ["SIGTERM", 143],
] as const)(
  "%s while the prompt is scored is an interruption, exit %i, and a resume goes on",
  async (reason, exitCode) => {
    const output = join(root, reason);
    const stop = new AbortController();
    const seen: string[] = [];
    const observe = (event: { kind: string; phase?: string }) => {
      seen.push(event.kind);
      if (event.phase === "score") stop.abort(reason);
    };
    const given = { ...options, output };
    const configText = "steps: 6\n";
    const stopped = await prune(model(), data, { ...given, signal: stop.signal, onEvent: observe, configText }).catch(
      (e) => e,
    );
    expect(stopped).toMatchObject({ kind: "interrupted", exitCode });
    expect(seen).not.toContain("scores");
    expect(stopped).toMatchObject({ parts: { hint: `softprompt prune --resume ${output}` } });
    const { record } = await prune(model(), data, { ...given, resume: true });
    expect(record.search.candidates.length).toBe(4);
  },
);

test("how a stopped search goes on depends on what is there: nothing, a search of a program, a search of the command line", async () => {
  const stoppedAt = async (place: string, name: string, configText?: string) => {
    const stop = new AbortController();
    const observe = (event: { kind: string; phase?: string }) => {
      if (event.kind === place || event.phase === place) stop.abort("SIGINT");
    };
    const given = { ...options, output: join(root, name), baselines: true };
    const error = await prune(model(), data, { ...given, signal: stop.signal, onEvent: observe, configText }).catch(
      (e) => e,
    );
    return error.parts.hint;
  };
  expect(await stoppedAt("work", "hints-before", "")).toMatch(/start it again/);
  expect(await stoppedAt("search", "hints-program")).toMatch(/same call with resume: true/);
  for (const phase of ["tune", "score", "control", "search"])
    expect(await stoppedAt(phase, `hints-${phase}`, "")).toBe(
      `softprompt prune --resume ${join(root, `hints-${phase}`)}`,
    );
});

test("a resume may change which candidates are tried; anything else is refused by name", async () => {
  const output = join(root, "free");
  await prune(model(), data, { ...options, output });
  const free = { search: "grid" as const, piecesPruned: [3], tokensPruned: [2, 3], halvingBudget: 0.3, workers: 1 };
  const { record } = await prune(model(), data, { ...options, ...free, output, resume: true });
  expect(record.search.candidates.map(({ name }) => name)).toEqual(["t02-p03", "t03-p03"]);
  for (const [change, name] of [
    [{ pieces: 2, piecesPruned: [1] }, /changed since it began: .*pruning\.pieces/],
    [{ learningRate: 0.1 }, /settings\.learningRate, retraining\.learningRate/],
    [{ rewindTo: "init" }, /pruning\.rewindTo/],
    [{ retrainSteps: 5 }, /retraining schedule/],
  ] as const)
    await expect(prune(model(), data, { ...options, ...change, output, resume: true } as never)).rejects.toThrow(name);
});

describe("halving chooses the same, whenever it was stopped and however often it is asked", () => {
  const few = { ...data, validation: fakeRows(6, "validation.jsonl") };
  const given = (seed: number, name: string) => ({
    ...{ ...options, steps: 4, evalEvery: 100, tokensPruned: [1, 2, 3], piecesPruned: [1, 2, 3], retrainSteps: 8 },
    ...{
      search: "halving" as const,
      halvingMinSteps: 1,
      halvingBudget: 0.8,
      learningRate: 0.4,
      seed,
      output: join(root, name),
    },
  });
  const brief = ({ record: { search } }: Pruned) =>
    JSON.stringify([search.best, search.candidates.map((c) => [c.name, c.steps, c.finished, c.score])]);

  // six validation rows tie often: on these seeds ranking by anything later than the rung chooses otherwise
  test.each([0, 9, 11])("asked again, seed %i", async (seed) => {
    const once = await prune(model(), few, given(seed, `again-${seed}`));
    const again = await prune(model(), few, { ...given(seed, `again-${seed}`), resume: true });
    expect(brief(again)).toBe(brief(once));
    expect(again.result.cost.search).toBe(once.result.cost.search);
  });

  test.each([4])("stopped at any step, seed %i", { timeout: 60_000 }, async (seed) => {
    const run = async (name: string, resume: boolean, stopAt = Number.POSITIVE_INFINITY) => {
      const stop = new AbortController();
      let steps = 0;
      const observe = (e: PruneEvent) => {
        if (e.kind !== "candidate" || e.name === "control" || e.event.kind !== "step") return;
        steps++;
        if (steps === stopAt) stop.abort("SIGINT");
      };
      const pruned = await prune(model(), few, { ...given(seed, name), onEvent: observe, resume, signal: stop.signal });
      return { steps, text: brief(pruned) };
    };
    const whole = await run(`whole-${seed}`, false);
    for (let stopAt = 1; stopAt < whole.steps; stopAt += 2) {
      const name = `stopped-${seed}-${stopAt}`;
      await expect(run(name, false, stopAt)).rejects.toMatchObject({ kind: "interrupted" });
      expect((await run(name, true)).text, `stopped after ${stopAt} steps`).toBe(whole.text);
    }
  });
});

test("FPT × XPrompt: custom stages tune, and the retrainings are vanilla unless asked otherwise", async () => {
  const models = async (more: object) => {
    const seen = { tune: new Set<string>(), candidate: new Set<string>() };
    const observe = (e: PruneEvent) => {
      if ((e.kind === "tune" || e.kind === "candidate") && e.event.kind === "stage") seen[e.kind].add(e.event.partial);
    };
    const fpt = { schedule: "custom" as const, depths: [0.5], stageFractions: [0.5] };
    await prune(model(), data, { ...options, ...fpt, ...more, onEvent: observe });
    return { tune: seen.tune.size, candidate: [...seen.candidate] };
  };
  expect(await models({})).toEqual({ tune: 2, candidate: ["full"] });
  expect((await models({ retrainSchedule: "custom" })).candidate.length).toBe(2);
});

test.skipIf(process.platform !== "linux")(
  "a worker that somebody stops is told of, and its candidate is not left out in silence",
  {
    timeout: 60_000,
  },
  async () => {
    const base = fileURLToPath(new URL("fixtures/tiny-t5-v11", import.meta.url));
    const engine = openEngine(await openCheckpoint(base), { threads: 1 });
    const module = await bundle("test/helpers/tiny-worker.ts");
    const tiny = tinyDataset(24, 12);
    const schedule = singleStage(engine.checkpoint.config, 40);
    let killed = false;
    const seen = new Set<string>();
    const input = {
      ...{ engine, tokenizer: tinyTokenizer, task: tiny.task, train: tiny.train, validation: tiny.validation },
      prompt: { shape: [4, 32] as const, data: Float32Array.from({ length: 128 }, (_, n) => Math.sin(n)) },
      ...{ schedule: singleStage(engine.checkpoint.config, 2), retrainSchedule: schedule },
      settings: { ...defaults(trainOptions), learningRate: 0.05, batchSize: 8, microBatchSize: 8, evalEvery: 40 },
      options: { ...defaults(pruneOptions), pieces: 8, level: "tokens" as const, tokensPruned: [1, 2, 3] },
      ...{ run: join(root, "killed"), resume: false },
      workers: { count: 2, module },
      observe: (event: SearchEvent) => {
        if (killed || event.kind !== "candidate" || event.name === "control" || event.event.kind !== "step") return;
        // both are at work; one still starting would die of the signal instead of obeying it
        if (seen.add(event.name).size < 2) return;
        killed = true;
        const list = spawnSync("ps", ["-o", "pid=,args=", "-ww", "--ppid", String(process.pid)]).stdout.toString();
        const pid = Number(/^\s*(\d+) .*killed.candidates/m.exec(list)![1]);
        process.kill(pid, "SIGTERM");
      },
    };
    try {
      await expect(xprompt(input)).rejects.toMatchObject({
        kind: "run",
        // the second, where one worker took two candidates before the other could start at all
        problem: expect.stringMatching(/stopped before its candidate was trained|a worker process died/),
      });
      expect(killed).toBe(true);
      const whole = await xprompt({ ...input, resume: true });
      expect(whole.candidates.map(({ name, finished }) => [name, finished])).toEqual(
        [1, 2, 3].map((n) => [`t0${n}-p00`, true]),
      );
    } finally {
      await engine.dispose();
    }
  },
);
