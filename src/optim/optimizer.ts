/**
 * @file Optimizers as pure functions over one matrix.
 *
 * In: parameters and gradient [rows, columns], state. Out: new parameters and state; nothing is mutated.
 */
import { SoftpromptError } from "../base/errors.js";
import { shapeText, type Tensor } from "../base/tensor.js";

/** State is named tensors plus the step count, so that a checkpoint can save any optimizer alike. */
export interface OptimizerState {
  readonly step: number;
  readonly tensors: Readonly<Record<string, Tensor>>;
}

/** An update rule: its state, and one step. */
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

/** Refuses a gradient of another shape than the parameters'. */
export function checkUpdate(name: string, parameters: Tensor, gradient: Tensor): void {
  if (parameters.data.length !== gradient.data.length || parameters.shape.join() !== gradient.shape.join())
    throw new SoftpromptError("usage", "the gradient does not have the parameters' shape", {
      where: name,
      expected: shapeText("float32", parameters.shape),
      got: shapeText("float32", gradient.shape),
    });
}
