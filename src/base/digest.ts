/**
 * @file sha256 of files. Digests of large files are cached, so that a three-gigabyte checkpoint is not hashed by each command.
 *
 * In: a path. Out: hex digest. Digests of large files are kept in the user's cache folder. The cache key is real path, size, inode and
 * modification time. A cache that cannot be read or written only costs time.
 */
import { createHash } from "node:crypto";
import { createReadStream } from "node:fs";
import { readFile, realpath, rename, stat, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { SoftpromptError } from "./errors.js";
import { ioError, makeFolder } from "./files.js";
import { cacheHome, expandPath } from "./home.js";

/** Files below this are hashed every time: it takes well under a second. */
const rememberFrom = 256 * 1024 * 1024;

export interface HashOptions {
  /** Hash the bytes even if the digest is remembered. Default false. */
  fresh?: boolean;
  /** Folder of remembered digests; null remembers nothing. Default `cacheFolder()/sha256`. */
  cache?: string | null;
  /** Smallest file to remember, in bytes. Default 256 MiB. */
  from?: number;
}

/** Our cache folder: $SOFTPROMPT_CACHE, else $XDG_CACHE_HOME/softprompt, else ~/.cache/softprompt; null where there is no home. */
export function cacheFolder(env: NodeJS.ProcessEnv = process.env): string | null {
  if (env.SOFTPROMPT_CACHE) return expandPath(env.SOFTPROMPT_CACHE, env);
  const home = cacheHome(env);
  return home === null ? null : join(home, "softprompt");
}

/** A folder of the cache for what cannot be done without. @throws SoftpromptError "io" where this user has no cache. */
export function cacheFor(name: string, what: string): string {
  const cache = cacheFolder();
  if (cache !== null) return join(cache, name);
  throw new SoftpromptError("io", `this user has no home folder for ${what}`, {
    where: `cache of ${what}`,
    hint: "set SOFTPROMPT_CACHE to a folder that may be written",
  });
}

function digestFolder(): string | null {
  const folder = cacheFolder();
  return folder === null ? null : join(folder, "sha256");
}

/** sha256 of a file, in hex. @throws SoftpromptError "io" for a file that is not there or cannot be read. */
export async function hashFile(path: string, options: HashOptions = {}): Promise<string> {
  const found = async <T>(of: Promise<T>): Promise<T> => {
    try {
      return await of;
    } catch (cause) {
      throw ioError(cause, path);
    }
  };
  const real = await found(realpath(path));
  const { size, ino, mtimeNs } = await found(stat(real, { bigint: true }));
  const cache = options.cache === undefined ? digestFolder() : options.cache;
  if (cache === null || size < BigInt(options.from ?? rememberFrom)) return hashBytes(real);
  const key = createHash("sha256").update(`${real}\n${size}\n${ino}\n${mtimeNs}`).digest("hex");
  const place = join(cache, key);
  if (!options.fresh) {
    const known = await readFile(place, "utf8").catch(() => "");
    if (/^[0-9a-f]{64}$/.test(known)) return known;
  }
  const digest = await hashBytes(real);
  const temporary = `${place}.${process.pid}`;
  await Promise.resolve()
    .then(() => makeFolder(cache))
    .then(() => writeFile(temporary, digest))
    .then(() => rename(temporary, place))
    .catch(() => undefined);
  return digest;
}

async function hashBytes(path: string): Promise<string> {
  const hash = createHash("sha256");
  try {
    for await (const chunk of createReadStream(path, { highWaterMark: 1 << 20 })) hash.update(chunk as Uint8Array);
  } catch (cause) {
    throw ioError(cause, path);
  }
  return hash.digest("hex");
}
