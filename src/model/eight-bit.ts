/**
 * @file Linear layers of a checkpoint in 8 bits, made once and kept in the cache.
 *
 * In: a Checkpoint, and the largest integer of a weight. Out: the same Checkpoint with `eightBit`. The file's name is the sha256 of the
 * checkpoint and that number. What stays in float32: embeddings, norms, biases, the head, and the matrix that leads out of each
 * feed-forward block, whose inputs are too uneven for one step per row (T5's `wo`, Llama's `down_proj`; huggingface/transformers#20287,
 * mit-han-lab/smoothquant#42).
 */
import { randomBytes } from "node:crypto";
import { open, rm, stat } from "node:fs/promises";
import { join } from "node:path";
import { cacheFor } from "../base/digest.js";
import { interrupted } from "../base/errors.js";
import { ioError, makeFolder, renameFile } from "../base/files.js";
import { floatBytes } from "../base/floats.js";
import { type DType, dtypes, size } from "../base/tensor.js";
import type { ModelConfig } from "./architecture.js";
import { architectureOf } from "./architectures.js";
import type { Checkpoint, EightBitLayer, TensorSpan } from "./checkpoint.js";
import { type Rounded, roundColumns, roundRowsTurned } from "./quantise.js";
import { safetensorsLayout } from "./safetensors.js";
import type { ExpectedTensor } from "./tensors.js";

/** How a checkpoint is brought into 8 bits. */
export interface EightBitOptions {
  /** Largest integer of a weight: 127, or 64 on processors whose 8-bit products saturate. */
  readonly most: number;
  /** Folder that holds them. Default `cacheFolder()/int8`. */
  readonly cache?: string;
  /** Called with 0 done before the first byte is written, so that the size is known beforehand. */
  readonly onProgress?: (progress: { readonly folder: string; readonly done: number; readonly total: number }) => void;
  readonly signal?: AbortSignal | undefined;
}

/** Version of the format. It must change whenever the content of the files changes. */
const version = 1;

/** The linear layers that are computed in 8 bits: those of the blocks, except the matrix that leads out of the feed-forward block. */
export function eightBitLayers(config: ModelConfig): readonly ExpectedTensor[] {
  return architectureOf(config)
    .tensors(config)
    .filter(({ shape, layer, neurons, transposed = false }) => {
      if (layer === undefined || shape.length !== 2) return false;
      const readsNeurons = neurons !== undefined && (neurons.axis === 1) !== transposed;
      return !readsNeurons;
    });
}

/**
 * The checkpoint with its linear layers in 8 bits; made where the cache has none.
 * @throws SoftpromptError "io" (room, rights), "numeric" (a weight that is no number), "interrupted".
 */
export async function withEightBit(checkpoint: Checkpoint, options: EightBitOptions): Promise<Checkpoint> {
  const { most, signal } = options;
  const layers = eightBitLayers(checkpoint.config);
  const folder = options.cache ?? cacheFor("int8", "8-bit weights");
  const path = join(folder, `${await checkpoint.sha256()}-${most}-v${version}.safetensors`);
  const plan = layers.flatMap(({ name, shape, transposed = false }) => {
    const [out, into] = (transposed ? shape.toReversed() : shape) as [number, number];
    return [
      { name: `${name}/forward`, dtype: "int8" as const, shape: [into, out] },
      { name: `${name}/forward.scale`, dtype: "float32" as const, shape: [out] },
      { name: `${name}/back`, dtype: "int8" as const, shape: [out, into] },
      { name: `${name}/back.scale`, dtype: "float32" as const, shape: [into] },
    ];
  });
  const { header, order } = safetensorsLayout(plan);
  const spans = new Map<string, TensorSpan>();
  let end = header.length;
  for (const { name, dtype, shape } of order) {
    const length = size(shape) * bytesOf(dtype);
    spans.set(name, { name, dtype, shape, file: path, offset: end, length });
    end += length;
  }
  const found = await stat(path).catch(() => null);
  if (found === null || found.size !== end) {
    makeFolder(folder);
    options.onProgress?.({ folder, done: 0, total: end });
    const work = join(folder, `.making-${process.pid}-${randomBytes(4).toString("hex")}`);
    try {
      const file = await open(work, "wx");
      try {
        await file.write(header, 0, header.length, 0);
        let done = header.length;
        for (const { name, transposed = false } of layers) {
          if (signal?.aborted)
            throw interrupted(signal, "the making of 8-bit weights was stopped", {
              where: checkpoint.name,
              hint: "run the same command again",
            });
          const { data, shape } = await checkpoint.read(name);
          const columns = shape[1]!;
          const [asItLies, turned] = [roundColumns(data, columns, most), roundRowsTurned(data, columns, most)];
          const write = async (which: string, { values, scale }: Rounded) => {
            const [matrix, step] = [spans.get(`${name}/${which}`)!, spans.get(`${name}/${which}.scale`)!];
            await file.write(values, 0, matrix.length, matrix.offset);
            await file.write(floatBytes(scale), 0, step.length, step.offset);
            done += matrix.length + step.length;
          };
          await write("forward", transposed ? asItLies : turned);
          await write("back", transposed ? turned : asItLies);
          options.onProgress?.({ folder, done, total: end });
        }
        await file.sync();
      } finally {
        await file.close();
      }
      renameFile(work, path); // the file appears complete or not at all; two processes that make the same file write the same bytes
    } catch (cause) {
      await rm(work, { force: true }).catch(() => {});
      throw ioError(cause, work);
    }
  }
  const of = (name: string) => ({ matrix: spans.get(name)!, scale: spans.get(`${name}.scale`)! });
  const eightBit = new Map<string, EightBitLayer>(
    layers.map(({ name }) => [name, { forward: of(`${name}/forward`), back: of(`${name}/back`) }]),
  );
  return { ...checkpoint, eightBit };
}

const bytesOf = (dtype: DType) => dtypes[dtype].bytes;
