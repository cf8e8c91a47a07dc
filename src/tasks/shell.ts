/**
 * @file Quotes a path for a POSIX shell, for commands that messages tell the user to type. In: a text. Out: one word, quoted where needed.
 */

/** The text as one word of a command line. */
export function shellWord(text: string): string {
  return /^[\p{L}\p{N}_@%+=:,./-]+$/u.test(text) ? text : `'${text.replaceAll("'", "'\\''")}'`;
}

/** `softprompt COMMAND --resume FOLDER`, to be typed. */
export function resumeCommand(command: "train" | "prune", folder: string): string {
  // after a blank, a name that begins with a dash would be read as an option
  return `softprompt ${command} --resume${folder.startsWith("-") ? "=" : " "}${shellWord(folder)}`;
}
