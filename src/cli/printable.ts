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

/** A block of lines with aligned cells, found by columns that are blank in all lines. Narrower cells are cut last. */
function fitted(lines: readonly string[], columns: number): string[] {
  const longest = Math.max(...lines.map((line) => line.length));
  const padded = lines.map((line) => line.padEnd(longest));
  const blank = Array.from({ length: longest }, (_, at) => padded.every((line) => line[at] === " "));
  const starts = blank.flatMap((_, at) =>
    !blank[at] && (at === 0 || (blank[at - 1] && (at < 2 || blank[at - 2]))) ? [at] : [],
  );
  const cells = padded.map((line) => starts.map((from, n) => line.slice(from, starts[n + 1] ?? longest).trimEnd()));
  const widths = starts.map((_, n) => Math.max(...cells.map((row) => columnsOf(row[n]!))));
  const gaps = 2 * (starts.length - 1) + (starts[0] ?? 0);
  const least = 6;
  for (;;) {
    const widest = widths.reduce((best, width, n) => (width > widths[best]! ? n : best), 0);
    if (widths.reduce((sum, width) => sum + width, gaps) <= columns || widths[widest]! <= least) break;
    widths[widest]!--;
  }
  return cells.map((row) => {
    const line = row.map((cell, n) => {
      const text = cutTo(cell, widths[n]!);
      return text + " ".repeat(Math.max(0, widths[n]! - columnsOf(text)));
    });
    return cutTo(" ".repeat(starts[0] ?? 0) + line.join("  ").trimEnd(), columns);
  });
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
