/**
 * @file `npm test`: build, type check, lint, then every test; the last line counts them: "N passed, N failed, N skipped".
 *
 * Why a script: the count must stand alone on the last line in one fixed form, and a test file that fails to load must count
 * as a failure although it holds no test. Arguments go to vitest: `npm test -- src/data`.
 */
import { spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

const run = (command, args) =>
  spawnSync(command, args, { stdio: "inherit", shell: process.platform === "win32" }).status ?? 1;

for (const gate of ["build", "check", "lint"])
  if (run("npm", ["run", "--silent", gate]) !== 0)
    finish({ passed: 0, failed: 1, skipped: 0, note: `npm run ${gate} failed; no test was run` });

const folder = mkdtempSync(join(tmpdir(), "softprompt-test-"));
const file = join(folder, "results.json");
const status = run("npx", [
  "vitest",
  "run",
  "--reporter=default",
  "--reporter=json",
  `--outputFile.json=${file}`,
  ...process.argv.slice(2),
]);
let results;
try {
  results = JSON.parse(readFileSync(file, "utf8"));
} catch {
  finish({ passed: 0, failed: 1, skipped: 0, note: "vitest ended without results" });
} finally {
  rmSync(folder, { recursive: true, force: true });
}
const unloaded = results.testResults.filter((f) => f.status === "failed" && f.assertionResults.length === 0);
const failed = results.numFailedTests + unloaded.length;
finish({
  passed: results.numPassedTests,
  // vitest also exits with 1 for unhandled errors outside any test
  failed: failed === 0 && status !== 0 ? 1 : failed,
  skipped: results.numPendingTests + (results.numTodoTests ?? 0),
});

function finish({ passed, failed, skipped, note }) {
  if (note) console.log(note);
  console.log(`${passed} passed, ${failed} failed${skipped > 0 ? `, ${skipped} skipped` : ""}`);
  process.exit(failed === 0 ? 0 : 1);
}
