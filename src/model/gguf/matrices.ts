/**
 * @file The quantised matrices of a GGUF file, in their own blocks.
 *
 * In: the file (or all its shards). Out: by Hugging Face's name, the type and the size of each matrix that has blocks, and its rows [out, in]
 * as stored, in Hugging Face's order. A matrix that Hugging Face stores [in, out] (GPT-2) comes [out, in] as well.
 */
import { open } from "node:fs/promises";
import { type BlockType, type Runs, runsOf } from "./blocks.js";
import { apart, readExactly, readModel } from "./convert.js";

/** A matrix in blocks. */
export interface GgufMatrix {
  readonly type: BlockType;
  readonly layout: Runs;
  /** [out, in]. */
  readonly shape: readonly [number, number];
  /** A whole number of rows at a time. */
  readonly rows: () => AsyncGenerator<Uint8Array>;
}

/** Bytes that are read at a time. */
const portion = 1 << 22;

/** @throws SoftpromptError as convertGguf. */
export async function ggufMatrices(files: readonly string[]): Promise<ReadonlyMap<string, GgufMatrix>> {
  const { model, header, fileOf } = await readModel(files);
  const found = new Map<string, GgufMatrix>();
  for (const { gguf, hub, order } of model.tensors) {
    const tensor = header.tensors.get(gguf)!;
    const { type, shape, offset, length } = tensor;
    const layout = runsOf(type);
    if (shape.length !== 2 || layout === null) continue;
    const [rows, columns] = shape as [number, number];
    const rowBytes = length / rows;
    const unit = order.kind === "halves" ? rows / order.heads : 1;
    found.set(hub, {
      type,
      layout,
      shape: [rows, columns],
      rows: async function* () {
        const file = fileOf(gguf);
        const handle = await open(file);
        try {
          const step = unit * Math.max(1, Math.floor(portion / rowBytes / unit));
          for (let row = 0; row < rows; row += step) {
            const count = Math.min(step, rows - row);
            const bytes = await readExactly(handle, file, offset + row * rowBytes, count * rowBytes);
            yield order.kind === "halves" ? apart(bytes, rowBytes, unit) : bytes;
          }
        } finally {
          await handle.close();
        }
      },
    });
  }
  return found;
}
