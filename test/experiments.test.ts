/** @file The arithmetic of experiments against values computed by hand. */
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, expect, test } from "vitest";

interface Row {
  readonly id: string;
  readonly group?: string;
}
const { halves, ranks, rankCorrelation, deviation } = (await import(
  new URL("../experiments/statistics.mjs", import.meta.url).href
)) as {
  halves(rows: readonly Row[]): { chooses: Row[]; reports: Row[] };
  ranks(values: readonly number[]): number[];
  rankCorrelation(a: readonly number[], b: readonly number[]): number | null;
  deviation(values: readonly number[]): number | null;
};

const { checkMadeFrom } = (await import(new URL("../experiments/made-from.mjs", import.meta.url).href)) as {
  checkMadeFrom(out: string, from: { settings: unknown; models: string[]; datasets: string }): { models: object };
};

describe("halves", () => {
  test("share no row, and together are all", () => {
    const rows = Array.from({ length: 7 }, (_, n) => ({ id: `r${n}` }));
    const { chooses, reports } = halves(rows);
    expect(chooses.map(({ id }) => id)).toEqual(["r0", "r2", "r4", "r6"]);
    expect(reports.map(({ id }) => id)).toEqual(["r1", "r3", "r5"]);
  });

  test("keep the rows of a group together", () => {
    const rows = ["a", "a", "b", "b", "b", "c"].map((group, n) => ({ id: `r${n}`, group }));
    const { chooses, reports } = halves(rows);
    expect(chooses.map(({ group }) => group)).toEqual(["a", "a", "c"]);
    expect(reports.map(({ group }) => group)).toEqual(["b", "b", "b"]);
  });
});

describe("rank correlation", () => {
  test("of orders", () => {
    expect(rankCorrelation([1, 2, 3, 4], [10, 20, 30, 40])).toBeCloseTo(1, 12);
    expect(rankCorrelation([1, 2, 3, 4], [4, 3, 2, 1])).toBeCloseTo(-1, 12);
    // 1 − 6·Σd²/(n·(n² − 1)) with d = 0, 1, −1, 0
    expect(rankCorrelation([1, 2, 3, 4], [1, 3, 2, 4])).toBeCloseTo(1 - (6 * 2) / (4 * 15), 12);
  });

  test("equal values share the mean of their ranks", () => {
    expect(ranks([3, 1, 3, 2])).toEqual([2.5, 0, 2.5, 1]);
    // Σxy / √(Σx²·Σy²) of ranks less their mean
    expect(rankCorrelation([1, 2, 2, 3], [1, 3, 2, 4])).toBeCloseTo(4.5 / Math.sqrt(4.5 * 5), 12);
    expect(rankCorrelation([1, 1, 1], [1, 2, 3])).toBeNull();
  });

  test("what is no number, or no pair, is refused and not waited for", () => {
    expect(() => ranks([1, Number.NaN])).toThrow(/value 1 is NaN/);
    expect(() => rankCorrelation([1, 2], [1, Number.NaN])).toThrow(/value 1 is NaN/);
    expect(() => rankCorrelation([1, 2], [1, 2, 3])).toThrow(/2 values against 3/);
  });
});

test("a deviation is of the sample", () => {
  expect(deviation([1, 2, 3, 4])).toBeCloseTo(Math.sqrt(5 / 3), 12);
  expect(deviation([1])).toBeNull();
});

test("a folder of results refuses settings, weights and rows that they were not made from", () => {
  const root = mkdtempSync(join(tmpdir(), "made-from-"));
  const [out, model, datasets] = ["out", "model", "rows"].map((name) => join(root, name)) as [string, string, string];
  for (const folder of [out, model, datasets]) mkdirSync(folder);
  const weights = (text: string) => writeFileSync(join(model, "model.safetensors"), text);
  const rows = (text: string) => writeFileSync(join(datasets, "train.jsonl"), text);
  weights("a");
  rows("{}\n");
  const settings = { steps: 4, tasks: ["sst2"] };
  const check = (more = {}) => checkMadeFrom(out, { settings, models: [model], datasets, ...more });
  // sha256 of "a"
  expect(check().models).toEqual({ model: "ca978112ca1bbdcafac231b39a23dc4da786eff8147c4e72b9807785afee48bb" });
  // one name would stand for either's weights, and none for those of a folder that holds none
  const alike = join(root, "elsewhere", "model");
  mkdirSync(alike, { recursive: true });
  expect(() => check({ models: [model, alike] })).toThrow(/two models are named model/);
  expect(() => check({ models: [alike] })).toThrow(/no weights/);
  check();
  expect(() => check({ settings: { ...settings, steps: 5 } })).toThrow(/results of other settings: take another/);
  weights("b");
  expect(() => check()).toThrow(/results of other models/);
  weights("a");
  rows("{}\n{}\n");
  expect(() => check()).toThrow(/results of other rows/);
  // results from before, which say nothing
  writeFileSync(join(datasets, "cell.json"), "{}");
  expect(() => checkMadeFrom(datasets, { settings, models: [model], datasets })).toThrow(/do not say what/);
  rmSync(root, { recursive: true, force: true });
});

test("rows of a decoder-only model: validation rows evenly spaced, COPA's choices are its label words, the place of the prompt", async () => {
  const { causalData, majorityOf, templateOf } = await import(new URL("../experiments/rows.mjs", import.meta.url).href);
  const folder = mkdtempSync(join(tmpdir(), "rows-"));
  const write = (task: string, split: string, records: readonly object[]) => {
    mkdirSync(join(folder, task), { recursive: true });
    writeFileSync(join(folder, task, `${split}.jsonl`), `${records.map((one) => JSON.stringify(one)).join("\n")}\n`);
  };
  const films = (count: number) =>
    Array.from({ length: count }, (_, i) => ({ sentence: `film ${i}`, label: i % 3 === 0 ? 1 : 0 }));
  write("films", "train", films(9));
  write("films", "validation", films(8));
  const put = { folder: "films", template: "{sentence}{prompt} is", verbalizer: { "0": "bad", "1": "good" } };
  const one = { task: "films", trainingRows: 100, validationRows: 4 };
  const behind = await causalData(folder, { ...one, put });
  const inputs = behind.validation.map(({ input }: { input: string }) => input);
  expect(inputs).toEqual([0, 2, 4, 6].map((film) => `film ${film} is`));
  expect(templateOf(put, true)).toBe(put.template);
  expect(templateOf(put, false)).toBe("{sentence} is");
  expect(behind.task).toMatchObject({ name: "films", template: put.template });
  // of 0, 2, 4 and 6 the label most frequent in training, 0, is right on two
  expect(majorityOf(behind)).toBe(0.5);
  const choice = { premise: "It rained.", choice1: "The street got wet.", choice2: "The sun came out." };
  write("COPA", "train", [{ ...choice, question: "effect", label: 0 }]);
  write("COPA", "validation", [{ ...choice, question: "cause", label: 1 }]);
  const copa = await causalData(folder, {
    ...one,
    task: "copa",
    put: { folder: "COPA", template: "{premise} {joint}" },
  });
  expect(copa.train[0]).toMatchObject({ input: "It rained so", target: "the street got wet." });
  expect(copa.validation[0]).toMatchObject({
    ...{ input: "It rained because", label: "choice2", target: "the sun came out." },
    choices: { choice1: "the street got wet.", choice2: "the sun came out." },
  });
  rmSync(folder, { recursive: true });
});
