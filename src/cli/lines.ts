/**
 * @file Lines of standard input as they come: UTF-8, or UTF-16 that begins with a byte order mark.
 *
 * In: bytes. Out: numbered lines; a line that is not valid text gives an error at its place, so that the lines before it can be answered.
 */
import { interrupted, SoftpromptError } from "../base/errors.js";

export interface Line {
  /** From 1. */
  readonly number: number;
  /** Without its line end. */
  readonly text: string | SoftpromptError;
}

/** Limit of a line's length. */
const mostBytes = 16 * 1024 * 1024;

const lineFeed = 0x0a;
const nothing = new Uint8Array(0);

/** @param where names the input in errors. @throws SoftpromptError "interrupted", "data" (no end of a line in sight). */
export async function* linesOf(
  source: AsyncIterable<Uint8Array>,
  where: string,
  signal: AbortSignal,
): AsyncGenerator<Line, void, undefined> {
  let number = 0;
  let waiting: Uint8Array = nothing;
  for await (const chunk of asUtf8(untilAborted(source, where, signal), where)) {
    const bytes = joined(waiting, chunk);
    let from = 0;
    for (let end = bytes.indexOf(lineFeed); end >= 0; end = bytes.indexOf(lineFeed, from)) {
      yield lineFrom(bytes.subarray(from, end), ++number, where);
      from = end + 1;
    }
    waiting = bytes.slice(from);
    if (waiting.length > mostBytes)
      throw new SoftpromptError("data", "this line is too long", {
        where: `${where}:${number + 1}`,
        expected: `at most ${mostBytes} bytes`,
      });
  }
  if (waiting.length > 0) yield lineFrom(waiting, ++number, where);
}

const utf8 = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

function lineFrom(bytes: Uint8Array, number: number, where: string): Line {
  const refused = (problem: string, hint: string): Line => ({
    number,
    text: new SoftpromptError("data", problem, { where: `${where}:${number}`, expected: "UTF-8", hint }),
  });
  let text: string;
  try {
    text = utf8.decode(bytes);
  } catch {
    return refused("this line is not valid UTF-8", "for Latin-1: iconv -f latin1 -t utf-8");
  }
  if (text.includes("\0"))
    return refused("this line holds NUL bytes", "for UTF-16 without a mark: iconv -f utf-16le -t utf-8");
  return { number, text: text.endsWith("\r") ? text.slice(0, -1) : text };
}

/** The byte order marks, longest first where one begins another. */
const marks = [
  { bytes: [0xef, 0xbb, 0xbf], encoding: "utf-8" },
  { bytes: [0xff, 0xfe], encoding: "utf-16le" },
  { bytes: [0xfe, 0xff], encoding: "utf-16be" },
] as const;

/**
 * The bytes without a mark, in UTF-8. Bytes are held back only while they may be the begin of a mark, because the first line from a
 * terminal may be short.
 */
async function* asUtf8(source: AsyncIterable<Uint8Array>, where: string): AsyncGenerator<Uint8Array> {
  let head: Uint8Array | null = nothing;
  let wide: InstanceType<typeof TextDecoder> | null = null;
  const decoded = (bytes?: Uint8Array): Uint8Array => {
    try {
      return Buffer.from(bytes ? wide!.decode(bytes, { stream: true }) : wide!.decode());
    } catch (cause) {
      throw new SoftpromptError("data", "this is not valid UTF-16", { where, cause });
    }
  };
  for await (const chunk of source) {
    if (head === null) {
      yield wide ? decoded(chunk) : chunk;
      continue;
    }
    head = joined(head, chunk);
    const begun = head;
    const matches = (mark: (typeof marks)[number], length: number) =>
      mark.bytes.slice(0, length).every((byte, i) => byte === begun[i]);
    if (marks.some((mark) => begun.length < mark.bytes.length && matches(mark, begun.length))) continue;
    const mark = marks.find((known) => matches(known, known.bytes.length));
    if (mark !== undefined && mark.encoding !== "utf-8")
      wide = new TextDecoder(mark.encoding, { fatal: true, ignoreBOM: true });
    const rest = begun.subarray(mark?.bytes.length ?? 0);
    head = null;
    yield wide ? decoded(rest) : rest;
  }
  if (head !== null) yield head;
  if (wide) yield decoded();
}

/** Ends at a signal, even if the source stays open. */
async function* untilAborted(
  source: AsyncIterable<Uint8Array>,
  where: string,
  signal: AbortSignal,
): AsyncGenerator<Uint8Array> {
  const iterator = source[Symbol.asyncIterator]();
  let leave = () => {};
  const aborted = new Promise<"aborted">((resolve) => {
    leave = () => resolve("aborted");
    signal.addEventListener("abort", leave, { once: true });
  });
  if (signal.aborted) leave();
  try {
    for (;;) {
      const found = await Promise.race([iterator.next(), aborted]);
      if (found === "aborted") throw interrupted(signal, "stopped before the end of the input", { where });
      if (found.done) return;
      yield found.value;
    }
  } finally {
    signal.removeEventListener("abort", leave);
  }
}

function joined(a: Uint8Array, b: Uint8Array): Uint8Array {
  return a.length === 0 ? b : Buffer.concat([a, b]);
}
