/**
 * @file The command line in the process of a test. In: argv. Out: exit code and what was written.
 */
import { run } from "../../src/cli/run.js";

type Run = typeof run;

interface How {
  /** Default one that is never aborted. */
  readonly signal?: AbortSignal;
  /** Commands. Default all. */
  readonly table?: Parameters<Run>[2];
  /** Sees each piece of stderr as it comes. */
  readonly onError?: (text: string) => void;
  /** Width of stderr. Default unknown. */
  readonly columns?: number;
}

export async function commandLine(argv: readonly string[], { signal, table, onError, columns }: How = {}) {
  let [stdout, stderr] = ["", ""];
  const into = (take: (text: string) => void) => ({
    write: (text: unknown) => {
      take(String(text));
      return true;
    },
  });
  const streams = {
    stdout: into((text) => {
      stdout += text;
    }),
    stderr: {
      ...into((text) => {
        stderr += text;
        onError?.(text);
      }),
      ...(columns !== undefined && { columns }),
    },
  };
  const code = await run(argv, { ...streams, env: {}, signal: signal ?? new AbortController().signal }, table);
  return { code, stdout, stderr };
}
