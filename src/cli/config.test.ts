import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { type ErrorKind, SoftpromptError } from "../base/errors.js";
import { ioError } from "../base/files.js";
import { type FolderKind, layout } from "../run/layout.js";
import { withResume } from "./config.js";

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "config-"));
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

const full = () => ioError(Object.assign(new Error("full"), { code: "ENOSPC" }), "metrics.jsonl");
const hintOf = (kind: FolderKind, error: unknown) =>
  withResume(kind, folder, () => Promise.reject(error)).then(
    () => undefined,
    (thrown: SoftpromptError) => thrown.parts.hint,
  );

test.each([
  ["run", (): string => `softprompt train --resume ${folder}`],
  ["search", (): string => `softprompt prune --resume ${folder}`],
  ["study", (): string => "run the same command again"],
] as const)("a full disk that ends a %s says how to go on with it", async (kind, how) => {
  writeFileSync(join(folder, layout[kind].head), "{}");
  expect(await hintOf(kind, full())).toMatch(/^free some space;/);
  expect(await hintOf(kind, full())).toContain(how());
});

test("where nothing was begun, or something else is wrong, the error is as it was", async () => {
  expect(await hintOf("run", full())).toBe("free some space; what was there before is still whole");
  writeFileSync(join(folder, layout.run.head), "{}");
  const other = new SoftpromptError("numeric" satisfies ErrorKind, "a number went wrong", {
    where: "step 3",
    hint: "lower the rate",
  });
  expect(await hintOf("run", other)).toBe("lower the rate");
});
