/**
 * @file The options of a schedule, as data. In: config file or flags. Out: ScheduleOptions, which schedule.ts makes stages from.
 */
import { boolean, choice, integer, list, number, type OptionValues } from "../base/options.js";
import { layerChoices, neuronChoices } from "../model/partial.js";
import { type PresetName, presets } from "./presets.js";

/** Option table of schedules: vanilla, FPT's, your own. */
export const scheduleOptions = {
  schedule: choice({
    values: Object.keys(presets) as (keyof typeof presets)[],
    default: "vanilla",
    source: "fpt.md §4",
    help: "Which model is trained when: vanilla tunes on the full model; fpt-* start on partial models and grow",
  }),
  steps: integer({
    default: 1000,
    min: 1,
    unit: "optimizer steps",
    source: "our choice; the papers: 30000 (Large), 15000 (XL)",
    help: "Optimizer steps of all stages together",
  }),
  stageFractions: list({
    of: "number",
    min: 0,
    max: 1,
    help: "Share of the steps of each partial stage, optionally followed by the full model's; the rest is the full model's",
    source: "preset",
  }),
  stageSteps: list({
    of: "integer",
    min: 0,
    unit: "optimizer steps",
    help: "As stageFractions, in steps; with the full model's steps given, their sum replaces --steps",
  }),
  depths: list({
    of: "number",
    min: 0,
    help: "Layers of each partial stage: a share in (0, 1] or a number; replaces the preset's",
    source: "preset",
  }),
  widths: list({
    of: "number",
    min: 0,
    help: "Feed-forward neurons of each partial stage: a share in (0, 1] or a number; replaces the preset's",
    source: "preset",
  }),
  layerChoice: choice({
    values: Object.keys(layerChoices) as (keyof typeof layerChoices)[],
    default: "even",
    source: "fpt.md §3.1",
    help: "Which layers stay: evenly spaced with first and last, the first ones, those of highest score, or what is left (greedy) when the layer without which the loss on training rows rises least is dropped again and again",
  }),
  neuronChoice: choice({
    values: Object.keys(neuronChoices) as (keyof typeof neuronChoices)[],
    default: "score",
    source: "fpt.md §3.2",
    help: "Which neurons stay: those most active on the task's data, or the first ones",
  }),
  reduceDecoder: choice({
    values: ["auto", "yes", "no"],
    default: "auto",
    source: "fpt.md §3.1",
    help: "Shrink the decoder too; auto does so for free-text tasks and ReCoRD only, as the papers' scripts do",
  }),
  stageRates: list({
    of: "number",
    min: 0,
    help: "Factor of the learning rate in each partial stage, optionally followed by the full model's; the schedule of the rate itself runs on over all stages",
    source: "our addition; default 1",
  }),
  resetOptimizerOnGrow: boolean({
    default: false,
    source: "fpt.md §4",
    help: "Start the optimizer afresh whenever the model grows; the prompt is carried over either way",
  }),
  grow: choice({
    values: ["steps", "plateau"],
    default: "steps",
    source: "our addition",
    help: "When to grow: at the stages' step counts, or earlier, once the validation score no longer improves",
  }),
  plateauPatience: integer({
    default: 3,
    min: 1,
    unit: "evaluations",
    source: "our choice",
    help: "With --grow plateau: evaluations of a stage without improvement before it ends",
  }),
  plateauMinDelta: number({
    default: 0.002,
    min: 0,
    unit: "units of the metric",
    source: "our choice",
    help: "With --grow plateau: smaller gains count as none",
  }),
  budget: number({
    min: 0,
    max: 1,
    unit: "share of vanilla's training FLOPs",
    source: "our addition",
    help: "Stretch or shrink the partial stages so that training spends just this share; steps stay the same",
  }),
  budgetBy: choice({
    values: ["paper", "total"],
    formerValues: { honest: "total" },
    default: "paper",
    source: "fpt.md §8",
    help: "Which FLOPs --budget counts: the papers' forward Linear ones, or all matrix products both ways",
  }),
};

/** All options of a schedule, with defaults filled in. */
export type ScheduleOptions = OptionValues<typeof scheduleOptions>;

/** The schedule of a preset alone, without the sizes, shares, rates, budget or growth of the study's own schedule. */
export function presetSchedule(schedule: PresetName): Partial<ScheduleOptions> {
  return {
    schedule,
    depths: undefined,
    widths: undefined,
    stageFractions: undefined,
    stageSteps: undefined,
    stageRates: undefined,
    budget: undefined,
    grow: "steps",
  };
}
