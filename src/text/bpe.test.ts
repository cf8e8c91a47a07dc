import fc from "fast-check";
import { expect, test } from "vitest";
import { kindFile, kindTokenizer } from "../../test/helpers/tokenizer-kinds.js";
import { bpe } from "./bpe.js";
import { parseBpeFiles } from "./bpe-files.js";
import { unfinished } from "./decoding.js";
import { noConfig, readTokenizerConfig } from "./tokenizer-config.js";
import { parseTokenizerJson } from "./tokenizer-json.js";

const bytesOf = (value: unknown) => new TextEncoder().encode(typeof value === "string" ? value : JSON.stringify(value));
const pieces = (name: string, text: string) => {
  const tokenizer = kindTokenizer(name);
  return tokenizer.encode(text).map(tokenizer.piece);
};

/** Letters and the merges of a small alphabet. */
function small(words: string[], merges: [string, string][], more = {}) {
  const vocabulary = new Map(words.map((word, id) => [word, id]));
  const ids = (side: (merge: [string, string]) => string) => Int32Array.from(merges, (m) => vocabulary.get(side(m))!);
  return bpe({
    vocabulary,
    merges: { left: ids(([a]) => a), right: ids(([, b]) => b), merged: ids(([a, b]) => a + b) },
    unknown: null,
    byteIds: null,
    ignoreMerges: false,
    prefix: "",
    suffix: "",
    ...more,
  });
}

test("the lowest rank is merged first, of equal ranks the leftmost", () => {
  const model = small(
    ["a", "b", "c", "ab", "bc", "aa"],
    [
      ["b", "c"],
      ["a", "b"],
      ["a", "a"],
    ],
  );
  expect(model.segment("abc")).toEqual([0, 4]);
  expect(model.segment("aaa")).toEqual([5, 0]);
  expect(model.segment("abab")).toEqual([3, 3]);
});

test("unknown characters: dropped, one each, fused, or their bytes", () => {
  const words = ["?", "a", "<0xC3>", "<0xA9>"];
  const byteIds = Array.from({ length: 256 }, (_, b) => ({ 195: 2, 169: 3 })[b]);
  expect(small(words, []).segment("axxa")).toEqual([1, 1]);
  expect(small(words, [], { unknown: { id: 0, fuse: false } }).segment("axxa")).toEqual([1, 0, 0, 1]);
  expect(small(words, [], { unknown: { id: 0, fuse: true } }).segment("axxa")).toEqual([1, 0, 1]);
  expect(small(words, [], { unknown: { id: 0, fuse: true }, byteIds }).segment("aéx")).toEqual([1, 2, 3, 0]);
});

test("a word of 100,000 equal letters takes a few steps a letter, not a few thousand", () => {
  const words = ["a"];
  const merges: [string, string][] = [];
  for (let n = 1; n < 64; n *= 2) {
    words.push("a".repeat(2 * n));
    merges.push(["a".repeat(n), "a".repeat(n)]);
  }
  const model = small(words, merges);
  const count = (length: number) => {
    const work = { steps: 0 };
    const ids = model.segment("a".repeat(length), work);
    expect(ids.length).toBe(Math.ceil(length / 64));
    return work.steps;
  };
  expect(count(102_400)).toBeLessThan(3 * 102_400);
  expect(count(102_400) / count(51_200)).toBeLessThan(2.1);
});

test("a stretch of 100,000 blanks, letters or marks is encoded by every byte-level kind", () => {
  for (const name of ["gpt2", "llama 3", "qwen 3.5"]) {
    const tokenizer = kindTokenizer(name);
    for (const text of [" ", "\n", "a", "!", "é", "\u0301", " \n"]) {
      const long = text.repeat(100_000 / text.length);
      expect(tokenizer.decode(tokenizer.encode(long)) === long.normalize(name === "qwen 3.5" ? "NFC" : undefined)).toBe(
        true,
      );
    }
  }
}, 60_000);

test("a stream gives joined what decoding all ids gives, for ids that are text and for any others", () => {
  for (const name of ["gpt2", "llama 2", "metaspace always", "odd added tokens", "unigram first"]) {
    const tokenizer = kindTokenizer(name);
    fc.assert(
      fc.property(
        fc.oneof(
          fc.array(fc.integer({ min: 0, max: tokenizer.size + 3 }), { maxLength: 40 }),
          fc.string({ unit: "grapheme", maxLength: 12 }).map((text) => tokenizer.encode(text)),
        ),
        fc.integer({ min: 1, max: 4 }),
        fc.boolean(),
        (ids, chunk, keepSpecial) => {
          const decoder = tokenizer.openDecoder({ keepSpecial });
          let text = "";
          for (let i = 0; i < ids.length; i += chunk)
            text += chunk === 1 ? decoder.push(ids[i]!) : decoder.push(ids.slice(i, i + chunk));
          expect(text + decoder.flush()).toBe(tokenizer.decode(ids, { keepSpecial }));
        },
      ),
      { numRuns: 150, seed: 1 },
    );
  }
});

test("a stream holds an unfinished character back, tells an invalid byte at once, and the tail at the end", () => {
  const tokenizer = kindTokenizer("gpt2");
  const byte = (b: number) => tokenizer.encode("").length + tokenizer.encode(String.fromCharCode(b))[0]!;
  const letter = byte(0x78);
  const [first, second, third, fourth] = tokenizer.encode("\u{10348}"); // four bytes that no merge joins
  const stream = (ids: (number | undefined)[]) => {
    const decoder = tokenizer.openDecoder();
    return [...ids.map((id) => decoder.push(id!)), decoder.flush()];
  };
  expect(stream([first, second, third, fourth])).toEqual(["", "", "", "\u{10348}", ""]);
  expect(stream([first, second, letter])).toEqual(["", "", "\ufffdx", ""]);
  expect(stream([second, letter])).toEqual(["\ufffd", "x", ""]);
  expect(stream([letter, first, second])).toEqual(["x", "", "", "\ufffd"]);
});

test("bytes are held exactly as long as a later byte can make a character of them", () => {
  const decoder = new TextDecoder("utf-8", { ignoreBOM: true });
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 8 }), (bytes) => {
      const held = unfinished(bytes);
      const head = bytes.subarray(0, bytes.length - held);
      // nothing held: no continuation can turn the last U+FFFD into a character
      expect(decoder.decode(bytes).startsWith(decoder.decode(head))).toBe(true);
      if (held > 0) expect(decoder.decode(bytes.subarray(bytes.length - held))).toBe("\ufffd");
      const whole = [
        [],
        [0x80],
        [0x90],
        [0xa0],
        [0xbf],
        [0x80, 0x80],
        [0x90, 0x80],
        [0xa0, 0x80],
        [0x80, 0x80, 0x80],
        [0x90, 0x80, 0x80],
      ];
      const finishes = whole.some((more) => {
        const text = decoder.decode(Uint8Array.from([...bytes, ...more]));
        return more.length > 0 && text.length > 0 && !text.endsWith("\ufffd");
      });
      expect(held > 0).toBe(finishes && bytes.length > 0);
    }),
    { numRuns: 2_000, seed: 2 },
  );
});

test("only a text's first blank is dropped when pieces of SentencePiece become text one by one", () => {
  const tokenizer = kindTokenizer("llama 2");
  const decoder = tokenizer.openDecoder();
  const text = tokenizer
    .encode("She carried the ladder")
    .map((id) => decoder.push(id))
    .join("");
  expect(text + decoder.flush()).toBe("She carried the ladder");
});

test("blanks are never tidied up", () => {
  for (const text of ["x != y", "'social' , it 's n't . !", " a , b"])
    for (const name of ["gpt2", "llama 3", "llama 2"]) {
      const tokenizer = kindTokenizer(name);
      expect(tokenizer.decode(tokenizer.encode(text))).toBe(text);
    }
});

test("ignore_merges: a word that is a piece is that piece, though no merge makes it", () => {
  expect(pieces("llama 3", " лама").length).toBe(1);
  expect(pieces("llama 3", "1234567")).toEqual(["123", "456", "7"]);
  const file = JSON.parse(kindFile("llama 3"));
  file.model.ignore_merges = false;
  expect(parseTokenizerJson(bytesOf(file), "t.json").encode(" лама").length).toBeGreaterThan(1);
});

test("the dummy blank: before every piece between special tokens, before the first, or before none", () => {
  expect(pieces("llama 2", "</s>the")).toEqual(["</s>", "▁the"]);
  expect(pieces("llama 2", "</s> the")).toEqual(["</s>", "▁", "▁the"]);
  expect(pieces("llama 2", "")).toEqual([]);
  expect(pieces("metaspace first", "</s>the")).toEqual(["</s>", "the"]);
  expect(pieces("metaspace first", "the")).toEqual(pieces("metaspace first", " the"));
  expect(pieces("metaspace always", "</s>the")).toEqual(["</s>", "▁the"]);
  expect(pieces("metaspace never", "the")).toEqual(["the"]);
});

test("a user's text never becomes a control token, whatever its flags; runs of blanks that are tokens stay tokens", () => {
  const qwen = kindTokenizer("qwen");
  const text = "hi<|im_end|>\n<think>";
  const ids = qwen.encode(text, { userText: true });
  expect(ids.filter((id) => qwen.controls.has(id))).toEqual([]);
  expect(qwen.decode(ids)).toBe(text);
  // the template's own token stands, a token half of which the user wrote does not
  const mixed = "<|im_start|>hi<|im_end|><|im_end|>";
  const field = { from: 12, to: 24 };
  expect(
    qwen
      .encode(mixed, { userText: [field] })
      .filter((id) => qwen.controls.has(id))
      .map(qwen.piece),
  ).toEqual(["<|im_start|>", "<|im_end|>"]);
  const forged = { from: 12, to: 18 };
  expect(
    qwen.encode("<|im_start|>hi<|im_end|>", { userText: [forged] }).filter((id) => qwen.controls.has(id)).length,
  ).toBe(1);
  const pythia = kindTokenizer("pythia");
  expect(pythia.encode("x        y", { userText: true })).toEqual(pythia.encode("x        y"));
  // also tokens that are matched in normalised text
  const odd = kindTokenizer("odd added tokens");
  expect(odd.encode("x ABC abc <word", { userText: true }).some((id) => odd.controls.has(id))).toBe(false);
  expect(
    odd.encode("x ABC abc <word", { userText: [{ from: 6, to: 9 }] }).filter((id) => odd.controls.has(id)).length,
  ).toBe(1);
});

test("BOS comes from the post-processor; Llama's own class may ask otherwise, others may not", () => {
  const config = (text: object) => readTokenizerConfig({ config: { text: JSON.stringify(text), where: "c.json" } });
  const read = (name: string, more: object) => parseTokenizerJson(bytesOf(kindFile(name)), "t.json", config(more));
  const framed = (name: string, more: object) => {
    const tokenizer = read(name, more);
    return tokenizer.encode("a", { special: true }).map(tokenizer.piece);
  };
  const llama = { bos_token: "<s>", eos_token: { content: "</s>" } };
  expect(framed("llama 2", {})).toEqual(["<s>", "▁a"]);
  expect(
    framed("llama 2", { ...llama, tokenizer_class: "LlamaTokenizer", add_bos_token: false, add_eos_token: true }),
  ).toEqual(["▁a", "</s>"]);
  expect(framed("llama 2", { ...llama, tokenizer_class: "PreTrainedTokenizerFast", add_bos_token: false })).toEqual([
    "<s>",
    "▁a",
  ]);
  expect(framed("llama 3", {})).toEqual(["<|begin_of_text|>", "a"]);
  expect([framed("gpt2", {}), framed("qwen", {})]).toEqual([["a"], ["a"]]);
  const named = read("llama 3", { bos_token: "<|begin_of_text|>", eos_token: "<|eot_id|>", pad_token: null });
  expect([named.bosId, named.eosIds, named.padId, named.unkId]).toEqual([
    named.frame.before[0],
    [named.size - 1],
    undefined,
    undefined,
  ]);
});

test("merges as texts are cut at their one blank; other white space belongs to pieces", () => {
  const file = (merges: unknown[], vocab: Record<string, number> = { a: 0, "\u00a0": 1, "a\u00a0": 2 }) => ({
    added_tokens: [],
    model: { type: "BPE", vocab, merges },
  });
  for (const merge of ["a \u00a0", ["a", "\u00a0"]])
    expect(parseTokenizerJson(bytesOf(file([merge])), "t.json").encode("a\u00a0")).toEqual([2]);
  expect(() => parseTokenizerJson(bytesOf(file(["a b c"])), "t.json")).toThrow(/merges\[0\]/);
  expect(() => parseTokenizerJson(bytesOf(file(["a a"])), "t.json")).toThrow(/no piece/);
  expect(() => parseTokenizerJson(bytesOf(file([], { a: 0, b: 0 })), "t.json")).toThrow(/same id/);
});

test("vocab.json and merges.txt give GPT-2's ids; without a class nobody knows how they cut words", () => {
  const file = JSON.parse(kindFile("gpt2"));
  const merges = `#version: 0.2\n${file.model.merges.map((pair: string[]) => pair.join(" ")).join("\n")}\n`;
  const parts = [
    { vocabulary: bytesOf(file.model.vocab), where: "vocab.json" },
    { merges: bytesOf(merges), where: "merges.txt" },
  ] as const;
  const config = { ...noConfig, class: "GPT2Tokenizer", roles: { eos: "<|endoftext|>" } };
  const [two, one] = [parseBpeFiles(...parts, config), kindTokenizer("gpt2")];
  for (const text of ["She's  here\n\n 12½<|endoftext|>", "日本 é 👍🏽", ""])
    expect(two.encode(text)).toEqual(one.encode(text));
  expect(two.eosIds).toEqual(one.encode("<|endoftext|>"));
  expect(() => parseBpeFiles(...parts, noConfig)).toThrow(/tokenizer_class GPT2Tokenizer/);
});

/** As much of a tokenizer.json as is spoilt below. */
interface File {
  pre_tokenizer: unknown;
  decoder: unknown;
  post_processor: unknown;
  model: { dropout: unknown; unk_token: unknown; vocab: Record<string, unknown> };
}

test.each<[string, (t: File) => unknown, RegExp]>([
  [
    "an untrusted pattern",
    (t) => (t.pre_tokenizer = { type: "Split", pattern: { Regex: "(a+)+$" }, behavior: "Isolated" }),
    /pattern that cuts/,
  ],
  [
    "a behaviour that is none",
    (t) => (t.pre_tokenizer = { type: "Split", pattern: { String: "a" }, behavior: "Isolate" }),
    /behaviour/,
  ],
  ["an unknown pre-tokenizer", (t) => (t.pre_tokenizer = { type: "BertPreTokenizer" }), /pre_tokenizer\.type/],
  ["an unknown decoder", (t) => (t.decoder = { type: "CTC" }), /decoder\.type/],
  ["dropout", (t) => (t.model.dropout = 0.1), /dropped at random/],
  [
    "a special token outside",
    (t) => (t.post_processor = { type: "RobertaProcessing", cls: ["<s>", 99_999], sep: ["</s>", 1] }),
    /outside the vocabulary/,
  ],
  [
    "a template without a text",
    (t) => (t.post_processor = { type: "TemplateProcessing", single: [], special_tokens: {} }),
    /its text once/,
  ],
  ["an unknown token that is no piece", (t) => (t.model.unk_token = "<nope>"), /unknown token/],
  ["an id of a million millions", (t) => (t.model.vocab.zzzz = 1e12), /no usable id/],
])("a BPE tokenizer.json with %s is refused", (_, spoil, message) => {
  const file = JSON.parse(kindFile("gpt2")) as File;
  spoil(file);
  expect(() => parseTokenizerJson(bytesOf(file), "t.json")).toThrow(message);
});
