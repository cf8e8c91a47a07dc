import { readFileSync } from "node:fs";
import { dirname, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { expect, test } from "vitest";
import type { Row } from "../data/row.js";
import { encodeInput, tokenizeRows } from "./encode.js";
import { parseSentencePiece } from "./sentencepiece.js";

const model = join(resolve(dirname(fileURLToPath(import.meta.url)), "../.."), "test/fixtures/tokenizer/tiny.model");
const tokenizer = parseSentencePiece(readFileSync(model), "tiny.model");
const row = (input: string, target: string, label: string | null, more: Partial<Row> = {}): Row => ({
  id: "f:1",
  input,
  target,
  label,
  references: [target],
  ...more,
});
const task = { name: "t", verbalizer: { no: "bread", yes: "cheese" }, maxTargetTokens: 10, targetPrefix: "" };

test("an input ends with end-of-sequence, also when it is cut", () => {
  const long = row("the kettle sings before the water boils and nobody listens", "bread", "no");
  const [whole] = tokenizeRows([long], task, tokenizer, { maxInputTokens: 200 });
  const [cut] = tokenizeRows([long], task, tokenizer, { maxInputTokens: 6 });
  expect([whole!.truncated, cut!.truncated]).toEqual([false, true]);
  expect([...cut!.input]).toEqual([...whole!.input.slice(0, 5), tokenizer.eosIds[0]]);
  expect(whole!.input.at(-1)).toBe(tokenizer.eosIds[0]);
  expect(encodeInput(long.input, tokenizer, { maxInputTokens: 6 })).toEqual(cut!.input);
  // Exactly as long as allowed is not cut.
  const [exact] = tokenizeRows([long], task, tokenizer, { maxInputTokens: whole!.input.length });
  expect(exact!.truncated).toBe(false);
});

test("candidates stand in verbalizer order and gold is the label's place", () => {
  const [r] = tokenizeRows([row("x", "cheese", "yes")], task, tokenizer, { maxInputTokens: 20 });
  expect(r!.gold).toBe(1);
  expect(r!.choices!.map((c) => tokenizer.decode([...c]))).toEqual(["bread", "cheese"]);
  expect(r!.target).toEqual(r!.choices![1]);
});

test("the target prefix stands before targets and candidates", () => {
  const prefixed = { ...task, targetPrefix: "<extra_id_0>" };
  const [r] = tokenizeRows([row("x", "cheese", "yes")], prefixed, tokenizer, { maxInputTokens: 20 });
  expect(r!.target[0]).toBe(tokenizer.size - 1);
  expect([...r!.target.slice(1)]).toEqual([...tokenizer.encode("cheese"), tokenizer.eosIds[0]]);
  expect(r!.choices!.every((c) => c[0] === tokenizer.size - 1)).toBe(true);
});

test("a free-text target is cut to maxTargetTokens, its end kept; a row's own choices win", () => {
  const free = { ...task, verbalizer: null, maxTargetTokens: 4 };
  const [r] = tokenizeRows([row("x", "the old ferryman laughed twice", null)], free, tokenizer, { maxInputTokens: 20 });
  expect([r!.target.length, r!.target.at(-1), r!.choices, r!.gold]).toEqual([4, tokenizer.eosIds[0], null, -1]);
  const own = row("x", "lemons", "b", { choices: { a: "apples", b: "lemons", c: "bread" } });
  const [o] = tokenizeRows([own], free, tokenizer, { maxInputTokens: 20 });
  expect([o!.choices!.length, o!.gold]).toEqual([3, 1]);
});

test("label words that tokenise alike are refused", () => {
  const same = { ...task, verbalizer: { a: "bread", b: "bread " } };
  expect(() => tokenizeRows([], same, tokenizer, { maxInputTokens: 20 })).toThrow(/same tokens/);
});
