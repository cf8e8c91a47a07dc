/**
 * @file A schedule: which model is trained when. Vanilla tuning is one stage on the full model; FPT is several growing ones.
 *
 * Growth happens right after the optimizer step whose count equals the boundary, after that step's evaluation (fpt.md §4).
 */
import { SoftpromptError } from "../base/errors.js";
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

/** @throws SoftpromptError "usage" for a schedule that no training can follow: a hand-made one may hold anything. */
export function checkStages({ name, stages, plateau }: Schedule): void {
  const refuse = (where: string, expected: string, got: unknown) => {
    throw new SoftpromptError("usage", "this schedule cannot be trained by", {
      where: `schedule ${name}, ${where}`,
      expected,
      got,
      hint: "makeSchedule and singleStage make schedules from options",
    });
  };
  const isAmount = (value: number) => Number.isFinite(value) && value >= 0;
  if ((stages as readonly Stage[]).length === 0) refuse("stages", "one stage or more", "none");
  for (const [i, { steps, rate = 1 }] of stages.entries()) {
    if (!Number.isSafeInteger(steps) || steps < 0) refuse(`stage ${i + 1}`, "a whole number of steps", steps);
    if (!isAmount(rate)) refuse(`stage ${i + 1}`, "a rate of 0 or more", rate);
  }
  if (plateau === null) return;
  if (!(plateau.patience >= 1)) refuse("plateau", "a patience of 1 evaluation or more", plateau.patience);
  if (!isAmount(plateau.minDelta)) refuse("plateau", "a minDelta of 0 or more", plateau.minDelta);
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
