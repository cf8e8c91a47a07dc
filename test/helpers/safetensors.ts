/** @file Reads float32 fixtures without the product's reader, so that a fault there cannot hide behind itself. Masks of booleans are skipped. */
import { readFileSync } from "node:fs";
import type { Tensor } from "../../src/base/tensor.js";

export function readFixture(path: URL): Record<string, Tensor> {
  const bytes = readFileSync(path);
  const length = Number(bytes.readBigUInt64LE(0));
  const header = JSON.parse(bytes.toString("utf8", 8, 8 + length)) as Record<
    string,
    { dtype: string; shape: number[]; data_offsets: [number, number] }
  >;
  const tensors: Record<string, Tensor> = {};
  for (const [name, entry] of Object.entries(header)) {
    if (name === "__metadata__" || entry.dtype === "BOOL") continue;
    if (entry.dtype !== "F32") throw new Error(`${name} is ${entry.dtype}, not F32`);
    const [from, to] = entry.data_offsets.map((o) => o + 8 + length) as [number, number];
    tensors[name] = {
      shape: entry.shape,
      data: new Float32Array(bytes.buffer.slice(bytes.byteOffset + from, bytes.byteOffset + to)),
    };
  }
  return tensors;
}
