/**
 * @file Watches a folder whose subfolders are adapters: new ones are loaded, changed ones are loaded again, removed ones are taken out.
 *
 * In: a folder, and functions that add and remove. Out: their calls, once a second. A subfolder is loaded only if it has not changed for a
 * whole interval, so a half-written one is not loaded. A link that leaves the folder is not followed. An adapter that cannot be loaded is
 * reported once, and the previous one stays; it is tried again when its files change, or, where the reason was not in them, after a while.
 */
import { lstatSync, readdirSync, realpathSync, type Stats } from "node:fs";
import { join, sep } from "node:path";
import { adapterFolders } from "../adapter/adapter.js";
import { appliedFile } from "../adapter/applied.js";
import { extrasFile } from "../adapter/extras.js";
import { peftFiles } from "../adapter/peft.js";
import { SoftpromptError } from "../base/errors.js";

/** What to do with adapters. */
export interface WatchTarget {
  add(name: string, folder: string): Promise<unknown>;
  remove(name: string): void;
  notice(message: string): void;
  /** Names that are already used; the folder may not replace them. */
  taken(name: string): boolean;
  /** Whether an adapter that was added is still there: it may be lost when the engine is opened again. */
  has(name: string): boolean;
}

/** Names that an adapter may have in requests. */
export const adapterName = /^[A-Za-z0-9][\w.-]{0,63}$/;
/** Milliseconds between two checks. */
export const lookEvery = 1000;
/** Most subfolders that are checked. */
const mostFolders = 10_000;

/** Kinds of failure that stay until the files change. Others pass: an engine that died, a disk or a hub that did not answer. */
const lasting: ReadonlySet<string> = new Set(["adapter", "data"]);
/** Most checks that are left out before an adapter is tried again. */
const mostPause = 256;

/** An adapter that was not loaded for a passing reason. */
interface Failing {
  /** Its files then. */
  readonly signature: string;
  /** What was told of it. */
  readonly message: string;
  /** Checks that are left out before the next try. */
  readonly pause: number;
  /** Those of them that are left. */
  wait: number;
}

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
  const failing = new Map<string, Failing>();
  const told = new Set<string>();
  const once = (message: string) => {
    if (told.size < mostFolders && !told.has(message)) target.notice(message);
    told.add(message);
  };
  let closed = false;
  /** Whether it failed with these files, and its pause is not over. */
  const waits = (name: string, signature: string): boolean => {
    const failed = failing.get(name);
    return failed?.signature === signature && failed.wait-- > 0;
  };
  const load = async (name: string, signature: string): Promise<void> => {
    try {
      await target.add(name, join(folder, name));
      target.notice(`adapter ${name} was ${loaded.has(name) ? "replaced" : "added"}`);
      loaded.add(name);
      done.set(name, signature);
      failing.delete(name);
    } catch (error) {
      const before = failing.get(name);
      const why = (error instanceof Error ? error.message : String(error)).replaceAll(/\n\s*/g, "; ");
      const message = `adapter ${name} was not taken: ${why}`;
      if (before?.signature !== signature || before.message !== message) target.notice(message);
      if (error instanceof SoftpromptError && lasting.has(error.kind)) {
        done.set(name, signature);
        failing.delete(name);
        return;
      }
      const pause = before?.signature === signature ? Math.min(mostPause, 2 * before.pause) : 1;
      failing.set(name, { signature, message, wait: pause, pause });
    }
  };
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
      } else if (!target.has(name)) {
        loaded.delete(name);
        done.delete(name);
      }
    for (const [name, signature] of now) {
      if (closed) return;
      const quiet = settled || seen.get(name) === signature;
      seen.set(name, signature);
      if (!quiet || done.get(name) === signature || waits(name, signature)) continue;
      if (!loaded.has(name) && target.taken(name)) {
        done.set(name, signature);
        once(`adapter ${name} of ${folder} is left out: the name was given on the command line`);
        continue;
      }
      await load(name, signature);
    }
    for (const name of [...failing.keys()]) if (!now.has(name)) failing.delete(name);
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
      // a link may stand for a folder, for the adapter of a run, and for a file
      const entries = adapterFolders(path).flatMap((place) => entriesOf(place));
      const away = entries.find((entry) => leaves(root, entry));
      if (away !== undefined) {
        tell(`${path} is left out: ${away.path === path ? "it" : away.path} is a link that leaves the folder`);
        continue;
      }
      const files = entries.filter(({ file }) => file).map(({ path, stat }) => `${path} ${of(stat)}`);
      if (files.length > 0) found.set(name, files.join("\n"));
    } catch {
      // removed between two calls: the next check handles it
    }
  }
  return found;
}

/** A folder of an adapter, or one of its files. */
interface Entry {
  readonly path: string;
  readonly stat: Stats;
  readonly file: boolean;
}

/** The files that an adapter is read from; others beside them, an editor's lock among them, say nothing of it. */
const adapterFiles: ReadonlySet<string> = new Set([
  peftFiles.config,
  peftFiles.weights,
  peftFiles.pickle,
  extrasFile,
  appliedFile,
]);

/** A folder and the adapter's files in it; none where there is no folder. */
function entriesOf(place: string): Entry[] {
  try {
    const files = readdirSync(place)
      .filter((name) => adapterFiles.has(name))
      .sort()
      .map((name) => join(place, name));
    return [place, ...files].map((path) => ({ path, stat: lstatSync(path), file: path !== place }));
  } catch {
    return [];
  }
}

function leaves(root: string, { path, stat }: Entry): boolean {
  if (!stat.isSymbolicLink()) return false;
  try {
    return !realpathSync(path).startsWith(root + sep);
  } catch {
    // it leads nowhere just now; who reads it says so
    return false;
  }
}

const of = ({ size, mtimeMs, ino }: Stats) => `${size} ${mtimeMs} ${ino}`;
