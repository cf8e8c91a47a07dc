/**
 * @file Types of retrainings: their input and their results.
 */
import type { Tensor } from "../base/tensor.js";
import type { Scores } from "../data/metrics.js";
import type { Row, Task } from "../data/row.js";
import type { Engine } from "../engine/engine.js";
import type { MaskCounts, PromptMask } from "../method/mask.js";
import type { MethodChoice } from "../method/options.js";
import type { Tokenizer } from "../text/tokenizer.js";
import type { Schedule } from "../train/stage.js";
import type { ReadSteps, TrainCost, TrainSettings } from "../train/types.js";

/** How candidates are trained; the same for all of a search. */
export interface Retraining {
  /** Trains a matrix `prompt` (Method.prunable). */
  readonly engine: Engine;
  /** The method whose vectors are pruned, by which a worker opens its own engine (prunableForm). Default prompt tuning. */
  readonly method?: MethodChoice | undefined;
  readonly tokenizer: Tokenizer;
  readonly task: Task;
  readonly train: readonly Row[];
  /** Rows by which prompts and candidates are chosen: validation rows, or a holdout of the training rows. */
  readonly selection: readonly Row[];
  readonly schedule: Schedule;
  readonly settings: TrainSettings;
  /** Texts that the tuning has read, if a retraining uses the same rows in the same order. */
  readonly readBefore?: readonly ReadSteps[] | undefined;
  readonly signal?: AbortSignal;
}

/** A candidate before training. */
export interface CandidateJob {
  /** Unique in its search; also its folder's name: "t04-p12", "control", "reversed". */
  readonly name: string;
  readonly tokensPruned: number;
  readonly piecesPruned: number;
  /** [P, D] values to start from (a prefix: one row for each position); pruned entries are set to zero. */
  readonly prompt: Tensor;
  /** null = nothing pruned. */
  readonly mask: PromptMask | null;
  /** Take pruned tokens out of the sequence instead of leaving zero vectors. */
  readonly drop: boolean;
}

/** A candidate that was trained for so many steps. */
export interface Candidate {
  readonly name: string;
  readonly tokensPruned: number;
  readonly piecesPruned: number;
  /** Mask of the whole prompt, also with `drop`; null = nothing pruned. */
  readonly mask: PromptMask | null;
  /** What it leaves of the whole prompt. */
  readonly counts: MaskCounts;
  /**
   * The prompt of the best evaluation, by selectionScore on the selection rows. With `drop` it holds only the surviving tokens; see
   * ownMask.
   */
  readonly prompt: Tensor;
  readonly score: number;
  readonly scores: Scores;
  readonly loss: number;
  /** Step of that evaluation, and steps trained in all. */
  readonly bestStep: number;
  readonly steps: number;
  /** False when it was stopped before its last step. */
  readonly finished: boolean;
  /** Why its training could not go on: its numbers were not finite, or nothing moved. It is ranked last, never chosen, and not tried again. */
  readonly failed?: string | undefined;
  readonly cost: CandidateCost;
  /** Curve on the selection rows. */
  readonly history: readonly {
    readonly step: number;
    readonly score: number;
    readonly loss: number;
    readonly flops: number;
  }[];
}

/** Evaluations at the rungs of a halving search included. */
export type CandidateCost = Omit<TrainCost, "flops" | "perStage" | "openSeconds" | "recomputedFlops">;

/** How candidates are spread over processes. */
export interface WorkerSettings {
  /** Processes; 1 trains in this one. */
  readonly count: number;
  /** The program a worker runs. Default: worker.js beside this file. */
  readonly module?: string;
}
