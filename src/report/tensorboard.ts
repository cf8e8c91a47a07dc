/**
 * @file TensorBoard event files, written by hand: TFRecord framing, masked CRC-32C, four protobuf fields.
 *
 * In: tag, step, value, wall time. Out: bytes that `tensorboard --logdir RUN` reads.
 * Format: tensorflow/core/lib/io/record_writer.h (length u64 · masked crc of it · data · masked crc of it, little endian) and
 * tensorflow/core/util/event.proto (wall_time 1, step 2, file_version 3, summary 5; summary.value 1; tag 1, simple_value 2).
 */

export interface Scalar {
  readonly tag: string;
  readonly step: number;
  readonly value: number;
  /** Seconds since 1970. */
  readonly wallTime: number;
}

/** The record every event file begins with. */
export function eventFileHeader(wallTime: number): Uint8Array {
  return record(concat(double(1, wallTime), bytes(3, utf8("brain.Event:2"))));
}

/** One record with one scalar. Values that are not finite are written as they are; TensorBoard shows them as gaps. */
export function scalarRecord({ tag, step, value, wallTime }: Scalar): Uint8Array {
  const entry = concat(bytes(1, utf8(tag)), float(2, value));
  const at = step === 0 ? [] : [varintField(2, step)]; // proto3 leaves zeros out
  return record(concat(double(1, wallTime), ...at, bytes(5, bytes(1, entry))));
}

/** CRC-32C (Castagnoli, reflected polynomial 0x82f63b78), unsigned. */
export function crc32c(data: Uint8Array): number {
  let crc = 0xffffffff;
  for (const byte of data) crc = table[(crc ^ byte) & 0xff]! ^ (crc >>> 8);
  return (crc ^ 0xffffffff) >>> 0;
}

const table = Uint32Array.from({ length: 256 }, (_, n) => {
  let c = n;
  for (let k = 0; k < 8; k++) c = c & 1 ? (c >>> 1) ^ 0x82f63b78 : c >>> 1;
  return c >>> 0;
});

/** TFRecord stores crcs rotated and offset, so that a crc of data holding crcs stays useful. */
function maskedCrc(data: Uint8Array): number {
  const crc = crc32c(data);
  return (((crc >>> 15) | (crc << 17)) + 0xa282ead8) >>> 0;
}

function record(data: Uint8Array): Uint8Array {
  const out = new Uint8Array(16 + data.length);
  const view = new DataView(out.buffer);
  view.setBigUint64(0, BigInt(data.length), true);
  view.setUint32(8, maskedCrc(out.subarray(0, 8)), true);
  out.set(data, 12);
  view.setUint32(12 + data.length, maskedCrc(data), true);
  return out;
}

function varint(value: number): Uint8Array {
  const out: number[] = [];
  let rest = BigInt(value);
  do {
    const low = Number(rest & 0x7fn);
    rest >>= 7n;
    out.push(rest > 0n ? low | 0x80 : low);
  } while (rest > 0n);
  return Uint8Array.from(out);
}

const key = (field: number, wire: number) => varint(field * 8 + wire);
const varintField = (field: number, value: number) => concat(key(field, 0), varint(value));
const bytes = (field: number, value: Uint8Array) => concat(key(field, 2), varint(value.length), value);

function double(field: number, value: number): Uint8Array {
  const out = new Uint8Array(8);
  new DataView(out.buffer).setFloat64(0, value, true);
  return concat(key(field, 1), out);
}

function float(field: number, value: number): Uint8Array {
  const out = new Uint8Array(4);
  new DataView(out.buffer).setFloat32(0, value, true);
  return concat(key(field, 5), out);
}

function utf8(text: string): Uint8Array {
  return new TextEncoder().encode(text);
}

function concat(...parts: readonly Uint8Array[]): Uint8Array {
  const out = new Uint8Array(parts.reduce((n, p) => n + p.length, 0));
  let at = 0;
  for (const part of parts) {
    out.set(part, at);
    at += part.length;
  }
  return out;
}
