/**
 * @file From a model's name to a folder with its files: a path as it is, a hub id through the cache.
 *
 * In: "folder", "name", "organisation/name" or either with "@revision"; or "organisation/name/FILE.gguf". Out: a folder, or a GGUF file, that
 * openCheckpoint can open. Fetched are only config.json, the tokenizer, and safetensors (or the one GGUF file); every file is pinned to one commit and checked against the digest that the
 * hub lists. Listings come from @huggingface/hub (2.17); it cannot resume a download, so download.ts does that.
 * Names in a listing never become paths: files are looked up in it by names we know, or that a checked index or the user gives.
 * Where main has pickles alone, the copy that the hub's own conversion bot has put into a pull request is taken, and nobody else's: anyone can
 * open a pull request with other weights.
 */
import { readFile, rename, stat, statfs } from "node:fs/promises";
import { join } from "node:path";
import { HUB_URL, HubApiError, listFiles, modelInfo } from "@huggingface/hub";
import { SoftpromptError } from "../base/errors.js";
import { ioError, makeFolder } from "../base/files.js";
import { isObject, own } from "../base/json.js";
import { readConfig } from "../model/architectures.js";
import { parseIndex } from "../model/checkpoint.js";
import { type CachedModel, cachedModel, commitPattern, firstMissing, hubCacheFolder, hubToken } from "./cache.js";
import { type Download, download } from "./download.js";
import { connectionFailure, type Failure, failureOf, isPage, webFetch, withoutPassword } from "./web.js";

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
  "added_tokens.json",
  "generation_config.json",
  "chat_template.jinja",
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
  const { id, revision, file } = readName(nameOrPath, options.revision);
  const cache = cachedModel(options.cacheDir ?? hubCacheFolder(env), id);
  const offline = options.offline || /^(1|true|yes|on)$/i.test(env.HF_HUB_OFFLINE ?? "");
  if (offline) return fromCache(cache, id, revision, file, null);
  const hub: Hub = {
    url: hubAddress(options.hubUrl, env),
    token: checkedToken(options.token ?? (await hubToken(env))),
    fetch: await webFetch(env),
    env,
  };
  try {
    return await fromHub(hub, cache, id, revision, file, options);
  } catch (error) {
    // an unreachable hub need not stop work on a model that is here; any other failure is told
    if (!(error instanceof Unreachable)) throw error;
    const { problem, hint, status, cause } = error.failure;
    const failure = new SoftpromptError(
      "network",
      status === undefined ? `the hub cannot be reached: ${problem}` : problem,
      {
        where: `${hub.url} (${id})`,
        hint: `${hint}; there is no folder ${id} here, so a hub was asked (--offline uses the local cache only)`,
        cause,
      },
    );
    return fromCache(cache, id, revision, file, failure);
  }
}

interface Hub {
  readonly url: string;
  readonly token: string | undefined;
  readonly fetch: typeof fetch;
  readonly env: NodeJS.ProcessEnv;
}

/** The API gave no answer of use. Never leaves this file. */
class Unreachable extends Error {
  constructor(readonly failure: Failure) {
    super(failure.problem, { cause: failure.cause });
  }
}

/** The hub's address, without a slash at its end. Whatever is wrong with it, it is not shown whole: it may hold a password. */
function hubAddress(given: string | undefined, env: NodeJS.ProcessEnv): string {
  const text = given ?? (env.HF_ENDPOINT || HUB_URL);
  const wrong = (problem: string) =>
    new SoftpromptError("usage", problem, {
      where: given === undefined ? "HF_ENDPOINT" : "the hub's address",
      expected: `an address such as ${HUB_URL}`,
      got: withoutPassword(text),
    });
  if (!URL.canParse(text)) throw wrong("the hub's address is not a URL");
  const url = new URL(text);
  if (!/^https?:$/.test(url.protocol)) throw wrong("the hub's address must begin with https:// or http://");
  if (url.username !== "" || url.password !== "")
    throw wrong("the hub's address must not hold a name and password: set HF_TOKEN instead");
  return text.replace(/\/+$/, "");
}

/** @throws SoftpromptError("usage") for what no request can carry, without showing it. */
function checkedToken(token: string | undefined): string | undefined {
  if (token === undefined || /^[\x21-\x7e]+$/.test(token)) return token;
  throw new SoftpromptError("usage", "the hub's token holds a character that no token has (a blank, a line break)", {
    where: "HF_TOKEN, HF_TOKEN_PATH or the file that `hf auth login` wrote",
    hint: "copy the token again from the hub's settings",
  });
}

interface Listed {
  readonly bytes: number;
  readonly etag: string;
  readonly kind: "sha256" | "gitBlob";
}

async function fromCache(
  cache: CachedModel,
  id: string,
  revision: string,
  file: string | null,
  failure: SoftpromptError | null,
): Promise<ResolvedModel> {
  const lacks = async (commit: string | null) => {
    if (commit === null) return "this revision";
    if (file === null) return firstMissing(cache.snapshot(commit));
    return (await stat(join(cache.snapshot(commit), file)).catch(() => null)) ? "" : file;
  };
  const commit = await cache.commitOf(revision);
  const missing = await lacks(commit);
  // main may be known by its converted copy alone
  const others = missing !== "" && revision === "main" && file === null ? await cache.pullRequests() : [];
  for (const found of missing === "" ? [{ revision, commit: commit! }] : others) {
    if ((await lacks(found.commit)) !== "") continue;
    const warnings = [
      ...(failure ? [`${failure.problem}; using the cached ${id}@${found.commit.slice(0, 12)}`] : []),
      ...(found.revision === revision ? [] : [converted(id, found.revision)]),
    ];
    return resolved(cache, id, found.commit, file, warnings);
  }
  if (failure) throw failure;
  throw new SoftpromptError("network", "this model is not in the local cache, and --offline forbids asking the hub", {
    where: `${id}@${revision}`,
    expected: cache.snapshot(commit ?? "COMMIT"),
    got: `without ${missing}`,
    hint: "run once without --offline, or give the path of a folder (there is none of that name either)",
  });
}

function resolved(
  cache: CachedModel,
  id: string,
  commit: string,
  file: string | null,
  warnings: readonly string[],
): ResolvedModel {
  const folder = cache.snapshot(commit);
  return {
    folder: file === null ? folder : join(folder, file),
    name: file === null ? `${id}@${commit}` : `${id}/${file}@${commit}`,
    commit,
    warnings,
  };
}

function converted(id: string, revision: string): string {
  return `${id} has no safetensors on main; using the hub's converted copy of it, ${revision}`;
}

async function fromHub(
  hub: Hub,
  cache: CachedModel,
  id: string,
  revision: string,
  file: string | null,
  options: HubOptions,
): Promise<ResolvedModel> {
  const api = boundedFetch(hub, options.signal);
  const at = { hubUrl: hub.url, fetch: api };
  const info = await asked(hub, id, revision, () =>
    modelInfo({ name: id, revision, additionalFields: ["sha"], ...at }),
  );
  const commit: unknown = info.sha;
  if (typeof commit !== "string" || !commitPattern.test(commit))
    throw odd(hub, id, "a commit of 40 hex digits", commit);
  const result = resolved(cache, id, commit, file, []);
  const listed = await asked(hub, id, revision, () =>
    readListing(hub, id, listFiles({ repo: id, revision: commit, ...at })),
  );

  const url = (file: string) => `${hub.url}/${id}/resolve/${commit}/${file}`;
  const weights =
    file ?? (listed.has("model.safetensors") ? "model.safetensors" : listed.has(indexFile) ? indexFile : null);
  const small = smallFiles.filter((file) => listed.has(file));
  let plan = weights === null ? small : file !== null ? [file] : [...small, weights]; // what the total counts; shards join when the index is read
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

  if (file !== null) {
    if (!listed.has(file))
      throw new SoftpromptError("checkpoint", "this repository holds no such file", {
        where: `${id}/${file}@${revision}`,
        got: [...listed.keys()].filter((name) => name.endsWith(".gguf")).slice(0, 12),
      });
    await fetchAll([file]);
    cache.remember(revision, commit);
    return result;
  }
  if (!listed.has("config.json"))
    throw new SoftpromptError("checkpoint", "this repository holds no config.json", {
      where: `${id}@${revision}`,
      got: [...listed.keys()].slice(0, 8),
      hint: [...listed.keys()].some((name) => name.endsWith(".gguf"))
        ? `it holds GGUF files: name one, e.g. ${id}/${[...listed.keys()].find((name) => name.endsWith(".gguf"))}`
        : "is it an adapter, a dataset, or a model in another format?",
    });
  if (weights === null) {
    const pull = revision === "main" ? await conversionOf(hub, id, api) : null;
    if (pull === null) throw withoutSafetensors(id, revision, [...listed.keys()]);
    const copy = await fromHub(hub, cache, id, pull, null, options);
    return { ...copy, warnings: [converted(id, pull), ...copy.warnings] };
  }
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
    const { onBytes, signal, retryWait: wait } = options;
    await download(what, part, { onBytes, signal, wait, fetch: hub.fetch, env: hub.env });
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

/** The pull request in which the hub's own bot has put this repository's weights as safetensors, e.g. "refs/pr/1"; or null. */
async function conversionOf(hub: Hub, id: string, api: typeof fetch): Promise<string | null> {
  const response = await api(`${hub.url}/api/models/${id}/discussions`).catch((error) => {
    if (error instanceof SoftpromptError) throw error;
    return null; // whoever has no discussions has no conversion
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

/** Who converts on the hub's behalf. */
const conversionBot = "SFconvertbot";

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
    const { problem } = failureOf(new Response(null, { status: status >= 200 && status <= 599 ? status : 500 }));
    throw new Unreachable({ problem, hint: "try again later", status, final: false, cause: error });
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
      if (signal?.aborted)
        throw new SoftpromptError("interrupted", "the download was stopped", { where: hub.url, cause });
      throw new Unreachable(connectionFailure(cause, hub.env));
    }
    throw new Error("the answer is too long");
  };
}

/** "organisation/name@revision" → its parts; refuses what is neither an id nor a revision. */
function readName(name: string, asked: string | undefined): { id: string; revision: string; file: string | null } {
  const part = "[A-Za-z0-9][\\w.-]{0,95}";
  const pattern = new RegExp(`^(${part}(?:/${part})?)(?:/(${part}\\.gguf))?(?:@(.+))?$`);
  const [, id, file, inName] = pattern.exec(name) ?? [];
  if (id === undefined || /--|\.\./.test(id) || file?.includes(".."))
    throw new SoftpromptError("checkpoint", "there is no such model folder", {
      where: name,
      expected: "a folder that exists, or a hub id such as google/flan-t5-small",
    });
  const revision = asked ?? inName ?? "main";
  if (!/^[A-Za-z0-9][\w.-]*(\/[A-Za-z0-9][\w.-]*)*$/.test(revision) || revision.includes("..") || revision.length > 200)
    throw new SoftpromptError("usage", "this is not a revision", {
      where: name,
      expected: "a branch, a tag, or a commit of 40 hex digits",
      got: revision,
    });
  return { id, revision, file: file ?? null };
}

function withoutSafetensors(id: string, revision: string, files: readonly string[]): SoftpromptError {
  return new SoftpromptError("checkpoint", "this repository holds no safetensors weights", {
    where: `${id}@${revision}`,
    expected: `model.safetensors, or ${indexFile} with its shards`,
    got: files.filter((file) => !file.includes("/")).slice(0, 12),
    hint:
      "pickles (pytorch_model.bin) are not read, they can run code, and the hub's bot has made no copy of this model. Models that load: " +
      "t5-small, google/flan-t5-small; or convert this one once in Python with save_pretrained(folder, safe_serialization=True)",
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
