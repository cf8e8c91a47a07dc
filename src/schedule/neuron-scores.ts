/**
 * @file Neuron scores: how active each feed-forward neuron is on a task's data (fpt.md §3.3, "abs_activations").
 *
 * In: an engine, a dataset. Out: NeuronScores for every layer of both stacks, and what they cost. Score of a neuron = mean
 * over examples of (mean over valid positions of |activation|), full model, teacher-forced, with an untrained random
 * prompt whose positions count. Kept on disk by model, data and settings; a damaged file is computed again.
 */
import { join } from "node:path";
import { interrupted, SoftpromptError } from "../base/errors.js";
import { readWhole, sha256, writeFileAtomic } from "../base/files.js";
import { random } from "../base/random.js";
import type { Tensor } from "../base/tensor.js";
import type { Dataset, Row } from "../data/row.js";
import type { Engine } from "../engine/engine.js";
import { activationFlops, addFlops, noFlops } from "../engine/flops.js";
import type { ModelConfig } from "../model/architecture.js";
import { architectureOf } from "../model/architectures.js";
import type { NeuronScores } from "../model/partial.js";
import { collate, encodeRows } from "../text/rows.js";
import type { Tokenizer } from "../text/tokenizer.js";
import type { NeuronScoreOptions } from "./neuron-options.js";

export type { NeuronScoreOptions } from "./neuron-options.js";

/** What neuron scores cost. */
export interface ScoringCost {
  /** Of the pass that computed the scores, even when they were read back now. */
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

export interface NeuronScoreInput extends NeuronScoreOptions {
  readonly seed: number;
  /** P of the random prompt. */
  readonly promptLength: number;
  readonly maxInputTokens: number;
  /** Where scores are kept; null keeps nothing. */
  readonly folder: string | null;
  /** Looked at between batches; nothing is kept of a pass that was stopped. */
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
      task: dataset.task,
      rows,
      seed: input.seed,
      promptLength: input.promptLength,
      maxInputTokens: input.maxInputTokens,
    }),
  );
  const path = input.folder === null ? null : join(input.folder, `neuron-scores-${key.slice(0, 16)}.json`);
  const kept = path === null ? null : readKept(path, key, config);
  if (kept !== null) return { ...kept, kept: true };

  const encoded = encodeRows(dataset.task, rows, tokenizer, input.maxInputTokens);
  encoded.sort((a, b) => a.input.length - b.input.length);
  const prompt = randomPrompt(config.width, input.promptLength, input.seed);
  const program = await engine.activations();
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
    const batch = collate(encoded.slice(first, first + input.scoreBatchSize));
    const means = await program.run({ prompt }, batch);
    for (const { name, layers } of sums) accumulate(layers, means[name]!, batch.size);
    const { size, inputLength, targetLength } = batch;
    flops = addFlops(
      flops,
      activationFlops(config, { batch: size, prompt: input.promptLength, input: inputLength, target: targetLength }),
    );
  }
  const average = (stack: Float64Array[]) => stack.map((sum) => Float32Array.from(sum, (s) => s / rows.length));
  const scores = Object.fromEntries(sums.map(({ name, layers }) => [name, average(layers)]));
  const cost = { seconds: (performance.now() - started) / 1000, flops: flops.honest, examples: rows.length };
  if (!Object.values(scores).every((layers) => layers.every((layer) => layer.every(Number.isFinite))))
    throw new SoftpromptError("numeric", "activations are not finite", {
      where: "neuron scores",
      expected: "finite activations of the full model",
      hint: "this checkpoint overflows on these rows even without training",
    });
  if (path !== null) writeFileAtomic(path, keptText(key, { scores, cost }));
  return { scores, cost, kept: false };
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
function chosenRows(rows: readonly Row[], { scoreExamples, seed }: NeuronScoreInput): Row[] {
  const drawn = random(seed, "neuron-scores/rows").sample(rows.length, Math.min(scoreExamples, rows.length));
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

type Kept = Omit<ScoredNeurons, "kept">;

function keptText(key: string, { scores, cost }: Kept): string {
  const pack = (stack: readonly Float32Array[]) =>
    stack.map((s) => Buffer.from(s.buffer, s.byteOffset, s.byteLength).toString("base64"));
  const packed = Object.entries(scores).map(([stack, layers]) => [stack, pack(layers)]);
  const body = { key, cost, ...Object.fromEntries(packed) };
  return JSON.stringify({ ...body, check: sha256(JSON.stringify(body)) });
}

/** null when there is no file, or it is damaged, or of something else. */
function readKept(path: string, key: string, config: ModelConfig): Kept | null {
  try {
    const { check, ...body } = JSON.parse(readWhole(path, "run")!.toString("utf8"));
    if (body.key !== key || check !== sha256(JSON.stringify(body))) return null;
    const unpack = (stack: string[]) =>
      stack.map((text) => {
        const bytes = Buffer.from(text, "base64");
        return new Float32Array(bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.byteLength));
      });
    const stacks = architectureOf(config).stacks(config);
    const scores = Object.fromEntries(stacks.map(({ name }) => [name, unpack(body[name])]));
    const fits = stacks.every(
      ({ name, layers }) =>
        scores[name]!.length === layers && scores[name]!.every((s) => s.length === config.feedForwardWidth),
    );
    return fits ? { scores, cost: body.cost } : null;
  } catch {
    return null;
  }
}
