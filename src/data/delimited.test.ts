/** @file Delimited text: csv-parse is the authority for what a field is; lines are counted by splitting the text. */
import { parse } from "csv-parse/sync";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { readRecords, recordText, sniff } from "./delimited.js";

const records = (text: string, dialect = { delimiter: ",", quotes: true }) => [...readRecords(text, dialect)];
const fields = (text: string, delimiter = ",", quotes = true) =>
  records(text, { delimiter, quotes }).map((r) => r.fields);

test("what is written is read back, by csv-parse and by us", () => {
  fc.assert(
    fc.property(
      fc
        .integer({ min: 1, max: 4 })
        .chain((n) => fc.array(fc.array(cell, { minLength: n, maxLength: n }), { minLength: 1 })),
      fc.constantFrom(",", "\t"),
      (rows, delimiter) => {
        const text = rows.map((row) => `${recordText(row, delimiter)}\n`).join("");
        expect(parse(text, { delimiter, record_delimiter: "\n" })).toEqual(rows);
        expect(fields(text, delimiter)).toEqual(rows);
        expect(records(text, { delimiter, quotes: true }).every(({ problem }) => problem === null)).toBe(true);
      },
    ),
  );
  expect(recordText(['say "no"', "a,b", "c"], ",")).toBe('"say ""no""","a,b",c');
});

/** A field as a writer writes it. */
const written = (field: string, delimiter: string) =>
  /["\r\n]/.test(field) || field.includes(delimiter) || field === "" || /^\s/.test(field)
    ? `"${field.replaceAll('"', '""')}"`
    : field;

const cell = fc.string({
  unit: fc.constantFrom("a", "b", "é", '"', '""', ",", ";", "\t", " ", "\n", "\r\n", "\r", "|", "😀"),
  maxLength: 8,
});

test("fields are those of csv-parse, whatever the line ends and separators", () => {
  fc.assert(
    fc.property(
      fc.array(fc.array(cell, { minLength: 2, maxLength: 4 }), { minLength: 1, maxLength: 6 }),
      fc.constantFrom(",", ";", "\t", "|"),
      fc.constantFrom("\n", "\r\n", "\r"),
      (rows, delimiter, end) => {
        const text = rows.map((row) => row.map((c) => written(c, delimiter)).join(delimiter) + end).join("");
        const theirs: string[][] = parse(text, { delimiter, record_delimiter: end, relax_column_count: true });
        expect(fields(text, delimiter)).toEqual(theirs);
        expect(theirs).toEqual(rows);
      },
    ),
    { numRuns: 500 },
  );
});

test("every record is named by the line it begins in, also with mixed line ends and breaks inside quotes", () => {
  const ends = fc.constantFrom("\n", "\r\n", "\r");
  fc.assert(
    fc.property(
      fc.array(fc.tuple(fc.array(cell, { minLength: 2, maxLength: 3 }), ends, fc.nat(2)), {
        minLength: 1,
        maxLength: 6,
      }),
      (rows) => {
        let text = "";
        const lines: number[] = [];
        for (const [row, end, blank] of rows) {
          lines.push(text.split(/\r\n|\n|\r/).length);
          text += row.map((c) => written(c, ",")).join(",") + end + end.repeat(blank);
        }
        expect(records(text).map((r) => [r.line, r.problem])).toEqual(lines.map((line) => [line, null]));
      },
    ),
    { numRuns: 500 },
  );
  expect(records('text,label\r\n"a\r\nb\r\nc",1\r\nfine,0\nmore,1\r"x\ny",2').map((r) => r.line)).toEqual([
    1, 2, 5, 6, 7,
  ]);
});

test("a quote that is never closed is named where it opens, and costs one row", () => {
  const found = records('text,label\nfine,1\n"open,0\nnext,1\n');
  expect(found.map((r) => [r.line, r.problem?.line ?? null])).toEqual([
    [1, null],
    [2, null],
    [3, 3],
    [4, null],
  ]);
  expect(found[2]!.problem!.text).toMatch(/opened here and never closed/);
  // opened in the second line of its record
  expect(records('a,"b\nc","d\ne\n')[0]!.problem).toMatchObject({ line: 2 });
  expect(records('"a" b,1\nc,2')[0]!.problem!.text).toMatch(/closes in the middle/);
  expect(records('a, "b, c"')[0]!.problem!.text).toMatch(/behind a blank/);
});

test("a quote inside a field that does not begin with one is text", () => {
  expect(fields('19" shelf,1\n')).toEqual([['19" shelf', "1"]]);
  expect(fields('"a,b\n', ",", false)).toEqual([['"a', "b"]]);
});

describe("the separator", () => {
  test.each([
    ["semicolons with commas in the texts", "text;label\ngood, yes;a\nbad;b\n", ",", ";"],
    ["bars", "text|label\na|1\n", ",", "|"],
    ["tabs in a csv", "text\tlabel\na, b\t1\n", ",", "\t"],
    ["commas in a tsv", "text,label\na,1\n", "\t", ","],
    ["one column stays one", "text\nGreat, really\nfine; so\n", ",", ","],
    ["commas where both would do", "a;b,c\n1;2,3\n", ",", ","],
    ["a comma in a heading", "id;text, long;label\n1;a;x\n2;b;y\n", ",", ";"],
    ["quoted fields", 'text;label\n"a; ""b""\nc";1\n', ",", ";"],
    ["said by the file", "sep=;\na;b\n1;2\n", ",", ";"],
    ["said by the file against what fits", "sep=|\na,b|c\n1,2|3\n", ",", "|"],
  ])("%s", (_, text, usual, expected) => {
    const found = sniff(text, usual, {});
    expect(found.delimiter).toBe(expected);
    expect(found.notices.length).toBe(usual === expected ? 0 : 1);
  });
  test("what the user says counts, and the line that says it is no record", () => {
    expect(sniff("a;b\n", ",", { delimiter: "," }).delimiter).toBe(",");
    const said = sniff("sep=;\r\na;b\r\n", ",", {});
    expect([...readRecords("sep=;\r\na;b\r\n", said, said.start)].map((r) => [r.line, r.fields])).toEqual([
      [2, ["a", "b"]],
    ]);
  });
  test("without a header line the number of names decides", () =>
    expect(sniff("a,b;1\nc;2\n", ",", {}, 2).delimiter).toBe(";"));
});

describe("quotes in tab-separated text", () => {
  const quotes = (text: string) => sniff(text, "\t", {}).quotes;
  test.each([
    ["doubled quotes, as pandas writes them", 'text\tlabel\n"he said ""good"""\t1\nplain\t2\n', true],
    ["a tab or a line break in quotes", 'text\tlabel\n"a\tb"\t1\n', true],
    ["every field", '"text"\t"label"\n"a"\t"1"\n', true],
    ["fields with commas, as sheets write them", 'text\tlabel\n"a, b"\t1\nc\t2\n', true],
    ["lone quotes, as in GLUE", 'text\tlabel\nhe said "no\t1\n', false],
    ["a lone quote at a beginning", 'text\tlabel\n"no\t1\nyes\t2\n', false],
    ["two lone quotes that would pair up", 'text\tlabel\n"a\t1\nb"\t2\n', false],
    ["a doubled quote beside a lone one", 'text\tlabel\n"a ""b"""\t1\nx" y\t2\n', false],
    ["none", "text\tlabel\na\t1\n", false],
  ])("%s", (_, text, expected) => expect(quotes(text)).toBe(expected));
  test("what cannot be told is said", () => {
    const found = sniff('text\tlabel\n"word"\t1\nplain\t2\n', "\t", {});
    expect([found.quotes, found.notices.length]).toEqual([false, 1]);
  });
});
