/**
 * @file Optimizers as pure functions over one matrix. (contract; the optim room fills it in)
 *
 * In: parameters and gradient [rows, columns], state. Out: new parameters and state; nothing is mutated.
 */
import type { Tensor } from "../base/tensor.js";

/** State is named tensors plus the step count, so that a checkpoint can save any optimizer alike. */
export interface OptimizerState {
  readonly step: number;
  readonly tensors: Readonly<Record<string, Tensor>>;
}

export interface Optimizer {
  readonly name: string;
  init(parameters: Tensor): OptimizerState;
  /** @param learningRate of this step, from the learning-rate schedule. */
  update(
    parameters: Tensor,
    gradient: Tensor,
    state: OptimizerState,
    learningRate: number,
  ): { parameters: Tensor; state: OptimizerState };
}
