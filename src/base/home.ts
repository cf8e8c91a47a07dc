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

/** Where caches lie: $XDG_CACHE_HOME, else ~/.cache; null where there is no home. */
export function cacheHome(env: NodeJS.ProcessEnv): string | null {
  if (env.XDG_CACHE_HOME) return env.XDG_CACHE_HOME;
  const home = homeFolder();
  return home === null ? null : join(home, ".cache");
}
