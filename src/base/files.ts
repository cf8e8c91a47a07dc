/**
 * @file Durable file operations: a write is complete or has no effect, and writes keep their order. Also hashes of bytes.
 *
 * In: paths and bytes. Out: files on disk, or SoftpromptError "io" (no space, no permission).
 * A durable write is: temp file in the same folder, write, fsync, rename over the old name, fsync of the folder. A process that dies in
 * between leaves the old file whole, and at most a temp file, which `removeLeftovers` (lock.ts) removes.
 * Tests replace `FileOps` by operations that fail or stop at a chosen byte.
 */
import { createHash, randomBytes } from "node:crypto";
import * as fs from "node:fs";
import { tmpdir } from "node:os";
import { basename, dirname, join } from "node:path";
import { type ErrorKind, SoftpromptError } from "./errors.js";

/**
 * Refuses a work that the disk has no room for; does nothing where the system does not tell the free space.
 * @param about what the room is for, whose disk it is, and the variable that names another folder
 * @throws SoftpromptError "io".
 */
export async function checkRoom(
  folder: string,
  need: number,
  { what, whose, variable }: { readonly what: string; readonly whose: string; readonly variable: string },
): Promise<void> {
  const disk = await fs.promises.statfs(folder).catch(() => null);
  if (disk && disk.bavail * disk.bsize < need)
    throw new SoftpromptError("io", `the disk of ${whose} is too full for ${what}`, {
      where: folder,
      expected: `${need} bytes free`,
      got: disk.bavail * disk.bsize,
      hint: `free some space, or set ${variable} to a folder on another disk`,
    });
}

/** The few operations a durable write is made of; node:fs has them all under these names. */
export interface FileOps {
  openSync(path: string, flags: string): number;
  writeSync(fd: number, bytes: Uint8Array, offset: number, length: number): number;
  fsyncSync(fd: number): void;
  closeSync(fd: number): void;
  renameSync(from: string, to: string): void;
  unlinkSync(path: string): void;
  truncateSync(path: string, length: number): void;
  mkdirSync(path: string): void;
}

/** The operating system's own. */
export const diskOps: FileOps = fs;

/**
 * Writes a whole file durably: afterwards `path` holds exactly `content`, or (on any failure or death) what it held before.
 * The folder is made if need be. @throws SoftpromptError "io".
 */
export function writeFileAtomic(path: string, content: string | Uint8Array, ops: FileOps = diskOps): void {
  const folder = dirname(path);
  const temp = join(folder, `.${basename(path)}.${process.pid}-${randomBytes(4).toString("hex")}.tmp`);
  try {
    makeFolder(folder, ops);
    writeAndSync(temp, "wx", bytesOf(content), ops);
    ops.renameSync(temp, path);
    syncFolder(folder, ops);
  } catch (cause) {
    quietly(() => ops.unlinkSync(temp));
    throw ioError(cause, path);
  }
}

/**
 * Makes a folder and those above it; nothing happens where it exists already. It makes one level at a time, because Node's recursive mkdir
 * never returns where folders cannot be made (/proc). @throws SoftpromptError "io".
 */
export function makeFolder(path: string, ops: FileOps = diskOps): void {
  if (isFolder(path)) return;
  const above = dirname(path);
  if (above !== path) makeFolder(above, ops);
  try {
    ops.mkdirSync(path);
  } catch (cause) {
    if (isFolder(path)) return; // another process made it meanwhile
    if (code(cause) === "ENOENT" || code(cause) === "EEXIST")
      throw new SoftpromptError("io", "no folder can be made here", {
        where: path,
        got: code(cause) === "EEXIST" ? "a file of this name" : undefined,
        hint: "choose another folder",
        cause,
      });
    throw ioError(cause, path);
  }
}

/** A folder that the user did not name: whose it is, and the variable that names another. */
export interface CachePlace {
  readonly whose: string;
  readonly variable: string;
}

/** What is made from models. */
export const ownCache: CachePlace = { whose: "softprompt's cache folder", variable: "SOFTPROMPT_CACHE" };
/** Files of hubs. */
export const hubCache: CachePlace = { whose: "the hub's cache folder", variable: "HF_HOME" };

/** Makes a folder of a cache, as makeFolder does. @throws SoftpromptError "io" that says whose folder it is, and how to choose another. */
export function makeCacheFolder(path: string, { whose, variable }: CachePlace): void {
  try {
    makeFolder(path);
    fs.accessSync(path, fs.constants.W_OK);
  } catch (cause) {
    const known = ioError(cause, path);
    if (!(known instanceof SoftpromptError)) throw known;
    throw new SoftpromptError("io", `${whose} cannot be written`, {
      where: path,
      got: known.problem,
      hint: `set ${variable} to a folder that may be written`,
      cause,
    });
  }
}

/**
 * Appends at the end of a file, made if need be, without waiting for the disk unless `sync`. A process that dies while it writes can leave
 * a part of `content` at the end, so readers read only up to a length they know. @throws SoftpromptError "io".
 */
export function appendFile(path: string, content: string | Uint8Array, ops: FileOps = diskOps, sync = false): void {
  try {
    writeAndSync(path, "a", bytesOf(content), ops, sync);
  } catch (cause) {
    throw ioError(cause, path);
  }
}

/** Waits until a file's bytes are on the disk; nothing happens where there is no such file. @throws SoftpromptError "io". */
export function syncFile(path: string, ops: FileOps = diskOps): void {
  try {
    const fd = ops.openSync(path, "r+");
    try {
      ops.fsyncSync(fd);
    } finally {
      ops.closeSync(fd);
    }
  } catch (cause) {
    if (code(cause) !== "ENOENT") throw ioError(cause, path);
  }
}

/** Cuts a file at `length` bytes, durably. @throws SoftpromptError "io". */
export function truncateFile(path: string, length: number, ops: FileOps = diskOps): void {
  try {
    ops.truncateSync(path, length);
  } catch (cause) {
    throw ioError(cause, path);
  }
  syncFile(path, ops);
}

/** Renames within one folder, durably. @throws SoftpromptError "io". */
export function renameFile(from: string, to: string, ops: FileOps = diskOps): void {
  try {
    ops.renameSync(from, to);
    syncFolder(dirname(to), ops);
  } catch (cause) {
    throw ioError(cause, from);
  }
}

/** Removes a file; no effect if it does not exist. @throws SoftpromptError "io". */
export function removeFile(path: string, ops: FileOps = diskOps): void {
  try {
    ops.unlinkSync(path);
  } catch (cause) {
    if (code(cause) !== "ENOENT") throw ioError(cause, path);
  }
}

/** Names in a folder, sorted; [] where there is no such folder. @throws SoftpromptError "io". */
export function listFolder(folder: string): string[] {
  try {
    return fs.readdirSync(folder).sort();
  } catch (cause) {
    if (code(cause) === "ENOENT") return [];
    throw ioError(cause, folder);
  }
}

/**
 * Refuses a name in a folder that is a link, a pipe or a device: an untrusted folder must not make us write elsewhere, or wait.
 * @throws SoftpromptError "run", "io".
 */
export function refuseLink(path: string): void {
  let found: fs.Stats | undefined;
  try {
    found = fs.lstatSync(path, { throwIfNoEntry: false });
  } catch (cause) {
    throw ioError(cause, path);
  }
  if (found?.isSymbolicLink())
    throw new SoftpromptError("run", "this is a link, not a file of the folder's own", {
      where: path,
      hint: "writing through it could change files elsewhere; put the file itself there",
    });
  if (found && !found.isFile() && !found.isDirectory())
    throw new SoftpromptError("run", "this is not a regular file", {
      where: path,
      expected: "a file or a folder",
      got: "a pipe or device",
    });
}

/**
 * The path of a folder within `root` that we write into; none of the names on the way may be a link. The root itself may be one: it is
 * the user's own choice, its content may be untrusted.
 * @throws SoftpromptError "run", "io".
 */
export function ownFolder(root: string, ...names: string[]): string {
  return names.reduce((folder, name) => {
    const next = join(folder, name);
    refuseLink(next);
    return next;
  }, root);
}

/** Bytes above which a file is not read whole, unless the caller knows better. */
const mostBytes = 256 * 2 ** 20;

/**
 * Reads a file of an untrusted folder, as withFile opens it.
 * @returns null where there is no such file. @throws SoftpromptError of `kind` for anything but a regular file within the limit; "io".
 */
export function readWhole(path: string, kind: ErrorKind, most: number = mostBytes): Buffer | null {
  return withFile(
    path,
    kind,
    (fd, size) => {
      const bytes = Buffer.alloc(size);
      for (let done = 0; done < bytes.length; ) {
        const read = fs.readSync(fd, bytes, done, bytes.length - done, done);
        if (read === 0)
          throw new SoftpromptError(kind, "the file became shorter while it was read", {
            where: path,
            expected: `${bytes.length} bytes`,
            got: `${done}`,
          });
        done += read;
      }
      return bytes;
    },
    most,
  );
}

/**
 * Opens a file of an untrusted folder for reading: a regular file (links are followed, pipes and devices refused) of bounded size.
 * The file is opened first and checked afterwards, so that the checked file is the one that is read. open() does not block on a pipe.
 *
 * @returns what `use` gives; null where there is no such file.
 * @throws SoftpromptError of `kind` for anything but a regular file within the limit; "io".
 */
export function withFile<R>(
  path: string,
  kind: ErrorKind,
  use: (fd: number, size: number) => R,
  most: number = mostBytes,
): R | null {
  const refuse = (problem: string, expected: string, got: string) =>
    new SoftpromptError(kind, problem, { where: path, expected, got });
  let fd: number | null = null;
  try {
    fd = fs.openSync(path, fs.constants.O_RDONLY | (fs.constants.O_NONBLOCK ?? 0));
    const opened = fs.fstatSync(fd);
    if (!opened.isFile()) throw refuse("this is not a regular file", "a regular file", "a folder, pipe or device");
    if (opened.size > most) throw refuse("this file is too large", `at most ${most} bytes`, `${opened.size} bytes`);
    return use(fd, opened.size);
  } catch (cause) {
    if (code(cause) === "ENOENT") return null;
    throw ioError(cause, path);
  } finally {
    if (fd !== null) fs.closeSync(fd);
  }
}

/** sha256 of bytes or text, in hex. */
export function sha256(content: string | Uint8Array): string {
  return createHash("sha256").update(content).digest("hex");
}

/** Turns an error of the file system into a SoftpromptError; all other errors pass unchanged. */
export function ioError(cause: unknown, where: string): unknown {
  const reason = code(cause);
  if (cause instanceof SoftpromptError || reason === undefined) return cause;
  const known = ioProblems[reason as keyof typeof ioProblems];
  return new SoftpromptError("io", known?.problem ?? `the file system refused (${reason})`, {
    where,
    hint: known?.hint,
    cause,
  });
}

const ioProblems = {
  ENOSPC: { problem: "no space is left on the device", hint: "free some space; what was there before is still whole" },
  EDQUOT: { problem: "the disk quota is used up", hint: "free some space; what was there before is still whole" },
  EACCES: { problem: "permission denied", hint: "check the owner and mode of the file and its folder" },
  EPERM: { problem: "not permitted", hint: "check the owner and mode of the file and its folder" },
  EROFS: { problem: "the file system is read-only", hint: "choose a folder on another disk" },
  ENOENT: { problem: "no such file or folder", hint: undefined },
  ENOTDIR: { problem: "a part of the path is a file, not a folder", hint: undefined },
  EISDIR: { problem: "this is a folder, not a file", hint: undefined },
  EMFILE: { problem: "too many files are open", hint: "raise the limit (ulimit -n)" },
  EIO: { problem: "the device reported an input/output error", hint: "check the disk" },
} as const;

function bytesOf(content: string | Uint8Array): Uint8Array {
  return typeof content === "string" ? Buffer.from(content, "utf8") : content;
}

function writeAndSync(path: string, flags: string, bytes: Uint8Array, ops: FileOps, sync = true): void {
  const fd = ops.openSync(path, flags);
  try {
    for (let done = 0; done < bytes.length; ) done += ops.writeSync(fd, bytes, done, bytes.length - done);
    if (sync) ops.fsyncSync(fd);
  } finally {
    ops.closeSync(fd);
  }
}

/** A rename is durable once its folder is synced. Windows cannot open a folder and does not need this. */
function syncFolder(folder: string, ops: FileOps): void {
  if (process.platform === "win32") return;
  const fd = ops.openSync(folder, "r");
  try {
    ops.fsyncSync(fd);
  } catch (cause) {
    if (code(cause) !== "EINVAL" && code(cause) !== "ENOTSUP") throw cause;
  } finally {
    ops.closeSync(fd);
  }
}

function isFolder(path: string): boolean {
  try {
    return fs.statSync(path).isDirectory();
  } catch {
    return false;
  }
}

function quietly(action: () => void): void {
  try {
    action();
  } catch {
    // the first error is the one to report
  }
}

function code(cause: unknown): string | undefined {
  return cause instanceof Error && "code" in cause && typeof cause.code === "string" ? cause.code : undefined;
}

/** Runs work that was given no folder in a temporary folder, which is removed afterwards. */
export async function withFolder<R>(folder: string | null, use: (folder: string) => Promise<R>): Promise<R> {
  if (folder !== null) return use(folder);
  const temporary = fs.mkdtempSync(join(tmpdir(), "softprompt-"));
  try {
    return await use(temporary);
  } finally {
    fs.rmSync(temporary, { recursive: true, force: true });
  }
}
