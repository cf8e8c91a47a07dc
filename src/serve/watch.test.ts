import { mkdirSync, mkdtempSync, realpathSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { SoftpromptError } from "../base/errors.js";
import { openWatch } from "./watch.js";

let folder: string;
let elsewhere: string;
beforeEach(() => {
  [folder, elsewhere] = [1, 2].map(() => realpathSync(mkdtempSync(join(tmpdir(), "softprompt-watch-")))) as [
    string,
    string,
  ];
});
afterEach(() => {
  for (const place of [folder, elsewhere]) rmSync(place, { recursive: true });
});

/** Writes a folder that looks like an adapter. */
function adapter(place: string): string {
  mkdirSync(place, { recursive: true });
  writeFileSync(join(place, "adapter_config.json"), "{}");
  return place;
}

/** A watch whose target fails as long as `failure` says how. */
async function watched(failure: { now: Error | null } = { now: null }) {
  const has = new Set<string>();
  const told: string[] = [];
  let tries = 0;
  const watch = await openWatch(
    folder,
    {
      async add(name) {
        tries++;
        if (failure.now !== null) throw failure.now;
        has.add(name);
      },
      remove: (name) => void has.delete(name),
      notice: (message) => told.push(message),
      taken: () => false,
      has: (name) => has.has(name),
    },
    1_000_000,
  );
  const looks = async (n: number) => {
    for (let i = 0; i < n; i++) await watch.look();
  };
  return { ...watch, looks, has, told, tries: () => tries };
}

test("an adapter that failed for a passing reason is tried again, less and less often, and told once", async () => {
  adapter(join(folder, "one"));
  const failure = { now: new SoftpromptError("engine", "the engine ended", { where: "engine" }) as Error | null };
  const { looks, has, told, tries, close } = await watched(failure);
  expect(tries()).toBe(1);
  await looks(2);
  expect(tries()).toBe(2);
  await looks(3);
  expect(tries()).toBe(3);
  await looks(20);
  expect(tries()).toBe(5);
  expect(told).toHaveLength(1);
  failure.now = null;
  await looks(40);
  expect([...has]).toEqual(["one"]);
  expect(told.at(-1)).toBe("adapter one was added");
  await close();
});

test("one whose own files are wrong is tried again when they change alone", async () => {
  const place = adapter(join(folder, "one"));
  const failure = { now: new SoftpromptError("adapter", "it is damaged", { where: "one" }) };
  const { looks, tries, close } = await watched(failure);
  await looks(20);
  expect(tries()).toBe(1);
  writeFileSync(join(place, "adapter_config.json"), "{ }");
  await looks(2);
  expect(tries()).toBe(2);
  await close();
});

test("one that the server lost is loaded again", async () => {
  adapter(join(folder, "one"));
  const { looks, has, tries, close } = await watched();
  has.delete("one");
  await looks(1);
  expect([[...has], tries()]).toEqual([["one"], 2]);
  await close();
});

test("a link that leaves the folder is not followed, wherever it stands; one inside is", async () => {
  const outside = adapter(join(elsewhere, "adapter"));
  mkdirSync(join(folder, "run"));
  symlinkSync(outside, join(folder, "run/adapter"));
  symlinkSync(outside, join(folder, "link"));
  mkdirSync(join(folder, "file"));
  symlinkSync(join(outside, "adapter_config.json"), join(folder, "file/adapter_config.json"));
  adapter(join(folder, "inside/adapter"));
  mkdirSync(join(folder, "other"));
  symlinkSync(join(folder, "inside/adapter"), join(folder, "other/adapter"));
  const { looks, has, told, close } = await watched();
  await looks(2);
  expect([...has].sort()).toEqual(["inside", "other"]);
  const left = told.filter((message) => message.includes("leaves the folder"));
  expect(left.map((message) => message.split(" is left out")[0]).sort()).toEqual(
    ["file", "link", "run"].map((name) => join(folder, name)),
  );
  await close();
});

test("files that are none of the adapter's take it out neither as links to elsewhere nor as links to nothing", async () => {
  const own = adapter(join(folder, "mine"));
  const { looks, has, told, close } = await watched();
  expect([...has]).toEqual(["mine"]);
  // an editor's lock, rows beside an adapter, and a share that is gone
  symlinkSync("me@host.123:456", join(own, ".#adapter.json"));
  writeFileSync(join(elsewhere, "rows.json"), "[]");
  symlinkSync(join(elsewhere, "rows.json"), join(own, "rows.json"));
  symlinkSync(join(elsewhere, "gone"), join(own, "softprompt.json"));
  await looks(2);
  expect([...has]).toEqual(["mine"]);
  expect(told.join()).not.toMatch(/link/);
  await close();
});
