/**
 * @file A file layer that fails on command: full disks, refused operations, and deaths at a chosen operation or byte.
 *
 * A death either kills the process (SIGKILL, nothing runs after it) or, within one process, throws `Death` and refuses every
 * later operation, so that no clean-up of the code under test can soften it.
 */
import { diskOps, type FileOps } from "../../src/base/files.js";

export class Death extends Error {}

export interface FaultPlan {
  /** Die before operation number n (from 0). */
  dieAtOp?: number;
  /** Die inside the write that would pass this many bytes in total, after writing up to it. */
  dieAtByte?: number;
  /** The disk holds this many more bytes; then ENOSPC, as a real disk does after a short write. */
  space?: number;
  /** Refuse operation number n with this code. */
  refuse?: { op: number; code: string };
  /** Die for real. */
  kill?: boolean;
}

export interface FaultyOps extends FileOps {
  /** Operations and bytes so far. */
  readonly count: { ops: number; bytes: number };
}

export function faultyOps(plan: FaultPlan): FaultyOps {
  const count = { ops: 0, bytes: 0 };
  let dead = false;
  const die = (): never => {
    dead = true;
    if (plan.kill) process.kill(process.pid, "SIGKILL");
    throw new Death("the process died here");
  };
  const step = () => {
    if (dead) throw new Death("the process is dead already");
    const n = count.ops++;
    if (n === plan.dieAtOp) die();
    if (n === plan.refuse?.op) throw refusal(plan.refuse.code);
  };
  const wrap =
    <A extends unknown[], R>(f: (...args: A) => R) =>
    (...args: A): R => {
      step();
      return f(...args);
    };
  return {
    count,
    openSync: wrap(diskOps.openSync),
    fsyncSync: wrap(diskOps.fsyncSync),
    closeSync: (fd) => diskOps.closeSync(fd),
    renameSync: wrap(diskOps.renameSync),
    unlinkSync: wrap(diskOps.unlinkSync),
    truncateSync: wrap(diskOps.truncateSync),
    mkdirSync: wrap(diskOps.mkdirSync),
    writeSync: (fd, bytes, offset, length) => {
      step();
      const left = Math.min((plan.dieAtByte ?? Infinity) - count.bytes, (plan.space ?? Infinity) - count.bytes);
      const part = Math.max(0, Math.min(length, left));
      if (part > 0) diskOps.writeSync(fd, bytes, offset, part);
      count.bytes += part;
      if (part === length) return length;
      if (plan.dieAtByte !== undefined && count.bytes >= plan.dieAtByte) return die();
      if (part > 0) return part;
      throw refusal("ENOSPC");
    },
  };
}

function refusal(code: string): Error {
  return Object.assign(new Error(`${code}: refused by the test`), { code });
}
