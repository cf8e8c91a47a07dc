/**
 * @file Some files of a repository by known names, through the hub's cache. Adapters are fetched like this; models with resolveModel.
 *
 * In: a hub id, the names that are wanted. Out: the folder of one commit with those of them that the repository has. The rules are a model's:
 * one commit, digests checked, a cached copy where the hub cannot be reached, the cache alone with `offline`.
 */
import { stat } from "node:fs/promises";
import { join } from "node:path";
import { SoftpromptError } from "../base/errors.js";
import { boundedFetch, commitOf, filesOf, Unreachable } from "./api.js";
import { type CachedModel, cachedModel, hubCacheFolder } from "./cache.js";
import { checkSpace, fetchBlob, type HubOptions, isOffline, openHub, unreached } from "./hub.js";
import { readName } from "./names.js";

/** What is wanted of a repository. */
export interface WantedFiles {
  /** Name → most bytes, in the order that they are fetched. A file is complete when it appears. */
  readonly files: Readonly<Record<string, number>>;
  /** Groups of names: a download is complete when every file of one group is there. */
  readonly whole: readonly (readonly string[])[];
  /** What the files are, in errors. */
  readonly what: string;
}

/** Files of one commit. */
export interface ResolvedFiles {
  readonly folder: string;
  /** "organisation/name@commit" */
  readonly name: string;
  /** Every file of the repository; null where it was not asked. */
  readonly listed: readonly string[] | null;
  readonly warnings: readonly string[];
}

/** @throws SoftpromptError "adapter" (no such files), "checkpoint" (no such repository), "network", "io", "interrupted". */
export async function resolveFiles(
  name: string,
  wanted: WantedFiles,
  options: HubOptions = {},
): Promise<ResolvedFiles> {
  const env = options.env ?? process.env;
  const { id, revision } = readName(name, options.revision);
  const cache = cachedModel(options.cacheDir ?? hubCacheFolder(env), id);
  const place = { id, revision, cache };
  if (isOffline(options, env)) return fromCache(place, wanted, null);
  const hub = await openHub(options, env);
  try {
    const api = boundedFetch(hub, options.signal);
    const commit = await commitOf(hub, id, revision, api);
    const listed = await filesOf(hub, id, commit, api);
    const names = [...listed.keys()];
    const found = resolved(place, commit, names, []);
    if (!wanted.whole.some((group) => group.every((file) => listed.has(file))))
      throw new SoftpromptError("adapter", `this repository holds no ${wanted.what}`, {
        where: `${id}@${revision}`,
        expected: wanted.whole.map((group) => group.join(" and ")).join(" or "),
        got: names.slice(0, 8),
      });
    const files = Object.keys(wanted.files).filter((file) => listed.has(file));
    const large = files.find((file) => listed.get(file)!.bytes > wanted.files[file]!);
    if (large !== undefined)
      throw new SoftpromptError("adapter", `${large} is too large for ${wanted.what}`, {
        where: `${id}@${revision}`,
        expected: `at most ${wanted.files[large]!} bytes`,
        got: listed.get(large)!.bytes,
      });
    await checkSpace(
      cache,
      files.map((file) => listed.get(file)!),
    );
    const total = files.reduce((sum, file) => sum + listed.get(file)!.bytes, 0);
    let before = 0;
    for (const file of files) {
      const entry = listed.get(file)!;
      const onBytes = (have: number) => options.onProgress?.({ file, done: before + have, total });
      await fetchBlob(cache, entry, `${hub.url}/${id}/resolve/${commit}/${file}`, hub, { ...options, onBytes });
      await cache.place(entry.etag, commit, file);
      before += entry.bytes;
    }
    cache.remember(revision, commit);
    return found;
  } catch (error) {
    if (!(error instanceof Unreachable)) throw error;
    return fromCache(place, wanted, unreached(hub, id, error));
  }
}

interface Place {
  readonly id: string;
  readonly revision: string;
  readonly cache: CachedModel;
}

function resolved({ id, cache }: Place, commit: string, listed: readonly string[] | null, warnings: readonly string[]) {
  return { folder: cache.snapshot(commit), name: `${id}@${commit}`, listed, warnings };
}

async function fromCache(place: Place, wanted: WantedFiles, failure: SoftpromptError | null): Promise<ResolvedFiles> {
  const { id, revision, cache } = place;
  const commit = await cache.commitOf(revision);
  if (commit !== null)
    for (const group of wanted.whole) {
      const there = await Promise.all(group.map((file) => stat(join(cache.snapshot(commit), file)).catch(() => null)));
      if (!there.includes(null))
        return resolved(
          place,
          commit,
          null,
          failure ? [`${failure.problem}; using the cached ${id}@${commit.slice(0, 12)}`] : [],
        );
    }
  if (failure) throw failure;
  throw new SoftpromptError(
    "network",
    `this ${wanted.what} is not in the local cache, and --offline forbids asking the hub`,
    {
      where: `${id}@${revision}`,
      expected: cache.snapshot(commit ?? "COMMIT"),
      hint: "run once without --offline, or give the path of a folder (there is none of that name either)",
    },
  );
}
