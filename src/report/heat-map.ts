/**
 * @file A matrix as coloured cells. In: numbers by row and column. Out: one SVG element as text.
 */
import { extent, highest } from "../base/extent.js";
import { emptyChart, escapeXml, fitted, fontSize, ink, round, spread, svg, text, textWidth } from "./svg-parts.js";

export interface HeatMap {
  readonly title: string;
  readonly rows: readonly string[];
  readonly columns: readonly string[];
  /** What rows, columns and colours mean: "token", "piece", "importance". */
  readonly rowTitle?: string;
  readonly columnTitle?: string;
  readonly unit?: string;
  /** [row][column]; null is drawn grey: a pruned piece, a value that does not exist. */
  readonly values: readonly (readonly (number | null)[])[];
  /** Colour range. Default the range of the values. */
  readonly range?: readonly [number, number];
  /** Write the number into each cell. Default: when there are at most 12 columns. */
  readonly numbers?: boolean;
  readonly format?: (value: number) => string;
}

const longestLabel = 220;

/** A matrix: similarity of prompts, saliency of pieces (xprompt.md Fig. 9). */
export function heatMap(map: HeatMap): string {
  const { format = (v: number) => v.toFixed(2).replace("-", "−"), numbers = map.columns.length <= 12 } = map;
  const finite = map.values.flat().filter((v): v is number => v !== null && Number.isFinite(v));
  if (finite.length === 0 && map.range === undefined) return emptyChart(map.title, 480, 120);
  const [low, high] = map.range ?? spread(...extent(finite));
  const longest = (labels: readonly string[]) => highest(labels.map(textWidth), 0);
  const fair = Math.floor(640 / Math.max(1, map.columns.length));
  const cell = numbers
    ? Math.max(Math.min(52, fair), 6 + longest(finite.map(format)))
    : Math.max(6, Math.min(22, fair));
  const rows = map.rows.map((name) => fitted(name, longestLabel));
  const columns = map.columns.map((name) => fitted(name, longestLabel));
  const rowHeight = numbers ? Math.min(cell, 30) : cell;
  const left = Math.ceil(Math.max(14 + longest(rows), 8 + textWidth(map.rowTitle ?? "")));
  const slanted = longest(columns) + 4 > cell;
  const top = Math.ceil((map.columnTitle === undefined ? 8 : 24) + (slanted ? 0.78 * longest(columns) + 10 : 16));
  const scaleAt = left + cell * map.columns.length + 18;
  const scaleLabels = Array.from({ length: 5 }, (_, i) => format(high - ((high - low) * i) / 4));
  const rightmost = [
    17 + longest(scaleLabels),
    textWidth(map.unit ?? ""),
    left + textWidth(map.columnTitle ?? "") - scaleAt,
    // a slanted last label extends over the scale and needs its own width as room
    slanted ? 0.65 * longest(columns) : 0,
  ];
  const width = Math.ceil(scaleAt + 4 + highest(rightmost));
  const height = Math.ceil(top + rowHeight * map.rows.length + 8);
  const cells = map.values.flatMap((row, r) =>
    row.map((value, c) => {
      const known = value !== null && Number.isFinite(value);
      const share = known ? (value - low) / (high - low || 1) : 0;
      const [x, y] = [round(left + c * cell), round(top + r * rowHeight)];
      const label = `${map.rows[r] ?? r} · ${map.columns[c] ?? c}: ${known ? format(value) : "none"}`;
      return (
        `<rect x="${x}" y="${y}" width="${cell - 1}" height="${rowHeight - 1}" fill="${known ? viridis(share) : "var(--void, #9ca3af)"}"><title>${escapeXml(label)}</title></rect>` +
        (numbers && known
          ? `<text x="${x + cell / 2 - 0.5}" y="${y + rowHeight / 2 + 4}" text-anchor="middle" font-size="${fontSize}" fill="${share > 0.6 ? "#111827" : "#f9fafb"}">${escapeXml(format(value))}</text>`
          : "")
      );
    }),
  );
  const every = Math.max(1, Math.ceil(14 / rowHeight));
  const everyColumn = slanted ? Math.max(1, Math.ceil(15 / cell)) : 1;
  const labels = [
    ...rows.map((r, i) => (i % every ? "" : text(r, left - 6, top + i * rowHeight + rowHeight / 2 + 4, "end"))),
    ...columns.map((c, i) => {
      if (i % everyColumn) return "";
      const [x, y] = [round(left + i * cell + cell / 2), top - 6];
      return slanted
        ? `<text x="${x}" y="${y}" font-size="${fontSize}" fill="${ink}" transform="rotate(-50 ${x} ${y})">${escapeXml(c)}</text>`
        : text(c, x, y, "middle");
    }),
  ];
  const below = top + (map.unit === undefined ? 0 : 18);
  const scale = scaleLabels.map((label, i) => {
    const y = below + i * 18;
    return `<rect x="${scaleAt}" y="${y}" width="12" height="17" fill="${viridis(1 - i / 4)}"/>${text(label, scaleAt + 17, y + 13, "start")}`;
  });
  const titles = [
    ...(map.unit === undefined ? [] : [text(map.unit, scaleAt, top + 11, "start")]),
    ...(map.rowTitle === undefined ? [] : [text(map.rowTitle, left - 6, top - 6, "end")]),
    ...(map.columnTitle === undefined ? [] : [text(map.columnTitle, left, 13, "start")]),
  ];
  const tall = Math.max(height, below + 5 * 18 + 8);
  return svg(map.title, width, tall, [...cells, ...labels, ...scale, ...titles].join("\n"));
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
