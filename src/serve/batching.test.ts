import { expect, test } from "vitest";
import { type BatchLimits, batchOf, type RowLength } from "./batching.js";

const limits: BatchLimits = { rows: 32, positions: 16_384, pass: 32 };
const row = (virtual: number, tokens: number): RowLength => ({ virtual, tokens });
const batch = (rows: readonly RowLength[], more: Partial<BatchLimits> = {}) =>
  batchOf(rows, (of) => of, { ...limits, ...more });

test("the row that has waited longest is in every batch, whatever stands behind it", () => {
  const rows = [row(100, 1), ...Array.from({ length: 40 }, () => row(1, 20))];
  expect(batch(rows)).toContain(rows[0]);
  expect(batch(rows.slice(1))).toHaveLength(32);
  expect(batch([])).toEqual([]);
});

test("a long prompt before a short text does not stand beside a short prompt before a long text", () => {
  const [long, short, like] = [row(40, 5), row(1, 44), row(38, 6)];
  expect(batch([long, short, like])).toEqual([long, like]);
});

test("rows are left for another pass where their padding costs more than the pass", () => {
  const rows = [row(20, 20), row(20, 26), row(20, 60)];
  expect(batch(rows)).toEqual(rows.slice(0, 2));
  expect(batch(rows, { pass: Number.POSITIVE_INFINITY })).toEqual(rows);
  expect(batch(rows, { pass: 5 })).toEqual(rows.slice(0, 1));
});

test("the padded batch stays within its positions and rows; a row that is longer than all goes alone", () => {
  const rows = Array.from({ length: 10 }, () => row(0, 100));
  expect(batch(rows, { positions: 399 })).toHaveLength(3);
  expect(batch(rows, { rows: 4 })).toEqual(rows.slice(0, 4));
  expect(batch(rows, { positions: 50 })).toHaveLength(1);
});

test("less padding than by the sum of both lengths, for the mix of bench/serve.mjs", () => {
  const waiting = Array.from({ length: 200 }, (_, i) => row(1 + ((i * 5) % 8) * 5, 5 + ((i * 7) % 38)));
  const padding = (batches: readonly (readonly RowLength[])[]) => {
    const sum = (of: (b: readonly RowLength[]) => number) => batches.reduce((all, b) => all + of(b), 0);
    const most = (b: readonly RowLength[], of: (r: RowLength) => number) => Math.max(...b.map(of));
    const padded = sum((b) => b.length * (most(b, (r) => r.virtual) + most(b, (r) => r.tokens)));
    return padded / sum((b) => b.reduce((all, { virtual, tokens }) => all + virtual + tokens, 0));
  };
  const own: RowLength[][] = [];
  for (let left = waiting; left.length > 0; left = left.filter((r) => !own.at(-1)!.includes(r))) own.push(batch(left));
  expect(own.flat()).toHaveLength(200);
  const bySum = [...waiting].sort((a, b) => a.virtual + a.tokens - b.virtual - b.tokens);
  const slices = Array.from({ length: 7 }, (_, i) => bySum.slice(i * 32, i * 32 + 32));
  expect(padding(own)).toBeLessThan(1.3);
  expect(padding(slices)).toBeGreaterThan(1.4);
});
