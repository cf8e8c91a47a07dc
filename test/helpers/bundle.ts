/** @file Makes one plain .mjs of a TypeScript test program, so that tests can start it as a process of its own. */
import { mkdtempSync } from "node:fs";
import { join, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { rolldown } from "rolldown";

const root = resolve(fileURLToPath(new URL("../..", import.meta.url)));

/** @param program relative to the repository. @returns the path of the bundle, inside the repository so that packages resolve. */
export async function bundle(program: string): Promise<string> {
  const built = await rolldown({
    input: join(root, program),
    platform: "node",
    external: (id) => !id.startsWith(".") && !id.startsWith("/"),
    resolve: { extensionAlias: { ".js": [".ts", ".js"] } },
    logLevel: "warn",
  });
  const dir = mkdtempSync(join(root, "node_modules/.softprompt-test-"));
  await built.write({ dir, format: "esm", entryFileNames: "program.mjs", chunkFileNames: "[name].mjs" });
  await built.close();
  return join(dir, "program.mjs");
}
