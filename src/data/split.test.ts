import { expect, test } from "vitest";
import { defineTask } from "./define.js";
import { majorityBaseline, taskPreview } from "./preview.js";
import type { Row } from "./row.js";
import { holdout, sampleFewShot, shuffled } from "./split.js";

const row = (i: number, label: string, group?: string): Row => ({
  id: `f:${i}`,
  input: `text ${i}`,
  target: label,
  label,
  references: [label],
  group,
});
const rows = Array.from({ length: 100 }, (_, i) => row(i, i % 4 === 0 ? "a" : "b"));

test("few-shot: without replacement, by seed, in total or per class", () => {
  const total = sampleFewShot(rows, { count: 32, seed: 5 });
  expect(new Set(total.map((r) => r.id)).size).toBe(32);
  expect(sampleFewShot(rows, { count: 32, seed: 5 })).toEqual(total);
  expect(sampleFewShot(rows, { count: 32, seed: 6 })).not.toEqual(total);
  const each = sampleFewShot(rows, { count: 10, per: "class", seed: 5 });
  expect([each.length, each.filter((r) => r.label === "a").length]).toEqual([20, 10]);
  expect(() => sampleFewShot(rows, { count: 26, per: "class", seed: 5 })).toThrow(/cannot draw 26 rows of label a/);
  expect(() => sampleFewShot(rows, { count: 0, seed: 5 })).toThrow(/cannot draw/);
});

test("holdout: a share, by seed, order kept, groups whole", () => {
  const { kept, held } = holdout(rows, { fraction: 0.2, seed: 1 });
  expect([kept.length, held.length]).toEqual([80, 20]);
  expect([...kept, ...held].map((r) => r.id).sort()).toEqual(rows.map((r) => r.id).sort());
  expect(held.map((r) => rows.indexOf(r))).toEqual(held.map((r) => rows.indexOf(r)).sort((a, b) => a - b));
  const grouped = Array.from({ length: 60 }, (_, i) => row(i, "a", `q${i >> 2}`));
  const parts = holdout(grouped, { fraction: 0.3, seed: 1 });
  const held4 = new Set(parts.held.map((r) => r.group));
  expect(parts.held.length).toBe(held4.size * 4);
  expect(parts.kept.some((r) => held4.has(r.group))).toBe(false);
  expect(() => holdout(rows.slice(0, 1), { fraction: 0.5, seed: 1 })).toThrow(/cannot hold/);
});

test("shuffles are permutations by seed and stream", () => {
  const list = [...Array(50).keys()];
  expect(shuffled(list, 1, "x").sort((a, b) => a - b)).toEqual(list);
  expect(shuffled(list, 1, "x")).not.toEqual(shuffled(list, 1, "y"));
});

test("preview and majority baseline", () => {
  const task = defineTask({
    name: "t",
    template: "{x}",
    verbalizer: { a: "yes", b: "no" },
    metrics: ["accuracy", "macroF1"],
  });
  const dataset = { task, train: rows, validation: rows.slice(0, 10), test: [], files: [], skipped: 0 };
  expect(taskPreview(dataset, 2)).toMatchObject({
    counts: { train: 100, validation: 10, test: 0 },
    labels: { a: { train: 25, validation: 3 }, b: { train: 75, validation: 7 } },
    rows: [{ id: "f:0" }, { id: "f:1" }],
  });
  const { says, scores } = majorityBaseline(dataset, dataset.validation);
  expect(says).toBe("b");
  expect(scores.accuracy).toBeCloseTo(0.7, 12);
  expect(scores.macroF1).toBeCloseTo((0 + 14 / 17) / 2, 12); // b: 7 right, 7 gold, 10 predicted
});
