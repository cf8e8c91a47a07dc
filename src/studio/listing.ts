/**
 * @file The runs under the studio's folder, their paths as the page names them. In: the folder. Out: Listing.
 */
import { existsSync } from "node:fs";
import { resolve } from "node:path";
import { ApiError } from "../serve/api-error.js";
import { type ListedRun, listRuns } from "../study/run-list.js";
import { innerPath, shownPath } from "./paths.js";

export interface Listing {
  /** All runs, perhaps a little older than now. */
  readonly all: () => readonly ListedRun[];
  /** One run as it is now. @throws ApiError 404. */
  readonly find: (path: string) => ListedRun;
}

export function openListing(folder: string): Listing {
  const list = openList(folder);
  return {
    all: () => list(),
    find(path) {
      const same = (one: ListedRun) => one.path === path;
      const run = list().find(same) ?? list(true).find(same);
      if (run === undefined) throw new ApiError(404, "there is no such run", { code: "not_found", param: "path" });
      if (run.kind !== "run" && run.kind !== "search") return run;
      const inside = innerPath(folder, path);
      const fresh = listRuns(inside).find((one) => resolve(one.path) === inside);
      return fresh === undefined ? run : { ...fresh, path, model: fresh.model ?? run.model };
    },
  };
}

/**
 * A folder of many runs takes a while to read: it is read again only when
 * ten times as long has passed, or where `now` is asked for.
 */
function openList(folder: string): (now?: boolean) => readonly ListedRun[] {
  let kept: readonly ListedRun[] = [];
  let [at, took] = [Number.NEGATIVE_INFINITY, 0];
  return (now = false) => {
    const began = performance.now();
    if (!now && began - at < 10 * took) return kept;
    kept = existsSync(folder)
      ? listRuns(folder).map((run) => ({ ...run, path: shownPath(folder, resolve(run.path)) ?? run.path }))
      : [];
    at = performance.now();
    took = at - began;
    return kept;
  };
}
