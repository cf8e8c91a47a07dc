/**
 * @file Bytes as printable characters: how byte-level BPE writes its pieces ("Ġthe" is a blank and "the").
 *
 * In: text, or a piece. Out: its UTF-8 bytes as characters, or the bytes again.
 * Printable Latin-1 stands for itself; the other 68 bytes are U+0100 … U+0143 in their order.
 * Source: GPT-2's encoder.py, bytes_to_unicode; tokenizers 0.23, src/pre_tokenizers/byte_level.rs.
 */

const characters: readonly string[] = (() => {
  let spare = 0x100;
  return Array.from({ length: 256 }, (_, byte) => {
    const prints = (byte >= 0x21 && byte <= 0x7e) || (byte >= 0xa1 && byte <= 0xac) || byte >= 0xae;
    return String.fromCharCode(prints ? byte : spare++);
  });
})();
const bytes = new Map(characters.map((c, byte) => [c, byte]));
const encoder = new TextEncoder();

/** The 256 characters, by byte. */
export const byteCharacters = characters;

/** A text's UTF-8 bytes as characters. */
export function toByteCharacters(text: string): string {
  let out = "";
  for (let i = 0; i < text.length; i++) {
    const unit = text.charCodeAt(i);
    if (unit >= 0x80) return out + beyondAscii(text.slice(i));
    out += characters[unit]!;
  }
  return out;
}

function beyondAscii(text: string): string {
  let out = "";
  for (const byte of encoder.encode(text)) out += characters[byte]!;
  return out;
}

/** The bytes that a piece stands for; a piece with any other character stands for its own UTF-8 bytes. */
export function fromByteCharacters(piece: string): Uint8Array {
  const out = new Uint8Array(piece.length);
  for (let i = 0; i < piece.length; i++) {
    const byte = bytes.get(piece[i]!);
    if (byte === undefined) return encoder.encode(piece);
    out[i] = byte;
  }
  return out;
}
