/**
 * @file Parquet files, by hyparquet behind a guard.
 *
 * In: bytes. Out: Table; integers as numbers (as texts where a number would not be exact), decimals and dates as texts, binary as UTF-8
 * text, lists and structs as they are.
 * Before hyparquet sees a file, its footer and every page header are read here with bounds: counts, sizes, unpacked sizes.
 * A file that claims more than it holds, or unpacks to more than the limits, is refused; so a small file cannot ask for
 * gigabytes. False values inside the pages cannot be checked here; a child process contains their effects (parquet-child.ts).
 * Compression: none, snappy, gzip, brotli, zstd, lz4.
 * Source: github.com/apache/parquet-format src/main/thrift/parquet.thrift.
 */
import { interrupted, SoftpromptError } from "../base/errors.js";
import { type ChildAnswer, limitsFor, type ParquetClaims, readInChild } from "./parquet-child.js";
import { checkColumns, type Fields, rowCollector, type Table, type TableOptions, tableLimits } from "./rows.js";
import { readStruct, type ThriftStruct, type ThriftValue } from "./thrift.js";

/**
 * Parses a parquet file. Throws SoftpromptError (data).
 * @param decode reads the records of a file that passed the guard. Default in a child process.
 */
export async function parseParquet(
  bytes: Uint8Array,
  where: string,
  options: TableOptions = {},
  decode: (bytes: Uint8Array, claims: ParquetClaims) => Promise<ChildAnswer> = (b, claims) =>
    readInChild(b, limitsFor(claims), options.signal),
): Promise<Table> {
  const refuse = (problem: string, got?: unknown): never => {
    throw new SoftpromptError("data", `not a readable parquet file: ${problem}`, {
      where,
      got,
      hint: /support/.test(problem)
        ? "write the file again with plain types and snappy, gzip or zstd"
        : "the file may be cut short, or be something else (a Git LFS pointer, an error page)",
    });
  };
  const { columns, ...claims } = inspect(bytes, refuse);
  checkColumns(columns, `${where}, schema`);
  const rows = rowCollector(where, options);
  if (claims.values === 0 && claims.rows === 0) return rows.table(columns);
  const answer = await decode(bytes, claims);
  if (options.signal?.aborted) throw interrupted(options.signal, "stopped while reading", { where });
  if ("problem" in answer) return refuse(answer.problem);
  answer.records.forEach((record, i) => {
    const fields = Object.create(null) as Record<string, unknown>;
    for (const name of columns) fields[name] = Object.hasOwn(record, name) ? plain(record[name]) : null;
    rows.add(i + 1, fields as Fields);
  });
  return rows.table(columns);
}

/** parquet.thrift, enum Encoding. */
const deltaByteArray = 7;

type Refuse = (problem: string, got?: unknown) => never;

/** Walks footer and page headers with bounds; gives the names of the top-level columns, and how much there is. Throws what `refuse` throws. */
export function inspect(bytes: Uint8Array, refuse: Refuse): { columns: string[]; rows: number } & ParquetClaims {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const magic = (at: number) => view.getUint32(at, true) === 0x31524150; // "PAR1"
  if (bytes.length < 12 || !magic(0) || !magic(bytes.length - 4)) refuse('it does not begin and end with "PAR1"');
  const footer = view.getUint32(bytes.length - 8, true);
  if (footer > bytes.length - 12) refuse("its footer is longer than the file", footer);
  const read = (from: number, to: number): { struct: ThriftStruct; next: number } => {
    try {
      const { struct, next } = readStruct(bytes.subarray(from, to), 0);
      return { struct, next: from + next };
    } catch (cause) {
      return refuse(cause instanceof Error ? cause.message : "a header is damaged");
    }
  };
  const body = bytes.length - 8 - footer;
  const meta = read(body, bytes.length - 8).struct;
  const int = (s: ThriftStruct, id: number, what: string, most: number, otherwise?: number): number => {
    const v = s.get(id) ?? otherwise;
    if (typeof v !== "number" || !Number.isSafeInteger(v) || v < 0 || v > most) refuse(`${what} is out of range`, v);
    return v as number;
  };
  const schema = structs(meta.get(2));
  if (schema.length < 2 || schema.length > tableLimits.columns)
    refuse("its schema is unusable", `${schema.length} elements`);
  const names = topLevel(schema, refuse);
  const rows = int(meta, 3, "the number of rows", tableLimits.rows);
  let counted = 0;
  let values = 0;
  let unpacked = 0;
  for (const group of structs(meta.get(4))) {
    const groupRows = int(group, 3, "a row group's number of rows", tableLimits.rows);
    counted += groupRows;
    const chunks = structs(group.get(1));
    if (chunks.length === 0 && groupRows > 0) refuse("a row group has rows but no columns");
    for (const chunk of chunks) {
      const column = chunk.get(3);
      if (!(column instanceof Map)) return refuse("a column lies in another file, or has no description");
      // a group without rows has no pages; writers set their offset to 0
      if (groupRows === 0 && column.get(5) === 0) continue;
      const size = int(column, 7, "a column's size", body);
      const data = int(column, 9, "a column's place", body);
      const dictionary = int(column, 11, "a dictionary's place", body, 0);
      const from = dictionary > 0 && dictionary < data ? dictionary : data;
      const to = from + size;
      if (from < 4 || to > body) refuse("a column lies outside the file", `${from} … ${to}`);
      let chunkValues = 0;
      for (let at = from; at < to; ) {
        const { struct: page, next } = read(at, to);
        const packed = int(page, 3, "a page's size", to - next);
        unpacked += int(page, 2, "a page's unpacked size", tableLimits.parquetPageBytes);
        // Field 5, 7 and 8: headers of a data page, a dictionary page, a data page of version 2.
        for (const [id, counts] of [
          [5, true],
          [7, false],
          [8, true],
        ] as const) {
          const header = page.get(id);
          if (!(header instanceof Map)) continue;
          const n = int(header, 1, "a page's number of values", tableLimits.parquetValues);
          // Runs of one value take no bits, and are one for each row; items of lists take at least one bit each in any file that is not
          // malicious.
          if (n > groupRows + 8 * (page.get(2) as number))
            refuse("a page claims more values than its bytes can hold", n);
          // Every value of this encoding may be as long as the whole page: a small page would unpack to all memory.
          const encoding = header.get(id === 8 ? 4 : 2);
          if (encoding === deltaByteArray && n * (page.get(2) as number) > tableLimits.parquetBytes)
            refuse("a large page is in DELTA_BYTE_ARRAY encoding; write it plain or with a dictionary");
          values += n;
          if (counts) chunkValues += n;
          if (id === 8) {
            int(header, 2, "a page's number of nulls", n);
            int(header, 3, "a page's number of rows", n);
            int(header, 6, "a page's levels", packed - int(header, 5, "a page's levels", packed));
          }
        }
        if (unpacked > tableLimits.parquetBytes)
          refuse("it unpacks to too many bytes", `more than ${tableLimits.parquetBytes}`);
        if (values > tableLimits.parquetValues)
          refuse("it holds too many values", `more than ${tableLimits.parquetValues}`);
        at = next + packed;
      }
      if (chunkValues < groupRows)
        refuse("a column has fewer values than its row group has rows", `${chunkValues} of ${groupRows}`);
    }
  }
  if (counted !== rows) refuse("its row groups do not add up to its rows", `${counted} and ${rows}`);
  return { columns: names, rows, unpacked, values };
}

/** The names of the root's children; also checks that the tree uses every element once and is not too deep. */
function topLevel(schema: readonly ThriftStruct[], refuse: Refuse): string[] {
  const names: string[] = [];
  let at = 0;
  const visit = (depth: number): void => {
    const element = schema[at++];
    if (!element || depth > 16) throw refuse("its schema is damaged");
    const name = element.get(4);
    if (depth === 1) names.push(name instanceof Uint8Array ? new TextDecoder().decode(name) : "");
    const children = element.get(5) ?? 0;
    if (typeof children !== "number" || children < 0 || children > schema.length)
      refuse("its schema is damaged", children);
    for (let i = 0; i < (children as number); i++) visit(depth + 1);
  };
  visit(0);
  if (at !== schema.length) refuse("its schema is damaged", `${schema.length - at} elements without a place`);
  return names;
}

function structs(value: ThriftValue | undefined): ThriftStruct[] {
  return Array.isArray(value) ? value.filter((v): v is ThriftStruct => v instanceof Map) : [];
}

/** A cell in the form the rest of the project expects: no big integers and no bytes, also not in nested values. */
function plain(value: unknown): unknown {
  if (value === undefined) return null;
  if (typeof value === "bigint") return Number.isSafeInteger(Number(value)) ? Number(value) : value.toString();
  if (value instanceof Date) return Number.isNaN(value.getTime()) ? null : value.toISOString();
  if (value instanceof Uint8Array) return new TextDecoder().decode(value);
  if (Array.isArray(value)) return value.map(plain);
  if (ArrayBuffer.isView(value)) return Array.from(value as unknown as ArrayLike<unknown>, plain);
  if (typeof value === "object" && value !== null)
    return Object.fromEntries(Object.entries(value).map(([key, inner]) => [key, plain(inner)]));
  return value;
}
