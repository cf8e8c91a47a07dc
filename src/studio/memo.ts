/**
 * @file What was read from files that seldom change, kept until one of them does. In: a folder. Out: what its files say.
 */
import { statSync } from "node:fs";
import { ioError } from "../base/files.js";
import { mostFollowed } from "./protocol.js";

/**
 * Reads a folder again only where one of its files has another time or size than before.
 * @param files those that are read, as paths; one that is not there counts too
 */
export function openMemo<T>(
  files: (folder: string) => readonly string[],
  read: (folder: string) => T,
): (folder: string) => T {
  const kept = new Map<string, { readonly stamp: string; readonly value: T }>();
  return (folder) => {
    // before the reading: what is written meanwhile is read the next time
    const stamp = files(folder).map(stampOf).join("\n");
    const known = kept.get(folder);
    kept.delete(folder);
    const entry = known?.stamp === stamp ? known : { stamp, value: read(folder) };
    kept.set(folder, entry);
    const oldest = kept.keys().next();
    if (kept.size > mostFollowed && !oldest.done) kept.delete(oldest.value);
    return entry.value;
  };
}

/** @throws SoftpromptError "io" */
function stampOf(path: string): string {
  try {
    const found = statSync(path, { throwIfNoEntry: false });
    return found === undefined ? path : `${path} ${found.mtimeMs} ${found.size} ${found.ino}`;
  } catch (cause) {
    throw ioError(cause, path);
  }
}
