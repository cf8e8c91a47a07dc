/**
 * @file Makes the studio's page: dist/studio/page/page.js, one file without imports, with its HTML and style beside it. A part of
 * `npm run build`; preact goes into the file, so that whoever installs the package needs none of it.
 */
import { copyFileSync, mkdirSync, readFileSync } from "node:fs";
import { dirname, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { rolldown } from "rolldown";

const root = resolve(dirname(fileURLToPath(import.meta.url)), "..");
const source = join(root, "src/studio/page");
const out = join(root, "dist/studio/page");

const licence = readFileSync(join(root, "node_modules/preact/LICENSE"), "utf8").trim();
const built = await rolldown({
  input: join(source, "main.tsx"),
  platform: "browser",
  resolve: { extensionAlias: { ".js": [".ts", ".tsx", ".js"] } },
  logLevel: "warn",
});
mkdirSync(out, { recursive: true });
await built.write({
  file: join(out, "page.js"),
  format: "esm",
  minify: true,
  banner: `/* The studio's page. It holds preact:\n${licence.replaceAll("*/", "* /")}\n*/`,
});
await built.close();
for (const name of ["index.html", "style.css"]) copyFileSync(join(source, name), join(out, name));
