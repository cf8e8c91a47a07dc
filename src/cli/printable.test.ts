/** @file What reaches a terminal: no control characters of users, our colours, lines and tables within its width. */
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { plainTable } from "../report/markdown.js";
import { colorsFor, columnsOf, cutTo, forTerminal, tablesWithin } from "./printable.js";

const c = colorsFor(true);

test("users' control characters become escapes; our colours become real", () => {
  const data = "\x1b[31mred\x1b]0;title\x07 back\b\x7f \x9b2J \u202eturned";
  expect(forTerminal(data)).toBe("\\u001b[31mred\\u001b]0;title\\u0007 back\\u0008\\u007f \\u009b2J \\u202eturned");
  expect(forTerminal(`${c.red("x")} ${data}`).startsWith("\x1b[31mx\x1b[39m \\u001b[31m")).toBe(true);
  expect(forTerminal("a\tb\nc")).toBe("a\tb\nc");
});

test("no text makes an escape sequence, whatever it holds", () => {
  fc.assert(
    fc.property(fc.string({ unit: "binary" }), (text) => {
      // biome-ignore lint/suspicious/noControlCharactersInRegex: the point of the test
      expect(forTerminal(text)).not.toMatch(/[\x00-\x08\x0b-\x1f\x7f-\x9f]/);
    }),
  );
});

test("an escape inside JSON means what it stood for", () => {
  const value = { text: "a\x7f\u202eb" };
  expect(JSON.parse(forTerminal(JSON.stringify(value)))).toEqual(value);
});

test("a cut line fits, with its colours closed; wide characters count two", () => {
  fc.assert(
    fc.property(
      fc.string({ unit: fc.constantFrom("a", "é", "日", " ") }),
      fc.integer({ min: 1, max: 60 }),
      (text, n) => {
        const line = `${c.green("▁▂▃")} ${text}`;
        expect(columnsOf(cutTo(line, n))).toBeLessThanOrEqual(n);
        if (columnsOf(line) > n) expect(forTerminal(cutTo(line, n))).toMatch(/…/);
        expect(cutTo(line, n).split(c.green("|").split("|")[1]!)).toHaveLength(2);
      },
    ),
  );
  expect(columnsOf("日本")).toBe(4);
});

describe("tables", () => {
  const long = "a label of very many words ".repeat(5).trim();
  const table = plainTable([
    ["true \\ said", long, "short", "no label"],
    [long, "12", "3", "0"],
    ["short", "1", "45", "0"],
  ]);
  test("are cut at their widest cells, and the numbers stay", () => {
    const cut = tablesWithin(table, 60).split("\n");
    expect(cut.every((line) => columnsOf(line) <= 60)).toBe(true);
    expect(cut[1]).toMatch(/^a label .*… +12 +3 +0$/);
    expect(cut[2]).toMatch(/^short +1 +45 +0$/);
  });
  test("with more columns than the terminal has room for go on in a second part, the first column in both", () => {
    const confusion = plainTable([
      ["true \\ said", "billing", "bug", "feature", "login", "shipping", "no label"],
      ["billing", "1", "2", "3", "4", "5", "6"],
      ["shipping", "11", "12", "13", "14", "15", "16"],
    ]);
    for (const columns of [30, 40, 50]) {
      const found = tablesWithin(confusion, columns);
      const lines = found.split("\n");
      expect(lines.every((line) => columnsOf(line) <= columns)).toBe(true);
      const parts = found.split("\n\n").map((part) => part.split("\n").map((line) => line.trim().split(/ {2,}/)));
      expect(parts.length > 1).toBe(columns < 50);
      const joined = [0, 1, 2].map((row) => parts.flatMap((part) => part[row]!.slice(1)));
      expect(joined[1]).toEqual(["1", "2", "3", "4", "5", "6"]);
      expect(joined[2]).toEqual(["11", "12", "13", "14", "15", "16"]);
      for (const [n, head] of ["billing", "bug", "feature", "login", "shipping", "no label"].entries())
        expect(head.startsWith(joined[0]![n]!.replace("…", ""))).toBe(true);
      for (const part of parts) expect(part.map(([first]) => first!.slice(0, 4))).toEqual(["true", "bill", "ship"]);
    }
    expect(tablesWithin(confusion, 80)).toBe(confusion);
  });
  test("that fit, sentences and paths are left as they are", () => {
    const text = `${plainTable([
      ["a", "b", "c"],
      ["1", "2", "3"],
    ])}\n\nrun      /a/${"very/".repeat(40)}long/path\n${"word ".repeat(60)}`;
    expect(tablesWithin(text, 60)).toBe(text);
  });
  test("in Markdown too", () => {
    const wide = `| task | ${"method ".repeat(20)} | score |\n| --- | --- | --: |\n| rte | x | 65.6 |`;
    for (const line of tablesWithin(wide, 50).split("\n")) expect(columnsOf(line)).toBeLessThanOrEqual(50);
  });
});
