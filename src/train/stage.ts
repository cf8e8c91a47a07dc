/**
 * @file A schedule: which model is trained when. Vanilla tuning is one stage on the full model; FPT is several growing ones.
 *
 * Growth happens right after the optimizer step whose count equals the boundary, after that step's evaluation (fpt.md §4).
 */
import type { PartialModel } from "../model/partial.js";

/** One stage: so many optimizer steps on this model. */
export interface Stage {
  readonly partial: PartialModel;
  /** Optimizer steps; the last stage takes what is left when growth comes early (plateau). */
  readonly steps: number;
  /** Factor of the learning rate. Default 1. */
  readonly rate?: number;
}

/** Stages in order, never empty. */
export interface Schedule {
  readonly name: string;
  readonly stages: readonly [Stage, ...Stage[]];
  /** Start the optimizer afresh at each growth. Default false (fpt.md §4). */
  readonly resetOptimizerOnGrow: boolean;
  /** Grow early when the validation score has not improved for `patience` evaluations; null grows at the step counts. */
  readonly plateau: Plateau | null;
}

/** `minDelta` in units of the metric (0.01 = one point of accuracy): smaller gains count as none. */
export interface Plateau {
  readonly patience: number;
  readonly minDelta: number;
}

/** Optimizer steps of all stages together. */
export function totalSteps(schedule: Schedule): number {
  return schedule.stages.reduce((sum, stage) => sum + stage.steps, 0);
}

/** Step counts after which each stage ends; the last is the total. */
export function boundaries(schedule: Schedule): number[] {
  let end = 0;
  return schedule.stages.map((stage) => {
    end += stage.steps;
    return end;
  });
}
