/**
 * @file A path as a POSIX shell reads it back, for the commands that are told to be typed. In: a text. Out: one word, quoted where needed.
 */

/** The text as one word of a command line. */
export function shellWord(text: string): string {
  return /^[\p{L}\p{N}_@%+=:,./-]+$/u.test(text) ? text : `'${text.replaceAll("'", "'\\''")}'`;
}

/** `softprompt COMMAND --resume FOLDER`, to be typed. */
export function resumeCommand(command: "train" | "prune", folder: string): string {
  // with a blank before it, what begins with a dash would be taken for an option
  return `softprompt ${command} --resume${folder.startsWith("-") ? "=" : " "}${shellWord(folder)}`;
}
