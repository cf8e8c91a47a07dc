/**
 * @file The body of a request, checked before anything is done with it. In: a request, a schema. Out: the value, or an ApiError that names
 * the field.
 */
import type { IncomingMessage } from "node:http";
import type { z } from "zod";
import { nearest, SoftpromptError } from "../base/errors.js";
import { parseJson } from "../base/json.js";
import { ApiError, invalid } from "./api-error.js";

/** Limits of a request's JSON document besides its size in bytes. */
const jsonShape = { depth: 16, containers: 50_000 } as const;

/** Whether the body is JSON by its headers. A web page cannot send such a body without permission. @throws ApiError 413, 415. */
export function checkBodyHeaders({ headers }: Pick<IncomingMessage, "headers">, mostBytes: number): void {
  const [type, ...parameters] = (headers["content-type"] ?? "").split(";").map((part) => part.trim().toLowerCase());
  const charset = parameters.find((part) => part.startsWith("charset="));
  if (type !== "application/json" || (charset !== undefined && !/^charset="?utf-?8"?$/.test(charset)))
    throw new ApiError(415, "the body must be JSON in UTF-8 (content-type: application/json)", {
      code: "unsupported_media_type",
    });
  if (headers["content-encoding"] !== undefined && headers["content-encoding"] !== "identity")
    throw new ApiError(415, "the body must not be compressed", { code: "unsupported_media_type" });
  if (Number(headers["content-length"] ?? 0) > mostBytes) throw tooLarge(mostBytes);
}

/** The parsed body. @throws ApiError 400, 413. */
export async function readBody(request: IncomingMessage, mostBytes: number): Promise<unknown> {
  const bytes = await bytesOf(request, mostBytes);
  let text: string;
  try {
    text = new TextDecoder("utf-8", { fatal: true }).decode(bytes);
  } catch {
    throw invalid("the body is not UTF-8");
  }
  try {
    const value = parseJson(text, "body", "data", { length: mostBytes, ...jsonShape });
    if (text.includes("__proto__") || text.includes("\\u")) refuseProto(value);
    return value;
  } catch (error) {
    if (!(error instanceof SoftpromptError)) throw error;
    const { got } = error.parts;
    throw invalid(`${error.problem}${got === undefined ? "" : `: ${String(got).slice(0, 200)}`}`, null, "invalid_json");
  }
}

/** By plain events: an async iterator over each request costs more than reading it. */
function bytesOf(request: IncomingMessage, mostBytes: number): Promise<Buffer> {
  return new Promise((resolve, reject) => {
    const chunks: Buffer[] = [];
    let size = 0;
    const end = (error: Error | null) => {
      request.off("data", take).off("end", whole).off("error", end).off("close", cut);
      // what a refused client still sends is not kept
      request.resume();
      if (error === null) resolve(Buffer.concat(chunks, size));
      else reject(error);
    };
    const take = (chunk: Buffer) => {
      size += chunk.length;
      chunks.push(chunk);
      if (size > mostBytes) end(tooLarge(mostBytes));
    };
    const whole = () => end(null);
    const cut = () => end(Object.assign(new Error("the client left"), { code: "ECONNRESET" }));
    if (request.destroyed) return cut();
    request.on("data", take).on("end", whole).on("error", end).on("close", cut);
  });
}

/** Keys that refer to an object's prototype are never accepted as fields. */
function refuseProto(value: unknown): void {
  if (typeof value !== "object" || value === null) return;
  if (Object.hasOwn(value, "__proto__")) throw invalid("__proto__ is no name of a field", "__proto__");
  for (const item of Object.values(value)) refuseProto(item);
}

function tooLarge(mostBytes: number): ApiError {
  return new ApiError(413, `the body is larger than ${mostBytes} bytes`, {
    code: "request_too_large",
    headers: { connection: "close" },
  });
}

/** The body under a schema. @throws ApiError 400 that names the first field that is wrong. */
export function checked<S extends z.ZodType>(schema: S, body: unknown): z.infer<S> {
  const found = schema.safeParse(body);
  if (found.success) return found.data;
  const { path, message } = nearestIssue(found.error.issues[0]!);
  const param = path.reduce<string>(
    (name, key) => (typeof key === "number" ? `${name}[${key}]` : name === "" ? String(key) : `${name}.${String(key)}`),
    "",
  );
  if (path.length > 0 && valueAt(body, path) === undefined) {
    const near = nearestUnknown(schema, body, path);
    const hint = near === undefined ? "" : `; there is a field ${JSON.stringify(near)}: did you mean ${param}?`;
    throw invalid(`${param} is missing${hint}`, param);
  }
  throw invalid(param === "" ? message : `${param}: ${message}`, param === "" ? null : param);
}

/** What stands at a place of the body; undefined where nothing does. */
function valueAt(body: unknown, path: readonly PropertyKey[]): unknown {
  return path.reduce<unknown>(
    (value, key) =>
      typeof value === "object" && value !== null && Object.hasOwn(value, key)
        ? (value as Record<PropertyKey, unknown>)[key]
        : undefined,
    body,
  );
}

/** A field of the request that nobody knows and whose name is near to the missing one's. */
function nearestUnknown(schema: z.ZodType, body: unknown, [name, ...more]: readonly PropertyKey[]): string | undefined {
  if (typeof name !== "string" || more.length > 0) return undefined;
  const known = (schema as { shape?: object }).shape ?? {};
  const unknown = Object.keys(body as object).filter((key) => !Object.hasOwn(known, key) && key.length <= 64);
  return nearest(name, unknown);
}

type Issue = z.core.$ZodIssue;
const place = ({ path: [first] }: Complaint) => (typeof first === "number" ? first : -1);
interface Complaint {
  readonly path: readonly PropertyKey[];
  readonly message: string;
  /** The value has this form, but is too large or too small. */
  readonly bounds: boolean;
}

/**
 * The form that is nearest to the value, out of several possible ones: only its size is wrong, or its first fault is at the deepest place, or of equally deep
 * ones in the latest element.
 */
function nearestIssue(issue: Issue): Complaint {
  const own = { path: issue.path, message: issue.message, bounds: /^too_(big|small)$/.test(issue.code) };
  if (issue.code !== "invalid_union" || issue.errors.length === 0) return own;
  const inner = issue.errors.flatMap((issues) => issues.slice(0, 1).map(nearestIssue));
  const near =
    inner.find(({ bounds, path }) => bounds && path.length === 0) ??
    inner.filter(({ path }) => path.length > 0).sort((a, b) => b.path.length - a.path.length || place(b) - place(a))[0];
  if (near !== undefined) return { ...near, path: [...issue.path, ...near.path] };
  return { ...own, message: [...new Set(inner.map(({ message }) => message))].join("; or ") || issue.message };
}
