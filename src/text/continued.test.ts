/** @file A text that is written on: blanks at its end stay, and so does the blank that the continuation begins with. */
import { expect, test } from "vitest";
import { kindTokenizer } from "../../test/helpers/tokenizer-kinds.js";
import { textIds } from "./batch.js";
import { encodeRows } from "./rows.js";
import { causalRules, goesOnFrom } from "./rules.js";
import type { Tokenizer } from "./tokenizer.js";

const withRules = (name: string): Tokenizer => {
  const tokenizer = kindTokenizer(name);
  return { ...tokenizer, rules: causalRules(tokenizer, { targetEnd: 0 }) };
};
const task = {
  name: "t",
  template: "{text}",
  verbalizer: null,
  metrics: ["exactMatch"],
  maxTargetTokens: 10,
  targetPrefix: "",
} as const;
const row = (input: string, continues?: boolean) => ({
  id: "r",
  input,
  fields: [{ name: "text", from: 0, to: input.length }],
  target: "",
  label: null,
  references: [""],
  ...(continues === undefined ? {} : { continues }),
});

test.each(["gpt2", "smollm", "qwen", "llama 2", "llama 3"])("%s: the ids as the tokenizer gives them", (name) => {
  const tokenizer = withRules(name);
  for (const text of ["def f():\n    ", "Answer: ", "a  b\t ", "  ", "no blank", "line\n"]) {
    const [encoded] = encodeRows(task, [row(text, true)], tokenizer, 100);
    const bare = tokenizer.encode(text, { userText: true });
    expect([...textIds(encoded!)]).toEqual([...tokenizer.rules!.before, ...bare]);
    expect([...encoded!.target]).toEqual([0]);
  }
});

test("with the virtual tokens behind it, they stand behind the blanks", () => {
  const tokenizer = withRules("gpt2");
  const text = "def f():\n    ";
  const [encoded] = encodeRows(task, [{ ...row(text, true), promptAt: text.length }], tokenizer, 100);
  expect(encoded!.promptAt).toBe(tokenizer.encode(text).length);
});

test("where a target is only not known yet, the blank is the target's, as in training", () => {
  const tokenizer = withRules("gpt2");
  const [asked] = encodeRows(task, [row("Answer: ")], tokenizer, 100);
  const [trained] = encodeRows(task, [{ ...row("Answer: "), target: "yes" }], tokenizer, 100);
  expect([...textIds(asked!)]).toEqual([...textIds(trained!)]);
  expect([...textIds(asked!)]).toEqual(tokenizer.encode("Answer:"));
});

test("the blank that a chat template ends with is the answer's", () => {
  const tokenizer = kindTokenizer("gpt2");
  const chat = { before: "Q: ", after: " A: ", trims: false };
  const rules = { ...causalRules(tokenizer, { targetEnd: 0 }), chat };
  const [encoded] = encodeRows(task, [row("x", true)], { ...tokenizer, rules }, 100);
  expect([...textIds(encoded!)]).toEqual(tokenizer.encode("Q: x A:"));
});

test("what goes on from a text: no answer of a chat's or T5's, and nothing behind BOS alone", () => {
  const tokenizer = withRules("llama 2");
  const ids = tokenizer.encode("hi", { special: true });
  const goesOn = (more: Partial<Tokenizer>, of: readonly number[] = ids) => goesOnFrom(of, { ...tokenizer, ...more });
  expect([goesOn({}), goesOn({}, ids.slice(0, 1)), goesOn({}, [])]).toEqual([true, false, false]);
  expect(goesOn({ rules: { ...tokenizer.rules!, chat: { before: "", after: "", trims: false } } })).toBe(false);
  expect(goesOn({ rules: { ...tokenizer.rules!, joined: null } })).toBe(false);
});

test.each(["llama 2", "metaspace first"])("%s: a continuation keeps the blank before its first word", (name) => {
  const tokenizer = kindTokenizer(name);
  const ids = tokenizer.encode("who");
  expect(tokenizer.piece(ids[0]!)).toMatch(/^▁/);
  const streamed = (continues?: boolean) => {
    const decoder = tokenizer.openDecoder({ ...(continues !== undefined && { continues }) });
    return ids.map((id) => decoder.push(id)).join("") + decoder.flush();
  };
  expect([streamed(true), streamed(false), streamed()]).toEqual([" who", "who", "who"]);
  expect([tokenizer.decode(ids, { continues: true }), tokenizer.decode(ids)]).toEqual([" who", "who"]);
  const text = tokenizer.encode("hi");
  expect(tokenizer.decode(text) + tokenizer.decode(ids, { continues: true })).toBe(tokenizer.decode([...text, ...ids]));
});
