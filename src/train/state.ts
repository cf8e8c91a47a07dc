/**
 * @file The complete state of a training between two steps, as one value. A run that is saved and read back continues with identical bits.
 *
 * In: a TrainState. Out: its tensors (for a safetensors file) and the rest as JSON; and back, checked.
 * There is no random state: every use of chance names its stream (base/random.ts), and the data position is the step.
 */
import { SoftpromptError } from "../base/errors.js";
import type { Parameters, Tensor } from "../base/tensor.js";
import type { Scores } from "../data/metrics.js";
import type { OptimizerState } from "../optim/optimizer.js";

/** Why a training ended. */
export type StopReason = "steps" | "patience" | "interrupted";

/** Parameters with the evaluation that chose them. */
export interface Chosen {
  readonly parameters: Parameters;
  readonly step: number;
  readonly scores: Scores;
}

/** One evaluation. */
export interface HistoryEntry {
  readonly step: number;
  readonly stage: number;
  /** Name of the model evaluated on. */
  readonly partial: string;
  readonly loss: number;
  readonly scores: Scores;
  /** Total FLOPs of training until here, evaluation excluded, and the paper's. */
  readonly flops: number;
  readonly paperFlops: number;
  /** Total FLOPs of everything: training, evaluations until this one, neuron scores. */
  readonly totalFlops: number;
  /** Cumulative seconds of training until here, evaluation excluded. */
  readonly seconds: number;
}

/** Cost of one stage; `steps` counts skipped ones too. */
export interface StageCost {
  readonly partial: string;
  readonly steps: number;
  /** Training, without and with evaluation. */
  readonly seconds: number;
  readonly evalSeconds: number;
  /** Opening the sessions to train the stage's model with; those of evaluations are within evalSeconds. */
  readonly openSeconds: number;
  /** Total FLOPs of training. */
  readonly flops: number;
  readonly paperFlops: number;
  /** FLOPs that were computed a second time to save memory, beside `flops`; absent where none were. */
  readonly recomputedFlops?: number;
}

/** Everything that a training needs to go on. */
export interface TrainState {
  /** Optimizer steps made, skipped ones included; also the position in the data. */
  readonly step: number;
  readonly stage: number;
  /** Step at which the stage began. */
  readonly stageStart: number;
  /** Step of the last evaluation; −1 before the first. */
  readonly evaluatedAt: number;
  readonly parameters: Parameters;
  readonly optimizer: OptimizerState;
  /** True once an update has changed the prompt. */
  readonly moved: boolean;
  readonly best: Chosen | null;
  readonly bestOnFull: Chosen | null;
  /**
   * Best score of this stage and the number of evaluations since. A strictly better score restarts `patience`; one that is better by
   * minDelta restarts `plateau`.
   */
  readonly stageBest: number | null;
  readonly sinceBest: number;
  readonly plateauBest: number | null;
  readonly sincePlateau: number;
  readonly skipped: number;
  readonly skippedInRow: number;
  readonly evalFlops: number;
  readonly perStage: readonly StageCost[];
  readonly history: readonly HistoryEntry[];
  readonly kept: ReadonlyMap<number, Parameters>;
  /** Why it ended; null while there is something left to do. */
  readonly finished: Exclude<StopReason, "interrupted"> | null;
}

/** The state before the first step. */
export function initialState(
  parameters: Parameters,
  optimizer: OptimizerState,
  partial: string,
  keep: readonly number[],
): TrainState {
  return {
    step: 0,
    stage: 0,
    stageStart: 0,
    evaluatedAt: -1,
    parameters,
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
    kept: new Map(keep.includes(0) ? [[0, parameters]] : []),
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
  extends Omit<TrainState, "parameters" | "optimizer" | "best" | "bestOnFull" | "kept" | "evaluatedAt"> {
  readonly evaluatedAt: number;
  readonly optimizerStep: number;
  readonly best: ChosenJson;
  readonly bestOnFull: ChosenJson;
  readonly kept: readonly number[];
}

export function stateToSaved(state: TrainState): SavedState {
  const { parameters, optimizer, best, bestOnFull, kept, ...rest } = state;
  const groups: [string, Parameters][] = [
    ["parameters", parameters],
    ["optimizer", optimizer.tensors],
    ...(best ? [["best", best.parameters] as [string, Parameters]] : []),
    ...(bestOnFull ? [["bestOnFull", bestOnFull.parameters] as [string, Parameters]] : []),
    ...[...kept].map(([step, tensors]): [string, Parameters] => [`kept.${step}`, tensors]),
  ];
  const bare = (chosen: Chosen | null): ChosenJson => chosen && { step: chosen.step, scores: chosen.scores };
  return {
    tensors: Object.fromEntries(
      groups.flatMap(([group, own]) => Object.entries(own).map(([name, tensor]) => [`${group}.${name}`, tensor])),
    ),
    rest: {
      ...rest,
      optimizerStep: optimizer.step,
      best: bare(best),
      bestOnFull: bare(bestOnFull),
      kept: [...kept.keys()],
    },
  };
}

/** Bytes of the tensors of the largest state that a training can save: it holds the best parameters and those of every kept step. */
export function largestState({ parameters, optimizer }: TrainState, keep: number): number {
  const bytes = (tensors: Readonly<Record<string, Tensor>>) =>
    Object.entries(tensors).reduce((sum, [name, { data }]) => sum + 4 * data.length + 2 * name.length + 256, 0);
  return (3 + keep) * bytes(parameters) + bytes(optimizer.tensors);
}

/** The inverse of stateToSaved. A checksum has verified the bytes; this checks that the parts belong together. */
export function stateFromSaved(saved: SavedState, where: string): TrainState {
  const tensors = Object.entries(saved.tensors).map(([name, tensor]) => [currentName(name), tensor] as const);
  const group = (prefix: string): Parameters => {
    const own = tensors.filter(([name]) => name.startsWith(`${prefix}.`));
    return Object.fromEntries(own.map(([name, tensor]) => [name.slice(prefix.length + 1), tensor]));
  };
  const parameters = (prefix: string): Parameters => {
    const found = group(prefix);
    if (Object.keys(found).length === 0) throw new SoftpromptError("run", `the saved state lacks ${prefix}`, { where });
    return found;
  };
  const chosen = (name: string, bare: ChosenJson): Chosen | null => bare && { parameters: parameters(name), ...bare };
  const { optimizerStep, best, bestOnFull, kept, ...plain } = saved.rest;
  return {
    ...plain,
    parameters: parameters("parameters"),
    optimizer: { step: optimizerStep, tensors: group("optimizer") },
    best: chosen("best", best),
    bestOnFull: chosen("bestOnFull", bestOnFull),
    kept: new Map(kept.map((step) => [step, parameters(`kept.${step}`)])),
  };
}

/** Version 0.1 saved one prompt: `prompt`, `best`, `kept.3`, `optimizer.row`. */
function currentName(name: string): string {
  if (name === "prompt") return "parameters.prompt";
  if (name === "best" || name === "bestOnFull" || /^kept\.\d+$/.test(name)) return `${name}.prompt`;
  const moment = /^optimizer\.([^.]+)$/.exec(name)?.[1];
  return moment === undefined ? name : `optimizer.prompt.${moment}`;
}

/**
 * Refuses a saved state that cannot belong to this training, whatever its checksums say: other shapes, steps that do not exist, numbers
 * that are not finite.
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
  const allAlike = (group: string, own: Parameters) => {
    for (const name of new Set([...Object.keys(own), ...Object.keys(fresh.parameters)])) {
      if (own[name] === undefined) refuse(`${group}${name}`, "present", "missing");
      alike(`${group}${name}`, own[name]!, fresh.parameters[name]);
    }
  };
  allAlike("", state.parameters);
  for (const chosen of [state.best, state.bestOnFull]) if (chosen) allAlike("best ", chosen.parameters);
  for (const [step, own] of state.kept) allAlike(`step ${step}'s `, own);
  const names = Object.keys(fresh.optimizer.tensors).sort().join(", ");
  const found = Object.keys(state.optimizer.tensors).sort().join(", ");
  if (names !== found) refuse("optimizer state", names, found);
  for (const [name, tensor] of Object.entries(state.optimizer.tensors))
    alike(`optimizer ${name}`, tensor, fresh.optimizer.tensors[name]);
}
