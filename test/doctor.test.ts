/**
 * @file `softprompt doctor --model` from the command line: what it says of a model, as text and as JSON, and that it makes nothing.
 */
import { existsSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test, vi } from "vitest";
import { commandLine } from "./helpers/command-line.js";
import { writeGgufModel } from "./helpers/gguf-model.js";

const place = mkdtempSync(join(tmpdir(), "softprompt-doctor-test-"));
const gguf = join(place, "small.gguf");
beforeAll(() => writeGgufModel(gguf, () => "Q8_0"));
afterAll(() => rmSync(place, { recursive: true, force: true }));
const cache = join(place, "cache");
beforeEach(() => vi.stubEnv("SOFTPROMPT_CACHE", cache));
afterEach(() => vi.unstubAllEnvs());

interface Told {
  readonly version: string;
  readonly ok: boolean;
  readonly findings: readonly { readonly what: string; readonly found: string; readonly state: string }[];
}

/** Every linear layer of t5-nano's 4 + 4 blocks. */
const exactLayers =
  /^72 of 72 linear layers of the blocks are computed in 8 bits, with inputs in one term, smoothed by channel, and in two where they are the neurons of a feed-forward block, whose sizes differ most$/;

/** @returns the choice; it is the one that the times beside it ask for */
function checkChoice(found: string, label: string): void {
  const match =
    /^for (.+) auto takes (float32|int8): this model's products are ([\d.]+) times as fast in 8 bits here \([\d.]+ ms in float32, [\d.]+ ms in 8 bits\)(, and 1\.25 is wanted)?$/.exec(
      found,
    );
  expect(match, found).not.toBeNull();
  const [, name, precision, gain, wanted] = match!;
  expect(name).toBe(label);
  expect(wanted !== undefined).toBe(precision === "float32");
  // the gain is rounded to a tenth
  if (Number(gain) > 1.3) expect(precision).toBe("int8");
  if (Number(gain) < 1.2) expect(precision).toBe("float32");
}

describe("doctor --model", { timeout: 120_000 }, () => {
  test.each(["t5-nano", "models/t5-nano"])(
    "%s as JSON: the choice of auto, the exact layers, and all that is said without a model",
    async (name) => {
      const { code, stdout } = await commandLine(["doctor", "--model", name, "--json"]);
      expect(code, stdout).toBe(0);
      const told = JSON.parse(stdout) as Told;
      expect(told.ok).toBe(true);
      const found = new Map(told.findings.map((finding) => [finding.what, finding]));
      for (const what of ["Node", "Machine", "ONNX Runtime", "8-bit layers", "Disk", "Cache", "Bundled models"])
        expect(found.has(what), what).toBe(true);
      checkChoice(found.get("Precision")!.found, name);
      expect(found.get("Exact layers")!.found).toMatch(exactLayers);
      expect(found.has("Blocks")).toBe(false);
      expect(told.findings.every(({ state }) => ["ok", "note", "fault"].includes(state))).toBe(true);
      // what it would take is only planned
      expect(existsSync(join(cache, "int8"))).toBe(false);
    },
  );

  test("the same as text", async () => {
    const { code, stdout } = await commandLine(["doctor", "--model", "t5-nano"]);
    expect(code).toBe(0);
    const row = (what: string) => new RegExp(`^ok +${what} +(.*)$`, "m").exec(stdout)?.[1]?.trim() ?? "";
    checkChoice(row("Precision"), "t5-nano");
    expect(row("Exact layers")).toMatch(exactLayers);
    expect(stdout).toMatch(/\n\nsoftprompt works here\.\n$/);
  });

  test("a GGUF file: the blocks that stored would keep, too; none are made", async () => {
    const { code, stdout } = await commandLine(["doctor", "--model", gguf, "--json"]);
    expect(code, stdout).toBe(0);
    const { findings } = JSON.parse(stdout) as Told;
    expect(findings.find(({ what }) => what === "Blocks")?.found).toMatch(
      /^8 of 8 linear layers are kept in blocks: 8 Q8_0 \(8 bits\); [\d.]+ kB \(--precision stored\)$/,
    );
    expect(existsSync(join(cache, "blocks"))).toBe(false);
  });

  test.skipIf(!existsSync("/proc/self/stat"))(
    "a cache that cannot be written is told, with the variable that names another; the work says the same",
    async () => {
      vi.stubEnv("SOFTPROMPT_CACHE", "");
      vi.stubEnv("XDG_CACHE_HOME", "/proc/self/x");
      const { code, stdout } = await commandLine(["doctor", "--json"]);
      const { ok, findings } = JSON.parse(stdout) as Told;
      expect([code, ok]).toEqual([7, false]);
      const told = findings.find(({ what }) => what === "Cache")!;
      expect(told.state).toBe("fault");
      expect(told).toMatchObject({ remedy: "set SOFTPROMPT_CACHE to a folder that may be written" });
      expect(told.found).toContain("/proc/self/x/softprompt");
      expect(findings.find(({ what }) => what === "Hub's cache")!.state).toBe("note");
      for (const model of [["t5-nano", "--precision", "int8"], [gguf]]) {
        const work = await commandLine(["generate", "hi", "--max-tokens", "1", "--model", ...model]);
        expect(work.code, work.stderr).toBe(10);
        expect(work.stderr).toMatch(/softprompt's cache folder cannot be written/);
        expect(work.stderr).toContain("set SOFTPROMPT_CACHE to a folder that may be written");
      }
    },
  );

  test("a model that is not there is refused before anything is told", async () => {
    const { code, stdout, stderr } = await commandLine(["doctor", "--model", join(place, "none"), "--offline"]);
    expect(code).not.toBe(0);
    expect(stdout).toBe("");
    expect(stderr).toContain("none");
  });
});
