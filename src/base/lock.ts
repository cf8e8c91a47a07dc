/**
 * @file A folder owned by one process. In: a folder. Out: its lock, or SoftpromptError "run" naming the owner; leftovers of the dead removed.
 */
import { randomBytes } from "node:crypto";
import * as fs from "node:fs";
import { hostname } from "node:os";
import { join } from "node:path";
import { SoftpromptError } from "./errors.js";
import { diskOps, type FileOps, listFolder, readWhole, removeFile, writeFileAtomic } from "./files.js";

/** A folder owned by this process until released. */
export interface FolderLock {
  readonly folder: string;
  /** Idempotent. If the process dies first, it leaves a lock that the next owner recognises as stale. */
  release(): void;
}

/**
 * Takes a folder for this process alone.
 *
 * Every process writes a lock file with its own name, then looks for other lock files. So if two processes start together, at least one
 * sees the other and gives up (both may). Locks of dead processes are removed: a process is dead when its id is gone, is a zombie, or
 * belongs to another start time or boot. A lock from another host cannot be judged and is respected.
 *
 * @throws SoftpromptError "run" naming the owner; "io".
 */
export function lockFolder(folder: string, ops: FileOps = diskOps): FolderLock {
  const me = describeProcess(process.pid);
  const name = `.lock-${process.pid}-${randomBytes(4).toString("hex")}.json`;
  const path = join(folder, name);
  writeFileAtomic(path, `${JSON.stringify(me)}\n`, ops);
  const others = listFolder(folder).filter((other) => lockName.test(other) && other !== name);
  for (const other of others) {
    let owner: ProcessIdentity | null;
    try {
      owner = readOwner(join(folder, other));
    } catch (cause) {
      removeFile(path, ops);
      throw new SoftpromptError("run", "another process may be working in this folder: its lock cannot be read", {
        where: join(folder, other),
        hint: "wait for it; if nothing runs there any more, remove the lock",
        cause,
      });
    }
    if (owner === null || !alive(owner, me)) {
      removeFile(join(folder, other), ops);
      continue;
    }
    removeFile(path, ops);
    // two calls of one program meet here too
    if (owner.host === me.host && owner.pid === me.pid)
      throw new SoftpromptError("run", "this process is already working in this folder", {
        where: folder,
        expected: "one run at a time in a folder",
        got: `process ${owner.pid} on ${owner.host}, this one`,
        hint: "wait for the first, or give each a folder of its own",
      });
    throw new SoftpromptError("run", "another process is working in this folder", {
      where: folder,
      expected: "one process per folder",
      got: `process ${owner.pid} on ${owner.host}`,
      hint:
        owner.host === me.host
          ? `wait for it or stop it; if process ${owner.pid} is something else, remove ${join(folder, other)}`
          : `if nothing runs there any more, remove ${join(folder, other)}`,
    });
  }
  let held = true;
  return {
    folder,
    release: () => {
      if (held) removeFile(path, ops);
      held = false;
    },
  };
}

/** A process that owns a folder. */
export interface FolderOwner {
  readonly pid: number;
  readonly host: string;
}

/**
 * The living process that owns a folder; null where none does. Changes nothing on disk.
 * @throws SoftpromptError "run" where a lock cannot be read; "io".
 */
export function folderOwner(folder: string): FolderOwner | null {
  const me = describeProcess(process.pid);
  const owners = listFolder(folder)
    .filter((name) => lockName.test(name))
    .map((name) => readOwner(join(folder, name)));
  return owners.find((owner) => owner !== null && alive(owner, me)) ?? null;
}

const lockName = /^\.lock-\d+-[0-9a-f]{8}\.json$/;

/**
 * Removes temp files that a death left in `folder`. Only the owner of the folder may call this (see lockFolder). A lock that another
 * process is just writing is kept. @returns how many there were.
 */
export function removeLeftovers(folder: string, ops: FileOps = diskOps): number {
  const leftovers = listFolder(folder).filter((name) => {
    const pid = /^\..+\.(\d+)-[0-9a-f]{8}\.tmp$/.exec(name)?.[1];
    return pid !== undefined && !(name.startsWith("..lock-") && Number(pid) !== process.pid && isRunning(Number(pid)));
  });
  for (const name of leftovers) removeFile(join(folder, name), ops);
  return leftovers.length;
}

interface ProcessIdentity {
  readonly pid: number;
  readonly host: string;
  /** Clock ticks from boot to the start of the process, and the boot's id; null where the system does not say (not Linux). */
  readonly started: string | null;
  readonly boot: string | null;
}

function describeProcess(pid: number): ProcessIdentity {
  return {
    pid,
    host: hostname(),
    started: processStat(pid)?.started ?? null,
    boot: readText("/proc/sys/kernel/random/boot_id"),
  };
}

function alive(owner: ProcessIdentity, me: ProcessIdentity): boolean {
  if (owner.host !== me.host) return true;
  if (owner.boot !== null && me.boot !== null && owner.boot !== me.boot) return false;
  if (!isRunning(owner.pid)) return false;
  const stat = processStat(owner.pid);
  if (stat === null) return true;
  return stat.state !== "Z" && (owner.started === null || owner.started === stat.started);
}

/** Whether a process of this machine has the number; a number that is none has no process. */
export function isRunning(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (cause) {
    return (cause as NodeJS.ErrnoException).code === "EPERM";
  }
}

/** State and start time from /proc; the command's name stands in brackets and may hold anything, so count from the last bracket. */
function processStat(pid: number): { state: string; started: string } | null {
  const fields = readText(`/proc/${pid}/stat`)?.split(") ").at(-1)?.split(" ");
  return fields && fields.length > 19 ? { state: fields[0]!, started: fields[19]! } : null;
}

/** null if the lock is gone or not valid. @throws where it exists but cannot be read, because its owner may be alive. */
function readOwner(path: string): ProcessIdentity | null {
  const text = readWhole(path, "run", 1 << 16);
  try {
    const { pid, host, started, boot } = JSON.parse(String(text)) as Partial<ProcessIdentity>;
    return Number.isInteger(pid) && pid! > 0 && typeof host === "string"
      ? { pid: pid!, host, started: started ?? null, boot: boot ?? null }
      : null;
  } catch {
    return null;
  }
}

function readText(path: string): string | null {
  try {
    return fs.readFileSync(path, "utf8").trim();
  } catch {
    return null;
  }
}
