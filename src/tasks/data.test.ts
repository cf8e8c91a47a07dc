/** @file Tasks from options: what an adapter recorded fills the gaps, what has no effect is refused. */
import { describe, expect, test } from "vitest";
import { declaredTask } from "../data/dataset.js";
import { asRecorded, loadData, loadTask, taskDifferences } from "./data.js";

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
