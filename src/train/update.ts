/**
 * @file One optimizer step: micro-batches → gradient of the whole batch → mask → clip → optimizer. Values in, values out.
 *
 * In: the parameters, optimizer state, the rows of a batch. Out: the moved parameters, or the reason why the step is skipped.
 * Every row's loss is weighted by 1 / (target tokens of the whole batch) before the backward pass, and rows are summed in float64,
 * so that the update is that of the token-mean loss of the whole batch, for every division into micro-batches.
 */
import type { Parameters, Tensor } from "../base/tensor.js";
import type { TrainProgram } from "../engine/engine.js";
import type { Flops } from "../engine/flops.js";
import { addFlops, noFlops, type PassShape, shapeOfRows } from "../engine/flops.js";
import type { Method } from "../method/method.js";
import type { ModelConfig } from "../model/architecture.js";
import type { Optimizer, OptimizerState } from "../optim/optimizer.js";
import { clipParameters, mapParameters, updateParameters } from "../optim/parameters.js";
import type { EncodedRow } from "../text/batch.js";
import { makeBatch } from "../text/batch.js";

export interface StepInput {
  readonly program: TrainProgram;
  readonly method: Method;
  readonly config: ModelConfig;
  readonly parameters: Parameters;
  readonly rows: readonly EncodedRow[];
  readonly microBatchSize: number;
  readonly flopsOf: (shape: PassShape) => Flops;
  /** FLOPs that a pass computes a second time to save memory. Default none. */
  readonly recomputedOf?: (shape: PassShape) => number;
  /** Further FLOPs of the batch, e.g. for texts that are read now. Default nothing. */
  readonly flopsBefore?: Flops;
}

export interface BatchGradient {
  readonly gradients: Parameters;
  /** Token-mean loss. */
  readonly loss: number;
  /** Input and target tokens, virtual ones included, padding not. */
  readonly tokens: number;
  readonly flops: Flops;
  /** FLOPs beside them, of what was computed a second time. */
  readonly recomputed: number;
}

/** A step's rows as its passes take them: by length, so that little is padded. */
export function microBatches(rows: readonly EncodedRow[], size: number): EncodedRow[][] {
  const sorted = [...rows].sort((a, b) => a.input.length - b.input.length);
  return Array.from({ length: Math.ceil(sorted.length / size) }, (_, n) => sorted.slice(n * size, (n + 1) * size));
}

/** Loss and gradients of the whole batch, computed in micro-batches of rows of like length. */
export async function batchGradient(input: StepInput): Promise<BatchGradient> {
  const { program, method, parameters, microBatchSize, flopsOf, recomputedOf = () => 0 } = input;
  const prompt = method.adds(parameters).tokens;
  const targetTokens = input.rows.reduce((sum, row) => sum + row.target.length, 0);
  const specs = method.parameters(input.config);
  const micros = microBatches(input.rows, microBatchSize);
  const gradients: Record<string, Tensor> = {};
  const sums = new Map<string, Float64Array>();
  let loss = 0;
  let flops = input.flopsBefore ?? noFlops;
  let recomputed = 0;
  for (const micro of micros) {
    const batch = makeBatch(micro);
    const step = await program.run(parameters, batch, new Float32Array(micro.length).fill(1 / targetTokens));
    for (const { name, perRow } of specs) {
      const found = step.gradients[name]!;
      // a single gradient of the whole batch is already the sum
      if (!perRow && micros.length === 1) gradients[name] = found;
      else {
        const sum = sums.get(name) ?? new Float64Array(parameters[name]!.data.length);
        sums.set(name, sum);
        addRows(sum, found.data, perRow ? micro.length : 1);
      }
    }
    for (const l of step.loss) loss += l / targetTokens;
    const shape = shapeOfRows(input.config, micro, prompt);
    flops = addFlops(flops, flopsOf(shape));
    recomputed += recomputedOf(shape);
  }
  const tokens = input.rows.reduce((n, row) => n + prompt + row.input.length + row.target.length, 0);
  for (const [name, sum] of sums) gradients[name] = { shape: parameters[name]!.shape, data: new Float32Array(sum) };
  return { gradients, loss, tokens, flops, recomputed };
}

/** Adds each of `rows` gradients of one parameter to its sum, in float64. */
function addRows(sum: Float64Array, gradients: Float32Array, rows: number): void {
  const N = sum.length;
  for (let b = 0, n = 0; b < rows; b++) for (let i = 0; i < N; i++, n++) sum[i] = sum[i]! + gradients[n]!;
}

export type Update =
  | { readonly parameters: Parameters; readonly optimizer: OptimizerState; readonly norm: number }
  | { readonly problem: string };

/**
 * Moves the parameters, unless a number is not finite. Dead entries of the prompt have no gradient, do not count in the norm, and are
 * exactly 0 afterwards whatever the optimizer did.
 *
 * @param live mask of the prompt, [P × D] of 0 and 1, or null for all ones.
 */
export function applyUpdate(
  { gradients, loss }: Pick<BatchGradient, "gradients" | "loss">,
  parameters: Parameters,
  state: OptimizerState,
  optimizer: Optimizer,
  settings: { learningRate: number; clip: number; live: Float32Array | null },
): Update {
  const { live } = settings;
  if (!Number.isFinite(loss)) return { problem: `the loss is ${loss}` };
  if (!finite(gradients)) return { problem: "the gradient holds NaN or infinity" };
  const masked = (of: Parameters): Parameters =>
    live === null
      ? of
      : mapParameters(of, ({ shape, data }, name) =>
          name === "prompt" ? { shape, data: data.map((v, i) => (live[i] ? v : 0)) } : { shape, data },
        );
  const clipped = clipParameters(masked(gradients), settings.clip);
  const next = updateParameters(optimizer, parameters, clipped.gradients, state, settings.learningRate);
  const moved = masked(next.parameters);
  if (!finite(moved)) return { problem: "the update holds NaN or infinity" };
  return { parameters: moved, optimizer: next.state, norm: clipped.norm };
}

function finite(parameters: Parameters): boolean {
  return Object.values(parameters).every(({ data }) => {
    for (let n = 0; n < data.length; n++) if (!Number.isFinite(data[n])) return false;
    return true;
  });
}
