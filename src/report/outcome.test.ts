/** @file What is said of a training that ended at chance, and nothing of one that learnt. */
import { expect, test } from "vitest";
import { outcomeWarnings } from "./outcome.js";

const answers = (...labels: string[]) =>
  labels.map((label, n) => ({ text: label, label, correct: label === (n % 2 === 0 ? "good" : "bad") }));
const mixed = answers("good", "bad", "good", "good", "bad", "bad", "good", "bad");
const constant = answers(...Array.from({ length: 8 }, () => "good"));
const evaluated = (partial: string, ...scores: number[]) =>
  scores.map((accuracy) => ({ partial, scores: { accuracy } }));

test.each([
  [{ scores: { accuracy: 0.625 }, majority: { accuracy: 0.5 }, predictions: mixed }, []],
  // told once, by its cause
  [{ scores: { accuracy: 0.5 }, majority: { accuracy: 0.5 }, predictions: constant }, [/same answer, “good”/]],
  [
    { scores: { accuracy: 0.5 }, majority: { accuracy: 0.625 }, predictions: mixed },
    [/accuracy 50\.0 is not above that of always the most frequent label, 62\.5/],
  ],
  // rows of one label, all right: no score is above it
  [
    {
      scores: { accuracy: 1 },
      majority: { accuracy: 1 },
      predictions: constant.map((one) => ({ ...one, correct: true })),
    },
    [],
  ],
  [{ scores: { accuracy: 0.5 }, majority: { accuracy: 0.625 }, predictions: mixed.slice(1) }, []],
  [{ scores: { accuracy: 0.625 }, majority: null, predictions: mixed }, []],
  [{ scores: {}, majority: null, predictions: [] }, []],
])("%#: the score against a constant answer", (ended, told) => {
  const found = outcomeWarnings(ended);
  expect(found).toHaveLength(told.length);
  for (const [n, pattern] of told.entries()) expect(found[n]).toMatch(pattern);
});

test.each([
  ["patience", evaluated("full", 0.5, 0.5, 0.4), 1],
  ["patience", evaluated("full", 0.5, 0.6, 0.6), 0],
  ["steps", evaluated("full", 0.5, 0.5, 0.4), 0],
  // a rise on a partial model says nothing of the last stage
  ["patience", [...evaluated("half", 0.3, 0.5), ...evaluated("full", 0.5, 0.5)], 1],
  ["patience", evaluated("full", 0.5), 0],
  // the first metric stays, and the mean that chooses rises
  [
    "patience",
    [
      { partial: "full", scores: { accuracy: 0.5, macroF1: 0.3 } },
      { partial: "full", scores: { accuracy: 0.5, macroF1: 0.4 } },
    ],
    0,
  ],
])("%s after %j: given up before it rose is told %i times", (reason, evaluations, times) => {
  const scores = { accuracy: 0.7 };
  const found = outcomeWarnings({ scores, majority: null, predictions: mixed, reason, evaluations });
  expect(found.filter((told) => /patience ended the training before/.test(told))).toHaveLength(times);
});
