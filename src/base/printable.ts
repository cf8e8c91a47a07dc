/**
 * @file Text from users and files on its way to a terminal: control characters become visible escapes.
 *
 * In: any text. Out: the same text with `\u001b` in place of ESC, and so on; JSON reads the escapes back as the characters they stand
 * for, so a line of JSON means the same afterwards. Line breaks and tabs stay. A cell, a label or a column name could otherwise
 * clear the screen, set the window's title, or turn the reading direction.
 */

// C0 without tab and line feed, DEL, C1, overrides of direction, separators of lines and paragraphs.
// biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is looked for
const control = /[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069]/g;

// The same, but for the few sequences of colour that the command line itself writes (picocolors).
// biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is looked for
const controlButColour = /\x1b\[\d{1,2}m|[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069]/g;

const escaped = (c: string): string => `\\u${c.charCodeAt(0).toString(16).padStart(4, "0")}`;

/** Text of a user, as it may be shown. */
export function printable(text: string): string {
  return text.replace(control, escaped);
}

/** The same on one line: line breaks and tabs are escaped too. For names, labels, cells in tables. */
export function printableLine(text: string): string {
  return printable(text).replaceAll("\n", "\\n").replaceAll("\t", "\\t");
}

/** Escapes text that already has colours. This is the last check before the terminal, for input that was not escaped earlier. */
export function printableColoured(text: string): string {
  return text.replace(controlButColour, (found) => (found.length > 1 ? found : escaped(found)));
}

/** The characters by which two texts that look alike differ: "U+0065 U+0301". */
export function codePoints(text: string): string {
  return [...text].map((c) => `U+${c.codePointAt(0)!.toString(16).toUpperCase().padStart(4, "0")}`).join(" ");
}
