/**
 * @file Commands that messages tell the user to type: how a run or a search goes on. In: a path. Out: text.
 */
import { existsSync } from "node:fs";
import { join } from "node:path";
import { shellWord } from "../base/shell-word.js";
import { fileNames } from "../run/layout.js";

/** `softprompt COMMAND --resume FOLDER`, to be typed. */
export function resumeCommand(command: "train" | "prune", folder: string): string {
  // after a blank, a name that begins with a dash would be read as an option
  return `softprompt ${command} --resume${folder.startsWith("-") ? "=" : " "}${shellWord(folder)}`;
}

/**
 * How what was stopped goes on: by the command, where the folder has the command line's own file; rows of a program are in no file, so else
 * by the same call alone.
 * @param more options of the command
 */
export function resumeHint(command: "train" | "prune", folder: string, more = ""): string {
  return existsSync(join(folder, fileNames.config))
    ? `${resumeCommand(command, folder)}${more}`
    : "the same call with resume: true";
}
