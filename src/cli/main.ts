#!/usr/bin/env node
/**
 * @file The front door of the command line: finds the command, reads its options, runs it, turns the end into an exit code.
 *
 * In: process.argv. Out: stdout (results), stderr (progress, errors), exit code (base/errors.ts; 70 for a bug of ours).
 * The first SIGINT or SIGTERM asks the command to finish its step and save; the second ends the process at once.
 */
import { fstatSync, realpathSync, writeSync } from "node:fs";
import { fileURLToPath } from "node:url";
import type { SoftpromptError } from "../base/errors.js";
import { ioError } from "../base/files.js";
import { run } from "./run.js";

export { run };

/** Signals that ask for an orderly end, with the exit code of a process that ends by them. */
const signals = { SIGINT: 130, SIGTERM: 143 } as const;

if (process.argv[1] !== undefined && realpathSync(process.argv[1]) === fileURLToPath(import.meta.url)) {
  const interrupt = new AbortController();
  for (const [name, exitCode] of Object.entries(signals))
    process.on(name, () => {
      if (interrupt.signal.aborted) process.exit(exitCode);
      interrupt.abort(name);
      process.stderr.write(`\n${name}: finishing this step and saving; once more ends at once\n`);
    });
  // Losing the display of progress must not end the work.
  process.stderr.on("error", () => {});
  let ended: number | undefined;
  const lost = (cause: NodeJS.ErrnoException): void => {
    // A reader that goes away (`| head`) is no failure of ours; a command that is still at work has nobody to work for.
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
  // ONNX Runtime's thread pools end with the process; nothing of ours may keep it alive by accident.
  // Where this write fails, the stream's error tells why in a moment.
  process.stdout.write("", (error) =>
    error ? setTimeout(() => process.exit(exitCode), 1000) : process.exit(exitCode),
  );
}

/** Standard output that is a file. Node's own stream writes once and takes a part for the whole, as a disk leaves it that becomes full. */
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
