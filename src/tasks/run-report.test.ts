/** @file Untrusted run folders: every wrong file is refused by name, none crashes, none makes us write elsewhere. */
import { cpSync, mkdirSync, readdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { fakeEngine, fakeRows, fakeTask, fakeTokenizer } from "../../test/helpers/fake-engine.js";
import { scratch } from "../../test/helpers/job.js";
import { readResult } from "../run/result.js";
import { writeReport } from "./run-report.js";
import { tune } from "./tune.js";

const root = scratch("report");
afterAll(() => rmSync(root, { recursive: true, force: true }));
const good = join(root, "good");
let count = 0;
const copy = () => {
  const folder = join(root, `run-${count++}`);
  cpSync(good, folder, { recursive: true });
  return folder;
};

beforeAll(async () => {
  const engine = fakeEngine();
  const checkpoint = { ...engine.checkpoint, parameters: 1000 };
  await tune(
    { checkpoint, tokenizer: fakeTokenizer, engine, device: "cpu", dispose: async () => {} },
    { task: fakeTask, train: fakeRows(16), validation: fakeRows(9), test: [], files: [], skipped: 0 },
    {
      virtualTokens: 4,
      steps: 4,
      evalEvery: 2,
      output: good,
      prompt: { shape: [4, 8], data: Float32Array.from({ length: 32 }, (_, n) => Math.sin(n)) },
    },
  );
});

test("a run that was written here can be read", async () => {
  const folder = copy();
  const page = readFileSync(join(folder, "report.html"), "utf8");
  await writeReport(folder);
  expect(readFileSync(join(folder, "report.html"), "utf8")).toBe(page);
  expect(readResult(folder)).toEqual(JSON.parse(readFileSync(join(folder, "result.json"), "utf8")));
});

test("a page says that every row got the same answer", async () => {
  const folder = copy();
  const file = join(folder, "predictions.jsonl");
  const lines = readFileSync(file, "utf8").trim().split("\n");
  const answers = lines.map((line, n) => ({ ...JSON.parse(line), label: "a", text: "a", correct: n > 3 }));
  writeFileSync(file, answers.map((line) => `${JSON.stringify(line)}\n`).join(""));
  await writeReport(folder);
  const page = readFileSync(join(folder, "report.html"), "utf8");
  expect(page).toContain(
    "Warning: each of the 9 rows got the same answer, “a”: the score is that of a constant answer",
  );
});

test("a line has the answer under predict's names, and lines of earlier versions give the same page", async () => {
  const folder = copy();
  const page = readFileSync(join(folder, "report.html"), "utf8");
  const lines = readFileSync(join(folder, "predictions.jsonl"), "utf8").trim().split("\n");
  const told = lines.map((line) => JSON.parse(line));
  for (const { label, trueLabel, correct } of told) expect(correct).toBe(label === trueLabel);
  expect(told.map((line) => Object.keys(line).join(" "))).toEqual(
    told.map(() => "id input label text probabilities trueLabel target correct"),
  );
  const earlier = told.map(({ id, input, label, text, probabilities, trueLabel, target, correct }) => ({
    ...{ id, input, target, prediction: text, label: trueLabel, predictedLabel: label, probabilities, right: correct },
  }));
  writeFileSync(join(folder, "predictions.jsonl"), earlier.map((line) => `${JSON.stringify(line)}\n`).join(""));
  await writeReport(folder);
  expect(readFileSync(join(folder, "report.html"), "utf8")).toBe(page);
});

const edited = (part: string, change: object) => {
  const result = JSON.parse(readFileSync(join(good, "result.json"), "utf8"));
  return JSON.stringify({ ...result, [part]: { ...result[part], ...change } });
};
test.each<[string, () => string, RegExp]>([
  ["metrics.jsonl", () => '{"kind":"eval"}\n', /this line is no event/],
  ["metrics.jsonl", () => "null\n", /this line is no event/],
  ["metrics.jsonl", () => '{"kind":"constructor","step":1}\n', /this line is no event/],
  ["metrics.jsonl", () => '{"kind":"step","step":1e400}\n', /this line is no event/],
  ["predictions.jsonl", () => "[]\n", /this line is no prediction/],
  ["predictions.jsonl", () => '{"id":1}\n', /this line is no prediction/],
  ["result.json", () => "null", /not the result of a tuning/],
  ["result.json", () => "{}", /not the result of a tuning/],
  ["result.json", () => edited("cost", { flops: -1 }), /cost\.flops/],
  ["result.json", () => edited("scores", { accuracy: "9" }), /scores\.accuracy/],
  ["result.json", () => edited("run", { options: [] }), /run\.options/],
])("%s %#: refused as a run folder's fault", async (name, text, message) => {
  const folder = copy();
  writeFileSync(join(folder, name), text());
  await expect(writeReport(folder)).rejects.toMatchObject({ kind: "run", message: expect.stringMatching(message) });
});

test("an event file that is a link elsewhere is not written into", async () => {
  const folder = copy();
  const elsewhere = join(root, "elsewhere");
  mkdirSync(elsewhere);
  rmSync(join(folder, "events.out.tfevents.softprompt"));
  symlinkSync(join(elsewhere, "file"), join(folder, "events.out.tfevents.softprompt"));
  await expect(writeReport(folder)).rejects.toMatchObject({ kind: "run", problem: expect.stringContaining("link") });
  expect(readdirSync(elsewhere)).toEqual([]);
});

test("a folder that is not there is not said to wait for a resume", async () => {
  await expect(writeReport(join(root, "mistyped"))).rejects.toMatchObject({
    kind: "run",
    problem: "there is no such run folder",
  });
});

test("a study's folder is told from a run's, and where its report is", async () => {
  const folder = join(root, "study");
  mkdirSync(folder);
  writeFileSync(join(folder, "result.json"), JSON.stringify({ study: "search", title: "How to search", tables: [] }));
  const refused = (hint: string) => ({ kind: "run", problem: expect.stringContaining("a study"), parts: { hint } });
  await expect(writeReport(folder)).rejects.toMatchObject(
    refused("the same study command again writes report.html; finished runs are kept"),
  );
  const page = join(folder, "report.html");
  writeFileSync(page, "as the study wrote it");
  await expect(writeReport(folder)).rejects.toMatchObject(refused(`its report is ${page}`));
  expect(readFileSync(page, "utf8")).toBe("as the study wrote it");
});
