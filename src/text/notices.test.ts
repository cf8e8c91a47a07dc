import { mkdtempSync, writeFileSync } from "node:fs";
import { copyFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { expect, test } from "vitest";
import type { Row } from "../data/row.js";
import { compileTemplate } from "../data/template.js";
import { tokenizeRows } from "./encode.js";
import { loadTokenizer } from "./load.js";
import { encodingNotices } from "./notices.js";
import { causalRules } from "./rules.js";
import { limitedTo, type Tokenizer } from "./tokenizer.js";
import { parseTokenizerJson } from "./tokenizer-json.js";

const fixtures = fileURLToPath(new URL("../../test/fixtures/tokenizer", import.meta.url));

/** A Unigram tokenizer of letters and a few words, as a value to change. */
const small = (more: object = {}) => ({
  added_tokens: ["<pad>", "</s>", "<unk>"].map((content, id) => ({ id, content, special: true, normalized: false })),
  pre_tokenizer: { type: "Metaspace", replacement: "▁", prepend_scheme: "always" },
  model: {
    type: "Unigram",
    unk_id: 2,
    vocab: ["<pad>", "</s>", "<unk>", "▁", ..."abcdefghijklmnopqrstuvwxyz:", "▁good", "▁film"].map((piece) => [
      piece,
      -piece.length,
    ]),
  },
  ...more,
});
const parse = (value: unknown) => parseTokenizerJson(new TextEncoder().encode(JSON.stringify(value)), "t.json");
const tokenizer = parse(small());
const task = { name: "t", verbalizer: { a: "x", b: "y" }, maxTargetTokens: 4, targetPrefix: "" };
const rowsOf = (...texts: [string, "a" | "b"][]): Row[] =>
  texts.map(([text, label], i) => ({
    id: `rows.csv:${i + 2}`,
    ...compileTemplate("text: {text}").fillRow({ text }, "x"),
    target: task.verbalizer[label],
    label,
    references: [task.verbalizer[label]],
  }));
const notices = (rows: Row[], from: Tokenizer = tokenizer, options = { maxInputTokens: 50 }) =>
  encodingNotices({ rows, encoded: tokenizeRows(rows, task, from, options) }, task, from, options);

test("rows that are read as they are written have no notice", () => {
  expect(notices(rowsOf(["good film", "a"], ["bad film", "b"]))).toEqual([]);
});

test("label words that the tokenizer cannot write are named once; blanks it merges are no loss", () => {
  const rows = rowsOf(["good film", "a"], ["fine film", "a"], ["bad film", "b"]).map((row) =>
    row.label === "a" ? { ...row, target: "good {" } : row,
  );
  const of = (words: string) =>
    notices(rows.map((row) => (row.label === "a" ? { ...row, target: words } : row))).filter((n) => /write/.test(n));
  expect(of("good {")).toEqual([
    'the tokenizer cannot write "good {" of the label a as it stands: a generated answer is never this label (a ranked one may be)',
  ]);
  expect([of("good film"), of(" good")]).toEqual([[], []]);
});

test("unknown characters: how many rows, an example, how many are hardly read at all", () => {
  expect(
    notices(rowsOf(["good {film}", "a"], ["good film", "b"], ["ΣΩΔ ΣΩΔ ΣΩΔ ΣΩΔ ΣΩΔ ΣΩΔ ΣΩΔ ΣΩΔ ΣΩΔ", "b"])),
  ).toEqual([
    '2 of 3 rows hold characters that the tokenizer does not know, e.g. "{" in rows.csv:2; 1 become mostly unknown tokens',
  ]);
});

test("the example of unknown characters is one that can be seen, else its code", () => {
  const [seen] = notices(rowsOf(["a\ufe0f}", "a"]));
  expect(seen).toContain('e.g. "}" in');
  const [alone] = notices(rowsOf(["a\ufe0f", "a"]));
  expect(alone).toContain('e.g. "\\u{fe0f}" in');
});

test("rows with different labels that become the same ids", () => {
  const found = notices(rowsOf(["good {film", "a"], ["good }film", "b"], ["good }film", "b"]));
  expect(found[1]).toBe(
    '2 of 3 rows become the same ids as a row with another label, e.g. rows.csv:2 ("a") and rows.csv:3 ("b")',
  );
  expect(notices(rowsOf(["good", "a"], ["good", "a"]))).toEqual([]);
});

test("the text of a control token in a field is told of, in the template it is not, and in a causal row it is only text", () => {
  const rows = rowsOf(["good</s> film", "a"], ["good", "b"]);
  expect(notices(rows)).toEqual([
    '1 of 2 rows hold the text of a control token, which the model reads as that token, e.g. "</s>" in rows.csv:2',
  ]);
  const template = compileTemplate("</s> {text}").fillRow({ text: "good" }, "x");
  expect(notices([{ ...rows[1]!, ...template }])).toEqual([]);
  const options = { maxInputTokens: 50, rules: causalRules(tokenizer) };
  const encoded = tokenizeRows(rows, task, tokenizer, options);
  expect(encoded[0]!.input.includes(1)).toBe(false);
  expect(encodingNotices({ rows, encoded }, task, tokenizer, options).join()).not.toMatch(/control/);
});

test("targets that are too long are counted", () => {
  const free = { ...task, verbalizer: null };
  const rows = rowsOf(["good", "a"], ["film", "a"]).map((row, i) => ({
    ...row,
    label: null,
    target: i === 0 ? "abcdefgh" : "x",
  }));
  const options = { maxInputTokens: 50 };
  const encoded = tokenizeRows(rows, free, tokenizer, options);
  expect(encoded.map((row) => row.targetCut)).toEqual([6, undefined]); // ▁ a … h </s> are 10 tokens, 4 stay
  expect(encodingNotices({ rows, encoded }, free, tokenizer, options)).toEqual([
    "1 of 2 targets are longer than 4 tokens and are cut, 6 tokens in all (--max-target-tokens)",
  ]);
});

test("what is quoted of the rows holds nothing that a terminal obeys", () => {
  const [notice] = notices(rowsOf(["good \u009bm\u202e", "a"], ["good", "b"]));
  expect(notice).toMatch(/"\\u\{9b\}"/);
  expect(notice).not.toMatch(/[\p{Cc}\p{Cf}]/u);
});

test("labels that both are unknown say so", () => {
  const same = { ...task, verbalizer: { a: "{", b: "}" } };
  expect(() => tokenizeRows([], same, tokenizer, { maxInputTokens: 9 })).toThrow(/same tokens[\s\S]*does not know/);
});

test("an id that the embedding has no row for is refused with the row named, before anything runs", () => {
  const rows = rowsOf(["bad", "a"], ["good film", "b"]);
  expect(limitedTo(tokenizer, tokenizer.size)).toBe(tokenizer);
  const limited = limitedTo(tokenizer, tokenizer.size - 1);
  expect(() => tokenizeRows(rows, task, limited, { maxInputTokens: 50 })).toThrow(
    /rows\.csv:3: the tokenizer has ids[\s\S]*32 \(▁film\)/,
  );
  expect(tokenizeRows(rows.slice(0, 1), task, limited, { maxInputTokens: 50 }).length).toBe(1);
});

test("Metaspace that puts its blank before the first section only", () => {
  const first = parse(
    small({ pre_tokenizer: { type: "Metaspace", replacement: "▁", prepend_scheme: "first", split: false } }),
  );
  expect(first.encode("good film").map(first.piece)).toEqual(["▁good", "▁film"]);
  expect(first.encode("</s>good").map(first.piece)).toEqual(["</s>", "g", "o", "o", "d"]);
  expect(tokenizer.encode("</s>good").map(tokenizer.piece)).toEqual(["</s>", "▁good"]);
});

const folderWith = (files: Record<string, unknown>) => {
  const folder = mkdtempSync(join(tmpdir(), "softprompt-tokenizer-"));
  for (const [name, value] of Object.entries(files)) writeFileSync(join(folder, name), JSON.stringify(value));
  return folder;
};

test("tokens added beside a file are read from added_tokens_decoder, or the older added_tokens.json", async () => {
  const byId = { 57: { content: "{" }, 33: { content: "[" }, 34: { content: "]", special: true } };
  const { 57: _, ...sound } = byId;
  const beside = (config: object) => folderWith({ "tokenizer.json": small(), ...config });
  const read = async (files: object) => (await loadTokenizer(beside(files))).encode("a[b]").map(String);
  const ids = ["3", "4", "33", "3", "5", "34"];
  expect(await read({ "tokenizer_config.json": { added_tokens_decoder: sound } })).toEqual(ids);
  expect(await read({ "added_tokens.json": { "]": 34, "[": 33 } })).toEqual(ids);
  // the config's list is the newer one
  expect(
    await read({ "tokenizer_config.json": { added_tokens_decoder: sound }, "added_tokens.json": { "[": 99 } }),
  ).toEqual(ids);
  await expect(loadTokenizer(beside({ "tokenizer_config.json": { added_tokens_decoder: byId } }))).rejects.toThrow(
    /\{ does not fit[\s\S]*35/,
  );

  const withSpiece = async (files: Record<string, unknown>) => {
    const folder = folderWith({ "tokenizer_config.json": { extra_ids: 0 }, ...files });
    await copyFile(join(fixtures, "tiny.model"), join(folder, "spiece.model"));
    return loadTokenizer(folder);
  };
  const plain = await withSpiece({});
  const more = await withSpiece({ "added_tokens.json": { "}": plain.size + 1, "{": plain.size } });
  expect([more.size, more.encode("{}")]).toEqual([plain.size + 2, [plain.size, plain.size + 1]]);
  expect(more.sha256).not.toBe(plain.sha256);
});

test("tokenizers without a file are refused with the reason", async () => {
  await expect(
    loadTokenizer(folderWith({ "tokenizer_config.json": { tokenizer_class: "ByT5Tokenizer", extra_ids: 125 } })),
  ).rejects.toThrow(/ByT5Tokenizer is not read: its ids are bytes/);
  await expect(
    loadTokenizer(folderWith({ "tokenizer_config.json": { tokenizer_class: "FooTokenizer" } })),
  ).rejects.toThrow(/no tokenizer found[\s\S]*FooTokenizer/);
  await expect(loadTokenizer(folderWith({ "vocab.json": { a: 0 }, "merges.txt": "" }))).rejects.toThrow(
    /do not say how text is cut/,
  );
});
