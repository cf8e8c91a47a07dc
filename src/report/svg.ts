/**
 * @file Curves as a pure function: numbers in, one SVG element as text out. No scripts, no fonts, nothing fetched.
 *
 * Colours are CSS variables with fallbacks (`--s0` … series, `--ink`, `--faint`), so a page can give light and dark; a chart
 * alone in a file is readable too. Everything that is text is escaped. Values that are not finite are left out, never drawn.
 */

import { extent, highest } from "../base/extent.js";
import { type Box, levelLines, placed, stageStrips } from "./annotations.js";
import type { LineChart, Series } from "./charts.js";
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
  textWidth,
  ticks,
  xLabels,
} from "./svg-parts.js";

export type { LineChart, Series };

/** Longest polyline drawn; longer series are thinned to the lowest and highest of each stretch, so peaks stay. */
const maxPoints = 800;

/** Loss against steps, score against FLOPs, … */
export const lineChart = (chart: LineChart): string => drawLineChart(chart).svg;

/** A drawn chart, and where its x axis lies in it. */
export interface DrawnLines {
  readonly svg: string;
  /** Pixels of the left and right end of the x axis in the SVG's own units, and the values there; null where nothing is drawn. */
  readonly axis: { readonly left: number; readonly right: number; readonly from: number; readonly to: number } | null;
  readonly width: number;
}

/** As lineChart, for a page that reads values off under the pointer. */
export function drawLineChart(chart: LineChart): DrawnLines {
  const { width = 480, height: plotHeight = 270, formatX = plain, formatY = plain } = chart;
  const series = chart.series.map((s) => ({
    ...s,
    points: thin(s.points.filter(([x, y]) => Number.isFinite(x) && Number.isFinite(y))),
    stages: s.stages?.filter(({ x }) => Number.isFinite(x)),
  }));
  const given = chart.marks?.filter((m) => Number.isFinite(m.x)) ?? [];
  const levels = chart.levels?.filter((l) => Number.isFinite(l.y)) ?? [];
  const xs = [
    ...series.flatMap((s) => [...s.points.map(([x]) => x), ...(s.stages ?? []).map(({ x }) => x)]),
    ...given.map((m) => m.x),
  ];
  const ys = [...series.flatMap((s) => s.points.map(([, y]) => y)), ...levels.map((l) => l.y)];
  if (xs.length === 0 || ys.length === 0) return { svg: emptyChart(chart.title, width, plotHeight), axis: null, width };
  const [x0, x1] = fromZero(...extent(xs));
  const [y0, y1] = spread(...extent(ys), 0.05);
  const yTicks = labelled(ticks(y0, y1, 5), formatY);
  const yTitle = fitted(chart.y, width - 8);
  const names = legend(series, textWidth(yTitle) + 20, width);
  const widest = highest(
    yTicks.map(([, label]) => textWidth(label)),
    0,
  );
  const left = Math.ceil(Math.min(width / 3, Math.max(40, 12 + widest)));
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
      const line = `<polyline fill="none" stroke="${seriesColor(i)}" stroke-width="1.8" stroke-linejoin="round"${seriesDash(i)} points="${s.points
        .map(([x, y]) => `${X(x)},${Y(y)}`)
        .join(" ")}"/>`;
      const dots = (s.dots || s.points.length === 1 ? s.points : []).map(([x, y]) =>
        marker(i, X(x), Y(y), `${s.name}: ${formatY(y)} at ${formatX(x)}`),
      );
      return line + dots.join("");
    }),
    ...levelLines(levels, Y, box, formatY),
    centred(chart.x, (box.left + box.right) / 2, height - 8, width),
    names.drawn,
  ];
  return {
    svg: svg(chart.title, width, height, `${parts.join("\n")}\n${text(yTitle, 4, 13, "start")}`),
    axis: { left, right, from: x0, to: x1 },
    width,
  };
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
