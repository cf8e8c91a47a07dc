/** @file Runs the long form of a harness in TypeScript: bundles FOLDER's long.ts and worker.ts, calls long's main, cleans up. */
import { rmSync } from "node:fs";
import { basename, join, resolve } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";
import { rolldown } from "rolldown";

/**
 * Sets the exit code to what `main(worker program, fixtures, command line)` gives.
 * @param {string} folder where long.ts and worker.ts lie, below the repository's root
 * @param {string} fixtures what main is given beside
 */
export async function longForm(folder, fixtures) {
  const root = resolve(fileURLToPath(new URL("../..", import.meta.url)));
  const dir = join(root, `node_modules/.softprompt-${basename(folder)}-${process.pid}`);
  const built = await rolldown({
    input: { long: join(root, folder, "long.ts"), worker: join(root, folder, "worker.ts") },
    platform: "node",
    external: (id) => !id.startsWith(".") && !id.startsWith("/"),
    resolve: { extensionAlias: { ".js": [".ts", ".js"] } },
  });
  await built.write({ dir, format: "esm", entryFileNames: "[name].mjs", chunkFileNames: "[name]-[hash].mjs" });
  await built.close();
  try {
    const { main } = await import(pathToFileURL(join(dir, "long.mjs")).href);
    process.exitCode = await main(join(dir, "worker.mjs"), join(root, fixtures), process.argv.slice(2));
  } finally {
    rmSync(dir, { recursive: true, force: true });
  }
}
