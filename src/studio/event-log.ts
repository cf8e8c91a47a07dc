/**
 * @file The events of a run that may still grow, read as far as they are. In: a run's folder. Out: events, kept between two calls.
 *
 * A file that grew is read from where the last call ended. A resume cuts the file back and writes it on, so where the last line that was
 * read is no longer there, everything is read again, under another generation.
 */
import { randomBytes } from "node:crypto";
import { readSync } from "node:fs";
import { join } from "node:path";
import { withFile } from "../base/files.js";
import { fileNames } from "../run/layout.js";
import { type Recorded, readEvent } from "../tasks/recorded.js";
import { mostFollowed } from "./protocol.js";

export interface EventLog {
  readonly events: readonly Recorded[];
  readonly generation: string;
}

interface Kept {
  generation: number;
  /** Bytes that were read: whole lines. */
  bytes: number;
  /** The last line, with its line break, and where it begins. */
  last: Buffer;
  events: Recorded[];
}

/**
 * Of the runs whose events are kept those that were asked for longest ago go first.
 * @returns reads the events of a folder; none where it has no metrics. @throws SoftpromptError "run", "io".
 */
export function openEventLogs(): (folder: string) => EventLog {
  const logs = new Map<string, Kept>();
  let generations = 0;
  // a page may still know the generations of a studio that ran before this one
  const own = randomBytes(4).toString("hex");
  return (folder) => {
    const known = logs.get(folder);
    logs.delete(folder);
    const anew = (): Kept => ({ generation: ++generations, bytes: 0, last: Buffer.alloc(0), events: [] });
    const read = withFile(join(folder, fileNames.metrics), "run", (fd, size) => {
      const log = known !== undefined && holdsLast(fd, size, known) ? known : anew();
      readOn(fd, size, log);
      logs.set(folder, log);
      const oldest = logs.keys().next();
      if (logs.size > mostFollowed && !oldest.done) logs.delete(oldest.value);
      return { events: log.events, generation: `${own}-${log.generation}` };
    });
    return read ?? { events: [], generation: "0" };
  };
}

function holdsLast(fd: number, size: number, { bytes, last }: Kept): boolean {
  return size >= bytes && readBytes(fd, bytes - last.length, last.length).equals(last);
}

function readOn(fd: number, size: number, log: Kept): void {
  const all = readBytes(fd, log.bytes, size - log.bytes);
  // a line without its end is still being written, or was torn by a death
  const whole = all.subarray(0, all.lastIndexOf(0x0a) + 1);
  if (whole.length === 0) return;
  const lines = whole.toString("utf8").split("\n").slice(0, -1);
  for (const line of lines) log.events.push(readEvent(line, `${fileNames.metrics}:${log.events.length + 1}`));
  log.last = Buffer.from(whole.subarray(whole.lastIndexOf(0x0a, -2) + 1));
  log.bytes += whole.length;
}

function readBytes(fd: number, from: number, length: number): Buffer {
  const bytes = Buffer.alloc(length);
  return bytes.subarray(0, readSync(fd, bytes, 0, length, from));
}
