/**
 * @file Estimates in advance how much memory a training step or a forward pass needs. In: model, shapes. Out: an estimate in bytes.
 *
 * weights: what ONNX Runtime keeps of them. activations: what one micro-batch's forward leaves for its backward.
 * An estimate: the constants are fitted to measured peaks (memory.test.ts) and meant to be right within a fifth for a training step alone.
 */
import { freemem } from "node:os";
import { size } from "../base/tensor.js";
import { type PassShape, packsWeights, partialParameters } from "../engine/flops.js";
import { readsBefore } from "../engine/place.js";
import type { ModelConfig } from "../model/architecture.js";
import { architectureOf } from "../model/architectures.js";
import { blockBytes } from "../model/block-weights.js";
import type { Checkpoint } from "../model/checkpoint.js";
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
 * Bytes kept per parameter: float32 weights, or with lowMemory the stored 16 bits. A packed twin of each weight besides, in a training step
 * of a model that is not too large for it and in a pass without a backward, unless lowMemory.
 */
const perParameter = { packed: 8, normal: 4, lowMemory: 2 } as const;

/** Bytes kept per trained number: its value before and after a step, its gradient twice (ONNX Runtime's and ours), the best so far. */
const perTrained = 20;

/** Share of all values of the forward that are alive at once; ONNX Runtime frees what the backward no longer needs. */
const aliveShare = 2 / 3;

/** Layers that are kept in another form than the checkpoint's. */
export interface OtherForm {
  readonly kind: "int8" | "blocks";
  readonly bytes: number;
  /** How many parameters they hold. */
  readonly parameters: number;
}

/** What a checkpoint's layers are kept in, where an engine with these options runs it; undefined for the checkpoint's own form. */
export function otherForm(
  checkpoint: Pick<Checkpoint, "blocks" | "eightBit" | "eightBitBack" | "tensors">,
  { blocks, eightBit }: { readonly blocks: string | null; readonly eightBit: number | null },
): OtherForm | undefined {
  if (blocks !== null) return { kind: "blocks", ...blockBytes(checkpoint) };
  if (eightBit === null) return undefined;
  let [bytes, parameters] = [0, 0];
  for (const [name, { forward, back }] of checkpoint.eightBit ?? []) {
    bytes += forward.matrix.length + back.matrix.length;
    parameters += size(checkpoint.tensors.get(name)!.shape);
  }
  for (const { matrix } of checkpoint.eightBitBack?.values() ?? []) bytes += matrix.length; // besides the exact one
  return { kind: "int8", bytes, parameters };
}

/** Whether weights are widened at each use, and a training step keeps the states between the blocks only (engine/programs.ts). */
const savesMemory = (lowMemory: boolean, other: OtherForm | undefined) => lowMemory || other?.kind === "blocks";

/** What a pass keeps of the weights. */
function weightBytes(
  config: ModelConfig,
  partial: PartialModel,
  { lowMemory, packed, other }: { lowMemory: boolean; packed: boolean; other: OtherForm | undefined },
): number {
  const all = partialParameters(config, partial);
  const widens = savesMemory(lowMemory, other);
  const each = perParameter[widens ? "lowMemory" : packed ? "packed" : "normal"];
  // one matrix is wide at a time; the largest is the head
  const wide = widens ? 4 * config.vocabulary * config.width : 0;
  if (other === undefined) return all * each + wide;
  const share = all / partialParameters(config, fullModel(config));
  return share * other.bytes + (all - share * other.parameters) * each + wide;
}

/** The same where the states between the blocks are kept, and of one block all. */
const littleShare = 3 / 4;

/** Peak of a training step of `shape` (its batch is the micro-batch). */
export function trainingMemory(
  config: ModelConfig,
  shape: PassShape,
  {
    lowMemory = false,
    partial = fullModel(config),
    trained = 0,
    other,
  }: {
    lowMemory?: boolean;
    partial?: PartialModel;
    /** Numbers trained. */
    trained?: number;
    other?: OtherForm | undefined;
  } = {},
): MemoryEstimate {
  const packed = packsWeights(config, partial, { lowMemory });
  const weights = weightBytes(config, partial, { lowMemory, packed, other }) + trained * perTrained;
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
  // Where little is kept, the states between the blocks are, and the values of one block at a time.
  const states =
    config.width *
    (readsBefore(shape.place)
      ? 2 * decoded * decoding.layers.length
      : 2 * S * reading.layers.length + (reading === decoding ? 0 : 3 * U * decoding.layers.length));
  const ofOneBlock = perRow / (readsBefore(shape.place) ? decoding : reading).layers.length;
  const keepsLittle = savesMemory(lowMemory, other);
  const alive = keepsLittle ? littleShare * (states + ofOneBlock + 3 * U * config.vocabulary) : aliveShare * perRow;
  const activations = 4 * shape.batch * alive;
  return { weights, activations, total: baseBytes + weights + activations };
}

/**
 * Peak of a pass without a backward (evaluation, neuron scores): the widest encoder layer's values. The estimate is rough and tends to be
 * too low, because sessions that were open before keep some of their memory (t5-nano on BoolQ: 1.07 GB estimated, peaks of 1.31 and 1.58 GB
 * measured).
 */
export function forwardMemory(
  config: ModelConfig,
  shape: PassShape,
  { lowMemory = false, other }: { lowMemory?: boolean; other?: OtherForm | undefined } = {},
): MemoryEstimate {
  const weights = weightBytes(config, fullModel(config), { lowMemory, packed: true, other });
  const S = shape.prompt + shape.input;
  const inner = config.heads * config.headWidth;
  const ffn = config.feedForwardWidth * (config.gated ? 5 : 2);
  const activations = 4 * shape.batch * (S * (8 * config.width + 4 * inner + ffn) + 3 * config.heads * S * S);
  return { weights, activations, total: baseBytes + weights + activations };
}

/** Bytes per parameter that a further program of the same model keeps beside the training step: its own packed twin of the weights, mostly. */
const perProgram = 5;

/**
 * What programs keep besides the training step while a run lasts: those that rank, write and read texts stay open between their uses. Only the
 * first pass holds the activations of all. SmolLM2-135M in float32: 2.4 GB with labels, 3.0 with the prompt behind them, 3.8 where answers
 * are written there; t5-mini 0.47 (docs/log.md, 2026-11-28).
 */
export function programsMemory(
  config: ModelConfig,
  programs: number,
  { lowMemory = false, other }: { lowMemory?: boolean; other?: OtherForm | undefined } = {},
): number {
  // layers in another form, and weights that are not packed, are shared by all
  return lowMemory || other !== undefined ? 0 : programs * perProgram * partialParameters(config, fullModel(config));
}

/** Memory that is available now, in bytes: the kernel's estimate where it gives one, free memory elsewhere. */
export async function availableMemory(): Promise<number> {
  const { readFile } = await import("node:fs/promises");
  const text = await readFile("/proc/meminfo", "utf8").catch(() => "");
  const kilobytes = /^MemAvailable:\s+(\d+) kB$/m.exec(text)?.[1];
  return kilobytes === undefined ? freemem() : 1024 * Number(kilobytes);
}
