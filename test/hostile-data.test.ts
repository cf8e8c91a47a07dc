/**
 * @file Data and tokenizer files from strangers: whatever the bytes are, a value or a SoftpromptError, in bounded time.
 *
 * The long form: FUZZ_RUNS=100000 npx vitest run test/hostile-data (inputs per format; FUZZ_SEED for other ones).
 */
import { readFileSync } from "node:fs";
import { dirname, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import * as zlib from "node:zlib";
import fc from "fast-check";
import { parquetWriteBuffer } from "hyparquet-writer";
import { expect, test } from "vitest";
import { SoftpromptError } from "../src/base/errors.js";
import { inspect } from "../src/data/parquet.js";
import { parseTable, type TableFormat } from "../src/data/table.js";
import { parseSentencePiece } from "../src/text/sentencepiece.js";
import type { Tokenizer } from "../src/text/tokenizer.js";
import { parseTokenizerJson } from "../src/text/tokenizer-json.js";

const root = resolve(dirname(fileURLToPath(import.meta.url)), "..");
const bytesOf = (text: string) => new TextEncoder().encode(text);

/** Everything but a SoftpromptError is a bug; so is more processor time than this, in ms, on inputs of a few kilobytes. */
const longest = 2_000;
const spent = () => process.cpuUsage().user / 1_000;

/** Inputs per format: few in the suite, many by hand. */
const runs = (few: number, share = 1): { numRuns: number; seed?: number } => {
  const { FUZZ_RUNS, FUZZ_SEED } = process.env;
  return {
    numRuns: FUZZ_RUNS ? Math.ceil(Number(FUZZ_RUNS) * share) : few,
    ...(FUZZ_SEED ? { seed: Number(FUZZ_SEED) } : {}),
  };
};
const forever = process.env.FUZZ_RUNS ? 24 * 3_600_000 : 120_000;

async function survives(run: () => unknown): Promise<void> {
  const start = spent();
  try {
    await run();
  } catch (error) {
    if (!(error instanceof SoftpromptError)) throw error;
    expect(error.message.length).toBeLessThan(5_000);
  }
  expect(spent() - start).toBeLessThan(longest);
}

/** Edits of a sound file: bytes changed, cut out, repeated, swapped for troublesome ones, the end cut off. */
const edit = fc.record({
  // Unbiased: fast-check's own doubles are nearly all next to 0, and only the first byte would be edited.
  at: fc.noBias(fc.integer({ min: 0, max: 2 ** 30 - 1 })).map((n) => n / 2 ** 30),
  how: fc.constantFrom("set", "flip", "cut", "repeat", "insert", "truncate", "ones"),
  bytes: fc.oneof(
    fc.uint8Array({ minLength: 1, maxLength: 12 }),
    fc.constantFrom(
      ...["{", '"', "\\", "]", ",", "\n", "\u0000", "9".repeat(30), "__proto__", "1e999", "[[[["].map(bytesOf),
    ),
  ),
  length: fc.integer({ min: 1, max: 64 }),
});
type Edit = typeof edit extends fc.Arbitrary<infer T> ? T : never;

function apply(file: Uint8Array, edits: readonly Edit[]): Uint8Array {
  let out = Buffer.from(file);
  for (const { at, how, bytes, length } of edits) {
    const from = Math.floor(at * out.length);
    const before = out.subarray(0, from);
    const rest = out.subarray(from);
    if (how === "set") out = Buffer.concat([before, bytes, rest.subarray(bytes.length)]);
    else if (how === "flip" && out.length > 0) out[from]! ^= 1 << (length % 8);
    else if (how === "cut") out = Buffer.concat([before, rest.subarray(length)]);
    else if (how === "repeat") out = Buffer.concat([before, rest.subarray(0, length), rest]);
    else if (how === "insert") out = Buffer.concat([before, bytes, rest]);
    else if (how === "truncate" && length > 48) out = Buffer.from(before);
    else if (how === "ones")
      out = Buffer.concat([before, Buffer.alloc(Math.min(length, 9), 0xff), rest.subarray(Math.min(length, 9))]);
  }
  return out;
}

const jsonl = bytesOf(
  '{"text": "a \\"b\\" \\u00e9", "label": 1, "deep": {"list": [1, 2, {"x": null}]}}\r\n{"text": "zwei", "label": 0}\n',
);
const csv = bytesOf('text,label\n"a, ""b""\nc",1\nplain,2\n,\n');
const parquet = (codec: "SNAPPY" | "GZIP" | "UNCOMPRESSED", nested: boolean) =>
  new Uint8Array(
    parquetWriteBuffer({
      columnData: [
        { name: "text", data: Array.from({ length: 40 }, (_, i) => `row ${i % 7} of some text`), type: "STRING" },
        { name: "label", data: Array.from({ length: 40 }, (_, i) => i % 3), type: "INT32" },
        {
          name: "score",
          data: Array.from({ length: 40 }, (_, i) => (i % 5 ? i / 3 : null)),
          type: "DOUBLE",
          nullable: true,
        },
        ...(nested
          ? [
              {
                name: "meta",
                data: Array.from({ length: 40 }, (_, i) => ({ n: i, tags: ["x", "y"] })),
                type: "JSON" as const,
              },
            ]
          : []),
      ],
      codec,
      rowGroupSize: 16,
      compressors: { GZIP: (b) => zlib.gzipSync(b) },
    }),
  );

const tables: [string, TableFormat, Uint8Array][] = [
  ["jsonl", "jsonl", jsonl],
  ["csv", "csv", csv],
  ["tsv", "tsv", bytesOf('text\tlabel\n"a\t1\nb"\t2\n')],
  ["parquet, snappy", "parquet", parquet("SNAPPY", true)],
  ["parquet, gzip", "parquet", parquet("GZIP", false)],
  ["parquet, plain", "parquet", parquet("UNCOMPRESSED", true)],
];

test.each(tables)(
  "%s: a sound file reads, edited ones read or are refused",
  async (_, format, file) => {
    const table = await parseTable(file, format, "f");
    expect(table.rows.length).toBeGreaterThan(1);
    await fc.assert(
      fc.asyncProperty(fc.array(edit, { minLength: 1, maxLength: 4 }), fc.boolean(), async (edits, skipBadRows) => {
        await survives(async () => {
          const found = await parseTable(apply(file, edits), format, "f", { skipBadRows });
          for (const row of found.rows) expect(Object.getPrototypeOf(row.fields)).toBeNull();
        });
      }),
      // Parquet is decoded in a process of its own: a hundredth of the inputs go all the way, all pass the guard below.
      format === "parquet" ? runs(12, 0.01) : runs(400),
    );
    expect(({} as Record<string, unknown>).x).toBeUndefined();
  },
  forever,
);

test(
  "parquet: the guard refuses or lets through, whatever was edited",
  async () => {
    const refuse = (problem: string): never => {
      throw new SoftpromptError("data", problem, { where: "f" });
    };
    for (const [, format, file] of tables) {
      if (format !== "parquet") continue;
      let passed = 0;
      await fc.assert(
        fc.asyncProperty(fc.array(edit, { minLength: 1, maxLength: 3 }), async (edits) => {
          await survives(() => {
            inspect(apply(file, edits), refuse);
            passed++;
          });
        }),
        runs(400, 1 / 3),
      );
      expect(passed).toBeGreaterThan(0); // else the edits were too coarse to test anything
    }
  },
  forever,
);

test.each(["jsonl", "csv", "tsv", "parquet"] as const)(
  "%s: any bytes read or are refused",
  async (format) => {
    await fc.assert(
      fc.asyncProperty(
        fc.oneof(fc.uint8Array({ maxLength: 400 }), fc.string({ maxLength: 400 }).map(bytesOf)),
        async (bytes) => {
          await survives(() => parseTable(bytes, format, "f"));
        },
      ),
      runs(300),
    );
  },
  forever,
);

/** A tokenizer that was read must also work, or say why not. */
function use(tokenizer: Tokenizer): void {
  const ids = tokenizer.encode("The kettle ｓｉｎｇｓ é\u0301 <extra_id_0> 日本 \ud800");
  for (const id of ids) if (!(Number.isInteger(id) && id >= 0 && id < tokenizer.size)) throw new Error(`id ${id}`);
  tokenizer.decode(ids, { keepSpecial: true });
}

test(
  "spiece.model: edited models read or are refused",
  async () => {
    for (const name of ["tiny", "bytes"]) {
      const file = readFileSync(join(root, `test/fixtures/tokenizer/${name}.model`));
      // Half of the edits go to the first kilobytes, where the pieces are; the character map is most of the rest.
      const front = fc.array(
        edit.map((e) => ({ ...e, at: e.at * (name === "tiny" ? 0.02 : 1) })),
        { minLength: 1, maxLength: 3 },
      );
      const back = fc.array(
        edit.map((e) => ({ ...e, at: 1 - e.at * 0.03 })),
        { minLength: 1, maxLength: 3 },
      );
      await fc.assert(
        fc.asyncProperty(fc.oneof(front, back, fc.array(edit, { minLength: 1, maxLength: 3 })), async (edits) => {
          await survives(() => use(parseSentencePiece(apply(file, edits), "spiece.model")));
        }),
        runs(250),
      );
    }
  },
  forever,
);

const tokenizerJson = JSON.stringify({
  version: "1.0",
  added_tokens: [
    { id: 0, content: "<pad>", special: true },
    { id: 7, content: "<extra_id_0>", special: true, lstrip: true, rstrip: true },
  ],
  normalizer: {
    type: "Sequence",
    normalizers: [
      {
        type: "Precompiled",
        precompiled_charsmap: Buffer.from(readFileSync(join(root, "test/fixtures/tokenizer/tiny.model")))
          .subarray(-4000)
          .toString("base64"),
      },
      { type: "Strip", strip_left: true, strip_right: true },
      { type: "Replace", pattern: { Regex: " {2,}" }, content: " " },
      { type: "NFKC" },
    ],
  },
  pre_tokenizer: {
    type: "Sequence",
    pretokenizers: [{ type: "WhitespaceSplit" }, { type: "Metaspace", replacement: "▁", prepend_scheme: "always" }],
  },
  model: {
    type: "Unigram",
    unk_id: 2,
    vocab: [
      ["<pad>", 0],
      ["</s>", 0],
      ["<unk>", 0],
      ["▁", -2],
      ["▁the", -1.5],
      ["e", -3],
      ["ing", -4],
    ],
  },
});

test(
  "tokenizer.json: edited files read or are refused",
  async () => {
    const withoutMap = tokenizerJson.replace(/"precompiled_charsmap":"[^"]*"/, '"precompiled_charsmap":null');
    use(parseTokenizerJson(bytesOf(withoutMap), "t"));
    for (const text of [withoutMap, tokenizerJson])
      await fc.assert(
        fc.asyncProperty(fc.array(edit, { minLength: 1, maxLength: 3 }), async (edits) => {
          await survives(() => use(parseTokenizerJson(apply(bytesOf(text), edits), "tokenizer.json")));
        }),
        runs(400),
      );
  },
  forever,
);

test(
  "tokenizer.json: any JSON in any place reads or is refused",
  async () => {
    const paths = [
      ["model"],
      ["model", "vocab"],
      ["model", "vocab", 3],
      ["model", "unk_id"],
      ["added_tokens"],
      ["added_tokens", 1],
      ["normalizer"],
      ["normalizer", "normalizers", 1],
      ["pre_tokenizer"],
      ["pre_tokenizer", "pretokenizers", 1, "type"],
      [],
    ];
    await fc.assert(
      fc.asyncProperty(fc.constantFrom(...paths), fc.jsonValue(), async (path, value) => {
        const root = JSON.parse(tokenizerJson.replace(/"precompiled_charsmap":"[^"]*"/, '"precompiled_charsmap":null'));
        let spoilt: unknown = value;
        if (path.length > 0) {
          let at = root;
          for (const key of path.slice(0, -1)) at = at[key];
          at[path.at(-1)!] = value;
          spoilt = root;
        }
        await survives(() => use(parseTokenizerJson(bytesOf(JSON.stringify(spoilt)), "tokenizer.json")));
      }),
      runs(400),
    );
  },
  forever,
);

test(
  "small files that ask for much: all refused at once",
  async () => {
    const huge = [
      ["jsonl", "[".repeat(1_000_000)],
      ["jsonl", `{"a": ${"[".repeat(1_000_000)}`],
      ["jsonl", `{"a": [${"[],".repeat(500_000)}[]]}`],
      ["csv", `${"a,".repeat(100_000)}b`],
      ["csv", `a\n"${"x".repeat(17 * 1024 * 1024)}`],
    ] as const;
    for (const [format, text] of huge) {
      const start = spent();
      await expect(parseTable(bytesOf(text), format, "f")).rejects.toBeInstanceOf(SoftpromptError);
      expect(spent() - start).toBeLessThan(10_000);
    }
    // A varint of a megabyte takes hyparquet's own reader hours; a page that claims 2 GB takes it 2 GB.
    const footer = Buffer.concat([Buffer.from([0x16]), Buffer.alloc(1_000_000, 0x80), Buffer.from([0])]);
    const length = Buffer.alloc(4);
    length.writeUInt32LE(footer.length);
    const bomb = Buffer.concat([Buffer.from("PAR1"), footer, length, Buffer.from("PAR1")]);
    await expect(parseTable(bomb, "parquet", "f")).rejects.toThrow(/longer than ten bytes/);
  },
  forever,
);
