/** @file The metrics by name; metrics.ts computes them. */

export const metricNames = [
  "accuracy",
  "f1",
  "macroF1",
  "f1a",
  "groupExactMatch",
  "exactMatch",
  "tokenF1",
  "hasAnswerF1",
  "rouge1",
  "rouge2",
  "rougeL",
] as const;

/** Name of a metric. */
export type MetricName = (typeof metricNames)[number];

/** What was measured, as fractions 0 … 1, by the metric's name. */
export type Scores = Readonly<Partial<Record<MetricName, number>>>;
