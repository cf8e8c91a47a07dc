/**
 * @file Measured values beside each other: a dot per label with a whisker of ± deviation, on an axis that need not begin at zero.
 * In: labels, means, deviations. Out: one SVG element as text.
 */
import { extent, highest } from "../base/extent.js";
import {
  centred,
  emptyChart,
  faint,
  fitted,
  ink,
  plain,
  round,
  seriesColor,
  spread,
  svg,
  text,
  textWidth,
  ticks,
  xLabels,
} from "./svg-parts.js";

export interface Dots {
  readonly title: string;
  /** What the axis is: "accuracy × 100". */
  readonly x: string;
  /** Not finite: the label stays, without a dot. */
  readonly entries: readonly { readonly label: string; readonly value: number; readonly deviation?: number | null }[];
  readonly format?: (value: number) => string;
  /** A value with a line of its own from top to bottom, always within the axis: 0 for differences. Default none. */
  readonly mark?: number;
  /** Longer labels are cut, in pixels; default 170. */
  readonly labelWidth?: number;
}

const row = 22;
/** Widths with which a phone shows the longest label, the numbers, and a plot in which dots can still be distinguished. */
const [longestLabel, plotWidth] = [170, 230];

/** One row per entry, in the order given. */
export function dots({ title, x, entries, format = plain, mark, labelWidth = longestLabel }: Dots): string {
  const known = entries.filter((e) => Number.isFinite(e.value));
  if (known.length === 0) return emptyChart(title, 480, 120);
  const labels = entries.map((e) => fitted(e.label, labelWidth));
  const left = 14 + highest(labels.map(textWidth));
  const numbers = 16 + highest(known.map((e) => textWidth(numberOf(e, format))));
  const box = { left, right: left + plotWidth, top: 8, bottom: 8 + row * entries.length };
  const width = Math.ceil(box.right + numbers);
  const [low, high] = spread(
    ...extent([
      ...known.flatMap((e) => [e.value - (e.deviation ?? 0), e.value + (e.deviation ?? 0)]),
      ...(mark === undefined ? [] : [mark]),
    ]),
    0.04,
  );
  const X = (v: number) => round(box.left + ((v - low) / (high - low)) * (box.right - box.left));
  const at = ticks(low, high, 5);
  return svg(
    title,
    width,
    box.bottom + 42,
    [
      ...at.map((t) => line(X(t), X(t), box.top, box.bottom, faint, 1)),
      ...(mark === undefined ? [] : [line(X(mark), X(mark), box.top, box.bottom, ink, 1)]),
      ...entries.map((e, i) => {
        const y = box.top + row * (i + 0.5);
        const label = text(labels[i]!, left - 8, y + 4, "end");
        if (!Number.isFinite(e.value)) return label;
        const whisker = e.deviation ? line(X(e.value - e.deviation), X(e.value + e.deviation), y, y, ink, 1.5) : "";
        const dot = `<circle cx="${X(e.value)}" cy="${round(y)}" r="4.5" fill="${seriesColor(0)}"/>`;
        return `${label}${whisker}${dot}${text(numberOf(e, format), box.right + 10, y + 4, "start")}`;
      }),
      ...xLabels(at, format, X, box.bottom + 16, width),
      centred(x, (box.left + box.right) / 2, box.bottom + 34, width),
    ].join("\n"),
  );
}

function numberOf({ value, deviation }: Dots["entries"][number], format: (value: number) => string): string {
  return deviation ? `${format(value)} ± ${format(deviation)}` : format(value);
}

function line(x1: number, x2: number, y1: number, y2: number, stroke: string, width: number): string {
  return `<line x1="${x1}" x2="${x2}" y1="${round(y1)}" y2="${round(y2)}" stroke="${stroke}" stroke-width="${width}"/>`;
}
