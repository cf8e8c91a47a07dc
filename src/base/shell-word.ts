/** @file Quoting for a POSIX shell. In: a text. Out: the text as one word of a command line. */

/** The text as one word of a command line. */
export function shellWord(text: string): string {
  return /^[\p{L}\p{N}_@%+=:,./-]+$/u.test(text) ? text : `'${text.replaceAll("'", "'\\''")}'`;
}
