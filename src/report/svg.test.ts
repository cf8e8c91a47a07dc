import { expect, test } from "vitest";
import { bars, escapeXml, heatMap, histogram, lineChart, ticks } from "./svg.js";

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
  // the box is [58, 158] × [30, 130]; y is widened by 5 % of its range on each side: 100 px for 1.1
  const [, points] = /<polyline[^>]* points="([^"]+)"/.exec(svg)!;
  expect(points).toBe("58,125.5 158,34.5");
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
