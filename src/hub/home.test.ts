/** @file Without a home folder (no HOME, a uid that no account has) nothing breaks that does not need one. */
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, test, vi } from "vitest";
import { cacheFolder, hashFile } from "../base/digest.js";
import { SoftpromptError } from "../base/errors.js";
import { homeFolder } from "../base/home.js";
import { hubCacheFolder, hubToken } from "./cache.js";

vi.mock("node:os", async (original) => ({
  ...(await original<typeof import("node:os")>()),
  homedir: () => {
    throw new Error("A system error occurred: uv_os_homedir returned ENOENT (no such file or directory)");
  },
}));

test("digests are not remembered", async () => {
  expect(homeFolder()).toBeNull();
  expect(cacheFolder({})).toBeNull();
  expect(cacheFolder({ XDG_CACHE_HOME: "/c" })).toBe(join("/c", "softprompt"));
  vi.stubEnv("SOFTPROMPT_CACHE", "");
  vi.stubEnv("XDG_CACHE_HOME", "");
  const place = mkdtempSync(join(tmpdir(), "softprompt-home-"));
  try {
    writeFileSync(join(place, "x"), "abc");
    const digest = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
    expect(await hashFile(join(place, "x"))).toBe(digest);
    expect(await hashFile(join(place, "x"), { from: 1 })).toBe(digest);
  } finally {
    vi.unstubAllEnvs();
    rmSync(place, { recursive: true });
  }
});

test("the hub's cache asks for a folder", async () => {
  expect(() => hubCacheFolder({})).toThrow(SoftpromptError);
  expect(() => hubCacheFolder({})).toThrow(/HF_HOME/);
  expect(hubCacheFolder({ HF_HOME: "/b" })).toBe(join("/b", "hub"));
  expect(await hubToken({})).toBeUndefined();
  expect(await hubToken({ HF_TOKEN: "t" })).toBe("t");
});
