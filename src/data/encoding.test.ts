import { expect, test } from "vitest";
import { afterLine, lineEnd, toText } from "./encoding.js";
import { parseTable } from "./table.js";

const utf16 = (text: string, big = false) => {
  const bytes = Buffer.from(`\ufeff${text}`, "utf16le");
  return big ? bytes.swap16() : bytes;
};

test("UTF-8 and UTF-16, by their byte order marks", () => {
  for (const bytes of [Buffer.from("é 😀"), Buffer.from("\ufeffé 😀"), utf16("é 😀"), utf16("é 😀", true)])
    expect(toText(bytes, "f")).toBe("é 😀");
});

test.each(["csv", "tsv", "jsonl", "json"] as const)("a %s file in UTF-16 is read", async (format) => {
  const text = {
    csv: "text,label\r\né,1\r\n",
    tsv: "text\tlabel\r\né\t1\r\n",
    jsonl: '{"text": "é", "label": "1"}\r\n',
    json: '[{"text": "é", "label": "1"}]',
  }[format];
  for (const big of [false, true]) {
    const table = await parseTable(utf16(text, big), format, `f.${format}`);
    expect(table.rows.map((r) => ({ ...r.fields }))).toEqual([{ text: "é", label: "1" }]);
  }
});

test("Latin-1 is refused by line with what the byte would be; UTF-16 without a mark, or cut short, is refused", () => {
  expect(() => toText(Buffer.from("a\r\nb\rcaf\xe9\n", "latin1"), "f.csv")).toThrow(
    /f\.csv:3: this is not valid UTF-8[\s\S]*é[\s\S]*iconv/,
  );
  expect(() => toText(Buffer.from("a,b\n1,2\n", "utf16le"), "f.csv")).toThrow(/UTF-16 without a byte order mark/);
  expect(() => toText(utf16("ab").subarray(0, 5), "f.csv")).toThrow(/begins as UTF-16 and is none/);
});

test("lines end at LF, CRLF, CR, or with the bytes", () => {
  const bytes = Buffer.from("a\nbb\r\n\rccc\r\r\nd");
  const lines: string[] = [];
  for (let from = 0; from < bytes.length; ) {
    const end = lineEnd(bytes, from);
    lines.push(bytes.toString("utf8", from, end));
    from = afterLine(bytes, end);
  }
  expect(lines).toEqual(["a", "bb", "", "ccc", "", "d"]);
});

test("lines that end in CR alone take no quadratic time", () => {
  const bytes = Uint8Array.from(Buffer.from(`${"x".repeat(50)}\r`.repeat(40_000)));
  const began = performance.now();
  let lines = 0;
  for (let from = 0; from < bytes.length; from = afterLine(bytes, lineEnd(bytes, from))) lines++;
  expect(lines).toBe(40_000);
  expect(performance.now() - began).toBeLessThan(1000);
});
