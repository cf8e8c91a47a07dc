import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, expect, test } from "vitest";
import type { ListedRun } from "../study/run-list.js";
import { openEventLogs } from "./event-log.js";
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
