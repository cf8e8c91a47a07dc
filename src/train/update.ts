/**
 * @file One optimizer step: micro-batches → gradient of the whole batch → mask → clip → optimizer. Values in, values out.
 *
 * In: the prompt [P, D], optimizer state, the rows of a batch. Out: the moved prompt, or the reason why the step is skipped.
 * Every row's loss is weighted by 1 / (target tokens of the whole batch) before the backward pass, and rows are summed in float64,
 * so that however the batch is cut, the update is that of the token-mean loss of the whole batch.
 */
import type { Tensor } from "../base/tensor.js";
import type { TrainProgram } from "../engine/engine.js";
import type { Flops } from "../engine/flops.js";
import { addFlops, noFlops, type PassShape } from "../engine/flops.js";
import { clipNorm } from "../optim/clip.js";
import type { Optimizer, OptimizerState } from "../optim/optimizer.js";
import type { EncodedRow } from "../text/batch.js";
import { collate } from "../text/rows.js";

export interface StepInput {
  readonly program: TrainProgram;
  readonly prompt: Tensor;
  readonly rows: readonly EncodedRow[];
  readonly microBatchSize: number;
  readonly flopsOf: (shape: PassShape) => Flops;
}

export interface BatchGradient {
  /** [P, D] */
  readonly gradient: Tensor;
  /** Token-mean loss. */
  readonly loss: number;
  /** Encoder and decoder tokens, prompt included, padding not. */
  readonly tokens: number;
  readonly flops: Flops;
}

/** A step's rows as its passes take them: by length, so that little is padded. */
export function microBatches(rows: readonly EncodedRow[], size: number): EncodedRow[][] {
  const sorted = [...rows].sort((a, b) => a.input.length - b.input.length);
  return Array.from({ length: Math.ceil(sorted.length / size) }, (_, n) => sorted.slice(n * size, (n + 1) * size));
}

/** Loss and gradient of the whole batch, computed in micro-batches of rows of like length. */
export async function batchGradient(input: StepInput): Promise<BatchGradient> {
  const { program, prompt, microBatchSize, flopsOf } = input;
  const [P, D] = prompt.shape as readonly [number, number];
  const targetTokens = input.rows.reduce((sum, row) => sum + row.target.length, 0);
  const sum = new Float64Array(P * D);
  let loss = 0;
  let flops = noFlops;
  for (const micro of microBatches(input.rows, microBatchSize)) {
    const batch = collate(micro);
    const step = await program.run({ prompt }, batch, new Float32Array(micro.length).fill(1 / targetTokens));
    const rows = step.gradients.prompt!.data;
    for (let b = 0, n = 0; b < micro.length; b++) for (let i = 0; i < P * D; i++, n++) sum[i] = sum[i]! + rows[n]!;
    for (const l of step.loss) loss += l / targetTokens;
    flops = addFlops(
      flops,
      flopsOf({ batch: batch.size, prompt: P, input: batch.inputLength, target: batch.targetLength }),
    );
  }
  const tokens = input.rows.reduce((n, row) => n + P + row.input.length + row.target.length, 0);
  return { gradient: { shape: prompt.shape, data: Float32Array.from(sum) }, loss, tokens, flops };
}

export type Update =
  | { readonly prompt: Tensor; readonly optimizer: OptimizerState; readonly norm: number }
  | { readonly problem: string };

/**
 * Moves the prompt, unless a number is not finite. Dead entries have no gradient, do not count in the norm, and are exactly 0
 * afterwards whatever the optimizer did.
 *
 * @param live [P × D] of 0 and 1, or null for all ones.
 */
export function applyUpdate(
  { gradient, loss }: Pick<BatchGradient, "gradient" | "loss">,
  prompt: Tensor,
  state: OptimizerState,
  optimizer: Optimizer,
  settings: { learningRate: number; clip: number; live: Float32Array | null },
): Update {
  if (!Number.isFinite(loss)) return { problem: `the loss is ${loss}` };
  if (!gradient.data.every(Number.isFinite)) return { problem: "the gradient holds NaN or infinity" };
  const masked = ({ shape, data }: Tensor): Tensor =>
    settings.live === null ? { shape, data } : { shape, data: data.map((v, i) => (settings.live![i] ? v : 0)) };
  const clipped = clipNorm(masked(gradient), settings.clip);
  const next = optimizer.update(prompt, clipped.gradient, state, settings.learningRate);
  const parameters = masked(next.parameters);
  if (!parameters.data.every(Number.isFinite)) return { problem: "the update holds NaN or infinity" };
  return { prompt: parameters, optimizer: next.state, norm: clipped.norm };
}
