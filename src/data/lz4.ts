/**
 * @file LZ4 blocks, unpacking only, with every length checked before it is used.
 *
 * In: an untrusted packed page, and how long it says it is. Out: exactly that many bytes, or an Error for the caller to name.
 * Source: github.com/lz4/lz4 doc/lz4_Block_format.md; parquet-format Compression.md for Hadoop's framing of the older codec.
 */

/** Self-contained: parquet-child.ts sends its text to another process. One raw block (LZ4_RAW); throws Error unless it gives `length` bytes. */
export function unpackLz4(input: Uint8Array, length: number): Uint8Array {
  const out = new Uint8Array(length);
  let at = 0;
  let to = 0;
  const byte = (): number => {
    if (at >= input.length) throw new Error("its packed data ends too early");
    return input[at++]!;
  };
  /** A length of four bits, and bytes as long as they are 255. */
  const long = (short: number): number => {
    let count = short;
    if (short === 15)
      for (;;) {
        const more = byte();
        count += more;
        if (more !== 255) break;
      }
    return count;
  };
  while (at < input.length) {
    const token = byte();
    const literals = long(token >> 4);
    if (literals > input.length - at || literals > length - to)
      throw new Error("its packed data has a literal that is too long");
    out.set(input.subarray(at, at + literals), to);
    at += literals;
    to += literals;
    if (at === input.length) break; // the last sequence has no copy
    const back = byte() + byte() * 256;
    const count = long(token & 15) + 4;
    if (back === 0 || back > to || count > length - to) throw new Error("its packed data copies from outside");
    for (let i = 0; i < count; i++, to++) out[to] = out[to - back]!;
  }
  if (to !== length) throw new Error("its packed data ends too early");
  return out;
}

/** The older codec LZ4: blocks that Hadoop frames by two big-endian lengths, or a raw block. @param unpack reads one block */
export function unpackFramedLz4(input: Uint8Array, length: number, unpack: typeof unpackLz4): Uint8Array {
  const view = new DataView(input.buffer, input.byteOffset, input.byteLength);
  const blocks: [from: number, packed: number, unpacked: number][] = [];
  let at = 0;
  let sum = 0;
  while (at + 8 <= input.length) {
    const unpacked = view.getUint32(at);
    const packed = view.getUint32(at + 4);
    sum += unpacked;
    if (packed > input.length - at - 8 || sum > length) break;
    blocks.push([at + 8, packed, unpacked]);
    at += 8 + packed;
  }
  if (at !== input.length || sum !== length || blocks.length === 0) return unpack(input, length);
  const out = new Uint8Array(length);
  let to = 0;
  for (const [from, packed, unpacked] of blocks) {
    out.set(unpack(input.subarray(from, from + packed), unpacked), to);
    to += unpacked;
  }
  return out;
}
