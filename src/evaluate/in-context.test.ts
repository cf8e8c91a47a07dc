/**
 * @file Rows asked in context: what the model reads, that an example is whole or absent, that nobody is told its own answer.
 */
import { expect, test } from "vitest";
import { tinyDataset, tinyTokenizer } from "../../test/helpers/tiny.js";
import type { Row, Task } from "../data/row.js";
import { encodeRows } from "../text/rows.js";
import type { Tokenizer } from "../text/tokenizer.js";
import { drawExamples, inContext, inContextNotice } from "./in-context.js";

const dataset = tinyDataset();
/** Any blank parts words, and words that are no numbers are one id. */
const tokenizer: Tokenizer = {
  ...tinyTokenizer,
  encode: (text) =>
    text
      .split(/\s+/)
      .filter(Boolean)
      .map((word) => Number(word) || 3),
};
const free: Task = { ...dataset.task, verbalizer: null };
const row = (id: string, input: string, target = "yes"): Row => ({
  id,
  input,
  fields: [{ name: "text", from: 0, to: input.length }],
  target,
  label: target,
  references: [target],
});

test("instruction, examples with their answers, then the row's own text, fields where they stand now", () => {
  const asked = inContext(
    free,
    [row("3", "blue sky")],
    { instruction: "Say yes or no.", examples: [row("1", "red", "no"), row("2", "grass is ")] },
    tokenizer,
    492,
  );
  const [only] = asked.rows;
  expect(only!.input).toBe("Say yes or no.\n\nred no\n\ngrass is yes\n\nblue sky");
  expect(only!.fields!.map(({ name, from, to }) => [name, only!.input.slice(from, to)])).toEqual([
    ["text", "red"],
    ["answer", "no"],
    ["text", "grass is "],
    ["answer", "yes"],
    ["text", "blue sky"],
  ]);
  expect(asked.shortened).toBe(0);
  expect(inContextNotice(asked, 2)).toBeNull();
});

test("the virtual tokens stay before the row's own text where its template puts them there", () => {
  const marked = { ...row("3", "blue sky"), promptAt: 4 };
  const { rows } = inContext(free, [marked], { instruction: "Answer", examples: [] }, tokenizer, 492);
  expect(rows[0]!.input.slice(rows[0]!.promptAt)).toBe(" sky");
});

test("no examples and no instruction: the rows themselves", () => {
  const { rows } = inContext(dataset.task, dataset.train, { instruction: null, examples: [] }, tokenizer, 492);
  expect(rows).toBe(dataset.train);
});

test("a row is asked with as many whole examples as fit, and its own text is not cut", () => {
  const { task, train, validation } = dataset;
  const examples = drawExamples(train, 4, 0);
  const longest = (of: readonly Row[]) => Math.max(...encodeRows(task, of, tokenizer, 492).map((r) => r.input.length));
  const all = inContext(task, validation, { instruction: null, examples }, tokenizer, 492);
  const limit = Math.floor((longest(all.rows) + longest(validation)) / 2);
  const asked = inContext(task, validation, { instruction: null, examples }, tokenizer, limit);
  expect(asked.shortened).toBeGreaterThan(0);
  expect(inContextNotice(asked, 4)).toMatch(/room for fewer than 4 examples/);
  const encoded = encodeRows(task, asked.rows, tokenizer, limit);
  for (const [n, { truncated, input }] of encoded.entries()) {
    expect(truncated).toBe(false);
    expect(input.length).toBeLessThanOrEqual(limit);
    expect(asked.rows[n]!.input.endsWith(validation[n]!.input)).toBe(true);
    expect(all.rows[n]!.input.startsWith(asked.rows[n]!.input.slice(0, -validation[n]!.input.length))).toBe(true);
  }
});

test("equal seeds draw equal examples; a training row is not told its own answer", () => {
  const { task, train } = dataset;
  const examples = drawExamples(train, 4, 7);
  expect(drawExamples(train, 4, 7)).toEqual(examples);
  expect(drawExamples(train, 4, 8)).not.toEqual(examples);
  const { rows, shortened } = inContext(task, [examples[1]!], { instruction: null, examples }, tokenizer, 492);
  const others = examples.filter((_, n) => n !== 1).map(({ input, target }) => `${input} ${target}\n\n`);
  expect(rows[0]!.input).toBe(others.join("") + examples[1]!.input);
  expect(shortened).toBe(0);
  expect(() => drawExamples(train, train.length + 1, 0)).toThrow(/cannot draw/);
});
