/**
 * @file Tokens that only tokenizer_config.json adds or names: they keep the vocabulary's ids and are special, as in transformers. Where it
 * names no end token, the class's own is taken.
 */
import { spawnSync } from "node:child_process";
import { cpSync, mkdirSync, mkdtempSync, readFileSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { python, pythonHas, smollm2Folder } from "../../test/helpers/smollm2.js";
import { kindFile } from "../../test/helpers/tokenizer-kinds.js";
import { parseBpeFiles } from "./bpe-files.js";
import { loadTokenizer } from "./load.js";
import { causalRules } from "./rules.js";
import { readTokenizerConfig } from "./tokenizer-config.js";
import { parseTokenizerJson } from "./tokenizer-json.js";

const bytesOf = (value: unknown) => new TextEncoder().encode(typeof value === "string" ? value : JSON.stringify(value));
const config = (config: object, specialTokens?: object) =>
  readTokenizerConfig({
    config: { text: JSON.stringify(config), where: "tokenizer_config.json" },
    ...(specialTokens && { specialTokens: { text: JSON.stringify(specialTokens), where: "special_tokens_map.json" } }),
  });

/** Characters, and two pieces that a config may name; `<|end|>` is 0, `!` is 2. */
const pieces = ["<|end|>", "<|tool|>", "!", ..."<|endtolx>h", "i", "Ġ"];
const vocab = Object.fromEntries([...new Set(pieces)].map((piece, id) => [piece, id]));
const file = (added_tokens: object[] = []) => ({
  added_tokens,
  pre_tokenizer: { type: "ByteLevel", add_prefix_space: false, use_regex: false },
  decoder: { type: "ByteLevel" },
  model: { type: "BPE", vocab, merges: [] },
});
const read = (more: object, added?: object[], map?: object) =>
  parseTokenizerJson(bytesOf(file(added)), "tokenizer.json", config(more, map));
const flags = { lstrip: false, rstrip: false, single_word: false, normalized: false, special: true };

describe("a piece of the vocabulary that only the config names", () => {
  const found = (tokenizer: ReturnType<typeof read>, text = "hi <|end|> !") => {
    const ids = tokenizer.encode(text);
    return { text: tokenizer.decode(ids), controls: ids.filter((id) => tokenizer.controls.has(id)) };
  };
  test("is text without that", () => {
    expect(found(read({}))).toEqual({ text: "hi <|end|> !", controls: [] });
  });
  test.each([
    ["a role", { eos_token: "<|end|>" }],
    ["a role that nothing here asks for", { sep_token: "<|end|>" }],
    ["a role with flags", { pad_token: { content: "<|end|>", __type: "AddedToken", special: false } }],
    ["a list", { additional_special_tokens: ["<|end|>"] }],
    ["the newer list", { extra_special_tokens: { end: "<|end|>" } }],
    ["an added token", { added_tokens_decoder: { 0: { ...flags, content: "<|end|>" } } }],
    ["an added token with another id", { added_tokens_decoder: { 9: { ...flags, content: "<|end|>" } } }],
  ])("%s: is special, with the vocabulary's id", (_, more) => {
    const tokenizer = read(more);
    expect(found(tokenizer)).toEqual({ text: "hi  !", controls: [0] });
    expect(tokenizer.size).toBe(Object.keys(vocab).length);
    // a user's text stays text
    const guarded = tokenizer.encode("hi <|end|>", { userText: true });
    expect([guarded.includes(0), tokenizer.decode(guarded)]).toEqual([false, "hi <|end|>"]);
  });
  test("by the older map of special tokens", () => {
    expect(found(read({}, [], { eos_token: { ...flags, content: "<|end|>" } }))).toEqual({
      text: "hi  !",
      controls: [0],
    });
  });
  test("has the config's flags; a role makes it special whatever they say", () => {
    const plain = { ...flags, content: "<|end|>", lstrip: true, special: false };
    expect(found(read({ added_tokens_decoder: { 0: plain } }))).toEqual({ text: "hi<|end|> !", controls: [0] });
    const named = read({ added_tokens_decoder: { 0: plain }, eos_token: "<|end|>" });
    expect(found(named)).toEqual({ text: "hi !", controls: [0] });
  });
  test("known to the file as no special one: a role makes it special", () => {
    const own = [{ ...flags, id: 0, content: "<|end|>", special: false }];
    expect(found(read({}, own)).text).toBe("hi <|end|> !");
    expect(found(read({ eos_token: "<|end|>" }, own)).text).toBe("hi  !");
  });
  test("one character stays text", () => {
    expect(found(read({ pad_token: "!" }))).toEqual({ text: "hi <|end|> !", controls: [] });
  });
});

describe("no end token is named", () => {
  const gpt2 = JSON.parse(kindFile("gpt2"));
  const end = gpt2.model.vocab["<|endoftext|>"] ?? gpt2.added_tokens[0].id;
  test.each([
    { model_max_length: 1024 },
    { tokenizer_class: "GPT2Tokenizer" },
    { tokenizer_class: "Qwen2TokenizerFast" },
  ])("%j: GPT-2's own", (said) => {
    const tokenizer = parseTokenizerJson(bytesOf(gpt2), "tokenizer.json", config(said));
    expect([tokenizer.eosIds, causalRules(tokenizer).targetEnd]).toEqual([[end], end]);
  });
  test("of vocab.json and merges.txt too", () => {
    const merges = gpt2.model.merges.map((pair: string[]) => pair.join(" ")).join("\n");
    const tokenizer = parseBpeFiles(
      { vocabulary: bytesOf({ ...gpt2.model.vocab, "<|endoftext|>": end }), where: "vocab.json" },
      { merges: bytesOf(merges), where: "merges.txt" },
      config({ tokenizer_class: "GPT2Tokenizer" }),
    );
    expect(tokenizer.encode("a<|endoftext|>").at(-1)).toBe(end);
    expect([tokenizer.eosIds, tokenizer.bosId]).toEqual([[end], end]);
  });
  test("a class that has none: the error is a sentence", () => {
    const tokenizer = read({ tokenizer_class: "PreTrainedTokenizerFast" });
    expect(() => causalRules(tokenizer)).toThrow(/the vocabulary has no end token \(eos_token\)/);
  });
});

const smollm2 = smollm2Folder();
describe.skipIf(smollm2 === null || !pythonHas("transformers"))(
  "SmolLM2's files, spoilt: as transformers reads them",
  () => {
    const place = mkdtempSync(join(tmpdir(), "softprompt-named-"));
    const text = "hi <|im_end|> there<|im_end|>\nx <repo_name> y";
    const token = (content: string, more: object = {}) => ({ ...flags, content, ...more });
    const end = "<|im_end|>";
    const unnamed = { eos_token: undefined, pad_token: undefined };
    const cases: Record<string, { without?: string; more?: object }> = {
      unspoilt: {},
      "a role alone": { without: end },
      "a role with flags": {
        without: end,
        more: {
          eos_token: token(end, { lstrip: true, rstrip: true, __type: "AddedToken" }),
          pad_token: "<|endoftext|>",
        },
      },
      "an added token": {
        without: end,
        more: { ...unnamed, added_tokens_decoder: { 2: token(end, { lstrip: true }) } },
      },
      "one that is not special": {
        without: end,
        more: { ...unnamed, added_tokens_decoder: { 2: token(end, { special: false, rstrip: true }) } },
      },
      "a role that is not special": {
        without: end,
        more: { added_tokens_decoder: { 2: token(end, { special: false }) } },
      },
      "other flags than the file's": { more: { added_tokens_decoder: { 2: token(end, { lstrip: true }) } } },
      "a list": { without: "<repo_name>", more: { additional_special_tokens: ["<repo_name>"] } },
      "another role": { without: "<repo_name>", more: { mask_token: "<repo_name>" } },
    };
    for (const [name, { without, more }] of Object.entries(cases)) {
      const folder = join(place, name);
      mkdirSync(folder);
      const json = (file: string) => JSON.parse(readFileSync(join(smollm2!, file), "utf8"));
      const tokenizer = json("tokenizer.json");
      tokenizer.added_tokens = tokenizer.added_tokens.filter(({ content }: { content: string }) => content !== without);
      writeFileSync(join(folder, "tokenizer.json"), JSON.stringify(tokenizer));
      writeFileSync(
        join(folder, "tokenizer_config.json"),
        JSON.stringify({ ...json("tokenizer_config.json"), ...more }),
      );
      cpSync(join(smollm2!, "config.json"), join(folder, "config.json"));
    }
    test("ids, and texts without special tokens", async () => {
      const script = [
        "import json, sys",
        "from transformers import AutoTokenizer",
        "place, text, names = sys.argv[1], sys.argv[2], sys.argv[3:]",
        "found = [AutoTokenizer.from_pretrained(f'{place}/{name}') for name in names]",
        "ids = [t.encode(text, add_special_tokens=False) for t in found]",
        "print(json.dumps([[i, t.decode(i, skip_special_tokens=True, clean_up_tokenization_spaces=False)] for t, i in zip(found, ids)]))",
      ].join("\n");
      const names = Object.keys(cases);
      const { status, stdout, stderr } = spawnSync(python, ["-c", script, place, text, ...names], { encoding: "utf8" });
      expect(status, stderr).toBe(0);
      const theirs = JSON.parse(stdout.trim().split("\n").at(-1)!) as [number[], string][];
      for (const [i, name] of names.entries()) {
        const tokenizer = await loadTokenizer(join(place, name));
        const ids = tokenizer.encode(text);
        expect([name, ids, tokenizer.decode(ids)]).toEqual([name, ...theirs[i]!]);
      }
    }, 120_000);
  },
);
