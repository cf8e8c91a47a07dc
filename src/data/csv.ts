/**
 * @file Comma- or tab-separated values, by csv-parse.
 *
 * In: bytes (UTF-8, with or without byte order mark, LF, CRLF or CR), a header line unless `header` names the columns.
 * Out: Table of strings. A record with another number of fields than the header is a bad row, named by line.
 * Source: RFC 4180; csv-parse 7 reads the quotes.
 */
import { CsvError, type Info, parse } from "csv-parse/sync";
import { SoftpromptError } from "../base/errors.js";
import { checkColumns, type Fields, rowCollector, type Table, type TableOptions, tableLimits } from "./rows.js";

/** Parses delimited text. Throws SoftpromptError (data). */
export function parseCsv(bytes: Uint8Array, where: string, options: TableOptions & { delimiter: string }): Table {
  const rows = rowCollector(where, options);
  const text = decode(bytes, where);
  const records = parseRecords(text, where, options, (error) => rows.bad(error));
  let columns = options.header;
  if (columns) checkColumns(columns, `${where}, header`);
  for (const { record, info } of records) {
    // csv-parse counts the lines read so far; the record may have begun some lines above, by the line breaks in its fields.
    const line = info.lines - record.reduce((n, cell) => n + (cell.match(/\r\n|\n|\r/g)?.length ?? 0), 0);
    if (!columns) {
      columns = record.map((name) => name.trim());
      checkColumns(columns, `${where}:${line}`);
      continue;
    }
    if (record.length !== columns.length) {
      rows.bad(
        new SoftpromptError("data", "this row has another number of fields than the header", {
          where: `${where}:${line}`,
          expected: `${columns.length} fields: ${columns.join(", ")}`,
          got: `${record.length} fields`,
          hint: options.delimiter === "\t" ? undefined : 'fields with commas need quotes: "a, b"',
        }),
      );
      continue;
    }
    const fields = Object.create(null) as Record<string, unknown>;
    columns.forEach((name, i) => {
      fields[name] = record[i];
    });
    rows.add(line, fields as Fields);
  }
  if (!columns)
    throw new SoftpromptError("data", "this file has no header line", { where, expected: "the names of the columns" });
  return rows.table(columns);
}

function parseRecords(
  text: string,
  where: string,
  options: TableOptions & { delimiter: string },
  bad: (error: SoftpromptError) => void,
): { record: string[]; info: Info }[] {
  const typed = (error: unknown): SoftpromptError => {
    if (!(error instanceof CsvError)) throw error;
    const at = typeof error.lines === "number" ? `:${error.lines}` : "";
    return new SoftpromptError("data", "this is not well-formed delimited text", {
      where: `${where}${at}`,
      got: error.message,
      hint: 'a quote inside a quoted field is written twice: "say ""no"""',
      cause: error,
    });
  };
  try {
    return parse(text, {
      delimiter: options.delimiter,
      quote: options.quotes === false ? null : '"',
      escape: options.quotes === false ? null : '"',
      info: true,
      relax_column_count: true,
      skip_empty_lines: true,
      max_record_size: tableLimits.rowBytes,
      skip_records_with_error: options.skipBadRows ?? false,
      on_skip: (error: unknown) => {
        bad(typed(error));
        return undefined;
      },
    }) as unknown as { record: string[]; info: Info }[];
  } catch (error) {
    throw typed(error);
  }
}

function decode(bytes: Uint8Array, where: string): string {
  try {
    return new TextDecoder("utf-8", { fatal: true }).decode(bytes);
  } catch (cause) {
    throw new SoftpromptError("data", "this file is not valid UTF-8", {
      where: `${where}:${badLine(bytes)}`,
      hint: "save the file as UTF-8",
      cause,
    });
  }
}

/** The first line that is not UTF-8. */
function badLine(bytes: Uint8Array): number {
  const decoder = new TextDecoder("utf-8", { fatal: true });
  let line = 1;
  for (let from = 0; from < bytes.length; line++) {
    const feed = bytes.indexOf(0x0a, from);
    const end = feed < 0 ? bytes.length : feed;
    try {
      decoder.decode(bytes.subarray(from, end));
    } catch {
      return line;
    }
    from = end + 1;
  }
  return line;
}
