/**
 * @file Watches a folder whose subfolders are adapters: new ones are loaded, changed ones are loaded again, removed ones are taken out.
 *
 * In: a folder, and functions that add and remove. Out: their calls, once a second. A subfolder is loaded only if it has not changed for a
 * whole interval, so a half-written one is not loaded. A link that leaves the folder is not followed. An adapter that cannot be loaded is
 * reported once, and the previous one stays.
 */
import { lstatSync, readdirSync, realpathSync, type Stats } from "node:fs";
import { join, sep } from "node:path";
import { adapterFolders } from "../adapter/adapter.js";

/** What to do with adapters. */
export interface WatchTarget {
  add(name: string, folder: string): Promise<unknown>;
  remove(name: string): void;
  notice(message: string): void;
  /** Names that are already used; the folder may not replace them. */
  taken(name: string): boolean;
}

/** Names that an adapter may have in requests. */
export const adapterName = /^[A-Za-z0-9][\w.-]{0,63}$/;
/** Milliseconds between two checks. */
export const lookEvery = 1000;
/** Most subfolders that are checked. */
const mostFolders = 10_000;

/** Checks once. Returned by openWatch, also for tests. */
export type Look = () => Promise<void>;

/** Watches a folder until `close`. The first adapters are loaded when it returns. */
export async function openWatch(
  folder: string,
  target: WatchTarget,
  every: number = lookEvery,
): Promise<{ look: Look; close(): Promise<void> }> {
  /** State by name: at the last check, and when it was loaded or refused. */
  const seen = new Map<string, string>();
  const done = new Map<string, string>();
  const loaded = new Set<string>();
  const told = new Set<string>();
  const once = (message: string) => {
    if (told.size < mostFolders && !told.has(message)) target.notice(message);
    told.add(message);
  };
  let closed = false;
  const look = async (settled = false): Promise<void> => {
    const now = signatures(folder, once);
    // if the folder cannot be read for a moment (a lost network share), nothing is removed
    if (now === null) return;
    for (const name of loaded)
      if (!now.has(name)) {
        loaded.delete(name);
        done.delete(name);
        target.remove(name);
        target.notice(`adapter ${name} is gone and was taken out`);
      }
    for (const [name, signature] of now) {
      if (closed) return;
      const quiet = settled || seen.get(name) === signature;
      seen.set(name, signature);
      if (!quiet || done.get(name) === signature) continue;
      done.set(name, signature);
      if (!loaded.has(name) && target.taken(name)) {
        once(`adapter ${name} of ${folder} is left out: the name was given on the command line`);
        continue;
      }
      try {
        await target.add(name, join(folder, name));
        target.notice(`adapter ${name} was ${loaded.has(name) ? "replaced" : "added"}`);
        loaded.add(name);
      } catch (error) {
        target.notice(
          `adapter ${name} was not taken: ${(error instanceof Error ? error.message : String(error)).replaceAll(/\n\s*/g, "; ")}`,
        );
      }
    }
    for (const name of [...seen.keys()]) if (!now.has(name)) seen.delete(name);
  };
  let turn = look(true);
  await turn;
  const timer = setInterval(() => {
    turn = turn.then(() => (closed ? undefined : look()));
  }, every);
  timer.unref();
  return {
    look,
    async close() {
      closed = true;
      clearInterval(timer);
      await turn;
    },
  };
}

/** Each adapter's files with their sizes and times. */
function signatures(folder: string, tell: (message: string) => void): Map<string, string> | null {
  const found = new Map<string, string>();
  let root: string;
  let names: string[];
  try {
    root = realpathSync(folder);
    names = readdirSync(root).sort().slice(0, mostFolders);
  } catch (error) {
    tell(`${folder} cannot be read: ${(error as Error).message}`);
    return null;
  }
  for (const name of names) {
    if (name.startsWith(".")) continue;
    const path = join(root, name);
    try {
      const stat = lstatSync(path);
      if (!stat.isDirectory() && !stat.isSymbolicLink()) continue;
      if (!adapterName.test(name)) {
        tell(`${path} is left out: an adapter's name has letters, digits, dots, dashes and underscores only`);
        continue;
      }
      if (stat.isSymbolicLink() && !realpathSync(path).startsWith(root + sep)) {
        tell(`${path} is left out: it is a link that leaves the folder`);
        continue;
      }
      const files = adapterFolders(path).flatMap((place) => filesOf(place));
      if (files.length > 0) found.set(name, files.join("\n"));
    } catch {
      // removed between two calls: the next check handles it
    }
  }
  return found;
}

function filesOf(place: string): string[] {
  try {
    return readdirSync(place)
      .filter((name) => /\.(json|safetensors|bin)$/.test(name))
      .sort()
      .map((name) => `${name} ${of(lstatSync(join(place, name)))}`);
  } catch {
    return [];
  }
}

const of = ({ size, mtimeMs, ino }: Stats) => `${size} ${mtimeMs} ${ino}`;
