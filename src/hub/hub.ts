/**
 * @file From a model's name to a folder with its files: a path as it is, a hub id through the cache.
 *
 * In: "folder", "name", "organisation/name" or either with "@revision"; or "organisation/name/FILE.gguf". Out: a folder, or a GGUF file, that
 * openCheckpoint can open. Only config.json, the tokenizer, and safetensors files (or the one GGUF file) are fetched; every file is pinned
 * to one
 * commit and checked against the digest that the hub lists. Listings come from @huggingface/hub (2.17, api.ts); it cannot resume a download, so download.ts does that.
 * Names in a listing never become paths: files are looked up in it by names we know, or that a checked index or the user gives.
 * If main has only pickles, the copy in a pull request of the hub's own conversion bot is used. Pull requests of others are never used,
 * because anyone can open one with other weights.
 */
import { readFile, rename, stat } from "node:fs/promises";
import { join } from "node:path";
import { SoftpromptError } from "../base/errors.js";
import { checkRoom, hubCache, ioError, makeCacheFolder } from "../base/files.js";
import { readConfig } from "../model/architectures.js";
import { parseIndex } from "../model/checkpoint.js";
import {
  boundedFetch,
  commitOf,
  conversionOf,
  filesOf,
  type Hub,
  type Listed,
  smallFiles,
  Unreachable,
} from "./api.js";
import { type CachedModel, cachedModel, firstMissing, hubCacheFolder, hubToken } from "./cache.js";
import { type Download, download } from "./download.js";
import { checkedToken, hubAddress, readName } from "./names.js";
import { webFetch } from "./web.js";

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
/** Resolves a model's name. @throws SoftpromptError "checkpoint" (no such model), "network", "io", "interrupted". */
export async function resolveModel(nameOrPath: string, options: HubOptions = {}): Promise<ResolvedModel> {
  const env = options.env ?? process.env;
  if (await stat(nameOrPath).catch(() => null))
    return { folder: nameOrPath, name: nameOrPath, commit: null, warnings: [] };
  const { id, revision, file } = readName(nameOrPath, options.revision);
  const cache = cachedModel(options.cacheDir ?? hubCacheFolder(env), id);
  if (isOffline(options, env)) return fromCache(cache, id, revision, file, null);
  const hub = await openHub(options, env);
  try {
    return await fromHub(hub, cache, id, revision, file, options);
  } catch (error) {
    // an unreachable hub must not stop work on a model that is in the cache; any other failure is reported
    if (!(error instanceof Unreachable)) throw error;
    return fromCache(cache, id, revision, file, unreached(hub, id, error));
  }
}

/** What is said of a hub that gave no answer of use. */
export function unreached(hub: Hub, id: string, { failure }: Unreachable): SoftpromptError {
  const { problem, hint, status, cause } = failure;
  return new SoftpromptError("network", status === undefined ? `the hub cannot be reached: ${problem}` : problem, {
    where: `${hub.url} (${id})`,
    hint: `${hint}; there is no folder ${id} here, so a hub was asked (--offline uses the local cache only)`,
    cause,
  });
}

/** Whether only the cache may be used. */
export function isOffline({ offline }: Pick<HubOptions, "offline">, env: NodeJS.ProcessEnv): boolean {
  return offline || /^(1|true|yes|on)$/i.test(env.HF_HUB_OFFLINE ?? "");
}

/** The hub by options and environment. */
export async function openHub(options: Pick<HubOptions, "hubUrl" | "token">, env: NodeJS.ProcessEnv): Promise<Hub> {
  return {
    url: hubAddress(options.hubUrl, env),
    token: checkedToken(options.token ?? (await hubToken(env))),
    fetch: await webFetch(env),
    env,
  };
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
  // of main, only the converted copy may be in the cache
  const copy = missing !== "" && revision === "main" && file === null ? await cache.converted() : null;
  const found = missing === "" ? { revision, commit: commit! } : copy;
  if (found && (await lacks(found.commit)) === "") {
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
  const commit = await commitOf(hub, id, revision, api);
  const result = resolved(cache, id, commit, file, []);
  const listed = await filesOf(hub, id, commit, api);

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
    cache.rememberConverted(pull);
    return { ...copy, warnings: [converted(id, pull), ...copy.warnings] };
  }
  await fetchAll(small);
  // refuse a model that we cannot run before its gigabytes are downloaded
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

/** One file into the cache's blobs, whole and with the right digest. */
export async function fetchBlob(
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
    makeCacheFolder(join(blob, ".."), hubCache);
    const { onBytes, signal, retryWait: wait } = options;
    await download(what, part, { onBytes, signal, wait, fetch: hub.fetch, env: hub.env });
    await rename(part, blob).catch(async (cause) => {
      if (!(await complete())) throw ioError(cause, blob); // else another process finished the same file first
    });
  }
  options.onBytes(entry.bytes);
}

/** Reports before the download that the disk is too small, where the system gives the free space. */
export async function checkSpace(cache: CachedModel, entries: readonly Listed[]): Promise<void> {
  let need = 0;
  for (const { etag, bytes } of entries) {
    const blob = cache.blob(etag);
    const have = (await stat(blob).catch(() => null)) ?? (await stat(`${blob}.incomplete`).catch(() => null));
    need += Math.max(0, bytes - (have?.size ?? 0));
  }
  const folder = join(cache.blob("x"), "..");
  makeCacheFolder(folder, hubCache);
  await checkRoom(folder, need, { what: "this model", whose: "the hub's cache", variable: "HF_HOME" });
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
