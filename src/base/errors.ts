/**
 * @file The one error type a caller can act on. In: what went wrong, in four parts. Out: SoftpromptError with an exit code.
 *
 * Every message says where it happened, what was expected, what came, and what to do. Control characters in it are escaped: parts of
 * it are often a user's file.
 */
import { printable } from "./printable.js";

/** Kinds of failure a caller can act on, each with the exit code of the command line. */
export const errorKinds = {
  usage: { exitCode: 2, meaning: "an option, a command or the configuration is wrong" },
  data: { exitCode: 3, meaning: "a data file or a row of it cannot be used" },
  checkpoint: { exitCode: 4, meaning: "a base model or one of its files cannot be used" },
  adapter: { exitCode: 5, meaning: "an adapter cannot be used, or not with this base model" },
  run: { exitCode: 6, meaning: "a run folder cannot be used: busy, damaged, or its inputs changed" },
  engine: { exitCode: 7, meaning: "ONNX Runtime or the graph refused" },
  numeric: { exitCode: 8, meaning: "a number went wrong: NaN, infinity, or training that changes nothing" },
  network: { exitCode: 9, meaning: "a hub could not be reached, or answered wrongly" },
  io: { exitCode: 10, meaning: "the file system refused: no space, no permission" },
  interrupted: { exitCode: 130, meaning: "stopped by a signal, after saving (130 SIGINT, 143 SIGTERM, 129 SIGHUP)" },
} as const;

/** What an error is about; the key of errorKinds. */
export type ErrorKind = keyof typeof errorKinds;

/** Where an error is, what was expected there, what came, and what to do. */
export interface ErrorParts {
  /** File, row, column, tensor, option: the place, as precise as known. */
  where: string;
  /** The rule that was broken, or the values that would have been right. */
  expected?: string;
  /** The offending value, shortened. */
  got?: unknown;
  /** What the user can do next. */
  hint?: string;
  cause?: unknown;
  /** Overrides the kind's exit code (143 for SIGTERM, 129 for SIGHUP). */
  exitCode?: number;
}

/** An expected failure, described in four parts. Any other error is a bug of ours and exits with 70. */
export class SoftpromptError extends Error {
  override readonly name = "SoftpromptError";
  readonly exitCode: number;
  constructor(
    readonly kind: ErrorKind,
    readonly problem: string,
    readonly parts: ErrorParts,
  ) {
    super(message(problem, parts), parts.cause === undefined ? undefined : { cause: parts.cause });
    this.exitCode = parts.exitCode ?? errorKinds[kind].exitCode;
  }
}

/** The error with more to do in its hint, after what stands there. */
export function withHint(error: SoftpromptError, afterwards: string): SoftpromptError {
  const { hint } = error.parts;
  return new SoftpromptError(error.kind, error.problem, {
    ...error.parts,
    hint: hint === undefined ? afterwards : `${hint}; ${afterwards}`,
  });
}

/** Signals that ask for an orderly end, with the exit code of a process that ends by them. */
export const signalExitCodes = { SIGINT: 130, SIGTERM: 143, SIGHUP: 129 } as const;

/** The exit code of work that was stopped by a signal; the reason is the signal's name. */
export function signalExitCode(signal: AbortSignal | undefined): number {
  const name = String(signal?.reason);
  return Object.hasOwn(signalExitCodes, name)
    ? signalExitCodes[name as keyof typeof signalExitCodes]
    : errorKinds.interrupted.exitCode;
}

/** The error of work that a signal stopped; its cause is the signal's reason, so that a deadline and a user's stop can be told apart. */
export function interrupted(
  signal: AbortSignal | undefined,
  problem: string,
  parts: Omit<ErrorParts, "exitCode" | "cause">,
): SoftpromptError {
  return new SoftpromptError("interrupted", problem, {
    ...parts,
    ...(signal?.aborted && { cause: signal.reason }),
    exitCode: signalExitCode(signal),
  });
}

/** Shows a value in an error message: strings quoted, long ones cut at `limit` characters. */
export function show(value: unknown, limit = 120): string {
  const text = Array.isArray(value)
    ? `[${value
        .slice(0, limit)
        .map((v) => (typeof v === "string" ? v : plain(v)))
        .join(", ")}]`
    : plain(value);
  return text.length > limit ? `${text.slice(0, limit - 1)}…` : text;
}

/** Never calls a value's own `toString`: a hostile JSON object may have one that is no function. */
function plain(value: unknown): string {
  if (typeof value !== "string" && (typeof value !== "object" || value === null)) return String(value);
  try {
    return JSON.stringify(value) ?? "object";
  } catch {
    return "object";
  }
}

/**
 * The name in `names` nearest to `name` by edit distance, of those that are near: the distance is at most half of the candidate's length,
 * or 1, and not every letter differs. Undefined if none is.
 */
export function nearest(name: string, names: Iterable<string>): string | undefined {
  let best: string | undefined;
  let bestDistance = Number.POSITIVE_INFINITY;
  for (const candidate of names) {
    const { length } = candidate;
    const d = editDistance(name.toLowerCase(), candidate.toLowerCase());
    if (d < bestDistance && d < length && d <= Math.max(1, Math.floor(length / 2))) {
      best = candidate;
      bestDistance = d;
    }
  }
  return best;
}

function message(problem: string, parts: ErrorParts): string {
  const lines = [`${parts.where}: ${problem}`];
  if (parts.expected !== undefined) lines.push(`  expected: ${parts.expected}`);
  if (parts.got !== undefined) lines.push(`  got: ${show(parts.got)}`);
  if (parts.hint !== undefined) lines.push(`  hint: ${parts.hint}`);
  return printable(lines.join("\n"));
}

function editDistance(a: string, b: string): number {
  if (a.length > 200 || b.length > 200) return a === b ? 0 : 200;
  let row = Array.from({ length: b.length + 1 }, (_, j) => j);
  for (let i = 1; i <= a.length; i++) {
    const next = [i];
    for (let j = 1; j <= b.length; j++)
      next.push(Math.min(row[j]! + 1, next[j - 1]! + 1, row[j - 1]! + (a[i - 1] === b[j - 1] ? 0 : 1)));
    row = next;
  }
  return row[b.length]!;
}
