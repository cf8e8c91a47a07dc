/** @file Start values that several methods draw. */
import type { Random } from "../base/random.js";
import { size, type Tensor } from "../base/tensor.js";

/** Elements uniform in ±range. */
export function uniform(random: Random, shape: readonly number[], range: number): Tensor {
  return { shape, data: Float32Array.from({ length: size(shape) }, () => random.uniform(-range, range)) };
}

/** A linear layer [out, in] as PyTorch draws one: uniform in ±1/√in. */
export const linearWeight = (random: Random, out: number, from: number) =>
  uniform(random, [out, from], 1 / Math.sqrt(from));
/** Its bias [out], likewise. */
export const linearBias = (random: Random, out: number, from: number) => uniform(random, [out], 1 / Math.sqrt(from));

export function filled(shape: readonly number[], value: number): Tensor {
  return { shape, data: new Float32Array(size(shape)).fill(value) };
}

/**
 * A random projection R [r, D], elements uniform with variance 1/r, and the coordinates [P, r] under which a prompt comes nearest in
 * expectation: prompt · Rᵀ · r/D, since R·Rᵀ ≈ (D/r)·1.
 */
export function projection(random: Random, r: number, D: number): Tensor {
  return uniform(random, [r, D], Math.sqrt(3 / r));
}

export function coordinates(prompt: Tensor, R: Tensor): Tensor {
  const [P, D] = prompt.shape as [number, number];
  const r = R.shape[0]!;
  const data = new Float32Array(P * r);
  for (let i = 0; i < P; i++)
    for (let j = 0; j < r; j++) {
      let dot = 0;
      for (let c = 0; c < D; c++) dot += prompt.data[i * D + c]! * R.data[j * D + c]!;
      data[i * r + j] = (dot * r) / D;
    }
  return { shape: [P, r], data };
}
