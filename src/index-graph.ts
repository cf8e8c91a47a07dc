/**
 * @file `softprompt/graph`: operators as data, with shapes, gradients, a reference interpreter, and ONNX output.
 *
 * Start with `emptyGraph`, `input`, the operators and `gradient`; `interpret` computes a graph without ONNX Runtime, `lower` writes it as ONNX.
 */
export { type DType, dtypes } from "./base/tensor.js";
export { check } from "./graph/check.js";
export { count, counter, type Flops as GraphFlops } from "./graph/count.js";
export { type DifferentiableOp, gradient, gradients, type Opaque } from "./graph/grad.js";
export * from "./graph/graph.js";
export { interpret, type Numbers } from "./graph/interpret.js";
export * from "./graph/ops.js";
export { print } from "./graph/print.js";
export { simplify } from "./graph/simplify.js";
export { lower, type OnnxModel } from "./onnx/lower.js";
export type { LoweringOptions } from "./onnx/opset.js";
