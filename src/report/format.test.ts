import { expect, test } from "vitest";
import { aboutText, byteText, meanText, moments, partialText, scaled, scoreText, secondText } from "./format.js";
import { markdownTable, plainTable, sparkline } from "./markdown.js";

test.each([
  [scaled(0), "0"],
  [scaled(12), "12"],
  [scaled(0.3), "0.300"],
  [scaled(999.6), "1.00 k"],
  [scaled(12_345_678, "FLOP"), "12.3 MFLOP"],
  [scaled(-1500), "−1.50 k"],
  [scaled(Number.NaN), "–"],
  [byteText(81_900_000), "81.9 MB"],
  [byteText(205), "205 B"],
  [secondText(0.0123), "12 ms"],
  [secondText(12.34), "12.3 s"],
  [secondText(245), "4 min 05 s"],
  [secondText(59.99), "60.0 s"],
  [secondText(7620), "2 h 07 min"],
  [aboutText(20), "less than a minute"],
  [aboutText(425), "about 7 min"],
  [aboutText(2350), "about 40 min"],
  [aboutText(5300), "about 1.5 h"],
  [aboutText(26_000), "about 7 h"],
  [aboutText(100_000), "about 28 h"],
  [aboutText(250_000), "about 3 days"],
  [scoreText(0.8571), "85.7"],
  [scoreText(undefined), "–"],
  [meanText([0.8]), "80.0"],
  // deviation of 0.8, 0.9 by hand: mean 0.85, √((0.05² + 0.05²) / 1) = 0.0707
  [meanText([0.8, 0.9]), "85.0 ± 7.1"],
])("%s", (got, expected) => {
  expect(got).toBe(expected);
});

test("moments use n − 1", () => {
  expect(moments([1, 2, 3, 4])).toEqual({ mean: 2.5, deviation: Math.sqrt(5 / 3) });
});

test("tables line up and escape bars", () => {
  expect(
    markdownTable(
      ["a", { head: "n", align: "right" }],
      [
        ["x|y", "1"],
        ["z\nz", "22"],
      ],
    ),
  ).toBe(["| a    |   n |", "| ---- | --: |", "| x\\|y |   1 |", "| z z  |  22 |"].join("\n"));
  expect(
    plainTable([
      ["a", "b"],
      ["long", "c"],
    ]),
  ).toBe("a     b\nlong  c");
});

test("a sparkline spans low to high and averages long series", () => {
  expect(sparkline([0, 7], 10)).toBe("▁█");
  expect(sparkline([1, 1, 1], 10)).toBe("▁▁▁");
  expect(
    sparkline(
      Array.from({ length: 1000 }, (_, i) => i),
      8,
    ),
  ).toBe("▁▂▃▄▅▆▇█");
  expect(sparkline([0, Number.NaN, 7], 10)).toBe("▁ █");
});

test.each([
  ["full", "the full model", "full"],
  ["e6d24", "6 encoder layers, 24 decoder layers", "enc 6, dec 24"],
  ["e24w704d24-5f0c21aa", "24 encoder layers × 704 neurons, 24 decoder layers", "enc 24×704, dec 24"],
  ["e2w192d4w96-9f02c77c", "2 encoder layers × 192 neurons, 4 decoder layers × 96 neurons", "enc 2×192, dec 4×96"],
  ["something else", "something else", "something else"],
])("the partial model %s reads %s", (name, long, short) => {
  expect([partialText(name), partialText(name, true)]).toEqual([long, short]);
});
