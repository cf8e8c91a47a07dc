/**
 * @file Paths as the page names them: relative to the studio's folder, with "/". In: such a path. Out: a path inside the folder, or an
 * ApiError.
 */
import { existsSync, realpathSync } from "node:fs";
import { isAbsolute, join, relative, sep } from "node:path";
import { ApiError, invalid } from "../serve/api-error.js";

/** The studio's folder itself. */
const self = ".";

/** @returns null where the path is outside. */
export function shownPath(folder: string, path: string): string | null {
  const shown = relative(folder, path);
  if (shown === "") return self;
  return isInside(shown) ? shown.split(sep).join("/") : null;
}

/** @throws ApiError 400 for a path that leads out of the folder, by a link too; 404 where nothing is there. */
export function innerPath(folder: string, shown: string): string {
  if (shown === "" || shown.includes("\0")) throw invalid("path: the name of a run is missing", "path");
  const path = join(folder, shown);
  const outside = invalid("path: it leads out of the studio's folder", "path");
  if (!isInside(relative(folder, path) || self)) throw outside;
  if (!existsSync(path)) throw new ApiError(404, "there is no such run", { code: "not_found", param: "path" });
  if (!isInside(relative(realpathSync(folder), realpathSync(path)) || self)) throw outside;
  return path;
}

/** On Windows the way to another drive is an absolute path. */
const isInside = (shown: string) => shown !== ".." && !shown.startsWith(`..${sep}`) && !isAbsolute(shown);
