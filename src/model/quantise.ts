/**
 * @file Quantises a matrix to integers, with one scale per column of the result.
 *
 * In: float32 [R, C], row-major. Out: int8 values and float32 steps. Rounding is to the nearest, of two equally near to the even one.
 */
import { SoftpromptError } from "../base/errors.js";
import { roundHalfEven } from "../base/round.js";

/** Version of the content. It must change whenever a layer's results change: runs and kept texts of another version are not gone on with. */
export const roundingVersion = 4;

/**
 * Names the rounding of an engine, for whatever holds its results: nothing where it computes in float32. The sha256 of the 8-bit weights is
 * part of it: what was measured of a model decides how it is rounded, and may differ between processors.
 */
export function roundingFacts({
  options: { eightBit: most },
  checkpoint: { eightBitSha256 },
}: {
  readonly options: { readonly eightBit: number | null };
  readonly checkpoint: { readonly eightBitSha256?: string };
}): { readonly eightBit?: string } {
  return most === null ? {} : { eightBit: `${most}, version ${roundingVersion}, ${eightBitSha256}` };
}

/** Integers, with the scale of each column. */
export interface Rounded {
  /** [rows, columns] of the result. */
  readonly values: Int8Array<ArrayBuffer>;
  /** [columns]. */
  readonly scale: Float32Array<ArrayBuffer>;
}

/**
 * The matrix as it is: result [R, C], one scale per column.
 * @param most largest integer: 127, or 64 where 8-bit products saturate
 */
export function roundColumns(data: Float32Array, columns: number, most: number): Rounded {
  const largest = new Float32Array(columns);
  for (let i = 0, c = 0; i < data.length; i++, c = c + 1 === columns ? 0 : c + 1) {
    const size = Math.abs(data[i]!);
    if (!(size <= largest[c]!)) largest[c] = size; // also true for NaN
  }
  const scale = steps(largest, most);
  const values = new Int8Array(data.length);
  for (let i = 0, c = 0; i < data.length; i++, c = c + 1 === columns ? 0 : c + 1)
    values[i] = roundHalfEven(data[i]! / scale[c]!);
  return { values, scale };
}

/** The transposed matrix: result [C, R], one scale per row of the given matrix. */
export function roundRowsTurned(data: Float32Array, columns: number, most: number): Rounded {
  const rows = data.length / columns;
  const largest = new Float32Array(rows);
  for (let r = 0; r < rows; r++)
    for (let i = r * columns; i < (r + 1) * columns; i++) {
      const size = Math.abs(data[i]!);
      if (!(size <= largest[r]!)) largest[r] = size;
    }
  const scale = steps(largest, most);
  const values = new Int8Array(data.length);
  for (let r = 0; r < rows; r++)
    for (let c = 0; c < columns; c++) values[c * rows + r] = roundHalfEven(data[r * columns + c]! / scale[r]!);
  return { values, scale };
}

/** The scale; 1 where everything is zero. */
function steps(largest: Float32Array, most: number): Float32Array<ArrayBuffer> {
  return Float32Array.from(largest, (size) => {
    if (!Number.isFinite(size))
      throw new SoftpromptError("numeric", "a weight is not a finite number", {
        where: "a linear layer's matrix in 8 bits",
        hint: "use --precision float32, or another checkpoint",
      });
    const step = Math.fround(size / most);
    // a scale that was rounded down could push the largest weight beyond `most`
    return step === 0 ? 1 : Math.round(size / step) > most ? Math.fround(step * (1 + 2 ** -23)) : step;
  });
}

/**
 * By what each channel of a layer's input is multiplied, so that inputs and weights share the unevenness of the channels (SmoothQuant, Xiao et
 * al. 2023, arXiv:2211.10438, α = 0.5). Powers of two: multiplying by them rounds nothing.
 * @param inputs largest input of each channel
 * @param weights largest weight of each channel, over all layers that read the input
 */
export function smoothing(inputs: Float32Array, weights: Float32Array): Float32Array<ArrayBuffer> {
  return Float32Array.from(inputs, (input, k) => {
    const power = Math.round(Math.log2(weights[k]! / input) / 2);
    // a channel without inputs or without weights needs none
    return Number.isFinite(power) ? 2 ** Math.max(-20, Math.min(20, power)) : 1;
  });
}
