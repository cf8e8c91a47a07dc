/**
 * @file Optimizers and clipping over named parameters. An optimizer handles one matrix; a method may train several.
 *
 * In: Parameters, their gradients, one OptimizerState. Out: the same, updated. The state's tensors are named PARAMETER.MOMENT.
 */
import type { Parameters, Tensor } from "../base/tensor.js";
import { addSquares, clipNorm, times } from "./clip.js";
import type { Optimizer, OptimizerState } from "./optimizer.js";

/** The state of an optimizer before its first step. */
export function initParameters(optimizer: Optimizer, parameters: Parameters): OptimizerState {
  const tensors: Record<string, Tensor> = {};
  for (const [name, tensor] of Object.entries(parameters))
    Object.assign(tensors, named(name, optimizer.init(tensor).tensors));
  return { step: 0, tensors };
}

/** One update of every parameter. @param learningRate of this step. */
export function updateParameters(
  optimizer: Optimizer,
  parameters: Parameters,
  gradients: Parameters,
  state: OptimizerState,
  learningRate: number,
): { parameters: Parameters; state: OptimizerState } {
  const moved: Record<string, Tensor> = {};
  const tensors: Record<string, Tensor> = {};
  let step = state.step + 1;
  for (const [name, tensor] of Object.entries(parameters)) {
    const own = { step: state.step, tensors: ownTensors(name, state) };
    const next = optimizer.update(tensor, gradients[name]!, own, learningRate);
    moved[name] = next.parameters;
    Object.assign(tensors, named(name, next.state.tensors));
    step = next.state.step;
  }
  return { parameters: moved, state: { step, tensors } };
}

/** Clips by the norm over all parameters together, as torch.nn.utils.clip_grad_norm_ does. @param maxNorm 0 is off. */
export function clipParameters(gradients: Parameters, maxNorm: number): { gradients: Parameters; norm: number } {
  const entries = Object.entries(gradients);
  if (entries.length === 1) {
    const [name, tensor] = entries[0]!;
    const { gradient, norm } = clipNorm(tensor, maxNorm);
    return { gradients: { [name]: gradient }, norm };
  }
  let squares = 0;
  for (const [, { data }] of entries) squares = addSquares(data, squares);
  const norm = Math.sqrt(squares);
  const factor = maxNorm > 0 ? maxNorm / (norm + 1e-6) : 1;
  if (!(factor < 1)) return { gradients, norm };
  return {
    gradients: mapParameters(gradients, (gradient) => times(gradient, factor)),
    norm,
  };
}

export function mapParameters(parameters: Parameters, of: (tensor: Tensor, name: string) => Tensor): Parameters {
  return Object.fromEntries(Object.entries(parameters).map(([name, tensor]) => [name, of(tensor, name)]));
}

function named(name: string, tensors: OptimizerState["tensors"]): Record<string, Tensor> {
  return Object.fromEntries(Object.entries(tensors).map(([moment, tensor]) => [`${name}.${moment}`, tensor]));
}

function ownTensors(name: string, { tensors }: OptimizerState): Record<string, Tensor> {
  const prefix = `${name}.`;
  const own = Object.entries(tensors).filter(([key]) => key.startsWith(prefix));
  return Object.fromEntries(own.map(([key, tensor]) => [key.slice(prefix.length), tensor]));
}
