/**
 * @file Stochastic gradient descent with optional momentum, as torch.optim.SGD computes it (dampening and Nesterov off);
 * weight decay is decoupled like the other optimizers' here.
 *
 * In: parameters and gradient of one shape, state (`velocity` of that shape where there is momentum). Out: new parameters and state.
 *
 *     v ← μv + g (first step: v = g)      p ← p·(1 − lr·wd) − lr·v
 *
 * Differs: PyTorch adds wd·p to the gradient; without momentum the two are the same.
 */
import { checkStep, checkUpdate, type Moments, type Optimizer, type OptimizerState, zeroMoments } from "./optimizer.js";

export interface SgdOptions {
  /** Default 0. */
  weightDecay?: number;
  /** μ. Default 0. */
  momentum?: number;
}

export function sgd(options: SgdOptions = {}): Optimizer {
  const { weightDecay = 0, momentum = 0 } = options;
  const momentsOf = (shape: readonly number[]): Moments => (momentum === 0 ? {} : { velocity: shape });
  return {
    name: "sgd",
    init: ({ shape }) => ({ step: 0, tensors: zeroMoments(momentsOf(shape)) }),
    update: (parameters, gradient, state, learningRate) => {
      const shape = parameters.shape;
      checkUpdate("sgd", parameters, gradient);
      checkStep("sgd", momentsOf(shape), state, learningRate);
      const old = state.tensors.velocity?.data;
      const velocity = old ? gradient.data.map((g, n) => momentum * old[n]! + g) : gradient.data;
      const keep = 1 - learningRate * weightDecay;
      const tensors: OptimizerState["tensors"] = old ? { velocity: { shape, data: velocity } } : {};
      const from = parameters.data;
      const data = new Float32Array(from.length);
      for (let n = 0; n < data.length; n++) data[n] = from[n]! * keep - learningRate * velocity[n]!;
      return {
        parameters: { shape, data },
        state: { step: state.step + 1, tensors },
      };
    },
  };
}
