/**
 * @file The limit of what is made from models and kept in the cache: what was unused longest is removed first.
 *
 * In: a folder, and the bytes that come into it. Out: room for them, or SoftpromptError "io". Entries are files, or folders of files, whose
 * name begins with the sha256 of what they were made from; nothing else is ever removed. What a living process uses stays.
 * An entry's use is kept in a mark beside it, `.used-PID-NAME`: its time says when, its process who. The entry's own time is left as it is,
 * because remembered digests depend on it (digest.ts).
 */
import * as fs from "node:fs";
import { basename, dirname, join } from "node:path";
import { cacheFolder } from "./digest.js";
import { SoftpromptError } from "./errors.js";
import { isRunning } from "./lock.js";

/** Folders of the cache whose entries share one limit. */
const limited = ["gguf", "int8", "blocks"] as const;
const gib = 2 ** 30;
/** Our choice: a model of seven billion parameters takes 14 GiB in 8 bits or converted. */
const defaultGib = 100;
const variable = "SOFTPROMPT_CACHE_LIMIT";

/** Bytes that may lie in the limited folders together: $SOFTPROMPT_CACHE_LIMIT in GiB, else 100 GiB. @throws SoftpromptError "usage". */
export function cacheLimit(env: NodeJS.ProcessEnv = process.env): number {
  const given = env[variable];
  if (!given) return defaultGib * gib;
  if (!/^\d{1,9}(\.\d{1,20})?$/.test(given))
    throw new SoftpromptError("usage", "the limit of the cache is not a number", {
      where: variable,
      expected: "GiB, such as 20 or 0.5",
      got: given.slice(0, 100),
    });
  return Number(given) * gib;
}

/** What may be removed. */
export interface CacheEntry {
  readonly path: string;
  readonly bytes: number;
  /** When it was used last, in milliseconds. */
  readonly time: number;
}

/** What is about to be removed. */
export interface CacheRemoval {
  readonly paths: readonly string[];
  readonly bytes: number;
  /** Bytes of the limit. */
  readonly limit: number;
}

/** How room is made. */
export interface RoomOptions {
  /** What the room is for. */
  readonly what: string;
  /** Bytes. Default `cacheLimit()`. */
  readonly limit?: number | undefined;
  /** Called before something is removed. */
  readonly onRemove?: ((removal: CacheRemoval) => void) | undefined;
}

/**
 * Removes entries that were unused longest, until `need` bytes more stay within the limit.
 * @throws SoftpromptError "io" where they cannot: too many, or too much of the rest is in use.
 */
export function makeRoomFor(folder: string, need: number, { what, limit = cacheLimit(), onRemove }: RoomOptions): void {
  const entries = foldersBeside(folder).flatMap(entriesOf);
  const held = sum(entries.filter(({ inUse }) => inUse));
  if (held + need > limit)
    throw new SoftpromptError("io", `${what} would take more room than the cache may`, {
      where: folder,
      expected: `at most ${limit} bytes`,
      got: held === 0 ? need : `${need}, and ${held} that are in use`,
      hint: `set ${variable} to more GiB`,
    });
  const chosen = oldest(entries, limit - need);
  if (chosen.length === 0) return;
  onRemove?.({ paths: chosen.map(({ path }) => path), bytes: sum(chosen), limit });
  removeEntries(chosen.map(({ path }) => path));
  removeEntries(chosen.flatMap(({ marks }) => marks.map(({ path }) => path)));
}

/** The entries that were unused longest and whose removal leaves at most `most` bytes of all. */
export function oldest<E extends CacheEntry & { readonly inUse?: boolean }>(
  entries: readonly E[],
  most: number,
): readonly E[] {
  let left = sum(entries);
  const chosen: E[] = [];
  for (const entry of entries.filter(({ inUse }) => !inUse).sort((a, b) => a.time - b.time)) {
    if (left <= most) break;
    chosen.push(entry);
    left -= entry.bytes;
  }
  return chosen;
}

/** Says that this process uses an entry, so that it stays while the process lives. A folder that may not be written only loses this. */
export function markUsed(path: string): void {
  const [folder, name] = [dirname(path), basename(path)];
  try {
    const isOver = ({ of, process: id }: Mark) => !isRunning(id) && (of === name || !fs.existsSync(join(folder, of)));
    const earlier = marksIn(folder).filter(isOver);
    fs.writeFileSync(join(folder, `${markPrefix}${process.pid}-${name}`), "");
    for (const mark of earlier) fs.rmSync(mark.path, { force: true });
  } catch {
    // a cache that others may only read
  }
}

const markPrefix = ".used-";

interface Mark {
  readonly path: string;
  /** Name of the entry. */
  readonly of: string;
  readonly process: number;
}

function marksIn(folder: string): readonly Mark[] {
  return list(folder).flatMap((name) => {
    const [, id, of] = /^\.used-(\d+)-(.+)$/.exec(name) ?? [];
    return of === undefined ? [] : [{ path: join(folder, name), of, process: Number(id) }];
  });
}

interface Marked extends CacheEntry {
  readonly inUse: boolean;
  readonly marks: readonly Mark[];
}

function entriesOf(folder: string): readonly Marked[] {
  const marks = marksIn(folder);
  return list(folder)
    .filter((name) => /^[0-9a-f]{64}-/.test(name))
    .flatMap((name) => {
      const path = join(folder, name);
      const found = entryOf(path);
      if (found === null) return [];
      const own = marks.filter((mark) => mark.of === name);
      const times = own.map((mark) => fs.statSync(mark.path, { throwIfNoEntry: false })?.mtimeMs ?? 0);
      const inUse = own.some((mark) => isRunning(mark.process));
      return [{ ...found, time: Math.max(found.time, ...times), inUse, marks: own }];
    });
}

/** A file, or a folder with its files; null for anything else, and for what is gone. */
export function entryOf(path: string): CacheEntry | null {
  const found = fs.lstatSync(path, { throwIfNoEntry: false });
  if (found?.isFile()) return { path, bytes: found.size, time: found.mtimeMs };
  if (!found?.isDirectory()) return null;
  const files = list(path).flatMap((name) => fs.lstatSync(join(path, name), { throwIfNoEntry: false }) ?? []);
  return { path, bytes: files.reduce((bytes, { size }) => bytes + size, 0), time: found.mtimeMs };
}

/** Removes what may be removed; the rest is passed over. @returns the paths that are gone */
export function removeEntries(paths: readonly string[]): readonly string[] {
  return paths.filter((path) => {
    try {
      fs.rmSync(path, { recursive: true, force: true });
      return true;
    } catch {
      return false;
    }
  });
}

/** All folders that share the limit with one. */
function foldersBeside(folder: string): readonly string[] {
  const cache = cacheFolder();
  const all = cache === null ? [] : limited.map((name) => join(cache, name));
  return all.includes(folder) ? all : [folder];
}

const sum = (entries: readonly CacheEntry[]) => entries.reduce((bytes, entry) => bytes + entry.bytes, 0);

function list(folder: string): string[] {
  try {
    return fs.readdirSync(folder);
  } catch {
    return [];
  }
}
