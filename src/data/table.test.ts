import { mkdtemp, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import * as zlib from "node:zlib";
import { parquetWriteBuffer } from "hyparquet-writer";
import { expect, test } from "vitest";
import { limitsFor, readInChild } from "./parquet-child.js";
import type { TableOptions } from "./rows.js";
import { unpackSnappy } from "./snappy.js";
import { formatOf, parseTable, readTable, type TableFormat } from "./table.js";

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
