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
  let squares = 0;
  for (const g of gradient.data) squares += g * g;
  const norm = Math.sqrt(squares);
  const factor = maxNorm > 0 ? maxNorm / (norm + 1e-6) : 1;
  if (!(factor < 1)) return { gradient, norm };
  return { gradient: { shape: gradient.shape, data: gradient.data.map((g) => g * factor) }, norm };
}
