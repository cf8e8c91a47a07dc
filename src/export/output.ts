/**
 * @file Where an export may be written: never over something that is there. In: paths. Out: nothing, or an error before any work.
 */
import { existsSync, lstatSync, readdirSync } from "node:fs";
import { SoftpromptError } from "../base/errors.js";

/** The folder must be empty, because files of an earlier export would describe another model. @throws SoftpromptError "usage" */
export function refuseFull(folder: string): void {
  if (!existsSync(folder) || (lstatSync(folder).isDirectory() && readdirSync(folder).length === 0)) return;
  throw new SoftpromptError("usage", "the folder is not empty", {
    where: folder,
    expected: "a new or empty folder",
    hint: "remove it, or give another --output",
  });
}

/** A file must be new, because another program may use what was exported before. @throws SoftpromptError "usage" */
export function refuseThere(files: readonly string[]): void {
  for (const file of files)
    if (lstatSync(file, { throwIfNoEntry: false }) !== undefined)
      throw new SoftpromptError("usage", "this file is there already", {
        where: file,
        expected: "a new file",
        hint: "remove it, or give another --output",
      });
}
