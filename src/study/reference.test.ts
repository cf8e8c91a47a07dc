/** @file The paper's numbers against each other, and how they stand behind a study's own. */
import { describe, expect, test } from "vitest";
import { studyMarkdown, studyPage } from "./pages.js";
import { referenceMain, referenceParameters, referenceTasks, withReference } from "./reference.js";
import type { SeedScore, StudyResult } from "./study.js";

test.each(referenceMain.map((one) => [`${one.model} ${one.method}`, one] as const))(
  "%s: the printed average is that of its row",
  (_, { scores, average }) => {
    const known = scores.filter((score) => score !== null);
    const mean = known.reduce((a, b) => a + b, 0) / known.length;
    // the paper cuts or rounds to two digits
    expect(Math.abs(mean - average)).toBeLessThan(0.011);
  },
);

test("XPrompt's gains are those that the paper names: 3.26, 2.96 and 1.88", () => {
  const average = (model: string, method: string) =>
    referenceMain.find((one) => one.model === model && one.method === method)!.average;
  const gains = ["T5-Large", "T5-XL", "T5-XXL"].map((m) => average(m, "XPrompt") - average(m, "Prompt-Tuning"));
  expect(gains.map((gain) => gain.toFixed(2))).toEqual(["3.26", "2.96", "1.88"]);
});

test("Table 3's numbers are whole pieces of 128, and 20 tokens of 2,048", () => {
  const of = (method: string) => referenceParameters.find((one) => one.method.endsWith(method))!.parameters;
  expect(of("XPrompt").map((n) => n % 128)).toEqual(referenceTasks.map(() => 0));
  expect(of("Prompt-Tuning")[0]).toBe(20 * 2048);
  // the shares that the paper prints: 6.25, 15, 6.25, 37.18, 1.25, 71.25, 67.5 %
  expect(of("XPrompt").map((n) => Math.floor((1e4 * n) / 40_960) / 100)).toEqual([
    ...[6.25, 15, 6.25, 37.18, 1.25, 71.25, 67.5],
  ]);
});

const score = (line: string, task: string, seed: number, value: number): SeedScore => ({
  ...{ line, task, seed, metric: task === "multirc" ? "f1a" : "accuracy", score: value },
});
const result = (scores: readonly SeedScore[]): StudyResult => ({
  ...{ study: "methods", title: "Methods", tables: [], dots: [], charts: [], matrices: [], notes: [], settings: {} },
  scores,
});

describe("a study with the reference", () => {
  test("is unchanged where none is asked for", () => {
    const own = result([score("prompt", "cb", 0, 50)]);
    expect(withReference(own, "none")).toBe(own);
  });

  test("has its own rows first, means over seeds, and an average only of all seven", () => {
    const all = referenceTasks.map((task, n) => score("prompt", task, 0, 60 + n));
    const { tables, notes } = withReference(
      result([...all, score("prompt", "cb", 1, 72), score("lora", "rte", 0, 55), score("lora", "sst2", 0, 90)]),
      "xprompt",
    );
    const [main, fewShot, parameters] = tables;
    expect(main!.greyFrom).toBe(2);
    expect(main!.rows[0]).toEqual(["prompt", 60, 61, 67, 63, 64, 65, 66, (60 + 61 + 67 + 63 + 64 + 65 + 66) / 7]);
    expect(main!.rows[1]).toEqual(["lora", null, null, null, null, 55, null, null, null]);
    expect(main!.rows.slice(2)).toHaveLength(referenceMain.length);
    // trainings on all rows are not few-shot, and nothing says what survived
    expect([fewShot!.greyFrom, parameters!.greyFrom]).toEqual([0, 0]);
    expect(notes.at(-1)).toContain("arXiv:2210.04457");
  });

  test("has a few-shot study's scores in the paper's few-shot table alone", () => {
    const own = { ...result([score("32 examples: PT", "boolq", 0, 60)]), study: "few-shot" };
    const [main, fewShot] = withReference(own, "xprompt").tables;
    expect([main!.greyFrom, fewShot!.greyFrom]).toEqual([0, 1]);
    expect(fewShot!.rows[0]).toEqual(["32 examples: PT", 60, null, null]);
  });

  test("has a row for each format of a task, and no score of another metric than the paper's", () => {
    const what = (title: string, rows: readonly (readonly [string, number])[]) => ({
      title,
      columns: [{ name: "task" }, { name: "parameters", digits: 0 }],
      rows: rows.map((row) => [...row]),
    });
    const { tables } = withReference(
      {
        ...result([
          ...[score("prompt", "boolq", 0, 70), score("prompt", "boolq/t5", 0, 60), score("prompt", "boolq/t5", 1, 62)],
          ...[score("prompt", "rte", 0, 55), { ...score("prompt", "cb", 0, 40), metric: "macroF1" }],
          { ...score("prompt", "multirc", 0, 30), metric: "accuracy" },
        ]),
        tables: [
          what("What survives: a", [
            ["boolq", 10],
            ["boolq/t5", 20],
            ["rte", 30],
          ]),
        ],
      },
      "xprompt",
    );
    const [, main, , parameters] = tables;
    expect(main!.rows.slice(0, main!.greyFrom)).toEqual([
      ["prompt (boolq)", null, null, null, null, 55, 70, null, null],
      ["prompt (boolq/t5)", null, null, null, null, null, 61, null, null],
    ]);
    expect(parameters!.rows.slice(0, parameters!.greyFrom)).toEqual([
      ["What survives: a (boolq)", null, null, null, null, 30, 10, null],
      ["What survives: a (boolq/t5)", null, null, null, null, null, 20, null],
    ]);
  });

  test("draws the paper's rows grey, and marks them in text", () => {
    const shown = withReference(result([score("prompt", "cb", 0, 50)]), "xprompt");
    const page = studyPage(shown);
    expect(page).toMatch(/<tr class="soft"><td>paper: T5-XXL XPrompt<\/td>/);
    expect(page).toMatch(/<tr><td>prompt<\/td>/);
    expect(studyMarkdown(shown)).toContain("| paper: T5-XL Prompt-Tuning ");
  });
});
