/** @file Node's options that a file can be started with, of those that a program's text was. */
import { expect, test } from "vitest";
import { execArgvForFile, threadOptions } from "./exec-argv.js";

test.each([
  [["--input-type=module", "-e", "await 1"], []],
  [["--input-type", "module", "--eval", "--x"], []],
  [
    ["--expose-gc", "-p", "1 + 1", "--import", "tsx"],
    ["--expose-gc", "--import", "tsx"],
  ],
  [
    ["--import=tsx", "--max-old-space-size=4096"],
    ["--import=tsx", "--max-old-space-size=4096"],
  ],
])("of %j a process keeps %j", (given, kept) => {
  expect(execArgvForFile(given)).toEqual(kept);
  // Node refuses V8's options by name, and hands them on where nothing is said
  expect(threadOptions(given)).toEqual(kept.length === given.length ? {} : { execArgv: [] });
});
