/**
 * @file Access checks. In: headers of a request. Out: nothing, or an ApiError before any work is done.
 *
 * Two kinds of caller reach a local server that it cannot trust: other programs of the machine (the token), and web pages in the user's
 * browser. A page's domain may resolve to 127.0.0.1 (DNS rebinding), so the Host must be one of ours. A page can send simple requests
 * without permission, so an Origin that is not allowed is refused, and a body must be JSON, which a page cannot send without permission.
 */
import { createHash, randomBytes, timingSafeEqual } from "node:crypto";
import { isIP } from "node:net";
import { SoftpromptError } from "../base/errors.js";
import { readWhole } from "../base/files.js";
import { ApiError } from "./api-error.js";

const loopbackNames = new Set(["localhost", "127.0.0.1", "::1"]);

/** Whether an address is this machine's own alone. */
export function isLoopback(host: string): boolean {
  return loopbackNames.has(host) || /^127(\.\d{1,3}){3}$/.test(host);
}

/** The name in a Host header, in lower case, without port and brackets; null if it is not a valid one. */
export function hostName(header: string | undefined): string | null {
  const found = /^(?:\[([0-9a-fA-F:.]+)\]|([A-Za-z0-9._-]+))(?::\d{1,5})?$/.exec(header ?? "");
  return (found?.[1] ?? found?.[2] ?? null)?.toLowerCase() ?? null;
}

/** Checks names and origins. */
export function openGuard({
  host,
  allowedHost,
  corsOrigin,
  more = { host: "--allowed-host adds one", origin: "--cors-origin allows one" },
}: {
  readonly host: string;
  readonly allowedHost: readonly string[];
  readonly corsOrigin: readonly string[];
  /** What to do about a refusal. */
  readonly more?: { readonly host: string; readonly origin: string };
}) {
  const names = new Set([...loopbackNames, host.toLowerCase(), ...allowedHost.map((name) => name.toLowerCase())]);
  const origins = new Set(corsOrigin.map(originOf));
  // DNS rebinding needs a name, so a Host that is an IP address is safe; we serve no pages ourselves
  const addresses = !isLoopback(host);
  return {
    /** @throws ApiError 403. */
    checkHost(header: string | undefined): void {
      const name = hostName(header);
      if (name !== null && (names.has(name) || (addresses && isIP(name) !== 0))) return;
      throw new ApiError(403, `requests must call this server by its own name (Host); ${more.host}`, {
        code: "host_not_allowed",
      });
    },
    /** @returns the origin to allow; null if the request is not from a page. @throws ApiError 403. */
    checkOrigin(header: string | undefined): string | null {
      if (header === undefined) return null;
      if (origins.has(header)) return header;
      throw new ApiError(403, `web pages of this origin may not ask; ${more.origin}`, {
        code: "origin_not_allowed",
      });
    },
  };
}

/** @throws SoftpromptError "usage" for an invalid origin. */
function originOf(text: string): string {
  try {
    const { origin, protocol } = new URL(text);
    if (origin === text && /^https?:$/.test(protocol)) return origin;
  } catch {
    // reported below
  }
  throw new SoftpromptError("usage", "this is no origin of web pages", {
    where: "--cors-origin",
    expected: "scheme, name and port, e.g. http://localhost:3000",
    got: text,
  });
}

/** A random token that cannot be guessed. */
export function randomToken(): string {
  return randomBytes(32).toString("base64url");
}

/** @throws SoftpromptError "usage" for a file without one line of a token. */
export function readToken(file: string): string {
  const text = readWhole(file, "usage", 4096)?.toString("utf8");
  return checkToken(text?.replace(/\r?\n$/, "") ?? "", file);
}

/** @throws SoftpromptError "usage". */
export function checkToken(token: string, where: string): string {
  if (/^[\x21-\x7e]{16,512}$/.test(token)) return token;
  throw new SoftpromptError("usage", "there is no token that can be used", {
    where,
    expected: "one line of 16 to 512 visible characters, e.g. from: openssl rand -base64 32",
    got: `${token.length} characters`,
  });
}

const digest = (text: string) => createHash("sha256").update(text).digest();

/** Compares tokens in constant time. */
export function tokenCheck(token: string | null): (authorization: string | undefined) => void {
  if (token === null) return () => {};
  const right = digest(token);
  return (authorization) => {
    const given = /^Bearer +([\x21-\x7e]+) *$/i.exec(authorization ?? "")?.[1];
    if (given !== undefined && timingSafeEqual(digest(given), right)) return;
    throw new ApiError(
      401,
      given === undefined ? "a token is needed: Authorization: Bearer …" : "this token is not right",
      {
        code: "invalid_api_key",
        headers: { "www-authenticate": "Bearer" },
      },
    );
  };
}
