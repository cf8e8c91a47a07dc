/**
 * @file Neuron scores: how active each feed-forward neuron is on a task's data (fpt.md §3.3, "abs_activations").
 *
 * In: an engine, a dataset. Out: NeuronScores for every layer of both stacks, and what they cost. Score of a neuron = mean
 * over examples of (mean over valid positions of |activation|), full model, teacher-forced, with an untrained random
 * prompt whose positions count. Kept on disk by model, data and settings; a damaged file is computed again.
 */
import { join } from "node:path";
import { interrupted, SoftpromptError } from "../base/errors.js";
import { sha256 } from "../base/files.js";
import { kept } from "../base/kept.js";
import { random } from "../base/random.js";
import type { Tensor } from "../base/tensor.js";
import { withoutColumns } from "../data/define.js";
import type { Dataset, Row, Task } from "../data/row.js";
import type { Engine } from "../engine/engine.js";
import { activationFlops, addFlops, noFlops, shapeOfRows } from "../engine/flops.js";
import { placeOf } from "../engine/place.js";
import type { ModelConfig } from "../model/architecture.js";
import { architectureOf } from "../model/architectures.js";
import type { NeuronScores } from "../model/partial.js";
import { roundingFacts } from "../model/quantise.js";
import { makeBatch } from "../text/batch.js";
import { encodeRows } from "../text/rows.js";
import type { Tokenizer } from "../text/tokenizer.js";
import type { NeuronScoreOptions } from "./neuron-options.js";

export type { NeuronScoreOptions } from "./neuron-options.js";

/** What neuron scores cost. */
export interface ScoringCost {
  /** Seconds of the pass that computed the scores, also if the scores were read back this time. */
  readonly seconds: number;
  /** All matrix products. */
  readonly flops: number;
  readonly examples: number;
}

export interface ScoredNeurons {
  readonly scores: NeuronScores;
  readonly cost: ScoringCost;
  /** True when they were read back. */
  readonly kept: boolean;
}

export interface NeuronScoreInput extends Omit<NeuronScoreOptions, "layerRows"> {
  readonly seed: number;
  /** P of the random prompt. */
  readonly virtualTokens: number;
  readonly maxInputTokens: number;
  /** Where scores are kept; null keeps nothing. */
  readonly folder: string | null;
  /** Checked between batches; a stopped pass keeps nothing. */
  readonly signal?: AbortSignal;
}

/**
 * Computes neuron scores, or reads them back.
 * @throws SoftpromptError(data) when the split has no rows; SoftpromptError(numeric) for activations that are not finite;
 * SoftpromptError(interrupted).
 */
export async function neuronScores(
  engine: Engine,
  tokenizer: Tokenizer,
  dataset: Pick<Dataset, "task" | "train" | "validation">,
  input: NeuronScoreInput,
): Promise<ScoredNeurons> {
  const { config } = engine.checkpoint;
  checkScoredRows(dataset, input);
  const rows = chosenRows(dataset[input.scoreSplit], input);
  const key = sha256(
    JSON.stringify({
      version: 1,
      model: await engine.checkpoint.sha256(),
      config,
      tokenizer: tokenizer.sha256,
      task: withoutColumns(dataset.task),
      rows,
      seed: input.seed,
      promptLength: input.virtualTokens,
      maxInputTokens: input.maxInputTokens,
      ...roundingFacts(engine),
    }),
  );
  const path = input.folder === null ? null : join(input.folder, `neuron-scores-${key.slice(0, 16)}.json`);
  const form = { read: (body: unknown) => (isScored(body, config) ? body : null) };
  const { value, found } = await kept(path, key, form, () => measure(engine, tokenizer, dataset.task, rows, input));
  return { ...value, kept: found };
}

/** One pass over the rows. */
async function measure(
  engine: Engine,
  tokenizer: Tokenizer,
  task: Task,
  rows: readonly Row[],
  input: NeuronScoreInput,
): Promise<Scored> {
  const { config } = engine.checkpoint;
  const encoded = encodeRows(task, rows, tokenizer, input.maxInputTokens);
  encoded.sort((a, b) => a.input.length - b.input.length);
  const prompt = randomPrompt(config.width, input.virtualTokens, input.seed);
  const program = await engine.activations(placeOf(config, encoded));
  const sums = architectureOf(config)
    .stacks(config)
    .map(({ name, layers }) => ({ name, layers: zeros(layers, config) }));
  let flops = noFlops;
  const started = performance.now();
  for (let first = 0; first < encoded.length; first += input.scoreBatchSize) {
    if (input.signal?.aborted)
      throw interrupted(input.signal, "stopped while neurons were scored", {
        where: "neuron scores",
        hint: "the pass is short; it is made again",
      });
    const some = encoded.slice(first, first + input.scoreBatchSize);
    const batch = makeBatch(some);
    const means = await program.run({ prompt }, batch);
    for (const { name, layers } of sums) accumulate(layers, means[name]!, batch.size);
    flops = addFlops(flops, activationFlops(config, shapeOfRows(config, some, input.virtualTokens)));
  }
  const average = (stack: Float64Array[]) => stack.map((sum) => Float32Array.from(sum, (s) => s / rows.length));
  const scores = Object.fromEntries(sums.map(({ name, layers }) => [name, average(layers)]));
  const cost = { seconds: (performance.now() - started) / 1000, flops: flops.total, examples: rows.length };
  if (!Object.values(scores).every((layers) => layers.every((layer) => layer.every(Number.isFinite))))
    throw new SoftpromptError("numeric", "activations are not finite", {
      where: "neuron scores",
      expected: "finite activations of the full model",
      hint: "this checkpoint overflows on these rows even without training",
    });
  return { scores, cost };
}

/** @throws SoftpromptError(data) where the split that neurons are scored on has no rows. */
export function checkScoredRows(
  dataset: Pick<Dataset, "train" | "validation">,
  { scoreSplit }: Pick<NeuronScoreOptions, "scoreSplit">,
): void {
  if (dataset[scoreSplit].length === 0)
    throw new SoftpromptError("data", "there are no rows to score neurons on", {
      where: `split ${scoreSplit}`,
      expected: "at least one row",
      hint: scoreSplit === "validation" ? "use --score-split train" : "give training rows",
    });
}

/** The first so many rows of a seeded shuffle. */
function chosenRows(rows: readonly Row[], { scoreRows, seed }: NeuronScoreInput): Row[] {
  const drawn = random(seed, "neuron-scores/rows").sample(rows.length, Math.min(scoreRows, rows.length));
  return Array.from(drawn, (i) => rows[i]!);
}

/** U(±1/√D), as the official code draws it (fpt.md §2, §3.3). */
function randomPrompt(width: number, length: number, seed: number): Tensor {
  const rng = random(seed, "neuron-scores/prompt");
  const range = 1 / Math.sqrt(width);
  return {
    shape: [length, width],
    data: Float32Array.from({ length: length * width }, () => rng.uniform(-range, range)),
  };
}

function zeros(layers: number, { feedForwardWidth }: ModelConfig): Float64Array[] {
  return Array.from({ length: layers }, () => new Float64Array(feedForwardWidth));
}

/** @param means [B, L, F] */
function accumulate(sums: readonly Float64Array[], means: Float32Array, batch: number): void {
  const F = sums[0]!.length;
  for (let b = 0; b < batch; b++)
    for (const [layer, sum] of sums.entries()) {
      const at = (b * sums.length + layer) * F;
      for (let j = 0; j < F; j++) sum[j]! += means[at + j]!;
    }
}

type Scored = Omit<ScoredNeurons, "kept">;

/** Whether the value is a table of scores for this model's neurons. */
function isScored(body: unknown, config: ModelConfig): body is Scored {
  const { scores, cost } = (body ?? {}) as Partial<Scored>;
  const amounts = [cost?.seconds, cost?.flops, cost?.examples];
  return (
    amounts.every((amount) => typeof amount === "number") &&
    architectureOf(config)
      .stacks(config)
      .every(({ name, layers }) => {
        const rows: unknown = scores?.[name];
        const fits = (row: unknown) => row instanceof Float32Array && row.length === config.feedForwardWidth;
        return Array.isArray(rows) && rows.length === layers && rows.every(fits);
      })
  );
}
