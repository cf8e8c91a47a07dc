/**
 * @file Settings of the quickstart. Plain data, so that the figures of README and tests come from one place.
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

/** Approximate root mean square of the bundled model's embeddings. For another model the learning rate is scaled by the ratio. */
export const quickstartScale = 1;

/** Overrides for a model with more parameters than this: fewer steps on fewer rows, so that it ends within minutes. */
export const largeModel = 20e6;
export const largeSettings = {
  batchSize: 8,
  microBatchSize: 8,
  steps: 40,
  evalEvery: 20,
  maxEvalRows: 32,
  finalEvalRows: 80,
} as const;

/** The template of the bundled rows for a decoder-only model, which needs a text that leads to the answer. */
export const quickstartContinued = {
  train: "examples/quickstart/train.jsonl",
  validation: "examples/quickstart/validation.jsonl",
  task: "quickstart",
  template: "sentence: {text}\nsentiment:",
  labelColumn: "label",
  verbalizer: { negative: "negative", positive: "positive" },
} as const;
