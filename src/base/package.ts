/**
 * @file The package itself: its version and where its files lie, in a clone as in node_modules. In: nothing. Out: paths.
 */
import { readFileSync } from "node:fs";
import { dirname, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";

/** Folder with package.json, models/ and examples/; two above this file in src/ and in dist/ alike. */
export const packageRoot = resolve(dirname(fileURLToPath(import.meta.url)), "../..");

/** name, version and description from package.json. */
export function packageInfo(): { name: string; version: string; description: string } {
  const { name, version, description } = JSON.parse(readFileSync(join(packageRoot, "package.json"), "utf8"));
  return { name, version, description };
}

/** Path of a file that ships with the package, e.g. packageFile("models/t5-nano"). */
export function packageFile(path: string): string {
  return join(packageRoot, path);
}
