/**
 * @file Optimizers as pure functions over one matrix.
 *
 * In: parameters and gradient [rows, columns], state. Out: new parameters and state; nothing is mutated.
 */
import { SoftpromptError } from "../base/errors.js";
import { shapeText, size, type Tensor } from "../base/tensor.js";

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

/** Shapes of the tensors that an optimizer keeps for one parameter, by name. */
export type Moments = Readonly<Record<string, readonly number[]>>;

/** Moments before the first step. */
export function zeroMoments(moments: Moments): OptimizerState["tensors"] {
  return Object.fromEntries(
    Object.entries(moments).map(([name, shape]) => [name, { shape, data: new Float32Array(size(shape)) }]),
  );
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

/**
 * Refuses a learning rate that is no number, and a state of another optimizer or of other parameters: without its moments an optimizer would
 * follow another rule, and of wrong ones it would make NaN.
 */
export function checkStep(name: string, moments: Moments, { tensors }: OptimizerState, learningRate: number): void {
  if (!Number.isFinite(learningRate))
    throw new SoftpromptError("usage", "the learning rate is no number", {
      where: name,
      expected: "a finite number",
      got: String(learningRate),
    });
  for (const [moment, shape] of Object.entries(moments)) {
    const found = tensors[moment];
    if (found?.shape.join() === shape.join() && found.data.length === size(shape)) continue;
    throw new SoftpromptError("usage", "the state is not this optimizer's for these parameters", {
      where: `${name}, ${moment}`,
      expected: shapeText("float32", shape),
      got: found === undefined ? "nothing" : shapeText("float32", found.shape),
      hint: `begin with what init() of ${name} gives for these parameters`,
    });
  }
}
