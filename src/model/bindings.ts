/**
 * @file The weights a graph refers to: spans of the checkpoint's files, or slices where a partial model keeps some neurons.
 *
 * In: a Checkpoint and a PartialModel. Out: Weights. Whole tensors stay in their file; slices are read once, when a
 * partial model is opened (at growth, not at each step), and kept in the stored type where that loses nothing.
 */
import { SoftpromptError } from "../base/errors.js";
import type { DType, Tensor } from "../base/tensor.js";
import { type Graph, type Value, type Weight, weight } from "../graph/graph.js";
import type { Checkpoint } from "./checkpoint.js";
import type { PartialModel } from "./partial.js";

export interface Weights {
  /** Declares the tensor of that Hugging Face name in a graph. */
  declare(graph: Graph, name: string): Value;
}

interface Stored {
  readonly dtype: DType;
  readonly shape: readonly number[];
  readonly bytes: Weight;
}

/** Reads what a partial model slices; everything else stays on disk. */
export async function openWeights(checkpoint: Checkpoint, partial: PartialModel): Promise<Weights> {
  const slices = new Map<string, Stored>();
  const { config } = checkpoint;
  for (const [stack, ff] of [
    ["encoder", 1],
    ["decoder", 2],
  ] as const) {
    const { layers, neurons } = partial[stack];
    for (const [i, layer] of layers.entries()) {
      const kept = neurons?.[i];
      if (!kept || kept.length === config.feedForwardWidth) continue;
      const at = `${stack}.block.${layer}.layer.${ff}.DenseReluDense`;
      for (const name of config.gated ? ["wi_0", "wi_1"] : ["wi"])
        slices.set(`${at}.${name}.weight`, await slice(checkpoint, `${at}.${name}.weight`, kept, rowsOf));
      slices.set(`${at}.wo.weight`, await slice(checkpoint, `${at}.wo.weight`, kept, columnsOf));
    }
  }
  return {
    declare(graph, name) {
      const stored = slices.get(name) ?? inFile(checkpoint, name);
      return weight(graph, name, stored.dtype, stored.shape, stored.bytes);
    },
  };
}

function inFile(checkpoint: Checkpoint, name: string): Stored {
  const span = checkpoint.tensors.get(name);
  if (!span)
    throw new SoftpromptError("checkpoint", `tensor ${name} is missing`, {
      where: checkpoint.name,
      expected: "every tensor of the architecture that config.json describes",
    });
  const { dtype, shape, file, offset, length } = span;
  return { dtype, shape, bytes: { kind: "file", file, offset, length } };
}

type Gather = (matrix: Tensor, kept: Int32Array) => Tensor;

async function slice(checkpoint: Checkpoint, name: string, kept: Int32Array, gather: Gather): Promise<Stored> {
  const { dtype } = inFile(checkpoint, name);
  const { shape, data } = gather(await checkpoint.read(name), kept);
  return dtype === "bfloat16"
    ? { dtype, shape, bytes: { kind: "inline", data: narrow(data) } }
    : { dtype: "float32", shape, bytes: { kind: "inline", data } };
}

function rowsOf({ shape: [, columns], data }: Tensor, kept: Int32Array): Tensor {
  const width = columns!;
  const out = new Float32Array(kept.length * width);
  for (const [i, row] of kept.entries()) out.set(data.subarray(row * width, (row + 1) * width), i * width);
  return { shape: [kept.length, width], data: out };
}

function columnsOf({ shape: [rows, columns], data }: Tensor, kept: Int32Array): Tensor {
  const out = new Float32Array(rows! * kept.length);
  for (let r = 0; r < rows!; r++)
    for (let i = 0; i < kept.length; i++) out[r * kept.length + i] = data[r * columns! + kept[i]!]!;
  return { shape: [rows!, kept.length], data: out };
}

/** float32 that was widened from bfloat16, back: the lower 16 bits are zero, so nothing is lost. */
function narrow(data: Float32Array): Uint16Array {
  const bits = new Uint32Array(data.buffer, data.byteOffset, data.length);
  return Uint16Array.from(bits, (b) => b >>> 16);
}
