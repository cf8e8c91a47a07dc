import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, test } from "vitest";
import { metricsLine } from "../run/metrics.js";
import type { RunResult } from "../run/result.js";
import { isOutgrown, type ListedRun } from "../study/run-list.js";
import { openEventLogs } from "./event-log.js";
import { openMemo } from "./memo.js";
import { runDetails } from "./run-details.js";

const folder = mkdtempSync(join(tmpdir(), "softprompt-studio-"));
afterAll(() => rmSync(folder, { recursive: true, force: true }));
const asked = { log: openEventLogs(), after: 0, generation: null };
const listed = (path: string, kind: ListedRun["kind"]) => ({ path, kind, state: "done" }) as ListedRun;

test("a training of a study has the study's report, where it is written", () => {
  mkdirSync(join(folder, "study/runs"), { recursive: true });
  const path = join(folder, "study/runs/x.json");
  const run = listed("study/runs/x.json", "study run");
  expect(runDetails(run, path, asked)).toMatchObject({ report: null, config: null, events: [] });
  writeFileSync(join(folder, "study/report.html"), "");
  expect(runDetails(run, path, asked).report).toBe("study");
  // the studio's own folder is a study's
  expect(runDetails(listed("runs/x.json", "study run"), path, asked).report).toBe(".");
});

test("a run whose configuration is no mapping has no options, and is shown all the same", () => {
  for (const config of ["- a\n", "a: &x [*x]\n", "a: [", ""]) {
    writeFileSync(join(folder, "config.yaml"), config);
    expect(runDetails(listed("run", "run"), folder, asked)).toMatchObject({ config, options: {}, result: null });
  }
});

describe("a run that may be made longer", () => {
  const place = join(folder, "longer");
  const identity = {
    "schedule.stages": "1",
    "schedule.stage 0.steps": "2",
    "settings.learningRateSchedule": "constant",
  };
  const end = (reason: "steps" | "patience") => metricsLine({ kind: "end", reason, step: 2 }, 0)!;
  const details = (facts: object, events: string, state: ListedRun["state"] = "done") => {
    mkdirSync(place, { recursive: true });
    writeFileSync(join(place, "run.json"), JSON.stringify({ format: 1, identity: { ...identity, ...facts } }));
    writeFileSync(join(place, "metrics.jsonl"), events);
    return runDetails({ ...listed("longer", "run"), state }, place, asked);
  };

  test("can be, where that is exact", () => {
    expect(details({}, end("steps")).extendable).toBe(true);
    expect(details({}, end("steps"), "stopped").extendable).toBe(false);
    expect(details({}, end("patience")).extendable).toBe(false);
    expect(details({ "schedule.stages": "2" }, end("steps")).extendable).toBe(false);
    expect(details({ "settings.learningRateSchedule": "linear" }, end("steps")).extendable).toBe(false);
    const evaluated = { stage: 0, scores: {}, loss: 1, seconds: 1, best: true, flops: 1, paperFlops: 1, totalFlops: 1 };
    const twice = metricsLine({ kind: "eval", step: 2, partial: "full", ...evaluated }, 0)!.repeat(2);
    expect(details({}, twice + end("steps")).extendable).toBe(false);
  });

  test("has outgrown its result where it shall make more steps than that is of", () => {
    const result = (reason: string) => ({ run: { reason, steps: 30 } }) as RunResult;
    expect(isOutgrown(result("steps"), 30)).toBe(false);
    expect(isOutgrown(result("steps"), 60)).toBe(true);
    expect(isOutgrown(result("patience"), 60)).toBe(false);
    expect(isOutgrown(result("steps"), null)).toBe(false);
  });
});

test("an adapter that is no folder, or holds none, is shown as none", () => {
  const place = join(folder, "odd");
  mkdirSync(place);
  writeFileSync(join(place, "adapter"), "");
  expect(runDetails(listed("odd", "run"), place, asked)).toMatchObject({ task: null, virtualTokens: 0 });
  rmSync(join(place, "adapter"));
  mkdirSync(join(place, "adapter"));
  expect(runDetails(listed("odd", "run"), place, asked)).toMatchObject({ task: null, virtualTokens: 0 });
});

test("a folder is read again where one of its files was written, and not else", () => {
  const file = join(folder, "memo");
  let reads = 0;
  const read = openMemo(
    () => [file],
    () => ++reads,
  );
  expect([read("a"), read("a"), read("b")]).toEqual([1, 1, 2]);
  writeFileSync(file, "x");
  expect([read("a"), read("a")]).toEqual([3, 3]);
  rmSync(file);
  expect(read("a")).toBe(4);
});
