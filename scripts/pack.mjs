/**
 * @file Makes the file that is published: `npm run pack [-- FOLDER]` → softprompt-X.Y.Z.tgz.
 *
 * Why not plain `npm pack`: onnxruntime-node's postinstall downloads CUDA libraries from a host outside the npm registry and
 * fails the whole install where that host cannot be reached. Whoever installs softprompt as a dependency has no .npmrc of
 * ours, so the published file carries the engine inside itself (bundleDependencies) without that script. The repository's
 * own package.json is `private`, so nobody publishes the wrong thing by accident.
 *
 * In: the built repository with node_modules. Out: the tarball; prints its path as the last line.
 */
import { execFileSync } from "node:child_process";
import { cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { published } from "./published.mjs";

const root = resolve(dirname(fileURLToPath(import.meta.url)), "..");
const out = resolve(process.argv[2] ?? root);
const npm = (args, cwd) =>
  execFileSync("npm", args, { cwd, encoding: "utf8", stdio: ["ignore", "pipe", "inherit"], maxBuffer: 1 << 26 });
const json = (file) => JSON.parse(readFileSync(file, "utf8"));
const write = (file, value) => writeFileSync(file, `${JSON.stringify(value, null, 2)}\n`);

/** What the published file leaves out of the engine, and why. */
const engineLeftOut = [
  /^(lib|\.)\/?.*\.ts$|\.map$/, // sources and maps
  /^script\/(?!install)/, // its build scripts; install*.js stays for whoever wants CUDA
  /darwin\/arm64\/libonnxruntime\.\d+\.\d+\.\d+\.dylib$/, // byte-equal twin of libonnxruntime.1.dylib, the one that is linked
  /DirectML\.dll$/, // loaded on demand by the DirectML provider, which softprompt does not offer
];

const stage = mkdtempSync(join(tmpdir(), "softprompt-pack-"));
try {
  const manifest = json(join(root, "package.json"));
  const [{ files }] = JSON.parse(npm(["pack", "--dry-run", "--json", "--ignore-scripts"], root));
  for (const { path } of published(files, root)) copy(join(root, path), join(stage, path));

  for (const [name, leftOut] of [
    ["onnxruntime-node", engineLeftOut],
    ["onnxruntime-common", [/\.map$/, /^lib\//]],
  ]) {
    const from = join(root, "node_modules", name);
    const to = join(stage, "node_modules", name);
    cpSync(from, to, {
      recursive: true,
      filter: (source) => !leftOut.some((pattern) => pattern.test(source.slice(from.length + 1).replaceAll("\\", "/"))),
    });
    const { scripts, devDependencies, ...bundled } = json(join(from, "package.json"));
    // adm-zip and global-agent serve the removed install script only.
    const dependencies = Object.fromEntries(
      Object.entries(bundled.dependencies ?? {}).filter(([d]) => d === "onnxruntime-common"),
    );
    write(join(to, "package.json"), { ...bundled, dependencies });
    writeFileSync(join(to, "LICENSE"), readFileSync(join(root, "scripts/onnxruntime-license.txt")));
  }

  const { private: _, scripts, devDependencies, ...kept } = manifest;
  write(join(stage, "package.json"), {
    ...kept,
    dependencies: {
      ...kept.dependencies,
      "onnxruntime-common": json(join(root, "node_modules/onnxruntime-common/package.json")).version,
    },
    bundleDependencies: ["onnxruntime-node", "onnxruntime-common"],
  });
  mkdirSync(out, { recursive: true });
  const [packed] = JSON.parse(npm(["pack", "--json", "--ignore-scripts", "--pack-destination", out], stage));
  const mega = (bytes) => `${(bytes / 1e6).toFixed(1)} MB`;
  console.error(`${packed.files.length} files, ${mega(packed.size)} packed, ${mega(packed.unpackedSize)} unpacked`);
  console.log(join(out, packed.filename));
} finally {
  rmSync(stage, { recursive: true, force: true });
}

function copy(from, to) {
  mkdirSync(dirname(to), { recursive: true });
  cpSync(from, to);
}
