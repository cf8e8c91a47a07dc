/**
 * @file Types of a search: its input, its events, and the tuning before it.
 */
import type { Tensor } from "../base/tensor.js";
import type { Scores } from "../data/metrics.js";
import type { Row, Task } from "../data/row.js";
import type { Engine } from "../engine/engine.js";
import type { RowsEvent } from "../evaluate/evaluate.js";
import type { MethodChoice } from "../method/options.js";
import type { Tokenizer } from "../text/tokenizer.js";
import type { Schedule } from "../train/stage.js";
import type { TrainEvent, TrainSettings } from "../train/types.js";
import type { Importance } from "./importance.js";
import type { PruneOptions } from "./options.js";
import type { Candidate, CandidateCost, WorkerSettings } from "./types.js";

/** The complete input of a search. */
export interface SearchInput {
  /** Trains a matrix `prompt` (Method.prunable). */
  readonly engine: Engine;
  /** As Retraining.method. */
  readonly method?: MethodChoice | undefined;
  readonly tokenizer: Tokenizer;
  readonly task: Task;
  readonly train: readonly Row[];
  readonly validation: readonly Row[];
  /** Rows on which prompts are reported, if they are neither those that chose nor all validation rows. Default the validation rows. */
  readonly reportOn?: readonly Row[] | undefined;
  /** [P, D] start values of stage A. */
  readonly prompt: Tensor;
  /** Stage A; any schedule. */
  readonly schedule: Schedule;
  /** Each retraining; any schedule. */
  readonly retrainSchedule: Schedule;
  readonly settings: TrainSettings;
  /** Settings of the retrainings. Default the same as the tuning's. */
  readonly retrainSettings?: TrainSettings;
  readonly options: PruneOptions;
  /** Go on with the search that is in the folder; refused when its inputs changed. */
  readonly resume: boolean;
  /** By name: `config.yaml`. Written before the folder becomes a search, and again when a resume changes what may change. */
  readonly files?: Readonly<Record<string, string>>;
  readonly observe: (event: SearchEvent) => void;
  readonly signal?: AbortSignal;
  /** An earlier tuning with the same rows, used instead of stage A. */
  readonly tuned?: Tuned;
  readonly workers?: Partial<WorkerSettings>;
}

/** Events of a search. */
export type SearchEvent =
  | { readonly kind: "phase"; readonly phase: "tune" | "score" | "control" | "search" | "report" }
  | { readonly kind: "tune"; readonly event: TrainEvent }
  | { readonly kind: "scores"; readonly importance: Importance }
  | { readonly kind: "candidate"; readonly name: string; readonly event: TrainEvent }
  /** Each as it ends, or is read back; several that train at once end in any order. */
  | { readonly kind: "retrained"; readonly candidate: Candidate }
  /** Progress of the pass for importance, and of the evaluation that is reported. */
  | RowsEvent;

/** Result of stage A. */
export interface Tuned {
  /** [P, D] before the first step. */
  readonly init: Tensor;
  /** The prompt of the best evaluation. */
  readonly prompt: Tensor;
  readonly score: number;
  readonly scores: Scores;
  /** Prompts after the steps that rewinding wants. */
  readonly kept: ReadonlyMap<number, Tensor>;
  readonly cost: CandidateCost;
  readonly steps: number;
}
