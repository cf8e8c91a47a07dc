/** @file Threads of child processes. */
import { expect, test } from "vitest";
import { threadsEach } from "./child.js";

test("threads that were asked for are each process's; all cores, asked for or not, are divided", () => {
  const each = [
    [0, 2, 8],
    [8, 2, 8],
    [3, 2, 8],
    [0, 4, 2],
    [2, 1, 2],
  ].map(([threads, count, cores]) => threadsEach(threads!, count!, cores));
  expect(each).toEqual([4, 4, 3, 1, 2]);
});
