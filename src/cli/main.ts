#!/usr/bin/env node
/**
 * @file The front door of the command line: finds the command, reads its options, runs it, turns the end into an exit code.
 *
 * In: process.argv. Out: stdout (results), stderr (progress, errors), exit code (base/errors.ts; 70 for a bug of ours).
 * The first SIGINT or SIGTERM asks the command to finish its step and save; the second ends the process at once.
 */
import { realpathSync } from "node:fs";
import { fileURLToPath } from "node:url";
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
  // A reader that goes away (`| head`) is no failure of ours.
  process.stdout.on("error", (error: NodeJS.ErrnoException) => {
    if (error.code === "EPIPE") process.exit(0);
    throw error;
  });
  process.exitCode = await run(process.argv.slice(2), {
    stdout: process.stdout,
    stderr: process.stderr,
    env: process.env,
    signal: interrupt.signal,
  });
  // ONNX Runtime's thread pools end with the process; nothing of ours may keep it alive by accident.
  if (process.stdout.writableLength === 0) process.exit();
  process.stdout.once("drain", () => process.exit());
}
