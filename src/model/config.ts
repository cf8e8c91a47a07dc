/**
 * @file T5's config.json as a typed, checked record. (contract; the model room fills it in)
 */

/** Everything the graph needs to know of a T5. */
export interface T5Config {
  readonly family: "t5";
  /** D */
  readonly width: number;
  /** K */
  readonly headWidth: number;
  /** H */
  readonly heads: number;
  /** F */
  readonly feedForwardWidth: number;
  readonly encoderLayers: number;
  readonly decoderLayers: number;
  /** V, rows of the embedding (may be padded beyond the tokenizer). */
  readonly vocabulary: number;
  /** `gelu` is the tanh approximation ("gelu_new"), as T5 v1.1 uses it. */
  readonly activation: "relu" | "gelu" | "silu";
  /** Gated: act(wi_0·x) ⊙ (wi_1·x); otherwise act(wi·x). */
  readonly gated: boolean;
  /** Tied head: logits = (D^-1/2 · h)·Eᵀ, else h·lm_headᵀ. */
  readonly tiedHead: boolean;
  readonly normEpsilon: number;
  readonly relativeBuckets: number;
  readonly relativeMaxDistance: number;
  readonly padId: number;
  readonly eosId: number;
  readonly decoderStartId: number;
}
