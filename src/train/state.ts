/**
 * @file All that a training knows between two steps, as one value: save it, read it back, and the run goes on bit for bit.
 *
 * In: a TrainState. Out: its tensors (for a safetensors file) and the rest as JSON; and back, checked.
 * There is no random state: every use of chance names its stream (base/random.ts), and the data position is the step.
 */
import { SoftpromptError } from "../base/errors.js";
import type { Tensor } from "../base/tensor.js";
import type { Scores } from "../data/metrics.js";
import type { OptimizerState } from "../optim/optimizer.js";
import type { Chosen, HistoryEntry, StageCost, StopReason } from "./types.js";

export interface TrainState {
  /** Optimizer steps made, skipped ones included; also the position in the data. */
  readonly step: number;
  readonly stage: number;
  /** Step at which the stage began. */
  readonly stageStart: number;
  /** Step of the last evaluation; −1 before the first. */
  readonly evaluatedAt: number;
  readonly prompt: Tensor;
  readonly optimizer: OptimizerState;
  /** True once an update was seen to move the prompt. */
  readonly moved: boolean;
  readonly best: Chosen | null;
  readonly bestOnFull: Chosen | null;
  /** Best score of this stage and the evaluations since: strictly better restarts `patience`, better by minDelta `plateau`. */
  readonly stageBest: number | null;
  readonly sinceBest: number;
  readonly plateauBest: number | null;
  readonly sincePlateau: number;
  readonly skipped: number;
  readonly skippedInRow: number;
  readonly evalFlops: number;
  readonly perStage: readonly StageCost[];
  readonly history: readonly HistoryEntry[];
  readonly kept: ReadonlyMap<number, Tensor>;
  /** Why it ended; null while there is something left to do. */
  readonly finished: Exclude<StopReason, "interrupted"> | null;
}

/** The state before the first step. */
export function initialState(
  prompt: Tensor,
  optimizer: OptimizerState,
  partial: string,
  keep: readonly number[],
): TrainState {
  return {
    step: 0,
    stage: 0,
    stageStart: 0,
    evaluatedAt: -1,
    prompt,
    optimizer,
    moved: false,
    best: null,
    bestOnFull: null,
    stageBest: null,
    sinceBest: 0,
    plateauBest: null,
    sincePlateau: 0,
    skipped: 0,
    skippedInRow: 0,
    evalFlops: 0,
    perStage: [noCost(partial)],
    history: [],
    kept: new Map(keep.includes(0) ? [[0, prompt]] : []),
    finished: null,
  };
}

export function noCost(partial: string): StageCost {
  return { partial, steps: 0, seconds: 0, evalSeconds: 0, openSeconds: 0, flops: 0, paperFlops: 0 };
}

/** A state as tensors by name and a JSON value. */
export interface SavedState {
  readonly tensors: Readonly<Record<string, Tensor>>;
  readonly rest: StateJson;
}

type ChosenJson = { readonly step: number; readonly scores: Scores } | null;

export interface StateJson
  extends Omit<TrainState, "prompt" | "optimizer" | "best" | "bestOnFull" | "kept" | "evaluatedAt"> {
  readonly evaluatedAt: number;
  readonly optimizerStep: number;
  readonly best: ChosenJson;
  readonly bestOnFull: ChosenJson;
  readonly kept: readonly number[];
}

export function stateToSaved(state: TrainState): SavedState {
  const { prompt, optimizer, best, bestOnFull, kept, ...rest } = state;
  const tensors: Record<string, Tensor> = { prompt };
  for (const [name, tensor] of Object.entries(optimizer.tensors)) tensors[`optimizer.${name}`] = tensor;
  if (best) tensors.best = best.prompt;
  if (bestOnFull) tensors.bestOnFull = bestOnFull.prompt;
  for (const [step, tensor] of kept) tensors[`kept.${step}`] = tensor;
  const bare = (chosen: Chosen | null): ChosenJson => chosen && { step: chosen.step, scores: chosen.scores };
  return {
    tensors,
    rest: {
      ...rest,
      optimizerStep: optimizer.step,
      best: bare(best),
      bestOnFull: bare(bestOnFull),
      kept: [...kept.keys()],
    },
  };
}

/** The inverse of stateToSaved. The bytes were vouched for by a checksum; what is left to check is that the parts belong together. */
export function stateFromSaved({ tensors, rest }: SavedState, where: string): TrainState {
  const tensor = (name: string): Tensor => {
    const found = tensors[name];
    if (found === undefined) throw new SoftpromptError("run", `the saved state lacks ${name}`, { where });
    return found;
  };
  const chosen = (name: string, bare: ChosenJson): Chosen | null => bare && { prompt: tensor(name), ...bare };
  const { optimizerStep, best, bestOnFull, kept, ...plain } = rest;
  const prefix = "optimizer.";
  const moments = Object.keys(tensors).filter((name) => name.startsWith(prefix));
  return {
    ...plain,
    prompt: tensor("prompt"),
    optimizer: {
      step: optimizerStep,
      tensors: Object.fromEntries(moments.map((name) => [name.slice(prefix.length), tensor(name)])),
    },
    best: chosen("best", best),
    bestOnFull: chosen("bestOnFull", bestOnFull),
    kept: new Map(kept.map((step) => [step, tensor(`kept.${step}`)])),
  };
}

/**
 * Refuses a saved state that cannot belong to this training, whatever its checksums say: other shapes, steps that are not there,
 * numbers that are not finite.
 */
export function checkState(
  state: TrainState,
  fresh: TrainState,
  { stages, totalSteps }: { stages: number; totalSteps: number },
  where: string,
): void {
  const refuse = (problem: string, expected: string, got: unknown) => {
    throw new SoftpromptError("run", `the saved state does not fit this training: ${problem}`, {
      where,
      expected,
      got,
    });
  };
  const alike = (name: string, tensor: Tensor, model: Tensor | undefined) => {
    const shape = model === undefined ? "no such tensor" : `[${model.shape.join(", ")}]`;
    if (tensor.shape.join() !== model?.shape.join()) refuse(name, shape, `[${tensor.shape.join(", ")}]`);
    if (!tensor.data.every(Number.isFinite)) refuse(`${name} holds NaN or infinity`, "finite numbers", "not finite");
  };
  if (state.stage >= stages) refuse("stage", `below ${stages}`, state.stage);
  if (state.step > totalSteps) refuse("step", `at most ${totalSteps}`, state.step);
  if (state.stageStart > state.step) refuse("stageStart", `at most ${state.step}`, state.stageStart);
  if (state.perStage.length !== state.stage + 1) refuse("perStage", `${state.stage + 1} stages`, state.perStage.length);
  alike("prompt", state.prompt, fresh.prompt);
  for (const chosen of [state.best, state.bestOnFull]) if (chosen) alike("best", chosen.prompt, fresh.prompt);
  for (const [step, tensor] of state.kept) alike(`prompt of step ${step}`, tensor, fresh.prompt);
  const names = Object.keys(fresh.optimizer.tensors).sort().join(", ");
  const found = Object.keys(state.optimizer.tensors).sort().join(", ");
  if (names !== found) refuse("optimizer state", names, found);
  for (const [name, tensor] of Object.entries(state.optimizer.tensors))
    alike(`optimizer ${name}`, tensor, fresh.optimizer.tensors[name]);
}
