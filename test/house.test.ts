/**
 * @file The law of the house: a room imports only from itself and from rooms before it, nothing imports the front doors, no file imports
 * itself around a circle, and the path from engine to trainer and evaluation does without Node. Each law is shown to see a planted breach.
 */
import { readdirSync, readFileSync } from "node:fs";
import { dirname, join, relative, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { describe, expect, test } from "vitest";

/** The walk, in order. `cli` is the front door and may see everything; files beside the rooms (`index.ts`, …) re-export. */
const rooms = [
  "base",
  "data",
  "text",
  "graph",
  "model",
  "hub",
  "onnx",
  "runtime",
  "method",
  "engine",
  "optim",
  "adapter",
  "export",
  "evaluate",
  "train",
  "schedule",
  "run",
  "prune",
  "report",
  "tasks",
  "study",
  "serve",
  "studio",
  "cli",
];

/** Where the engine's path may meet Node. */
const nodeFiles = ["runtime/node.ts"];
const engineDoors = [
  "engine/engine.ts",
  "train/trainer.ts",
  "evaluate/evaluate.ts",
  "method/methods.ts",
  "adapter/peft.ts",
  // runs in a browser
  "studio/page/main.tsx",
];

/** A tree of sources by path. */
type Tree = ReadonlyMap<string, string>;

const src = resolve(dirname(fileURLToPath(import.meta.url)), "../src");
const tree: Tree = new Map(
  readdirSync(src, { recursive: true, encoding: "utf8" })
    .filter((f) => /\.tsx?$/.test(f))
    .map((f) => [f, readFileSync(join(src, f), "utf8")]),
);
const roomOf = (path: string) => (path.includes("/") ? path.split("/")[0]! : "index");

interface Import {
  readonly target: string;
  /** Only types: gone at run time. */
  readonly typeOnly: boolean;
}

/** Static, dynamic and required imports of a file. */
function imports(text: string): Import[] {
  const found: Import[] = [];
  for (const [, typed, clause, target] of text.matchAll(
    /^(?:import|export)\s+(type\s+)?([^"';]*?from\s+)?"([^"]+)"/gm,
  )) {
    const names = /^\{([^}]*)\}/.exec(clause ?? "")?.[1]?.split(",");
    const onlyTypes = names?.every((name) => name.trim() === "" || name.trim().startsWith("type "));
    found.push({ target: target!, typeOnly: typed !== undefined || onlyTypes === true });
  }
  for (const [, target] of text.matchAll(/\b(?:import|require|resolve)\(\s*"([^"]+)"/g))
    found.push({ target: target!, typeOnly: false });
  return found;
}

/** A file's imports inside the tree. */
function inside(tree: Tree, file: string): { to: string; typeOnly: boolean }[] {
  return imports(tree.get(file)!)
    .filter(({ target }) => target.startsWith("."))
    .map(({ target, typeOnly }) => ({
      to: relative(src, resolve(src, dirname(file), target)).replace(/\.js(x?)$/, ".ts$1"),
      typeOnly,
    }));
}

function upward(tree: Tree): string[] {
  return [...tree.keys()]
    .filter((file) => file.includes("/"))
    .flatMap((file) =>
      inside(tree, file).flatMap(({ to }) => {
        const room = roomOf(to);
        return rooms.indexOf(room) > rooms.indexOf(roomOf(file)) || room === "index" ? [`${file} → ${to}`] : [];
      }),
    );
}

/**
 * Files that import each other around a circle, type-only imports too; tests left out. Each strongly connected component of the graph of
 * imports is one entry (Tarjan's algorithm).
 */
function circles(tree: Tree): string[] {
  const found: string[] = [];
  const index = new Map<string, number>();
  const lowest = new Map<string, number>();
  const open: string[] = [];
  const visit = (file: string) => {
    const own = index.size;
    index.set(file, own);
    lowest.set(file, own);
    open.push(file);
    for (const { to } of inside(tree, file)) {
      if (!tree.has(to)) continue;
      if (!index.has(to)) visit(to);
      else if (!open.includes(to)) continue;
      lowest.set(file, Math.min(lowest.get(file)!, lowest.get(to)!));
    }
    if (lowest.get(file) !== own) return;
    const component = open.splice(open.indexOf(file));
    if (component.length > 1) found.push(component.sort().join(", "));
  };
  for (const file of tree.keys()) if (!/\.test\.tsx?$/.test(file) && !index.has(file)) visit(file);
  return found;
}

/** Node's modules and native packages on the engine's path. */
function nodeOnThePath(tree: Tree): string[] {
  const seen = new Set<string>();
  const found: string[] = [];
  const visit = (file: string) => {
    if (seen.has(file) || !tree.has(file) || nodeFiles.includes(file)) return;
    seen.add(file);
    for (const { target, typeOnly } of imports(tree.get(file)!))
      if (!typeOnly && (target.startsWith("node:") || target === "onnxruntime-node")) found.push(`${file} → ${target}`);
    for (const { to, typeOnly } of inside(tree, file)) if (!typeOnly) visit(to);
  };
  for (const door of engineDoors) visit(door);
  return found;
}

/** Product files that import a package, createRequire and require.resolve included. */
function importers(tree: Tree, name: string): string[] {
  const product = [...tree.keys()].filter((f) => !/\.test\.tsx?$/.test(f));
  return product.filter((f) =>
    imports(tree.get(f)!).some(({ target }) => target === name || target.startsWith(`${name}/`)),
  );
}

const planted = (file: string, line: string): Tree => new Map([...tree, [file, `${line}\n${tree.get(file) ?? ""}`]]);

test("every room is on the walk", () => {
  expect([...new Set([...tree.keys()].map(roomOf))].filter((r) => r !== "index" && !rooms.includes(r))).toEqual([]);
});

describe("imports only go back along the walk", () => {
  test("as it is", () => expect(upward(tree)).toEqual([]));
  test.each([
    ["graph/graph.ts", 'import { train } from "../train/trainer.js";'],
    ["data/row.ts", 'import type { Batch } from "../text/batch.js";'],
    ["tasks/tune.ts", 'const later = () => import("../study/study.js");'],
  ])("a breach in %s is seen", (file, line) => {
    expect(upward(planted(file, line))).toHaveLength(1);
  });
});

describe("no circle of imports, of types neither", () => {
  test("as it is", () => expect(circles(tree)).toEqual([]));
  test.each(['import { infer } from "./ops.js";', 'import type { Ops } from "./ops.js";'])("%s is seen", (line) => {
    expect(circles(planted("graph/graph.ts", line))).not.toEqual([]);
  });
});

describe("engine, trainer and evaluation do without Node", () => {
  test("as it is", () => expect(nodeOnThePath(tree)).toEqual([]));
  test("a breach far down the path is seen", () => {
    expect(nodeOnThePath(planted("graph/simplify.ts", 'import { join } from "node:path";'))).toEqual([
      "graph/simplify.ts → node:path",
    ]);
  });
});

describe("one file each", () => {
  test("imports ONNX Runtime, and the protobuf schema", () => {
    expect(importers(tree, "onnxruntime-node").filter((f) => f !== "runtime/node.ts")).toEqual([]);
    expect(importers(tree, "onnx-buf").length).toBeLessThanOrEqual(1);
  });
  test("a second importer is seen, by createRequire too", () => {
    const breach = planted(
      "report/page.ts",
      'createRequire(import.meta.url)("x"); require("onnxruntime-node/package.json");',
    );
    expect(importers(breach, "onnxruntime-node")).toContain("report/page.ts");
  });
  test("PEFT's key names stand in the adapter room alone", () => {
    const naming = [...tree].filter(([f, text]) => !f.endsWith(".test.ts") && text.includes("prompt_embeddings"));
    expect(naming.map(([f]) => f).filter((f) => !f.startsWith("adapter/"))).toEqual([]);
  });
});
