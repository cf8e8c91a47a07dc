/**
 * @file The option tables of train, which quickstart and prune use too.
 */
import type { OptionTable, OptionValues } from "../../base/options.js";
import { methodOptions } from "../../method/options.js";
import { neuronScoreOptions } from "../../schedule/neuron-options.js";
import { scheduleOptions } from "../../schedule/options.js";
import { dataOptions } from "../../tasks/data.js";
import { modelOptions, promptOptions, runOptions } from "../../tasks/options.js";
import { trainOptions } from "../../train/options.js";

/** Everything that decides a run, in the order of its config.yaml. */
export const trainSections = {
  Model: modelOptions,
  Data: dataOptions,
  Method: methodOptions,
  Prompt: promptOptions,
  Training: trainOptions,
  "Schedule (Fast Prompt Tuning)": { ...scheduleOptions, ...neuronScoreOptions },
  Run: runOptions,
};
export const trainTable = Object.assign({}, ...Object.values(trainSections)) as OptionTable;

// --resume takes model and data from the run's own config.yaml, so nothing is required on the command line then.
export const optionalModel = { ...modelOptions, model: { ...modelOptions.model, required: false } };

export type TrainValues = OptionValues<typeof modelOptions> &
  OptionValues<typeof dataOptions> &
  OptionValues<typeof methodOptions> &
  OptionValues<typeof promptOptions> &
  OptionValues<typeof trainOptions> &
  OptionValues<typeof scheduleOptions> &
  OptionValues<typeof neuronScoreOptions> &
  OptionValues<typeof runOptions>;
