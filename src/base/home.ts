/**
 * @file The user's home folder, for caches. Out: its path; null where there is none (no HOME, and a uid that no account has).
 */
import { homedir } from "node:os";
import { join } from "node:path";

export function homeFolder(): string | null {
  try {
    return homedir() || null;
  } catch {
    return null;
  }
}

/**
 * A path from the environment, expanded as Python's expanduser and expandvars do, because Hugging Face's tools do so: a leading `~` is the
 * home folder, $NAME and ${NAME} are variables. A shell expands these itself, but the environment files of services and containers do not.
 */
export function expandPath(path: string, env: NodeJS.ProcessEnv): string {
  const home = env.HOME || homeFolder();
  const rooted = home !== null && /^~(?=$|[/\\])/.test(path) ? home + path.slice(1) : path;
  return rooted.replace(
    /\$(?:(\w+)|\{([^}]*)\})/g,
    (whole, bare?: string, braced?: string) => env[bare ?? braced!] ?? whole,
  );
}

/** Where caches lie: $XDG_CACHE_HOME, else ~/.cache; null where there is no home. */
export function cacheHome(env: NodeJS.ProcessEnv): string | null {
  if (env.XDG_CACHE_HOME) return expandPath(env.XDG_CACHE_HOME, env);
  const home = homeFolder();
  return home === null ? null : join(home, ".cache");
}
