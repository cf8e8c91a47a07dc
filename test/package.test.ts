/**
 * @file What is published, and what it leans on: the file list, install scripts, dependencies and their reasons.
 */
import { execFileSync } from "node:child_process";
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { dirname, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { beforeAll, expect, test } from "vitest";

const root = resolve(dirname(fileURLToPath(import.meta.url)), "..");
const json = (path: string) => JSON.parse(readFileSync(join(root, path), "utf8"));
const manifest = json("package.json");
let files: string[] = [];

beforeAll(async () => {
  const listed = execFileSync("npm", ["pack", "--dry-run", "--json", "--ignore-scripts"], {
    cwd: root,
    encoding: "utf8",
    stdio: ["ignore", "pipe", "ignore"],
    shell: process.platform === "win32",
  });
  const path = "../scripts/published.mjs";
  const { published } = await import(/* @vite-ignore */ path);
  files = published(JSON.parse(listed)[0].files, root).map((f: { path: string }) => f.path);
});

test("only what a user needs is published", () => {
  const allowed = [
    /^package\.json$/,
    /^(README|ARCHITECTURE|CHANGELOG)\.md$/,
    /^LICENSE$/,
    /^dist\/.*\.(js|d\.ts|js\.map)$/,
    /^dist\/studio\/page\/(index\.html|style\.css)$/,
    /^docs\/.*\.(md|svg|png)$/,
    /^examples\/.*\.(md|jsonl|csv|ya?ml|mjs)$/,
    /^models\/t5-(nano|mini)\/[\w.-]+\.(json|safetensors|md|svg|png)$/,
  ];
  expect(files.filter((f) => !allowed.some((pattern) => pattern.test(f)))).toEqual([]);
  expect(files.some((f) => /\.test\.|fixtures|\/make\//.test(f))).toBe(false);
});

test("of what is built nothing that the studio or a command loads is left out", () => {
  const built = readdirSync(join(root, "dist"), { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) =>
      join(entry.parentPath, entry.name)
        .slice(root.length + 1)
        .replaceAll("\\", "/"),
    );
  expect(built.filter((path) => !files.includes(path))).toEqual([]);
});

test("what the commands need is published", () => {
  for (const needed of [
    "models/t5-nano/config.json",
    "models/t5-nano/model.safetensors",
    "models/t5-nano/tokenizer.json",
    "models/t5-mini/config.json",
    "models/t5-mini/model.safetensors",
    "models/t5-mini/tokenizer.json",
    "dist/studio/page/index.html",
    "dist/studio/page/page.js",
    "dist/studio/page/style.css",
    "examples/quickstart/train.jsonl",
    "examples/quickstart/validation.jsonl",
    "LICENSE",
    "README.md",
  ])
    expect(files, needed).toContain(needed);
});

test("there is no install script of ours, and none runs in a clone", () => {
  for (const script of ["preinstall", "install", "postinstall", "prepare", "prepublish", "prepublishOnly", "prepack"])
    expect(manifest.scripts).not.toHaveProperty(script);
  expect(readFileSync(join(root, ".npmrc"), "utf8")).toMatch(/^ignore-scripts=true$/m);
});

test("nobody publishes the repository instead of the packed file", () => {
  expect(manifest.private).toBe(true);
});

test("every runtime dependency is pinned and has its reason in docs/dependencies.md; every reason has its dependency", () => {
  const reasons = readFileSync(join(root, "docs/dependencies.md"), "utf8");
  const named = [...reasons.matchAll(/^\| (`[^|]+`) \|/gm)].flatMap((m) =>
    [...m[1]!.matchAll(/`([^`]+)`/g)].map((n) => n[1]!),
  );
  expect(named.sort()).toEqual([...Object.keys(manifest.dependencies), "onnxruntime-common"].sort());
  for (const version of Object.values(manifest.dependencies)) expect(version).toMatch(/^\d+\.\d+\.\d+(-\d+)?$/);
});

interface Locked {
  readonly version: string;
  readonly integrity?: string;
  readonly resolved?: string;
  readonly link?: boolean;
  readonly dev?: boolean;
  readonly optional?: boolean;
  readonly hasInstallScript?: boolean;
}
const lock = json("package-lock.json");
const locked = Object.entries(lock.packages as Record<string, Locked>).flatMap(([path, entry]) =>
  path === "" ? [] : [[path.replace(/^.*node_modules\//, ""), entry] as const],
);

test("the lock file is of this package.json, and everything in it is known by its sha512, from no other place than a registry", () => {
  expect(lock.lockfileVersion).toBe(3);
  expect(lock.packages[""].dependencies).toEqual(manifest.dependencies);
  expect(lock.packages[""].devDependencies).toEqual(manifest.devDependencies);
  for (const [name, { version, integrity, resolved, link }] of locked) {
    expect(version, name).toMatch(/^\d+\.\d+\.\d+/);
    expect(link, name).toBeUndefined();
    expect(resolved ?? "https://", name).toMatch(/^https:\/\//);
    if (integrity !== undefined) expect(integrity, name).toMatch(/^sha512-[A-Za-z0-9+/]{86}==$/);
  }
  const unknown = locked.filter(([, { integrity }]) => integrity === undefined);
  // docs/dependencies.md says why
  for (const [name, { dev, optional }] of unknown) {
    expect(name).toMatch(/^@biomejs\/cli-/);
    expect([dev, optional]).toEqual([true, true]);
  }
});

test("every package that the runtime dependencies bring is named in docs/dependencies.md; one of them has an install script", () => {
  const told = readFileSync(join(root, "docs/dependencies.md"), "utf8");
  const runtime = locked.filter(([, { dev }]) => !dev);
  expect(runtime.map(([name]) => name).filter((name) => !told.includes(`\`${name}\``))).toEqual([]);
  const scripts = locked.filter(([, { hasInstallScript }]) => hasInstallScript);
  expect(scripts.filter(([, { dev }]) => !dev).map(([name]) => name)).toEqual(["onnxruntime-node"]);
  // the tests' own: .npmrc runs none
  expect(scripts.filter(([, { dev }]) => dev).map(([name]) => name)).toEqual(["protobufjs"]);
});

test("every runtime dependency is imported somewhere", () => {
  const sources = readdirSync(join(root, "src"), { recursive: true, encoding: "utf8" })
    .filter((f) => f.endsWith(".ts") && !f.endsWith(".test.ts"))
    .map((f) => readFileSync(join(root, "src", f), "utf8"))
    .join("\n");
  const unused = Object.keys(manifest.dependencies).filter((d) => !sources.includes(`"${d}`));
  // @bufbuild/protobuf is onnx-buf's own language: messages are made and written with it.
  expect(unused).toEqual([]);
});

test("every bin and export would exist after a build", () => {
  for (const path of [manifest.bin.softprompt, manifest.exports["."].default]) {
    const source = path.replace(/^(\.\/)?dist\//, "src/").replace(/\.js$/, ".ts");
    expect(existsSync(join(root, source)), source).toBe(true);
  }
});

test("the pack script strips what the engine's install script needs, and nothing else breaks without it", () => {
  const engine = json("node_modules/onnxruntime-node/package.json");
  // If this changes, scripts/pack.mjs must be looked at again.
  expect(Object.keys(engine.dependencies).sort()).toEqual(["adm-zip", "global-agent", "onnxruntime-common"]);
  const users = readdirSync(join(root, "node_modules/onnxruntime-node"), { recursive: true, encoding: "utf8" })
    .filter((f) => f.endsWith(".js"))
    .filter((f) =>
      /require\(['"](adm-zip|global-agent)['"]\)/.test(
        readFileSync(join(root, "node_modules/onnxruntime-node", f), "utf8"),
      ),
    );
  expect(users.every((f) => f.startsWith("script"))).toBe(true);
  expect(users.length).toBeGreaterThan(0);
});
