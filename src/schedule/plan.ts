/**
 * @file Makes a schedule that is ready to train from options. Computes neuron scores if a stage needs them, and the typical shape of the
 * data if a budget needs it.
 *
 * In: engine, tokenizer, dataset, options of schedule, scoring and training. Out: Schedule, and what scoring cost.
 */
import type { Dataset } from "../data/row.js";
import type { Engine } from "../engine/engine.js";
import { type PassShape, shapeOfRows } from "../engine/flops.js";
import type { Method } from "../method/method.js";
import { sizeOf } from "../method/methods.js";
import type { ModelConfig } from "../model/architecture.js";
import { encodeRows, isFreeText } from "../text/rows.js";
import type { Tokenizer } from "../text/tokenizer.js";
import type { TrainSettings } from "../train/options.js";
import { batchOrder, stepsPerEpoch } from "../train/order.js";
import type { Schedule } from "../train/stage.js";
import { checkScoredRows, type NeuronScoreOptions, neuronScores, type ScoringCost } from "./neuron-scores.js";
import type { ScheduleOptions } from "./options.js";
import { makeSchedule, needsNeuronScores, type ScheduleFor } from "./schedule.js";

export type PlanOptions = ScheduleOptions &
  NeuronScoreOptions &
  Pick<TrainSettings, "batchSize" | "maxInputTokens" | "seed"> & {
    /** What is trained; a budget counts its steps. Default a prompt. */
    readonly trains?: Method;
  };

export interface Plan {
  readonly schedule: Schedule;
  /** null where no neuron had to be scored. */
  readonly scoring: ScoringCost | null;
}

/**
 * The schedule's sizes and steps, before any neuron is scored. Layers and neurons are not yet chosen by score, but neither steps nor FLOPs
 * depend on that choice. So impossible options are refused before a model is run.
 * @throws SoftpromptError(usage) as makeSchedule; "data" if neurons must be scored but there are no rows.
 */
export function outlineSchedule(
  config: ModelConfig,
  tokenizer: Tokenizer,
  dataset: PlannedData,
  options: PlanOptions,
  virtualTokens: number,
): Schedule {
  return outline(dataset, options, target(config, tokenizer, dataset, options, virtualTokens));
}

/**
 * Plans a training.
 * @param folder where neuron scores are kept; null keeps nothing.
 * @param signal stops the scoring of neurons.
 * @throws SoftpromptError as outlineSchedule, then as neuronScores.
 */
export async function planSchedule(
  engine: Engine,
  tokenizer: Tokenizer,
  dataset: PlannedData,
  options: PlanOptions,
  { virtualTokens, folder, signal }: { virtualTokens: number; folder: string | null; signal?: AbortSignal },
): Promise<Plan> {
  const made = target(engine.checkpoint.config, tokenizer, dataset, options, virtualTokens);
  const sizes = outline(dataset, options, made);
  if (!needsNeuronScores(options)) return { schedule: sizes, scoring: null };
  const { scores, cost } = await neuronScores(engine, tokenizer, dataset, {
    ...options,
    virtualTokens,
    folder,
    signal,
  });
  return { schedule: makeSchedule(options, { ...made, scores }), scoring: cost };
}

type PlannedData = Pick<Dataset, "task" | "train" | "validation">;

function target(
  config: ModelConfig,
  tokenizer: Tokenizer,
  dataset: PlannedData,
  options: PlanOptions,
  virtualTokens: number,
): ScheduleFor {
  const { trains, budget } = options;
  const tokens = trains === undefined ? virtualTokens : sizeOf(trains, config, virtualTokens).tokens;
  return {
    config,
    freeText: dataset.task.generative ?? isFreeText(dataset),
    scores: null,
    shape: budget === undefined ? undefined : typicalShape(config, tokenizer, dataset, options, tokens),
    ...(trains && { method: trains }),
  };
}

function outline(dataset: PlannedData, options: PlanOptions, made: ScheduleFor): Schedule {
  if (!needsNeuronScores(options)) return makeSchedule(options, made);
  checkScoredRows(dataset, options);
  const layerChoice = options.layerChoice === "score" ? "first" : options.layerChoice;
  return makeSchedule({ ...options, layerChoice, neuronChoice: "first" }, made);
}

/** Steps that the typical shape is averaged over. */
const sampledSteps = 256;

/** Mean padded shape of the first steps (at most one pass over the rows), as the trainer will make them. */
export function typicalShape(
  config: ModelConfig,
  tokenizer: Tokenizer,
  { task, train }: Pick<Dataset, "task" | "train">,
  { batchSize, maxInputTokens, seed }: Pick<TrainSettings, "batchSize" | "maxInputTokens" | "seed">,
  virtualTokens: number,
): PassShape {
  const rows = encodeRows(task, train, tokenizer, maxInputTokens);
  const order = batchOrder(rows, batchSize, seed);
  const steps = Math.min(sampledSteps, stepsPerEpoch(rows.length, batchSize));
  let [batch, input, target, tail] = [0, 0, 0, 0];
  const { place } = shapeOfRows(config, rows, virtualTokens);
  for (let step = 0; step < steps; step++) {
    const chosen = Array.from(order(step), (n) => rows[n]!);
    batch += chosen.length / steps;
    const shape = shapeOfRows(config, chosen, virtualTokens);
    input += shape.input / steps;
    target += shape.target / steps;
    tail += (shape.tail ?? 0) / steps;
  }
  return { batch, prompt: virtualTokens, input, target, ...(place === undefined ? {} : { place, tail }) };
}
