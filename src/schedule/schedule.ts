/**
 * @file Options → Schedule: presets, stages as shares or steps, plateau growth, and the schedule that spends a budget.
 *
 * In: ScheduleOptions, the model's config, neuron scores where the choice needs them. Out: Schedule. Source: fpt.md §4.
 */
import { SoftpromptError } from "../base/errors.js";
import { checkOptions } from "../base/options.js";
import { addFlops, type Flops, noFlops, type PassShape, stepFlops } from "../engine/flops.js";
import type { Method } from "../method/method.js";
import type { ModelConfig } from "../model/architecture.js";
import {
  fullModel,
  type LayerOrder,
  type NeuronScores,
  type PartialModel,
  type PartialSpec,
  partialModel,
} from "../model/partial.js";
import { type Schedule, type Stage, totalSteps } from "../train/stage.js";
import { type ScheduleOptions, scheduleOptions } from "./options.js";
import { type Preset, type PresetName, presets } from "./presets.js";

/** What a schedule is made for. */
export interface ScheduleFor {
  readonly config: ModelConfig;
  /**
   * True if answers are generated, not chosen (isFreeText, unless the task says otherwise): `reduceDecoder: auto` then shrinks the decoder
   * too.
   */
  readonly freeText: boolean;
  /** null where no stage chooses by score; see needsNeuronScores. */
  readonly scores: NeuronScores | null;
  /** Needed where layers are chosen greedily; see needsLayerOrder. */
  readonly order?: LayerOrder | null;
  /** Typical padded shape of a step; only a budget asks for it. Default: the papers' 20 + 492, targets 5 or 200, batch 32. */
  readonly shape?: PassShape;
  /** What is trained; a budget counts its steps. Default a prompt. */
  readonly method?: Method;
}

/**
 * The smallest share of the steps that a budget must leave to the full model: the prompt has to end on the model it
 * will serve (our choice; the papers leave 40 %).
 */
export const leastFullShare = 0.1;

/** The schedule of one stage: `steps` on one model, by default the full one. */
export function singleStage(config: ModelConfig, steps: number, partial: PartialModel = fullModel(config)): Schedule {
  return {
    name: partial.name === "full" ? "vanilla" : partial.name,
    stages: [{ partial, steps }],
    resetOptimizerOnGrow: false,
    plateau: null,
  };
}

/** Whether these options choose layers or neurons by score, so that scores must be computed before `makeSchedule`. */
export function needsNeuronScores(options: ScheduleOptions): boolean {
  if (options.budget === 1) return false;
  return stageSizes(options).some(
    ({ depth = 1, width = 1 }) =>
      (width !== 1 && options.neuronChoice === "score") || (depth !== 1 && options.layerChoice === "score"),
  );
}

/** Whether these options choose layers greedily, so that an order must be found before `makeSchedule`. */
export function needsLayerOrder(options: ScheduleOptions): boolean {
  if (options.budget === 1 || options.layerChoice !== "greedy") return false;
  return stageSizes(options).some(({ depth = 1 }) => depth !== 1);
}

/**
 * Makes the stages; those of zero steps are left out. Growth is not enforced: a study may order sizes as it likes.
 *
 * @throws SoftpromptError(usage) for options out of range, stages that do not fit together, sizes the model cannot have, missing scores, and
 * budgets that cannot be met.
 */
export function makeSchedule(options: ScheduleOptions, target: ScheduleFor): Schedule {
  const { config, freeText, scores, order = null } = target;
  checkOptions(scheduleOptions, options, "options of the schedule");
  if (options.budget !== undefined && options.budget < 1 && options.grow === "plateau")
    throw new SoftpromptError("usage", "a budget cannot be kept where a plateau ends the stages", {
      where: "grow",
      expected: "--grow steps with --budget",
      got: options.grow,
      hint: "stages that end early leave more steps to larger models, which cost more",
    });
  const sizes = stageSizes(options);
  const shared = {
    layerChoice: options.layerChoice,
    neuronChoice: options.neuronChoice,
    reduceDecoder: options.reduceDecoder === "auto" ? freeText : options.reduceDecoder === "yes",
  };
  const full = fullModel(config);
  let steps = stageSteps(options, sizes.length);
  const wanted = options.budget === 1 ? [] : sizes;
  if (wanted.length === 0) steps = [steps.reduce((a, b) => a + b, 0)];
  const models = [...wanted.map((size) => partialModel(config, { ...size, ...shared }, scores, order)), full];
  if (options.budget !== undefined && wanted.length > 0)
    steps = budgetSteps(options.budget, options.budgetBy, steps, models, {
      config,
      method: target.method,
      shape: target.shape ?? { batch: 32, prompt: 20, input: 492, target: freeText ? 200 : 5 },
    });
  if (options.budget !== undefined && options.budget < 1 && sizes.length === 0)
    throw new SoftpromptError("usage", "a budget needs partial stages to save with", {
      where: "budget",
      got: `schedule ${options.schedule}`,
      hint: "choose --schedule fpt-cr (saves most), fpt-ld or fpt-fr",
    });
  const rates = stageRates(options, sizes.length).slice(-models.length);
  const stages = models
    .map((partial, i): Stage => ({ partial, steps: steps[i]!, ...(rates[i] !== 1 && { rate: rates[i]! }) }))
    .filter((stage) => stage.steps > 0);
  const [first, ...rest] = stages;
  if (first === undefined)
    throw new SoftpromptError("usage", "the schedule has no steps", { where: "stageSteps", got: options.stageSteps });
  return {
    name: options.schedule,
    stages: [first, ...rest],
    resetOptimizerOnGrow: options.resetOptimizerOnGrow,
    plateau:
      options.grow === "plateau" ? { patience: options.plateauPatience, minDelta: options.plateauMinDelta } : null,
  };
}

/**
 * The options with the actual number of `steps`: if stageSteps include the full model's, their sum replaces --steps. Trainings that shall
 * be as long as this schedule need this number. @throws SoftpromptError(usage) as makeSchedule for its sizes.
 */
export function withPlannedSteps<O extends ScheduleOptions>(options: O): O {
  const { stageSteps: counts } = options;
  return countsWhole(options) ? { ...options, steps: counts!.reduce((a, b) => a + b, 0) } : options;
}

/** Whether stageSteps hold the full model's steps too. */
function countsWhole(options: ScheduleOptions): boolean {
  return options.stageSteps !== undefined && options.stageSteps.length === stageSizes(options).length + 1;
}

/**
 * Steps of a retraining by `options`. @param wanted of --retrain-steps; default as many as the tuning's
 * @throws SoftpromptError(usage) where the stages' own counts say otherwise.
 */
export function retrainingSteps(options: ScheduleOptions, wanted: number | undefined): number {
  const { steps } = withPlannedSteps(options);
  if (wanted === undefined || wanted === steps) return steps;
  if (!countsWhole(options)) return wanted;
  throw new SoftpromptError("usage", "the retrainings' steps are given twice", {
    where: "retrainSteps",
    expected: `${steps}, the sum of stageSteps`,
    got: wanted,
    hint: "give the stages' shares (--stage-fractions), or only the partial stages' steps",
  });
}

/** FLOPs of a whole schedule when every step has the padded shape `shape`. */
export function scheduleFlops(config: ModelConfig, schedule: Schedule, shape: PassShape): Flops {
  return schedule.stages.reduce((sum, { partial, steps }) => {
    const step = stepFlops(config, partial, shape);
    return addFlops(sum, { paper: steps * step.paper, total: steps * step.total });
  }, noFlops);
}

/** FLOPs of a schedule over those of as many steps on the full model, in both kinds. */
export function scheduleShare(config: ModelConfig, schedule: Schedule, shape: PassShape): Flops {
  const own = scheduleFlops(config, schedule, shape);
  const steps = totalSteps(schedule);
  const full = stepFlops(config, fullModel(config), shape);
  return { paper: own.paper / (steps * full.paper), total: own.total / (steps * full.total) };
}

/** Sizes of the partial stages: the preset's, or the options' own where given. */
function stageSizes(options: ScheduleOptions): readonly PartialSpec[] {
  const preset: Preset = presets[options.schedule as PresetName];
  const { depths, widths } = options;
  if (depths === undefined && widths === undefined) {
    if (options.schedule !== "custom") return preset.sizes;
    throw new SoftpromptError("usage", "a custom schedule needs the sizes of its stages", {
      where: "schedule",
      expected: "--depths, --widths or both",
      hint: "for example --depths 0.25,0.5,0.75 --stage-fractions 0.2,0.2,0.2",
    });
  }
  if (options.schedule === "vanilla")
    throw new SoftpromptError("usage", "vanilla tuning has no partial stages", {
      where: depths === undefined ? "widths" : "depths",
      hint: "choose --schedule custom",
    });
  if (depths !== undefined && widths !== undefined && depths.length !== widths.length)
    throw new SoftpromptError("usage", "depths and widths name different numbers of stages", {
      where: "widths",
      expected: `${depths.length} values`,
      got: widths,
    });
  return (depths ?? widths ?? []).map((_, i) => ({
    ...(depths === undefined ? {} : { depth: depths[i] }),
    ...(widths === undefined ? {} : { width: widths[i] }),
  }));
}

/** Steps of the partial stages and, last, of the full model. */
function stageSteps(options: ScheduleOptions, partials: number): number[] {
  const { stageSteps: counts, stageFractions: given, steps } = options;
  if (counts !== undefined && given !== undefined)
    throw new SoftpromptError("usage", "stages are given twice", {
      where: "stageSteps",
      expected: "either stageSteps or stageFractions",
    });
  if (counts !== undefined) {
    if (counts.length === partials + 1) return [...counts];
    const sum = counts.reduce((a, b) => a + b, 0);
    checkStageCount("stageSteps", counts, partials);
    if (sum <= steps) return [...counts, steps - sum];
    throw new SoftpromptError("usage", "the partial stages take more steps than there are", {
      where: "stageSteps",
      expected: `at most ${steps} together (--steps)`,
      got: `${sum}`,
    });
  }
  const preset: Preset = presets[options.schedule as PresetName];
  const fractions = given ?? (preset.fractions.length === partials ? preset.fractions : evenShares(partials));
  if (fractions.length !== partials + 1) checkStageCount("stageFractions", fractions, partials);
  const sum = fractions.reduce((a, b) => a + b, 0);
  if (sum > 1 + 1e-9 || (fractions.length === partials + 1 && sum < 1 - 1e-9))
    throw new SoftpromptError("usage", "the stages do not add up to the whole run", {
      where: "stageFractions",
      expected: fractions.length === partials ? "at most 1 together" : "1 together",
      got: `${fractions.join(" + ")} = ${sum}`,
    });
  return split(steps, fractions.slice(0, partials));
}

/** Factors of the learning rate of the partial stages and, last, of the full model. */
function stageRates({ stageRates: given }: ScheduleOptions, partials: number): number[] {
  if (given === undefined) return Array.from({ length: partials + 1 }, () => 1);
  if (given.length === partials + 1) return [...given];
  checkStageCount("stageRates", given, partials);
  return [...given, 1];
}

/** Spreads the papers' 60 % over the partial stages. */
function evenShares(partials: number): number[] {
  return Array.from({ length: partials }, () => 0.6 / partials);
}

/**
 * Cumulative boundaries are rounded, so the parts always add up to `steps`.
 * @param most steps of all parts but the last. Default all
 */
function split(steps: number, fractions: readonly number[], most = steps): number[] {
  let share = 0;
  let last = 0;
  const parts = fractions.map((fraction) => {
    share += fraction;
    const end = Math.min(most, Math.round(share * steps));
    const part = end - last;
    last = end;
    return part;
  });
  return [...parts, steps - last];
}

/**
 * Solves for the shares that make the run cost `budget` of vanilla's FLOPs at equal steps. With shares f_i and cost
 * ratios r_i the cost is 1 − Σ f_i·(1 − r_i), linear in both moves: first all partial stages are scaled alike; where that
 * would leave the full model less than its least share, steps move from all of them to the cheapest.
 */
function budgetSteps(
  budget: number,
  by: keyof Flops,
  steps: readonly number[],
  models: readonly PartialModel[],
  { config, shape, method }: { config: ModelConfig; shape: PassShape; method?: Method },
): number[] {
  const total = steps.reduce((a, b) => a + b, 0);
  const partial = total - steps.at(-1)!;
  const full = stepFlops(config, fullModel(config), shape, method)[by];
  const saves = models.slice(0, -1).map((model) => 1 - stepFlops(config, model, shape, method)[by] / full);
  const most = 1 - leastFullShare;
  const even = saves.map((_, i) => (most * steps[i]!) / partial);
  const cheapestAt = saves.indexOf(Math.max(...saves));
  const cheapest = saves.map((_, i) => (i === cheapestAt ? most : 0));
  const saving = (shares: readonly number[]) => shares.reduce((sum, share, i) => sum + share * saves[i]!, 0);
  const wanted = 1 - budget;
  const [low, high] = [saving(even), saving(cheapest)];
  if (!(partial > 0 && wanted <= high + 1e-9))
    throw new SoftpromptError("usage", "this schedule cannot spend so little", {
      where: "budget",
      expected: `at least ${(Math.ceil((1 - high) * 1000) / 1000).toFixed(3)} of vanilla's ${by} FLOPs, with ${100 * leastFullShare} % of the steps left to the full model`,
      got: budget,
      hint: "use smaller partial models (--schedule fpt-cr, --depths, --widths), or fewer --steps",
    });
  // rounding must not take the full model's least share: of three steps it would take the last
  const mostSteps = Math.floor(most * total + 1e-9);
  if (wanted <= low)
    return split(
      total,
      even.map((share) => (share * wanted) / low),
      mostSteps,
    );
  const toward = (wanted - low) / (high - low);
  return split(
    total,
    even.map((share, i) => share + toward * (cheapest[i]! - share)),
    mostSteps,
  );
}

function checkStageCount(where: string, given: readonly number[], partials: number): void {
  if (given.length === partials) return;
  throw new SoftpromptError("usage", "wrong number of stages", {
    where,
    expected: `${partials} values, or ${partials + 1} with the full model's`,
    got: given,
  });
}
