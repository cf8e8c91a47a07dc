/**
 * @file Lowest and highest of many numbers. In: numbers. Out: [low, high].
 *
 * Math.max(...values) puts every value on the stack: from about 125,000 on it throws a RangeError. A run has as many points as steps.
 */

/**
 * Lowest and highest of `values` and of the start values. Without values and start values it is [∞, −∞], as Math.min() and Math.max() give.
 * NaN where one of the values is NaN.
 */
export function extent(
  values: Iterable<number>,
  from: readonly [number, number] = [Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY],
): [number, number] {
  let [low, high] = from;
  for (const value of values) {
    low = Math.min(low, value);
    high = Math.max(high, value);
  }
  return [low, high];
}

/** Highest of `values`, and no less than `least`. */
export function highest(values: Iterable<number>, least = Number.NEGATIVE_INFINITY): number {
  return extent(values, [Number.POSITIVE_INFINITY, least])[1];
}
