/**
 * @file What the engine promises: options, programs and their results. Re-exported by `engine.ts`.
 */
import type { Tensor } from "../base/tensor.js";
import type { Checkpoint } from "../model/checkpoint.js";
import type { PartialModel } from "../model/partial.js";
import type { Batch, EncodedRow } from "../text/batch.js";

export interface EngineOptions {
  /** Threads inside one operator; 0 lets ONNX Runtime choose. Default 0. */
  threads?: number;
  /** Trade speed for memory: no pre-packed weights, 16-bit weights widened per use instead of kept. Default false. */
  lowMemory?: boolean;
  /** Execution provider. Default "cpu". */
  device?: "cpu" | "webgpu" | "cuda";
  /** Lower com.microsoft operators to plain ONNX. Default false. */
  plainOps?: boolean;
}

/** The prompt of a batch: one prompt for all rows ([P, D]) or one per row ([B, P, D]); P = 0 is the bare model. */
export type PromptFeed = Tensor;

export interface StepResult {
  /** [B] negative log-likelihood of the target, summed over its tokens. */
  readonly loss: Float32Array;
  /** [B] number of target tokens that count. */
  readonly tokens: Int32Array;
  /** [B, P, D]: d (Σ_b weight_b · loss_b) / d prompt_b. Rows stay separate; their sum trains a shared prompt. */
  readonly gradient: Float32Array;
}

/** Loss and prompt gradient in one pass. */
export interface TrainProgram {
  /** @param weights [B] factor of each row's summed loss; 1/(tokens of the whole batch) gives the token-mean loss. */
  run(prompt: PromptFeed, batch: Batch, weights: Float32Array): Promise<StepResult>;
}

/** Label ranking: encode once, score each choice. */
export interface ScoreProgram {
  /** @returns one array per row: log-probability (summed over tokens, natural log) of each of the row's choices. */
  run(prompt: PromptFeed, rows: readonly EncodedRow[]): Promise<Float64Array[]>;
}

/** Greedy decoding with a key/value cache. */
export interface GenerateProgram {
  /** @returns one id array per row, without start, end and padding ids. */
  run(prompt: PromptFeed, rows: readonly EncodedRow[], maxTokens: number): Promise<number[][]>;
}

/** Feed-forward activations for neuron scores (fpt.md §3.3): full model, teacher-forced. */
export interface ActivationProgram {
  /** @returns per row the mean over valid positions of |activation|: encoder [B, L, F] and decoder [B, L, F]. */
  run(prompt: PromptFeed, batch: Batch): Promise<{ encoder: Float32Array; decoder: Float32Array }>;
}

/** Last hidden states and logits, for parity tests and analysis. */
export interface ForwardProgram {
  /** @returns encoder [B, P+T, D], decoder [B, U, D] (both after the final norm), logits [B, U, V]; teacher-forced. */
  run(prompt: PromptFeed, batch: Batch): Promise<{ encoder: Tensor; decoder: Tensor; logits: Tensor }>;
}

/** Programs over one frozen checkpoint. Programs are made on first use and cached per (kind, partial.name). */
export interface Engine {
  readonly checkpoint: Checkpoint;
  /** How it computes, as far as it changes the numbers in their last digits: not to be changed within a run. */
  readonly arithmetic: Readonly<Required<Pick<EngineOptions, "device" | "lowMemory" | "plainOps">>>;
  train(partial?: PartialModel): Promise<TrainProgram>;
  score(partial?: PartialModel): Promise<ScoreProgram>;
  generate(partial?: PartialModel): Promise<GenerateProgram>;
  activations(): Promise<ActivationProgram>;
  forward(partial?: PartialModel): Promise<ForwardProgram>;
  /** Frees the programs of one partial model (FPT after growth). */
  release(partial: PartialModel): Promise<void>;
  /** Frees everything. Idempotent. */
  dispose(): Promise<void>;
}
