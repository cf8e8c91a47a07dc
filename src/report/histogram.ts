/**
 * @file Counts of values as bars. In: values. Out: one SVG element as text.
 */
import { extent } from "../base/extent.js";
import {
  centred,
  emptyChart,
  escapeXml,
  faint,
  fitted,
  plain,
  round,
  seriesColor,
  spread,
  svg,
  text,
  ticks,
  xLabels,
} from "./svg-parts.js";

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
      .filter(Number.isInteger) // counts have no fractions
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
