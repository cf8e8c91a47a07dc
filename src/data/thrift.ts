/**
 * @file Thrift's compact protocol, reading only, for looking at a parquet file before hyparquet does.
 *
 * In: untrusted bytes. Out: structs as maps from field number to value, or an Error for the caller to name.
 * Numbers have at most ten bytes, lists at most as many elements as bytes are left, structs at most `maxDepth` levels, so
 * reading takes linear time; hyparquet's own reader has none of these bounds (a megabyte-long varint takes it hours).
 * Source: github.com/apache/thrift doc/specs/thrift-compact-protocol.md.
 */

export type ThriftStruct = ReadonlyMap<number, ThriftValue>;
export type ThriftValue = number | boolean | Uint8Array | readonly ThriftValue[] | ThriftStruct;

const maxDepth = 24;

/** Reads one struct at `at`; `next` is the offset behind it. Integers beyond 2^53 lose their low bits. */
export function readStruct(bytes: Uint8Array, at: number): { struct: ThriftStruct; next: number } {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const byte = (): number => {
    if (at >= bytes.length) throw new Error("it ends inside a header");
    return bytes[at++]!;
  };
  const varint = (): number => {
    let value = 0;
    for (let i = 0; i < 10; i++) {
      const b = byte();
      value += (b & 0x7f) * 2 ** (7 * i);
      if (b < 0x80) return value;
    }
    throw new Error("a number is longer than ten bytes");
  };
  const zigzag = (): number => {
    const n = varint();
    return n % 2 === 0 ? n / 2 : -(n + 1) / 2;
  };
  const element = (type: number, depth: number): ThriftValue => {
    switch (type) {
      case 1:
        return true;
      case 2:
        return false;
      case 3:
        return byte();
      case 4:
      case 5:
      case 6:
        return zigzag();
      case 7: {
        if (bytes.length - at < 8) throw new Error("it ends inside a number");
        at += 8;
        return view.getFloat64(at - 8, true);
      }
      case 8: {
        const length = varint();
        if (length > bytes.length - at) throw new Error("a text is longer than the file");
        at += length;
        return bytes.subarray(at - length, at);
      }
      case 9: {
        const head = byte();
        const size = head >> 4 === 15 ? varint() : head >> 4;
        if (size > bytes.length - at) throw new Error("a list is longer than the file");
        const kind = head & 15;
        return Array.from({ length: size }, () => element(kind <= 2 ? 3 : kind, depth + 1));
      }
      case 12:
        return struct(depth + 1);
      default:
        throw new Error(`an unknown field type ${type}`);
    }
  };
  const struct = (depth: number): ThriftStruct => {
    if (depth > maxDepth) throw new Error("structs are nested too deeply");
    const fields = new Map<number, ThriftValue>();
    for (let id = 0; ; ) {
      const head = byte();
      if ((head & 15) === 0) return fields;
      id = head >> 4 === 0 ? zigzag() : id + (head >> 4);
      fields.set(id, element(head & 15, depth));
    }
  };
  return { struct: struct(0), next: at };
}
