/** @file Rounding as ONNX's QuantizeLinear does it. */

/** Adding it leaves no bit for a fraction: the sum is rounded to a whole number, of two equally near to the even one. */
const shift = 1.5 * 2 ** 52;

/** The nearest whole number; of two equally near, the even one. Smaller than 2^51 in size. */
export function roundHalfEven(x: number): number {
  return x + shift - shift;
}
