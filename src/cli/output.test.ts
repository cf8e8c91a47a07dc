/** @file Default run folders: below runs/ whatever the task is called. */
import { relative, resolve } from "node:path";
import fc from "fast-check";
import { expect, test } from "vitest";
import { defaultFolder } from "./output.js";

test("a folder's name keeps what can be read of the task's", () => {
  expect(defaultFolder("SST-2", "prompt-tuning", 0)).toMatch(/^runs.sst-2-prompt-tuning-seed0$/);
  expect(defaultFolder("../x", "xprompt", 3)).toMatch(/^runs.\.\.-x-xprompt-seed3$/);
});

test("no task's name leads out of runs/, or deeper into it", () => {
  fc.assert(
    fc.property(fc.oneof(fc.string(), fc.constantFrom("..", "../../etc", "/", "a\\b", "a/b")), (task) => {
      const inside = relative(resolve("runs"), resolve(defaultFolder(task, "xprompt", 0)));
      expect(inside).toMatch(/^[^/\\]+$/);
      expect(inside).not.toBe("..");
    }),
  );
});
