/**
 * @file Transfers errors between threads. In: whatever was thrown. Out: a Failure, and a SoftpromptError again.
 */
import { SoftpromptError, show } from "../base/errors.js";
import type { Failure } from "./protocol.js";

/** What was thrown, as data. */
export function failureOf(error: unknown, code?: string): Failure {
  if (!(error instanceof SoftpromptError))
    return {
      kind: null,
      problem: error instanceof Error ? (error.stack ?? error.message) : String(error),
      where: "engine",
    };
  const { where, expected, got, hint } = error.parts;
  return {
    kind: error.kind,
    problem: error.problem,
    where,
    expected,
    hint,
    ...(got === undefined ? {} : { got: typeof got === "string" ? got : show(got) }),
    code,
  };
}

/** The error again. A bug becomes an Error without parts, so that it is reported as one. */
export function errorOf({ kind, problem, where, expected, got, hint }: Failure): Error {
  return kind === null ? new Error(problem) : new SoftpromptError(kind, problem, { where, expected, got, hint });
}
