/**
 * @file Classes of characters as the Rust libraries behind `tokenizer.json` have them, where JavaScript's own differ.
 *
 * In: nothing. Out: sources for regular expressions with the flag `u`.
 * JavaScript's `\s` has U+FEFF and lacks U+0085, its `\w` and `\d` are ASCII: none of them may stand in this room.
 */

/** Rust's `\s` and `char::is_whitespace`. For use inside a class as well as alone. */
export const whiteSpace = "\\p{White_Space}";

/** Rust's `\w`, as the inside of a class. */
export const wordCharacters = "\\p{Alphabetic}\\p{M}\\p{Nd}\\p{Pc}\\p{Join_Control}";

const blank = new RegExp(`^${whiteSpace}$`, "u");

/** Whether the UTF-16 unit at `at` is white space; no white space lies beyond the first plane. */
export function isBlankAt(text: string, at: number): boolean {
  const unit = text.charCodeAt(at);
  if (unit < 0x80) return unit === 0x20 || (unit >= 9 && unit <= 13);
  return blank.test(text[at]!);
}

/** The text without the white space at its end. `\s+$` takes quadratic time on a long run of blanks inside the text. */
export function trimEnd(text: string): string {
  let end = text.length;
  while (end > 0 && isBlankAt(text, end - 1)) end--;
  return text.slice(0, end);
}

/** The text without the white space at its start. */
export function trimStart(text: string): string {
  let start = 0;
  while (start < text.length && isBlankAt(text, start)) start++;
  return text.slice(start);
}

/** Half a surrogate pair is no character; it becomes U+FFFD, as in every UTF-8 encoder. Lengths stay. */
export function wellFormed(text: string): string {
  return text.replace(/[\ud800-\udfff]/gu, "\ufffd");
}
