/** @file Rounding as ONNX's QuantizeLinear does it. */

/** The nearest whole number; of two equally near, the even one. */
export function roundHalfEven(x: number): number {
  const down = Math.floor(x);
  const over = x - down;
  return over > 0.5 || (over === 0.5 && down % 2 !== 0) ? down + 1 : down;
}
