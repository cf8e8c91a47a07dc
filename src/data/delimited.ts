/**
 * @file Delimited text as records, with the exact line that each begins in; and which separator and quotes a file uses.
 *
 * In: text, a dialect. Out: records, good and bad, in order. Line ends are LF, CRLF and CR, also mixed; within quotes they are part of
 * the field and still count as one line each. A record with wrong quotes is reported with the line in which its quote was opened, and
 * reading goes on in the line after that: one stray quote costs one row, not the rest of the file.
 * Source: RFC 4180; `sep=;` is Excel's. Our own, since libraries count lines differently within quotes and cannot say where a quote
 * began; csv-parse is the authority in the tests.
 */

export interface Dialect {
  /** One character. */
  readonly delimiter: string;
  /** Whether `"` quotes fields. */
  readonly quotes: boolean;
}

export interface DelimitedRecord {
  /** The line in which the record begins (1-based). */
  readonly line: number;
  readonly fields: readonly string[];
  /** How many of the fields stood in quotes. */
  readonly quoted: number;
  /** A quote stands inside a field that does not begin with one: there it is text, as Python and sheets read it. */
  readonly stray: boolean;
  /** Why the record cannot be used, and the line to look at; null for a good one. */
  readonly problem: { readonly text: string; readonly line: number; readonly hint: string } | null;
  /** A byte order mark stood before it: another file was appended here. */
  readonly marked: boolean;
}

const quote = 0x22;
const feed = 0x0a;
const back = 0x0d;
const mark = 0xfeff;

/** The records of a text; blank lines are none. @param start where to begin, and the number of that line */
export function* readRecords(
  text: string,
  { delimiter, quotes }: Dialect,
  start: { readonly at: number; readonly line: number } = { at: 0, line: 1 },
): Generator<DelimitedRecord> {
  const separator = delimiter.charCodeAt(0);
  let { at, line } = start;
  /** Steps over a line end, if one is at `at`. */
  const endOfLine = (): boolean => {
    const c = text.charCodeAt(at);
    if (c !== feed && c !== back) return false;
    at += c === back && text.charCodeAt(at + 1) === feed ? 2 : 1;
    line++;
    return true;
  };
  while (at < text.length) {
    if (endOfLine()) continue;
    const marked = text.charCodeAt(at) === mark;
    if (marked) at++;
    const begin = line;
    const beginAt = at;
    const fields: string[] = [];
    let quoted = 0;
    let stray = false;
    let problem: DelimitedRecord["problem"] = null;
    for (;;) {
      if (quotes && text.charCodeAt(at) === quote) {
        const opened = line;
        const found = quotedField();
        quoted++;
        if (typeof found !== "string") {
          problem = { line: opened, ...found };
          break;
        }
        fields.push(found);
      } else {
        const from = at;
        for (; at < text.length; at++) {
          const c = text.charCodeAt(at);
          if (c === separator || c === feed || c === back) break;
          if (c === quote) stray = true;
        }
        fields.push(text.slice(from, at));
        // plain text, except for a quote that was probably meant to open a quoted field
        if (quotes && stray && /^[ \t]+"/.test(fields.at(-1)!))
          problem ??= {
            line,
            text: "a quote stands behind a blank, so that it quotes nothing",
            hint: "take the blank behind the separator out; or read quotes as text: --no-quotes",
          };
      }
      if (text.charCodeAt(at) === separator && at < text.length) {
        at++;
        continue;
      }
      if (!endOfLine()) at = text.length;
      break;
    }
    if (problem !== null) {
      // the lines inside the wrong quotes are read again as separate lines
      at = beginAt;
      line = begin;
      while (at < text.length && !endOfLine()) at++;
    }
    yield { line: begin, fields, quoted, stray, problem, marked };
  }

  /** The field whose opening quote is at `at`; afterwards `at` is behind the closing one. */
  function quotedField(): string | { text: string; hint: string } {
    let value = "";
    for (let from = ++at; ; ) {
      if (at >= text.length)
        return {
          text: "a quote is opened here and never closed",
          hint: 'a quote inside a quoted field is written twice: "say ""no"""',
        };
      const c = text.charCodeAt(at);
      if (c === feed || c === back) endOfLine();
      else if (c !== quote) at++;
      else if (text.charCodeAt(at + 1) === quote) {
        value += text.slice(from, at + 1);
        at += 2;
        from = at;
      } else {
        value += text.slice(from, at++);
        const next = text.charCodeAt(at);
        if (at >= text.length || next === separator || next === feed || next === back) return value;
        return {
          text: "the quote that is opened here closes in the middle of a field",
          hint: 'a quote inside a quoted field is written twice: "say ""no"""',
        };
      }
    }
  }
}

/** Separators that are tried, by name; the file's ending says which is tried first. */
export const delimiters = { comma: ",", semicolon: ";", tab: "\t", pipe: "|" } as const;

/** How many records are read to choose the separator. */
const judged = 100;

/** How a file is written: its dialect, where its records begin, and notices for the reader. */
export interface Sniffed extends Dialect {
  readonly start: { readonly at: number; readonly line: number };
  readonly notices: readonly string[];
}

/**
 * The dialect of a text.
 * @param usual the separator of the file's ending @param given what the user said @param fields names of the columns, where the user gave them
 */
export function sniff(text: string, usual: string, given: Partial<Dialect>, fields?: number): Sniffed {
  const notices: string[] = [];
  const said = /^\ufeff?"?sep=([^\r\n])"?[ \t,;]*(?:\r\n|\n|\r|$)/i.exec(text);
  const start = said === null ? { at: 0, line: 1 } : { at: said[0].length, line: 2 };
  const delimiter = given.delimiter ?? said?.[1] ?? sniffDelimiter(text, usual, start, fields);
  if (delimiter !== usual && given.delimiter === undefined)
    notices.push(`its fields are separated by ${delimiter === "\t" ? "tabs" : delimiter}`);
  const quotes = given.quotes ?? (delimiter === "\t" ? sniffQuotes(text, delimiter, start, notices) : true);
  return { delimiter, quotes, start, notices };
}

/** The separator by which most records have as many fields as the first, two at least; the usual one where several do equally. */
function sniffDelimiter(text: string, usual: string, start: Sniffed["start"], fields?: number): string {
  const candidates = [usual, ...Object.values(delimiters).filter((d) => d !== usual)];
  let best = { delimiter: usual, share: 0, width: 0 };
  for (const delimiter of candidates) {
    let width = fields ?? 0;
    let [records, alike] = [0, 0];
    for (const record of readRecords(text, { delimiter, quotes: true }, start)) {
      if (width === 0) width = record.fields.length;
      records++;
      if (record.problem === null && record.fields.length === width) alike++;
      if (records >= judged) break;
    }
    if (width < 2 || alike === 0) continue;
    const share = alike / records;
    // the usual separator is left only for one that clearly fits better
    const better =
      best.width === 0
        ? true
        : best.delimiter === usual
          ? share > best.share + 0.1
          : share > best.share || (share === best.share && width > best.width);
    if (better) best = { delimiter, share, width };
  }
  return best.delimiter;
}

/**
 * Whether tab-separated text is quoted as pandas and Excel write it. GLUE's files are not quoted but contain many single quotes. So text
 * counts as quoted only if every quote belongs to a well-formed quoted field and at least one field needs its quotes.
 */
function sniffQuotes(text: string, delimiter: string, start: Sniffed["start"], notices: string[]): boolean {
  if (!text.includes('"')) return false;
  let [wrapped, doubled, needed, withComma, width] = [0, 0, 0, 0, 0];
  let headQuoted = false;
  for (const { fields, quoted, stray, problem } of readRecords(text, { delimiter, quotes: true }, start)) {
    if (problem !== null || stray) return false;
    if (width === 0) {
      width = fields.length;
      headQuoted = quoted === width;
    }
    if (quoted === 0) continue;
    wrapped += quoted;
    for (const field of fields) {
      if (field.includes('"')) doubled++;
      if (/[\t\r\n]/.test(field)) needed++;
      if (field.includes(",")) withComma++;
    }
  }
  if (doubled > 0 || headQuoted) return true;
  if (needed > 0 && !rectangular(text, delimiter, start)) return true;
  if (withComma >= wrapped && needed === 0) return true; // Excel quotes fields with commas
  notices.push(`${wrapped} of its fields stand in quotes, which are kept as text (quotes says otherwise)`);
  return false;
}

function rectangular(text: string, delimiter: string, start: Sniffed["start"]): boolean {
  let width = 0;
  for (const { fields } of readRecords(text, { delimiter, quotes: false }, start)) {
    if (width === 0) width = fields.length;
    if (fields.length !== width) return false;
  }
  return true;
}

/**
 * One record as RFC 4180 writes it, without a line end: a field in quotes where it holds a quote, the separator, a line break or a byte order
 * mark, and the only field of a record where it is empty (its line would be blank).
 */
export function recordText(fields: readonly string[], delimiter: string): string {
  const plain = (field: string) => !/["\r\n\ufeff]/.test(field) && !field.includes(delimiter);
  const alone = fields.length === 1 && fields[0]!.trim() === "";
  return fields.map((field) => (plain(field) && !alone ? field : `"${field.replaceAll('"', '""')}"`)).join(delimiter);
}
