/**
 * @file Results kept in files with a checksum. All of these files have the same format and the same encoding of float32.
 *
 * In: a path, the key of what the work is made from, the work. Out: its value, read back or computed and kept. A file is one line,
 * `{"key":…,"sha256":…,"body":…}`; the checksum is that of the body's text. A file that is incomplete, damaged or made from other inputs is
 * ignored, and the work is done again. Snapshots of a training and candidates have the same format; their own modules decide how damage is
 * handled.
 */
import { SoftpromptError } from "./errors.js";
import { readWhole, sha256, writeFileAtomic } from "./files.js";
import { floatsFromText, floatsToText } from "./floats.js";
import { longRunLimits, parseJson } from "./json.js";

/** The file's text. @param body JSON @param key left out where the file's name identifies the work */
export function sealed(body: string, key?: string): string {
  const head = key === undefined ? "" : `"key":${JSON.stringify(key)},`;
  return `{${head}"sha256":"${sha256(body)}","body":${body}}\n`;
}

/** The body's text, its checksum verified, and the key; or the fault of the file. */
export function unsealed(text: string): { readonly key?: string; readonly body: string } | { readonly damage: string } {
  const match = /^\{(?:"key":"([^"\\]*)",)?"sha256":"([0-9a-f]{64})","body":(.*)\}\n$/s.exec(text);
  if (match === null) return { damage: "the file is torn" };
  const [, key, checksum, body] = match as unknown as [string, string | undefined, string, string];
  return sha256(body) === checksum ? { key, body } : { damage: "the checksum does not match" };
}

/** How a value is written to its file and read back. */
export interface KeptForm<T> {
  /** Default the value itself: plain data and Float32Arrays. */
  readonly write?: (value: T) => unknown;
  /** Returns null for a body that does not hold such a value. */
  readonly read: (body: unknown) => T | null;
  /** Reads files that an earlier version wrote in another format; returns null for any other text. */
  readonly readEarlier?: (text: string) => T | null;
}

/**
 * The value in the file, or computed and kept.
 * @param path null keeps nothing
 * @param key names all that the value is made from
 * @param isComplete false keeps a partial value (of an interrupted run) out of the file
 * @throws SoftpromptError "io" for a file that cannot be read or written; what `compute` throws.
 */
export async function kept<T>(
  path: string | null,
  key: string,
  form: KeptForm<T>,
  compute: () => Promise<T>,
  isComplete: (value: T) => boolean = () => true,
): Promise<{ readonly value: T; readonly found: boolean }> {
  const found = path === null ? null : readKept(path, key, form);
  if (found !== null) return { value: found, found: true };
  const value = await compute();
  if (path !== null && isComplete(value)) writeFileAtomic(path, sealed(toText((form.write ?? same)(value)), key));
  return { value, found: false };
}

const same = (value: unknown) => value;

function readKept<T>(path: string, key: string, { read, readEarlier }: KeptForm<T>): T | null {
  try {
    const text = readWhole(path, "run")?.toString("utf8");
    if (text === undefined) return null;
    const opened = unsealed(text);
    if ("damage" in opened) return readEarlier?.(text) ?? null;
    return opened.key === key ? read(fromText(opened.body, path)) : null;
  } catch (error) {
    if (error instanceof SoftpromptError && error.kind === "run") return null;
    throw error;
  }
}

/** JSON in which float32 arrays are exact: `{ "float32": base64 }`. Object keys keep their order. */
export function toText(value: unknown): string {
  return JSON.stringify(value, (_, v: unknown) => (v instanceof Float32Array ? { float32: floatsToText(v) } : v));
}

/** The inverse of `toText`. @throws SoftpromptError "run" for invalid JSON, or an invalid float32 entry. */
export function fromText(text: string, where = "kept value"): unknown {
  return revived(parseJson(text, where, "run", longRunLimits), where);
}

function revived(value: unknown, where: string): unknown {
  if (typeof value !== "object" || value === null) return value;
  if (Array.isArray(value)) return value.map((item) => revived(item, where));
  const entries = Object.entries(value);
  if (entries.length === 1 && entries[0]![0] === "float32" && typeof entries[0]![1] === "string")
    return floatsFromText(entries[0]![1], where, "run");
  return Object.fromEntries(entries.map(([key, item]) => [key, revived(item, where)]));
}
