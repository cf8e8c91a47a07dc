/**
 * @file What the trainer takes and gives. (contract; the train room may refine it, and tells the others)
 */
import type { Tensor } from "../base/tensor.js";
import type { MetricName } from "../data/metrics.js";
import type { Row, Task } from "../data/row.js";
import type { PromptMask } from "../method/mask.js";
import type { Engine } from "../session/engine.js";
import type { Tokenizer } from "../text/tokenizer.js";
import type { Schedule } from "./stage.js";

/** How to train; every field is an option of the command line (declared in train/options.ts). */
export interface TrainSettings {
  readonly learningRate: number;
  readonly optimizer: "adafactor" | "adamw" | "sgd";
  readonly learningRateSchedule: "constant" | "linear" | "cosine";
  readonly warmupSteps: number;
  readonly weightDecay: number;
  /** Global-norm clip of the prompt gradient; 0 is off. */
  readonly clip: number;
  readonly batchSize: number;
  /** Rows per forward/backward; the update is that of the whole batch whatever it is. */
  readonly microBatchSize: number;
  readonly maxInputTokens: number;
  /** Evaluate every so many steps; 0 = once per epoch. */
  readonly evalEvery: number;
  /** Evaluations without improvement before stopping; 0 = never. */
  readonly patience: number;
  /** Which stream orders the data and draws the prompt. */
  readonly seed: number;
  readonly evaluateBy: "ranking" | "generation";
  /** Cap of validation rows per evaluation (first rows of a seeded shuffle); 0 = all. */
  readonly maxEvalRows: number;
}

/** Everything a training needs; the caller owns the engine. */
export interface TrainInput {
  readonly engine: Engine;
  readonly tokenizer: Tokenizer;
  readonly task: Task;
  readonly train: readonly Row[];
  readonly validation: readonly Row[];
  /** [P, D] start values. */
  readonly prompt: Tensor;
  /** null = all ones. Masked entries stay exactly zero. */
  readonly mask: PromptMask | null;
  readonly schedule: Schedule;
  readonly settings: TrainSettings;
  /** Run folder to write to and resume from; null trains in memory only (studies, tests). */
  readonly run: string | null;
  readonly resume: boolean;
  readonly observe: (event: TrainEvent) => void;
  readonly signal?: AbortSignal;
}

/** What the loop tells while it runs; the terminal, metrics.jsonl and TensorBoard all listen to this one stream. */
export type TrainEvent =
  | { kind: "start"; totalSteps: number; step: number; stages: number }
  | { kind: "stage"; step: number; stage: number; partial: string }
  | {
      kind: "step";
      step: number;
      stage: number;
      loss: number;
      learningRate: number;
      gradientNorm: number;
      /** Encoder and decoder tokens of this step, prompt included. */
      tokens: number;
      seconds: number;
      /** Honest cumulative FLOPs and the paper's, evaluation excluded; see model/flops.ts. */
      flops: number;
      paperFlops: number;
    }
  | {
      kind: "eval";
      step: number;
      stage: number;
      scores: Partial<Record<MetricName, number>>;
      loss: number;
      seconds: number;
      best: boolean;
      flops: number;
    }
  | { kind: "checkpoint"; step: number }
  | { kind: "warning"; message: string }
  | { kind: "end"; reason: "steps" | "patience" | "interrupted"; step: number };

export interface TrainResult {
  /** Best by the task's first metric (new best if ≥), on any model; [P, D]. */
  readonly best: {
    readonly prompt: Tensor;
    readonly step: number;
    readonly scores: Partial<Record<MetricName, number>>;
  };
  /** Best among evaluations on the full model (the one to report for FPT); null if none was made. */
  readonly bestOnFull: {
    readonly prompt: Tensor;
    readonly step: number;
    readonly scores: Partial<Record<MetricName, number>>;
  } | null;
  /** Prompt after the last step. */
  readonly last: Tensor;
  readonly steps: number;
  readonly reason: "steps" | "patience" | "interrupted";
  readonly cost: {
    /** All matrix products: training, evaluation and scoring. */
    readonly flops: number;
    readonly trainFlops: number;
    readonly evalFlops: number;
    /** The paper's accounting: forward Linear MACs, training only. */
    readonly paperFlops: number;
    readonly seconds: number;
    readonly trainSeconds: number;
    readonly evalSeconds: number;
    readonly perStage: readonly {
      readonly partial: string;
      readonly steps: number;
      readonly seconds: number;
      readonly evalSeconds: number;
      readonly flops: number;
    }[];
  };
  /** Every evaluation in order. */
  readonly history: readonly {
    readonly step: number;
    readonly stage: number;
    readonly loss: number;
    readonly scores: Partial<Record<MetricName, number>>;
    readonly flops: number;
    readonly seconds: number;
  }[];
}
