/** @file Compares tensors as every parity test does. */
import { expect } from "vitest";
import type { Tensor } from "../../src/base/tensor.js";

/** Largest difference over largest value; 0 between equal ones, and NaN is infinitely far. */
export function distance(got: ArrayLike<number>, wanted: ArrayLike<number>): number {
  let [difference, largest] = [0, 0];
  for (let i = 0; i < wanted.length; i++) {
    const apart = Math.abs(wanted[i]! - got[i]!);
    difference = Math.max(difference, Number.isNaN(apart) ? Number.POSITIVE_INFINITY : apart);
    largest = Math.max(largest, Math.abs(wanted[i]!));
  }
  return difference === 0 ? 0 : difference / largest;
}

export function expectClose(got: Tensor, wanted: Tensor, tolerance: number): void {
  expect(got.shape).toEqual(wanted.shape);
  expect(got.data.length).toBe(wanted.data.length);
  expect(distance(got.data, wanted.data)).toBeLessThan(tolerance);
}
