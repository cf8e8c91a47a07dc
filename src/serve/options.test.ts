import { expect, test } from "vitest";
import { readOptions } from "../base/options.js";
import { serveOptions } from "./options.js";

test("a request's time limit is one that a timer can hold", () => {
  const { max } = serveOptions.requestTimeout as { max?: number };
  expect(max! * 1000).toBeLessThan(2 ** 31);
  expect(() => readOptions(serveOptions, { requestTimeout: 2_147_484 }, "test")).toThrow(/from 0\.1 to 2000000/);
  expect(readOptions(serveOptions, { requestTimeout: max }, "test").requestTimeout).toBe(max);
});
