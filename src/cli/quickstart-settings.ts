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

/** The bundled model's embeddings have about this root mean square; another model's rate is scaled by its own. */
export const quickstartScale = 1;

/** Put over them for a model of more parameters than this: fewer steps on fewer rows, so that it ends within minutes. */
export const largeModel = 20e6;
export const largeSettings = {
  batchSize: 8,
  microBatchSize: 8,
  steps: 40,
  evalEvery: 20,
  maxEvalRows: 32,
  finalEvalRows: 80,
} as const;

/** The bundled rows as a decoder-only model goes on from them: it wants to be led up to the answer. */
export const quickstartContinued = {
  train: "examples/quickstart/train.jsonl",
  validation: "examples/quickstart/validation.jsonl",
  task: "quickstart",
  template: "sentence: {text}\nsentiment:",
  labelColumn: "label",
  verbalizer: { negative: "negative", positive: "positive" },
} as const;
