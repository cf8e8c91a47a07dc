/**
 * @file The programs in examples/ run as they stand, on fewer steps: each ends in a check and would exit with 1.
 */
import { execFile } from "node:child_process";
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { dirname, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { expect, test } from "vitest";

const root = resolve(dirname(fileURLToPath(import.meta.url)), "..");
const programs = readdirSync(join(root, "examples")).filter((name) => /^\d\d-.*\.mjs$/.test(name));
const run = promisify(execFile);

test("they are numbered without a gap, say what they show, and end in a check", () => {
  expect(programs.length).toBeGreaterThanOrEqual(10);
  for (const [i, name] of programs.entries()) {
    const text = readFileSync(join(root, "examples", name), "utf8");
    expect(Number(name.slice(0, 2))).toBe(i + 1);
    expect(text, name).toMatch(/^\/\*\* @file .* \*\/\n/);
    expect(text, name).toMatch(/\bcheck\(/);
    expect(text, name).not.toMatch(/dist\//);
  }
});

// they import the package by its name, which leads to what was built
test.skipIf(!existsSync(join(root, "dist/index.js"))).each(programs)(
  "examples/%s",
  async (name) => {
    const env = { ...process.env, EXAMPLE_STEPS: "4", NODE_OPTIONS: "" };
    const { stdout } = await run(process.execPath, [join(root, "examples", name)], { env, cwd: root });
    expect(stdout).toMatch(/^✓ /m);
  },
  300_000,
);

test("a check that does not hold ends with 1", async () => {
  const program = `import { check } from ${JSON.stringify(join(root, "examples/check.mjs"))}; check(false, "this");`;
  await expect(run(process.execPath, ["--input-type=module", "-e", program])).rejects.toMatchObject({ code: 1 });
});
