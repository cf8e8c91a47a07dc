import { expect, test } from "vitest";
import { SoftpromptError } from "./errors.js";
import { codePoints, printable, printableColoured, printableLine } from "./printable.js";

const hostile = "a\x1b[2Jb\x1b]0;title\x07c\bd\x7fe\x9bf\u202eg\rh";
const shown = "a\\u001b[2Jb\\u001b]0;title\\u0007c\\u0008d\\u007fe\\u009bf\\u202eg\\u000dh";

test("control characters are shown as escapes; line breaks, tabs and other scripts stay", () => {
  expect(printable(hostile)).toBe(shown);
  expect(printable("é 漢字 😀\tx\ny")).toBe("é 漢字 😀\tx\ny");
  expect(printableLine("x\ty\nz")).toBe("x\\ty\\nz");
});

test("a line of JSON means the same after escaping", () => {
  const line = JSON.stringify({ text: hostile });
  expect(JSON.parse(printable(line))).toEqual({ text: hostile });
});

test("our own colours stay, other sequences do not", () => {
  expect(printableColoured(`\x1b[1mbold\x1b[22m ${hostile}`)).toBe(`\x1b[1mbold\x1b[22m ${shown}`);
});

test("an error's message holds no control character, wherever the text of a user stands in it", () => {
  const { message } = new SoftpromptError("data", `no column ${hostile}`, {
    where: hostile,
    expected: hostile,
    got: hostile,
    hint: hostile,
  });
  expect(printable(message)).toBe(message);
});

test("code points tell a composed letter from a decomposed one", () => {
  expect([codePoints("é"), codePoints("e\u0301"), codePoints("a\u200b")]).toEqual([
    "U+00E9",
    "U+0065 U+0301",
    "U+0061 U+200B",
  ]);
});
