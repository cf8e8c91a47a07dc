import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, expect, test } from "vitest";
import { innerPath, shownPath } from "./paths.js";

const place = mkdtempSync(join(tmpdir(), "softprompt-studio-"));
const folder = join(place, "runs");
mkdirSync(join(folder, "a/b..c"), { recursive: true });
mkdirSync(join(folder, "..d"));
mkdirSync(join(place, "runs2"));
writeFileSync(join(place, "secret"), "");
symlinkSync(place, join(folder, "out"));
symlinkSync(join(folder, "a"), join(folder, "in"));
afterAll(() => rmSync(place, { recursive: true, force: true }));

test.each(["a", "a/b..c", "..d", ".", "in", "a/../a", "in/b..c"])("%j is inside", (shown) => {
  expect(innerPath(folder, shown)).toBe(join(folder, shown));
});
test.each(["..", "../secret", "a/../../secret", "../runs2", "out", "out/secret", "", "a\0b"])(
  "%j is refused",
  (shown) => {
    expect(() => innerPath(folder, shown)).toThrow(/out of the studio's folder|missing/);
  },
);
test("an absolute path is one inside", () => {
  expect(() => innerPath(folder, join(place, "secret"))).toThrow("there is no such run");
});
test.skipIf(process.platform === "win32").each(["a:b", "\\\\c"])("%j is a name as any other", (name) => {
  mkdirSync(join(folder, name));
  expect(innerPath(folder, name)).toBe(join(folder, name));
  expect(shownPath(folder, join(folder, name))).toBe(name);
});
test("what is not there is said", () => expect(() => innerPath(folder, "x")).toThrow("there is no such run"));

test("paths as the page names them", () => {
  expect(shownPath(folder, folder)).toBe(".");
  expect(shownPath(folder, join(folder, "a/b..c"))).toBe("a/b..c");
  expect(shownPath(folder, join(folder, "..d"))).toBe("..d");
  expect(shownPath(folder, place)).toBeNull();
  expect(shownPath(folder, join(place, "runs2"))).toBeNull();
});
