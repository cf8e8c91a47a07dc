/**
 * @file Reading an untrusted adapter folder: bounded sizes, regular files of this folder only.
 *
 * In: folder, file name of ours (a file's content never names another file to open). Out: bytes, or null where absent.
 */
import { lstatSync, realpathSync } from "node:fs";
import { basename, dirname, join } from "node:path";
import { SoftpromptError } from "../base/errors.js";
import { ioError, readWhole } from "../base/files.js";

/**
 * Reads one file of the folder whole. Symbolic links are refused, except the Hugging Face cache's own, which lead from
 * `…/snapshots/<revision>/name` to `…/blobs/<hash>` beside it.
 * @returns null where there is no such file. @throws SoftpromptError "adapter", "io".
 */
export function readAdapterFile(folder: string, name: string, mostBytes: number): Uint8Array | null {
  const path = join(folder, name);
  const stat = statOrNull(path);
  if (stat === null) return null;
  if (stat.isSymbolicLink() && !intoHubBlobs(folder, path))
    throw new SoftpromptError("adapter", "this file is a symbolic link that leaves the adapter", {
      where: path,
      expected: "a regular file",
      got: "a link",
    });
  return readWhole(path, "adapter", mostBytes);
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
