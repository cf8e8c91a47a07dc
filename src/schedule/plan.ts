/**
 * @file Makes a schedule that is ready to train from options. Computes neuron scores and an order of layers if a stage needs them, and the
 * typical shape of the data if a budget needs it.
 *
 * In: engine, tokenizer, dataset, options of schedule, scoring and training. Out: Schedule, and what scoring cost.
 */
import { checkOptions } from "../base/options.js";
import type { Dataset } from "../data/row.js";
import type { Engine } from "../engine/engine.js";
import { type PassShape, shapeOfRows } from "../engine/flops.js";
import type { Method } from "../method/method.js";
import { sizeOf } from "../method/methods.js";
import type { ModelConfig } from "../model/architecture.js";
import { architectureOf } from "../model/architectures.js";
import { measuredChoices } from "../model/partial.js";
import { encodeRows, isWritten } from "../text/rows.js";
import type { Tokenizer } from "../text/tokenizer.js";
import { type TrainSettings, trainOptions } from "../train/options.js";
import { batchOrder, stepsPerEpoch } from "../train/order.js";
import type { Schedule } from "../train/stage.js";
import { greedyDrops } from "./greedy-layers.js";
import { neuronScoreOptions } from "./neuron-options.js";
import { checkScoredRows, type NeuronScoreOptions, neuronScores, type ScoringCost } from "./neuron-scores.js";
import type { ScheduleOptions } from "./options.js";
import { makeSchedule, needsLayerOrder, needsNeuronScores, type ScheduleFor } from "./schedule.js";

/** What a plan depends on: the schedule, what is measured for it, and the shape of the batches. */
export type PlanOptions = ScheduleOptions &
  NeuronScoreOptions &
  Pick<TrainSettings, "batchSize" | "maxInputTokens" | "seed"> & {
    /** What is trained; a budget counts its steps. Default a prompt. */
    readonly trains?: Method;
  };

/** A schedule that is ready to train. */
export interface Plan {
  readonly schedule: Schedule;
  /** Neuron scores and the greedy choice of layers; null where neither was needed. */
  readonly scoring: ScoringCost | null;
  /** The same one by one. */
  readonly measured: readonly Measurement[];
}

/** One thing that is measured for a plan: the neuron scores, or one layer that is dropped. Plans of the same rows and seed share it. */
export interface Measurement extends Pick<ScoringCost, "flops" | "seconds"> {
  readonly name: string;
}

/** The cost of what a plan needs and another one of the same rows and seed has not measured already. */
export function scoringBeside(plan: Pick<Plan, "measured">, earlier: Pick<Plan, "measured">) {
  const known = new Set(earlier.measured.map(({ name }) => name));
  return sumOf(plan.measured.filter(({ name }) => !known.has(name)));
}

/**
 * The schedule's sizes and steps, before anything is measured. Layers and neurons are not yet those of the choice, but neither steps nor FLOPs
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
 * @param folder where neuron scores and dropped layers are kept; null keeps nothing.
 * @param signal stops the scoring of neurons and the choice of layers.
 * @throws SoftpromptError as outlineSchedule, then as neuronScores and greedyDrops.
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
  const scored = needsNeuronScores(options)
    ? await neuronScores(engine, tokenizer, dataset, { ...options, virtualTokens, folder, signal })
    : null;
  const dropped = needsLayerOrder(options)
    ? await greedyDrops(engine, tokenizer, dataset, dropsOf(made.config, sizes), { ...options, folder, signal })
    : null;
  if (scored === null && dropped === null) return { schedule: sizes, scoring: null, measured: [] };
  const facts = { scores: scored?.scores ?? null, order: dropped?.order ?? null };
  const measured: Measurement[] = [
    ...(scored === null ? [] : [{ name: "neurons", flops: scored.cost.flops, seconds: scored.cost.seconds }]),
    ...Object.entries(dropped?.drops ?? {}).flatMap(([stack, drops]) =>
      drops.map(({ flops, seconds }, n) => ({ name: `${stack} layer ${n}`, flops, seconds })),
    ),
  ];
  const examples = (scored?.cost.examples ?? 0) + (dropped?.cost.examples ?? 0);
  return {
    schedule: makeSchedule(options, { ...made, ...facts }),
    scoring: { ...sumOf(measured), examples },
    measured,
  };
}

/** How many layers of each stack the smallest stage leaves out. */
function dropsOf(config: ModelConfig, { stages }: Schedule): Record<string, number> {
  const stacks = architectureOf(config).stacks(config);
  const fewest = (stack: string) => Math.min(...stages.map(({ partial }) => partial.stacks[stack]!.layers.length));
  const counts = stacks.map(({ name, layers }) => [name, layers - fewest(name)] as const);
  return Object.fromEntries(counts.filter(([, count]) => count > 0));
}

function sumOf(measured: readonly Measurement[]): Pick<ScoringCost, "flops" | "seconds"> {
  return {
    flops: measured.reduce((sum, { flops }) => sum + flops, 0),
    seconds: measured.reduce((sum, { seconds }) => sum + seconds, 0),
  };
}

/** The rows of a plan. */
export type PlannedData = Pick<Dataset, "task" | "train" | "validation">;

const { batchSize, maxInputTokens, seed } = trainOptions;
/** What a program may hand in wrongly: batches of no rows have no end. */
const planned = { ...neuronScoreOptions, batchSize, maxInputTokens, seed };

function target(
  config: ModelConfig,
  tokenizer: Tokenizer,
  dataset: PlannedData,
  options: PlanOptions,
  virtualTokens: number,
): ScheduleFor {
  checkOptions(planned, options, "options of the plan");
  const { trains, budget } = options;
  const tokens = trains === undefined ? virtualTokens : sizeOf(trains, config, virtualTokens).tokens;
  return {
    config,
    freeText: isWritten(dataset),
    scores: null,
    shape: budget === undefined ? undefined : typicalShape(config, tokenizer, dataset, options, tokens),
    ...(trains && { method: trains }),
  };
}

function outline(dataset: PlannedData, options: PlanOptions, made: ScheduleFor): Schedule {
  const scores = needsNeuronScores(options);
  if (scores) checkScoredRows(dataset, options);
  if (!scores && !needsLayerOrder(options)) return makeSchedule(options, made);
  const layerChoice = measuredChoices[options.layerChoice] ? "first" : options.layerChoice;
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
