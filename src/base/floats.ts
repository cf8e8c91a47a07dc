/**
 * @file float32 values as text: little-endian, base64. Exact both ways, so JSON files can carry prompts.
 */
import { type ErrorKind, SoftpromptError } from "./errors.js";

/** Bytes as stored, whatever the machine's own order. */
export function floatBytes(values: Float32Array): Uint8Array {
  const bytes = new Uint8Array(values.length * 4);
  const view = new DataView(bytes.buffer);
  for (let i = 0; i < values.length; i++) view.setFloat32(4 * i, values[i]!, true);
  return bytes;
}

export function floatsToText(values: Float32Array): string {
  return Buffer.from(floatBytes(values)).toString("base64");
}

/** @throws SoftpromptError of `kind` for anything but the canonical base64 of whole float32 values. */
export function floatsFromText(base64: string, where: string, kind: ErrorKind): Float32Array {
  const bytes = Buffer.from(base64, "base64");
  if (bytes.length % 4 !== 0 || bytes.toString("base64") !== base64)
    throw new SoftpromptError(kind, "these values cannot be read", { where, expected: "base64 of float32 values" });
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  return Float32Array.from({ length: bytes.length / 4 }, (_, i) => view.getFloat32(4 * i, true));
}
