/**
 * @file Output places: the default folder of a run, and files that are checked before any work is done.
 */
import { accessSync, closeSync, constants, existsSync, openSync, statSync, unlinkSync, writeSync } from "node:fs";
import { dirname, join, resolve } from "node:path";
import { SoftpromptError } from "../base/errors.js";
import { ioError, makeFolder } from "../base/files.js";

/** Only the characters of a task's name that are safe in a file name, so that it cannot point to another folder. */
export const safeName = (task: string): string => task.replaceAll(/[^\w.-]+/g, "-").toLowerCase();

/** runs/TASK-METHOD-seedN */
export function defaultFolder(task: string, method: string, seed: number): string {
  return join("runs", `${safeName(task)}-${method}-seed${seed}`);
}

/**
 * Refuses a file that could not be written, before the work for it starts. Leaves the file as it is.
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

/** A file for results, written line by line. It is opened at the first line, so that an earlier error leaves the old file unchanged. */
export function lineFile(path: string): { write(line: string): void; close(): void } {
  let file: number | null = null;
  return {
    write(line) {
      try {
        file ??= openSync(path, "w");
        const bytes = Buffer.from(`${line}\n`);
        // a disk that becomes full first accepts a part
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
