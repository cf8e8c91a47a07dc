/**
 * @file Quantises a matrix to integers, with one scale per column of the result.
 *
 * In: float32 [R, C], row-major. Out: int8 values and float32 steps. Rounding is to the nearest, of two equally near to the even one.
 */
import { SoftpromptError } from "../base/errors.js";
import { roundHalfEven } from "../base/round.js";

/** Version of the content. It must change whenever a layer's results change: runs and kept texts of another version are not gone on with. */
export const roundingVersion = 6;

/** The same of weights in blocks. */
export const blockVersion = 1;

/**
 * Names how an engine's weights are rounded or kept, for whatever holds its results: nothing where it computes with the checkpoint's own. The
 * sha256 of the 8-bit weights is part of it: what was measured of a model decides how it is rounded, and may differ between processors.
 */
export function roundingFacts({
  options: { eightBit: most, blocks },
  checkpoint: { eightBitSha256, blocksSha256 },
}: {
  readonly options: { readonly eightBit: number | null; readonly blocks: string | null };
  readonly checkpoint: { readonly eightBitSha256?: string; readonly blocksSha256?: string };
}): { readonly eightBit?: string; readonly blocks?: string } {
  return {
    ...(most === null ? {} : { eightBit: `${most}, version ${roundingVersion}, ${eightBitSha256}` }),
    ...(blocks === null ? {} : { blocks: `${blocks}, version ${blockVersion}, ${blocksSha256}` }),
  };
}

/** The largest integer of 8 bits that has a negative. */
const largestWeight = 127;

/** How the products of a model's layers are computed. */
export interface EightBitProducts {
  /** How often most inputs are rounded: twice where some neurons are very large. */
  readonly terms: 1 | 2;
  /** Largest integer of a weight. */
  readonly largest: number;
  /** How weights are stored: uint8, 128 more, where they go beyond what is safe in products of signed numbers. */
  readonly dtype: "int8" | "uint8";
}

/**
 * @param layers those in 8 bits
 * @param most 64 where larger signed products saturate, else 127 (EightBitOptions)
 */
export function productsOf(layers: Iterable<{ readonly terms: 1 | 2 }>, most: number): EightBitProducts {
  const terms = [...layers].every((layer) => layer.terms === 2) ? 2 : 1;
  const largest = terms === 2 ? largestWeight : most;
  return { terms, largest, dtype: largest > most ? "uint8" : "int8" };
}

/** Weights in the type in which they are stored. */
export function storedAs(
  dtype: EightBitProducts["dtype"],
  values: Int8Array<ArrayBuffer>,
): Int8Array<ArrayBuffer> | Uint8Array<ArrayBuffer> {
  return dtype === "int8" ? values : Uint8Array.from(values, (v) => v + 128);
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
    largest[c] = Math.max(largest[c]!, Math.abs(data[i]!)); // stays NaN once one was NaN
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
      largest[r] = Math.max(largest[r]!, Math.abs(data[i]!));
    }
  const scale = steps(largest, most);
  const values = new Int8Array(data.length);
  // in bands of columns, so that the lines that are written stay in the processor's cache
  for (let from = 0; from < columns; from += band) {
    const to = Math.min(columns, from + band);
    for (let r = 0; r < rows; r++) {
      const step = scale[r]!;
      for (let c = from; c < to; c++) values[c * rows + r] = roundHalfEven(data[r * columns + c]! / step);
    }
  }
  return { values, scale };
}

const band = 64;

function notFinite(what: string): SoftpromptError {
  return new SoftpromptError("numeric", "a weight is not a finite number", {
    where: `a linear layer's matrix in ${what}`,
    hint: "use --precision float32, or another checkpoint",
  });
}

/** The scale; 1 where everything is zero. */
function steps(largest: Float32Array, most: number): Float32Array<ArrayBuffer> {
  return Float32Array.from(largest, (size) => {
    if (!Number.isFinite(size)) throw notFinite("8 bits");
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

/** Integers of −8 … 7, and the scale of each block. */
export interface RoundedBlocks {
  readonly integers: Int8Array<ArrayBuffer>;
  readonly scale: Float32Array<ArrayBuffer>;
}

/**
 * Blocks of numbers to 4 bits: the number that is largest in size becomes −8 (as in GGUF's Q4_0), the others are rounded to that scale, and the
 * scale is then the one of least squared error for these integers.
 */
export function roundBlocks(data: Float32Array, block: number): RoundedBlocks {
  const integers = new Int8Array(data.length);
  const scale = new Float32Array(data.length / block);
  for (let b = 0; b < scale.length; b++) {
    const from = b * block;
    let [size, most] = [0, 0];
    for (let i = from; i < from + block; i++) {
      size = Math.max(size, Math.abs(data[i]!));
      if (Math.abs(data[i]!) > Math.abs(most)) most = data[i]!;
    }
    if (!Number.isFinite(size)) throw notFinite("4 bits");
    if (most === 0) continue;
    let [both, square] = [0, 0];
    for (let i = from; i < from + block; i++) {
      const q = Math.max(-8, Math.min(7, roundHalfEven((-8 * data[i]!) / most)));
      integers[i] = q;
      both += q * data[i]!;
      square += q * q;
    }
    scale[b] = both / square;
  }
  return { integers, scale };
}
