/**
 * @file The hub's API: a model's commit, its files, the copy that the hub's bot has converted. In: a hub, a model's id. Out: checked answers.
 *
 * The server may not be a real hub, so answers are limited in size, checked, and requested from one host only.
 */
import { HubApiError, listFiles, modelInfo } from "@huggingface/hub";
import { interrupted, SoftpromptError } from "../base/errors.js";
import { isObject, own } from "../base/json.js";
import { commitPattern } from "./cache.js";
import { connectionFailure, type Failure, failureOf, isPage } from "./web.js";

export interface Hub {
  readonly url: string;
  readonly token: string | undefined;
  readonly fetch: typeof fetch;
  readonly env: NodeJS.ProcessEnv;
}

/** The API gave no answer of use. Never leaves this room. */
export class Unreachable extends Error {
  constructor(readonly failure: Failure) {
    super(failure.problem, { cause: failure.cause });
  }
}

export interface Listed {
  readonly bytes: number;
  readonly etag: string;
  readonly kind: "sha256" | "gitBlob";
}

/** Files that are fetched besides the weights, if they exist. */
export const smallFiles = [
  "config.json",
  "tokenizer.json",
  "spiece.model",
  "tokenizer_config.json",
  "special_tokens_map.json",
  "added_tokens.json",
  "vocab.json",
  "merges.txt",
  "generation_config.json",
  "chat_template.jinja",
];
/** Largest size in bytes of a file that holds no weights, and of one answer of the hub's API. */
const smallFileBytes = 50_000_000;
/** Answers of the API per model: a listing comes in pages. */
const mostAnswers = 50;

/** The commit that a branch or tag points to. */
export async function commitOf(hub: Hub, id: string, revision: string, api: typeof fetch): Promise<string> {
  const info = await asked(hub, id, revision, () =>
    modelInfo({ name: id, revision, additionalFields: ["sha"], hubUrl: hub.url, fetch: api }),
  );
  const commit: unknown = info.sha;
  if (typeof commit !== "string" || !commitPattern.test(commit))
    throw odd(hub, id, "a commit of 40 hex digits", commit);
  return commit;
}

/** The files of a commit, by name. */
export async function filesOf(
  hub: Hub,
  id: string,
  commit: string,
  api: typeof fetch,
): Promise<ReadonlyMap<string, Listed>> {
  return asked(hub, id, commit, () =>
    readListing(hub, id, listFiles({ repo: id, revision: commit, hubUrl: hub.url, fetch: api })),
  );
}

/** The files with their sizes and digests. Directories and other files are ignored, because only known names are looked up. */
async function readListing(hub: Hub, id: string, pages: AsyncIterable<unknown>): Promise<ReadonlyMap<string, Listed>> {
  const files = new Map<string, Listed>();
  for await (const page of pages) {
    const { type, path, size, oid, lfs } = page as Record<string, unknown>;
    if (type !== "file" || typeof path !== "string") continue;
    const big = lfs as { oid?: unknown; size?: unknown } | undefined | null;
    const etag = big ? big.oid : oid;
    const bytes = big ? big.size : size;
    if (typeof etag !== "string" || !(big ? /^[0-9a-f]{64}$/ : commitPattern).test(etag))
      throw odd(hub, id, `a digest of ${path.slice(0, 80)}`, etag);
    if (!Number.isSafeInteger(bytes) || (bytes as number) < 0)
      throw odd(hub, id, `a size of ${path.slice(0, 80)}`, bytes);
    if (smallFiles.includes(path) && ((bytes as number) > smallFileBytes || bytes === 0))
      throw odd(hub, id, `${path} of 1 to ${smallFileBytes} bytes`, bytes);
    files.set(path, { bytes: bytes as number, etag, kind: big ? "sha256" : "gitBlob" });
  }
  return files;
}

/** The pull request in which the hub's own bot has put this repository's weights as safetensors, e.g. "refs/pr/1"; or null. */
export async function conversionOf(hub: Hub, id: string, api: typeof fetch): Promise<string | null> {
  const response = await api(`${hub.url}/api/models/${id}/discussions`).catch((error) => {
    if (error instanceof SoftpromptError) throw error;
    return null; // a repository without discussions has no conversion
  });
  if (!response?.ok) return null;
  const answer: unknown = await response.json().catch(() => null);
  const discussions = isObject(answer) ? own(answer, "discussions") : undefined;
  for (const entry of Array.isArray(discussions) ? (discussions as unknown[]) : []) {
    if (!isObject(entry)) continue;
    const author = own(entry, "author");
    const number = own(entry, "num");
    if (
      own(entry, "title") === "Adding `safetensors` variant of this model" &&
      own(entry, "isPullRequest") === true &&
      own(entry, "status") === "open" &&
      isObject(author) &&
      own(author, "name") === conversionBot &&
      Number.isSafeInteger(number) &&
      (number as number) > 0
    )
      return `refs/pr/${number as number}`;
  }
  return null;
}

/** The accounts that convert on the hub's behalf. */
const conversionBot = "SFconvertbot";

/** Calls the hub's API and turns its failures into ours. */
async function asked<T>(hub: Hub, id: string, revision: string, call: () => Promise<T>): Promise<T> {
  try {
    return await call();
  } catch (error) {
    if (error instanceof SoftpromptError || error instanceof Unreachable) throw error;
    if (!(error instanceof HubApiError)) throw odd(hub, id, "an answer of the hub's API", String(error));
    const status = error.statusCode;
    if (status === 404 || status === 401 || status === 403)
      throw new SoftpromptError(
        "checkpoint",
        status === 404 ? "the hub has no such model or revision" : "the hub denies access to this model",
        {
          where: `${hub.url}/${id}@${revision}`,
          got: `status ${status}`,
          hint: hub.token
            ? "check the spelling, and that your token may read it"
            : "check the spelling; a private or licensed model needs HF_TOKEN. (There is no folder of this name either.)",
        },
      );
    const { problem } = failureOf(new Response(null, { status: status >= 200 && status <= 599 ? status : 500 }));
    throw new Unreachable({ problem, hint: "try again later", status, final: false, cause: error });
  }
}

/** A fetch for the API: sends the token to the hub alone, waits 30 s at most, reads 50 MB at most, and a bounded number of pages. */
export function boundedFetch(hub: Hub, signal: AbortSignal | undefined): typeof fetch {
  let answers = 0;
  return async (input, init) => {
    const url = new URL(String(input));
    if (url.origin !== new URL(hub.url).origin) throw new Error(`the listing goes on at another host: ${url.host}`);
    if (++answers > mostAnswers) throw new Error("the listing does not end");
    const headers = new Headers(init?.headers);
    if (hub.token) headers.set("authorization", `Bearer ${hub.token}`);
    const limit = AbortSignal.timeout(30_000);
    let tooLong = false;
    try {
      const response = await hub.fetch(url, {
        ...init,
        headers,
        signal: signal ? AbortSignal.any([signal, limit]) : limit,
      });
      if (response.status === 429 || response.status >= 500) {
        await response.body?.cancel();
        throw new Unreachable(failureOf(response));
      }
      if (response.ok && isPage(response)) {
        await response.body?.cancel();
        throw odd(hub, url.pathname, "an answer of the hub's API", "a web page (text/html)");
      }
      const parts: Uint8Array[] = [];
      let bytes = 0;
      for await (const part of response.body ?? []) {
        bytes += part.length;
        if (bytes > smallFileBytes) {
          tooLong = true;
          break;
        }
        parts.push(part);
      }
      if (!tooLong) {
        const { status, statusText } = response;
        // a copy of the headers: those of another fetch are of another class
        return new Response(bytes > 0 ? Buffer.concat(parts) : null, {
          status,
          statusText,
          headers: [...response.headers],
        });
      }
    } catch (cause) {
      if (cause instanceof SoftpromptError || cause instanceof Unreachable) throw cause;
      if (signal?.aborted) throw interrupted(signal, "the download was stopped", { where: hub.url });
      throw new Unreachable(connectionFailure(cause, hub.env));
    }
    throw new Error("the answer is too long");
  };
}

function odd(hub: Hub, id: string, expected: string, got: unknown): SoftpromptError {
  return new SoftpromptError("network", "the hub answered something else than expected", {
    where: `${hub.url} (${id})`,
    expected,
    got,
    hint: "is HF_ENDPOINT really a hub? A captive portal or proxy may have answered in its place",
  });
}
