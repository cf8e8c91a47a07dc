/**
 * @file Gradient clipping by global norm, as torch.nn.utils.clip_grad_norm_ computes it.
 *
 * In: a gradient. Out: the same or a shorter one, and the norm it had. Source: fpt.md §5 (1.0), xprompt.md §2 (1.0).
 */
import type { Tensor } from "../base/tensor.js";

/**
 * Scales the gradient by maxNorm / (norm + 1e-6) where that is below one (the 1e-6 is PyTorch's).
 *
 * @param maxNorm 0 is off.
 * @returns the gradient (the same object when it is short enough) and the Euclidean norm before clipping.
 */
export function clipNorm(gradient: Tensor, maxNorm: number): { gradient: Tensor; norm: number } {
  const norm = Math.sqrt(addSquares(gradient.data, 0));
  const factor = maxNorm > 0 ? maxNorm / (norm + 1e-6) : 1;
  if (!(factor < 1)) return { gradient, norm };
  return { gradient: times(gradient, factor), norm };
}

/** The sum so far and the squares of the data, in their order. */
export function addSquares(data: Float32Array, sum: number): number {
  let squares = sum;
  for (let n = 0; n < data.length; n++) squares += data[n]! * data[n]!;
  return squares;
}

export function times({ shape, data }: Tensor, factor: number): Tensor {
  const scaled = new Float32Array(data.length);
  for (let n = 0; n < data.length; n++) scaled[n] = data[n]! * factor;
  return { shape, data: scaled };
}
