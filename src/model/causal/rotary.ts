/**
 * @file Rotary positions: frequencies with their scalings, and tables of cosines and sines.
 *
 * Computed in float32 step by step as transformers' modeling_rope_utils.py (5.24) does: at position 8,191 one rounding of a frequency
 * turns an angle by 5e-4, so the order of operations is part of the definition.
 */

export type RotaryScaling =
  | { readonly kind: "none" }
  /** Every frequency divided (Chen et al. 2023). */
  | { readonly kind: "linear"; readonly factor: number }
  /** Long waves divided, short ones left, a smooth passage between (Llama 3.1). */
  | {
      readonly kind: "llama3";
      readonly factor: number;
      readonly lowFactor: number;
      readonly highFactor: number;
      readonly originalPositions: number;
    };

export interface Rotary {
  /** R, the first channels of each head that turn; even. */
  readonly width: number;
  readonly base: number;
  readonly scaling: RotaryScaling;
}

const f = Math.fround;

/** Radians per position, [R/2]. */
export function frequencies({ width, base, scaling }: Rotary): Float32Array {
  const plain = Float32Array.from({ length: width / 2 }, (_, i) => 1 / f(base ** f((2 * i) / width)));
  if (scaling.kind === "none") return plain;
  const { factor } = scaling;
  if (scaling.kind === "linear") return plain.map((w) => w / factor);
  const { lowFactor, highFactor, originalPositions } = scaling;
  const [longest, shortest] = [originalPositions / lowFactor, originalPositions / highFactor];
  return plain.map((w) => {
    // PyTorch divides a number by a tensor as the reciprocal times the number
    const wave = f(f(1 / w) * f(2 * Math.PI));
    if (wave < shortest) return w;
    if (wave > longest) return w / factor;
    const smooth = f(f(f(f(1 / wave) * originalPositions) - lowFactor) / (highFactor - lowFactor));
    return f(f(f(f(1 - smooth) * w) / factor) + f(smooth * w));
  });
}

/** Cosines and sines at positions 0 … rows − 1, [rows, R/2] each. */
export interface RotaryTable {
  readonly rows: number;
  readonly half: number;
  readonly cos: Float32Array;
  readonly sin: Float32Array;
}

const tables = new WeakMap<Rotary, RotaryTable>();

/** A table of at least so many rows; each rotary has one, which grows. */
export function rotaryTable(rotary: Rotary, rows: number): RotaryTable {
  const known = tables.get(rotary);
  if (known !== undefined && known.rows >= rows) return known;
  const enough = Math.max(rows, 2 * (known?.rows ?? 128));
  const speeds = frequencies(rotary);
  const half = speeds.length;
  const [cos, sin] = [new Float32Array(enough * half), new Float32Array(enough * half)];
  for (let position = 0; position < enough; position++)
    for (let i = 0; i < half; i++) {
      const angle = f(speeds[i]! * position);
      cos[position * half + i] = Math.cos(angle);
      sin[position * half + i] = Math.sin(angle);
    }
  const table = { rows: enough, half, cos, sin };
  tables.set(rotary, table);
  return table;
}
