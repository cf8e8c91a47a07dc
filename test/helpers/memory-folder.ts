/** @file A temporary folder in memory where the system has one: tests of searches make hundreds of small durable files. */
import { existsSync, mkdtempSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

/** Also where the code under test makes its own temporary folders in this process. */
export function memoryFolder(prefix: string): string {
  if (existsSync("/dev/shm")) process.env.TMPDIR = "/dev/shm";
  return mkdtempSync(join(tmpdir(), prefix));
}
