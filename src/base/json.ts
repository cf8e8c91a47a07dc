/**
 * @file Untrusted JSON: bounded, without duplicate keys, without surprises.
 *
 * In: text or bytes of an untrusted file. Out: the parsed value, or a SoftpromptError naming the place.
 * `JSON.parse` alone takes the last of two equal keys and lets a megabyte of "[" become a gigabyte of arrays; one scan
 * before it refuses both. Parsed objects hold `__proto__` as an own property, so read them with `own`, never by `in`.
 */
import { type ErrorKind, SoftpromptError } from "./errors.js";

/** What one document may hold. */
export interface JsonLimits {
  /** Characters. */
  length: number;
  /** Nested objects and arrays. */
  depth: number;
  /** Objects and arrays altogether; bounds memory, as an empty one costs two characters but tens of bytes. */
  containers: number;
}

export const jsonLimits: JsonLimits = { length: 25_000_000, depth: 32, containers: 400_000 };

/** For a document that holds every evaluation or curve of long runs: there may be a million. */
export const longRunLimits: Partial<JsonLimits> = { length: 256 * 2 ** 20, containers: 4_000_000 };

/** A JSON object. */
export type JsonObject = Readonly<Record<string, unknown>>;

/** Parses one JSON document; `where` names it in errors of kind `kind`. */
export function parseJson(text: string, where: string, kind: ErrorKind, limits: Partial<JsonLimits> = {}): unknown {
  const most = { ...jsonLimits, ...limits };
  const refuse = (problem: string, expected?: string, got?: unknown): never => {
    throw new SoftpromptError(kind, problem, { where, expected, got });
  };
  if (text.length > most.length)
    refuse("this JSON is too long", `at most ${most.length} characters`, `${text.length} characters`);
  scan(text, most, refuse);
  try {
    return JSON.parse(text);
  } catch (cause) {
    throw new SoftpromptError(kind, "this is not valid JSON", {
      where,
      got: cause instanceof Error ? cause.message : text.slice(0, 60),
      hint: hintFor(text),
      cause,
    });
  }
}

/** A guess at why a text is not valid JSON, for the hint of an error. Strings inside it are not examined. */
function hintFor(text: string): string {
  const bare = text.slice(0, 1_000_000).replace(/"(?:[^"\\]|\\.)*"/g, '""');
  if (/[:[,]\s*[+-]?(NaN|Infinity|nan|inf)\b/.test(bare))
    return "NaN and Infinity are no JSON, though Python writes them: write null, or leave the key out";
  if (bare.includes("\ufeff")) return "a byte order mark stands inside: files were joined; take it out";
  if (/[{,]\s*'[^']*'\s*:/.test(bare) || /:\s*(True|False|None)\b/.test(bare))
    return 'this looks like a Python dict: write it with json.dumps, keys and texts in "…"';
  return "the file may be cut short or not be JSON at all (a Git LFS pointer, an error page)";
}

/** From so many digits on, JavaScript may not represent a number exactly. */
const longNumber = /\d{16}/;

/**
 * JSON in which numbers that JavaScript cannot represent exactly are strings, as they are written. Otherwise 9007199254740993 would
 * silently become 9007199254740992. Everything else stays as it is, even if it is not valid JSON.
 */
export function exactNumbers(text: string): string {
  if (!longNumber.test(text)) return text;
  const parts: string[] = [];
  let copied = 0;
  for (let at = 0; at < text.length; ) {
    const c = text.charCodeAt(at);
    if (c === 0x22) at = stringEnd(text, at) + 1;
    else if (c === 0x2d || isDigit(c)) {
      const from = at;
      for (at++; isNumeric(text.charCodeAt(at)); at++);
      const token = text.slice(from, at);
      if (token.length < 16 || !wholeNumber.test(token) || sameNumber(token)) continue;
      parts.push(text.slice(copied, from), `"${token}"`);
      copied = at;
    } else at++;
  }
  return parts.join("") + text.slice(copied);
}

/** What JSON calls a number. */
const wholeNumber = /^-?(0|[1-9]\d*)(\.\d+)?([eE][+-]?\d+)?$/;

const isDigit = (c: number) => c >= 0x30 && c <= 0x39;

/** Digits and . e E + -, as they may stand in a number. */
const isNumeric = (c: number) => isDigit(c) || c === 0x2e || c === 0x65 || c === 0x45 || c === 0x2b || c === 0x2d;

/** The place of the quote that ends the string which begins at `start`; the text's length where none does. */
function stringEnd(text: string, start: number): number {
  let i = start + 1;
  // by hand: a pattern over a string of 10 million characters overflows the stack
  for (; i < text.length && text.charCodeAt(i) !== 0x22; i++) if (text.charCodeAt(i) === 0x5c) i++;
  return i;
}

/** Whether the nearest JavaScript number has the same digits. */
function sameNumber(token: string): boolean {
  const digits = (written: string) => {
    const [, whole = "", fraction = "", power = "0"] = /^-?(\d+)(?:\.(\d+))?(?:[eE]([+-]?\d+))?$/.exec(written) ?? [];
    const all = (whole + fraction).replace(/^0+/, "");
    let length = all.length;
    while (all[length - 1] === "0") length--; // the pattern 0+$ would take quadratic time
    return `${all.slice(0, length)}e${Number(power) - fraction.length + all.length - length}`;
  };
  const held = Number(token);
  if (!Number.isFinite(held)) return false;
  return digits(token) === digits(String(held)) && (Number.isSafeInteger(held) || !Number.isInteger(held));
}

export function isObject(value: unknown): value is JsonObject {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/** A property of its own, never an inherited one: `constructor` and `__proto__` are names like any other. */
export function own(object: JsonObject, key: string): unknown {
  return Object.hasOwn(object, key) ? object[key] : undefined;
}

/** One pass over the text: strings are skipped, containers counted, keys of each object compared. Invalid JSON is left to JSON.parse. */
function scan(text: string, most: JsonLimits, refuse: (p: string, e?: string, g?: unknown) => never): void {
  const stack: (Set<string> | null)[] = []; // keys seen per open object; null for an array
  let containers = 0;
  for (let i = 0; i < text.length; i++) {
    const c = text.charCodeAt(i);
    if (c === 0x7b || c === 0x5b) {
      if (++containers > most.containers)
        refuse("this JSON holds too many objects and arrays", `at most ${most.containers}`);
      if (stack.length >= most.depth) refuse("this JSON is nested too deeply", `at most ${most.depth} levels`);
      stack.push(c === 0x7b ? new Set() : null);
    } else if (c === 0x7d || c === 0x5d) stack.pop();
    else if (c === 0x22) {
      const start = i;
      i = stringEnd(text, start);
      const keys = stack[stack.length - 1];
      if (!keys || !followedByColon(text, i + 1)) continue;
      const written = text.slice(start + 1, i);
      const key = written.includes("\\") ? unquote(text.slice(start, i + 1)) : written;
      if (keys.has(key)) refuse("the same key stands twice in one object", "every key once", key);
      keys.add(key);
    }
  }
}

function followedByColon(text: string, from: number): boolean {
  let i = from;
  for (let c = text.charCodeAt(i); c === 0x20 || c === 0x0a || c === 0x0d || c === 0x09; c = text.charCodeAt(++i));
  return text.charCodeAt(i) === 0x3a;
}

/** "\u0061" and "a" are the same key. An invalid escape stays as written; JSON.parse refuses it later. */
function unquote(quoted: string): string {
  try {
    return JSON.parse(quoted) as string;
  } catch {
    return quoted;
  }
}
