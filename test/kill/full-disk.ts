/**
 * @file A run on a disk that fills up: the run must stop with our typed error, and go on to the same bytes when there is room again.
 *
 * In: a folder on a small disk of its own. Out: what happened. A file of ballast takes all room but a little; each round leaves more.
 */
import { spawnSync } from "node:child_process";
import { closeSync, openSync, rmSync, statfsSync, writeSync } from "node:fs";
import { join } from "node:path";
import { metricsOf, scratch } from "../helpers/job.js";
import type { WorkerPlan } from "./worker.js";

export interface FullDiskSummary {
  /** Bytes of the disk. */
  readonly size: number;
  /** Free bytes at the start of each round that ended in "no space". */
  readonly stoppedWithFree: readonly number[];
  readonly losses: readonly string[];
}

export async function fullDisk(program: string, model: string, disk: string): Promise<FullDiskSummary> {
  const plan = JSON.stringify({ engine: "fake", model, faults: {} } satisfies WorkerPlan);
  const session = (folder: string) => spawnSync(process.execPath, [program, folder, plan], { encoding: "utf8" });
  const fingerprintOf = (stdout: string) => JSON.stringify(JSON.parse(stdout.trim().split("\n").at(-1)!).fingerprint);
  const elsewhere = scratch("full");
  const whole = join(elsewhere, "whole");
  const reference = session(whole);
  const run = join(disk, "run");
  const ballast = join(disk, "ballast");
  const stoppedWithFree: number[] = [];
  const losses: string[] = [];
  for (const room of [4096, 12288, 16384, 20480, 24576, 28672, 32768]) {
    rmSync(ballast, { force: true });
    fill(ballast, disk, room);
    const free = freeBytes(disk);
    const { status, stderr } = session(run);
    if (status === 0) break;
    if (/SoftpromptError|no space is left/.test(stderr) && /no space is left/.test(stderr)) stoppedWithFree.push(free);
    else losses.push(`with ${free} bytes free: ${stderr.slice(-400)}`);
  }
  rmSync(ballast, { force: true });
  const { status, stdout, stderr } = session(run);
  if (status !== 0) losses.push(`with room again: ${stderr.slice(-400)}`);
  else {
    if (fingerprintOf(stdout) !== fingerprintOf(reference.stdout)) losses.push("another result");
    if (JSON.stringify(metricsOf(run)) !== JSON.stringify(metricsOf(whole))) losses.push("other metrics");
  }
  if (stoppedWithFree.length === 0) losses.push("the disk was never full");
  const { blocks, bsize } = statfsSync(disk);
  rmSync(elsewhere, { recursive: true });
  return { size: blocks * bsize, stoppedWithFree, losses };
}

function freeBytes(folder: string): number {
  const { bavail, bsize } = statfsSync(folder);
  return bavail * bsize;
}

/** Writes a file until only `room` bytes are free. */
function fill(path: string, disk: string, room: number): void {
  const fd = openSync(path, "w");
  const block = Buffer.alloc(4096);
  while (freeBytes(disk) > room) writeSync(fd, block);
  closeSync(fd);
}
