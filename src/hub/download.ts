/**
 * @file One file from the network, resumable and verified. In: a URL with size and digest known beforehand. Out: the file, whole and true.
 *
 * Bytes go to a `.incomplete` file at their own offsets, so an interrupted download goes on where it stopped, today or
 * after a restart, and two processes that fetch the same file write the same bytes to the same places. Nothing is written beyond the expected size.
 * Source: RFC 9110 §14 (range requests).
 */
import { createHash } from "node:crypto";
import { createReadStream } from "node:fs";
import { type FileHandle, open, rm, stat } from "node:fs/promises";
import { interrupted, SoftpromptError } from "../base/errors.js";
import { ioError } from "../base/files.js";
import { connectionFailure, type Failure, failureOf, isPage, pageFailure, withoutPassword } from "./web.js";

export interface Download {
  readonly url: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly bytes: number;
  /** sha256 of the bytes, or git's blob id (sha1 over "blob LENGTH\0" and the bytes). */
  readonly digest: { readonly kind: "sha256" | "gitBlob"; readonly hex: string };
}

export interface DownloadOptions {
  /** Called with the number of bytes downloaded so far. A restart can make it smaller. */
  onBytes?: (have: number) => void;
  signal?: AbortSignal;
  /** Consecutive failures without a new byte before giving up. Default 5. */
  attempts?: number;
  /** Milliseconds before the first retry, doubled each time. Default 1000. */
  wait?: number;
  /** Default the global one. */
  fetch?: typeof fetch;
  env?: NodeJS.ProcessEnv;
  /** Milliseconds without a byte after which a connection counts as dead. Default 60,000. */
  stall?: number;
}

/** Limit for a server that drops every connection after a few bytes. */
const mostRequests = 1000;

/**
 * Fetches into `part` until it is complete and its digest right; the caller renames it.
 * @throws SoftpromptError "network" (gives up, wrong digest), "io" (no space), "interrupted" (signal).
 */
export async function download(what: Download, part: string, options: DownloadOptions = {}): Promise<void> {
  const { attempts = 5, wait = 1000 } = options;
  let failures = 0;
  let mismatches = 0;
  let requests = 0;
  while (true) {
    const have = await sizeOf(part);
    options.onBytes?.(Math.min(have, what.bytes));
    if (have >= what.bytes) {
      if (have === what.bytes && (await digestOf(part, what)) === what.digest.hex) return;
      await rm(part, { force: true });
      // an old damaged part is worth a second try; a file that is wrong twice is wrong at its source
      if (++mismatches > 1)
        throw new SoftpromptError("network", "the downloaded file is not the one the hub announced", {
          where: what.url,
          expected: `${what.bytes} bytes with ${what.digest.kind} ${what.digest.hex}`,
          hint: "the server or a proxy in between alters it; try again later or from another network",
        });
      continue;
    }
    const problem = await fetchRest(what, part, have, options);
    if (problem === null) continue;
    if (options.signal?.aborted)
      throw interrupted(options.signal, "the download was stopped", {
        where: what.url,
        hint: "run the same command again; it goes on where it stopped",
      });
    failures = (await sizeOf(part)) > have ? 1 : failures + 1;
    // if a server asks to wait longer than this, the download stops and the user must start it again
    const patience = problem.wait === undefined || problem.wait <= mostPatience;
    if (problem.final || !patience || failures >= attempts || ++requests >= mostRequests)
      throw new SoftpromptError("network", problem.problem, {
        where: withoutPassword(what.url),
        got: problem.status === undefined ? undefined : `status ${problem.status}`,
        hint: problem.final ? problem.hint : `${problem.hint}${problem.hint ? "; " : ""}${again}`,
        cause: problem.cause,
      });
    await new Promise((resolve) =>
      setTimeout(resolve, Math.max(problem.wait ?? 0, wait * 2 ** Math.min(failures - 1, 6))),
    );
  }
}

/** Longest wait in milliseconds that Retry-After may ask for. */
const mostPatience = 60_000;

const again = "run the same command again; it goes on where it stopped";

const broken = (problem: string, cause?: unknown): Failure => ({
  ...{ problem, cause, final: false, hint: "" },
});

/** One request for the bytes from `have` on. @returns null when the stream ended well; disk errors are thrown. */
async function fetchRest(
  what: Download,
  part: string,
  have: number,
  options: DownloadOptions,
): Promise<Failure | null> {
  const stalled = new AbortController();
  const alarm = setTimeout(() => stalled.abort(new Error("no bytes came")), options.stall ?? 60_000);
  const signal = options.signal ? AbortSignal.any([options.signal, stalled.signal]) : stalled.signal;
  let handle: FileHandle | undefined;
  try {
    // identity: with compression a range would refer to compressed bytes
    const headers = new Headers({ ...what.headers, "accept-encoding": "identity" });
    if (have > 0) headers.set("range", `bytes=${have}-`);
    const request = options.fetch ?? fetch;
    const response = await request(what.url, { headers, signal }).catch((cause) => ({ failed: cause as unknown }));
    if ("failed" in response) return connectionFailure(response.failed, options.env ?? process.env);
    if (response.ok && isPage(response)) {
      await response.body?.cancel();
      return pageFailure;
    }
    const start = startOf(response, have);
    if (start === null || !response.body) {
      await response.body?.cancel();
      if (response.status === 416) await rm(part, { force: true });
      return failureOf(response);
    }
    handle = await open(part, have > 0 ? "r+" : "w").catch((cause) => {
      throw ioError(cause, part);
    });
    if (start < have) await handle.truncate(start);
    let at = start;
    const chunks = response.body[Symbol.asyncIterator]();
    while (true) {
      const next = await chunks.next().catch((cause) => ({ failed: cause as unknown }));
      if ("failed" in next) return broken("the connection broke", next.failed);
      if (next.done) return at === what.bytes ? null : broken("the connection ended early");
      alarm.refresh();
      const room = what.bytes - at;
      await handle.write(next.value, 0, Math.min(next.value.length, room), at).catch((cause) => {
        throw ioError(cause, part);
      });
      at += Math.min(next.value.length, room);
      options.onBytes?.(at);
      if (next.value.length > room) {
        await chunks.return?.();
        return null; // more than announced: the digest decides
      }
    }
  } finally {
    clearTimeout(alarm);
    await handle?.close();
  }
}

/** Offset at which a response's body starts: where we asked (206), at 0 (200: the server knows no ranges), or null. */
function startOf(response: Response, have: number): number | null {
  if (response.status === 200) return 0;
  if (response.status !== 206) return null;
  const start = /^bytes (\d+)-/.exec(response.headers.get("content-range") ?? "")?.[1];
  return Number(start) === have ? have : null;
}

async function sizeOf(path: string): Promise<number> {
  return (await stat(path).catch(() => null))?.size ?? 0;
}

async function digestOf(path: string, { bytes, digest }: Download): Promise<string> {
  const hash = digest.kind === "sha256" ? createHash("sha256") : createHash("sha1").update(`blob ${bytes}\0`);
  for await (const chunk of createReadStream(path, { highWaterMark: 1 << 20 })) hash.update(chunk as Uint8Array);
  return hash.digest("hex");
}
