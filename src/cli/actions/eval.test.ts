/** @file softprompt eval says how far it is. */
import { afterEach, expect, test, vi } from "vitest";
import { commandLine } from "../../../test/helpers/command-line.js";

afterEach(() => vi.restoreAllMocks());

test("a long evaluation says how many rows are scored, on stderr", async () => {
  // a clock by which each look is four seconds later
  let time = 0;
  vi.spyOn(performance, "now").mockImplementation(() => {
    time += 4000;
    return time;
  });
  const rows = ["--max-eval-rows", "8", "--batch-size", "1"];
  const { code, stdout, stderr } = await commandLine([
    ...["eval", "--model", "t5-nano", "--task", "quickstart", ...rows, "--json"],
  ]);
  expect(code, stderr).toBe(0);
  expect(JSON.parse(stdout).rows).toBe(8);
  expect(stderr).toMatch(/^scoring rows [1-7]\/8 · \d/m);
});
