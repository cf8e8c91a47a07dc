/** @file Which report in a study's folder is replaced, and which is kept. */
import { existsSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, expect, test } from "vitest";
import { scratch } from "../../test/helpers/job.js";
import type { StudyResult } from "../study/study.js";
import { keepEarlierReport } from "./earlier-report.js";

const root = scratch("earlier-report");
afterAll(() => rmSync(root, { recursive: true, force: true }));

test("a study that lists no scores: a report with another figure is kept, an equal one is replaced", async () => {
  const result = (cosine: number): StudyResult => ({
    ...{ study: "similarity", title: "t", dots: [], charts: [], notes: [], settings: {} },
    tables: [{ title: "t", columns: [{ name: "pairs" }, { name: "cosine" }], rows: [["a", Number.NaN]] }],
    matrices: [{ title: "m", rows: ["a"], columns: ["b"], values: [[cosine]] }],
  });
  writeFileSync(join(root, "config.yaml"), "{}\n");
  const before = `${JSON.stringify(result(0.25), null, 2)}\n`;
  writeFileSync(join(root, "result.json"), before);
  expect(await keepEarlierReport(root, {}, {}, result(0.25))).toBeNull();
  expect(existsSync(join(root, "result.json"))).toBe(true);
  expect(await keepEarlierReport(root, {}, {}, result(0.5))).toEqual({
    folder: join(root, "earlier-1"),
    differs: "has figures that are not in the new one",
  });
  expect(readFileSync(join(root, "earlier-1/result.json"), "utf8")).toBe(before);
});
