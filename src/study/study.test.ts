/** @file Statistics of studies against values computed by hand. */
import { expect, test } from "vitest";
import { forecast } from "./left.js";
import { differenceDots, paired, pairedColumns, signTest } from "./study.js";

test.each([
  // 2·(1 + 6) / 2^6; tables of the binomial distribution
  [5, 1, 14 / 64],
  [1, 5, 14 / 64],
  [0, 6, 2 / 64],
  [10, 2, (2 * (1 + 12 + 66)) / 4096],
  [3, 3, 1],
  [0, 0, 1],
  [1, 0, 1],
  // 2 ** 2000 is no number; the normal approximation with its correction gives the others
  [1000, 1000, 1],
  [1060, 940, 0.00777],
])("%i above and %i below: the sign test says %f", (above, below, p) => {
  expect(signTest(above, below)).toBeCloseTo(p, above + below < 100 ? 12 : 4);
});

test.each([
  [Number.NaN, 3],
  [-1, 5],
  [2, 0.5],
])("%d and %d are no counts: no p is made of them", (above, below) => {
  expect(() => signTest(above, below)).toThrow(/expected: a whole number/);
});

test("a difference that was not measured leaves no mean, rather than one over the others", () => {
  // mean 2, sample deviation √2, over √2
  expect(paired([1, 3])).toEqual({ mean: 2, error: 1, pairs: 2, signs: "2 / 0 / 0" });
  expect(paired([5])).toEqual({ mean: 5, error: null, pairs: 1, signs: "1 / 0 / 0" });
  expect(paired([1, Number.NaN, 3])).toBeNull();
});

test("the figure of differences says what is subtracted from what", () => {
  const table = {
    title: "Partial models",
    columns: [{ name: "model" }, { name: "Δ to PT", unit: "points" }, ...pairedColumns],
    rows: [
      ["PT", null, null, null, null],
      ["half", -2, 0.5, 4, "0 / 0 / 4"],
    ],
  };
  expect(differenceDots(table)).toEqual([
    {
      title: "Partial models",
      xLabel: "Δ to PT, points, ± twice the standard error",
      differences: true,
      entries: [{ name: "half", value: { mean: -2, deviation: 1, count: 4 } }],
    },
  ]);
});

test("what is left is told by the ended runs of the same method on the same task, else of the method, else by all", () => {
  const runs = ["a", "b"].flatMap((task) => ["prompt", "lora", "lora"].map((method) => ({ method, task })));
  const { left, ended } = forecast(runs);
  expect(left()).toEqual({ runs: 6, seconds: null });
  // read back: it needs no more time, and says nothing of the others
  ended(0, 0.1);
  expect(left()).toEqual({ runs: 5, seconds: null });
  ended(1, 60);
  expect(left()).toEqual({ runs: 4, seconds: 4 * 60 });
  ended(3, 20);
  // lora on a and b as lora on a
  expect(left()).toEqual({ runs: 3, seconds: 3 * 60 });
  ended(4, 100);
  // one is left on each task: on a it took 60 s, on b 100 s
  expect(left()).toEqual({ runs: 2, seconds: 160 });
  // two at a time
  const pair = forecast(runs, 2);
  pair.ended(0, 10);
  expect(pair.left()).toEqual({ runs: 5, seconds: 25 });
  for (const n of [1, 2, 3, 4]) pair.ended(n, 10);
  expect(pair.left()).toEqual({ runs: 1, seconds: 10 });
});
