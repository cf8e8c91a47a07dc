/**
 * @file Reading an adapter folder that a stranger made: bounded sizes, regular files of this folder only.
 *
 * In: folder, file name of ours (a file's content never names another file to open). Out: bytes, or null where absent.
 */
import { closeSync, constants, fstatSync, lstatSync, openSync, readSync, realpathSync } from "node:fs";
import { basename, dirname, join } from "node:path";
import { SoftpromptError } from "../base/errors.js";
import { ioError } from "../base/files.js";

/**
 * Reads one file of the folder whole. Symbolic links are refused, except the Hugging Face cache's own, which lead from
 * `…/snapshots/<revision>/name` to `…/blobs/<hash>` beside it.
 * @returns null where there is no such file. @throws SoftpromptError "adapter", "io".
 */
export function readAdapterFile(folder: string, name: string, mostBytes: number): Uint8Array | null {
  const path = join(folder, name);
  const stat = statOrNull(path);
  if (stat === null) return null;
  const refuse = (problem: string, expected: string, got: string) =>
    new SoftpromptError("adapter", problem, { where: path, expected, got });
  if (stat.isSymbolicLink() && !intoHubBlobs(folder, path))
    throw refuse("this file is a symbolic link that leaves the adapter", "a regular file", "a link");
  // opened first and looked at afterwards, so that what is checked is what is read; a pipe must not make open() wait
  let fd: number;
  try {
    fd = openSync(path, constants.O_RDONLY | (constants.O_NONBLOCK ?? 0));
  } catch (cause) {
    throw ioError(cause, path);
  }
  try {
    const opened = fstatSync(fd);
    if (!opened.isFile()) throw refuse("this is not a regular file", "a regular file", "a folder, pipe or device");
    if (opened.size > mostBytes)
      throw refuse("this file is too large", `at most ${mostBytes} bytes`, `${opened.size} bytes`);
    const bytes = new Uint8Array(opened.size);
    let done = 0;
    while (done < bytes.length) {
      const read = readSync(fd, bytes, done, bytes.length - done, done);
      if (read === 0) throw refuse("the file became shorter while it was read", `${bytes.length} bytes`, `${done}`);
      done += read;
    }
    return bytes;
  } catch (cause) {
    throw ioError(cause, path);
  } finally {
    closeSync(fd);
  }
}

function statOrNull(path: string) {
  try {
    return lstatSync(path);
  } catch (cause) {
    if (cause instanceof Error && "code" in cause && cause.code === "ENOENT") return null;
    throw ioError(cause, path);
  }
}

function intoHubBlobs(folder: string, path: string): boolean {
  try {
    const snapshots = dirname(realpathSync(folder));
    return basename(snapshots) === "snapshots" && dirname(realpathSync(path)) === join(dirname(snapshots), "blobs");
  } catch {
    return false;
  }
}
