/**
 * @file Estimates in advance how much memory a training step or a forward pass needs. In: model, shapes. Out: an estimate in bytes.
 *
 * weights: what ONNX Runtime keeps of them. activations: what one micro-batch's forward leaves for its backward.
 * An estimate: the constants are fitted to measured peaks (memory.test.ts) and meant to be right within a fifth for a training step alone.
 */
import { freemem } from "node:os";
import { type PassShape, packsWeights, partialParameters } from "../engine/flops.js";
import { readsBefore } from "../engine/place.js";
import type { ModelConfig } from "../model/architecture.js";
import { architectureOf } from "../model/architectures.js";
import { fullModel, type PartialModel, type PartialStack } from "../model/partial.js";

export interface MemoryEstimate {
  readonly weights: number;
  readonly activations: number;
  /** Total, including Node and ONNX Runtime. */
  readonly total: number;
}

/** Node, ONNX Runtime and the graphs, before any weight. */
const baseBytes = 180e6;
/**
 * Bytes kept per parameter: float32 weights, or with lowMemory the stored 16 bits and what is widened of them at one time. A packed twin of
 * each weight besides, in a training step of a model that is not too large for it and in a pass without a backward, unless lowMemory.
 */
const perParameter = { packed: 8, normal: 4, lowMemory: 3 } as const;

/** Bytes kept per trained number: its value before and after a step, its gradient twice (ONNX Runtime's and ours), the best so far. */
const perTrained = 20;

/** Share of all values of the forward that are alive at once; ONNX Runtime frees what the backward no longer needs. */
const aliveShare = 2 / 3;

/** Peak of a training step of `shape` (its batch is the micro-batch). */
export function trainingMemory(
  config: ModelConfig,
  shape: PassShape,
  {
    lowMemory = false,
    partial = fullModel(config),
    trained = 0,
  }: { lowMemory?: boolean; partial?: PartialModel /** Numbers trained. */; trained?: number } = {},
): MemoryEstimate {
  const weights =
    partialParameters(config, partial) *
      perParameter[packsWeights(config, partial, { lowMemory }) ? "packed" : lowMemory ? "lowMemory" : "normal"] +
    trained * perTrained;
  const S = shape.prompt + shape.input;
  const U = shape.target;
  const inner = config.heads * config.headWidth;
  const ffn = ({ layers, neurons }: PartialStack) =>
    layers.reduce((sum, _, i) => sum + (neurons?.[i]?.length ?? config.feedForwardWidth), 0) * (config.gated ? 5 : 2);
  // the stack that reads prompt and text, and the one that decodes over it (the same one in a decoder-only model)
  const stacks = architectureOf(config).stacks(config);
  const [reading, decoding] = [stacks[0], stacks.at(-1)!].map(({ name }) => partial.stacks[name]!) as [
    PartialStack,
    PartialStack,
  ];
  // behind a text the text's memory is an input, so prompt, tail and target are the only positions
  const decoded = shape.prompt + (shape.tail ?? 0) + U;
  const { heads: G, headWidth: K } = architectureOf(config).keys(config);
  const behind =
    decoded * (decoding.layers.length * (8 * config.width + 4 * inner) + ffn(decoding)) +
    decoding.layers.length * (4 * shape.input * G * K + 2 * config.heads * decoded * (decoded + shape.input)) +
    3 * U * config.vocabulary;
  const before =
    S * (reading.layers.length * (8 * config.width + 4 * inner) + ffn(reading)) +
    reading.layers.length * 2 * config.heads * S * S +
    U * (decoding.layers.length * (12 * config.width + 6 * inner) + ffn(decoding)) +
    decoding.layers.length * (2 * S * inner + 2 * config.heads * U * (U + S)) +
    3 * U * config.vocabulary;
  const perRow = readsBefore(shape.place) ? behind : before;
  const activations = aliveShare * 4 * shape.batch * perRow;
  return { weights, activations, total: baseBytes + weights + activations };
}

/**
 * Peak of a pass without a backward (evaluation, neuron scores): the widest encoder layer's values. The estimate is rough and tends to be
 * too low, because sessions that were open before keep some of their memory (t5-nano on BoolQ: 1.07 GB estimated, peaks of 1.31 and 1.58 GB
 * measured).
 */
export function forwardMemory(config: ModelConfig, shape: PassShape, { lowMemory = false } = {}): MemoryEstimate {
  const weights =
    partialParameters(config, fullModel(config)) * (lowMemory ? perParameter.lowMemory : perParameter.packed);
  const S = shape.prompt + shape.input;
  const inner = config.heads * config.headWidth;
  const ffn = config.feedForwardWidth * (config.gated ? 5 : 2);
  const activations = 4 * shape.batch * (S * (8 * config.width + 4 * inner + ffn) + 3 * config.heads * S * S);
  return { weights, activations, total: baseBytes + weights + activations };
}

/** Memory that is available now, in bytes: the kernel's estimate where it gives one, free memory elsewhere. */
export async function availableMemory(): Promise<number> {
  const { readFile } = await import("node:fs/promises");
  const text = await readFile("/proc/meminfo", "utf8").catch(() => "");
  const kilobytes = /^MemAvailable:\s+(\d+) kB$/m.exec(text)?.[1];
  return kilobytes === undefined ? freemem() : 1024 * Number(kilobytes);
}
