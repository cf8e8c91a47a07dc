/** @file The optimizers by name. In: a name and the weight decay. Out: an Optimizer with the papers' other settings. */
import { adafactor } from "./adafactor.js";
import { adamw } from "./adamw.js";
import type { Optimizer } from "./optimizer.js";
import { sgd } from "./sgd.js";

/** What an optimizer may be told. */
export interface OptimizerSettings {
  /** Decoupled: p ← p·(1 − lr·weightDecay) at each step. */
  readonly weightDecay: number;
  /** Only `sgd` has momentum. */
  readonly momentum?: number;
}

/** The optimizers by name. */
export const optimizers = {
  /** Both papers' choice, with a constant rate of 0.3. */
  adafactor: ({ weightDecay }) => adafactor({ weightDecay }),
  adamw: ({ weightDecay }) => adamw({ weightDecay }),
  sgd: ({ weightDecay, momentum }) => sgd({ weightDecay, momentum }),
} as const satisfies Record<string, (settings: OptimizerSettings) => Optimizer>;

/** Name of an optimizer. */
export type OptimizerName = keyof typeof optimizers;
