/**
 * @file What the package shows to a program: every public name has a doc comment, every type in a public signature can be imported, and
 * docs/reference is made from the sources as they are.
 */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { beforeAll, describe, expect, test } from "vitest";

interface PublicName {
  readonly name: string;
  readonly kind: string;
  readonly doc: string;
  readonly unnamed: readonly string[];
}
interface Entry {
  readonly name: string;
  readonly names: readonly PublicName[];
}

let found: readonly Entry[];
let pages: Readonly<Record<string, string>>;
let written: readonly string[];
let folder: string;
beforeAll(async () => {
  const path = "../scripts/public.mjs";
  const scripts = await import(/* @vite-ignore */ path);
  found = scripts.publicNames();
  pages = scripts.referencePages(found);
  written = scripts.writtenPages();
  folder = scripts.referenceFolder;
}, 600_000);

const every = () => found.flatMap(({ name, names }) => names.map((one) => ({ entry: `softprompt${name}`, ...one })));

describe("public names", () => {
  test("there are some in every entry", () => {
    expect(found.map(({ name }) => name)).toEqual(["", "/engine", "/graph", "/serve", "/study", "/train"]);
    // a server is one function and its options
    for (const { name, names } of found) expect(names.length).toBeGreaterThan(name === "/serve" ? 5 : 20);
  });
  test("each has a doc comment", () => {
    expect(
      every()
        .filter(({ doc }) => doc === "")
        .map(({ entry, name }) => `${entry} ${name}`),
    ).toEqual([]);
  });
  test("every type in a signature can be imported from some entry", () => {
    expect(every().flatMap(({ entry, name, unnamed }) => unnamed.map((type) => `${entry} ${name}: ${type}`))).toEqual(
      [],
    );
  });
  test("one name is one thing wherever it is exported, but for those that say so", () => {
    const kinds = new Map<string, Set<string>>();
    for (const { name, doc } of every()) kinds.set(name, (kinds.get(name) ?? new Set()).add(doc));
    expect([...kinds].filter(([, docs]) => docs.size > 1).map(([name]) => name)).toEqual([]);
  });
});

describe("docs/reference", () => {
  test("is what the doc comments say (else: npm run docs)", () => {
    expect([...written].sort()).toEqual(Object.keys(pages).sort());
    for (const [name, page] of Object.entries(pages)) expect(readFileSync(join(folder, name), "utf8")).toBe(page);
  });
});
