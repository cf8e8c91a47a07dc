/**
 * @file Linear layers of a checkpoint in blocks of 4 or 8 bits, made once and kept in the cache, so that a large model needs little memory.
 *
 * In: a Checkpoint, and for `stored` the GGUF file that it came from. Out: the same Checkpoint with `blocks`. `stored` keeps the integers,
 * scales and offsets that the file has, in another order: nothing is rounded, and each number is what the file's own bits mean. `int4` rounds
 * any checkpoint's layers to 4 bits. What always stays as it is in the checkpoint: embeddings, norms, biases, a tied head, and what the file
 * holds in a float type.
 */
import { stat } from "node:fs/promises";
import { cacheFor } from "../base/digest.js";
import { SoftpromptError } from "../base/errors.js";
import { floatBytes } from "../base/floats.js";
import { isObject, parseJson } from "../base/json.js";
import { dtypes, size } from "../base/tensor.js";
import type { ModelConfig } from "./architecture.js";
import { architectureOf } from "./architectures.js";
import { type BlockSpans, type Checkpoint, readHeader } from "./checkpoint.js";
import { blockLayers } from "./eight-bit.js";
import { unpack } from "./gguf/blocks.js";
import { type GgufMatrix, ggufMatrices } from "./gguf/matrices.js";
import { blockVersion, roundBlocks } from "./quantise.js";
import type { ExpectedTensor } from "./tensors.js";
import { findKept, type KeptTensor, keptLayout, keptSha256, type MakingOptions, makeKept } from "./weight-cache.js";

/** `stored`: a GGUF file's own blocks. `int4`: any checkpoint, rounded to 4 bits. */
export type BlockKind = "stored" | "int4";

/** How a checkpoint's layers are brought into blocks. */
export interface BlockOptions extends MakingOptions {
  readonly kind: BlockKind;
  /** Folder that holds them. Default `cacheFolder()/blocks`. */
  readonly cache?: string;
}

/** Numbers of a block that `int4` makes. */
const int4Block = 32;

/** The layers that can be in blocks: linear ones of the blocks, and a head of its own. */
function candidates(config: ModelConfig): readonly ExpectedTensor[] {
  const head = architectureOf(config)
    .tensors(config)
    .filter(({ part, shape, name }) => part === "head" && shape.length === 2 && name.endsWith(".weight"));
  return [...blockLayers(config), ...head];
}

/** A layer in blocks, and how they are made. */
interface Planned {
  readonly name: string;
  /** [out, in]. */
  readonly shape: readonly [number, number];
  readonly bits: 4 | 8;
  readonly block: number;
  readonly hasOffset: boolean;
  /** What is told of it: the file's type, or "int4". */
  readonly type: string;
  readonly parts: () => AsyncGenerator<Part>;
}

/** Some rows of a layer, in order. */
interface Part {
  readonly integers: Int8Array;
  readonly scale: Float32Array;
  readonly offset: Float32Array | null;
}

/**
 * The checkpoint with its linear layers in blocks; made where the cache has none.
 * @throws SoftpromptError "usage" (`stored` of a model that is not a GGUF file), "io" (room, rights), "numeric", "interrupted".
 */
export async function withBlocks(checkpoint: Checkpoint, options: BlockOptions): Promise<Checkpoint> {
  const { kind, cache, ...about } = options;
  const folder = cache ?? cacheFor("blocks", "weights in blocks");
  const start = `${await checkpoint.sha256()}-${kind}-v${blockVersion}-`;
  const path = (await findKept(folder, start)) ?? (await make(checkpoint, kind, folder, start, about));
  const { metadata, entries } = await readHeader(path, (await stat(path)).size);
  const { spans } = keptLayout(
    {
      tensors: [...entries.values()].map(({ name, dtype, shape }) => ({ name, dtype: dtype!, shape })),
      metadata: Object.fromEntries(metadata),
    },
    path,
  );
  const types = parseJson(metadata.get("types")!, path, "checkpoint");
  const blocks = new Map<string, BlockSpans>();
  for (const [name, type] of Object.entries(isObject(types) ? types : {}))
    blocks.set(name, {
      type: String(type),
      values: spans.get(valuesOf(name))!,
      scale: spans.get(scaleOf(name))!,
      offset: spans.get(offsetOf(name)) ?? null,
    });
  return { ...checkpoint, blocks, blocksSha256: keptSha256(path) };
}

/** Which layers of a checkpoint are in blocks, of which types, and which are not, in one sentence. */
export function blocksText({ config, blocks = new Map() }: Pick<Checkpoint, "config" | "blocks">): string {
  const layers = [...blocks].map(([name, { type, values }]) => ({ name, type, bits: values.dtype === "int8" ? 8 : 4 }));
  return textOf(config, layers);
}

/** What `stored` would keep of a checkpoint, and in how many bytes; null where it does not come from a GGUF file. Makes nothing. */
export async function storedBlocks(
  checkpoint: Checkpoint,
): Promise<{ readonly text: string; readonly bytes: number } | null> {
  if (checkpoint.gguf === undefined) return null;
  const plan = await storedPlan(checkpoint);
  const bytes = plan.flatMap(tensorsOf).reduce((sum, { dtype, shape }) => sum + size(shape) * dtypes[dtype].bytes, 0);
  return { text: textOf(checkpoint.config, plan), bytes };
}

function textOf(
  config: ModelConfig,
  layers: readonly { readonly name: string; readonly type: string; readonly bits: number }[],
): string {
  const types = new Map<string, number>();
  for (const { type, bits } of layers) {
    const kind = type === "int4" ? "rounded to 4 bits" : `${type} (${bits} bits)`;
    types.set(kind, (types.get(kind) ?? 0) + 1);
  }
  const all = candidates(config).map(({ name }) => name);
  const inBlocks = new Set(layers.map(({ name }) => name));
  const others = all.filter((name) => !inBlocks.has(name)).map((name) => name.replace(/\.weight$/, ""));
  const shown = others.slice(0, 6).join(", ") + (others.length > 6 ? ` and ${others.length - 6} more` : "");
  const told = [...types].map(([type, n]) => `${n} ${type}`).join(", ") || "none";
  return (
    `${layers.length} of ${all.length} linear layers are kept in blocks: ${told}` +
    (others.length > 0 ? `; not in blocks: ${shown}` : "")
  );
}

/** Bytes of layers in blocks, and of the parameters that they hold. */
export function blockBytes(checkpoint: Pick<Checkpoint, "blocks" | "tensors">): { bytes: number; parameters: number } {
  let [bytes, parameters] = [0, 0];
  for (const [name, { values, scale, offset }] of checkpoint.blocks ?? []) {
    bytes += values.length + scale.length + (offset?.length ?? 0);
    parameters += size(checkpoint.tensors.get(name)!.shape);
  }
  return { bytes, parameters };
}

const valuesOf = (layer: string) => `${layer}/values`;
const scaleOf = (layer: string) => `${layer}/scale`;
const offsetOf = (layer: string) => `${layer}/offset`;

function tensorsOf({ name, shape: [rows, columns], bits, block, hasOffset }: Planned): readonly KeptTensor[] {
  const perBlock = [rows, columns / block];
  return [
    bits === 8
      ? { name: valuesOf(name), dtype: "int8", shape: [rows, columns] }
      : { name: valuesOf(name), dtype: "uint8", shape: [rows, columns / 2] },
    { name: scaleOf(name), dtype: "float32", shape: perBlock },
    ...(hasOffset ? [{ name: offsetOf(name), dtype: "float32" as const, shape: perBlock }] : []),
  ];
}

async function make(
  checkpoint: Checkpoint,
  kind: BlockKind,
  folder: string,
  start: string,
  about: MakingOptions,
): Promise<string> {
  const plan = kind === "stored" ? await storedPlan(checkpoint) : int4Plan(checkpoint);
  const metadata = { types: JSON.stringify(Object.fromEntries(plan.map(({ name, type }) => [name, type]))) };
  const content = { tensors: plan.flatMap(tensorsOf), metadata };
  const naming = { ...about, what: "weights in blocks", where: checkpoint.name };
  return makeKept(folder, start, content, naming, async (put) => {
    for (const { name, bits, hasOffset, parts } of plan) {
      let [valueBytes, scaleBytes] = [0, 0];
      for await (const { integers, scale, offset } of parts()) {
        const values =
          bits === 8
            ? new Uint8Array(integers.buffer, integers.byteOffset, integers.length)
            : nibbles(integers, hasOffset);
        await put(valuesOf(name), values, valueBytes);
        await put(scaleOf(name), floatBytes(scale), scaleBytes);
        if (offset) await put(offsetOf(name), floatBytes(offset), scaleBytes);
        valueBytes += values.length;
        scaleBytes += 4 * scale.length;
      }
    }
  });
}

/** Neighbours in one byte, the first in the low half. Without an offset −8 … 7 become 0 … 15. */
function nibbles(integers: Int8Array, hasOffset: boolean): Uint8Array {
  const more = hasOffset ? 0 : 8;
  const out = new Uint8Array(integers.length / 2);
  for (let i = 0; i < out.length; i++) out[i] = (integers[2 * i]! + more) | ((integers[2 * i + 1]! + more) << 4);
  return out;
}

async function storedPlan(checkpoint: Checkpoint): Promise<readonly Planned[]> {
  if (checkpoint.gguf === undefined)
    throw new SoftpromptError("usage", "this model's weights do not lie in blocks", {
      where: checkpoint.name,
      expected: "a GGUF file",
      got: checkpoint.folder,
      hint: "give the GGUF file itself as the model, or use --precision int4, which rounds any model's layers",
    });
  const matrices = await ggufMatrices(checkpoint.gguf);
  return candidates(checkpoint.config).flatMap(({ name }) => {
    const matrix = matrices.get(checkpoint.tensors.get(name)!.name);
    return matrix ? [storedLayer(name, matrix)] : [];
  });
}

function storedLayer(name: string, { type, shape, layout, rows }: GgufMatrix): Planned {
  const { bits, run, hasOffset } = layout;
  const parts = async function* () {
    for await (const bytes of rows()) yield unpack(bytes, type);
  };
  return { name, shape, bits, block: run, hasOffset, type, parts };
}

function int4Plan(checkpoint: Checkpoint): readonly Planned[] {
  return blockLayers(checkpoint.config).flatMap((layer) => {
    const { name, shape, transposed = false } = layer;
    const [rows, columns] = (transposed ? shape.toReversed() : shape) as [number, number];
    if (columns % int4Block !== 0) return [];
    const parts = async function* () {
      const { data } = await checkpoint.read(name);
      yield { ...roundBlocks(transposed ? turned(data, columns, rows) : data, int4Block), offset: null };
    };
    return [
      {
        name,
        shape: [rows, columns] as const,
        bits: 4 as const,
        block: int4Block,
        hasOffset: false,
        type: "int4",
        parts,
      },
    ];
  });
}

function turned(data: Float32Array, rows: number, columns: number): Float32Array {
  const out = new Float32Array(data.length);
  for (let r = 0; r < rows; r++) for (let c = 0; c < columns; c++) out[c * rows + r] = data[r * columns + c]!;
  return out;
}
