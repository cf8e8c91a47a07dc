/**
 * @file Learning rate of each step: linear warm-up, then constant, linear or cosine decay.
 *
 * In: step (1 is the first) and the schedule's settings. Out: the learning rate.
 * Differs from transformers' get_*_schedule_with_warmup, whose first warm-up step and whose last value are zero: here step s of w
 * warm-up steps has s/w, so the first step moves the prompt; from step w + 1 on the factors are transformers' own.
 */

/** Factor of the base rate after warm-up; `done` is the share of the decay steps already made, in [0, 1). */
export const learningRateSchedules = {
  constant: () => 1,
  linear: (done: number) => 1 - done,
  cosine: (done: number) => 0.5 * (1 + Math.cos(Math.PI * done)),
} as const satisfies Record<string, (done: number) => number>;

export type LearningRateSchedule = keyof typeof learningRateSchedules;

export interface LearningRateSettings {
  readonly learningRateSchedule: LearningRateSchedule;
  /** Rate after warm-up. */
  readonly learningRate: number;
  readonly warmupSteps: number;
}

/** @param step 1 … totalSteps. */
export function learningRateAt(step: number, totalSteps: number, settings: LearningRateSettings): number {
  const { learningRate, warmupSteps } = settings;
  if (step <= warmupSteps) return (learningRate * step) / warmupSteps;
  const done = (step - 1 - warmupSteps) / Math.max(1, totalSteps - warmupSteps);
  return learningRate * learningRateSchedules[settings.learningRateSchedule](Math.min(1, done));
}
