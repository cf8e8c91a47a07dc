/**
 * @file Bytes of a text file as text: UTF-8, or UTF-16 that says so by its byte order mark.
 *
 * In: bytes. Out: text, or UTF-8 bytes without a mark. Anything else is refused with the line of the first
 * bad byte: read as UTF-8 it would lose letters silently, and guessing an encoding would lose other ones.
 */
import { SoftpromptError } from "../base/errors.js";

type Encoding = "utf-8" | "utf-16le" | "utf-16be";

/** The encoding that a file's first bytes say, and the length of its byte order mark. */
function encodingOf(bytes: Uint8Array): { encoding: Encoding; mark: number } {
  const [a, b, c] = bytes;
  if (a === 0xef && b === 0xbb && c === 0xbf) return { encoding: "utf-8", mark: 3 };
  if (a === 0xff && b === 0xfe) return { encoding: "utf-16le", mark: 2 };
  if (a === 0xfe && b === 0xff) return { encoding: "utf-16be", mark: 2 };
  return { encoding: "utf-8", mark: 0 };
}

/** The bytes as UTF-8 without a byte order mark; UTF-8 itself is not checked here. Throws SoftpromptError (data). */
export function toUtf8(bytes: Uint8Array, where: string): Uint8Array {
  const { encoding, mark } = encodingOf(bytes);
  const body = bytes.subarray(mark);
  if (encoding === "utf-8") {
    refuseZeros(body, where);
    return body;
  }
  try {
    return Buffer.from(new TextDecoder(encoding, { fatal: true }).decode(body));
  } catch (cause) {
    throw new SoftpromptError("data", "this file begins as UTF-16 and is none", {
      where,
      hint: "it may be cut short; save it as UTF-8",
      cause,
    });
  }
}

/** A whole file as text. Throws SoftpromptError (data) naming the first line that is not UTF-8. */
export function toText(bytes: Uint8Array, where: string): string {
  const body = toUtf8(bytes, where);
  try {
    return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(body);
  } catch (cause) {
    const { line, at } = firstBad(body);
    throw notUtf8(`${where}:${line}`, body.subarray(at), cause);
  }
}

/** "This is not valid UTF-8", with what the bytes say in the encoding that is likely. @param rest from the first bad byte on, or before it */
export function notUtf8(where: string, rest: Uint8Array, cause?: unknown): SoftpromptError {
  const high = rest.findIndex((byte) => byte >= 0x80);
  const byte = rest[high];
  const letter = byte === undefined ? "" : new TextDecoder("windows-1252").decode(Uint8Array.of(byte));
  return new SoftpromptError("data", "this is not valid UTF-8", {
    where,
    got:
      byte === undefined
        ? undefined
        : `byte 0x${byte.toString(16)}, which is ${JSON.stringify(letter)} in Windows-1252`,
    hint: "save the file as UTF-8; if it is Latin-1: iconv -f WINDOWS-1252 -t UTF-8 FILE",
    cause,
  });
}

/** UTF-16 without its mark is mostly valid UTF-8, full of zeros. */
function refuseZeros(bytes: Uint8Array, where: string): void {
  const head = bytes.subarray(0, 512);
  const zeros = head.reduce((n, byte) => n + Number(byte === 0), 0);
  if (zeros * 4 > head.length)
    throw new SoftpromptError("data", "this is not a text file in UTF-8", {
      where,
      got: `${zeros} zeros in the first ${head.length} bytes`,
      hint: "it looks like UTF-16 without a byte order mark, or like a binary file; save it as UTF-8",
    });
}

/** The first line that is not UTF-8, and where it begins. */
function firstBad(bytes: Uint8Array): { line: number; at: number } {
  const decoder = new TextDecoder("utf-8", { fatal: true });
  let line = 1;
  let from = 0;
  for (; from < bytes.length; line++) {
    const end = lineEnd(bytes, from);
    try {
      decoder.decode(bytes.subarray(from, end));
    } catch {
      break;
    }
    from = afterLine(bytes, end);
  }
  return { line, at: from };
}

/** Where the line that begins at `from` ends: at LF, CRLF or CR, or with the bytes. */
export function lineEnd(bytes: Uint8Array, from: number): number {
  // one pass over the line alone: a search for LF would run to the file's end for every line that ends in CR
  let end = from;
  while (end < bytes.length && bytes[end] !== 0x0a && bytes[end] !== 0x0d) end++;
  return end;
}

/** Where the next line begins. */
export function afterLine(bytes: Uint8Array, end: number): number {
  return end + (bytes[end] === 0x0d && bytes[end + 1] === 0x0a ? 2 : 1);
}
