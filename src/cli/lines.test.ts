/** @file Lines of standard input: encodings, line ends, and errors in their place, however the bytes are cut. */
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { SoftpromptError } from "../base/errors.js";
import { linesOf } from "./lines.js";

async function read(bytes: Uint8Array, cuts: readonly number[] = []): Promise<string[]> {
  async function* source() {
    const ends = [...new Set(cuts.map((n) => n % (bytes.length + 1)))].sort((a, b) => a - b);
    let from = 0;
    for (const end of [...ends, bytes.length]) {
      if (end > from) yield bytes.subarray(from, end);
      from = end;
    }
  }
  const found: string[] = [];
  for await (const { number, text } of linesOf(source(), "stdin", new AbortController().signal)) {
    expect(number).toBe(found.length + 1);
    found.push(text instanceof SoftpromptError ? `${text.kind}: ${text.parts.where}: ${text.problem}` : text);
  }
  return found;
}

const swapped = (text: string) => Buffer.from(text, "utf16le").swap16();

describe("encodings", () => {
  const text = "süß\r\n\n𝄞 clef\nlast";
  const lines = ["süß", "", "𝄞 clef", "last"];
  test.each([
    ["UTF-8", Buffer.from(text)],
    ["UTF-8 with a mark", Buffer.from(`\ufeff${text}`)],
    ["UTF-16, little end first", Buffer.from(`\ufeff${text}`, "utf16le")],
    ["UTF-16, big end first", swapped(`\ufeff${text}`)],
  ])("%s, cut anywhere", async (_, bytes) => {
    await fc.assert(
      fc.asyncProperty(fc.array(fc.nat(200)), async (cuts) => {
        expect(await read(bytes, cuts)).toEqual(lines);
      }),
    );
  });
  test("Latin-1 and unmarked UTF-16 are refused by line; the lines around them are read", async () => {
    expect(await read(Buffer.from("one\ncaf\xe9\nthree", "latin1"))).toEqual([
      "one",
      "data: stdin:2: this line is not valid UTF-8",
      "three",
    ]);
    expect((await read(Buffer.from("fine\n", "utf16le")))[0]).toMatch(/^data: stdin:1: this line holds NUL bytes/);
  });
});

test("a short first line is given at once, unless it may be the beginning of a mark", async () => {
  let more = () => {};
  async function* source() {
    yield Buffer.from("a\n");
    await new Promise<void>((done) => {
      more = done;
    });
    yield Buffer.from("b\n");
  }
  const lines = linesOf(source(), "stdin", new AbortController().signal);
  expect((await lines.next()).value).toEqual({ number: 1, text: "a" });
  const second = lines.next();
  await new Promise((later) => setTimeout(later, 0));
  more();
  expect((await second).value).toEqual({ number: 2, text: "b" });
});

test("a signal ends the reading though the source stays open", async () => {
  const interrupt = new AbortController();
  async function* source(): AsyncGenerator<Uint8Array> {
    yield Buffer.from("a\n");
    await new Promise(() => {});
  }
  const lines = linesOf(source(), "stdin", interrupt.signal);
  await lines.next();
  const next = lines.next();
  interrupt.abort("SIGHUP");
  await expect(next).rejects.toMatchObject({ kind: "interrupted", exitCode: 129 });
});
