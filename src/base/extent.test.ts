/** @file Authority: Math.min and Math.max, on as few numbers as they can take. */
import { expect, test } from "vitest";
import { extent, highest } from "./extent.js";

test.each([[[]], [[3]], [[2, -7, 5.5, 0]], [[1, Number.NaN, 2]], [[-0.5, Number.NEGATIVE_INFINITY]]])(
  "%j: as Math.min and Math.max say",
  (values: number[]) => {
    expect(extent(values)).toEqual([Math.min(...values), Math.max(...values)]);
    expect(extent(values, [0, 0])).toEqual([Math.min(0, ...values), Math.max(0, ...values)]);
    expect(highest(values)).toBe(Math.max(...values));
    expect(highest(values, 3)).toBe(Math.max(3, ...values));
  },
);

test("more numbers than a call can take", () => {
  const many = Array.from({ length: 300_000 }, (_, i) => i);
  expect(() => Math.max(...many)).toThrow(RangeError);
  expect(extent(many)).toEqual([0, 299_999]);
});
