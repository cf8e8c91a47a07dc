import { existsSync } from "node:fs";
import { mkdtemp, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { describe, expect, test } from "vitest";
import { type DatasetSpec, type FilesSpec, loadDataset } from "./dataset.js";

const root = resolve(dirname(fileURLToPath(import.meta.url)), "../..");
const shared = join(root, "../shared/datasets");

async function folder(files: Record<string, string>): Promise<string> {
  const path = await mkdtemp(join(tmpdir(), "softprompt-data-"));
  for (const [name, text] of Object.entries(files)) await writeFile(join(path, name), text);
  return path;
}

describe.skipIf(!existsSync(shared))("the official files (../shared/datasets)", () => {
  // Rows of train and validation, after flattening: xprompt.md §5.1; fpt.md's tasks are the parts of them that lie there.
  test.each([
    ["boolq", "BoolQ", 9427, 3270],
    ["cb", "CB", 250, 56],
    ["copa", "COPA", 400, 100],
    ["multirc", "MultiRC", 27243, 4848],
    ["rte", "RTE", 2490, 277],
    ["wic", "WiC", 5428, 638],
    ["wsc", "WSC", 554, 104],
    ["wsc/referent", "WSC", 259, 104],
    ["sst2", "SST-2", 67349, 872],
    ["mnli", "MNLI", 10471, 9815],
    ["qqp", "QQP", 9308, 1000],
    ["squad2", "SQuAD2.0", 4719, 11873],
    ["xsum", "XSum", 2678, 500],
    ["record", "ReCoRD", 44, 32],
  ])("%s has its rows", async (name, place, train, validation) => {
    const [task, format] = name.split("/");
    const found = await loadDataset({ task: task!, folder: join(shared, place), format });
    expect([found.train.length, found.validation.length]).toEqual([train, validation]);
    expect(found.skipped).toBe(0);
    const { verbalizer } = found.task;
    for (const row of [...found.train, ...found.validation]) {
      if (row.target === "") throw new Error(`${row.id} has no target`);
      if (verbalizer && row.target !== verbalizer[row.label!]) throw new Error(`${row.id}: ${row.target}`);
    }
    expect(new Set([...found.train, ...found.validation].map((r) => r.id)).size).toBe(train + validation);
  });

  test.each(["boolq/BoolQ", "cb/CB", "copa/COPA", "multirc/MultiRC", "rte/RTE", "wic/WiC", "wsc/WSC"])(
    "%s: FewGLUE's 32 examples and OpenPrompt's wording",
    async (name) => {
      const [task, place] = name.split("/");
      const found = await loadDataset({
        task: task!,
        folder: join(shared, "FewGLUE_32dev", place!),
        format: "openprompt",
      });
      expect(found.train.length).toBeGreaterThanOrEqual(32);
      expect(found.task.name).toBe(`${task}/openprompt`);
      for (const row of found.train) expect(row.target.length).toBeGreaterThan(0);
    },
  );
});

const rte = (n: number, label: (i: number) => string) =>
  Array.from({ length: n }, (_, i) =>
    JSON.stringify({ premise: `p${i}`, hypothesis: `h${i}`, label: label(i), idx: i }),
  ).join("\n");
const alternating = (i: number) => (i % 2 ? "entailment" : "not_entailment");

test("a declared task reads its official names; without validation rows are held out, by seed", async () => {
  const path = await folder({ "train.jsonl": rte(40, alternating) });
  const load = (seed: number) => loadDataset({ task: "RTE", folder: path, seed });
  const found = await load(1);
  expect([found.train.length, found.validation.length, found.test.length]).toEqual([36, 4, 0]);
  expect(found.notices![0]).toMatch(/no validation file: 4 of 40/);
  expect(found.train[0]).toEqual({
    id: "train.jsonl:1",
    input: "hypothesis: h0 premise: p0",
    fields: [
      { name: "hypothesis", from: 12, to: 14 },
      { name: "premise", from: 24, to: 26 },
    ],
    target: "not_entailment",
    label: "not_entailment",
    references: ["not_entailment"],
  });
  expect((await load(1)).validation).toEqual(found.validation);
  expect((await load(2)).validation).not.toEqual(found.validation);
  expect(found.files).toEqual([
    { path: join(path, "train.jsonl"), sha256: expect.stringMatching(/^[0-9a-f]{64}$/), rows: 40 },
  ]);
});

test("a prefix stands before every input, braces and all; targets take theirs from the task", async () => {
  const path = await folder({ "train.jsonl": rte(4, alternating), "val.jsonl": rte(2, alternating) });
  const found = await loadDataset({ task: "rte", folder: path, inputPrefix: "rte {x} ", targetPrefix: "<extra_id_0>" });
  expect(found.train[0]!.input).toBe("rte {x} hypothesis: h0 premise: p0");
  expect(found.task.targetPrefix).toBe("<extra_id_0>");
  expect(found.notices).toEqual([
    "2 of 2 validation rows have an input that also stands in the training rows: val.jsonl:1 = train.jsonl:1, val.jsonl:2 = train.jsonl:2",
    "only 2 validation rows: one answer is 50 points of the score",
  ]);
});

test("a bad row is named by file, line and column, or skipped and counted", async () => {
  const path = await folder({
    "train.jsonl": `${rte(9, alternating)}\n{"premise": "p", "hypothesis": "h", "label": "entailmnt"}`,
  });
  await expect(loadDataset({ task: "rte", folder: path })).rejects.toThrow(
    /train.jsonl:10: column label holds no known label[\s\S]*did you mean entailment/,
  );
  const found = await loadDataset({ task: "rte", folder: path, skipBadRows: true });
  expect([found.skipped, found.train.length + found.validation.length]).toEqual([1, 9]);
});

test("few-shot draws by seed, in total or per class", async () => {
  const path = await folder({
    "train.jsonl": rte(60, (i) => (i % 4 ? "entailment" : "not_entailment")),
    "val.jsonl": rte(2, alternating),
  });
  const load = (count: number, per: "total" | "class", seed: number) =>
    loadDataset({ task: "rte", folder: path, fewShot: { count, per, seed } });
  expect((await load(32, "total", 1)).train.length).toBe(32);
  const each = (await load(8, "class", 1)).train;
  expect(each.filter((r) => r.label === "entailment").length).toBe(8);
  expect(each.length).toBe(16);
  expect((await load(32, "total", 1)).train).toEqual((await load(32, "total", 1)).train);
  expect((await load(32, "total", 1)).train).not.toEqual((await load(32, "total", 2)).train);
  await expect(load(61, "total", 1)).rejects.toThrow(/cannot draw 61 rows/);
});

const csv = 'review,stars\nlovely,5\ndull,1\n"long, but fine",4\n';
const own = (path: string, more: Partial<FilesSpec> = {}): FilesSpec => ({
  files: { train: "reviews.csv" },
  base: path,
  template: "review: {review}",
  label: "stars",
  ...more,
});

test("the user's own file: labels are their own words unless a verbalizer says others", async () => {
  const path = await folder({ "reviews.csv": csv });
  const plain = await loadDataset(own(path));
  expect(plain.task).toMatchObject({
    name: "reviews",
    verbalizer: { 1: "1", 4: "4", 5: "5" },
    metrics: ["accuracy"],
    maxTargetTokens: 10,
  });
  const worded = await loadDataset(
    own(path, { verbalizer: { 5: "great", 4: "good", 1: "bad" }, metrics: ["macroF1"] }),
  );
  expect([...worded.train, ...worded.validation].map((r) => r.target).sort()).toEqual(["bad", "good", "great"]);
});

test("columns are renamed for the template; a free-text target may list several answers", async () => {
  const path = await folder({
    "qa.jsonl": '{"q": "a?", "a": ["x", "y"]}\n{"q": "b?", "a": "z"}',
    "v.jsonl": '{"q": "c?", "a": "w"}',
  });
  const found = await loadDataset({
    files: { train: "qa.jsonl", validation: "v.jsonl" },
    base: path,
    template: "question: {question}",
    columns: { question: "q" },
    target: "a",
  });
  expect(found.train.map((r) => [r.input, r.target, r.references])).toEqual([
    ["question: a?", "x", ["x", "y"]],
    ["question: b?", "z", ["z"]],
  ]);
  expect(found.task).toMatchObject({ verbalizer: null, metrics: ["exactMatch", "tokenF1"], maxTargetTokens: 200 });
});

test.each<[string, Partial<FilesSpec> | DatasetSpec, RegExp]>([
  ["a hole that is no column", { template: "{reveiw}" }, /\{reveiw\}[\s\S]*did you mean \{review\}/],
  ["a label column that is not there", { label: "star" }, /no column star[\s\S]*did you mean stars/],
  [
    "a label outside the verbalizer",
    { verbalizer: { 5: "a", 1: "b" } },
    /reviews.csv:4: column stars holds no known label/,
  ],
  ["label and target", { target: "review" }, /either a label column or a target/],
  ["an unknown metric", { metrics: ["acuracy" as "accuracy"] }, /did you mean accuracy/],
  ["an unknown option", { templat: "x" } as Partial<FilesSpec>, /unknown option templat[\s\S]*did you mean template/],
  ["two labels with the same words", { verbalizer: { 5: "a", 4: "a", 1: "b" } }, /same words/],
  ["a stray brace", { template: "{review" }, /hole is not closed/],
])("%s is refused", async (_, spec, message) => {
  const path = await folder({ "reviews.csv": csv });
  await expect(loadDataset(own(path, spec as Partial<FilesSpec>))).rejects.toThrow(message);
});

test("an unknown task and an empty folder are refused with what would do", async () => {
  const path = await folder({});
  await expect(loadDataset({ task: "rtee", folder: path })).rejects.toThrow(/did you mean rte/);
  await expect(loadDataset({ task: "rte", folder: path })).rejects.toThrow(/train.jsonl/);
  await expect(loadDataset({ task: "rte", folder: path, format: "t6" })).rejects.toThrow(/t5, openprompt/);
});
