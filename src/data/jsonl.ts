/**
 * @file JSON lines: one object a line.
 *
 * In: bytes (UTF-8, with or without byte order mark, LF or CRLF, blank lines allowed). Out: Table; columns are all keys seen,
 * in order of appearance. Equal keys in one object, other values than objects, and bad UTF-8 are refused with their line.
 */
import { SoftpromptError } from "../base/errors.js";
import { isObject, parseJson } from "../base/json.js";
import { checkColumns, type Fields, rowCollector, type Table, type TableOptions, tableLimits } from "./rows.js";

/** What one line may hold; MultiRC's longest line has 30 kB and 300 objects. */
const lineLimits = { length: tableLimits.rowBytes, depth: 32, containers: 100_000 };

/** Parses JSON lines. Throws SoftpromptError (data). */
export function parseJsonl(bytes: Uint8Array, where: string, options: TableOptions = {}): Table {
  const rows = rowCollector(where, options);
  const columns = new Set<string>();
  const decoder = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });
  let line = 0;
  const start = bytes[0] === 0xef && bytes[1] === 0xbb && bytes[2] === 0xbf ? 3 : 0;
  for (let from = start; from < bytes.length; ) {
    const feed = bytes.indexOf(0x0a, from);
    const end = feed < 0 ? bytes.length : feed;
    line++;
    try {
      const fields = parseLine(bytes.subarray(from, end), `${where}:${line}`, decoder);
      if (fields) {
        for (const key of Object.keys(fields)) columns.add(key);
        if (columns.size > tableLimits.columns) checkColumns([...columns], where);
        rows.add(line, fields);
      }
    } catch (error) {
      if (!(error instanceof SoftpromptError) || columns.size > tableLimits.columns) throw error;
      rows.bad(error);
    }
    from = end + 1;
  }
  return rows.table([...columns]);
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
    throw new SoftpromptError("data", "this line is not valid UTF-8", {
      where,
      hint: "save the file as UTF-8",
      cause,
    });
  }
  if (text.trim() === "") return null;
  const value = parseJson(text, where, "data", lineLimits);
  if (!isObject(value))
    throw new SoftpromptError("data", "a line must hold one JSON object", {
      where,
      expected: '{"column": value, …}',
      got: text.slice(0, 60),
      hint: text.trimStart().startsWith("[") ? "this looks like a JSON array: write one object a line" : undefined,
    });
  return Object.assign(Object.create(null), value) as Fields;
}
