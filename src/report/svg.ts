/**
 * @file Charts as pure functions: numbers in, one SVG element as text out. No scripts, no fonts, nothing fetched.
 *
 * Colours are CSS variables with fallbacks (`--s0` … series, `--ink`, `--faint`), so a page can give light and dark; a chart
 * alone in a file is readable too. Everything that is text is escaped. Values that are not finite are left out, never drawn.
 */

import { extent, highest } from "../base/extent.js";
import {
  emptyChart,
  escapeXml,
  faint,
  ink,
  legend,
  lineHeight,
  plain,
  round,
  seriesColor,
  spread,
  svg,
  text,
  textWidth,
  ticks,
  tickText,
  xLabels,
} from "./svg-parts.js";

export interface Series {
  readonly name: string;
  /** [x, y] in ascending x. */
  readonly points: readonly (readonly [number, number])[];
  /** [x, low, high]: a shaded band, e.g. mean ± one standard deviation over seeds. */
  readonly band?: readonly (readonly [number, number, number])[];
  /** Draw the points as dots too (evaluations, not losses). */
  readonly dots?: boolean;
  readonly dashed?: boolean;
}

export interface LineChart {
  readonly title: string;
  readonly x: string;
  readonly y: string;
  readonly series: readonly Series[];
  /** Vertical lines with a label: stage boundaries. */
  readonly marks?: readonly { readonly x: number; readonly label: string }[];
  /** Horizontal lines with a label: a majority baseline. */
  readonly levels?: readonly { readonly y: number; readonly label: string }[];
  /** How x and y numbers read; default: at most four digits. */
  readonly formatX?: (value: number) => string;
  readonly formatY?: (value: number) => string;
  readonly width?: number;
  readonly height?: number;
}

/** Longest polyline drawn; longer series are thinned to the lowest and highest of each stretch, so peaks stay. */
const maxPoints = 800;

/** Loss against steps, score against FLOPs, … */
export function lineChart(chart: LineChart): string {
  const { width = 720, height = 280, formatX = plain, formatY = plain } = chart;
  const series = chart.series.map((s) => ({
    ...s,
    points: thin(s.points.filter(([x, y]) => Number.isFinite(x) && Number.isFinite(y))),
    band: s.band?.filter((b) => b.every(Number.isFinite)),
  }));
  const given = chart.marks?.filter((m) => Number.isFinite(m.x)) ?? [];
  const levels = chart.levels?.filter((l) => Number.isFinite(l.y)) ?? [];
  const xs = [...series.flatMap((s) => s.points.map(([x]) => x)), ...given.map((m) => m.x)];
  const ys = [
    ...series.flatMap((s) => [...s.points.map(([, y]) => y), ...(s.band ?? []).flatMap(([, l, h]) => [l, h])]),
    ...levels.map((l) => l.y),
  ];
  if (xs.length === 0 || ys.length === 0) return emptyChart(chart.title, width, height);
  const [x0, x1] = spread(...extent(xs));
  const [lowest, y1] = spread(...extent(ys), 0.05);
  const y0 = levels.length > 1 ? lowest - 0.05 * (y1 - lowest) : lowest; // room for a label under the lowest line
  const yTicks = ticks(y0, y1, 5);
  const names = legend(
    series.map((s) => s.name),
    textWidth(chart.y) + 20,
    width,
  );
  const left = Math.ceil(Math.max(40, 12 + Math.max(...yTicks.map((t) => textWidth(tickText(formatY(t)))))));
  const X = (x: number) => round(box.left + ((x - x0) / (x1 - x0)) * (box.right - box.left));
  const box = { left, right: width - 14, top: 22 + names.height, bottom: height - 44 };
  const marks = placed(given, X, box.right);
  box.top += marks.height;
  const Y = (y: number) => round(box.bottom - ((y - y0) / (y1 - y0)) * (box.bottom - box.top));
  const parts = [
    ...yTicks.map(
      (t) =>
        `<line x1="${box.left}" x2="${box.right}" y1="${Y(t)}" y2="${Y(t)}" stroke="${faint}" stroke-width="1"/>` +
        text(tickText(formatY(t)), box.left - 6, Y(t) + 4, "end"),
    ),
    ...xLabels(ticks(x0, x1, Math.round(width / 80)), formatX, X, box.bottom + 17, width),
    ...marks.places.map(
      ({ x, label, at, row, anchor }) =>
        `<line x1="${at}" x2="${at}" y1="${box.top - 4}" y2="${box.bottom}" stroke="${ink}" stroke-dasharray="2 4" opacity=".6"><title>${escapeXml(`${label} at ${formatX(x)}`)}</title></line>` +
        (row === null ? "" : text(label, at, box.top - 8 - row * lineHeight, anchor)),
    ),
    ...levelLines(levels, Y, box, formatY),
    ...series.map((s, i) => {
      const color = seriesColor(i);
      const band = s.band?.length
        ? `<polygon fill="${color}" opacity=".15" points="${[
            ...s.band.map(([x, , high]) => `${X(x)},${Y(high)}`),
            ...[...s.band].reverse().map(([x, low]) => `${X(x)},${Y(low)}`),
          ].join(" ")}"/>`
        : "";
      const dash = s.dashed ? ' stroke-dasharray="5 4"' : "";
      const line = `<polyline fill="none" stroke="${color}" stroke-width="1.8" stroke-linejoin="round"${dash} points="${s.points
        .map(([x, y]) => `${X(x)},${Y(y)}`)
        .join(" ")}"/>`;
      const dots = (s.dots ? s.points : s.points.length === 1 ? s.points : []).map(
        ([x, y]) =>
          `<circle cx="${X(x)}" cy="${Y(y)}" r="3" fill="${color}"><title>${escapeXml(`${s.name}: ${formatY(y)} at ${formatX(x)}`)}</title></circle>`,
      );
      return band + line + dots.join("");
    }),
    text(chart.x, (box.left + box.right) / 2, height - 8, "middle"),
    names.drawn,
  ];
  return svg(chart.title, width, height, `${parts.join("\n")}\n${text(chart.y, 4, 13, "start")}`);
}

/** Labels of vertical lines in as few rows as they fit in; beyond three rows the rest shows its label on pointing only. */
function placed(
  marks: NonNullable<LineChart["marks"]>,
  X: (x: number) => number,
  right: number,
): { places: { x: number; label: string; at: number; row: number | null; anchor: "start" | "end" }[]; height: number } {
  const rows: number[] = [];
  const places = [...marks]
    .sort((a, b) => a.x - b.x)
    .map(({ x, label }) => {
      const at = X(x);
      const long = textWidth(label);
      const anchor = at + long > right ? ("end" as const) : ("start" as const);
      const start = anchor === "end" ? at - long : at;
      let row = rows.findIndex((end) => end + 6 <= start);
      if (row < 0) row = rows.length;
      if (row > 2) return { x, label, at, row: null, anchor };
      rows[row] = start + long;
      return { x, label, at, row, anchor };
    });
  return { places, height: rows.length === 0 ? 0 : rows.length * lineHeight + 4 };
}

/** Horizontal lines; of two that are close, the lower one has its label below. */
function levelLines(
  levels: NonNullable<LineChart["levels"]>,
  Y: (y: number) => number,
  box: { left: number; right: number },
  format: (value: number) => string,
): string[] {
  const sorted = [...levels].sort((a, b) => b.y - a.y);
  return sorted.map((l, i) => {
    const close = i > 0 && Y(l.y) - Y(sorted[i - 1]!.y) < lineHeight;
    return (
      `<line x1="${box.left}" x2="${box.right}" y1="${Y(l.y)}" y2="${Y(l.y)}" stroke="${ink}" stroke-dasharray="6 4" opacity=".6"/>` +
      text(`${l.label} ${format(l.y)}`, box.right, Y(l.y) + (close ? 13 : -4), "end")
    );
  });
}

/** Counts of values in equal bins (xprompt.md Fig. 6). */
export function histogram(chart: {
  readonly title: string;
  readonly x: string;
  readonly values: readonly number[];
  /** What is counted: "tokens". */
  readonly y?: string;
  readonly bins?: number;
  readonly format?: (value: number) => string;
}): string {
  const values = chart.values.filter(Number.isFinite);
  const { bins = 24, format = plain } = chart;
  if (values.length === 0) return emptyChart(chart.title, 480, 240);
  const [low, high] = spread(...extent(values));
  const counts = new Array<number>(bins).fill(0);
  for (const v of values) counts[Math.min(bins - 1, Math.floor(((v - low) / (high - low)) * bins))]!++;
  const edge = (i: number) => low + ((high - low) * i) / bins;
  const [width, height] = [480, 240];
  const box = { left: 44, right: width - 10, top: 30, bottom: height - 40 };
  const most = Math.max(...counts);
  const Y = (n: number) => round(box.bottom - (n / most) * (box.bottom - box.top));
  const w = (box.right - box.left) / bins;
  const parts = [
    ...ticks(0, most, 4)
      .filter(Number.isInteger) // nobody counts half a token
      .map(
        (t) =>
          `<line x1="${box.left}" x2="${box.right}" y1="${Y(t)}" y2="${Y(t)}" stroke="${faint}" stroke-width="1"/>` +
          text(plain(t), box.left - 6, Y(t) + 4, "end"),
      ),
    ...counts.map(
      (n, i) =>
        `<rect x="${round(box.left + i * w)}" y="${Y(n)}" width="${round(w - 1)}" height="${round(box.bottom - Y(n))}" fill="${seriesColor(0)}"><title>${escapeXml(`${n} from ${format(edge(i))} to ${format(edge(i + 1))}`)}</title></rect>`,
    ),
    ...xLabels(
      ticks(low, high, 5),
      format,
      (t) => box.left + ((t - low) / (high - low)) * (box.right - box.left),
      box.bottom + 17,
      width,
    ),
    text(chart.x, (box.left + box.right) / 2, height - 8, "middle"),
    text(chart.y ?? "count", 4, 13, "start"),
  ];
  return svg(chart.title, width, height, parts.join("\n"));
}

/** One horizontal bar per label, with an optional whisker of ± spread. */
export function bars(chart: {
  readonly title: string;
  readonly x: string;
  readonly entries: readonly { readonly label: string; readonly value: number; readonly spread?: number }[];
  readonly levels?: readonly { readonly x: number; readonly label: string }[];
  readonly format?: (value: number) => string;
}): string {
  const entries = chart.entries.filter((e) => Number.isFinite(e.value));
  const { format = plain } = chart;
  if (entries.length === 0) return emptyChart(chart.title, 560, 120);
  const left = 14 + highest(entries.map((e) => textWidth(e.label)));
  const width = Math.ceil(left + 460);
  const row = 24;
  const [top, height] = [34, 34 + row * entries.length + 36];
  const reach = entries.flatMap((e) => [e.value + (e.spread ?? 0), e.value - (e.spread ?? 0)]);
  const [lowest, most] = extent(reach, [0, 0]);
  const [low, high] = spread(
    lowest,
    highest(
      (chart.levels ?? []).map((l) => l.x),
      most,
    ),
  );
  const X = (v: number) => round(left + ((v - low) / (high - low)) * (width - left - 70));
  const parts = [
    ...entries.map((e, i) => {
      const y = top + i * row;
      const [a, b] = [X(Math.min(0, e.value)), X(Math.max(0, e.value))];
      const whisker = e.spread
        ? `<line x1="${X(e.value - e.spread)}" x2="${X(e.value + e.spread)}" y1="${y + 9}" y2="${y + 9}" stroke="${ink}" stroke-width="1.5"/>`
        : "";
      const tip = X(Math.max(e.value + (e.spread ?? 0), 0)) + 6;
      const number = e.spread ? `${format(e.value)} ± ${format(e.spread)}` : format(e.value);
      return `${text(e.label, left - 6, y + 13, "end")}<rect x="${a}" y="${y}" width="${round(Math.max(1, b - a))}" height="${row - 6}" fill="${seriesColor(0)}"/>${whisker}${text(number, tip, y + 13, "start")}`;
    }),
    ...(chart.levels ?? []).map(
      (l) =>
        `<line x1="${X(l.x)}" x2="${X(l.x)}" y1="${top - 4}" y2="${top + row * entries.length}" stroke="${ink}" stroke-dasharray="4 4" opacity=".6"/>${text(l.label, X(l.x), top - 8, "middle")}`,
    ),
    text(chart.x, left, height - 10, "start"),
  ];
  return svg(chart.title, width, height, parts.join("\n"));
}

function thin(points: readonly (readonly [number, number])[]): (readonly [number, number])[] {
  if (points.length <= maxPoints) return [...points];
  const buckets = maxPoints / 2;
  return Array.from({ length: buckets }, (_, i) => {
    const part = points.slice(
      Math.floor((i * points.length) / buckets),
      Math.floor(((i + 1) * points.length) / buckets),
    );
    const low = part.reduce((a, b) => (b[1] < a[1] ? b : a));
    const high = part.reduce((a, b) => (b[1] > a[1] ? b : a));
    return low === high ? [low] : low[0] < high[0] ? [low, high] : [high, low];
  }).flat();
}
