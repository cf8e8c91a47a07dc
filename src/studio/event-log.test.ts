import { execFileSync } from "node:child_process";
import { appendFileSync, mkdirSync, mkdtempSync, rmSync, truncateSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, expect, test } from "vitest";
import { metricsLine } from "../run/metrics.js";
import { openEventLogs } from "./event-log.js";

const folder = mkdtempSync(join(tmpdir(), "softprompt-studio-"));
const file = join(folder, "metrics.jsonl");
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const stage = (step: number, partial = "full") => metricsLine({ kind: "stage", step, stage: 0, partial }, 0)!;
const steps = (log: { events: readonly { kind: string; step?: number }[] }) => log.events.map((e) => e.step);

test("a file that grows is read on, by whole lines; one that is written anew is another generation", () => {
  const read = openEventLogs();
  expect(read(folder).events).toEqual([]);
  writeFileSync(file, stage(1) + stage(2).slice(0, 20));
  const first = read(folder);
  expect(steps(first)).toEqual([1]);
  appendFileSync(file, stage(2).slice(20) + stage(3, "ö…"));
  const second = read(folder);
  expect(steps(second)).toEqual([1, 2, 3]);
  expect(second.generation).toBe(first.generation);
  expect(read(folder)).toEqual(second);

  // a resume cuts the events back and goes on
  writeFileSync(file, stage(1) + stage(2));
  const cut = read(folder);
  expect(steps(cut)).toEqual([1, 2]);
  expect(cut.generation).not.toBe(second.generation);
  // cut back and longer than before by the next look
  writeFileSync(file, stage(1) + stage(4) + stage(5) + stage(6));
  const longer = read(folder);
  expect(steps(longer)).toEqual([1, 4, 5, 6]);
  expect(longer.generation).not.toBe(cut.generation);
});

test("a line that is no event is an error that says where", () => {
  writeFileSync(file, `${stage(1)}{"kind":"x"}\n`);
  expect(() => openEventLogs()(folder)).toThrow("metrics.jsonl:2");
});

test("a damaged line after good ones is an error at every look, not lost at the second", () => {
  writeFileSync(file, stage(1));
  const read = openEventLogs();
  read(folder);
  appendFileSync(file, `${stage(2)}nonsense\n`);
  expect(() => read(folder)).toThrow("metrics.jsonl:3");
  expect(() => read(folder)).toThrow("metrics.jsonl:3");
});

test("what is no file of bounded size is refused, and nothing waits for it", () => {
  rmSync(file);
  mkdirSync(file);
  expect(() => openEventLogs()(folder)).toThrow("this is not a regular file");
  rmSync(file, { recursive: true });
  writeFileSync(file, "");
  truncateSync(file, 5e9);
  expect(() => openEventLogs()(folder)).toThrow("this file is too large");
  rmSync(file);
  if (process.platform === "win32") return;
  execFileSync("mkfifo", [file]);
  expect(() => openEventLogs()(folder)).toThrow("this is not a regular file");
  rmSync(file);
});
