/**
 * @file Snappy, unpacking only, with every length checked before it is used.
 *
 * In: an untrusted raw Snappy block, and how long it says it is. Out: exactly that many bytes, or an Error for the caller
 * to name. hyparquet has its own, but takes a literal's four-byte
 * length as signed: a negative one makes it loop without end.
 * Source: github.com/google/snappy format_description.txt.
 */

/** Self-contained: parquet-child.ts sends its text to another process. Unpacks one block; throws Error unless it gives `length` bytes and uses all of `input`. */
export function unpackSnappy(input: Uint8Array, length: number): Uint8Array {
  const out = new Uint8Array(length);
  let at = 0;
  let to = 0;
  const bytes = (count: number): number => {
    if (count > input.length - at) throw new Error("its packed data ends too early");
    let value = 0;
    for (let i = 0; i < count; i++) value += input[at++]! * 2 ** (8 * i);
    return value;
  };
  let said = 0;
  for (let i = 0; ; i++) {
    const byte = bytes(1);
    said += (byte & 0x7f) * 2 ** (7 * i);
    if (byte < 0x80) break;
    if (i === 4) throw new Error("its packed data has no length");
  }
  if (said !== length) throw new Error("its packed data has another length than its page");
  while (at < input.length) {
    const tag = input[at++]!;
    const kind = tag & 3;
    if (kind === 0) {
      // A literal: 1 … 60 bytes, or a length in the next 1 … 4 bytes.
      const short = tag >> 2;
      const count = (short < 60 ? short : bytes(short - 59)) + 1;
      if (count > input.length - at || count > length - to)
        throw new Error("its packed data has a literal that is too long");
      out.set(input.subarray(at, at + count), to);
      at += count;
      to += count;
      continue;
    }
    // A copy of earlier bytes; it may overlap what it writes, so bytes go one by one.
    const count = kind === 1 ? ((tag >> 2) & 7) + 4 : (tag >> 2) + 1;
    const back = kind === 1 ? (tag >> 5) * 256 + bytes(1) : bytes(kind === 2 ? 2 : 4);
    if (back === 0 || back > to || count > length - to) throw new Error("its packed data copies from outside");
    for (let i = 0; i < count; i++, to++) out[to] = out[to - back]!;
  }
  if (to !== length) throw new Error("its packed data ends too early");
  return out;
}
