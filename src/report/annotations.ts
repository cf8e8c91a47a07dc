/**
 * @file Annotations of a chart: strips of stages, and labels of vertical and horizontal lines, placed without overlap.
 *
 * In: places in the chart's own units, and where they lie in the picture. Out: SVG text, and how much room above the plot it takes.
 */

import type { LineChart, Series } from "./charts.js";
import { escapeXml, fitted, ink, lineHeight, round, seriesColor, text, textOver, textWidth } from "./svg-parts.js";

/** The plot within its picture. */
export interface Box {
  readonly left: number;
  readonly right: number;
  readonly top: number;
  readonly bottom: number;
}

/** Draws above the plot a strip of stages for every series that has stages. A stage has its name if there is room, else a number. */
export function stageStrips(
  series: readonly Pick<Series, "name" | "stages">[],
  X: (x: number) => number,
  { left, right, top }: Omit<Box, "bottom">,
  formatX: (value: number) => string,
): { drawn: string; height: number } {
  const pitch = lineHeight + 2;
  const staged = series.flatMap(({ name, stages = [] }, i) => (stages.length > 0 ? [{ name, stages, i }] : []));
  const drawn = staged.flatMap(({ name, stages, i }, row) =>
    stages.map(({ x, label }, n) => {
      const next = stages[n + 1];
      const [from, to] = [Math.max(left, X(x)), next === undefined ? right : Math.max(left, X(next.x))];
      const room = to - from - 6;
      const y = top + row * pitch;
      const shown = [label, String(n + 1)].find((words) => textWidth(words) <= room);
      const told = `${name}, stage ${n + 1} from ${formatX(x)}: ${label}`;
      return (
        `<rect x="${round(from)}" y="${round(y)}" width="${round(Math.max(1, to - from - 1))}" height="${lineHeight}" fill="${seriesColor(i)}" fill-opacity="${n % 2 === 0 ? 0.16 : 0.34}"><title>${escapeXml(told)}</title></rect>` +
        (shown === undefined ? "" : text(shown, from + 3, y + 12, "start"))
      );
    }),
  );
  return { drawn: drawn.join("\n"), height: staged.length === 0 ? 0 : staged.length * pitch + 4 };
}

/** Labels of vertical lines in as few rows as they fit in; beyond three rows, labels are shown only when the pointer is on the line. */
export function placed(
  marks: NonNullable<LineChart["marks"]>,
  X: (x: number) => number,
  { left, right }: Pick<Box, "left" | "right">,
): { places: { x: number; label: string; at: number; row: number | null; anchor: "start" | "end" }[]; height: number } {
  const rows: number[] = [];
  const places = [...marks]
    .sort((a, b) => a.x - b.x)
    .map((mark) => {
      const at = X(mark.x);
      const anchor =
        at + textWidth(mark.label) > right && at - left > right - at ? ("end" as const) : ("start" as const);
      const label = fitted(mark.label, anchor === "end" ? at - left : right - at);
      const long = textWidth(label);
      const start = anchor === "end" ? at - long : at;
      let row = rows.findIndex((end) => end + 6 <= start);
      if (row < 0) row = rows.length;
      if (row > 2) return { ...mark, at, row: null, anchor };
      rows[row] = start + long;
      return { x: mark.x, label, at, row, anchor };
    });
  return { places, height: rows.length === 0 ? 0 : rows.length * lineHeight + 4 };
}

/** Horizontal lines, with labels inside the plot at the right: above their lines, pushed apart where lines are close. */
export function levelLines(
  levels: NonNullable<LineChart["levels"]>,
  Y: (y: number) => number,
  box: Box,
  format: (value: number) => string,
): string[] {
  const sorted = [...levels].sort((a, b) => b.y - a.y);
  const wanted = apart(
    sorted.map(({ y }) => Y(y) - 4),
    lineHeight,
    [box.top + 11, box.bottom - 8],
  );
  return sorted.map((l, i) => {
    const label = fitted(`${l.label} ${format(l.y)}`, box.right - box.left);
    const at = wanted[i];
    return (
      `<line x1="${box.left}" x2="${box.right}" y1="${Y(l.y)}" y2="${Y(l.y)}" stroke="${ink}" stroke-dasharray="6 4" opacity=".6"><title>${escapeXml(`${l.label} ${format(l.y)}`)}</title></line>` +
      (at === undefined ? "" : textOver(label, box.right, at, "end"))
    );
  });
}

/** Moves ascending positions as little as possible so that they are `gap` apart within the bounds. Returns as many as there is room for. */
function apart(places: readonly number[], gap: number, [low, high]: readonly [number, number]): number[] {
  const out: number[] = [];
  for (const place of places.slice(0, Math.floor((high - low) / gap) + 1))
    out.push(Math.max(place, low, (out.at(-1) ?? Number.NEGATIVE_INFINITY) + gap));
  for (let i = out.length - 1, most = high; i >= 0; i--, most -= gap) out[i] = Math.min(out[i]!, most);
  return out;
}
