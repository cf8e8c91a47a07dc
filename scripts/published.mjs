/**
 * @file Which files of the built repository are published. In: npm's list of files. Out: those that a source stands behind: what an earlier
 * build left in dist is not published.
 */
import { existsSync } from "node:fs";
import { join } from "node:path";

/** Built files that are not made of a source of their own name. */
const made = { "dist/studio/page/page.js": "src/studio/page/main.tsx" };

const sourceOf = (path) => made[path] ?? path.replace(/^dist/, "src").replace(/\.(js|js\.map|d\.ts)$/, ".ts");

/** @param files `{ path }`, paths from the root with "/" */
export const published = (files, root) =>
  files.filter(({ path }) => !path.startsWith("dist/") || existsSync(join(root, sourceOf(path))));
