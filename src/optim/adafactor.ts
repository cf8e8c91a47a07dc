/**
 * @file Adafactor with an external learning rate, as Hugging Face transformers computes it with both papers' switches
 * (scale_parameter, relative_step and warmup_init off, no first moment).
 *
 * In: parameters and gradient of one shape, state (`row` [rows], `column` [columns]; or `square` for other than 2-D).
 * Out: new parameters and state. Source: Shazeer & Stern 2018, arXiv:1804.04235, algorithm 4; spec fpt.md §5, xprompt.md §2.
 *
 *     β_t = 1 − t^−0.8        R ← β R + (1−β) mean_columns(G² + ε)      C ← β C + (1−β) mean_rows(G² + ε)
 *     U = G · (R / mean R)^−½ · C^−½        U ← U / max(1, RMS(U) / d)        p ← p·(1 − lr·wd) − lr·U
 *
 * Differs: sums run in float64 and are rounded to float32 once per step; PyTorch rounds after each operation (1e-7 relative).
 */
import { size, type Tensor } from "../base/tensor.js";
import { checkUpdate, type Optimizer, type OptimizerState } from "./optimizer.js";

export interface AdafactorOptions {
  /** p ← p·(1 − lr·weightDecay) before the step. Default 0; both papers 1e-5. */
  weightDecay?: number;
  /** Added to the squared gradient. Default 1e-30. */
  epsilon?: number;
  /** d, the largest root-mean-square of an update before the learning rate. Default 1. */
  clipThreshold?: number;
  /** Exponent of the decay of the second moment: β_t = 1 − t^decayRate. Default −0.8. */
  decayRate?: number;
}

/** The papers' optimizer. Matrices have a factored second moment: rows + columns numbers instead of rows × columns. */
export function adafactor(options: AdafactorOptions = {}): Optimizer {
  const { weightDecay = 0, epsilon = 1e-30, clipThreshold = 1, decayRate = -0.8 } = options;
  return {
    name: "adafactor",
    init: ({ shape }) => {
      const zeros = (shape: readonly number[]): Tensor => ({ shape, data: new Float32Array(size(shape)) });
      const tensors: OptimizerState["tensors"] =
        shape.length === 2 ? { row: zeros([shape[0]!]), column: zeros([shape[1]!]) } : { square: zeros(shape) };
      return { step: 0, tensors };
    },
    update: (parameters, gradient, state, learningRate) => {
      checkUpdate("adafactor", parameters, gradient);
      const step = state.step + 1;
      const beta = 1 - step ** decayRate;
      const { update, tensors } = state.tensors.row
        ? factored(gradient, state.tensors, beta, epsilon)
        : unfactored(gradient, state.tensors, beta, epsilon);
      let squares = 0;
      for (const u of update) squares += u * u;
      const scale = learningRate / Math.max(1, Math.sqrt(squares / update.length) / clipThreshold);
      const keep = 1 - learningRate * weightDecay;
      return {
        parameters: {
          shape: parameters.shape,
          data: Float32Array.from(parameters.data, (p, n) => p * keep - scale * update[n]!),
        },
        state: { step, tensors },
      };
    },
  };
}

type Moments = OptimizerState["tensors"];

function factored(gradient: Tensor, moments: Moments, beta: number, epsilon: number) {
  const [rows, columns] = gradient.shape as readonly [number, number];
  const g = gradient.data;
  const rowSum = new Float64Array(rows);
  const columnSum = new Float64Array(columns);
  for (let i = 0, n = 0; i < rows; i++)
    for (let j = 0; j < columns; j++, n++) {
      const square = g[n]! * g[n]! + epsilon;
      rowSum[i]! += square;
      columnSum[j]! += square;
    }
  const row = moments.row!.data.map((r, i) => beta * r + (1 - beta) * (rowSum[i]! / columns));
  const column = moments.column!.data.map((c, j) => beta * c + (1 - beta) * (columnSum[j]! / rows));
  const rowMean = row.reduce((a, b) => a + b, 0) / rows;
  const rowFactor = Float64Array.from(row, (r) => 1 / Math.sqrt(r / rowMean));
  const columnFactor = Float64Array.from(column, (c) => 1 / Math.sqrt(c));
  const update = new Float64Array(g.length);
  for (let i = 0, n = 0; i < rows; i++)
    for (let j = 0; j < columns; j++, n++) update[n] = rowFactor[i]! * columnFactor[j]! * g[n]!;
  return { update, tensors: { row: { shape: [rows], data: row }, column: { shape: [columns], data: column } } };
}

function unfactored(gradient: Tensor, moments: Moments, beta: number, epsilon: number) {
  const g = gradient.data;
  const square = moments.square!.data.map((v, n) => beta * v + (1 - beta) * (g[n]! * g[n]! + epsilon));
  const update = Float64Array.from(g, (v, n) => v / Math.sqrt(square[n]!));
  return { update, tensors: { square: { shape: gradient.shape, data: square } } };
}
