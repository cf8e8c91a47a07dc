/**
 * @file Files of weights that were made from a checkpoint, in the cache.
 *
 * In: the start of a file's name, which says what it is made from, and its tensors. Out: one safetensors file, complete or not at all. Its
 * name ends in the sha256 of its bytes, by which it is checked; a file that does not have it is removed. Two processes that make the same
 * file write the same bytes.
 */
import { randomBytes } from "node:crypto";
import { open, readdir, rm } from "node:fs/promises";
import { join } from "node:path";
import { type CacheRemoval, makeRoomFor, markUsed } from "../base/cache-limit.js";
import { hashFile } from "../base/digest.js";
import { interrupted } from "../base/errors.js";
import { checkRoom, ioError, makeCacheFolder, ownCache, renameFile } from "../base/files.js";
import { isRunning } from "../base/lock.js";
import { type DType, dtypes, size } from "../base/tensor.js";
import type { TensorSpan } from "./checkpoint.js";
import { safetensorsLayout } from "./safetensors.js";

/** A tensor of a file. */
export interface KeptTensor {
  readonly name: string;
  readonly dtype: DType;
  readonly shape: readonly number[];
}

/** What a file contains. */
export interface KeptContent {
  readonly tensors: readonly KeptTensor[];
  readonly metadata: Readonly<Record<string, string>>;
}

/** Reports while a file is made: 0 done before the first byte is written, so that the size is known beforehand. */
export interface MakingOptions {
  readonly onProgress?:
    | ((progress: { readonly folder: string; readonly done: number; readonly total: number }) => void)
    | undefined;
  /** Called before weights that were unused longest are removed. */
  readonly onRemove?: ((removal: CacheRemoval) => void) | undefined;
  /** Bytes that the cache may take. Default `cacheLimit()`. */
  readonly limit?: number | undefined;
  readonly signal?: AbortSignal | undefined;
}

const end = ".safetensors";
const workPrefix = ".making-";

/**
 * A file of the cache with this start whose bytes have the sha256 of its name; files that have not are removed. It stays while this process
 * lives, whatever else the cache has to make room for.
 */
export async function findKept(folder: string, start: string): Promise<string | null> {
  const names = await readdir(folder).catch(() => []);
  for (const name of names.filter((n) => n.startsWith(start) && n.endsWith(end)).sort()) {
    const path = join(folder, name);
    markUsed(path); // before it is read, which may take long
    if (name === `${start}${await hashFile(path)}${end}`) return path;
    await rm(path, { force: true });
  }
  return null;
}

/** The sha256 in a file's name. */
export const keptSha256 = (path: string): string => path.slice(path.lastIndexOf("-") + 1, -end.length);

/** Where everything lies in a file, and its header. */
export function keptLayout({ tensors, metadata }: KeptContent, path: string) {
  const { header, order } = safetensorsLayout(tensors, metadata);
  const spans = new Map<string, TensorSpan>();
  let at = header.length;
  for (const { name, dtype, shape } of order) {
    const length = size(shape) * dtypes[dtype].bytes;
    spans.set(name, { name, dtype, shape, file: path, offset: at, length });
    at += length;
  }
  return { header, spans, end: at };
}

/**
 * Makes a file. @param fill writes every tensor, in any order; a tensor may come in parts, each `from` a byte of it
 * @returns its path.
 * @throws SoftpromptError "io" (room, rights), "interrupted"; what `fill` throws.
 */
export async function makeKept(
  folder: string,
  start: string,
  content: KeptContent,
  {
    onProgress,
    onRemove,
    limit,
    signal,
    what,
    where,
  }: MakingOptions & { readonly what: string; readonly where: string },
  fill: (put: (name: string, bytes: Uint8Array, from?: number) => Promise<void>) => Promise<void>,
): Promise<string> {
  makeCacheFolder(folder, ownCache);
  await clearLeftovers(folder);
  const work = join(folder, `${workPrefix}${process.pid}-${randomBytes(4).toString("hex")}`);
  const { header, spans, end: total } = keptLayout(content, work);
  makeRoomFor(folder, total, { what, limit, onRemove });
  await checkRoom(folder, total, { what, whose: "the cache", variable: "SOFTPROMPT_CACHE" });
  onProgress?.({ folder, done: 0, total });
  try {
    const file = await open(work, "wx");
    try {
      await file.write(header, 0, header.length, 0);
      let done = header.length;
      await fill(async (name, bytes, from = 0) => {
        if (signal?.aborted)
          throw interrupted(signal, `the making of ${what} was stopped`, { where, hint: "run the same command again" });
        const { offset } = spans.get(name)!;
        for (let at = 0; at < bytes.length; )
          at += (await file.write(bytes, at, bytes.length - at, offset + from + at)).bytesWritten;
        done += bytes.length;
        onProgress?.({ folder, done, total });
      });
      await file.sync();
    } finally {
      await file.close();
    }
    const path = join(folder, `${start}${await hashFile(work, { cache: null })}${end}`);
    markUsed(path);
    renameFile(work, path);
    return path;
  } catch (cause) {
    await rm(work, { force: true }).catch(() => {});
    throw ioError(cause, work);
  }
}

/** Removes files of processes that died while they made them. */
async function clearLeftovers(folder: string): Promise<void> {
  for (const name of (await readdir(folder).catch(() => [])).filter((n) => n.startsWith(workPrefix)))
    if (!isRunning(Number(name.slice(workPrefix.length).split("-")[0])))
      await rm(join(folder, name), { force: true }).catch(() => {});
}
