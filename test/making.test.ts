/**
 * @file What the command line says while weights are made in another precision, from a cold cache: that they are made, and their size as
 * people read it.
 */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test, vi } from "vitest";
import { commandLine } from "./helpers/command-line.js";
import { writeGgufModel } from "./helpers/gguf-model.js";

const place = mkdtempSync(join(tmpdir(), "softprompt-making-"));
const gguf = join(place, "small.gguf");
beforeAll(() => {
  writeGgufModel(gguf, () => "Q8_0");
  vi.stubEnv("SOFTPROMPT_CACHE", join(place, "cache"));
});
afterAll(() => {
  vi.unstubAllEnvs();
  rmSync(place, { recursive: true, force: true });
});

const size = String.raw`[\d.]+ [kM]B`;

test.each([
  ["t5-nano", "int8", "8-bit weights", "8-bit weights are made once"],
  ["t5-nano", "int4", "weights in blocks", "weights in blocks are made once"],
  [gguf, "float32", "small.gguf", "small.gguf is converted once"],
  [gguf, "stored", "weights in blocks", "weights in blocks are made once"],
])("%s, %s", { timeout: 60_000 }, async (model, precision, file, once) => {
  const argv = ["generate", "a", "--model", model, "--precision", precision, "--max-tokens", "1"];
  const { code, stderr } = await commandLine(argv);
  expect(code, stderr).toBe(0);
  expect(stderr).toMatch(new RegExp(`${once}: ${size} in `));
  expect(stderr).toMatch(new RegExp(`(making|converting) ${file}: 0 B of ${size}`));
  expect(stderr).not.toContain("downloading");
  // again: nothing is made
  expect((await commandLine(argv)).stderr).not.toMatch(/made once|converted once|making|converting/);
});
