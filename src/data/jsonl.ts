/**
 * @file JSON lines: one object a line; and JSON documents that hold a list of such objects.
 *
 * In: bytes (encoding.ts; LF, CRLF or CR, blank lines allowed). Out: Table; columns are all keys seen, in order of appearance. Equal
 * keys in one object, other values than objects, and bad UTF-8 are refused with their line. Numbers that JavaScript cannot hold stay
 * as they are written, as texts: two ids above 2^53 do not become one.
 */
import { SoftpromptError } from "../base/errors.js";
import { exactNumbers, isObject, type JsonObject, own, parseJson } from "../base/json.js";
import { afterLine, lineEnd, notUtf8, toText, toUtf8 } from "./encoding.js";
import {
  checkColumns,
  examples,
  type Fields,
  pauses,
  rowCollector,
  type Table,
  type TableOptions,
  tableLimits,
} from "./rows.js";
import { isSquad, squadTable } from "./squad.js";

/** What one line may hold; MultiRC's longest line has 30 kB and 300 objects. */
const lineLimits = { length: tableLimits.rowBytes, depth: 32, containers: 100_000 };
/** The same for a whole document. */
const documentLimits = { length: tableLimits.fileBytes, depth: 32, containers: 5_000_000 };

/** Parses JSON lines. Throws SoftpromptError (data). */
export async function parseJsonl(file: Uint8Array, where: string, options: TableOptions = {}): Promise<Table> {
  const bytes = toUtf8(file, where);
  const rows = rowCollector(where, options);
  const columns = columnCollector(where);
  const decoder = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });
  const marked: number[] = [];
  let line = 0;
  const pause = pauses(where, options.signal);
  for (let from = 0; from < bytes.length; ) {
    await pause();
    const end = lineEnd(bytes, from);
    line++;
    let text = bytes.subarray(from, end);
    if (text[0] === 0xef && text[1] === 0xbb && text[2] === 0xbf) {
      text = text.subarray(3);
      marked.push(line);
    }
    try {
      const fields = parseLine(text, `${where}:${line}`, decoder);
      if (fields) {
        columns.add(fields);
        rows.add(line, fields);
      }
    } catch (error) {
      if (!(error instanceof SoftpromptError) || columns.full()) throw error;
      rows.bad(error);
    }
    from = afterLine(bytes, end);
  }
  const notices =
    marked.length === 0
      ? []
      : [`${where}: a byte order mark stands before ${examples(marked.map((l) => `line ${l}`))}: files were joined`];
  return rows.table(columns.all(), notices);
}

function parseLine(bytes: Uint8Array, where: string, decoder: InstanceType<typeof TextDecoder>): Fields | null {
  if (bytes.length > tableLimits.rowBytes)
    throw new SoftpromptError("data", "this line is too long", {
      where,
      expected: `at most ${tableLimits.rowBytes} bytes`,
      got: bytes.length,
    });
  let text: string;
  try {
    text = decoder.decode(bytes);
  } catch (cause) {
    throw notUtf8(where, bytes, cause);
  }
  if (text.trim() === "") return null;
  // the first line of a document that was laid out for reading
  if (/^\s*[[{]\s*$/.test(text) || text.trimStart().startsWith("["))
    throw new SoftpromptError("data", "a line must hold one JSON object", {
      where,
      expected: '{"column": value, …}',
      got: text.slice(0, 60),
      hint: text.includes("[")
        ? "this looks like a JSON list: name the file .json, or write one object a line"
        : "an object that takes several lines: name the file .json, or write one object a line",
    });
  const value = parseJson(exactNumbers(text), where, "data", lineLimits);
  if (!isObject(value))
    throw new SoftpromptError("data", "a line must hold one JSON object", {
      where,
      expected: '{"column": value, …}',
      got: text.slice(0, 60),
    });
  return fieldsOf(value);
}

/**
 * Parses a .json file: a list of objects, an object with one such list, SQuAD's articles; or, where it is none of them, JSON lines
 * under another name. Throws SoftpromptError (data).
 */
export async function parseJsonDocument(file: Uint8Array, where: string, options: TableOptions = {}): Promise<Table> {
  const text = toText(file, where).replace(/^\ufeff/, "");
  if (text.trim() === "") return { columns: [], rows: [], skipped: 0, bad: [], notices: [] };
  if (isLines(text)) return parseJsonl(file, where, options);
  const root = parseJson(exactNumbers(text), where, "data", documentLimits);
  if (isSquad(root)) return squadTable(root, where);
  const rows = rowCollector(where, options);
  const columns = columnCollector(where);
  listIn(root, where).forEach((value, i) => {
    if (isObject(value)) {
      columns.add(value);
      rows.add(i + 1, fieldsOf(value));
    } else
      rows.bad(
        new SoftpromptError("data", "an item of the list is no object", {
          where: `${where}, item ${i + 1}`,
          expected: '{"column": value, …}',
          got: value,
        }),
      );
  });
  return rows.table(columns.all());
}

/** Whether a text is JSON lines: its first line is a complete object, whatever follows. */
function isLines(text: string): boolean {
  const first = /[^\r\n]*\S[^\r\n]*/.exec(text)?.[0] ?? "";
  if (!/^\s*\{.*\}\s*$/.test(first)) return false;
  try {
    const value: unknown = JSON.parse(first);
    // a single line that is a complete document of another kind is not JSON lines
    return (
      isObject(value) && (text.trim() !== first.trim() || Object.values(value).every((v) => typeof v !== "object"))
    );
  } catch {
    return false;
  }
}

function listIn(root: unknown, where: string): readonly unknown[] {
  if (Array.isArray(root)) return root as unknown[];
  if (isObject(root)) {
    const lists = Object.keys(root).filter((key) => Array.isArray(own(root, key)));
    const objects = lists.filter((key) => (own(root, key) as unknown[]).some(isObject));
    if (objects.length === 1) return own(root, objects[0]!) as unknown[];
  }
  const byColumn = isObject(root) && Object.values(root).length > 0 && Object.values(root).every(isObject);
  throw new SoftpromptError("data", "this JSON is no list of objects", {
    where,
    expected: '[{"column": value, …}, …], or one object a line',
    got: isObject(root) ? `an object with ${Object.keys(root).slice(0, 8).join(", ")}` : typeof root,
    hint: byColumn ? "pandas writes rows with to_json(orient='records', lines=True)" : undefined,
  });
}

function fieldsOf(value: JsonObject): Fields {
  return Object.assign(Object.create(null), value) as Fields;
}

/** The keys seen, in order of appearance, within the limit. */
export function columnCollector(where: string) {
  const columns = new Set<string>();
  return {
    add(fields: Fields): void {
      for (const key of Object.keys(fields)) columns.add(key);
      if (columns.size > tableLimits.columns) checkColumns([...columns], where);
    },
    full: () => columns.size > tableLimits.columns,
    all: () => [...columns],
  };
}
