/**
 * @file The limit of the cache: what was unused longest goes first, what a living process uses stays, and nothing else is touched.
 */
import { spawnSync } from "node:child_process";
import { existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync, statSync, utimesSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { basename, join } from "node:path";
import { afterAll, afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { type CacheRemoval, cacheLimit, makeRoomFor, markUsed } from "./cache-limit.js";
import { SoftpromptError } from "./errors.js";

const scratch = mkdtempSync(join(tmpdir(), "softprompt-limit-"));
afterAll(() => rmSync(scratch, { recursive: true, force: true }));
afterEach(() => vi.unstubAllEnvs());

let cache = "";
beforeEach(() => {
  cache = mkdtempSync(join(scratch, "cache-"));
  vi.stubEnv("SOFTPROMPT_CACHE", cache);
});

/** The number of a process that has ended. */
const dead = spawnSync(process.execPath, ["-e", ""]).pid;

/** An entry of so many bytes that was made at this hour. */
function entry(folder: string, letter: string, bytes: number, hour: number): string {
  const path = join(cache, folder, `${letter.repeat(64)}-entry`);
  mkdirSync(join(cache, folder), { recursive: true });
  if (folder === "gguf") {
    mkdirSync(path);
    writeFileSync(join(path, "model.safetensors"), Buffer.alloc(bytes));
  } else writeFileSync(path, Buffer.alloc(bytes));
  utimesSync(path, 3600 * hour, 3600 * hour);
  return path;
}

/** As a process that has ended left it. */
function usedBefore(path: string, hour: number): void {
  const mark = join(path, "..", `.used-${dead}-${basename(path)}`);
  writeFileSync(mark, "");
  utimesSync(mark, 3600 * hour, 3600 * hour);
}

function room(folder: string, need: number, limit: number) {
  const removals: CacheRemoval[] = [];
  makeRoomFor(join(cache, folder), need, { what: "a test", limit, onRemove: (removal) => removals.push(removal) });
  return removals;
}

describe("room in the cache", () => {
  test("what was unused longest is removed, of all kinds together and no more than needed", () => {
    const files = [entry("int8", "a", 100, 3), entry("gguf", "b", 100, 1), entry("blocks", "c", 100, 2)];
    expect(room("int8", 50, 350)).toEqual([]);
    expect(room("int8", 100, 300)).toEqual([{ paths: [files[1]], bytes: 100, limit: 300 }]);
    expect(files.map((path) => existsSync(path))).toEqual([true, false, true]);
    room("int8", 300, 300);
    expect(files.some((path) => existsSync(path))).toBe(false);
  });

  test("a use counts, not the making, and leaves the entry's own time as it is", () => {
    const [older, newer] = [entry("int8", "a", 100, 1), entry("int8", "b", 100, 2)];
    usedBefore(older, 3);
    room("int8", 100, 200);
    expect([existsSync(older), existsSync(newer)]).toEqual([true, false]);
    const before = statSync(older, { bigint: true }).mtimeNs;
    markUsed(older);
    expect(statSync(older, { bigint: true }).mtimeNs).toBe(before);
    // the mark of the process that has ended is replaced
    expect(readdirSync(join(cache, "int8")).sort()).toEqual([
      `.used-${process.pid}-${basename(older)}`,
      basename(older),
    ]);
  });

  test("what this process or another living one uses stays; where it leaves no room, the work is refused and nothing removed", () => {
    const [mine, free] = [entry("int8", "a", 100, 1), entry("int8", "b", 100, 2)];
    markUsed(mine);
    expect(room("int8", 100, 200)[0]!.paths).toEqual([free]);
    const next = entry("int8", "c", 10, 1);
    let refused: unknown;
    try {
      room("int8", 101, 200);
    } catch (error) {
      refused = error;
    }
    expect(refused).toBeInstanceOf(SoftpromptError);
    expect(refused).toMatchObject({ kind: "io" });
    expect(String(refused)).toContain("101, and 100 that are in use");
    expect(refused).toHaveProperty("parts.hint", expect.stringContaining("SOFTPROMPT_CACHE_LIMIT"));
    expect([existsSync(mine), existsSync(next)]).toEqual([true, true]);
  });

  test("other files, work in progress and folders elsewhere are left alone; an entry's mark goes with it", () => {
    const gone = entry("blocks", "a", 100, 1);
    usedBefore(gone, 1);
    for (const name of ["notes.txt", ".making-1-ab", "zz-entry"]) writeFileSync(join(cache, "blocks", name), "kept");
    mkdirSync(join(cache, "texts"));
    writeFileSync(join(cache, "texts", `${"d".repeat(64)}-entry`), "kept");
    room("blocks", 100, 100);
    expect(readdirSync(join(cache, "blocks")).sort()).toEqual([".making-1-ab", "notes.txt", "zz-entry"]);
    expect(readdirSync(join(cache, "texts"))).toHaveLength(1);
  });
});

describe("the limit", () => {
  test("100 GiB, or as SOFTPROMPT_CACHE_LIMIT says; anything but a number is refused", () => {
    expect(cacheLimit({})).toBe(100 * 2 ** 30);
    expect(cacheLimit({ SOFTPROMPT_CACHE_LIMIT: "0.5" })).toBe(2 ** 29);
    for (const bad of ["20GB", "-1", "1e9", "\u001b[2J"])
      expect(() => cacheLimit({ SOFTPROMPT_CACHE_LIMIT: bad })).toThrow(/not a number/);
  });
});
