/**
 * @file Requests to a hub: through the proxy that the environment names, and their failures in words.
 *
 * In: the environment; an error or a response. Out: a fetch; a SoftpromptError's parts. Node 20's own fetch does not support proxies, so
 * the package undici, on which it is built, is loaded if a proxy is set. HTTPS_PROXY, HTTP_PROXY, ALL_PROXY and NO_PROXY are read, also in
 * lower case, as curl does.
 * No message holds a token, or a name and password of a URL.
 */
import { SoftpromptError } from "../base/errors.js";

/** A fetch for this environment. */
export async function webFetch(env: NodeJS.ProcessEnv): Promise<typeof fetch> {
  const proxies = proxiesOf(env);
  if (proxies === null) return fetch;
  const undici = await import("undici"); // loading takes a tenth of a second, so it is done only if a proxy is set
  const agent = (() => {
    try {
      return new undici.EnvHttpProxyAgent(proxies);
    } catch (cause) {
      throw new SoftpromptError("usage", "the proxy of the environment cannot be used", {
        where: "HTTPS_PROXY, HTTP_PROXY or ALL_PROXY",
        expected: "http://HOST:PORT",
        got: withoutPassword(proxies.httpsProxy || proxies.httpProxy),
        cause,
      });
    }
  })();
  return ((url: string | URL, init?: RequestInit) =>
    undici.fetch(String(url), { ...(init as object), dispatcher: agent })) as unknown as typeof fetch;
}

/** The environment's proxy settings; null if there are none. Lower-case names take precedence, as with curl. */
export function proxiesOf(env: NodeJS.ProcessEnv): { httpProxy: string; httpsProxy: string; noProxy: string } | null {
  const named = (name: string) => env[name.toLowerCase()] || env[name] || undefined;
  const address = (name: string) => named(name)?.replace(/^(?!\w+:\/\/)/, "http://"); // "host:3128", as curl takes it
  const all = address("ALL_PROXY");
  const [http, https] = [address("HTTP_PROXY") ?? all, address("HTTPS_PROXY") ?? all];
  if (http === undefined && https === undefined) return null;
  return { httpProxy: http ?? "", httpsProxy: https ?? "", noProxy: named("NO_PROXY") ?? "" };
}

/** "https://user:secret@host/path" → "https://host/path"; a text that is not such an address is not shown at all. */
export function withoutPassword(url: string): string {
  try {
    const { protocol, host, pathname } = new URL(url);
    if (!/^https?:$/.test(protocol)) return "(not an address of the web)"; // "user:secret@host" is a URL too
    return `${protocol}//${host}${pathname === "/" ? "" : pathname}`;
  } catch {
    return "(not an address of the web)";
  }
}

/** Why a request failed, and what helps. */
export interface Failure {
  readonly problem: string;
  readonly hint: string;
  readonly status?: number;
  /** How many milliseconds the server asks to wait. */
  readonly wait?: number;
  /** True if trying again cannot help. */
  readonly final: boolean;
  readonly cause?: unknown;
}

/** A response that is not what was asked for. */
export function failureOf(response: Response): Failure {
  const { status } = response;
  const wait = retryAfter(response.headers.get("retry-after"));
  const later = wait === undefined ? "later" : `in ${Math.ceil(wait / 1000)} s`;
  if (status === 429) {
    const hint = `try again ${later}; HF_TOKEN raises the limit`;
    return { problem: "the hub says: too many requests (status 429)", hint, status, wait, final: false };
  }
  if (status >= 500)
    return {
      problem: `the hub failed (status ${status})`,
      ...{ hint: `the fault is on its side; try again ${later}`, status, wait, final: false },
    };
  return {
    problem: `the server answered ${status}`,
    hint:
      status >= 400
        ? "set HF_TOKEN if the model is private, or needs a licence to be accepted on its page"
        : "check HF_ENDPOINT",
    ...{ status, final: status >= 400 && ![408, 416].includes(status) },
  };
}

/** A page where a file or data should be: a gateway, a login, an error that calls itself a success. */
export function isPage(response: Response): boolean {
  return /^\s*(text\/html|application\/xhtml)/i.test(response.headers.get("content-type") ?? "");
}

export const pageFailure: Failure = {
  problem: "the server answered a web page (text/html) in place of the file",
  hint: "a gateway or login may stand between (a captive portal, a proxy); open the hub in a browser from this machine",
  final: true,
};

/** A request that got no response. */
export function connectionFailure(cause: unknown, env: NodeJS.ProcessEnv): Failure {
  const code = codes(cause).find((c) => c !== "UND_ERR") ?? "";
  const proxies = proxiesOf(env);
  const through = proxies
    ? `; the proxy ${withoutPassword(proxies.httpsProxy || proxies.httpProxy)} is used (HTTPS_PROXY, NO_PROXY)`
    : "";
  const about = (problem: string, hint: string, final = false) => ({ problem, hint: hint + through, final, cause });
  if (/CERT|SELF_SIGNED|UNABLE_TO_(GET|VERIFY)|SSL|TLS/.test(code))
    return about(
      `the hub's certificate is not trusted (${code})`,
      "where a company's gateway signs anew, set NODE_EXTRA_CA_CERTS to its certificate's file; check the clock too",
      true,
    );
  if (["ENOTFOUND", "EAI_AGAIN"].includes(code))
    return about(`the hub's name is not known (${code})`, "check the connection, the name service and HF_ENDPOINT");
  if (/TIMEOUT|ETIMEDOUT/i.test(code) || isTimeout(cause))
    return about("the hub did not answer in time", "check the connection");
  return about(`the connection failed${code ? ` (${code})` : ""}`, "check the connection and HF_ENDPOINT");
}

/** Codes of an error and of what caused it. */
function codes(error: unknown, depth = 0): string[] {
  if (!(error instanceof Error) || depth > 5) return [];
  const code = (error as NodeJS.ErrnoException).code;
  const inner = error instanceof AggregateError ? error.errors.flatMap((e) => codes(e, depth + 1)) : [];
  return [...(typeof code === "string" ? [code] : []), ...inner, ...codes(error.cause, depth + 1)];
}

function isTimeout(error: unknown): boolean {
  return error instanceof Error && (error.name === "TimeoutError" || isTimeout(error.cause));
}

/** Retry-After as milliseconds: seconds, or a date. */
function retryAfter(value: string | null): number | undefined {
  if (value === null) return undefined;
  const ms = /^\s*\d{1,9}\s*$/.test(value) ? Number(value) * 1000 : Date.parse(value) - Date.now();
  return Number.isFinite(ms) ? Math.max(0, ms) : undefined;
}
