import { expect, test } from "vitest";
import { dots } from "./dots.js";
import { heatMap } from "./heat-map.js";
import { markdownTable, plainTable } from "./markdown.js";
import { bars, histogram, lineChart } from "./svg.js";
import { escapeXml, ticks, tickText } from "./svg-parts.js";

const hostile = `</title><script>alert("1")</script>&'\u0000`;

/** No parser here: a tag may only be one of ours, and every opened one is closed. */
function tagsOf(svg: string): string[] {
  const tags = [...svg.matchAll(/<(\/?)([a-zA-Z!?][^\s/>]*)([^>]*?)(\/?)>/g)];
  const open: string[] = [];
  for (const [, closing, name, , selfClosing] of tags) {
    if (closing) expect(open.pop()).toBe(name);
    else if (!selfClosing) open.push(name!);
  }
  expect(open).toEqual([]);
  return [...new Set(tags.map((t) => t[2]!))].sort();
}

const charts = {
  line: lineChart({
    title: hostile,
    x: hostile,
    y: hostile,
    series: [
      {
        name: hostile,
        points: [
          [0, 1],
          [1, Number.NaN],
          [2, 3],
        ],
        dots: true,
        band: [
          [0, 0.5, 1.5],
          [2, 2, 4],
        ],
      },
      { name: "b", points: [[0, 2]] },
    ],
    marks: [{ x: 1, label: hostile }],
    levels: [{ y: 2, label: hostile }],
    formatX: () => hostile,
  }),
  heat: heatMap({ title: hostile, rows: [hostile], columns: [hostile, "b"], values: [[0.5, null]] }),
  histogram: histogram({ title: hostile, x: hostile, values: [1, 2, 2, Number.POSITIVE_INFINITY] }),
  bars: bars({ title: hostile, x: hostile, entries: [{ label: hostile, value: -1, spread: 0.5 }] }),
};

test.each(Object.entries(charts))("%s: well formed, escaped, no script", (_, svg) => {
  const allowed = ["circle", "line", "polygon", "polyline", "rect", "svg", "text", "title"];
  expect(tagsOf(svg).filter((t) => !allowed.includes(t))).toEqual([]);
  expect(svg).not.toMatch(/NaN|Infinity|undefined/);
  expect(svg).toContain("&lt;script&gt;");
});

test.each([
  ["line", lineChart({ title: "t", x: "x", y: "y", series: [] })],
  [
    "line of nothing finite",
    lineChart({ title: "t", x: "x", y: "y", series: [{ name: "a", points: [[0, Number.NaN]] }] }),
  ],
  ["histogram", histogram({ title: "t", x: "x", values: [] })],
  ["bars", bars({ title: "t", x: "x", entries: [] })],
])("%s without values says so", (_, svg) => {
  expect(svg).toContain("no values");
  tagsOf(svg);
});

test("a line chart puts points where they belong", () => {
  const svg = lineChart({
    title: "t",
    x: "x",
    y: "y",
    width: 100 + 72,
    height: 174,
    series: [
      {
        name: "a",
        points: [
          [0, 0],
          [10, 1],
        ],
      },
    ],
  });
  // the box is [40, 158] × [22, 130]; y is widened by 5 % of its range on each side: 108 px for 1.1
  const [, points] = /<polyline[^>]* points="([^"]+)"/.exec(svg)!;
  expect(points).toBe("40,125.1 158,26.9");
});

test("long series are thinned but keep their peaks", () => {
  const points = Array.from({ length: 50_000 }, (_, i) => [i, i === 31_337 ? 1000 : Math.sin(i)] as const);
  const svg = lineChart({ title: "t", x: "x", y: "y", series: [{ name: "a", points }] });
  const [, drawn] = /<polyline[^>]* points="([^"]+)"/.exec(svg)!;
  const ys = drawn!.split(" ").map((p) => Number(p.split(",")[1]));
  expect(ys.length).toBeLessThanOrEqual(800);
  expect(Math.min(...ys)).toBeLessThan(45); // the peak, near the top edge
});

test("a heat map greys what is pruned and spans its range", () => {
  const svg = heatMap({ title: "t", rows: ["a"], columns: ["x", "y", "z"], values: [[0, 1, null]], range: [0, 1] });
  expect(svg).toContain('fill="#440154"');
  expect(svg).toContain('fill="#fde725"');
  expect(svg.match(/var\(--void/g)).toHaveLength(1);
});

test("histogram bins count every finite value, the highest too", () => {
  const svg = histogram({ title: "t", x: "x", values: [0, 1, 2, 3, 4, Number.NaN], bins: 4 });
  const counts = [...svg.matchAll(/<title>(\d+) from/g)].map((m) => Number(m[1]));
  expect(counts).toEqual([1, 1, 1, 2]);
});

test("ticks are round and inside", () => {
  expect(ticks(0, 1, 5)).toEqual([0, 0.2, 0.4, 0.6, 0.8, 1]);
  expect(ticks(-3, 47, 5)).toEqual([0, 10, 20, 30, 40]);
  expect(ticks(1, 1, 5)).toEqual([1]);
});

test("escaping leaves nothing that XML forbids", () => {
  expect(escapeXml(hostile)).toBe("&lt;/title&gt;&lt;script&gt;alert(&quot;1&quot;)&lt;/script&gt;&amp;&#39;\ufffd");
});

/** Where each text lies, by a font as wide as DejaVu Sans on average (0.6 em): [left, right, baseline, text]. */
function places(svg: string): { left: number; right: number; y: number; text: string }[] {
  const found = svg.matchAll(/<text x="([\d.-]+)" y="([\d.-]+)" text-anchor="(\w+)" font-size="(\d+)"[^>]*>([^<]*)</g);
  return [...found].map(([, x, y, anchor, size, text]) => {
    const wide = 0.6 * Number(size) * [...text!].length;
    const left = Number(x) - (anchor === "end" ? wide : anchor === "middle" ? wide / 2 : 0);
    return { left, right: left + wide, y: Number(y), text: text! };
  });
}

test.each([
  [480, 8],
  [480, 1e6],
  [720, 30_000],
  [360, 0.004],
])("no label of a chart %i wide lies over another or outside, x up to %d", (width, last) => {
  const svg = lineChart({
    title: "t",
    x: "optimizer steps",
    y: "loss per target token",
    width,
    formatY: (v) => (100 * v).toFixed(1),
    series: ["training", "validation", "a third with a long name", "and a fourth one"].map((name, i) => ({
      name,
      points: [
        [0, i],
        [last, i / 10],
      ],
    })),
    marks: [0.3, 0.35, 0.95, 0.97].map((x) => ({ x: x * last, label: "enc 2×192, dec 4" })),
    levels: [
      { y: 0.5, label: "majority class" },
      { y: 0.488, label: "no prompt" },
    ],
  });
  const all = places(svg);
  expect(all.filter(({ left, right }) => left < 0 || right > width)).toEqual([]);
  const clashes = all.flatMap((a, i) =>
    all
      .slice(i + 1)
      .filter((b) => Math.abs(a.y - b.y) < 11 && a.left < b.right - 1 && b.left < a.right - 1)
      .map((b) => `${a.text} / ${b.text}`),
  );
  expect(clashes).toEqual([]);
});

test("ticks lose zeros that say nothing, and only those", () => {
  expect(["90.0", "0.50", "1.20 k", "100", "1.05", "2.00 GFLOP", "−0.10"].map(tickText)).toEqual([
    "90",
    "0.5",
    "1.2 k",
    "100",
    "1.05",
    "2 GFLOP",
    "−0.1",
  ]);
});

test("a heat map names its axes and colours, and a slanted label does not leave the picture", () => {
  const columns = ["enc 2×192, dec 4, seed 0", "full, seed 1"];
  const svg = heatMap({
    title: "t",
    rows: columns,
    columns,
    values: [
      [1, 0.5],
      [0.5, 1],
    ],
    rowTitle: "token",
    columnTitle: "piece",
    unit: "cosine",
  });
  const width = Number(/viewBox="0 0 (\d+)/.exec(svg)![1]);
  for (const word of ["token", "piece", "cosine"]) expect(svg).toContain(`>${word}<`);
  expect(places(svg).filter(({ left, right }) => left < 0 || right > width)).toEqual([]);
  const slanted = [...svg.matchAll(/<text x="([\d.]+)"[^>]*rotate\(-50 [^>]*>([^<]+)/g)];
  expect(slanted).toHaveLength(2);
  for (const [, x, text] of slanted)
    expect(Number(x) + 0.6 * 12 * text!.length * Math.cos((50 * Math.PI) / 180)).toBeLessThan(width);
});

test("as many values as a prompt has pieces, or a table rows: more than a call takes arguments", () => {
  const many = Array.from({ length: 400 ** 2 }, (_, i) => i);
  expect(() => Math.max(...many)).toThrow(RangeError);
  const counts = [...histogram({ title: "t", x: "x", values: many, bins: 4 }).matchAll(/<title>(\d+) from/g)];
  expect(counts.map((m) => Number(m[1]))).toEqual([40_000, 40_000, 40_000, 40_000]);
  const labels = many.slice(0, 400).map(String);
  const values = labels.map((_, r) => many.slice(400 * r, 400 * (r + 1)));
  expect(heatMap({ title: "t", rows: labels, columns: labels, values })).toContain("399 · 399: 159999.00");
  const rows = many.map((n) => [String(n)]);
  expect(markdownTable(["n"], rows)).toContain("| 159999 |");
  expect(plainTable(rows)).toContain("\n159999");
});

test("dots: higher values further right, whiskers as wide as the deviations, nothing drawn for what was not measured", () => {
  const drawn = dots({
    title: "t",
    x: "average",
    entries: [
      { label: "PT", value: 80, deviation: 2 },
      { label: "none", value: Number.NaN },
      { label: "XPrompt", value: 84, deviation: null },
    ],
  });
  const [a, b] = [...drawn.matchAll(/<circle cx="([\d.]+)"/g)].map((found) => Number(found[1]));
  const whiskers = [...drawn.matchAll(/<line x1="([\d.]+)" x2="([\d.]+)"[^>]*stroke-width="1.5"/g)];
  expect(drawn.match(/<circle/g)).toHaveLength(2);
  expect(whiskers).toHaveLength(1);
  const [from, to] = [Number(whiskers[0]![1]), Number(whiskers[0]![2])];
  expect((from + to) / 2).toBeCloseTo(a!, 0);
  // 4 points of the axis between the whisker's ends as between the dots
  expect(to - from).toBeCloseTo(b! - a!, 0);
  expect(drawn).toContain("80 ± 2");
  expect(dots({ title: "t", x: "x", entries: [] })).toContain("no values");
});
