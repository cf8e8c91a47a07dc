/** @file Statistics of studies against values computed by hand. */
import { expect, test } from "vitest";
import { signTest } from "./study.js";

test.each([
  // 2·(1 + 6) / 2^6; tables of the binomial distribution
  [5, 1, 14 / 64],
  [1, 5, 14 / 64],
  [0, 6, 2 / 64],
  [10, 2, (2 * (1 + 12 + 66)) / 4096],
  [3, 3, 1],
  [0, 0, 1],
  [1, 0, 1],
  // 2 ** 2000 is no number; the normal approximation with its correction gives the others
  [1000, 1000, 1],
  [1060, 940, 0.00777],
])("%i above and %i below: the sign test says %f", (above, below, p) => {
  expect(signTest(above, below)).toBeCloseTo(p, above + below < 100 ? 12 : 4);
});
