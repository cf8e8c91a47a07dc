/**
 * @file Errors as OpenAI's clients read them. In: a failure. Out: a status and `{ error: { message, type, param, code } }`.
 *
 * The clients read the field `error` and nothing else; they repeat 408, 409, 429 and 5xx by themselves unless told not to.
 */
import { printable } from "../base/printable.js";
import type { Failure } from "./protocol.js";

/** The body of an error for the client. */
export interface ErrorBody {
  readonly error: {
    readonly message: string;
    readonly type: string;
    readonly param: string | null;
    readonly code: string | null;
  };
}

/** A request that fails with a status. */
export class ApiError extends Error {
  override readonly name = "ApiError";
  readonly type: string;
  readonly param: string | null;
  readonly code: string | null;
  readonly headers: Readonly<Record<string, string>>;
  constructor(
    readonly status: number,
    message: string,
    more: {
      readonly param?: string | null;
      readonly code?: string | null;
      readonly headers?: Readonly<Record<string, string>>;
    } = {},
  ) {
    super(printable(message));
    this.type = typeOf(status);
    this.param = more.param ?? null;
    this.code = more.code ?? null;
    this.headers = more.headers ?? {};
  }

  get body(): ErrorBody {
    const { message, type, param, code } = this;
    return { error: { message, type, param, code } };
  }
}

function typeOf(status: number): string {
  if (status === 401) return "authentication_error";
  if (status === 403) return "permission_error";
  if (status === 429) return "rate_limit_error";
  return status >= 500 ? "server_error" : "invalid_request_error";
}

/** The error of an invalid request. */
export function invalid(message: string, param: string | null = null, code: string | null = null): ApiError {
  return new ApiError(400, message, { param, code });
}

/** The error of an overloaded server. */
export function busy(status: 429 | 503, message: string, code: string, seconds: number): ApiError {
  return new ApiError(status, message, { code, headers: { "retry-after": String(seconds) } });
}

/** Kinds of failure that are the request's own fault. */
const requestKinds: ReadonlySet<string | null> = new Set(["data", "usage"]);

/** The error for an engine's failure on a row. @param param the field of the request that the row came from */
export function failed({ kind, problem, where, expected, got, hint, code }: Failure, param: string | null): ApiError {
  if (kind === null) return new ApiError(500, "the server has a bug; its log has the details", { code: "bug" });
  if (kind === "interrupted") return busy(503, problem, code ?? "stopping", 1);
  const told = [
    `${where}: ${problem}`,
    ...(expected === undefined ? [] : [`expected: ${expected}`]),
    ...(got === undefined ? [] : [`got: ${got}`]),
    // other hints are for who runs the server
    ...(hint === undefined || kind !== "data" ? [] : [hint]),
  ].join("; ");
  if (!requestKinds.has(kind)) return new ApiError(500, told, { code: code ?? kind });
  return invalid(told, param, code ?? (problem === "the prompt is too long" ? "context_length_exceeded" : null));
}
