/**
 * @file `softprompt/engine`: checkpoints, tokenizers, partial models, and programs that run them with gradients.
 *
 * Start with `openCheckpoint`, `loadTokenizer`, `openEngine`; `encodeRows` and `makeBatch` make the inputs of programs.
 */

export type { CacheRemoval } from "./base/cache-limit.js";
export type { Feed, Feeds } from "./base/tensor.js";
export { inEightBits, largestEightBit } from "./engine/eight-bit.js";
export * from "./engine/engine.js";
export {
  evalFlops,
  type Flops,
  forwardFlops,
  type PassShape,
  paperMacs,
  partialParameters,
  recomputedFlops,
  stepFlops,
} from "./engine/flops.js";
export { type Pick as TokenPick, picker, type Sampling } from "./engine/sampling.js";
export type * from "./engine/types.js";
export * from "./method/method.js";
export * from "./method/methods.js";
export type { MethodChoice, MethodName, MethodSettings } from "./method/options.js";
export type { AttentionSite, Builder, KeyValue, ModelConfig, Weights } from "./model/architecture.js";
export { bindWeights } from "./model/bindings.js";
export { type BlockKind, type BlockOptions, blocksText, withBlocks } from "./model/block-weights.js";
export {
  type BlockSpans,
  type Checkpoint,
  type CheckpointOptions,
  type EightBitLayer,
  type EightBitSpans,
  openCheckpoint,
  type TensorSpan,
} from "./model/checkpoint.js";
export { type EightBitOptions, type LayerInputs, withEightBit } from "./model/eight-bit.js";
export type { FloatDType } from "./model/floats.js";
export type { ConvertProgress } from "./model/gguf/convert.js";
export * from "./model/partial.js";
export type { T5Config } from "./model/t5/config.js";
export { type T5Size, t5Shape, t5Sizes } from "./model/t5/shapes.js";
export { t5Tensors } from "./model/t5/tensors.js";
export type { ExpectedTensor } from "./model/tensors.js";
export type { MakingOptions } from "./model/weight-cache.js";
export { nodeRuntime } from "./runtime/node.js";
export * from "./runtime/runtime.js";
export { openSession, type Session, type SessionOptions } from "./runtime/session.js";
export type { Padded } from "./text/batch.js";
export { type Batch, type EncodedRow, makeBatch } from "./text/batch.js";
export type { ChatFormat } from "./text/chat.js";
export type { DecodeOptions, StreamDecoder } from "./text/decoding.js";
export { loadTokenizer } from "./text/load.js";
export { choicesOf, encodeRows } from "./text/rows.js";
export type { EncodingRules } from "./text/rules.js";
export type { ContextWindow, Span, TextOptions, Tokenizer } from "./text/tokenizer.js";
