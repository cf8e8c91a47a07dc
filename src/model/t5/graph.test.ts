/** Relative position buckets against transformers' own (T5Attention._relative_position_bucket, 5.18), as run lengths. */
import { expect, test } from "vitest";
import { relativeBuckets } from "./graph.js";
import { t5Shape } from "./shapes.js";

/** "bucket*count" for key − query = −300 … 300. */
const both32 =
  "15*210 14*27 13*18 12*14 11*9 10*7 9*4 8*4 7*1 6*1 5*1 4*1 3*1 2*1 1*1 0*1 17*1 18*1 19*1 20*1 21*1 22*1 23*1 24*4 25*4 26*7 27*9 28*14 29*18 30*27 31*210";
const both8 = "3*294 2*5 1*1 0*1 5*1 6*5 7*294";
/** The same for −300 … 0. */
const causal32 =
  "31*188 30*14 29*12 28*10 27*10 26*8 25*7 24*6 23*6 22*5 21*4 20*4 19*3 18*3 17*2 16*3 15*1 14*1 13*1 12*1 11*1 10*1 9*1 8*1 7*1 6*1 5*1 4*1 3*1 2*1 1*1 0*1";
const causal8 = "7*287 6*5 5*3 4*2 3*1 2*1 1*1 0*1";

const unpack = (runs: string) =>
  runs.split(" ").flatMap((run) => {
    const [bucket, count] = run.split("*").map(Number) as [number, number];
    return new Array<number>(count).fill(bucket);
  });

test.each([
  [32, 128, both32, causal32],
  [8, 20, both8, causal8],
])("%i buckets to distance %i", (relativeBucketCount, relativeMaxDistance, both, causal) => {
  const config = { ...t5Shape("small"), relativeBuckets: relativeBucketCount, relativeMaxDistance };
  expect([...relativeBuckets(config, 1, 601, { causal: false, first: 300 })]).toEqual(unpack(both));
  expect([...relativeBuckets(config, 1, 301, { causal: true, first: 300 })]).toEqual(unpack(causal));
});

test("what lies in the future has a bucket of its own", () => {
  const table = relativeBuckets(t5Shape("small"), 3, 3, { causal: true });
  expect([...table]).toEqual([0, 32, 32, 1, 0, 32, 2, 1, 0]);
});

test("a row of the table is the row of a later start", () => {
  const config = t5Shape("small");
  const table = relativeBuckets(config, 50, 50, { causal: true });
  expect([...relativeBuckets(config, 1, 50, { causal: true, first: 49 })]).toEqual([...table.subarray(49 * 50)]);
});
