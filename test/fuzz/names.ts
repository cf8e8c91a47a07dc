/** @file What the harness and its workers say to each other. */

export interface WorkerPlan {
  readonly format: string;
  readonly seed: number;
  /** Numbers of the first input and behind the last. */
  readonly from: number;
  readonly to: number;
  readonly fixtures: string;
  /** This process's own: `in`, where inputs are laid; `bait` beside it, which must stay as it is; `kept`, inputs that failed. */
  readonly scratch: string;
  /** `fuzz` reads; `keep` only keeps the inputs; `careful` reads by the format's slow way, whatever time that takes. */
  readonly mode: "fuzz" | "keep" | "careful";
}

/** How far it came. */
export interface State {
  /** In progress, or behind the last. */
  readonly input: number;
  /** Inputs that were read, and refused by SoftpromptError. */
  readonly read: number;
  readonly refused: number;
  /** Milliseconds of processor time of the slowest input, and its number. */
  readonly slowest: number;
  readonly slowestInput: number;
  /** Largest growth of resident memory during one input, in bytes. */
  readonly growth: number;
}

export type Line =
  | { readonly kind: "done"; readonly state: State }
  /** Slow, or large, for a reader that goes without the product's own limits: they must answer for it. */
  | { readonly kind: "slow"; readonly input: number }
  /** A reason for refusal not told before, places and values left out. */
  | { readonly kind: "reason"; readonly reason: string }
  | { readonly kind: "finding"; readonly input: number; readonly problem: string };

/** Where an input that failed is kept, within the scratch folder. */
export const keptName = ({ format, seed }: Pick<WorkerPlan, "format" | "seed">, input: number): string =>
  `${format.replaceAll(/[^\w.]+/g, "-")}-seed${seed}-${input}`;
