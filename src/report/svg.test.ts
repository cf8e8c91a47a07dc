import fc from "fast-check";
import { expect, test } from "vitest";
import { dots } from "./dots.js";
import { heatMap } from "./heat-map.js";
import { histogram } from "./histogram.js";
import { markdownTable, plainTable } from "./markdown.js";
import { lineChart } from "./svg.js";
import { escapeXml, seriesColor, seriesDash, ticks, tickText } from "./svg-parts.js";

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
        stages: [
          { x: 0, label: hostile },
          { x: 1, label: hostile },
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
  dots: dots({ title: hostile, x: hostile, entries: [{ label: hostile, value: -1, deviation: 0.5 }] }),
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
  ["dots", dots({ title: "t", x: "x", entries: [] })],
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
  return [...found].map(([, x, y, anchor, size, escaped]) => {
    const text = escaped!.replaceAll(/&[^;]+;/g, "'");
    const squares = text.match(/[\u4e00-\u9fff]/g)?.length ?? 0;
    const wide = Number(size) * (0.6 * [...text].length + 0.4 * squares);
    const left = Number(x) - (anchor === "end" ? wide : anchor === "middle" ? wide / 2 : 0);
    return { left, right: left + wide, y: Number(y), text };
  });
}

/** Labels that lie over each other or leave the picture; and a picture that would not follow the page's width. */
function faults(svg: string): string[] {
  const [, wide, high] = /^<svg [^>]*viewBox="0 0 ([\d.]+) ([\d.]+)" width="\1" height="\2"/.exec(svg) ?? [];
  if (high === undefined) return ["no viewBox, or another than the size"];
  const all = places(svg);
  const outside = all.filter(
    ({ left, right, y }) => left < -0.1 || right > Number(wide) + 0.1 || y < 9 || y > Number(high),
  );
  const clashes = all.flatMap((a, i) =>
    all
      .slice(i + 1)
      .filter((b) => Math.abs(a.y - b.y) < 12 && a.left < b.right - 0.2 && b.left < a.right - 0.2)
      .map((b) => `${a.text} / ${b.text}`),
  );
  return [...outside.map(({ text }) => `outside: ${text}`), ...clashes];
}

const size = fc.oneof(
  fc.double({ min: -1e12, max: 1e12, noNaN: true }),
  fc.double({ min: 0, max: 1, noNaN: true }),
  fc.integer({ min: 0, max: 200 }),
  fc.constantFrom(0, Number.NaN, Number.POSITIVE_INFINITY, 0.6, 0.600001),
);
const label = fc.oneof(
  fc.constantFrom(
    "kept",
    "no prompt",
    "majority class",
    "enc 2×192, dec 4",
    "full",
    "PT at FPT-LD's FLOPs",
    "控制组的长名字",
  ),
  fc.string({ minLength: 1, maxLength: 90, unit: fc.constantFrom(..."abcdefgh ×") }),
);
const formatOf = fc.constantFrom(
  undefined,
  (v: number) => (100 * v).toFixed(1),
  (v: number) => `${v.toPrecision(3)} GFLOP`,
  (v: number) => String(Math.round(v)),
);

test("no label of a line chart lies over another or outside, whatever is drawn", () => {
  const points = fc.array(fc.tuple(size, size), { maxLength: 12 }).map((p) => p.sort(([a], [b]) => a - b));
  const stages = fc
    .array(fc.record({ x: size, label }), { maxLength: 4 })
    .map((s) => s.filter(({ x }) => !Number.isNaN(x)).sort((a, b) => a.x - b.x));
  const chart = fc.record({
    title: label,
    x: label,
    y: label,
    series: fc.array(fc.record({ name: label, points, dots: fc.boolean(), stages }), { maxLength: 6 }),
    marks: fc.array(fc.record({ x: size, label }), { maxLength: 6 }),
    levels: fc.array(fc.record({ y: size, label }), { maxLength: 4 }),
    formatX: formatOf,
    formatY: formatOf,
    wholeX: fc.boolean(),
    width: fc.constantFrom(360, 480, 720),
  });
  fc.assert(
    fc.property(chart, ({ formatX, formatY, ...rest }) => {
      const drawn = lineChart({ ...rest, ...(formatX && { formatX }), ...(formatY && { formatY }) });
      expect(faults(drawn)).toEqual([]);
      expect(drawn).not.toMatch(/NaN|Infinity|undefined/);
    }),
    { numRuns: 400 },
  );
});

test("no label of dots, histograms and matrices lies over another or outside", () => {
  const entries = fc.array(fc.record({ label, value: size, deviation: fc.option(fc.double({ min: 0, max: 50 })) }), {
    maxLength: 9,
  });
  fc.assert(
    fc.property(entries, label, formatOf, (some, x, format) => {
      expect(faults(dots({ title: "t", x, entries: some, ...(format && { format }) }))).toEqual([]);
    }),
    { numRuns: 200 },
  );
  fc.assert(
    fc.property(fc.array(size, { maxLength: 40 }), label, formatOf, (values, x, format) => {
      expect(faults(histogram({ title: "t", x, y: x, values, ...(format && { format }) }))).toEqual([]);
    }),
    { numRuns: 200 },
  );
  const matrix = fc
    .tuple(fc.array(label, { minLength: 1, maxLength: 5 }), fc.array(label, { minLength: 1, maxLength: 20 }))
    .chain(([rows, columns]) =>
      fc.record({
        rows: fc.constant(rows),
        columns: fc.constant(columns),
        values: fc.array(fc.array(fc.option(size), { minLength: columns.length, maxLength: columns.length }), {
          minLength: rows.length,
          maxLength: rows.length,
        }),
        rowTitle: fc.option(label, { nil: undefined }),
        columnTitle: fc.option(label, { nil: undefined }),
        unit: fc.option(label, { nil: undefined }),
        format: fc.constantFrom(undefined, (v: number) => v.toPrecision(2)),
      }),
    );
  fc.assert(
    fc.property(matrix, ({ format, ...map }) => {
      expect(faults(heatMap({ title: "t", ...map, ...(format && { format }) }))).toEqual([]);
    }),
    { numRuns: 200 },
  );
});

test("“kept” at the right edge, over a level at the top: each has its place (found by a reader)", () => {
  const drawn = lineChart({
    title: "t",
    x: "optimizer steps",
    y: "accuracy × 100, validation",
    formatY: (v) => (100 * v).toFixed(1),
    series: [
      {
        name: "accuracy",
        points: [
          [5, 0.5],
          [40, 0.6],
        ],
        dots: true,
      },
    ],
    marks: [{ x: 40, label: "kept" }],
    levels: [
      { y: 0.6, label: "no prompt" },
      { y: 0.6, label: "majority class" },
      { y: 0.5999, label: "a third" },
    ],
  });
  expect(faults(drawn)).toEqual([]);
  for (const word of ["kept", "no prompt 60.0", "majority class 60.0", "a third 60.0"])
    expect(drawn).toContain(`>${word}</text>`);
});

test("one evaluation alone stands inside an axis of whole steps from zero", () => {
  const drawn = lineChart({
    title: "t",
    x: "steps of retraining",
    y: "accuracy",
    wholeX: true,
    formatX: String,
    series: [{ name: "chosen", points: [[8, 0.5]] }],
  });
  const labels = places(drawn).filter(({ y }) => y > 230 && y < 250);
  expect(labels.map(({ text }) => text)).toEqual(["0", "2", "4", "6", "8", "10"]);
});

test("no two of many series have both colour and dash in common", () => {
  const looks = Array.from({ length: 64 }, (_, i) => seriesColor(i) + seriesDash(i));
  expect(new Set(looks).size).toBe(64);
});

test("series differ by dash and marker, not by colour alone, in the legend too", () => {
  const names = ["PT", "FPT-LD", "FPT-FR", "FPT-CR", "mine"];
  const drawn = lineChart({
    title: "t",
    x: "x",
    y: "y",
    series: names.map((name, i) => ({
      name,
      points: [
        [0, i],
        [1, i + 1],
      ],
      dots: true,
    })),
  });
  const dashOf = (element: string) =>
    [...drawn.matchAll(new RegExp(`<${element} [^>]*stroke-width="1.8"[^>]*>`, "g"))].map(
      ([tag]) => /stroke-dasharray="([^"]+)"/.exec(tag)?.[1] ?? "solid",
    );
  expect(new Set(dashOf("polyline")).size).toBe(5);
  expect(dashOf("line")).toEqual(dashOf("polyline"));
  // of each marker one in the legend and one per point; shapes are told apart by their first offsets
  expect(drawn.match(/<circle/g)).toHaveLength(3);
  expect(drawn.match(/<polygon/g)).toHaveLength(12);
});

test("every series has a strip of its own stages from its first, named where there is room and numbered where not", () => {
  const drawn = lineChart({
    title: "t",
    x: "steps",
    y: "y",
    series: [
      {
        name: "PT",
        points: [
          [0, 1],
          [100, 2],
        ],
      },
      {
        name: "FPT-LD",
        points: [
          [0, 1],
          [100, 2],
        ],
        stages: [
          { x: 0, label: "enc 2" },
          { x: 50, label: "full" },
        ],
      },
      {
        name: "FPT-CR",
        points: [
          [0, 1],
          [100, 2],
        ],
        stages: [
          { x: 0, label: "enc 2×192, dec 4" },
          { x: 10, label: "full" },
        ],
      },
    ],
  });
  const strips = [...drawn.matchAll(/<rect x="([\d.]+)"[^>]*fill="var\(--s(\d)[^>]*><title>([^<]*)/g)];
  expect(strips.map(([, , series, told]) => `${series} ${told}`)).toEqual([
    "1 FPT-LD, stage 1 from 0: enc 2",
    "1 FPT-LD, stage 2 from 50: full",
    "2 FPT-CR, stage 1 from 0: enc 2×192, dec 4",
    "2 FPT-CR, stage 2 from 10: full",
  ]);
  expect(
    places(drawn)
      .filter(({ y }) => y > 13 && y < 70)
      .map(({ text }) => text),
  ).toEqual(expect.arrayContaining(["enc 2", "full", "1"]));
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

test("dots: a marked value has a line within the axis, also where every value is on one side of it", () => {
  const entries = [
    { label: "FPT-CR both stacks − PT, stopped at its FLOPs", value: 3, deviation: 1 },
    { label: "LoRA − prompt", value: 6, deviation: null },
  ];
  const drawn = dots({ title: "t", x: "points", entries, mark: 0, labelWidth: 400 });
  const [a, b] = [...drawn.matchAll(/<circle cx="([\d.]+)"/g)].map((found) => Number(found[1]));
  const lines = [...drawn.matchAll(/<line x1="([\d.]+)" x2="([\d.]+)" y1="8" y2="52" stroke="var\(--ink/g)];
  expect(lines).toHaveLength(1);
  // 0, 3 and 6 stand at equal distances
  expect(Number(lines[0]![1])).toBeCloseTo(2 * a! - b!, 0);
  expect(drawn).toContain("stopped at its FLOPs");
  expect(dots({ title: "t", x: "points", entries })).not.toContain("stopped at its FLOPs");
});
