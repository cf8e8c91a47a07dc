/**
 * @file What the quickstart trains with. Plain data, so that the README's and the tests' figures come from one place.
 */
export const quickstartSettings = {
  model: "t5-nano",
  task: "quickstart",
  virtualTokens: 20,
  learningRate: 0.1,
  batchSize: 16,
  microBatchSize: 16,
  steps: 120,
  evalEvery: 20,
  seed: 0,
} as const;
