/**
 * @file The protobuf wire format, reading only: just enough for a SentencePiece model.
 *
 * In: untrusted bytes. Out: the fields of one message, in order, or a SoftpromptError with the byte offset.
 * Every length is checked against the remaining bytes before it is used; a message is walked once, so time is linear.
 * Source: protobuf.dev/programming-guides/encoding.
 */
import { SoftpromptError } from "../base/errors.js";

/** One field of a message. `wire` 0 = varint in `value`, 5 = four bytes, 1 = eight bytes, 2 = length-delimited; bytes in `bytes`. */
export interface Field {
  readonly number: number;
  readonly wire: number;
  readonly value: number;
  readonly bytes: Uint8Array;
}

const none = new Uint8Array(0);

/** The fields of one message. Groups (wire types 3 and 4), used by nothing since 2008, are refused. */
export function* fields(message: Uint8Array, where: string): Generator<Field> {
  let at = 0;
  const fail = (problem: string, expected: string, got?: unknown): never => {
    throw new SoftpromptError("checkpoint", `not a readable protobuf: ${problem}`, {
      where: `${where}, byte ${at}`,
      expected,
      got,
      hint: "the file may be cut short, or be something else (a Git LFS pointer, an error page)",
    });
  };
  const varint = (): number => {
    // Ten bytes at most. Negative int32 values are sign-extended to 64 bits: kept as their double, which is exact enough to refuse them.
    let value = 0;
    for (let i = 0; i < 10; i++) {
      if (at >= message.length) fail("it ends inside a number", "one more byte");
      const byte = message[at++]!;
      value += (byte & 0x7f) * 2 ** (7 * i);
      if (byte < 0x80) return value;
    }
    return fail("a number is longer than ten bytes", "a varint of at most ten bytes");
  };
  const take = (count: number): Uint8Array => {
    if (!(count <= message.length - at))
      fail("it ends inside a field", `${count} more bytes`, `${message.length - at} bytes`);
    at += count;
    return message.subarray(at - count, at);
  };
  while (at < message.length) {
    const key = varint();
    const number = Math.floor(key / 8);
    const wire = key % 8;
    if (number < 1 || number > 0x1fffffff) fail("a field number is out of range", "1 … 536870911", number);
    if (wire === 0) yield { number, wire, value: varint(), bytes: none };
    else if (wire === 1) yield { number, wire, value: 0, bytes: take(8) };
    else if (wire === 2) yield { number, wire, value: 0, bytes: take(varint()) };
    else if (wire === 5) yield { number, wire, value: 0, bytes: take(4) };
    else fail("a field has an unknown wire type", "0, 1, 2 or 5", wire);
  }
}

/** A float field's number. */
export function float32(field: Field): number {
  return new DataView(field.bytes.buffer, field.bytes.byteOffset, 4).getFloat32(0, true);
}

/** A string field's text; invalid UTF-8 is refused. */
export function utf8(bytes: Uint8Array, where: string): string {
  try {
    return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch (cause) {
    throw new SoftpromptError("checkpoint", "a text is not valid UTF-8", { where, cause });
  }
}
