/**
 * @file From a model's name to a folder with its files: a path as it is, a hub id through the cache.
 *
 * In: "folder", "name", "organisation/name" or either with "@revision". Out: a folder that openCheckpoint can open.
 * Fetched are only config.json, the tokenizer, and safetensors; every file is pinned to one commit and checked against the digest that the
 * hub lists. Listings come from @huggingface/hub (2.17); it cannot resume a download, so download.ts does that.
 * Names in a listing never become paths: files are looked up in it by names we know, or that a checked index gives.
 */
import { readFile, rename, stat, statfs } from "node:fs/promises";
import { join } from "node:path";
import { HUB_URL, HubApiError, listFiles, modelInfo } from "@huggingface/hub";
import { SoftpromptError } from "../base/errors.js";
import { ioError, makeFolder } from "../base/files.js";
import { readConfig } from "../model/architectures.js";
import { parseIndex } from "../model/checkpoint.js";
import { type CachedModel, cachedModel, commitPattern, firstMissing, hubCacheFolder, hubToken } from "./cache.js";
import { type Download, download } from "./download.js";

export interface HubOptions {
  /** Branch, tag or commit. Default "main", or what follows "@" in the name. */
  revision?: string;
  /** Folder of the hub's cache. Default hubCacheFolder(). */
  cacheDir?: string;
  /** Use the cache only. Default $HF_HUB_OFFLINE. */
  offline?: boolean;
  /** Default $HF_ENDPOINT, else the Hugging Face hub. */
  hubUrl?: string;
  /** Default $HF_TOKEN, else the token of `hf auth login`. Sent to the hub only, never to where it redirects. */
  token?: string;
  onProgress?: (progress: HubProgress) => void;
  signal?: AbortSignal;
  env?: NodeJS.ProcessEnv;
  /** Milliseconds before the first retry. Default 1000. */
  retryWait?: number;
}

/** Bytes over all files of the model; those that were in the cache count as done. */
export interface HubProgress {
  readonly file: string;
  readonly done: number;
  readonly total: number;
}

export interface ResolvedModel {
  readonly folder: string;
  /** The path as given, or "organisation/name@commit". */
  readonly name: string;
  /** null for a path. */
  readonly commit: string | null;
  readonly warnings: readonly string[];
}

const indexFile = "model.safetensors.index.json";
const smallFiles = [
  "config.json",
  "tokenizer.json",
  "spiece.model",
  "tokenizer_config.json",
  "special_tokens_map.json",
];
/** Bytes of a file that is no weights, and of one answer of the hub's API. */
const smallFileBytes = 50_000_000;
/** Answers of the API per model: a listing comes in pages. */
const mostAnswers = 50;

/** Resolves a model's name. @throws SoftpromptError "checkpoint" (no such model), "network", "io", "interrupted". */
export async function resolveModel(nameOrPath: string, options: HubOptions = {}): Promise<ResolvedModel> {
  const env = options.env ?? process.env;
  if (await stat(nameOrPath).catch(() => null))
    return { folder: nameOrPath, name: nameOrPath, commit: null, warnings: [] };
  const { id, revision } = readName(nameOrPath, options.revision);
  const cache = cachedModel(options.cacheDir ?? hubCacheFolder(env), id);
  const offline = options.offline || /^(1|true|yes|on)$/i.test(env.HF_HUB_OFFLINE ?? "");
  if (offline) return fromCache(cache, id, revision, null);
  const hub: Hub = {
    url: (options.hubUrl ?? env.HF_ENDPOINT ?? HUB_URL).replace(/\/+$/, ""),
    token: options.token ?? (await hubToken(env)),
  };
  try {
    return await fromHub(hub, cache, id, revision, options);
  } catch (error) {
    // an unreachable hub need not stop work on a model that is here; any other failure is told
    if (!(error instanceof Unreachable)) throw error;
    const failure = new SoftpromptError("network", "the hub cannot be reached", {
      where: `${hub.url} (${id})`,
      hint: `there is no folder ${id} here, so a hub was asked; if that was meant, check the connection and HF_ENDPOINT (--offline uses the local cache only)`,
      cause: error.cause,
    });
    return fromCache(cache, id, revision, failure);
  }
}

interface Hub {
  readonly url: string;
  readonly token: string | undefined;
}

/** The API could not be asked at all. Never leaves this file. */
class Unreachable extends Error {}

interface Listed {
  readonly bytes: number;
  readonly etag: string;
  readonly kind: "sha256" | "gitBlob";
}

async function fromCache(cache: CachedModel, id: string, revision: string, failure: SoftpromptError | null) {
  const commit = await cache.commitOf(revision);
  const missing = commit === null ? "this revision" : await firstMissing(cache.snapshot(commit));
  if (commit !== null && missing === "") {
    const warnings = failure ? [`${failure.problem}; using the cached ${id}@${commit.slice(0, 12)}`] : [];
    return { folder: cache.snapshot(commit), name: `${id}@${commit}`, commit, warnings };
  }
  if (failure) throw failure;
  throw new SoftpromptError("network", "this model is not in the local cache, and --offline forbids asking the hub", {
    where: `${id}@${revision}`,
    expected: cache.snapshot(commit ?? "COMMIT"),
    got: `without ${missing}`,
    hint: "run once without --offline, or give the path of a folder (there is none of that name either)",
  });
}

async function fromHub(hub: Hub, cache: CachedModel, id: string, revision: string, options: HubOptions) {
  const api = boundedFetch(hub, options.signal);
  const at = { hubUrl: hub.url, fetch: api };
  const info = await asked(hub, id, revision, () =>
    modelInfo({ name: id, revision, additionalFields: ["sha"], ...at }),
  );
  const commit: unknown = info.sha;
  if (typeof commit !== "string" || !commitPattern.test(commit))
    throw odd(hub, id, "a commit of 40 hex digits", commit);
  const result = { folder: cache.snapshot(commit), name: `${id}@${commit}`, commit, warnings: [] };
  const listed = await asked(hub, id, revision, () =>
    readListing(hub, id, listFiles({ repo: id, revision: commit, ...at })),
  );

  const url = (file: string) => `${hub.url}/${id}/resolve/${commit}/${file}`;
  const weights = listed.has("model.safetensors") ? "model.safetensors" : listed.has(indexFile) ? indexFile : null;
  const small = smallFiles.filter((file) => listed.has(file));
  let plan = weights === null ? small : [...small, weights]; // what the total counts; shards join when the index is read
  const done = new Map<string, number>();
  const fetchAll = async (files: readonly string[]) => {
    plan = [...new Set([...plan, ...files])];
    const total = plan.reduce((sum, file) => sum + listed.get(file)!.bytes, 0);
    await checkSpace(
      cache,
      files.filter((file) => !done.has(file)).map((file) => listed.get(file)!),
    );
    for (const file of files) {
      const entry = listed.get(file)!;
      const report = (have: number) => {
        done.set(file, have);
        options.onProgress?.({ file, done: [...done.values()].reduce((a, b) => a + b, 0), total });
      };
      await fetchBlob(cache, entry, url(file), hub, { ...options, onBytes: report });
      await cache.place(entry.etag, commit, file);
    }
  };

  if (!listed.has("config.json"))
    throw new SoftpromptError("checkpoint", "this repository holds no config.json", {
      where: `${id}@${revision}`,
      got: [...listed.keys()].slice(0, 8),
      hint: "is it an adapter, a dataset, or a model in another format?",
    });
  if (weights === null) throw withoutSafetensors(id, revision, [...listed.keys()]);
  await fetchAll(small);
  // refuse what we cannot run before its gigabytes come
  readConfig(await readFile(join(result.folder, "config.json"), "utf8"), `${id}/config.json`);
  await fetchAll([weights]);
  if (weights === indexFile) {
    const where = `${id}/${indexFile}`;
    const shards = [...parseIndex(await readFile(join(result.folder, indexFile), "utf8"), where).keys()].sort();
    const missing = shards.find((shard) => !listed.has(shard));
    if (missing !== undefined)
      throw new SoftpromptError("checkpoint", `shard ${missing} is not in the repository`, { where });
    await fetchAll(shards);
  }
  cache.remember(revision, commit);
  return result;
}

async function fetchBlob(
  cache: CachedModel,
  entry: Listed,
  url: string,
  hub: Hub,
  options: HubOptions & { onBytes: (have: number) => void },
): Promise<void> {
  const blob = cache.blob(entry.etag);
  const complete = async () => (await stat(blob).catch(() => null))?.size === entry.bytes;
  if (!(await complete())) {
    const what: Download = {
      url,
      headers: hub.token ? { authorization: `Bearer ${hub.token}` } : {},
      bytes: entry.bytes,
      digest: { kind: entry.kind, hex: entry.etag },
    };
    const part = `${blob}.incomplete`;
    makeFolder(join(blob, ".."));
    await download(what, part, { onBytes: options.onBytes, signal: options.signal, wait: options.retryWait });
    await rename(part, blob).catch(async (cause) => {
      if (!(await complete())) throw ioError(cause, blob); // else another process finished the same file first
    });
  }
  options.onBytes(entry.bytes);
}

/** Which files there are, how long, and with which digest. Directories and names of no interest stay out by being unasked for. */
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

/** Says beforehand that the disk is too small, where the system tells. */
async function checkSpace(cache: CachedModel, entries: readonly Listed[]): Promise<void> {
  let need = 0;
  for (const { etag, bytes } of entries) {
    const blob = cache.blob(etag);
    const have = (await stat(blob).catch(() => null)) ?? (await stat(`${blob}.incomplete`).catch(() => null));
    need += Math.max(0, bytes - (have?.size ?? 0));
  }
  const folder = join(cache.blob("x"), "..");
  makeFolder(folder);
  const disk = await statfs(folder).catch(() => null);
  if (disk && disk.bavail * disk.bsize < need)
    throw new SoftpromptError("io", "the disk of the hub's cache is too full for this model", {
      where: folder,
      expected: `${need} bytes free`,
      got: disk.bavail * disk.bsize,
      hint: "free some space, or set HF_HOME to a folder on another disk",
    });
}

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
    throw new Unreachable("", { cause: error });
  }
}

/** A fetch for the API: sends the token to the hub alone, waits 30 s at most, reads 50 MB at most, and a bounded number of pages. */
function boundedFetch(hub: Hub, signal: AbortSignal | undefined): typeof fetch {
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
      const response = await fetch(url, {
        ...init,
        headers,
        signal: signal ? AbortSignal.any([signal, limit]) : limit,
      });
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
      if (!tooLong) return new Response(bytes > 0 ? Buffer.concat(parts) : null, response);
    } catch (cause) {
      if (signal?.aborted)
        throw new SoftpromptError("interrupted", "the download was stopped", { where: hub.url, cause });
      throw new Unreachable("", { cause });
    }
    throw new Error("the answer is too long");
  };
}

/** "organisation/name@revision" → its parts; refuses what is neither an id nor a revision. */
function readName(name: string, asked: string | undefined): { id: string; revision: string } {
  const [, id, , inName] = /^([A-Za-z0-9][\w.-]{0,95}(\/[A-Za-z0-9][\w.-]{0,95})?)(?:@(.+))?$/.exec(name) ?? [];
  if (id === undefined || /--|\.\./.test(id))
    throw new SoftpromptError("checkpoint", "there is no such model folder", {
      where: name,
      expected: "a folder that exists, or a hub id such as google/t5-small-lm-adapt",
    });
  const revision = asked ?? inName ?? "main";
  if (!/^[A-Za-z0-9][\w.-]*(\/[A-Za-z0-9][\w.-]*)*$/.test(revision) || revision.includes("..") || revision.length > 200)
    throw new SoftpromptError("usage", "this is not a revision", {
      where: name,
      expected: "a branch, a tag, or a commit of 40 hex digits",
      got: revision,
    });
  return { id, revision };
}

function withoutSafetensors(id: string, revision: string, files: readonly string[]): SoftpromptError {
  return new SoftpromptError("checkpoint", "this repository holds no safetensors weights", {
    where: `${id}@${revision}`,
    expected: `model.safetensors, or ${indexFile} with its shards`,
    got: files.filter((file) => !file.includes("/")).slice(0, 12),
    hint:
      "pickles (pytorch_model.bin) are not read, they can run code. Many repositories have a converted copy as a pull request: " +
      "try --revision refs/pr/1 (2, 3 …); or convert once in Python with save_pretrained(folder, safe_serialization=True)",
  });
}

function odd(hub: Hub, id: string, expected: string, got: unknown): SoftpromptError {
  return new SoftpromptError("network", "the hub answered something else than expected", {
    where: `${hub.url} (${id})`,
    expected,
    got,
    hint: "is HF_ENDPOINT really a hub? A captive portal or proxy may have answered in its place",
  });
}
