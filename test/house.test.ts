/**
 * @file The law of the house: a room imports only from itself and from rooms before it; nothing imports the front doors.
 */
import { readdirSync, readFileSync } from "node:fs";
import { dirname, join, relative, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { expect, test } from "vitest";

/** The walk, in order. `cli` is the front door and may see everything; `index.ts` re-exports. */
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
  "evaluate",
  "train",
  "schedule",
  "run",
  "prune",
  "report",
  "tasks",
  "study",
  "cli",
];

const src = resolve(dirname(fileURLToPath(import.meta.url)), "../src");
const files = readdirSync(src, { recursive: true, encoding: "utf8" }).filter((f) => f.endsWith(".ts"));
const imports = (file: string) =>
  [
    ...readFileSync(join(src, file), "utf8").matchAll(
      /^(?:import|export)\b[^"';]*?from\s+"([^"]+)"|^import\s+"([^"]+)"|import\("([^"]+)"\)/gm,
    ),
  ].map((m) => (m[1] ?? m[2] ?? m[3])!);
const roomOf = (path: string) => (path.includes("/") ? path.split("/")[0]! : "index");

test("every room is on the walk", () => {
  expect([...new Set(files.map(roomOf))].filter((r) => r !== "index" && !rooms.includes(r))).toEqual([]);
});

test("imports only go back along the walk", () => {
  const wrong: string[] = [];
  for (const file of files) {
    if (file === "index.ts") continue;
    for (const target of imports(file).filter((t) => t.startsWith("."))) {
      const to = roomOf(relative(src, resolve(src, dirname(file), target)));
      if (rooms.indexOf(to) > rooms.indexOf(roomOf(file)) || to === "index") wrong.push(`${file} → ${target}`);
    }
  }
  expect(wrong).toEqual([]);
});

test("only one file imports ONNX Runtime, one the protobuf schema, one PEFT's key names", () => {
  const product = files.filter((f) => !f.endsWith(".test.ts"));
  const importers = (name: string) =>
    product.filter((f) => imports(f).some((t) => t === name || t.startsWith(`${name}/`)));
  expect(importers("onnxruntime-node").length).toBeLessThanOrEqual(1);
  expect(importers("onnx-buf").length).toBeLessThanOrEqual(1);
  const naming = product.filter((f) => readFileSync(join(src, f), "utf8").includes("prompt_embeddings"));
  expect(naming.filter((f) => !f.startsWith("adapter/")).length).toBe(0);
});
