/** @file `npm run fuzz-test`: bundles the harness and its worker (TypeScript) and runs the long form; see long.ts. */
import { rmSync } from "node:fs";
import { join, resolve } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";
import { rolldown } from "rolldown";

const root = resolve(fileURLToPath(new URL("../..", import.meta.url)));
const dir = join(root, `node_modules/.softprompt-fuzz-${process.pid}`);
const built = await rolldown({
  input: { long: join(root, "test/fuzz/long.ts"), worker: join(root, "test/fuzz/worker.ts") },
  platform: "node",
  external: (id) => !id.startsWith(".") && !id.startsWith("/"),
  resolve: { extensionAlias: { ".js": [".ts", ".js"] } },
});
await built.write({ dir, format: "esm", entryFileNames: "[name].mjs", chunkFileNames: "[name]-[hash].mjs" });
await built.close();
try {
  const { main } = await import(pathToFileURL(join(dir, "long.mjs")).href);
  process.exitCode = await main(join(dir, "worker.mjs"), join(root, "test/fixtures"), process.argv.slice(2));
} finally {
  rmSync(dir, { recursive: true, force: true });
}
