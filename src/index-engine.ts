/**
 * @file `softprompt/engine`: checkpoints, tokenizers, partial models, and programs that run them with gradients.
 *
 * Start with `openCheckpoint`, `loadTokenizer`, `openEngine`; `encodeRows` and `makeBatch` make what programs take.
 */
export * from "./engine/engine.js";
export { evalFlops, forwardFlops, type PassShape, paperMacs, partialParameters, stepFlops } from "./engine/flops.js";
export type * from "./engine/types.js";
export * from "./method/method.js";
export * from "./method/methods.js";
export type { ModelConfig } from "./model/architecture.js";
export { bindWeights } from "./model/bindings.js";
export { type Checkpoint, openCheckpoint } from "./model/checkpoint.js";
export * from "./model/partial.js";
export type { T5Config } from "./model/t5/config.js";
export { type T5Size, t5Shape, t5Sizes } from "./model/t5/shapes.js";
export { nodeRuntime } from "./runtime/node.js";
export * from "./runtime/runtime.js";
export { openSession, type Session, type SessionOptions } from "./runtime/session.js";
export { type Batch, type EncodedRow, makeBatch } from "./text/batch.js";
export { loadTokenizer } from "./text/load.js";
export { choicesOf, encodeRows } from "./text/rows.js";
export type { Tokenizer } from "./text/tokenizer.js";
