/**
 * @file What a table is: its limits, its rows, and how bad rows are taken.
 *
 * In: rows from a reader (jsonl.ts, csv.ts, parquet.ts). Out: Table.
 */
import { interrupted, SoftpromptError } from "../base/errors.js";

/** What one data file may hold. */
export const tableLimits = {
  /** Bytes of a file; it is read whole. */
  fileBytes: 512 * 1024 * 1024,
  rows: 5_000_000,
  columns: 4_096,
  /** Bytes of one line or record. */
  rowBytes: 16 * 1024 * 1024,
  /** Values of a parquet file, all columns together; bounds the memory a small file can ask for. */
  parquetValues: 50_000_000,
  /** Bytes of all pages of a parquet file when unpacked. */
  parquetBytes: 2 * 1024 * 1024 * 1024,
  /** Bytes of one page when unpacked. */
  parquetPageBytes: 256 * 1024 * 1024,
};

export type Split = "train" | "validation" | "test";

/** The cells of one row by column; an object without a prototype, so that any name is only a name. */
export type Fields = Readonly<Record<string, unknown>>;

export interface TableRow {
  /** Line of the file where the row begins (1-based), or the row's number in a parquet file (1-based). */
  readonly line: number;
  readonly fields: Fields;
  /** The place inside the file, where a line number does not say it. */
  readonly where?: string;
}

/** A table of a study. */
export interface Table {
  readonly columns: readonly string[];
  readonly rows: readonly TableRow[];
  /** Rows left out by `skipBadRows`. */
  readonly skipped: number;
  /** The first of them, with what was wrong. */
  readonly bad: readonly string[];
  /** What the reader should know: a column without a name was left out, files were joined. */
  readonly notices: readonly string[];
}

/** How a file is read as a table. */
export interface TableOptions {
  /** Leave out and count rows that cannot be read. Default false: the first one stops the reading. */
  readonly skipBadRows?: boolean;
  /** csv and tsv: the names of the columns of a file without a header line. */
  readonly header?: readonly string[];
  /** csv and tsv: `"` quotes fields. Default true; with tabs only where the file shows it (GLUE's files have lone quotes). */
  readonly quotes?: boolean;
  /** csv and tsv: what separates fields: comma, semicolon, tab, pipe, or one character. Default what the file shows. */
  readonly delimiter?: string;
  /** Stops the reading. */
  readonly signal?: AbortSignal;
}

/** Rows between two checks of the signal. */
const rowsPerPause = 2_000;

/**
 * Lets the process handle signals from time to time while rows are read, because a reading that takes seconds must be stoppable.
 * @returns to be awaited once a row. Throws SoftpromptError (interrupted).
 */
export function pauses(where: string, signal: AbortSignal | undefined): () => Promise<void> | undefined {
  let rows = 0;
  return () => {
    if (signal === undefined || ++rows % rowsPerPause !== 0) return undefined;
    return new Promise<void>((resolve) => setImmediate(resolve)).then(() => {
      if (signal.aborted) throw interrupted(signal, "stopped while reading", { where });
    });
  };
}

/** Examples that a notice gives at most. */
const mostExamples = 3;

/** A few of many, for a notice: "line 4, line 9, line 12 and 5 more". @param total where `all` are only the first */
export function examples(all: readonly string[], total = all.length): string {
  const more = total - Math.min(all.length, mostExamples);
  return `${all.slice(0, mostExamples).join(", ")}${more > 0 ? ` and ${more} more` : ""}`;
}

/** Refuses column names that cannot identify the cells of a row. */
export function checkColumns(columns: readonly string[], where: string): void {
  const refuse = (problem: string, expected: string, got: unknown): never => {
    throw new SoftpromptError("data", problem, { where, expected, got });
  };
  if (columns.length > tableLimits.columns)
    refuse("too many columns", `at most ${tableLimits.columns}`, columns.length);
  const seen = new Set<string>();
  columns.forEach((name, i) => {
    if (name.trim() === "") refuse(`column ${i + 1} has no name`, "a name for every column", name);
    if (seen.has(name)) refuse("two columns have the same name", "every name once", name);
    seen.add(name);
  });
}

/** Takes rows one by one: counts them against the limit, and a bad one against `skipBadRows`. */
export function rowCollector(where: string, options: TableOptions) {
  const rows: TableRow[] = [];
  let skipped = 0;
  const bad: string[] = [];
  return {
    add(line: number, fields: Fields): void {
      if (rows.length >= tableLimits.rows)
        throw new SoftpromptError("data", "this file has too many rows", {
          where,
          expected: `at most ${tableLimits.rows}`,
        });
      rows.push({ line, fields });
    },
    /** A bad row: throws its error, or counts it. */
    bad(error: SoftpromptError): void {
      if (!options.skipBadRows) throw error;
      skipped++;
      if (bad.length <= mostExamples) bad.push(`${error.parts.where} (${error.problem})`);
    },
    table: (columns: readonly string[], notices: readonly string[] = []): Table => ({
      columns,
      rows,
      skipped,
      bad,
      notices,
    }),
  };
}

/** Says how many rows were left out, and the first of them. @param bad each with what was wrong */
export function skippedNotice(skipped: number, bad: readonly string[]): string[] {
  return skipped === 0
    ? []
    : [`${skipped} bad row${skipped === 1 ? " was" : "s were"} skipped: ${examples(bad, skipped)}`];
}
