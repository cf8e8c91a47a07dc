/** @file What a dataset says of itself, loaded as the commands load it. */
import { mkdtemp, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, test } from "vitest";
import { type FilesSpec, loadDataset } from "./dataset.js";

async function load(csv: string, more: Partial<FilesSpec> = {}, files: Record<string, string> = {}) {
  const base = await mkdtemp(join(tmpdir(), "softprompt-notices-"));
  const all: Record<string, string> = { "t.csv": `text,label\n${csv}`, ...files };
  for (const [name, text] of Object.entries(all)) await writeFile(join(base, name), text);
  return loadDataset({ files: { train: "t.csv" }, base, template: "{text}", label: "label", ...more });
}
/** Enough rows that nothing else is noticed. */
const rows = (label: (i: number) => string, n = 120) =>
  Array.from({ length: n }, (_, i) => `text ${i},${label(i)}\n`).join("");
const held = "no validation file: 12 of 120 training rows are held out (seed 0)";

test("sound data say only that rows are held out", async () => {
  expect((await load(rows((i) => (i % 2 ? "a" : "b")))).notices).toEqual([held]);
});

test.each<[string, (i: number) => string, Partial<FilesSpec>, RegExp]>([
  [
    "spellings of truth values",
    (i) => ["TRUE", "True", "true", "FALSE"][i % 4]!,
    {},
    /TRUE, True, true are taken as one label, true/,
  ],
  [
    "labels that differ only in case",
    (i) => ["Yes", "yes", "NO", "No", "perhaps"][i % 5]!,
    {},
    /^column label: labels that differ only in case are different labels: NO and No, Yes and yes$/,
  ],
  ["labels that look alike", (i) => ["\u00e9", "e\u0301", "b"][i % 3]!, {}, /U\+0065 U\+0301.*U\+00E9/],
  ["labels with a character without width", (i) => ["a", "a\u200b"][i % 2]!, {}, /U\+0061\).*U\+0061 U\+200B/],
  ["a measure as label", (i) => String((i % 30) / 7), {}, /30 labels are all numbers/],
  ["a missing value as label", (i) => ["a", "b", "NaN"][i % 3]!, {}, /label NaN looks like a missing value/],
  [
    "one label in training",
    () => "a",
    { verbalizer: { a: "good", b: "bad" } },
    /all 108 training rows have the label a/,
  ],
  [
    "a label without rows",
    (i) => (i % 2 ? "a" : "b"),
    { verbalizer: { a: "x", b: "y", c: "z" } },
    /no training row has the label c/,
  ],
  ["which label f1 is of", (i) => (i % 2 ? "-1" : "1"), { metrics: ["f1"] }, /^f1 is that of the label 1 /],
])("%s: said", async (_, label, more, message) => {
  const { notices } = await load(rows(label), more);
  expect(notices).toEqual([...(notices ?? []).filter((n) => n === held || message.test(n))]);
  expect(notices!.some((notice) => message.test(notice))).toBe(true);
});

test("a template that shows the answer, by its own name or another", async () => {
  const data = rows((i) => (i % 2 ? "a" : "b"));
  const shown = /the template shows the answer: \{(label|hint)\} is column label/;
  expect((await load(data, { template: "{text} {label}" })).notices).toContainEqual(expect.stringMatching(shown));
  const columns = { hint: "label" };
  expect((await load(data, { template: "{text} {hint}", columns })).notices).toContainEqual(
    expect.stringMatching(shown),
  );
});

test("one label is one label: 1.0 beside 1, and TRUE beside true", async () => {
  const numbers = await load(rows((i) => ["1.0", "1", "0", "0.0"][i % 4]!));
  expect(numbers.task.verbalizer).toEqual({ 0: "0", 1: "1" });
  const truth = await load(rows((i) => ["TRUE", "True", "false"][i % 3]!));
  expect(truth.task.verbalizer).toEqual({ false: "false", true: "true" });
  expect(Object.keys((await load(rows((i) => ["True", "False"][i % 2]!))).task.verbalizer!)).toEqual(["False", "True"]);
});

test("empty texts are counted with their rows; empty labels are refused by row, or skipped and named", async () => {
  const empty = `${rows((i) => (i % 2 ? "a" : "b"))},a\n  ,b\n`;
  expect((await load(empty)).notices).toContainEqual("2 rows have no text in text: t.csv:122, t.csv:123");
  const missing = `${rows((i) => (i % 2 ? "a" : "b"))}more,\n`;
  await expect(load(missing)).rejects.toThrow(/t\.csv:122: column label is missing/);
  const found = await load(missing, { skipBadRows: true });
  expect(found.skipped).toBe(1);
  expect(found.notices).toContainEqual("1 bad row was skipped: t.csv:122 (column label is missing)");
});

test("many examples are cut short", async () => {
  const { notices } = await load(rows((i) => (i % 2 ? "a" : "b"), 200) + ",a\n".repeat(50));
  expect(notices).toContainEqual("50 rows have no text in text: t.csv:202, t.csv:203, t.csv:204 and 47 more");
});

test("the program's own holdout leaks no text: equal ones are on one side", async () => {
  const twice = Array.from({ length: 120 }, (_, i) => `text ${i % 60},${i % 2 ? "a" : "b"}\n`).join("");
  expect((await load(twice)).notices).toEqual([held]);
});

test("rows that stand in two splits, and few validation rows, are said", async () => {
  const v = "text,label\ntext 3,a\nnew,b\n";
  const found = await load(
    rows((i) => (i % 2 ? "a" : "b")),
    { files: { train: "t.csv", validation: "v.csv", test: "v.csv" } },
    { "v.csv": v },
  );
  expect(found.notices).toEqual([
    "1 of 2 validation rows have an input that also stands in the training rows: v.csv:2 = t.csv:5",
    "1 of 2 test rows have an input that also stands in the training rows: v.csv:2 = t.csv:5",
    "only 2 validation rows: one answer is 50 points of the score",
  ]);
});

test.each([
  ["one label", "a,x\nb,x\n", /column label holds only one value[\s\S]*got: "x"/],
  ["no label", "a,\nb,\n", /column label is empty in every row/],
  ["no row", "", /no usable row[\s\S]*only a header: text, label/],
])("%s is refused with the reason", async (_, csv, message) => {
  await expect(load(csv)).rejects.toThrow(message);
});

test("labels with the names of an object's own properties are labels like any other", async () => {
  const names = ["constructor", "__proto__", "toString", "hasOwnProperty"];
  const { task, train, notices } = await load(rows((i) => names[i % 4]!));
  expect(Object.keys(task.verbalizer!).sort()).toEqual([...names].sort());
  for (const row of train) expect(row.target).toBe(row.label);
  expect(notices).toEqual([held]);
});
