import { expect, test } from "vitest";
import { toText } from "./encoding.js";
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
