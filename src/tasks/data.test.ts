/** @file Tasks from options: what an adapter recorded fills the gaps, what has no effect is refused. */
import { describe, expect, test } from "vitest";
import { declaredTask } from "../data/dataset.js";
import { asRecorded, type DataOptions, loadData, loadRows, loadTask, targetNotices, taskDifferences } from "./data.js";

describe("an adapter's task stands in for what was not asked for", () => {
  const recorded = declaredTask("rte", { format: "openprompt", inputPrefix: "{rte} ", targetPrefix: "<extra_id_0>" });
  test("of a declared task: name, format and prefixes, so that only the folder is missing", () => {
    expect(asRecorded({ data: "RTE" }, recorded)).toEqual({
      task: "rte",
      format: "openprompt",
      inputPrefix: "{rte} ",
      targetPrefix: "<extra_id_0>",
      data: "RTE",
    });
    const { task, ...again } = asRecorded({}, recorded);
    expect(declaredTask(task!, again)).toEqual(recorded);
  });
  test("what was asked for stays; another task is left alone", () => {
    expect(asRecorded({ task: "RTE", targetPrefix: "" }, recorded)).toMatchObject({ task: "RTE", targetPrefix: "" });
    expect(asRecorded({ task: "boolq" }, recorded)).toEqual({ task: "boolq" });
    expect(asRecorded({ task: "boolq" }, null)).toEqual({ task: "boolq" });
  });
  test("of the user's own files: template and words", () => {
    const own = loadTask({ template: "review: {text}", verbalizer: { n: "bad", p: "good" }, targetPrefix: "so " })!;
    expect(asRecorded({ train: "x.csv", labelColumn: "y", maxTargetTokens: 3 }, own)).toMatchObject({
      train: "x.csv",
      labelColumn: "y",
      template: "review: {text}",
      verbalizer: { n: "bad", p: "good" },
      targetPrefix: "so ",
      maxTargetTokens: 3,
    });
  });
  test("the bundled rows are put as the adapter learnt them, and a difference has a name", async () => {
    const task = loadTask({ task: "quickstart", targetPrefix: "<extra_id_0>", inputPrefix: "say: " })!;
    const like = await loadData(asRecorded({}, task));
    expect(like.task).toEqual(task);
    expect(like.validation[0]!.input).toMatch(/^say: sentence: /);
    expect(taskDifferences(task, like.task)).toEqual([]);
    expect(taskDifferences(task, (await loadData({ task: "quickstart" })).task)).toEqual(["template", "targetPrefix"]);
  });
});

test("a task alone keeps its scoring and may have other words", () => {
  expect(loadTask({ task: "MultiRC" })).toEqual(declaredTask("multirc"));
  expect(loadTask({ task: "wsc", format: "openprompt" })).toEqual(declaredTask("wsc", { format: "openprompt" }));
  const words = Object.fromEntries(Object.keys(declaredTask("rte").verbalizer!).map((l) => [l, `is ${l}`]));
  expect(loadTask({ task: "rte", verbalizer: words })!.verbalizer).toEqual(words);
});

test("a declared task's answers may be shorter, and an adapter remembers it", () => {
  const short = loadTask({ task: "xsum", maxTargetTokens: 12 })!;
  expect(short.maxTargetTokens).toBe(12);
  expect(asRecorded({ data: "folder" }, short)).toMatchObject({ task: "xsum", maxTargetTokens: 12 });
  expect(asRecorded({ data: "folder" }, declaredTask("xsum"))).not.toHaveProperty("maxTargetTokens");
  expect(declaredTask("xsum", { maxTargetTokens: 12 })).toEqual(short);
});

test.each([
  [{ verbalizer: { a: "b" } }, /verbalizer has no effect without a task/],
  [{ inputPrefix: "x" }, /inputPrefix has no effect/],
  [{ maxTargetTokens: 3 }, /maxTargetTokens has no effect/],
  [{ template: "{a}", format: "t5" }, /format has no effect on a template/],
  [{ task: "rte", format: "constructor" }, /no such format/],
  [{ task: "rte", format: "__proto__" }, /no such format/],
])("refuses %j", (options, message) => {
  expect(() => loadTask(options)).toThrow(message);
});
test("nothing asked for is no task", () => expect(loadTask({})).toBe(null));

test.each([
  [{ task: "quickstart", fewshot: 16 }, /unknown option "fewshot"[\s\S]*did you mean "fewShot"/],
  [{ task: "quickstart", bogus: 1, rows: undefined }, /unknown option "bogus"/],
  [{ task: "quickstart", labels: ["a", "b"] }, /unknown option "labels"/],
])("loadData refuses %j", async (options, message) => {
  await expect(loadData({ ...options, onEvent: () => {}, signal: undefined } as never)).rejects.toThrow(message);
});

describe("options that the rows would not read are refused", () => {
  const quickstart = { task: "quickstart" };
  test.each<[DataOptions, RegExp]>([
    [{ ...quickstart, validation: "rows.jsonl" }, /validation is for your own files; the bundled rows of quickstart/],
    [{ ...quickstart, test: "rows.jsonl" }, /test is for your own files/],
    [{ ...quickstart, template: "{text}" }, /template is for your own files/],
    [{ ...quickstart, verbalizer: { negative: "bad" } }, /verbalizer is for your own files/],
    [{ ...quickstart, labelColumn: "label" }, /labelColumn is for your own files/],
    [{ ...quickstart, columns: { text: "sentence" } }, /columns is for your own files/],
    [{ ...quickstart, metrics: ["f1"] }, /metrics is for your own files/],
    [{ ...quickstart, data: "/does/not/exist" }, /data has no effect on the bundled rows of quickstart/],
    [{ ...quickstart, format: "t5" }, /format has no effect on the bundled rows/],
    [{ ...quickstart, header: ["text", "label"] }, /header has no effect on the bundled rows/],
    [{ task: "rte", data: "RTE", columns: { premise: "nonexistent" } }, /columns is for your own files/],
    [{ train: "x.csv", template: "{text}", format: "openprompt" }, /format has no effect on your own files/],
  ])("%j", async (options, message) => {
    await expect(loadData(options)).rejects.toThrow(message);
  });
  test("what the bundled rows do read is taken", async () => {
    const data = await loadData({ task: "quickstart", fewShot: 4, inputPrefix: "say: ", targetPrefix: "so " });
    expect(data.train).toHaveLength(4);
    expect(data.validation[0]!.input).toMatch(/^say: sentence: /);
  });
});

describe("rows of a program", () => {
  const rows = Array.from({ length: 30 }, (_, i) => ({ text: `t ${i}`, stars: i % 3, good: i % 2 === 0 }));
  test("are loaded like those of a file, values of any plain kind, named by index", async () => {
    const data = await loadRows(rows, {
      template: "review {text}: {stars}",
      labelColumn: "good",
      validationShare: 0.2,
    });
    expect([data.train.length, data.validation.length]).toEqual([24, 6]);
    expect(data.task).toMatchObject({ name: "rows", verbalizer: { false: "false", true: "true" } });
    expect(data.train[0]).toMatchObject({ input: "review t 0: 0", label: "true", id: "rows[0]" });
    expect(data.files).toEqual([{ path: "rows", sha256: expect.stringMatching(/^[0-9a-f]{64}$/), rows: 30 }]);
    const again = await loadData({
      rows,
      template: "review {text}: {stars}",
      labelColumn: "good",
      validationShare: 0.2,
    });
    expect({ ...again, seconds: 0 }).toEqual({ ...data, seconds: 0 });
  });
  test("with rows to validate on, labels as their own words, or free text", async () => {
    const labelled = [
      { text: "a", label: 1 },
      { text: "b", label: 0.0 },
    ];
    const data = await loadRows(labelled, { template: "{text}", labels: ["0", "1"], validationRows: labelled });
    expect(data.validation.map((r) => [r.id, r.target])).toEqual([
      ["validationRows[0]", "1"],
      ["validationRows[1]", "0"],
    ]);
    expect(data.notices!.some((n) => /validation rows have an input/.test(n))).toBe(true);
    const free = await loadRows(
      [
        { q: "a", target: "x" },
        { q: "b", target: "y" },
      ],
      { template: "{q}" },
    );
    expect(free.task.verbalizer).toBeNull();
  });
  test("rows of an interface or a class, as a database gives them, are rows", async () => {
    interface Ticket {
      readonly text: string;
      readonly label: "yes" | "no";
    }
    class Stored implements Ticket {
      constructor(
        readonly text: string,
        readonly label: "yes" | "no",
      ) {}
    }
    const tickets: readonly Ticket[] = [{ text: "a", label: "yes" }, new Stored("b", "no")];
    const data = await loadRows(tickets, { template: "{text}", validationShare: 0 });
    expect(data.train.map(({ input, label }) => [input, label])).toEqual([
      ["a", "yes"],
      ["b", "no"],
    ]);
  });
  test.each<[string, unknown, object, RegExp]>([
    ["a missing cell", [{ text: "a", label: 1 }, { label: 0 }], {}, /rows\[1\]: column text is missing/],
    [
      "a label that is not a number",
      [
        { text: "a", label: Number.NaN },
        { text: "b", label: 0 },
      ],
      {},
      /rows\[0\]: column label holds no text/,
    ],
    ["a date", [{ text: new Date(0), label: 1 }], {}, /rows\[0\]: column text holds no plain value[\s\S]*Date/],
    ["no object", [{ text: "a", label: 1 }, "b"], {}, /rows\[1\]: a row is no object/],
    ["no list", { text: "a" }, {}, /rows: the rows are no list/],
    ["no row", [], { labelColumn: "label" }, /there are no rows/],
    [
      "an unknown label",
      [
        { text: "a", label: 2 },
        { text: "b", label: 0 },
      ],
      { verbalizer: { 0: "x", 1: "y" } },
      /rows\[0\]: column label holds no known label/,
    ],
    ["options of files", [{ text: "a", label: 1 }], { train: "x.csv" }, /train is for files/],
    [
      "labels and a verbalizer",
      [{ text: "a", label: 1 }],
      { labels: ["a"], verbalizer: { 1: "a" } },
      /both labels and a verbalizer/,
    ],
    ["an unknown option", [{ text: "a", label: 1 }], { lables: ["a"] }, /unknown option "lables"/],
  ])("%s: refused", async (_, given, options, message) => {
    await expect(loadRows(given as [], { template: "{text}", ...options })).rejects.toThrow(message);
  });
});

test("targets that the model cannot be taught whole are counted", async () => {
  const data = await loadRows(
    [
      { q: "a", target: "one two three" },
      { q: "b", target: "one two three four five" },
      { q: "c", target: "1 2 3 4" },
    ],
    { template: "{q}", maxTargetTokens: 4, validationRows: [{ q: "d", target: "x" }] },
  );
  const byWord = { encode: (text: string) => Int32Array.from(text.split(" "), Number) };
  expect(targetNotices(data, byWord as never)).toEqual([
    "2 of 4 targets are longer than 4 tokens and are cut (--max-target-tokens): rows[1], rows[2]",
  ]);
  expect(targetNotices({ ...data, task: { ...data.task, maxTargetTokens: 6 } }, byWord as never)).toEqual([]);
});

test("the label that f1 is of is an option, of a declared task's adapter too", async () => {
  const rows = [
    { text: "a", label: "x" },
    { text: "b", label: "y" },
  ];
  const { task } = await loadRows(rows, { template: "{text}", metrics: ["f1"], positiveLabel: "x" });
  expect(task.scoring).toEqual({ positiveLabel: "x" });
  await expect(loadRows(rows, { template: "{text}", positiveLabel: "z" })).rejects.toThrow(/positiveLabel is wrong/);
  expect(loadTask({ task: "multirc", positiveLabel: "False" })!.scoring).toEqual({ positiveLabel: "False" });
  expect(asRecorded({ train: "x.csv" }, task)).toMatchObject({ positiveLabel: "x" });
});
