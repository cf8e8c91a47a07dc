import { mkdtemp, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import * as zlib from "node:zlib";
import { parquetWriteBuffer } from "hyparquet-writer";
import { expect, test } from "vitest";
import { unpackFramedLz4, unpackLz4 } from "./lz4.js";
import { limitsFor, readInChild } from "./parquet-child.js";
import type { TableOptions } from "./rows.js";
import { unpackSnappy } from "./snappy.js";
import { formatOf, parseTable, readTable, type TableFormat } from "./table.js";

const fixtures = fileURLToPath(new URL("../../test/fixtures/data", import.meta.url));
const bytes = (text: string) => new TextEncoder().encode(text);
const parse = (text: string, format: TableFormat, options?: TableOptions) =>
  parseTable(bytes(text), format, `f.${format}`, options);
const cells = (rows: readonly { fields: object }[]) => rows.map((r) => ({ ...r.fields }));

test("jsonl: byte order mark, CRLF, blank lines, columns in order of appearance", async () => {
  const table = await parse('\ufeff{"a": 1, "b": "x"}\r\n\n{"b": "y", "c": [1, {"d": null}]}', "jsonl");
  expect(table.columns).toEqual(["a", "b", "c"]);
  expect(table.rows.map((r) => r.line)).toEqual([1, 3]);
  expect(cells(table.rows)).toEqual([
    { a: 1, b: "x" },
    { b: "y", c: [1, { d: null }] },
  ]);
});

test.each([
  ['{"a": 1}\n{"a": 1, "\\u0061": 2}', /f.jsonl:2: the same key stands twice/],
  ['{"a": 1}\n[1]', /f.jsonl:2: a line must hold one JSON object/],
  ['{"a": 1}\n{"a": }', /f.jsonl:2: this is not valid JSON/],
  [`${'{"a":'.repeat(40)}1${"}".repeat(40)}`, /f.jsonl:1: this JSON is nested too deeply/],
])("jsonl: %j is refused by line", async (text, message) => {
  await expect(parse(text, "jsonl")).rejects.toThrow(message);
});

test("jsonl: bad UTF-8 is refused by line, and bad rows can be counted instead", async () => {
  const raw = Buffer.concat([
    Buffer.from('{"a": 1}\n{"a": "'),
    Buffer.from([0xff]),
    Buffer.from('"}\n{"a": 3}\n{oops'),
  ]);
  await expect(parseTable(raw, "jsonl", "f.jsonl")).rejects.toThrow(/f.jsonl:2: this is not valid UTF-8/);
  const table = await parseTable(raw, "jsonl", "f.jsonl", { skipBadRows: true });
  expect([cells(table.rows), table.skipped]).toEqual([[{ a: 1 }, { a: 3 }], 2]);
});

test("names like __proto__ and constructor are only names", async () => {
  for (const table of [
    await parse('{"__proto__": {"polluted": 1}, "constructor": "c"}', "jsonl"),
    await parse("__proto__,constructor\np,c", "csv"),
  ]) {
    expect(table.columns).toEqual(["__proto__", "constructor"]);
    expect(Object.getPrototypeOf(table.rows[0]!.fields)).toBeNull();
    expect(Object.keys(table.rows[0]!.fields)).toEqual(["__proto__", "constructor"]);
  }
  expect(({} as { polluted?: number }).polluted).toBeUndefined();
});

test("csv: quotes, commas, line breaks in fields, CRLF, byte order mark", async () => {
  const table = await parse('\ufefftext,label\r\n"a, ""b""\nc",1\r\nplain,2\r\n', "csv");
  expect(cells(table.rows)).toEqual([
    { text: 'a, "b"\nc', label: "1" },
    { text: "plain", label: "2" },
  ]);
  expect(table.rows.map((r) => r.line)).toEqual([2, 4]);
});

test.each(["\n", "\r\n", "\r"])(
  "csv and jsonl: line end %j, blank lines and all, with the lines they stand in",
  async (end) => {
    const table = await parse(`text,label${end}a,1${end}${end}b,2`, "csv");
    expect(table.rows.map((r) => [r.line, r.fields.text])).toEqual([
      [2, "a"],
      [4, "b"],
    ]);
    const lines = await parse(`{"a": 1}${end}${end}{"a": 2}\r\n{"a": 3}`, "jsonl");
    expect(lines.rows.map((r) => [r.line, r.fields.a])).toEqual([
      [1, 1],
      [3, 2],
      [4, 3],
    ]);
  },
);

test("joined files: a byte order mark and a header in the middle are left out, and said", async () => {
  const csv = await parse('\ufefftext,label\na,1\n\ufeff"text","label"\nb,2\n', "csv");
  expect(csv.rows.map((r) => r.fields.text)).toEqual(["a", "b"]);
  expect(csv.notices.join("; ")).toMatch(/byte order mark stands before line 3.*header stands again in line 3/);
  const jsonl = await parse('{"a": 1}\n\ufeff{"a": 2}\n', "jsonl");
  expect(jsonl.rows.map((r) => r.fields.a)).toEqual([1, 2]);
  expect(jsonl.notices.join()).toMatch(/byte order mark stands before line 2/);
  // one column: a text may be what the heading is
  expect((await parse("text\na\ntext\n", "csv")).rows.length).toBe(2);
});

test("a column without a name is left out and said; the others are read", async () => {
  const table = await parse(",text,label,\n0,a,x,\n1,b,y,\n", "csv");
  expect(cells(table.rows)).toEqual([
    { text: "a", label: "x" },
    { text: "b", label: "y" },
  ]);
  expect(table.notices).toEqual([expect.stringMatching(/column 1, column 4 have no name/)]);
});

test.each([
  ["list", '[{"text": "a", "label": 1}, {"text": "b"}]'],
  ["list under a name", '{"version": 1, "data": [{"text": "a", "label": 1}, {"text": "b"}]}'],
  ["lines", '{"text": "a", "label": 1}\n{"text": "b"}'],
])("json: a %s", async (_, text) => {
  const table = await parse(text, "json");
  expect(table.columns).toEqual(["text", "label"]);
  expect(cells(table.rows)).toEqual([{ text: "a", label: 1 }, { text: "b" }]);
});

test.each([
  ['[{"a": 1}, 2]', /f\.json, item 2: an item of the list is no object/],
  ['{"text": {"0": "a"}, "label": {"0": 1}}', /no list of objects[\s\S]*orient='records'/],
  ['"text"', /no list of objects/],
  ["[1, 2", /not valid JSON/],
])("json: %s is refused", async (text, message) => {
  await expect(parse(text, "json")).rejects.toThrow(message);
});

test.each([
  ['{"a": NaN}', /NaN and Infinity are no JSON/],
  ['{"a": [1, -Infinity]}', /NaN and Infinity are no JSON/],
  ["{'a': 'b'}", /Python dict/],
  ['{"a": None}', /Python dict/],
  ['{"a": "x NaN", }', /cut short/],
  ['[\n{"a": 1}\n]', /f\.jsonl:1: a line must hold one JSON object[\s\S]*name the file \.json/],
  ['{\n"a": 1\n}', /f\.jsonl:1: [\s\S]*takes several lines/],
])("jsonl: %s is refused with what it is", async (text, message) => {
  await expect(parse(text, "jsonl")).rejects.toThrow(message);
});

test("json: numbers that JavaScript cannot hold stay as they are written; others stay numbers", async () => {
  const numbers = ["9007199254740993", "9007199254740992", "-12345678901234567891", "0.12345678901234567891"];
  const text = `{"a": [${numbers.join(", ")}], "b": "9007199254740993 and 1", "c": 1700000000000000, "d": 0.1234567890123456}`;
  for (const format of ["jsonl", "json"] as const) {
    const { fields } = (await parse(format === "json" ? `[${text}]` : text, format)).rows[0]!;
    expect(fields).toMatchObject({ b: "9007199254740993 and 1", c: 1700000000000000, d: 0.1234567890123456 });
    expect(fields.a).toEqual(numbers);
  }
});

test("csv: a row with a wrong number of fields is named by line, or counted", async () => {
  const text = "a,b\n1,2\n3\n4,5,6\n7,8";
  await expect(parse(text, "csv")).rejects.toThrow(/f.csv:3: this row has another number of fields/);
  const table = await parse(text, "csv", { skipBadRows: true });
  expect([cells(table.rows), table.skipped]).toEqual([
    [
      { a: "1", b: "2" },
      { a: "7", b: "8" },
    ],
    2,
  ]);
});

test.each([
  ["a,a\n1,2", /two columns have the same name/],
  [" , \n1,2", /column 1 has no name/],
  ["", /this file is empty/],
  ["\n\n", /no header/],
  ['a,b\n"1,2', /f.csv:2: a quote is opened here and never closed/],
])("csv: %j is refused", async (text, message) => {
  await expect(parse(text, "csv")).rejects.toThrow(message);
});

test("tsv: a lone quote is a quote; a file without header takes the names given", async () => {
  const table = await parse('he said "no\t1\nyes\t0', "tsv", { header: ["text", "label"] });
  expect(cells(table.rows)).toEqual([
    { text: 'he said "no', label: "1" },
    { text: "yes", label: "0" },
  ]);
});

const written = (codec: "SNAPPY" | "UNCOMPRESSED" | "GZIP" | "BROTLI" = "SNAPPY") =>
  new Uint8Array(
    parquetWriteBuffer({
      columnData: [
        { name: "text", data: ["a", "b\nc", "ü"], type: "STRING" },
        { name: "label", data: [1n, 0n, 2n], type: "INT64" },
        { name: "when", data: [new Date(0), null, new Date(1e12)], type: "TIMESTAMP", nullable: true },
      ],
      codec,
      compressors: { GZIP: (b) => zlib.gzipSync(b), BROTLI: (b) => zlib.brotliCompressSync(b) },
    }),
  );

test.each(["SNAPPY", "UNCOMPRESSED", "GZIP", "BROTLI"] as const)(
  "parquet, %s: texts, integers, dates",
  async (codec) => {
    const table = await parseTable(written(codec), "parquet", "f.parquet");
    expect(table.columns).toEqual(["text", "label", "when"]);
    expect(cells(table.rows)).toEqual([
      { text: "a", label: 1, when: "1970-01-01T00:00:00.000Z" },
      { text: "b\nc", label: 0, when: null },
      { text: "ü", label: 2, when: "2001-09-09T01:46:40.000Z" },
    ]);
    expect(table.rows.map((r) => r.line)).toEqual([1, 2, 3]);
  },
);

const fixture = (name: string) => readTable(join(fixtures, `${name}.parquet`));

test.each(["zstd", "lz4"])("parquet, %s: what pyarrow wrote (test/oracles/parquet.py)", async (codec) => {
  const { rows } = await fixture(codec);
  const texts = Array.from(
    { length: 60 },
    (_, i) => `row ${i}: ${"the same words again and again ".repeat(i % 7)}${[..."é漢😀"].slice(0, i % 4).join("")}`,
  );
  expect(cells(rows)).toEqual(texts.map((text, i) => ({ text, label: i % 3 })));
});

test("parquet: decimals and integers stay exact, dates have no time of day, microseconds stay", async () => {
  const { rows } = await fixture("exact");
  const column = (name: string) => rows.map((r) => r.fields[name]);
  expect(column("decimal38")).toEqual([
    "12345678901234567890123456789012345.678",
    "12345678901234567890123456789012345.679",
    null,
    "-0.001",
  ]);
  expect(column("decimal10")).toEqual(["0.30", "-3.00", "1.10", null]);
  expect(column("int64")).toEqual(["9007199254740993", "9007199254740992", "-9223372036854775808", 1]);
  expect(column("uint64")).toEqual(["18446744073709551615", "18446744073709551614", 0, 1]);
  expect(column("date")).toEqual(["2024-01-02", "1969-12-31", null, "0001-01-01"]);
  expect(column("micros")).toEqual([
    "2024-01-02T03:04:05.678901Z",
    "1969-12-31T23:59:59.999999Z",
    null,
    "2024-01-02T00:00:00.000Z",
  ]);
  expect(column("list")).toEqual([["9007199254740993", 1], [], null, [2]]);
  expect(column("bytes")).toEqual(["abc", "é", null, ""]);
});

test("parquet: no rows, and a row group without rows, are no damage", async () => {
  expect(await fixture("no-rows")).toMatchObject({ columns: ["text", "label"], rows: [] });
  expect((await fixture("empty-group")).rows.map((r) => r.fields.label)).toEqual([0, 1, 2]);
});

/** A zstd frame of one block of one repeated byte, that says it holds `said` bytes (RFC 8878 §3.1). */
const zstdRun = (length: number, said: number | null) => {
  const header = said === null ? [0x00, 0x50] : [0xa0, ...new Uint8Array(Uint32Array.of(said).buffer)];
  const block = 1 | (1 << 1) | (length << 3); // last, run length
  return Uint8Array.from([0x28, 0xb5, 0x2f, 0xfd, ...header, block & 255, (block >> 8) & 255, block >> 16, 0x61]);
};
const zstdPages = (pack: (page: Uint8Array) => Uint8Array) =>
  new Uint8Array(
    parquetWriteBuffer({
      columnData: [{ name: "x", data: Array.from({ length: 50 }, () => "a"), type: "STRING" }],
      codec: "ZSTD",
      compressors: { ZSTD: pack },
    }),
  );

test("parquet: a zstd page that unpacks to more than it says ends with its page, or is refused", async () => {
  const refused = parseTable(
    zstdPages(() => zstdRun(100_000, 100_000)),
    "parquet",
    "f.parquet",
  );
  await expect(refused).rejects.toThrow(/not a readable parquet/);
  // without a size of its own: the page's room bounds it, whatever it makes of the values
  const answer = await readInChild(zstdPages(() => zstdRun(2_000_000, null)));
  expect(JSON.stringify(answer).length).toBeLessThan(100_000);
});

test("lz4: literals, overlapping copies, Hadoop's frames, and lengths that lie", () => {
  // literal "ab", copy of 7 bytes from 2 back; then a last literal "c"
  const block = Uint8Array.of(0x23, 97, 98, 2, 0, 0x10, 99);
  expect(new TextDecoder().decode(unpackLz4(block, 10))).toBe("ababababac");
  expect(unpackLz4(Uint8Array.of(0), 0).length).toBe(0);
  const framed = Uint8Array.of(0, 0, 0, 10, 0, 0, 0, 7, ...block, 0, 0, 0, 10, 0, 0, 0, 7, ...block);
  expect(unpackFramedLz4(framed, 20, unpackLz4)).toEqual(
    Uint8Array.of(...unpackLz4(block, 10), ...unpackLz4(block, 10)),
  );
  expect(unpackFramedLz4(block, 10, unpackLz4)).toEqual(unpackLz4(block, 10));
  for (const [bad, length] of [
    [[0x23, 97, 98, 3, 0], 9], // copies from before the beginning
    [[0x23, 97, 98, 0, 0], 9],
    [[0x30, 97], 3], // a literal cut short
    [[0xf0, 255, 255, 255], 9], // a length without an end
    [[0x23, 97, 98, 2], 9],
    [[0x20, 97, 98], 1], // too many bytes
    [[0x20, 97, 98], 3], // too few
    [[0x2f, 97, 98, 2, 0, 255, 255, 255, 0], 9], // a copy of 800 bytes
    [[], 1],
  ] as const)
    expect(() => unpackLz4(Uint8Array.from(bad), length)).toThrow(/packed data/);
});

test("parquet: a torn file, another file and a lying footer are refused", async () => {
  const whole = written();
  const refuse = (b: Uint8Array) =>
    expect(parseTable(b, "parquet", "f.parquet")).rejects.toThrow(/f.parquet: not a readable parquet/);
  await refuse(whole.subarray(0, whole.length - 5));
  await refuse(bytes("version https://git-lfs.github.com/spec/v1\n"));
  await refuse(new Uint8Array(8));
  const lying = whole.slice();
  new DataView(lying.buffer).setUint32(lying.length - 8, 0xfffffff0, true);
  await refuse(lying);
});

test("parquet: a page that claims more values than it has bytes and rows for is refused before it is decoded", async () => {
  const data = Array.from({ length: 100 }, () => null);
  const whole = new Uint8Array(
    parquetWriteBuffer({ columnData: [{ name: "x", data, type: "INT32", nullable: true }], codec: "UNCOMPRESSED" }),
  );
  expect((await parseTable(whole, "parquet", "f.parquet")).rows.length).toBe(100);
  // the page's header is the first to say 100 (a zigzag varint, c8 01); 8191 is as long
  const at = whole.findIndex((byte, i) => byte === 0xc8 && whole[i + 1] === 0x01);
  const lying = whole.slice();
  lying.set([0xfe, 0x7f], at);
  await expect(parseTable(lying, "parquet", "f.parquet")).rejects.toThrow(/more values than its bytes[\s\S]*8191/);
});

test("files: format by ending, sha256, missing files", async () => {
  const folder = await mkdtemp(join(tmpdir(), "softprompt-table-"));
  const path = join(folder, "x.csv");
  await writeFile(path, "a\n1\n");
  const table = await readTable(path);
  expect(table.sha256).toBe("309b0e45a73d3fc5325e2b6ed0a01ef8b9cde6b05a5633c1f893f970d52bfddc"); // sha256sum's answer
  expect(cells(table.rows)).toEqual([{ a: "1" }]);
  await expect(readTable(join(folder, "none.csv"))).rejects.toThrow(/no such file/);
  expect(formatOf("A.JSONL")).toBe("jsonl");
  expect(() => formatOf("x.jsnl")).toThrow(/is it a .jsonl file/);
});

test("snappy: a literal, an overlapping copy, and lengths that lie", () => {
  // length 9; literal "ab" (tag (2-1)<<2); copy of 7 bytes from 2 back (kind 1: (7-4)<<2 | 1, then 2)
  expect(new TextDecoder().decode(unpackSnappy(Uint8Array.of(9, 4, 97, 98, 13, 2), 9))).toBe("ababababa");
  expect(unpackSnappy(Uint8Array.of(0), 0).length).toBe(0);
  for (const bad of [
    [9, 4, 97, 98, 13, 3], // copies from before the beginning
    [9, 4, 97, 98, 13, 0],
    [2, 4, 97], // a literal cut short
    [9, 252, 255, 255, 255, 255, 97], // a literal of four gigabytes
    [3, 4, 97, 98], // too few bytes
    [1, 4, 97, 98], // too many
    [255, 255, 255, 255, 255, 255],
    [],
  ])
    expect(() => unpackSnappy(Uint8Array.from(bad), bad[0] ?? 0)).toThrow(/packed data/);
});

test("parquet: the memory that a file is given follows what it claims, and has a bound", () => {
  expect(limitsFor({ unpacked: 0, values: 0 }).heapMb).toBe(256);
  // 400,000 rows of eight columns, 100 MB of text
  expect(limitsFor({ unpacked: 1e8, values: 3.2e6 }).heapMb).toBe(1876);
  expect(limitsFor({ unpacked: 2 ** 31, values: 5e7 }).heapMb).toBe(4096);
});

test("the process that decodes parquet: a deadline, a heap, and damaged bytes end it, not us", async () => {
  const limits = { heapMb: 512, seconds: 60, secondsPerMb: 0 };
  expect(await readInChild(written(), limits)).toMatchObject({ records: [{ text: "a" }, {}, {}] });
  expect(await readInChild(written(), { ...limits, seconds: 0 })).toEqual({
    problem: "reading it takes more than 0 seconds",
  });
  expect(await readInChild(written(), { ...limits, heapMb: 1 })).toEqual({
    problem: "reading it needs more than 1 MB, or its pages are damaged",
  });
  expect(await readInChild(bytes("PAR1 no PAR1"), limits)).toHaveProperty("problem");
});
