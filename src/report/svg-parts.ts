/**
 * @file What all charts are made of: colours, texts, ticks, legends, the SVG element around them. In: numbers and words. Out: SVG text.
 */

const palette = ["#2563eb", "#d97706", "#059669", "#db2777", "#7c3aed", "#0891b2", "#65a30d", "#dc2626"];
export const seriesColor = (i: number) => `var(--s${i % palette.length}, ${palette[i % palette.length]})`;
export const ink = "var(--ink, #1f2937)";
export const fontSize = 12;
export const lineHeight = 16;
export const faint = "var(--faint, #d1d5db)";
export const plain = (value: number) => String(Number(value.toPrecision(4)));

/** Labels under the x axis, none cut off at the edges, none over another. */
export function xLabels(
  at: readonly number[],
  format: (value: number) => string,
  X: (value: number) => number,
  y: number,
  width: number,
): string[] {
  let free = 0;
  return at.map((t) => {
    const label = tickText(format(t));
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

export function text(value: string, x: number, y: number, anchor: "start" | "middle" | "end"): string {
  return `<text x="${round(x)}" y="${round(y)}" text-anchor="${anchor}" font-size="${fontSize}" fill="${ink}">${escapeXml(value)}</text>`;
}

/** About how wide a text is in pixels; a little more than most fonts take. */
export function textWidth(value: string): number {
  return 0.6 * fontSize * [...value].length;
}

/** Ticks are round numbers: zeros after the point say nothing ("90.0" → "90", "1.20 k" → "1.2 k"). */
export function tickText(value: string): string {
  return value.replace(/(\.\d*?)0+(?!\d)/, (_, kept: string) => (kept === "." ? "" : kept));
}

/** Names of the series in as many rows as they need, the first beginning at `x`. One series needs none. */
export function legend(names: readonly string[], x: number, width: number): { drawn: string; height: number } {
  if (names.length < 2) return { drawn: "", height: 0 };
  let [at, row] = [x, 0];
  const drawn = names.map((name, i) => {
    const long = 30 + textWidth(name);
    if (at + long > width && at > 4) [at, row] = [4, row + 1];
    const y = 13 + row * lineHeight;
    const part = `<rect x="${round(at)}" y="${y - 9}" width="10" height="10" fill="${seriesColor(i)}"/>${text(name, at + 14, y, "start")}`;
    at += long;
    return part;
  });
  return { drawn: drawn.join(""), height: row * lineHeight };
}

/** A range that is never empty, widened by a share of itself. */
export function spread(low: number, high: number, margin = 0): [number, number] {
  if (low === high) return [low - (Math.abs(low) || 1) * 0.1, high + (Math.abs(high) || 1) * 0.1];
  return [low - (high - low) * margin, high + (high - low) * margin];
}

export function round(value: number): number {
  return Math.round(value * 10) / 10;
}
