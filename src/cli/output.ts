/**
 * @file Where results go: the folder of a run where --output does not say, and files that are checked before any work is done.
 */
import { accessSync, closeSync, constants, existsSync, openSync, statSync, unlinkSync, writeSync } from "node:fs";
import { dirname, join, resolve } from "node:path";
import { SoftpromptError } from "../base/errors.js";
import { ioError, makeFolder } from "../base/files.js";

/** runs/TASK-METHOD-seedN; of the task's name only what is safe in a file name stays, so that it cannot lead elsewhere. */
export function defaultFolder(task: string, method: string, seed: number): string {
  const safe = task.replaceAll(/[^\w.-]+/g, "-").toLowerCase();
  return join("runs", `${safe}-${method}-seed${seed}`);
}

/** The folder itself, or with the next number behind it where a run or a search is in it already. */
export function freeFolder(name: string): string {
  const taken = (folder: string) => ["run.json", "search.json"].some((file) => existsSync(join(folder, file)));
  for (let n = 1; ; n++) {
    const folder = n === 1 ? name : `${name}-${n}`;
    if (!taken(folder)) return folder;
  }
}

/**
 * Refuses a file that could not be written, before the work whose result it shall hold. Leaves the file as it is.
 * @param inputs files that are read: writing over one of them would lose it. @throws SoftpromptError "io", "usage".
 */
export function checkWritable(path: string, inputs: readonly (string | undefined)[] = []): void {
  const input = inputs.find((other) => other !== undefined && resolve(other) === resolve(path));
  if (input !== undefined)
    throw new SoftpromptError("usage", "the result would be written over the input", {
      where: path,
      expected: "another file",
    });
  const there = existsSync(path);
  try {
    makeFolder(dirname(path));
    if (there && statSync(path).isDirectory()) throw Object.assign(new Error("is a folder"), { code: "EISDIR" });
    // "a" changes nothing in a file that is there
    closeSync(openSync(path, "a"));
    if (!there) unlinkSync(path);
    accessSync(dirname(path), constants.W_OK);
  } catch (cause) {
    throw ioError(cause, path);
  }
}

/** A file that results are written into line by line; opened at the first one, so that a refusal leaves the old file whole. */
export function lineFile(path: string): { write(line: string): void; close(): void } {
  let file: number | null = null;
  return {
    write(line) {
      try {
        file ??= openSync(path, "w");
        const bytes = Buffer.from(`${line}\n`);
        // a disk that becomes full takes a part first
        for (let done = 0; done < bytes.length; ) done += writeSync(file, bytes, done);
      } catch (cause) {
        throw ioError(cause, path);
      }
    },
    close() {
      if (file !== null) closeSync(file);
      file = null;
    },
  };
}
