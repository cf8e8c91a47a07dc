import { existsSync, readFileSync } from "node:fs";
import { mkdtemp, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { Tokenizer as Tokenizers } from "@huggingface/tokenizers";
import { describe, expect, test } from "vitest";
import { loadTokenizer } from "./load.js";
import { seq2seqRules } from "./rules.js";
import { parseSentencePiece } from "./sentencepiece.js";
import type { Tokenizer } from "./tokenizer.js";
import { parseTokenizerJson } from "./tokenizer-json.js";

// The lines and ids were made by test/oracles/tokenizer.py with sentencepiece 0.2.2 and tokenizers 0.23.2.
const root = resolve(dirname(fileURLToPath(import.meta.url)), "../..");
const fixtures = join(root, "test/fixtures/tokenizer");
const t5 = join(root, "../shared/t5-tokenizer");
const nano = join(root, "models/t5-nano");
const read = (name: string) => JSON.parse(readFileSync(join(fixtures, name), "utf8"));
const bytes = (path: string) => readFileSync(path);

function disagreements(tokenizer: Pick<Tokenizer, "encode">, rows: { text: string }[], ids: (row: never) => number[]) {
  return rows.flatMap((row) => {
    const [ours, theirs] = [tokenizer.encode(row.text), ids(row as never)];
    return JSON.stringify(ours) === JSON.stringify(theirs) ? [] : [{ text: row.text, ours, theirs }];
  });
}

test.each(["tiny", "bytes"])("%s.model: the ids of SentencePiece on every line", (name) => {
  const options = name === "bytes" ? { extraIds: 0 } : {};
  const tokenizer = parseSentencePiece(bytes(join(fixtures, `${name}.model`)), name, options);
  const rows = read(`${name}.json`) as { text: string; ids: number[] }[];
  expect(rows.length).toBeGreaterThan(350);
  expect(disagreements(tokenizer, rows, (r: { ids: number[] }) => r.ids)).toEqual([]);
});

test.skipIf(!existsSync(t5))("T5's tokenizer.json: the ids and texts of Hugging Face tokenizers", async () => {
  const tokenizer = await loadTokenizer(t5);
  const rows = read("t5.json") as { text: string; tokenizers: number[]; decoded: string }[];
  expect(disagreements(tokenizer, rows, (r: { tokenizers: number[] }) => r.tokenizers)).toEqual([]);
  const texts = rows.map((r) => [tokenizer.decode(r.tokenizers), r.decoded]).filter(([a, b]) => a !== b);
  expect(texts).toEqual([]);
  expect([tokenizer.padId, tokenizer.eosIds[0], tokenizer.unkId, tokenizer.size]).toEqual([0, 1, 2, 32100]);
  expect(tokenizer.encode("<extra_id_0>")).toEqual([32099]);
});

test.skipIf(!existsSync(t5))("T5's spiece.model alone: the ids of SentencePiece", () => {
  const tokenizer = parseSentencePiece(bytes(join(t5, "spiece.model")), "spiece.model");
  const rows = read("t5.json") as { text: string; sentencepiece: number[] }[];
  expect(disagreements(tokenizer, rows, (r: { sentencepiece: number[] }) => r.sentencepiece)).toEqual([]);
  expect([tokenizer.padId, tokenizer.eosIds[0], tokenizer.unkId, tokenizer.size]).toEqual([0, 1, 2, 32100]);
});

// 1,000 lines by models/t5-nano/make/tokenizer_lines.py, on which transformers and the Rust tokenizers library agree.
describe.skipIf(!existsSync(join(nano, "tokenizer.json")))("t5-nano's tokenizer", () => {
  const { lines } = JSON.parse(readFileSync(join(nano, "make/tokenizer-fixture.json"), "utf8")) as {
    lines: { text: string; ids: number[] }[];
  };
  const ids = (r: { ids: number[] }) => r.ids.slice(0, -1); // they end with </s>

  test("our ids on its 1,000 lines", async () => {
    const tokenizer = await loadTokenizer(nano);
    expect(lines.length).toBeGreaterThanOrEqual(1000);
    expect(lines.every((r) => r.ids.at(-1) === tokenizer.eosIds[0])).toBe(true);
    expect(disagreements(tokenizer, lines, ids)).toEqual([]);
  });

  test("the ids of @huggingface/tokenizers on the same lines", () => {
    const foreign = new Tokenizers(JSON.parse(readFileSync(join(nano, "tokenizer.json"), "utf8")), {});
    const encode = (text: string) => foreign.encode(text, { add_special_tokens: false }).ids;
    expect(disagreements({ encode }, lines, ids)).toEqual([]);
  });
});

test("a folder may hold spiece.model alone; its sentinels count from the end", async () => {
  const folder = await mkdtemp(join(tmpdir(), "softprompt-tokenizer-"));
  await writeFile(join(folder, "spiece.model"), bytes(join(fixtures, "tiny.model")));
  const tokenizer = await loadTokenizer(folder);
  const size = tokenizer.size;
  expect(tokenizer.encode("<extra_id_0><extra_id_99>")).toEqual([size - 1, size - 100]);
  expect(tokenizer.piece(size - 1)).toBe("<extra_id_0>");
  await writeFile(join(folder, "tokenizer_config.json"), JSON.stringify({ extra_ids: 7 }));
  expect((await loadTokenizer(folder)).size).toBe(size - 93);
  expect(tokenizer.sha256).toMatch(/^[0-9a-f]{64}$/);
});

test("a folder without a tokenizer is refused", async () => {
  const folder = await mkdtemp(join(tmpdir(), "softprompt-tokenizer-"));
  await expect(loadTokenizer(folder)).rejects.toThrow(/tokenizer.json, spiece.model, or vocab.json with merges.txt/);
});

test("decode leaves special tokens out unless asked, and gives the text back", () => {
  const tokenizer = parseSentencePiece(bytes(join(fixtures, "tiny.model")), "tiny.model");
  const ids = [...tokenizer.encode("<extra_id_0> the kettle sings"), ...tokenizer.eosIds];
  expect(tokenizer.decode(ids)).toBe("the kettle sings");
  expect(tokenizer.decode(ids, { keepSpecial: true })).toBe("<extra_id_0> the kettle sings</s>");
  expect(tokenizer.decode([])).toBe("");
  const fallback = parseSentencePiece(bytes(join(fixtures, "bytes.model")), "bytes.model", { extraIds: 0 });
  expect(fallback.decode(fallback.encode("日本 🎻 é"))).toBe("日本 🎻 é");
});

/** A small tokenizer.json, as a value to break. */
const small = () => ({
  version: "1.0",
  added_tokens: [{ id: 0, content: "<pad>", special: true, normalized: false }],
  normalizer: null as unknown,
  pre_tokenizer: { type: "Metaspace", replacement: "▁", prepend_scheme: "always" } as unknown,
  model: {
    type: "Unigram",
    unk_id: 2,
    vocab: [
      ["<pad>", 0],
      ["</s>", 0],
      ["<unk>", 0],
      ["▁", -2],
      ["▁a", -1],
      ["b", -3],
    ] as unknown[],
  },
});
const parse = (value: unknown) => parseTokenizerJson(new TextEncoder().encode(JSON.stringify(value)), "t.json");

test("a vocabulary without </s> is a tokenizer, but T5's rows cannot be made with it", () => {
  const t = small();
  t.model.vocab[1] = ["c", 0];
  const tokenizer = parse(t);
  expect([tokenizer.padId, tokenizer.bosId, tokenizer.eosIds, tokenizer.frame]).toEqual([
    0,
    undefined,
    [],
    { before: [], after: [] },
  ]);
  expect(() => seq2seqRules(tokenizer)).toThrow(/no <\/s>/);
});

test("a sound small tokenizer.json works: best path, fused unknowns", () => {
  const tokenizer = parse(small());
  expect(tokenizer.encode("a ab zz")).toEqual([4, 4, 5, 3, 2]);
});

test.each<[string, (t: ReturnType<typeof small>) => void, RegExp]>([
  [
    "another model",
    (t) => {
      t.model.type = "WordPiece";
    },
    /kind are not read[\s\S]*Unigram \(T5\), BPE/,
  ],
  [
    "unk_id outside",
    (t) => {
      t.model.unk_id = 6;
    },
    /unk_id/,
  ],
  [
    "a score that is a text",
    (t) => {
      t.model.vocab[3] = ["▁", "x"];
    },
    /vocab\[3\]/,
  ],
  [
    "a piece twice",
    (t) => {
      t.model.vocab[5] = ["▁a", -3];
    },
    /twice/,
  ],
  [
    "an added id in the middle of nowhere",
    (t) => {
      t.added_tokens.push({ id: 99999999, content: "<x>", special: true, normalized: false });
    },
    /<x>/,
  ],
  [
    "an unknown normaliser",
    (t) => {
      t.normalizer = { type: "Precompild" };
    },
    /Precompiled/,
  ],
  [
    "a foreign regular expression",
    (t) => {
      t.normalizer = { type: "Replace", pattern: { Regex: "(a+)+$" }, content: "" };
    },
    /pattern/,
  ],
  [
    "a charsmap that points outside itself",
    (t) => {
      t.normalizer = {
        type: "Precompiled",
        precompiled_charsmap: Buffer.from([4, 0, 0, 0, 255, 255, 255, 127, 0]).toString("base64"),
      };
    },
    /outside/,
  ],
  [
    "a replacement that cannot be shown as text",
    (t) => {
      t.pre_tokenizer = { type: "Metaspace", replacement: { toString: 1 } };
    },
    /Metaspace step is not supported/,
  ],
  [
    "normalisers nested without end",
    (t) => {
      let n: unknown = null;
      for (let i = 0; i < 500; i++) n = { type: "Sequence", normalizers: [n] };
      t.normalizer = n;
    },
    /nested/,
  ],
])("a tokenizer.json with %s is refused", (_, spoil, message) => {
  const t = small();
  spoil(t);
  expect(() => parse(t)).toThrow(message);
});
