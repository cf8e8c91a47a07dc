import { expect, test } from "vitest";
import { labelOf, labelOfText, labelText } from "./verbalizer.js";

const cells: [unknown, string | null][] = [
  [" a ", "a"],
  ["1.0", "1"],
  ["-2.00", "-2"],
  [1, "1"],
  [1.5, "1.5"],
  ["1.50", "1.50"],
  [-0, "0"],
  [true, "true"],
  [12n, "12"],
  ["9007199254740993.0", "9007199254740993"],
  ["", ""],
  ["  ", ""],
  [null, ""],
  [undefined, ""],
  [Number.NaN, null],
  [["a"], null],
];
test("a cell as a label", () =>
  expect(cells.map(([value]) => labelText(value))).toEqual(cells.map(([, label]) => label)));

test("a cell means a label in any of its spellings", () => {
  const of = (value: unknown, ...labels: string[]) => labelOf(value, labels, "f:1", "label");
  expect([of("1.0", "0", "1"), of(1, "0.0", "1.0"), of(1, "0", "1")]).toEqual(["1", "1.0", "1"]);
  expect([of("TRUE", "true", "false"), of(true, "True", "False"), of("false", "FALSE", "TRUE")]).toEqual([
    "true",
    "True",
    "FALSE",
  ]);
  // where a verbalizer tells spellings apart, they are apart
  expect(of("True", "true", "True")).toBe("True");
  expect(() => of("TRUE", "true", "True")).toThrow(/no known label/);
  expect(of("constructor", "constructor", "__proto__")).toBe("constructor");
  expect(of("__proto__", "constructor", "__proto__")).toBe("__proto__");
});

test("several spellings that mean one label are that label", () => {
  const values = { true: "True", false: "False", True: "True", False: "False" };
  const of = (value: unknown, meant: Record<string, string>) =>
    labelOf(value, Object.keys(meant), "f:1", "label", meant);
  expect([of("TRUE", values), of("FALSE", values)].map((found) => values[found as "true"])).toEqual(["True", "False"]);
  expect(() => of("TRUE", { true: "a", True: "b" })).toThrow(/no known label/);
});

test("a text is the label whose words it is, also in the form that T5's tokenizers write", () => {
  const words = { a: "good  one", b: "ｂad", c: "fine" };
  expect(["good  one", "good one", "bad", " fine", "fine one", "Fine"].map((text) => labelOfText(text, words))).toEqual(
    ["a", "a", "b", "c", null, null],
  );
  // as it stands counts first; of two that are written alike none is meant
  expect(labelOfText("x y", { a: "x  y", b: "x y" })).toBe("b");
  expect(labelOfText("x y", { a: "x  y", b: "x   y" })).toBe(null);
});

test("a missing label, and one that only looks like a known one, are told apart from an unknown one", () => {
  expect(() => labelOf(" ", ["a", "b"], "f:4", "label")).toThrow(/f:4: column label is missing/);
  expect(() => labelOf(Number.NaN, ["a", "b"], "f:4", "label")).toThrow(/no known label[\s\S]*NaN/);
  expect(() => labelOf("e\u0301", ["\u00e9", "b"], "f:4", "label")).toThrow(/U\+00E9, here U\+0065 U\+0301/);
  expect(() => labelOf("a\u200b", ["a", "b"], "f:4", "label")).toThrow(/U\+0061, here U\+0061 U\+200B/);
});
