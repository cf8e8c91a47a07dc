/**
 * @file Entry point of the command line: connects streams and signals, and sets the exit code.
 *
 * In: process.argv. Out: stdout (results), stderr (progress, errors), exit code (base/errors.ts; 70 for a bug of ours).
 * The first SIGINT, SIGTERM or SIGHUP asks the command to stop in order; the second ends the process at once.
 */
import { fstatSync, readFileSync, writeSync } from "node:fs";
import { type SoftpromptError, signalExitCodes } from "../base/errors.js";
import { ioError } from "../base/files.js";
import { run } from "./run.js";

/** Runs the command line of this process and ends it. */
export async function enter(): Promise<void> {
  const interrupt = new AbortController();
  for (const [name, exitCode] of Object.entries(signalExitCodes)) {
    if (name === "SIGHUP" && ignoresHangup()) continue;
    process.on(name, () => {
      if (interrupt.signal.aborted) process.exit(exitCode);
      interrupt.abort(name);
    });
  }
  // A lost progress display must not end the work.
  process.stderr.on("error", () => {});
  let ended: number | undefined;
  const lost = (cause: NodeJS.ErrnoException): void => {
    // The terminal is gone: the command must still save, even if its output is lost.
    if (interrupt.signal.reason === "SIGHUP") return;
    // A reader that closes the pipe (`| head`) is not an error; a command that still runs can stop, because nobody reads its output.
    if (cause.code === "EPIPE") setImmediate(() => process.exit(ended ?? 0));
    else {
      const { message, exitCode } = ioError(cause, "standard output") as SoftpromptError;
      process.stderr.write(`error ${message}\n`, () => process.exit(exitCode));
    }
  };
  process.stdout.on("error", lost);
  ended = await run(process.argv.slice(2), {
    stdout: fstatSync(1).isFile() ? wholeWrites(lost) : process.stdout,
    stderr: process.stderr,
    env: process.env,
    signal: interrupt.signal,
  });
  const exitCode = ended;
  // ONNX Runtime's thread pools end with the process; no handle of ours may keep it alive by accident.
  // If this write fails, the stream's error event follows and gives the reason.
  process.stdout.write("", (error) =>
    error && interrupt.signal.reason !== "SIGHUP"
      ? setTimeout(() => process.exit(exitCode), 1000)
      : process.exit(exitCode),
  );
}

/**
 * Whether SIGHUP was switched off for this process (nohup): a handler of ours would switch it on again. If the system does not give this
 * (not Linux), a process without any terminal is assumed to be detached on purpose.
 */
function ignoresHangup(): boolean {
  try {
    const ignored = /^SigIgn:\s*([0-9a-f]+)$/m.exec(readFileSync("/proc/self/status", "latin1"))?.[1];
    if (ignored !== undefined) return (Number.parseInt(ignored.at(-1)!, 16) & 1) === 1;
  } catch {
    // no /proc here
  }
  return ![process.stdin, process.stdout, process.stderr].some((stream) => stream.isTTY);
}

/** Standard output that is a file. Node's own stream writes once and ignores a partial write, which happens when the disk becomes full. */
function wholeWrites(lost: (error: NodeJS.ErrnoException) => void) {
  let broken = false;
  return {
    write(text: string | Uint8Array): boolean {
      const bytes = Buffer.from(text as string);
      try {
        for (let done = 0; done < bytes.length && !broken; ) done += writeSync(1, bytes, done);
      } catch (error) {
        broken = true;
        lost(error as NodeJS.ErrnoException);
      }
      return true;
    },
  };
}
