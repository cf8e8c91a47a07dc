/**
 * @file A schedule: which model is trained when. Vanilla tuning is one stage on the full model; FPT is several growing ones.
 */
import type { PartialModel } from "../model/partial.js";

/** One stage: so many optimizer steps on this model. */
export interface Stage {
  readonly partial: PartialModel;
  /** Optimizer steps; the last stage takes what is left when growth comes early (plateau). */
  readonly steps: number;
}

/** Stages in order, never empty. */
export interface Schedule {
  readonly name: string;
  readonly stages: readonly [Stage, ...Stage[]];
  /** Start the optimizer afresh at each growth. Default false (fpt.md §4). */
  readonly resetOptimizerOnGrow: boolean;
  /** Grow early when the validation score has not improved for `patience` evaluations; null grows at the step counts. */
  readonly plateau: { readonly patience: number; readonly minDelta: number } | null;
}
