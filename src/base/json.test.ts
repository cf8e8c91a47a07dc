/** @file JSON: numbers that JavaScript cannot hold stay as they are written, at any length of the text. */
import { expect, test } from "vitest";
import { exactNumbers, parseJson } from "./json.js";

test.each([
  ['{"id": 9007199254740993}', '{"id": "9007199254740993"}'],
  ["[-9007199254740993,1]", '["-9007199254740993",1]'],
  ["9007199254740993", '"9007199254740993"'],
  ["[1e400, 12345678901234567e3]", '[1e400, "12345678901234567e3"]'],
  ["0.1234567890123456789", '"0.1234567890123456789"'],
  ["[1000000000000000.0, 0.1234567890123456]", "[1000000000000000.0, 0.1234567890123456]"],
  // in a string, behind an escaped quote, and what is no number: unchanged
  ['{"a \\" 9007199254740993": "9007199254740993"}', '{"a \\" 9007199254740993": "9007199254740993"}'],
  ["[0123456789012345678, --9007199254740993]", "[0123456789012345678, --9007199254740993]"],
  ['["never ends 9007199254740993', '["never ends 9007199254740993'],
])("%s", (text, exact) => expect(exactNumbers(text)).toBe(exact));

test("a very long string beside a long number", () => {
  const text = "a".repeat(12_000_000);
  const exact = exactNumbers(`{"id": 9007199254740993, "text": "${text}"}`);
  expect(exact === `{"id": "9007199254740993", "text": "${text}"}`).toBe(true);
});

test("a number with many zeros takes no quadratic time", () => {
  const began = performance.now();
  const number = `0.1${"0".repeat(50_000)}1`;
  expect(exactNumbers(number)).toBe(`"${number}"`);
  expect(performance.now() - began).toBeLessThan(1000);
});

test("equal keys are one key, however they are escaped", () => {
  expect(() => parseJson('{"a": 1, "\\u0061": 2}', "x", "data")).toThrow(/the same key stands twice/);
  expect(parseJson('{"a\\"": 1, "b": {"a\\"": 2}}', "x", "data")).toEqual({ 'a"': 1, b: { 'a"': 2 } });
});
