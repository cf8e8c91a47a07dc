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

test("rows without equal inputs are drawn as they always were", () => {
  const of = (list: readonly Row[]) => list.map((r) => rows.indexOf(r));
  expect(of(holdout(rows, { fraction: 0.1, seed: 1 }).held)).toEqual([1, 2, 8, 9, 37, 40, 54, 56, 81, 82]);
  expect(of(sampleFewShot(rows, { count: 8, seed: 1 }))).toEqual([38, 55, 98, 30, 40, 46, 56, 83]);
  const grouped = Array.from({ length: 60 }, (_, i) => row(i, "a", `q${i >> 2}`));
  const { held } = holdout(grouped, { fraction: 0.3, seed: 1 });
  expect([...new Set(held.map((r) => r.group))]).toEqual(["q1", "q3", "q4", "q5", "q8"]);
});

test("rows with equal inputs are on one side of the holdout, with the groups that they join", () => {
  const inputs = (list: readonly Row[]) => new Set(list.map((r) => r.input));
  for (let seed = 0; seed < 20; seed++) {
    const twice = rows.map((r, i) => ({ ...r, input: `text ${i % 60}`, label: i % 60 < 20 ? "a" : "b" }));
    const { kept, held } = holdout(twice, { fraction: 0.2, seed });
    expect(kept.length + held.length).toBe(100);
    expect(held.length).toBeGreaterThanOrEqual(12);
    expect([...inputs(held)].filter((input) => inputs(kept).has(input))).toEqual([]);
    const few = holdout(
      twice.slice(0, 10).flatMap((r) => [r, { ...r, id: `${r.id} again` }]),
      { fraction: 0.05, seed },
    );
    expect([few.held.length, inputs(few.held).size]).toEqual([2, 1]);
    // q0 and q1 share an input, and so do q1 and q2
    const grouped = Array.from({ length: 40 }, (_, i) => row(i, "a", `q${i >> 2}`));
    const linked = grouped.map((r, i) =>
      i === 4 ? { ...r, input: "text 0" } : i === 8 ? { ...r, input: "text 5" } : r,
    );
    const sides = holdout(linked, { fraction: 0.4, seed });
    for (const side of [sides.kept, sides.held]) {
      const linkedRows = side.filter((r) => ["q0", "q1", "q2"].includes(r.group!));
      expect([0, 12]).toContain(linkedRows.length);
    }
  }
});

test("a text of very many rows, and a label with one text only, are trained on; nothing else to hold out: some are", () => {
  const often = rows.map((r, i) =>
    i < 40 ? { ...r, input: "ok", label: "a" } : i < 43 ? { ...r, input: "?", label: "c" } : r,
  );
  for (let seed = 0; seed < 20; seed++) {
    const { kept, held } = holdout(often, { fraction: 0.1, seed });
    expect(held.some((r) => ["ok", "?"].includes(r.input))).toBe(false);
    expect(held.length).toBeGreaterThan(3);
    expect(new Set(kept.map((r) => r.label))).toEqual(new Set(["a", "b", "c"]));
  }
  const two = rows.map((r) => ({ ...r, input: r.label! }));
  expect(holdout(two, { fraction: 0.1, seed: 0 }).held.length).toBe(10);
});

test("labels keep their shares in the holdout and the few-shot sample, and a rare one is on both sides", () => {
  const rare = Array.from({ length: 173 }, (_, i) => row(i, i % 13 === 0 && i < 169 ? "rare" : "often"));
  for (let seed = 0; seed < 20; seed++) {
    const { kept, held } = holdout(rare, { fraction: 0.1, seed });
    const of = (list: readonly Row[], label: string) => list.filter((r) => r.label === label).length;
    expect([of(held, "rare"), of(held, "often"), of(kept, "rare")]).toEqual([1, 16, 12]);
    const few = sampleFewShot(rare, { count: 26, seed });
    expect([of(few, "rare"), of(few, "often")]).toEqual([2, 24]);
  }
  // two rows of a label: one on either side; one row: it may be anywhere, but nothing breaks
  const two = [...Array.from({ length: 20 }, (_, i) => row(i, "a")), row(20, "b"), row(21, "b"), row(22, "c")];
  const { kept, held } = holdout(two, { fraction: 0.1, seed: 3 });
  expect([held.length, held.filter((r) => r.label === "b").length]).toEqual([2, 1]);
  expect(kept.some((r) => r.label === "b")).toBe(true);
  // as many different labels as rows, as where every row has its own answers
  const own = Array.from({ length: 30 }, (_, i) => row(i, `label ${i}`));
  expect(holdout(own, { fraction: 0.2, seed: 1 }).held.length).toBe(6);
});

test("few-shot of any rows: those that the paper's table was always drawn with here, whatever labels and groups", () => {
  const grouped = rows.map((r, i) => ({ ...r, group: `q${i >> 1}` }));
  for (const list of [rows, grouped])
    expect(sampleFewShot(list, { count: 8, per: "any", seed: 0 }).map((r) => r.id)).toEqual(
      [23, 96, 30, 46, 12, 33, 71, 21].map((i) => `f:${i}`),
    );
  expect(() => sampleFewShot(rows, { count: 101, per: "any", seed: 0 })).toThrow(/cannot draw/);
});

test("the number of rows is what was asked for, whatever the labels", () => {
  for (let n = 2; n < 40; n++) {
    const list = Array.from({ length: n }, (_, i) => row(i, ["a", "b", "c", "d"][i % 7 > 3 ? 0 : i % 7]!));
    for (const fraction of [0.05, 0.3, 0.5, 0.9]) {
      const { held } = holdout(list, { fraction, seed: n });
      expect(held.length).toBe(Math.min(n - 1, Math.max(1, Math.round(n * fraction))));
    }
    for (const count of [1, 2, n >> 1, n].filter((c) => c >= 1))
      expect(new Set(sampleFewShot(list, { count, seed: n })).size).toBe(count);
  }
});

test("few-shot: groups of rows stay whole", () => {
  const grouped = Array.from({ length: 60 }, (_, i) => row(i, i % 2 ? "a" : "b", `q${i >> 2}`));
  const few = sampleFewShot(grouped, { count: 18, seed: 1 });
  expect(few.length).toBe(16);
  for (const group of new Set(few.map((r) => r.group))) expect(few.filter((r) => r.group === group).length).toBe(4);
  expect(sampleFewShot(grouped, { count: 18, seed: 1 })).toEqual(few);
  expect(() => sampleFewShot(grouped, { count: 3, seed: 1 })).toThrow(/whole groups[\s\S]*4 …/);
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
