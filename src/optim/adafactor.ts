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
import type { Tensor } from "../base/tensor.js";
import { checkStep, checkUpdate, type Moments, type Optimizer, type OptimizerState, zeroMoments } from "./optimizer.js";

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
    init: ({ shape }) => ({ step: 0, tensors: zeroMoments(momentsOf(shape)) }),
    update: (parameters, gradient, state, learningRate) => {
      checkUpdate("adafactor", parameters, gradient);
      checkStep("adafactor", momentsOf(parameters.shape), state, learningRate);
      const step = state.step + 1;
      const beta = 1 - step ** decayRate;
      const rule = parameters.shape.length === 2 ? factored : unfactored;
      const { tensors, rows, squares, write } = rule(gradient, state.tensors, beta, epsilon);
      const count = gradient.data.length;
      const scale = learningRate / Math.max(1, Math.sqrt(squares / count) / clipThreshold);
      const keep = 1 - learningRate * weightDecay;
      const data = new Float32Array(count);
      for (let i = 0; i < rows; i++) write(i, parameters.data, data, keep, scale);
      return { parameters: { shape: parameters.shape, data }, state: { step, tensors } };
    },
  };
}

const momentsOf = (shape: readonly number[]): Moments =>
  shape.length === 2 ? { row: [shape[0]!], column: [shape[1]!] } : { square: shape };

type Kept = OptimizerState["tensors"];

/**
 * New moments, the sum of the squared update, and a way to move row after row of the parameters by it. The update itself is never stored as
 * a whole. For fine-tuning it would take as much memory as a float64 copy of the model.
 */
interface Rule {
  readonly tensors: Kept;
  readonly rows: number;
  readonly squares: number;
  write(row: number, from: Float32Array, to: Float32Array, keep: number, scale: number): void;
}

// Plain loops over typed arrays throughout: a closure per element takes ten times as long, and a model has millions.

function factored(gradient: Tensor, moments: Kept, beta: number, epsilon: number): Rule {
  const [rows, columns] = gradient.shape as readonly [number, number];
  const g = gradient.data;
  const rowSum = new Float64Array(rows);
  const columnSum = new Float64Array(columns);
  for (let i = 0, n = 0; i < rows; i++) {
    let sum = 0;
    for (let j = 0; j < columns; j++, n++) {
      const square = g[n]! * g[n]! + epsilon;
      sum += square;
      columnSum[j] = columnSum[j]! + square;
    }
    rowSum[i] = sum;
  }
  const row = moments.row!.data.map((r, i) => beta * r + (1 - beta) * (rowSum[i]! / columns));
  const column = moments.column!.data.map((c, j) => beta * c + (1 - beta) * (columnSum[j]! / rows));
  const rowMean = row.reduce((a, b) => a + b, 0) / rows;
  const rowFactor = new Float64Array(rows);
  for (let i = 0; i < rows; i++) rowFactor[i] = 1 / Math.sqrt(row[i]! / rowMean);
  const columnFactor = new Float64Array(columns);
  for (let j = 0; j < columns; j++) columnFactor[j] = 1 / Math.sqrt(column[j]!);
  let squares = 0;
  for (let i = 0, n = 0; i < rows; i++) {
    const own = rowFactor[i]!;
    for (let j = 0; j < columns; j++, n++) {
      const u = own * columnFactor[j]! * g[n]!;
      squares += u * u;
    }
  }
  return {
    tensors: { row: { shape: [rows], data: row }, column: { shape: [columns], data: column } },
    rows,
    squares,
    write(i, from, to, keep, scale) {
      const own = rowFactor[i]!;
      for (let j = 0, n = i * columns; j < columns; j++, n++)
        to[n] = from[n]! * keep - scale * (own * columnFactor[j]! * g[n]!);
    },
  };
}

function unfactored(gradient: Tensor, moments: Kept, beta: number, epsilon: number): Rule {
  const g = gradient.data;
  const before = moments.square!.data;
  const square = new Float32Array(g.length);
  let squares = 0;
  for (let n = 0; n < g.length; n++) {
    square[n] = beta * before[n]! + (1 - beta) * (g[n]! * g[n]! + epsilon);
    const u = g[n]! / Math.sqrt(square[n]!);
    squares += u * u;
  }
  return {
    tensors: { square: { shape: gradient.shape, data: square } },
    rows: 1,
    squares,
    write(_, from, to, keep, scale) {
      for (let n = 0; n < g.length; n++) to[n] = from[n]! * keep - scale * (g[n]! / Math.sqrt(square[n]!));
    },
  };
}
