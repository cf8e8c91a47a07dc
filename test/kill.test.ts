/** @file Kill anywhere, the quick form; `npm run kill-test` is the long one (docs/reliability.md has its figures). */
import { rmSync } from "node:fs";
import { dirname } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { bundle } from "./helpers/bundle.js";
import { fixture } from "./helpers/tiny-job.js";
import { killRuns } from "./kill/harness.js";

let program: string;
beforeAll(async () => {
  program = await bundle("test/kill/worker.ts");
});
afterAll(() => rmSync(dirname(program), { recursive: true }));

test.each([
  ["fake", 12],
  ["tiny", 4],
] as const)(
  "a process killed at random moments and inside writes resumes to the same bytes: %s engine",
  async (engine, kills) => {
    const summary = await killRuns({ program, engine, model: fixture("tiny-t5-v11"), kills, killsPerRun: 4, seed: 1 });
    expect(summary.losses).toEqual([]);
    expect(summary.kills).toBeGreaterThanOrEqual(kills);
  },
);
