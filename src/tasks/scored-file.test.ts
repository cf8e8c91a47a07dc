/** @file One file for a recorded task: a declared task's own file is read as the options say, and what is left out is told. */
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, expect, test } from "vitest";
import { declaredTask } from "../data/dataset.js";
import { loadTask } from "./data.js";
import { loadScored } from "./scored-file.js";

const place = mkdtempSync(join(tmpdir(), "softprompt-scored-"));
afterAll(() => rmSync(place, { recursive: true, force: true }));
const sst2 = declaredTask("sst2", {});
function file(name: string, text: string): string {
  writeFileSync(join(place, name), text);
  return join(place, name);
}

test.each([
  ["its usual form", "a.tsv", "sentence\tlabel\ngood\t1\nbad\t0\n", {}],
  ["another separator", "a.csv", "sentence^label\ngood^1\nbad^0\n", { delimiter: "^" }],
  ["no header", "b.tsv", "good\t1\nbad\t0\n", { header: ["sentence", "label"] }],
  ["other names", "c.tsv", "words\tgold\ngood\t1\nbad\t0\n", { columns: { sentence: "words" }, labelColumn: "gold" }],
] as const)("a declared task's file: %s", async (_, name, text, options) => {
  const path = file(name, text);
  const { rows, notices } = await loadScored(sst2, path, options as object);
  expect(rows.map(({ input, label }) => [input, label])).toEqual([
    [expect.stringContaining("good"), "positive"],
    [expect.stringContaining("bad"), "negative"],
  ]);
  expect(notices).toEqual([]);
});

test("bad rows are counted, and named", async () => {
  const path = file("bad.tsv", "sentence\tlabel\ngood\t1\nbad\t7\nfine\t1\tx\nso\t0\n");
  const { rows, notices } = await loadScored(sst2, path, { skipBadRows: true });
  expect(rows).toHaveLength(2);
  expect(notices).toEqual([expect.stringMatching(/^2 bad rows were skipped: .*bad\.tsv:4.*bad\.tsv:3/)]);
  await expect(loadScored(sst2, path, {})).rejects.toMatchObject({ kind: "data" });
});

test("a column of targets has no meaning in a declared task's file", async () => {
  const path = file("t.tsv", "sentence\tlabel\ngood\t1\n");
  await expect(loadScored(sst2, path, { targetColumn: "label" })).rejects.toMatchObject({ kind: "usage" });
});

test("every row of the file is scored, whatever is said of training rows", async () => {
  const own = loadTask({ template: "review: {text}", verbalizer: { n: "bad", p: "good" } })!;
  const path = file(
    "own.jsonl",
    "npnpnp".replace(/./g, (label) => `${JSON.stringify({ text: "so so", label })}\n`),
  );
  const { rows } = await loadScored(own, path, { fewShot: 2, fewShotPer: "class", validationShare: 0.5 });
  expect(rows).toHaveLength(6);
});

test("a format has no effect on a file of the user's own", async () => {
  const own = loadTask({ template: "review: {text}", verbalizer: { n: "bad", p: "good" } })!;
  const path = file("format.jsonl", '{"text":"so","label":"n"}\n');
  await expect(loadScored(own, path, { format: "openprompt" })).rejects.toThrow(/format has no effect/);
});

test("a wrong label in the file's one column of labels is told of by its row; which of two columns is asked", async () => {
  const own = loadTask({ template: "{text}", verbalizer: { billing: "billing", bug: "bug" } })!;
  const lines = ["a,bug,x", "b,billing,y", "c,biling,z", "d,bug,w"];
  const one = file("one.csv", `text,team,note\n${lines.join("\n")}\n`);
  await expect(loadScored(own, one, {})).rejects.toMatchObject({
    problem: "column team holds no known label",
    parts: { where: "one.csv:4", got: "biling", hint: "did you mean billing?" },
  });
  const { rows } = await loadScored(own, one, { skipBadRows: true });
  expect(rows.map(({ label }) => label)).toEqual(["bug", "billing", "bug"]);
  const two = file("two.csv", "text,team,second\na,bug,bug\nb,biling,bug\nc,bug,x\n");
  await expect(loadScored(own, two, {})).rejects.toThrow(/which column holds the answers[\s\S]*team, second/);
  // a column without a wrong label is meant, whatever another holds
  const right = file("right.csv", "text,team,second\na,bug,bug\nb,billing,bug\nc,bug,x\n");
  expect((await loadScored(own, right, {})).rows.map(({ label }) => label)).toEqual(["bug", "billing", "bug"]);
  // the recorded column counts, whatever stands in it
  const recorded = { ...own, columns: { label: "team" } };
  await expect(loadScored(recorded, two, {})).rejects.toMatchObject({ parts: { where: "two.csv:3" } });
});

test("without a recorded task the options say it: label words, or the file's own labels, or texts", async () => {
  const path = file("alone.csv", "Words,Team,Answer\na,bug,so\nb,billing,no\n");
  const template = "say: {Words}";
  const said = await loadScored(null, path, { template, labelColumn: "Team" });
  expect(said.task).toMatchObject({ template, verbalizer: { billing: "billing", bug: "bug" } });
  expect(said.rows.map(({ input, target }) => [input, target])).toEqual([
    ["say: a", "bug"],
    ["say: b", "billing"],
  ]);
  const verbalizer = { bug: "error", billing: "money" };
  const words = await loadScored(null, path, { template, verbalizer, inputPrefix: "now " });
  expect(words.rows.map(({ input, target }) => [input, target])).toEqual([
    ["now say: a", "error"],
    ["now say: b", "money"],
  ]);
  const free = await loadScored(null, path, { template, targetColumn: "Answer" });
  expect(free.task.verbalizer).toBeNull();
  const official = await loadScored(null, file("dev.tsv", "sentence\tlabel\ngood\t1\n"), {
    task: "sst2",
    inputPrefix: "x ",
  });
  expect(official.rows[0]).toMatchObject({ input: "x sentence: good", label: "positive" });
  await expect(loadScored(null, path, { template })).rejects.toMatchObject({
    parts: { hint: "say it with --label-column, or --target-column for written texts" },
  });
  await expect(loadScored(null, path, { labelColumn: "Team" })).rejects.toMatchObject({
    kind: "usage",
    parts: { where: "template" },
  });
});
