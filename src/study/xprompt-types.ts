/**
 * @file Types of XPrompt's studies: input and results.
 */
import type { Tensor } from "../base/tensor.js";
import type { Dataset, Row } from "../data/row.js";
import type { MaskCounts } from "../method/mask.js";
import type { PruneOptions } from "../prune/options.js";
import type { Search } from "../prune/search.js";
import type { SearchEvent } from "../prune/search-types.js";
import type { WorkerSettings } from "../prune/types.js";
import type { ScoringCost } from "../schedule/neuron-scores.js";
import type { RunsLeft } from "./left.js";
import type { StudyInput } from "./runs.js";

/** Input of a study of XPrompt. */
export interface XPromptStudyInput extends Omit<StudyInput, "observe"> {
  readonly prune: PruneOptions;
  readonly workers?: Partial<WorkerSettings>;
  /** The rows of a task that report, where its validation rows choose. Default those validation rows. */
  readonly reportOn?: (task: string) => readonly Row[];
  readonly observe: (event: XPromptStudyEvent) => void;
}

/** Events of a study of XPrompt. */
export type XPromptStudyEvent =
  | { kind: "case"; task: string; seed: number; label: string; index: number; total: number; left: RunsLeft }
  | { kind: "search"; event: SearchEvent }
  | { kind: "outcome"; outcome: Outcome };

/** One entry of a table. */
export interface Outcome {
  readonly label: string;
  readonly variant: string;
  readonly task: string;
  readonly seed: number;
  /** Score on the validation rows, by the task's first metric. */
  readonly score: number;
  readonly counts: MaskCounts;
  /** Total FLOPs of everything this variant needs: stage A, scoring (of neurons too), all its candidates, evaluations. */
  readonly flops: number;
  readonly seconds: number;
  /** Optimizer steps of the same. */
  readonly steps: number;
  /** The prompt scored. */
  readonly prompt: Tensor;
  /** Number of candidates that it was chosen from. */
  readonly candidates: number;
}

/** A search, with further functions for variants. */
export interface VariantSearch extends Search {
  readonly input: XPromptStudyInput;
  readonly options: PruneOptions;
  readonly seed: number;
  readonly dataset: Dataset;
  /** Cost of neuron scores and chosen layers: of those that stage A needs, and of those that only the retrainings need. */
  readonly neurons: Record<"tuning" | "retraining", Pick<ScoringCost, "flops" | "seconds">>;
  /** A fresh start prompt of another length, drawn in the same way as the case's own. */
  freshPrompt(length: number): Promise<Tensor>;
}
