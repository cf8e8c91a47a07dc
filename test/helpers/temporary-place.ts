/**
 * @file One temporary place for a whole run of the tests, removed when it ends: the files that tests leave behind go with it.
 *
 * Out: TMPDIR of every test process. SOFTPROMPT_TESTS_KEPT is the system's own temporary folder, for what serves later runs too.
 */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

export default function setup(): () => void {
  const kept = tmpdir();
  const place = mkdtempSync(join(kept, "softprompt-tests-"));
  process.env.SOFTPROMPT_TESTS_KEPT = kept;
  process.env.TMPDIR = place;
  return () => rmSync(place, { recursive: true, force: true });
}
