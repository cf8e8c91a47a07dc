/**
 * @file SentencePiece's precompiled character map (nmt_nfkc and its kin): text in, normalised text out.
 *
 * In: the blob of `normalizer_spec.precompiled_charsmap`: uint32 size of the trie in bytes, the trie (a Darts double array
 * of uint32 units over UTF-8 bytes), then NUL-terminated replacement texts. Out: a function on text.
 * Two readers of this blob exist and differ; each file format is read as its own library reads it:
 * - `longest`: SentencePiece replaces the longest key at each position.
 * - `graphemes`: Hugging Face tokenizers looks up whole grapheme clusters below 6 bytes, then single characters, and takes
 *   the *shortest* key found. (It drops what follows that key in the cluster; kept, because ids must agree.)
 * Source: sentencepiece src/normalizer.cc, darts.h; tokenizers src/normalizers/precompiled.rs, spm_precompiled.
 */
import { SoftpromptError } from "../base/errors.js";

export type CharsmapReading = "longest" | "graphemes";

/** Blobs above this are refused; T5's has 237 kB. */
export const maxCharsmapBytes = 16 * 1024 * 1024;

const encoder = new TextEncoder();
const decoder = new TextDecoder("utf-8", { ignoreBOM: true });

/** A normaliser from a blob; throws SoftpromptError if the blob cannot be one. */
export function readCharsmap(blob: Uint8Array, reading: CharsmapReading, where: string): (text: string) => string {
  const fail = (problem: string, expected: string, got?: unknown): never => {
    throw new SoftpromptError("checkpoint", `the precompiled character map is damaged: ${problem}`, {
      where,
      expected,
      got,
    });
  };
  if (blob.length > maxCharsmapBytes) fail("it is too large", `at most ${maxCharsmapBytes} bytes`, blob.length);
  if (blob.length < 8) fail("it is too short", "a trie and its replacement texts", `${blob.length} bytes`);
  const view = new DataView(blob.buffer, blob.byteOffset, blob.length);
  const trieBytes = view.getUint32(0, true);
  if (trieBytes % 4 !== 0 || trieBytes < 4 || trieBytes > blob.length - 4)
    fail("its trie's size is wrong", `a multiple of 4 up to ${blob.length - 4}`, trieBytes);
  const units = Uint32Array.from({ length: trieBytes / 4 }, (_, i) => view.getUint32(4 + 4 * i, true));
  const texts = blob.subarray(4 + trieBytes);

  const unit = (at: number): number =>
    at < units.length ? units[at]! : fail("its trie points outside itself", `below ${units.length}`, at);
  // Darts units: bits 0-7 and 31 label, bit 8 has a leaf, bits 9-30 offset (bit 9 scales it by 256).
  const offset = (u: number): number => ((u >>> 10) << ((u & 0x200) >>> 6)) >>> 0;

  /** The key at `from` in UTF-8 bytes: its end and its replacement's place; end 0 if there is none. */
  const match = (bytes: Uint8Array, from: number, to: number): { end: number; value: number } => {
    let found = { end: 0, value: 0 };
    let node = offset(unit(0));
    for (let i = from; i < to; i++) {
      node = (node ^ bytes[i]!) >>> 0;
      const u = unit(node);
      if ((u & 0x800000ff) >>> 0 !== bytes[i]!) break;
      node = (node ^ offset(u)) >>> 0;
      if (u & 0x100) {
        found = { end: i + 1, value: unit(node) & 0x7fffffff };
        if (reading === "graphemes") break;
      }
    }
    return found;
  };
  const replacements = new Map<number, string>();
  const replacement = (value: number): string => {
    let text = replacements.get(value);
    if (text === undefined) {
      if (value >= texts.length) fail("a key has no replacement text", `a place below ${texts.length}`, value);
      const end = texts.indexOf(0, value);
      text = decoder.decode(texts.subarray(value, end < 0 ? texts.length : end));
      replacements.set(value, text);
    }
    return text;
  };

  const longest = (text: string): string => {
    const bytes = encoder.encode(text);
    let out = "";
    for (let i = 0; i < bytes.length; ) {
      const { end, value } = match(bytes, i, bytes.length);
      if (end > 0) {
        out += replacement(value);
        i = end;
      } else {
        const next = i + characterBytes(bytes[i]!);
        out += decoder.decode(bytes.subarray(i, next));
        i = next;
      }
    }
    return out;
  };

  const segmenter = reading === "graphemes" ? new Intl.Segmenter("und", { granularity: "grapheme" }) : null;
  const lookup = (part: string): string | null => {
    const bytes = encoder.encode(part);
    const { end, value } = match(bytes, 0, bytes.length);
    return end > 0 ? replacement(value) : null;
  };
  const known = new Map<string, string>(); // cluster → its normal form; most texts repeat a handful
  const cluster = (grapheme: string): string => {
    let normal = known.get(grapheme);
    if (normal === undefined) {
      normal = encoder.encode(grapheme).length < 6 ? (lookup(grapheme) ?? undefined) : undefined;
      normal ??= Array.from(grapheme, (c) => lookup(c) ?? c).join("");
      if (known.size >= 20_000) known.clear();
      known.set(grapheme, normal);
    }
    return normal;
  };
  // V8's segmenter takes quadratic time in the length of the text (40,000 characters: 10 s), so it is given windows. The last cluster of a
  // window may be incomplete; it is read again at the start of the next window.
  const graphemes = (text: string): string => {
    let out = "";
    for (let from = 0, width = 128; from < text.length; ) {
      const window = text.slice(from, from + width);
      let [done, last] = [0, ""];
      for (const { segment } of segmenter!.segment(window)) {
        if (last !== "") out += cluster(last);
        done += last.length;
        last = segment;
      }
      if (from + window.length === text.length) return out + cluster(last);
      if (done === 0) width *= 2;
      else {
        from += done;
        width = 128;
      }
    }
    return out;
  };

  const whole = reading === "longest" ? longest : graphemes;
  if (!leavesAsciiAlone()) return whole;
  // Most text is printable ASCII that the map leaves alone: only stretches that touch something else are walked, each
  // with one ASCII neighbour on either side, since a combining mark may join the letter before it.
  return (text) => (plainAscii.test(text) ? text : text.replace(touchesOther, whole));

  function leavesAsciiAlone(): boolean {
    const pair = new Uint8Array(2);
    for (let a = 0x20; a < 0x7f; a++)
      for (let b = 0x20; b < 0x7f; b++) {
        pair[0] = a;
        pair[1] = b;
        // "longest" on a pair also finds keys of one letter; a longer all-ASCII key needs a first pair without a leaf.
        if (match(pair, 0, 2).end > 0 || continues(a, b)) return false;
      }
    return true;
  }
  function continues(a: number, b: number): boolean {
    let node = offset(unit(0));
    for (const byte of [a, b]) {
      node = (node ^ byte) >>> 0;
      if (node >= units.length) return false;
      const u = unit(node);
      if ((u & 0x800000ff) >>> 0 !== byte) return false;
      node = (node ^ offset(u)) >>> 0;
    }
    return true;
  }
}

const plainAscii = /^[\x20-\x7e]*$/;
const touchesOther = /[\x20-\x7e]?[^\x20-\x7e]+(?:[\x20-\x7e][^\x20-\x7e]+)*[\x20-\x7e]?/g;

/** UTF-8 length by first byte. */
function characterBytes(first: number): number {
  return first < 0x80 ? 1 : first < 0xe0 ? 2 : first < 0xf0 ? 3 : 4;
}
