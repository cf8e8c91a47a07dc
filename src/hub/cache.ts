/**
 * @file The hub's cache on disk, in Hugging Face's own layout, so that what Python fetched is found here and the other way round.
 *
 * models--ORG--NAME/refs/REVISION holds a commit; snapshots/COMMIT/FILE is a link to blobs/ETAG.
 * Source: huggingface.co/docs/huggingface_hub/guides/manage-cache (checked with huggingface_hub 1.x and @huggingface/hub 2.17).
 */
import { copyFile, link, readdir, readFile, rename, stat, symlink } from "node:fs/promises";
import { dirname, join, relative } from "node:path";
import { SoftpromptError } from "../base/errors.js";
import { hubCache, ioError, makeCacheFolder, writeFileAtomic } from "../base/files.js";
import { cacheHome, expandPath } from "../base/home.js";
import { parseIndex } from "../model/checkpoint.js";

/** $HF_HUB_CACHE, else $HF_HOME/hub, else $XDG_CACHE_HOME/huggingface/hub, else ~/.cache/huggingface/hub. @throws SoftpromptError "io" where there is no home. */
export function hubCacheFolder(env: NodeJS.ProcessEnv = process.env): string {
  const given = env.HF_HUB_CACHE || env.HUGGINGFACE_HUB_CACHE;
  if (given) return expandPath(given, env);
  const home = hubHome(env);
  if (home !== null) return join(home, "hub");
  throw new SoftpromptError("io", "this user has no home folder for the hub's cache", {
    where: "hub's cache",
    hint: "set HF_HOME to a folder that may be written, or give the path of a model's folder",
  });
}

/** $HF_TOKEN, else what `hf auth login` left in the home of the cache; undefined when there is none. */
export async function hubToken(env: NodeJS.ProcessEnv = process.env): Promise<string | undefined> {
  const given = env.HF_TOKEN || env.HUGGING_FACE_HUB_TOKEN;
  if (given) return given.trim();
  const home = hubHome(env);
  const file =
    (env.HF_TOKEN_PATH && expandPath(env.HF_TOKEN_PATH, env)) || (home === null ? undefined : join(home, "token"));
  if (file === undefined) return undefined;
  return (await readFile(file, "utf8").catch(() => "")).trim() || undefined;
}

function hubHome(env: NodeJS.ProcessEnv): string | null {
  if (env.HF_HOME) return expandPath(env.HF_HOME, env);
  const home = cacheHome(env);
  return home === null ? null : join(home, "huggingface");
}

/** The part of the cache that holds one model. */
export interface CachedModel {
  /** Folder of one commit, whether it exists or not. */
  snapshot(commit: string): string;
  /** Where a blob lies, or will. */
  blob(etag: string): string;
  /** The commit a branch or tag pointed to when it was last asked for, or null. */
  commitOf(revision: string): Promise<string | null>;
  /** The pull request that stood in for main when the hub was last asked, or null. */
  converted(): Promise<{ readonly revision: string; readonly commit: string } | null>;
  rememberConverted(revision: string): void;
  /** Remembers it. */
  remember(revision: string, commit: string): void;
  /** Makes a complete blob appear in a snapshot under a file's name. */
  place(etag: string, commit: string, file: string): Promise<void>;
}

/**
 * A file beside Hugging Face's own folders; its tools look only into those. A cached pull request may be from anybody; the one named here
 * is from the hub's bot.
 */
const conversionFile = ".softprompt-converted";

export const commitPattern = /^[0-9a-f]{40}$/;

/** @param id a checked hub id: "name" or "organisation/name". */
export function cachedModel(cacheDir: string, id: string): CachedModel {
  const root = join(cacheDir, ["models", ...id.split("/")].join("--"));
  const snapshot = (commit: string) => join(root, "snapshots", commit);
  const blob = (etag: string) => join(root, "blobs", etag);
  return {
    snapshot,
    blob,
    async commitOf(revision) {
      if (commitPattern.test(revision)) return revision;
      const commit = (await readFile(join(root, "refs", revision), "utf8").catch(() => "")).trim();
      return commitPattern.test(commit) ? commit : null;
    },
    async converted() {
      const revision = (await readFile(join(root, conversionFile), "utf8").catch(() => "")).trim();
      const commit = /^refs\/pr\/\d{1,9}$/.test(revision) ? await this.commitOf(revision) : null;
      return commit === null ? null : { revision, commit };
    },
    rememberConverted(revision) {
      writeFileAtomic(join(root, conversionFile), revision);
    },
    remember(revision, commit) {
      if (!commitPattern.test(revision)) writeFileAtomic(join(root, "refs", revision), commit);
    },
    async place(etag, commit, file) {
      const path = join(snapshot(commit), file);
      if (await stat(path).catch(() => null)) return;
      makeCacheFolder(dirname(path), hubCache);
      const temporary = `${path}.${process.pid}`;
      await symlink(relative(dirname(path), blob(etag)), temporary)
        .catch(() => link(blob(etag), temporary)) // Windows lets only some accounts make symbolic links
        .catch(() => copyFile(blob(etag), temporary))
        .then(() => rename(temporary, path))
        .catch((cause) => {
          throw ioError(cause, path);
        });
    },
  };
}

/** What a folder lacks to be opened as a model: "" if nothing, else the first missing file. */
export async function firstMissing(folder: string): Promise<string> {
  const names = new Set(await readdir(folder).catch(() => []));
  // a broken link is listed too, so look through it
  const there = async (name: string) => names.has(name) && (await stat(join(folder, name)).catch(() => null)) !== null;
  if (!(await there("config.json"))) return "config.json";
  if (await there("model.safetensors")) return "";
  const index = "model.safetensors.index.json";
  if (!(await there(index))) return "model.safetensors";
  const text = await readFile(join(folder, index), "utf8");
  for (const shard of parseIndex(text, join(folder, index)).keys()) if (!(await there(shard))) return shard;
  return "";
}
