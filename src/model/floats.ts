/**
 * @file 16-bit floats and bytes: widening to float32 (exact) and rounding from it (to nearest, ties to even).
 *
 * In: bytes as stored, little-endian. Out: Float32Array, or bytes again. NaN stays NaN (its payload's top bits too), never
 * turns into infinity by rounding; infinities and signed zeros survive. Source: IEEE 754-2019 §4.3.1; bfloat16 is the upper half of float32.
 */

/** Types a frozen weight may have. */
export type FloatDType = "float32" | "bfloat16" | "float16";

/** Stored bytes → float32. `bytes` may start at any address; its length must be a multiple of the element's. */
export function widen(bytes: Uint8Array, dtype: FloatDType): Float32Array {
  return widening[dtype](bytes);
}

/** float32 → stored bytes. */
export function narrow(values: Float32Array, dtype: FloatDType): Uint8Array {
  return narrowing[dtype](values);
}

/** Largest value of float16. */
const float16Most = 65504;

/** Whether float16 can hold all of them. NaN it cannot. */
export function fitsFloat16(values: Float32Array): boolean {
  return values.every((v) => Math.abs(v) <= float16Most);
}

const widening = {
  float32: (bytes) => new Float32Array(copy(bytes)),
  bfloat16: (bytes) => {
    const halves = aligned16(bytes);
    const bits = new Uint32Array(halves.length);
    for (let i = 0; i < halves.length; i++) bits[i] = halves[i]! << 16;
    return new Float32Array(bits.buffer);
  },
  float16: (bytes) => {
    const halves = aligned16(bytes);
    const bits = new Uint32Array(halves.length);
    for (let i = 0; i < halves.length; i++) bits[i] = float16ToBits(halves[i]!);
    return new Float32Array(bits.buffer);
  },
} satisfies Record<FloatDType, (bytes: Uint8Array) => Float32Array>;

const narrowing = {
  float32: (values) => new Uint8Array(values.slice().buffer),
  bfloat16: (values) => {
    const bits = bitsOf(values);
    const halves = new Uint16Array(bits.length);
    for (let i = 0; i < bits.length; i++) halves[i] = bitsToBfloat16(bits[i]!);
    return new Uint8Array(halves.buffer);
  },
  float16: (values) => {
    const bits = bitsOf(values);
    const halves = new Uint16Array(bits.length);
    for (let i = 0; i < bits.length; i++) halves[i] = bitsToFloat16(bits[i]!);
    return new Uint8Array(halves.buffer);
  },
} satisfies Record<FloatDType, (values: Float32Array) => Uint8Array>;

/** float32's bits for one float16. */
function float16ToBits(h: number): number {
  const sign = (h & 0x8000) << 16;
  const exponent = (h >> 10) & 0x1f;
  const fraction = h & 0x3ff;
  if (exponent === 0x1f) return sign | 0x7f800000 | (fraction << 13);
  if (exponent !== 0) return sign | ((exponent + 112) << 23) | (fraction << 13);
  if (fraction === 0) return sign;
  // subnormal: fraction · 2^-24 is normal in float32; shift its leading one to bit 10
  const shift = Math.clz32(fraction) - 21;
  return sign | ((113 - shift) << 23) | ((fraction << (13 + shift)) & 0x7fffff);
}

function bitsToBfloat16(x: number): number {
  if ((x & 0x7fffffff) > 0x7f800000) return (x >>> 16) | 0x40; // NaN, kept quiet: rounding could carry into infinity
  return ((x + 0x7fff + ((x >>> 16) & 1)) >>> 16) & 0xffff;
}

function bitsToFloat16(x: number): number {
  const sign = (x >>> 16) & 0x8000;
  const magnitude = x & 0x7fffffff;
  if (magnitude > 0x7f800000) return sign | 0x7e00 | ((magnitude >> 13) & 0x1ff);
  if (magnitude >= 0x477ff000) return sign | 0x7c00; // 65520 and more round to infinity
  if (magnitude >= 0x38800000) {
    const rounded = magnitude + 0xfff + ((magnitude >> 13) & 1);
    return sign | ((rounded - 0x38000000) >> 13);
  }
  if (magnitude < 0x33000000) return sign; // below half the smallest subnormal (2^-25)
  const shift = 126 - (magnitude >> 23); // 14 … 24 bits to drop from the 24-bit significand
  const significand = (magnitude & 0x7fffff) | 0x800000;
  const half = 1 << (shift - 1);
  const kept = significand >> shift;
  const rest = significand & ((1 << shift) - 1);
  return sign | (kept + (rest > half || (rest === half && (kept & 1) === 1) ? 1 : 0));
}

function aligned16(bytes: Uint8Array): Uint16Array {
  return bytes.byteOffset % 2 === 0
    ? new Uint16Array(bytes.buffer, bytes.byteOffset, bytes.length / 2)
    : new Uint16Array(copy(bytes));
}

/** An aligned copy that owns its memory. Not `slice()`: on a Buffer that is a view. */
function copy(bytes: Uint8Array): ArrayBuffer {
  return new Uint8Array(bytes).buffer;
}

function bitsOf(values: Float32Array): Uint32Array {
  return new Uint32Array(values.buffer, values.byteOffset, values.length);
}
