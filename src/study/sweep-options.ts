/**
 * @file Options of a sweep, as data: what can be tried, and how the settings are chosen among.
 */
import { integer, type OptionTable } from "../base/options.js";
import { seedsOption, type TuneOptions, tuneOptions } from "../tasks/options.js";
import { freeSettings } from "../train/options.js";
import { comparisonOptions } from "./method-options.js";

/** Options of a sweep beside those of its trainings and what is tried. */
export const sweepOptions = {
  ...seedsOption,
  searchHoldout: {
    ...comparisonOptions.searchHoldout,
    help: "Training rows that are held out and choose the settings, the same for every seed; the validation rows are not looked at",
  },
  mostSettings: integer({
    min: 1,
    max: 10_000,
    unit: "settings",
    help: "Train at most so many of the combinations, the same whatever the seeds",
    source: "default all",
  }),
  workers: integer({
    default: 1,
    min: 1,
    unit: "processes",
    help: "Trainings at the same time, each in a process that opens the model; worth it where one training does not use every core",
  }),
};

/** What changes no training, what sets other rows to score on, and what a sweep has of its own. */
const untriable = new Set<string>([...freeSettings, "maxEvalRows", "output", "baselines", "tensorboard", "seed"]);

/** Options of a training that can be tried. */
export const triedOptions: OptionTable = Object.fromEntries(
  Object.entries(tuneOptions).filter(([key]) => !untriable.has(key)),
);

/** Options and the values of each to try; every combination is a setting. */
export type Tried = { readonly [K in keyof TuneOptions]?: readonly NonNullable<TuneOptions[K]>[] };
