/**
 * @file Common parts of all charts: colours, dashes, markers, texts, ticks, legends, and the SVG element around them.
 *
 * In: numbers and words. Out: SVG text. Series differ in colour, dash and marker together, so that they can be distinguished in print and
 * by colour-blind readers.
 */

const palette = ["#2563eb", "#d97706", "#059669", "#db2777", "#7c3aed", "#0891b2", "#65a30d", "#dc2626"];
export const seriesColor = (i: number) => `var(--s${i % palette.length}, ${palette[i % palette.length]})`;
/** Dash pattern of a line, by its number: the first is solid. */
const dashes = ["", "7 3", "2 3", "9 3 2 3", "12 4", "5 2 1 2 1 2", "4 5", "1 4"];
export const seriesDash = (i: number) => {
  // there are as many dashes as colours: from the ninth series on a colour has the dash of the one after it
  const dash = dashes[(i + Math.floor(i / palette.length)) % dashes.length]!;
  return dash === "" ? "" : ` stroke-dasharray="${dash}"`;
};
export const ink = "var(--ink, #1f2937)";
export const fontSize = 12;
export const lineHeight = 16;
export const faint = "var(--faint, #d1d5db)";
export const plain = (value: number) => String(Number(value.toPrecision(4)));

/** Ticks with their labels. A label that would equal the one before it (91.32, 91.34 → "91.3") is left out. */
export function labelled(at: readonly number[], format: (value: number) => string): [number, string][] {
  const labels = at.map((t) => tickText(format(t)));
  return at.flatMap((t, i) => (labels[i] === labels[i - 1] ? [] : [[t, labels[i]!]]));
}

/** Labels under the x axis, none cut off at the edges, none over another. */
export function xLabels(
  at: readonly number[],
  format: (value: number) => string,
  X: (value: number) => number,
  y: number,
  width: number,
): string[] {
  let free = 0;
  return labelled(at, format).map(([t, label]) => {
    const half = textWidth(label) / 2;
    const middle = Math.min(Math.max(X(t), half), width - half);
    if (middle - half < free) return "";
    free = middle + half + 8;
    return text(label, middle, y, "middle");
  });
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

export function svg(title: string, width: number, height: number, body: string): string {
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${height}" width="${width}" height="${height}" role="img" aria-label="${escapeXml(title)}" font-family="system-ui, sans-serif"><title>${escapeXml(title)}</title>
${body}
</svg>`;
}

export function emptyChart(title: string, width: number, height: number): string {
  return svg(title, width, height, text("no values", width / 2, height / 2, "middle"));
}

export function text(value: string, x: number, y: number, anchor: "start" | "middle" | "end", more = ""): string {
  return `<text x="${round(x)}" y="${round(y)}" text-anchor="${anchor}" font-size="${fontSize}" fill="${ink}"${more}>${escapeXml(value)}</text>`;
}

/** Text over curves: with an outline in the page's colour, so that it stays readable. */
export function textOver(value: string, x: number, y: number, anchor: "start" | "end"): string {
  return text(value, x, y, anchor, ' stroke="var(--page, #ffffff)" stroke-width="3" paint-order="stroke"');
}

/** A text centred at `x`, moved so that it stays inside a picture of this width. */
export function centred(value: string, x: number, y: number, width: number): string {
  const shown = fitted(value, width - 4);
  const half = textWidth(shown) / 2;
  return text(shown, Math.min(Math.max(x, half), width - half), y, "middle");
}

/** Approximate width of a text in pixels; a little more than in most fonts. Characters of East Asia and pictures take a square. */
export function textWidth(value: string): number {
  const wide = value.match(wideCharacters)?.length ?? 0;
  return fontSize * (0.6 * [...value].length + 0.4 * wide);
}

const wideCharacters =
  /[\u1100-\u115f\u2e80-\ua4cf\uac00-\ud7a3\uf900-\ufaff\ufe30-\ufe4f\uff00-\uff60\u{1f300}-\u{3fffd}]/gu;

/** The text if it fits, else as much of it as fits and "…". */
export function fitted(value: string, width: number): string {
  if (textWidth(value) <= width) return value;
  const kept = [...value.slice(0, 500)];
  while (kept.length > 0 && textWidth(`${kept.join("")}…`) > width) kept.pop();
  return `${kept.join("")}…`;
}

/** A point of a series, with the marker of the series' number; `told` is its tooltip. */
export function marker(i: number, x: number, y: number, told = ""): string {
  const title = told === "" ? "" : `<title>${escapeXml(told)}</title>`;
  const polygon = (...points: readonly (readonly [number, number])[]) =>
    `<polygon points="${points.map(([dx, dy]) => `${round(x + dx)},${round(y + dy)}`).join(" ")}" fill="${seriesColor(i)}">${title}</polygon>`;
  switch (i % 5) {
    case 1:
      return polygon([-3, -3], [3, -3], [3, 3], [-3, 3]);
    case 2:
      return polygon([0, -4], [4, 3], [-4, 3]);
    case 3:
      return polygon([0, -4.5], [4.5, 0], [0, 4.5], [-4.5, 0]);
    case 4:
      return polygon([0, 4], [4, -3], [-4, -3]);
    default:
      return `<circle cx="${round(x)}" cy="${round(y)}" r="3" fill="${seriesColor(i)}">${title}</circle>`;
  }
}

/** Ticks are round numbers: trailing zeros are removed ("90.0" → "90", "1.20 k" → "1.2 k"). */
export function tickText(value: string): string {
  return value.replace(/(\.\d*?)0+(?!\d)/, (_, kept: string) => (kept === "." ? "" : kept));
}

/** Names of the series, each behind a piece of its line, in as many rows as they need, the first beginning at `x`. One series needs none. */
export function legend(
  series: readonly { readonly name: string; readonly dots?: boolean }[],
  x: number,
  width: number,
): { drawn: string; height: number } {
  if (series.length < 2) return { drawn: "", height: 0 };
  const sample = 24;
  let [at, row] = [x, 0];
  const drawn = series.map(({ name, dots }, i) => {
    const shown = fitted(name, width - sample - 12);
    const long = sample + 6 + textWidth(shown);
    if (at + long > width && at > 4) [at, row] = [4, row + 1];
    const y = 13 + row * lineHeight;
    const line = `<line x1="${round(at)}" x2="${round(at + sample)}" y1="${y - 4}" y2="${y - 4}" stroke="${seriesColor(i)}" stroke-width="1.8"${seriesDash(i)}/>`;
    const part = `${line}${dots ? marker(i, at + sample / 2, y - 4) : ""}${text(shown, at + sample + 6, y, "start")}`;
    at += long + 14;
    return part;
  });
  return { drawn: drawn.join(""), height: row * lineHeight };
}

/** A range that is never empty and never so narrow that rounding makes it empty, widened by a share of its size. */
export function spread(low: number, high: number, margin = 0): [number, number] {
  const size = Math.max(Math.abs(low), Math.abs(high));
  if (size < tiny) return [-0.1, 0.1];
  if (high - low < 1e-9 * size) return [low - 0.1 * size, high + 0.1 * size];
  return [low - (high - low) * margin, high + (high - low) * margin];
}

/** An axis of values that are never negative (steps, seconds, FLOPs) begins at zero. A single value lies inside its axis. */
export function fromZero(low: number, high: number): [number, number] {
  if (low < 0) return spread(low, high);
  return high < tiny ? [0, 1] : [0, low === high ? high * 1.25 : high];
}

/** The lowest value that can be measured. */
const tiny = 1e-200;

export function round(value: number): number {
  return Math.round(value * 10) / 10;
}
