/**
 * @file Charts as pure functions: numbers in, one SVG element as text out. No scripts, no fonts, nothing fetched.
 *
 * Colours are CSS variables with fallbacks (`--s0` … series, `--ink`, `--faint`), so a page can give light and dark; a chart
 * alone in a file is readable too. Everything that is text is escaped. Values that are not finite are left out, never drawn.
 */

import { extent, highest } from "../base/extent.js";
import {
  centred,
  emptyChart,
  escapeXml,
  faint,
  fitted,
  fromZero,
  ink,
  labelled,
  legend,
  lineHeight,
  marker,
  plain,
  round,
  seriesColor,
  seriesDash,
  spread,
  svg,
  text,
  textOver,
  textWidth,
  ticks,
  xLabels,
} from "./svg-parts.js";

export interface Series {
  readonly name: string;
  /** [x, y] in ascending x. */
  readonly points: readonly (readonly [number, number])[];
  /** [x, low, high]: a shaded band, e.g. mean ± one standard deviation over seeds. */
  readonly band?: readonly (readonly [number, number, number])[];
  /** Draw the points too (evaluations, not losses). */
  readonly dots?: boolean;
  /** Where another model took over, ascending, the first stage among them: a strip of the series' own above the chart. */
  readonly stages?: readonly { readonly x: number; readonly label: string }[];
}

export interface LineChart {
  readonly title: string;
  readonly x: string;
  readonly y: string;
  readonly series: readonly Series[];
  /** Vertical lines with a label: the step that is kept. */
  readonly marks?: readonly { readonly x: number; readonly label: string }[];
  /** Horizontal lines with a label: a majority baseline. */
  readonly levels?: readonly { readonly y: number; readonly label: string }[];
  /** x counts something: its ticks are whole numbers. */
  readonly wholeX?: boolean;
  /** How x and y numbers read; default: at most four digits. */
  readonly formatX?: (value: number) => string;
  readonly formatY?: (value: number) => string;
  readonly width?: number;
  /** With one row above the plot; strips, marks and further rows of the legend are added to it. */
  readonly height?: number;
}

/** Longest polyline drawn; longer series are thinned to the lowest and highest of each stretch, so peaks stay. */
const maxPoints = 800;

interface Box {
  readonly left: number;
  readonly right: number;
  readonly top: number;
  readonly bottom: number;
}

/** Loss against steps, score against FLOPs, … */
export function lineChart(chart: LineChart): string {
  const { width = 480, height: plotHeight = 270, formatX = plain, formatY = plain } = chart;
  const series = chart.series.map((s) => ({
    ...s,
    points: thin(s.points.filter(([x, y]) => Number.isFinite(x) && Number.isFinite(y))),
    band: s.band?.filter((b) => b.every(Number.isFinite)),
    stages: s.stages?.filter(({ x }) => Number.isFinite(x)),
  }));
  const given = chart.marks?.filter((m) => Number.isFinite(m.x)) ?? [];
  const levels = chart.levels?.filter((l) => Number.isFinite(l.y)) ?? [];
  const xs = [
    ...series.flatMap((s) => [...s.points.map(([x]) => x), ...(s.stages ?? []).map(({ x }) => x)]),
    ...given.map((m) => m.x),
  ];
  const ys = [
    ...series.flatMap((s) => [...s.points.map(([, y]) => y), ...(s.band ?? []).flatMap(([, l, h]) => [l, h])]),
    ...levels.map((l) => l.y),
  ];
  if (xs.length === 0 || ys.length === 0) return emptyChart(chart.title, width, plotHeight);
  const [x0, x1] = fromZero(...extent(xs));
  const [y0, y1] = spread(...extent(ys), 0.05);
  const yTicks = labelled(ticks(y0, y1, 5), formatY);
  const yTitle = fitted(chart.y, width - 8);
  const names = legend(series, textWidth(yTitle) + 20, width);
  const left = Math.ceil(
    Math.min(
      width / 3,
      Math.max(
        40,
        12 +
          highest(
            yTicks.map(([, label]) => textWidth(label)),
            0,
          ),
      ),
    ),
  );
  const right = width - 14;
  const X = (x: number) => round(left + ((x - x0) / (x1 - x0)) * (right - left));
  const strips = stageStrips(series, X, { left, right, top: 22 + names.height }, formatX);
  const marks = placed(given, X, { left, right });
  const top = 22 + names.height + strips.height + marks.height;
  const height = plotHeight + top - 22;
  const box: Box = { left, right, top, bottom: height - 44 };
  const Y = (y: number) => round(box.bottom - ((y - y0) / (y1 - y0)) * (box.bottom - box.top));
  const xTicks = ticks(x0, x1, Math.round(width / 80)).filter((t) => !chart.wholeX || Number.isInteger(t));
  const parts = [
    ...yTicks.map(
      ([t, label]) =>
        `<line x1="${box.left}" x2="${box.right}" y1="${Y(t)}" y2="${Y(t)}" stroke="${faint}" stroke-width="1"/>` +
        text(fitted(label, box.left - 8), box.left - 6, Y(t) + 4, "end"),
    ),
    ...xLabels(xTicks, formatX, X, box.bottom + 17, width),
    strips.drawn,
    ...marks.places.map(
      ({ x, label, at, row, anchor }) =>
        `<line x1="${at}" x2="${at}" y1="${box.top - 4}" y2="${box.bottom}" stroke="${ink}" stroke-dasharray="2 4" opacity=".6"><title>${escapeXml(`${label} at ${formatX(x)}`)}</title></line>` +
        (row === null ? "" : text(label, at, box.top - 8 - row * lineHeight, anchor)),
    ),
    ...series.map((s, i) => {
      const color = seriesColor(i);
      const band = s.band?.length
        ? `<polygon fill="${color}" opacity=".15" points="${[
            ...s.band.map(([x, , high]) => `${X(x)},${Y(high)}`),
            ...[...s.band].reverse().map(([x, low]) => `${X(x)},${Y(low)}`),
          ].join(" ")}"/>`
        : "";
      const line = `<polyline fill="none" stroke="${color}" stroke-width="1.8" stroke-linejoin="round"${seriesDash(i)} points="${s.points
        .map(([x, y]) => `${X(x)},${Y(y)}`)
        .join(" ")}"/>`;
      const dots = (s.dots || s.points.length === 1 ? s.points : []).map(([x, y]) =>
        marker(i, X(x), Y(y), `${s.name}: ${formatY(y)} at ${formatX(x)}`),
      );
      return band + line + dots.join("");
    }),
    ...levelLines(levels, Y, box, formatY),
    centred(chart.x, (box.left + box.right) / 2, height - 8, width),
    names.drawn,
  ];
  return svg(chart.title, width, height, `${parts.join("\n")}\n${text(yTitle, 4, 13, "start")}`);
}

/** Above the plot, for every series that has stages, a strip of them: named where the name has room, else numbered. */
function stageStrips(
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

/** Labels of vertical lines in as few rows as they fit in; beyond three rows the rest shows its label on pointing only. */
function placed(
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
function levelLines(
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

/** Ascending places moved as little as keeps them `gap` apart within the bounds; as many of them as there is room for. */
function apart(places: readonly number[], gap: number, [low, high]: readonly [number, number]): number[] {
  const out: number[] = [];
  for (const place of places.slice(0, Math.floor((high - low) / gap) + 1))
    out.push(Math.max(place, low, (out.at(-1) ?? Number.NEGATIVE_INFINITY) + gap));
  for (let i = out.length - 1, most = high; i >= 0; i--, most -= gap) out[i] = Math.min(out[i]!, most);
  return out;
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
    centred(chart.x, (box.left + box.right) / 2, height - 8, width),
    text(fitted(chart.y ?? "count", width - 8), 4, 13, "start"),
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
