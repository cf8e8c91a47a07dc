/**
 * @file AdamW: Adam with decoupled weight decay, as torch.optim.AdamW computes it (amsgrad off).
 *
 * In: parameters and gradient of one shape, state (`mean`, `square`, each of that shape). Out: new parameters and state.
 * Source: Loshchilov & Hutter 2019, arXiv:1711.05101.
 *
 *     m ← β₁m + (1−β₁)g      v ← β₂v + (1−β₂)g²      p ← p·(1 − lr·wd) − lr · m/(1−β₁ᵗ) / (√(v/(1−β₂ᵗ)) + ε)
 */
import { checkStep, checkUpdate, type Optimizer, zeroMoments } from "./optimizer.js";

export interface AdamWOptions {
  /** Default 0 (PyTorch's is 0.01). */
  weightDecay?: number;
  /** β₁ and β₂. Default [0.9, 0.999]. */
  betas?: readonly [number, number];
  /** Added to the root of the second moment. Default 1e-8. */
  epsilon?: number;
}

export function adamw(options: AdamWOptions = {}): Optimizer {
  const { weightDecay = 0, betas = [0.9, 0.999], epsilon = 1e-8 } = options;
  const [b1, b2] = betas;
  return {
    name: "adamw",
    init: ({ shape }) => ({ step: 0, tensors: zeroMoments({ mean: shape, square: shape }) }),
    update: (parameters, gradient, state, learningRate) => {
      const { shape } = parameters;
      checkUpdate("adamw", parameters, gradient);
      checkStep("adamw", { mean: shape, square: shape }, state, learningRate);
      const step = state.step + 1;
      const g = gradient.data;
      const from = parameters.data;
      const [oldMean, oldSquare] = [state.tensors.mean!.data, state.tensors.square!.data];
      const [mean, square, data] = [g, g, g].map(({ length }) => new Float32Array(length)) as [
        Float32Array,
        Float32Array,
        Float32Array,
      ];
      const stepSize = learningRate / (1 - b1 ** step);
      const correction = Math.sqrt(1 - b2 ** step);
      const keep = 1 - learningRate * weightDecay;
      for (let n = 0; n < g.length; n++) {
        mean[n] = b1 * oldMean[n]! + (1 - b1) * g[n]!;
        square[n] = b2 * oldSquare[n]! + (1 - b2) * g[n]! * g[n]!;
        data[n] = from[n]! * keep - (stepSize * mean[n]!) / (Math.sqrt(square[n]!) / correction + epsilon);
      }
      return {
        parameters: { shape, data },
        state: { step, tensors: { mean: { shape, data: mean }, square: { shape, data: square } } },
      };
    },
  };
}
