/**
 * @file Prepares text for a terminal: escapes users' control characters, makes our own colours, and limits the width of lines.
 *
 * In texts a placeholder character stands for the begin of a colour sequence. It is chosen at random per process, so that an escape
 * sequence in data is never treated as one of our colours.
 */
import { randomInt } from "node:crypto";
import picocolors from "picocolors";
import { printable } from "../base/printable.js";

export type Colors = ReturnType<typeof picocolors.createColors>;

/** The placeholder of "ESC [" in a text, from the private planes. */
const mark = String.fromCodePoint(randomInt(0xf0000, 0xffffe));
const marks = new RegExp(`${mark}(?=[\\d;]*m)`, "gu");
const markedColor = new RegExp(`${mark}[\\d;]*m`, "gu");

/** Colours for texts that a Terminal writes. */
export function colorsFor(wanted: boolean): Colors {
  const real = picocolors.createColors(wanted);
  if (!wanted) return real;
  return Object.fromEntries(
    Object.entries(real).map(([name, color]) => [
      name,
      typeof color === "function" ? (text: unknown) => color(text as string).replaceAll("\x1b[", mark) : color,
    ]),
  ) as unknown as Colors;
}

/** The text with users' control characters as escapes (base/printable.ts). Our own colours become escape sequences. */
export function forTerminal(text: string): string {
  return printable(text).replaceAll(marks, "\x1b[");
}

/** Columns that a text takes on a terminal: two for East Asian wide characters and emoji, none for colours and combining marks. */
export function columnsOf(text: string): number {
  let columns = 0;
  for (const char of text.replaceAll(markedColor, "")) columns += widthOf(char);
  return columns;
}

function widthOf(char: string): number {
  if (/\p{Mark}|[\u200b-\u200d]/u.test(char)) return 0;
  return /[\u1100-\u115f\u2e80-\ua4cf\uac00-\ud7a3\uf900-\ufaff\ufe30-\ufe4f\uff00-\uff60\uffe0-\uffe6]|[\u{1f300}-\u{1faff}]|[\u{20000}-\u{3fffd}]/u.test(
    char,
  )
    ? 2
    : 1;
}

/** The text cut to so many columns, with an ellipsis where something is left out. */
export function cutTo(text: string, columns: number): string {
  if (columnsOf(text) <= columns) return text;
  let [kept, taken] = ["", 0];
  for (const [part] of text.matchAll(new RegExp(`${mark}[\\d;]*m|.`, "gsu"))) {
    if (part.startsWith(mark) && part.length > 2)
      kept += part; // an opened colour is also closed
    else if (taken >= 0 && taken + widthOf(part) <= columns - 1) {
      kept += part;
      taken += widthOf(part);
    } else if (taken >= 0) {
      kept += "…";
      taken = -1;
    }
  }
  return kept;
}

/** A cell is cut to no fewer columns, as long as the table can be put in several parts. */
const leastCell = 6;

/**
 * A block of lines with aligned cells, found by columns that are blank in all lines. Narrower cells are cut last. Where cells would be cut to
 * nothing, the table is put in parts below each other, each with the first cells.
 */
function fitted(lines: readonly string[], columns: number): string[] {
  const longest = Math.max(...lines.map((line) => line.length));
  const padded = lines.map((line) => line.padEnd(longest));
  const blank = Array.from({ length: longest }, (_, at) => padded.every((line) => line[at] === " "));
  const starts = blank.flatMap((_, at) =>
    !blank[at] && (at === 0 || (blank[at - 1] && (at < 2 || blank[at - 2]))) ? [at] : [],
  );
  const cells = padded.map((line) => starts.map((from, n) => line.slice(from, starts[n + 1] ?? longest).trimEnd()));
  const widths = starts.map((_, n) => Math.max(...cells.map((row) => columnsOf(row[n]!))));
  const indent = starts[0] ?? 0;
  const bars = lines[0]!.startsWith("|");
  const parts = bars ? [widths.map((_, n) => n)] : partsWithin(widths, columns - indent);
  return parts.flatMap((part, at) => {
    const narrow = narrowed(
      part.map((n) => widths[n]!),
      columns - indent,
    );
    const texts = cells.map((row) => {
      const line = part.map((n, i) => {
        const text = cutTo(row[n]!, narrow[i]!);
        return text + " ".repeat(Math.max(0, narrow[i]! - columnsOf(text)));
      });
      return cutTo(" ".repeat(indent) + line.join("  ").trimEnd(), columns);
    });
    return at === 0 ? texts : ["", ...texts];
  });
}

/** The cells of each part of a table, by their number: as many as have room when they are cut, the first one in all. */
function partsWithin(widths: readonly number[], columns: number): number[][] {
  const least = widths.map((width) => Math.min(width, leastCell));
  const parts: number[][] = [[0]];
  let taken = least[0]!;
  for (let n = 1; n < least.length; n++) {
    if (taken + 2 + least[n]! > columns && parts.at(-1)!.length > 1) {
      parts.push([0]);
      taken = least[0]!;
    }
    parts.at(-1)!.push(n);
    taken += 2 + least[n]!;
  }
  return parts;
}

/** The widths with the widest made smaller until they fit, two columns between them. */
function narrowed(widths: readonly number[], columns: number): number[] {
  const narrow = [...widths];
  const gaps = 2 * (narrow.length - 1);
  for (;;) {
    const widest = narrow.reduce((best, width, n) => (width > narrow[best]! ? n : best), 0);
    if (narrow.reduce((sum, width) => sum + width, gaps) <= columns || narrow[widest]! <= leastCell) return narrow;
    narrow[widest]!--;
  }
}

/** Whether a line is a row of a table, not a sentence or a path: its cells are separated by several blanks (or bars). */
const isRow = (line: string) => (line.trim().match(/\S {2,}(?=\S)/g)?.length ?? 0) >= 2 || /^\|.*\|$/.test(line);

/**
 * The text with its tables cut to the terminal's width; all other lines are left for the terminal to wrap, because a cut path is useless.
 */
export function tablesWithin(text: string, columns: number): string {
  const out: string[] = [];
  const lines = text.split("\n");
  for (let at = 0; at < lines.length; ) {
    let end = at;
    while (end < lines.length && isRow(lines[end]!)) end++;
    if (end === at) out.push(lines[at++]!);
    else {
      const block = lines.slice(at, end);
      const wide = block.some((line) => columnsOf(line) > columns);
      out.push(...(wide && !block.some((line) => line.includes(mark)) ? fitted(block, columns) : block));
      at = end;
    }
  }
  return out.join("\n");
}
