/**
 * @file Untrusted tables: jsonl, json, csv, tsv and parquet files as columns and rows.
 *
 * In: a path, or bytes with a format. Out: Table. Every error names file, row and column. A row that cannot be used stops
 * the reading, or is counted with `skipBadRows`. Limits are constants (rows.ts); a file beyond them is refused, not tried.
 */
import { createHash } from "node:crypto";
import { readFile, stat } from "node:fs/promises";
import { basename, extname } from "node:path";
import { nearest, SoftpromptError } from "../base/errors.js";
import { parseCsv } from "./csv.js";
import { parseJsonDocument, parseJsonl } from "./jsonl.js";
import { parseParquet } from "./parquet.js";
import { type Table, type TableOptions, tableLimits } from "./rows.js";

type Parser = (bytes: Uint8Array, where: string, options: TableOptions) => Table | Promise<Table>;

/** The formats, by file ending. */
export const tableFormats = {
  jsonl: parseJsonl,
  ndjson: parseJsonl,
  json: parseJsonDocument,
  csv: (bytes, where, options) => parseCsv(bytes, where, ",", options),
  tsv: (bytes, where, options) => parseCsv(bytes, where, "\t", options),
  parquet: parseParquet,
} satisfies Record<string, Parser>;

export type TableFormat = keyof typeof tableFormats;

/** The format of a path, by its ending. */
export function formatOf(path: string): TableFormat {
  const ending = extname(path).slice(1).toLowerCase();
  if (Object.hasOwn(tableFormats, ending)) return ending as TableFormat;
  const near = nearest(ending, Object.keys(tableFormats));
  const packed = ["gz", "zip", "zst", "bz2", "xz"].includes(ending) ? "unpack it first" : undefined;
  const sheet = ["xlsx", "xls", "ods"].includes(ending) ? "save the sheet as csv" : undefined;
  throw new SoftpromptError("data", "this kind of file is not known", {
    where: path,
    expected: `a file ending in ${Object.keys(tableFormats).join(", ")}`,
    got: ending === "" ? "no ending" : `.${ending}`,
    hint: packed ?? sheet ?? (near ? `is it a .${near} file?` : undefined),
  });
}

/** Parses bytes of a known format; `where` names the file in errors. Throws SoftpromptError (data). */
export async function parseTable(
  bytes: Uint8Array,
  format: TableFormat,
  where: string,
  options: TableOptions = {},
): Promise<Table> {
  if (bytes.length > tableLimits.fileBytes) tooLarge(where, bytes.length);
  if (bytes.length === 0) throw new SoftpromptError("data", "this file is empty", { where });
  return await tableFormats[format](bytes, where, options);
}

/** Reads a data file, with the sha256 of its bytes. Throws SoftpromptError (data, io). */
export async function readTable(path: string, options: TableOptions = {}): Promise<Table & { sha256: string }> {
  const format = formatOf(path);
  const bytes = await readData(path);
  const table = await parseTable(bytes, format, basename(path), options);
  return { ...table, sha256: createHash("sha256").update(bytes).digest("hex") };
}

/** The bytes of a data file, within the limit. */
export async function readData(path: string): Promise<Buffer> {
  try {
    const info = await stat(path);
    if (!info.isFile()) throw new SoftpromptError("data", "this is not a file", { where: path });
    if (info.size > tableLimits.fileBytes) tooLarge(path, info.size);
    return await readFile(path);
  } catch (cause) {
    if (cause instanceof SoftpromptError) throw cause;
    const missing = (cause as NodeJS.ErrnoException).code === "ENOENT";
    throw new SoftpromptError(missing ? "data" : "io", missing ? "there is no such file" : "cannot read this file", {
      where: path,
      got: missing ? undefined : String(cause),
      cause,
    });
  }
}

function tooLarge(where: string, size: number): never {
  throw new SoftpromptError("data", "this file is too large", {
    where,
    expected: `at most ${tableLimits.fileBytes} bytes`,
    got: `${size} bytes`,
    hint: "split it, or keep only the columns and rows you need",
  });
}
