/** @file Which folders may become a run, a search or a study, and which are left alone. */
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, expect, test } from "vitest";
import { claim, type FolderKind, freeFolder } from "./layout.js";

const root = mkdtempSync(join(tmpdir(), "softprompt-layout-"));
afterAll(() => rmSync(root, { recursive: true, force: true }));
let folders = 0;
const folderWith = (...names: string[]) => {
  const folder = join(root, String(folders++));
  mkdirSync(folder);
  for (const name of names) writeFileSync(join(folder, name), "");
  return folder;
};

test.each<[FolderKind, string[], boolean, RegExp | null]>([
  ["run", [], false, null],
  ["run", ["run.json"], false, /already holds a run/],
  ["run", ["run.json", "result.json", "report.html"], true, null],
  ["run", ["search.json"], false, /something else than a run[\s\S]*search.json/],
  ["run", ["result.json"], true, /something else than a run/],
  ["search", ["search.json"], false, /already holds a search/],
  ["search", ["search.json", "adapter"], true, null],
  ["search", ["run.json", "adapter"], true, /something else than a search[\s\S]*run.json, adapter/],
  ["study", ["runs", "result.json"], true, null],
  ["study", ["config.yaml"], true, /something else than a study/],
  ["study", ["runs", "search.json"], true, /something else than a study[\s\S]*search.json/],
])("a %s in a folder with %j, resume %s", (kind, names, resume, refusal) => {
  const folder = folderWith(...names);
  if (refusal === null) claim(folder, kind, resume);
  else expect(() => claim(folder, kind, resume)).toThrow(refusal);
});

test("the next free folder is one that holds neither a run nor a search", () => {
  const name = folderWith("run.json");
  expect(freeFolder(name)).toBe(`${name}-2`);
  mkdirSync(`${name}-2`);
  expect(freeFolder(name)).toBe(`${name}-2`);
  writeFileSync(join(`${name}-2`, "search.json"), "");
  expect(freeFolder(name)).toBe(`${name}-3`);
});
