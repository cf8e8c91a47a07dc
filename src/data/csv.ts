/**
 * @file Delimited files (csv, tsv and the like) as tables.
 *
 * In: bytes (encoding.ts), a header line unless `header` names the columns. Out: Table of strings. The separator and the quoting are
 * detected unless they are given (delimited.ts). A record with another number of fields than the header is a bad row, named by line.
 */
import { SoftpromptError } from "../base/errors.js";
import { delimiters, readRecords, sniff } from "./delimited.js";
import { toText } from "./encoding.js";
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

/** Parses delimited text. @param usual the separator of the file's ending. Throws SoftpromptError (data, usage). */
export async function parseCsv(
  bytes: Uint8Array,
  where: string,
  usual: string,
  options: TableOptions = {},
): Promise<Table> {
  const rows = rowCollector(where, options);
  const text = toText(bytes, where);
  const given = {
    ...(options.delimiter !== undefined && { delimiter: delimiterOf(options.delimiter) }),
    ...(options.quotes !== undefined && { quotes: options.quotes }),
  };
  const dialect = sniff(text, usual, given, options.header?.length);
  const notices = dialect.notices.map((notice) => `${where}: ${notice}`);
  let columns: readonly string[] | undefined = options.header;
  let kept: readonly number[] = [];
  const marked: number[] = [];
  const repeated: number[] = [];
  const begin = (names: readonly string[], at: string): void => {
    kept = named(names, at, notices);
    checkColumns(
      kept.map((i) => names[i]!),
      at,
    );
    columns = names;
  };
  if (columns) begin(columns, `${where}, header`);
  let first = true;
  const pause = pauses(where, options.signal);
  for (const { line, fields: record, problem, marked: mark } of readRecords(text, dialect, dialect.start)) {
    await pause();
    if (mark && !first) marked.push(line);
    first = false;
    if (problem !== null) {
      const error = new SoftpromptError("data", problem.text, {
        where: `${where}:${problem.line}`,
        hint: problem.hint,
      });
      if (!columns) throw error;
      rows.bad(error);
      continue;
    }
    if (!columns) {
      begin(
        record.map((name) => name.trim()),
        `${where}:${line}`,
      );
      continue;
    }
    if (
      record.length > 1 &&
      record.length === columns.length &&
      record.every((cell, i) => cell.trim() === columns![i])
    ) {
      repeated.push(line);
      continue;
    }
    if (record.length !== columns.length || tooLong(record)) {
      rows.bad(wrongRecord(record, columns, `${where}:${line}`, dialect.delimiter));
      continue;
    }
    const fields = Object.create(null) as Record<string, unknown>;
    for (const i of kept) fields[columns[i]!] = record[i];
    rows.add(line, fields as Fields);
  }
  if (!columns)
    throw new SoftpromptError("data", "this file has no header line", { where, expected: "the names of the columns" });
  if (marked.length > 0)
    notices.push(
      `${where}: a byte order mark stands before ${examples(marked.map((l) => `line ${l}`))}: files were joined`,
    );
  if (repeated.length > 0)
    notices.push(
      `${where}: the header stands again in ${examples(repeated.map((l) => `line ${l}`))} and is left out there`,
    );
  const all = columns;
  return rows.table(
    kept.map((i) => all[i]!),
    notices,
  );
}

/** The columns that have a name. A column without a name comes from a written index, or from a separator at the end of every line. */
function named(names: readonly string[], where: string, notices: string[]): number[] {
  const kept = names.flatMap((name, i) => (name.trim() === "" ? [] : [i]));
  if (kept.length === 0) checkColumns(names, where);
  if (kept.length < names.length) {
    const without = names.flatMap((name, i) => (name.trim() === "" ? [`column ${i + 1}`] : []));
    notices.push(
      `${where}: ${examples(without)} ${without.length === 1 ? "has" : "have"} no name and ${without.length === 1 ? "is" : "are"} left out (pandas writes its index so; to_csv(index=False) does not)`,
    );
  }
  return kept;
}

function tooLong(record: readonly string[]): boolean {
  return record.reduce((sum, cell) => sum + cell.length, 0) > tableLimits.rowBytes;
}

function wrongRecord(
  record: readonly string[],
  columns: readonly string[],
  where: string,
  delimiter: string,
): SoftpromptError {
  if (tooLong(record))
    return new SoftpromptError("data", "this row is too long", {
      where,
      expected: `at most ${tableLimits.rowBytes} characters`,
    });
  const fields = (n: number) => `${n} field${n === 1 ? "" : "s"}`;
  const name = { ",": "commas", ";": "semicolons", "|": "bars" }[delimiter];
  return new SoftpromptError("data", "this row has another number of fields than the header", {
    where,
    expected: `${fields(columns.length)}: ${columns.join(", ")}`,
    got: fields(record.length),
    hint:
      name === undefined
        ? undefined
        : `fields with ${name} need quotes: "a${delimiter} b"; another separator is given by --delimiter`,
  });
}

/** A separator as the user says it: by name, as `\t`, or itself. Throws SoftpromptError (usage). */
export function delimiterOf(said: string): string {
  const named = Object.hasOwn(delimiters, said) ? delimiters[said as keyof typeof delimiters] : undefined;
  const one = named ?? (said === "\\t" ? "\t" : said);
  if (typeof one === "string" && one.length === 1 && !/["\r\n\ufeff]/.test(one)) return one;
  throw new SoftpromptError("usage", "this is no separator of fields", {
    where: "delimiter",
    expected: `${Object.keys(delimiters).join(", ")}, or one character`,
    got: said,
  });
}
