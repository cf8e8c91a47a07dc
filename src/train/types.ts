/** @file Types of the trainer: its input, its events and its result. */
import type { Parameters } from "../base/tensor.js";
import type { Scores } from "../data/metrics.js";
import type { Row, Task } from "../data/row.js";
import type { Engine } from "../engine/engine.js";
import type { PromptMask } from "../method/mask.js";
import type { Tokenizer } from "../text/tokenizer.js";
import type { TrainSettings } from "./options.js";
import type { Schedule } from "./stage.js";
import type { Chosen, HistoryEntry, StageCost, StopReason, TrainState } from "./state.js";

export type { TrainSettings } from "./options.js";
export type { Chosen, HistoryEntry, StageCost, StopReason } from "./state.js";

/** Steps of a training on one model, with the same rows in the same order. If texts are kept, the texts of these batches have been read. */
export interface ReadSteps {
  /** Name of the partial model. */
  readonly partial: string;
  readonly from: number;
  /** Exclusive end. */
  readonly to: number;
}

/** Everything a training needs; the caller owns the engine (and the run, where it hands in an open one). */
export interface TrainInput {
  readonly engine: Engine;
  readonly tokenizer: Tokenizer;
  readonly task: Task;
  readonly train: readonly Row[];
  /** May be empty: then nothing is evaluated and the last prompt counts as the best. */
  readonly validation: readonly Row[];
  /** Start values of what the engine's method trains. */
  readonly parameters: Parameters;
  /** Mask of the prompt; null = all ones. Masked entries stay exactly zero. */
  readonly mask: PromptMask | null;
  /** Texts that an earlier training of the same work has read (a search's tuning). Their cost is not counted again. Default nothing. */
  readonly readBefore?: readonly ReadSteps[] | undefined;
  readonly schedule: Schedule;
  readonly settings: TrainSettings;
  /** Where to write and resume from; the caller opened it and closes it (run/folder.ts). null trains in memory only. */
  readonly run: Run | null;
  readonly observe: (event: TrainEvent) => void;
  /** Total FLOPs spent on this training before its first step, neuron scores and a baseline say; `totalFlops` counts them. Default 0. */
  readonly flopsBefore?: number;
  /** Aborting finishes the step (or drops the evaluation) in progress, saves, and returns with reason "interrupted". */
  readonly signal?: AbortSignal;
  /**
   * Stop after so many steps and the evaluation that is due there, as an abort would: saved, reason "interrupted". A resume with a later
   * pause, or none, goes on. It does not change what is computed. Default never.
   */
  readonly pauseAfter?: number;
  /** Steps whose parameters are wanted in TrainResult.kept (rewinding to step k). Default none. */
  readonly keep?: readonly number[];
}

/** Events of the loop. The terminal, metrics.jsonl and TensorBoard all use this one stream. */
export type TrainEvent =
  | { kind: "start"; totalSteps: number; step: number; stages: number }
  | { kind: "stage"; step: number; stage: number; partial: string }
  | {
      kind: "step";
      step: number;
      stage: number;
      /** Mean over the batch's target tokens. */
      loss: number;
      learningRate: number;
      /** Norm over live entries, before clipping. */
      gradientNorm: number;
      /** Encoder and decoder tokens of this step, prompt included, padding not. */
      tokens: number;
      seconds: number;
      /** Opening the model's session before the step: at the start, at growth and after a resume; else next to nothing. */
      openSeconds: number;
      /** FLOPs of training until here: all products, and as the papers count; see engine/flops.ts. */
      flops: number;
      paperFlops: number;
      /** Total FLOPs, cumulative, of everything: training, evaluations (of the frozen model too), neuron scores. */
      totalFlops: number;
    }
  | {
      /** A step whose loss, gradient or update was not finite: the prompt did not move. */
      kind: "skip";
      step: number;
      stage: number;
      problem: string;
      rows: readonly string[];
      /** As a step's: it was computed all the same. */
      seconds: number;
      openSeconds: number;
      totalFlops: number;
    }
  | {
      kind: "eval";
      step: number;
      stage: number;
      /** Name of the model evaluated on. */
      partial: string;
      scores: Scores;
      loss: number;
      seconds: number;
      best: boolean;
      /** As a step's; the total with this evaluation. */
      flops: number;
      paperFlops: number;
      totalFlops: number;
    }
  /** Progress of the current evaluation (as RowsEvent), or of reading the texts of the stage's training rows before a step; not recorded. */
  | { kind: "rows"; done: number; total: number; tokens?: number; what?: "texts" }
  | { kind: "snapshot"; step: number }
  | { kind: "warning"; message: string }
  | { kind: "end"; reason: StopReason; step: number };

/** What a training cost. */
export interface TrainCost {
  /** All matrix products: training and evaluation. */
  readonly flops: number;
  readonly trainFlops: number;
  readonly evalFlops: number;
  /** The paper's accounting: forward Linear MACs, training only. */
  readonly paperFlops: number;
  /**
   * FLOPs that `lowMemory` or weights in blocks made the training compute a second time. They are no part of the others, so that a training costs
   * the same however it is run; absent where there were none.
   */
  readonly recomputedFlops?: number;
  /** Training, evaluation and opening sessions, over all parts of a resumed run; saving left out. */
  readonly seconds: number;
  readonly trainSeconds: number;
  readonly evalSeconds: number;
  readonly openSeconds: number;
  readonly perStage: readonly StageCost[];
}

/** What a training gives: its parameters, its history and its cost. */
export interface TrainResult {
  /**
   * Best by selectionScore (a new best if ≥), each prompt evaluated on the model of its stage; before the first
   * evaluation, the current prompt.
   */
  readonly best: Chosen;
  /** Best among evaluations on the full model (the one to report for FPT); null if none was made. */
  readonly bestOnFull: Chosen | null;
  /** After the last step. */
  readonly last: Parameters;
  readonly steps: number;
  /** Steps that were skipped because a number was not finite. */
  readonly skipped: number;
  readonly reason: StopReason;
  readonly cost: TrainCost;
  /** Every evaluation in order. */
  readonly history: readonly HistoryEntry[];
  /** After the steps of TrainInput.keep. */
  readonly kept: ReadonlyMap<number, Parameters>;
}

/** Name → value or sha256. Compared as a whole. */
export type Identity = Readonly<Record<string, string>>;

/** Where a training records its events and saves its states; the caller that opened it closes it. */
export interface Run {
  /** Its name for messages: the folder. */
  readonly folder: string;
  /**
   * Gives the facts about the run's inputs: written at the first call, compared at every later one.
   * @param most largest size in bytes of a saved state of this training; a larger file is not accepted.
   * @returns the newest good state, the recorded events cut back to it; null where nothing was saved yet.
   * @throws SoftpromptError "run" naming what changed, or where no saved state is usable.
   */
  begin(identity: Identity, tell: (message: string) => void, most?: number): TrainState | null;
  /** Records the event if it is one that is recorded. */
  record(event: TrainEvent): void;
  /** Saves a state durably. */
  save(state: TrainState): void;
  /** Writes another file of the run, completely or not at all: a file that reproduces a bad step. */
  write(name: string, content: string | Uint8Array): void;
}
