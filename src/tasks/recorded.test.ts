import { expect, test } from "vitest";
import { metricsLine } from "../run/metrics.js";
import { readEvent } from "./recorded.js";

test("a skipped step is read back with what it took; an earlier version did not record that", () => {
  const skip = { kind: "skip", step: 3, stage: 0, problem: "the loss is NaN", rows: ["a"] } as const;
  const spent = { seconds: 2, openSeconds: 0.5, totalFlops: 7 };
  expect(readEvent(metricsLine({ ...skip, ...spent }, 0)!, "x")).toMatchObject(spent);
  expect(readEvent(JSON.stringify({ ...skip, time: "" }), "x")).not.toHaveProperty("seconds");
});
