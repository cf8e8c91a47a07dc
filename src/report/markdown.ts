/**
 * @file Tables and small drawings as text. In: cells. Out: Markdown (aligned, so that it reads well in a terminal too).
 */
import { extent, highest } from "../base/extent.js";

/** One column: heading and side. Numbers are best aligned on the right. */
export interface Column {
  readonly head: string;
  readonly align?: "left" | "right";
}

/** A Markdown table whose columns line up. Bars in cells are escaped. */
export function markdownTable(columns: readonly (string | Column)[], rows: readonly (readonly string[])[]): string {
  const heads = columns.map((c) => (typeof c === "string" ? { head: c } : c)) as readonly Column[];
  const clean = (cell: string) => cell.replaceAll("|", "\\|").replaceAll(/\s*\n\s*/g, " ");
  const cells = rows.map((row) => heads.map((_, i) => clean(row[i] ?? "")));
  const widths = heads.map((h, i) =>
    highest(
      cells.map((row) => textWidth(row[i]!)),
      Math.max(3, textWidth(h.head)),
    ),
  );
  const pad = (text: string, i: number) => {
    const fill = " ".repeat(widths[i]! - textWidth(text));
    return heads[i]!.align === "right" ? fill + text : text + fill;
  };
  const line = (row: readonly string[]) => `| ${row.map(pad).join(" | ")} |`;
  const rule = heads.map((h, i) => (h.align === "right" ? `${"-".repeat(widths[i]! - 1)}:` : "-".repeat(widths[i]!)));
  return [line(heads.map((h) => clean(h.head))), `| ${rule.join(" | ")} |`, ...cells.map(line)].join("\n");
}

/** The same cells without rules, for a terminal. */
export function plainTable(rows: readonly (readonly string[])[], gap = 2): string {
  const widths = (rows[0] ?? []).map((_, i) => highest(rows.map((row) => textWidth(row[i] ?? ""))));
  return rows
    .map((row) =>
      row
        .map((cell, i) => cell + " ".repeat(widths[i]! - textWidth(cell) + gap))
        .join("")
        .trimEnd(),
    )
    .join("\n");
}

/** Eight-level line of blocks, one character per value after averaging down to `width`. Not finite → blank. */
export function sparkline(values: readonly number[], width: number): string {
  const blocks = "▁▂▃▄▅▆▇█";
  const step = Math.max(1, values.length / width);
  const points = Array.from({ length: Math.min(width, values.length) }, (_, i) => {
    const part = values.slice(Math.floor(i * step), Math.max(Math.floor(i * step) + 1, Math.floor((i + 1) * step)));
    const finite = part.filter(Number.isFinite);
    return finite.length === 0 ? Number.NaN : finite.reduce((a, b) => a + b, 0) / finite.length;
  });
  const finite = points.filter(Number.isFinite);
  const [low, high] = extent(finite);
  return points
    .map((p) => (Number.isFinite(p) ? blocks[high > low ? Math.round(((p - low) / (high - low)) * 7) : 0] : " "))
    .join("");
}

/** Columns a text takes: code points, without zero-width marks. */
function textWidth(text: string): number {
  return [...text.replaceAll(/[\u0300-\u036f\u200b-\u200d]/g, "")].length;
}
