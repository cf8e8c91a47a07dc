/**
 * @file Charts as pure functions: numbers in, one SVG element as text out. No scripts, no fonts, nothing fetched.
 *
 * Colours are CSS variables with fallbacks (`--s0` … series, `--ink`, `--faint`), so a page can give light and dark; a chart
 * alone in a file is readable too. Everything that is text is escaped. Values that are not finite are left out, never drawn.
 */

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

const palette = ["#2563eb", "#d97706", "#059669", "#db2777", "#7c3aed", "#0891b2", "#65a30d", "#dc2626"];
const seriesColor = (i: number) => `var(--s${i % palette.length}, ${palette[i % palette.length]})`;
const ink = "var(--ink, #1f2937)";
const faint = "var(--faint, #d1d5db)";
const plain = (value: number) => String(Number(value.toPrecision(4)));

/** Longest polyline drawn; longer series are thinned to the lowest and highest of each stretch, so peaks stay. */
const maxPoints = 800;

/** Loss against steps, score against FLOPs, … */
export function lineChart(chart: LineChart): string {
  const { width = 720, height = 280, formatX = plain, formatY = plain } = chart;
  const box = { left: 58, right: width - 14, top: 30, bottom: height - 44 };
  const series = chart.series.map((s) => ({
    ...s,
    points: thin(s.points.filter(([x, y]) => Number.isFinite(x) && Number.isFinite(y))),
    band: s.band?.filter((b) => b.every(Number.isFinite)),
  }));
  const xs = [...series.flatMap((s) => s.points.map(([x]) => x)), ...(chart.marks ?? []).map((m) => m.x)];
  const ys = [
    ...series.flatMap((s) => [...s.points.map(([, y]) => y), ...(s.band ?? []).flatMap(([, l, h]) => [l, h])]),
    ...(chart.levels ?? []).map((l) => l.y),
  ].filter(Number.isFinite);
  if (xs.length === 0 || ys.length === 0) return emptyChart(chart.title, width, height);
  const [x0, x1] = spread(Math.min(...xs), Math.max(...xs));
  const [y0, y1] = spread(Math.min(...ys), Math.max(...ys), 0.05);
  const X = (x: number) => round(box.left + ((x - x0) / (x1 - x0)) * (box.right - box.left));
  const Y = (y: number) => round(box.bottom - ((y - y0) / (y1 - y0)) * (box.bottom - box.top));
  const parts = [
    ...ticks(y0, y1, 5).map(
      (t) =>
        `<line x1="${box.left}" x2="${box.right}" y1="${Y(t)}" y2="${Y(t)}" stroke="${faint}" stroke-width="1"/>` +
        text(formatY(t), box.left - 6, Y(t) + 4, "end"),
    ),
    ...ticks(x0, x1, 6).map((t) => text(formatX(t), X(t), box.bottom + 16, "middle")),
    ...(chart.marks ?? []).map(
      (m) =>
        `<line x1="${X(m.x)}" x2="${X(m.x)}" y1="${box.top}" y2="${box.bottom}" stroke="${ink}" stroke-dasharray="2 4" opacity=".6"/>` +
        text(m.label, X(m.x) + 4, box.top + 10, "start"),
    ),
    ...(chart.levels ?? []).map(
      (l) =>
        `<line x1="${box.left}" x2="${box.right}" y1="${Y(l.y)}" y2="${Y(l.y)}" stroke="${ink}" stroke-dasharray="6 4" opacity=".6"/>` +
        text(l.label, box.right, Y(l.y) - 4, "end"),
    ),
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
    legend(
      series.map((s) => s.name),
      box.left,
      box.top - 8,
    ),
  ];
  return svg(chart.title, width, height, `${parts.join("\n")}\n${text(chart.y, 4, 12, "start")}`);
}

export interface HeatMap {
  readonly title: string;
  readonly rows: readonly string[];
  readonly columns: readonly string[];
  /** [row][column]; null is drawn grey: a pruned piece, a value that does not exist. */
  readonly values: readonly (readonly (number | null)[])[];
  /** Colour range; the values' own by default. */
  readonly range?: readonly [number, number];
  /** Write the number into each cell. Default: when there are at most 12 columns. */
  readonly numbers?: boolean;
  readonly format?: (value: number) => string;
  /** Side of a cell in pixels; by default what fits. */
  readonly cell?: number;
}

/** A matrix: similarity of prompts, saliency of pieces (xprompt.md Fig. 9). */
export function heatMap(map: HeatMap): string {
  const { format = (v: number) => v.toFixed(2), numbers = map.columns.length <= 12 } = map;
  const finite = map.values.flat().filter((v): v is number => v !== null && Number.isFinite(v));
  const [low, high] = map.range ?? spread(Math.min(...finite, 1), Math.max(...finite, 0));
  const cell = map.cell ?? Math.max(6, Math.min(numbers ? 52 : 22, Math.floor(640 / Math.max(1, map.columns.length))));
  const rowHeight = numbers ? Math.min(cell, 30) : cell;
  const left = 12 + 6.5 * Math.max(0, ...map.rows.map((r) => r.length));
  const slanted = map.columns.some((c) => c.length * 6.5 > cell);
  const top = 34 + (slanted ? 5 * Math.max(0, ...map.columns.map((c) => c.length)) : 14);
  const width = Math.ceil(left + cell * map.columns.length + 90);
  const height = Math.ceil(top + rowHeight * map.rows.length + 16);
  const cells = map.values.flatMap((row, r) =>
    row.map((value, c) => {
      const known = value !== null && Number.isFinite(value);
      const share = known ? (value - low) / (high - low || 1) : 0;
      const [x, y] = [round(left + c * cell), round(top + r * rowHeight)];
      const label = `${map.rows[r] ?? r} · ${map.columns[c] ?? c}: ${known ? format(value) : "none"}`;
      return (
        `<rect x="${x}" y="${y}" width="${cell - 1}" height="${rowHeight - 1}" fill="${known ? viridis(share) : "var(--void, #9ca3af)"}"><title>${escapeXml(label)}</title></rect>` +
        (numbers && known
          ? `<text x="${x + cell / 2 - 0.5}" y="${y + rowHeight / 2 + 4}" text-anchor="middle" font-size="11" fill="${share > 0.6 ? "#111827" : "#f9fafb"}">${escapeXml(format(value))}</text>`
          : "")
      );
    }),
  );
  const every = Math.max(1, Math.ceil(14 / rowHeight));
  const everyColumn = slanted ? Math.max(1, Math.ceil(12 / cell)) : 1;
  const labels = [
    ...map.rows.map((r, i) => (i % every ? "" : text(r, left - 6, top + i * rowHeight + rowHeight / 2 + 4, "end"))),
    ...map.columns.map((c, i) => {
      if (i % everyColumn) return "";
      const [x, y] = [round(left + i * cell + cell / 2), top - 6];
      return slanted
        ? `<text x="${x}" y="${y}" font-size="11" fill="${ink}" transform="rotate(-50 ${x} ${y})">${escapeXml(c)}</text>`
        : text(c, x, y, "middle");
    }),
  ];
  const scale = Array.from({ length: 5 }, (_, i) => {
    const y = top + i * 18;
    return `<rect x="${width - 76}" y="${y}" width="12" height="17" fill="${viridis(1 - i / 4)}"/>${text(format(high - ((high - low) * i) / 4), width - 60, y + 12, "start")}`;
  });
  const tall = Math.max(height, top + 5 * 18 + 10);
  return svg(map.title, width, tall, [...cells, ...labels, ...scale].join("\n"));
}

/** Counts of values in equal bins (xprompt.md Fig. 6). */
export function histogram(chart: {
  readonly title: string;
  readonly x: string;
  readonly values: readonly number[];
  readonly bins?: number;
  readonly format?: (value: number) => string;
}): string {
  const values = chart.values.filter(Number.isFinite);
  const { bins = 24, format = plain } = chart;
  if (values.length === 0) return emptyChart(chart.title, 480, 240);
  const [low, high] = spread(Math.min(...values), Math.max(...values));
  const counts = new Array<number>(bins).fill(0);
  for (const v of values) counts[Math.min(bins - 1, Math.floor(((v - low) / (high - low)) * bins))]!++;
  const edge = (i: number) => low + ((high - low) * i) / bins;
  const [width, height] = [480, 240];
  const box = { left: 44, right: width - 10, top: 30, bottom: height - 40 };
  const most = Math.max(...counts);
  const Y = (n: number) => round(box.bottom - (n / most) * (box.bottom - box.top));
  const w = (box.right - box.left) / bins;
  const parts = [
    ...ticks(0, most, 4).map((t) => text(plain(t), box.left - 6, Y(t) + 4, "end")),
    ...counts.map(
      (n, i) =>
        `<rect x="${round(box.left + i * w)}" y="${Y(n)}" width="${round(w - 1)}" height="${round(box.bottom - Y(n))}" fill="${seriesColor(0)}"><title>${escapeXml(`${n} from ${format(edge(i))} to ${format(edge(i + 1))}`)}</title></rect>`,
    ),
    ...ticks(low, high, 5).map((t) =>
      text(format(t), box.left + ((t - low) / (high - low)) * (box.right - box.left), box.bottom + 16, "middle"),
    ),
    text(chart.x, (box.left + box.right) / 2, height - 8, "middle"),
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
  const left = 14 + 6.6 * Math.max(...entries.map((e) => e.label.length));
  const width = Math.ceil(left + 460);
  const row = 24;
  const [top, height] = [34, 34 + row * entries.length + 36];
  const reach = entries.flatMap((e) => [e.value + (e.spread ?? 0), e.value - (e.spread ?? 0)]);
  const [low, high] = spread(Math.min(0, ...reach), Math.max(0, ...reach, ...(chart.levels ?? []).map((l) => l.x)));
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

/** Text safe inside XML and HTML, elements and attributes alike; control characters that XML forbids become U+FFFD. */
export function escapeXml(value: string): string {
  return (
    value
      // biome-ignore lint/suspicious/noControlCharactersInRegex: exactly the characters XML 1.0 forbids
      .replace(/[\u0000-\u0008\u000b\u000c\u000e-\u001f\ufffe\uffff]/g, "\ufffd")
      .replaceAll("&", "&amp;")
      .replaceAll("<", "&lt;")
      .replaceAll(">", "&gt;")
      .replaceAll('"', "&quot;")
      .replaceAll("'", "&#39;")
  );
}

/** Round numbers (1, 2, 5 × 10ⁿ) within [low, high], about `count` of them. */
export function ticks(low: number, high: number, count: number): number[] {
  const raw = (high - low) / Math.max(1, count);
  if (!(raw > 0) || !Number.isFinite(raw)) return [low];
  const power = 10 ** Math.floor(Math.log10(raw));
  const step = [1, 2, 5, 10].map((m) => m * power).find((s) => s >= raw * 0.999)!;
  const first = Math.ceil(low / step - 1e-9);
  const last = Math.floor(high / step + 1e-9);
  return Array.from({ length: last - first + 1 }, (_, i) => Number(((first + i) * step).toPrecision(12)));
}

function svg(title: string, width: number, height: number, body: string): string {
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${height}" width="${width}" height="${height}" role="img" aria-label="${escapeXml(title)}" font-family="system-ui, sans-serif"><title>${escapeXml(title)}</title>
${body}
</svg>`;
}

function emptyChart(title: string, width: number, height: number): string {
  return svg(title, width, height, text("no values", width / 2, height / 2, "middle"));
}

function text(value: string, x: number, y: number, anchor: "start" | "middle" | "end"): string {
  return `<text x="${round(x)}" y="${round(y)}" text-anchor="${anchor}" font-size="11" fill="${ink}">${escapeXml(value)}</text>`;
}

function legend(names: readonly string[], x: number, y: number): string {
  if (names.length < 2) return "";
  let at = x + 90;
  return names
    .map((name, i) => {
      const part = `<rect x="${round(at)}" y="${y - 9}" width="10" height="10" fill="${seriesColor(i)}"/>${text(name, at + 14, y, "start")}`;
      at += 28 + 6.5 * name.length;
      return part;
    })
    .join("");
}

/** A range that is never empty, widened by a share of itself. */
function spread(low: number, high: number, margin = 0): [number, number] {
  if (low === high) return [low - (Math.abs(low) || 1) * 0.1, high + (Math.abs(high) || 1) * 0.1];
  return [low - (high - low) * margin, high + (high - low) * margin];
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

/** Viridis by nine stops, linear between them. @param share in [0, 1], clamped. */
function viridis(share: number): string {
  const stops = ["440154", "472d7b", "3b528b", "2c728e", "21918c", "28ae80", "5ec962", "addc30", "fde725"];
  const at = Math.min(1, Math.max(0, share)) * (stops.length - 1);
  const [a, b] = [stops[Math.floor(at)]!, stops[Math.min(stops.length - 1, Math.floor(at) + 1)]!];
  const mix = [0, 2, 4].map((i) => {
    const [from, to] = [Number.parseInt(a.slice(i, i + 2), 16), Number.parseInt(b.slice(i, i + 2), 16)];
    return Math.round(from + (to - from) * (at % 1))
      .toString(16)
      .padStart(2, "0");
  });
  return `#${mix.join("")}`;
}

function round(value: number): number {
  return Math.round(value * 10) / 10;
}
