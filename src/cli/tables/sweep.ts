/**
 * @file The option tables of sweep.
 */
import { map, type OptionTable, type OptionValues, string } from "../../base/options.js";
import { methodOptions } from "../../method/options.js";
import { neuronScoreOptions } from "../../schedule/neuron-options.js";
import { scheduleOptions } from "../../schedule/options.js";
import { sweepOptions } from "../../study/sweep-options.js";
import { dataOptions } from "../../tasks/data.js";
import { modelOptions, promptOptions } from "../../tasks/options.js";
import { repeatedOptions } from "../../train/options.js";

/** By heading. */
export const sweepSections = {
  Sweep: {
    try: map({
      required: true,
      lists: true,
      help: 'An option of the training and its values, with commas between them: learning-rate=0.03,0.1,0.3; repeat it for more options, and every combination is trained. Values that have commas, and lists, as JSON: init-text=["good, bad","so"]',
    }),
    ...sweepOptions,
    output: string({
      placeholder: "folder",
      help: "Finished trainings, result.json, report.html and best.yaml; of a configuration that has something to try it is taken too, of a run's own it is not. An interrupted sweep goes on from here, one process at a time. A report that the new one does not hold all of is kept in earlier-1, -2, …",
      source: "default sweeps/TASK",
    }),
  },
  Model: modelOptions,
  Data: dataOptions,
  Method: methodOptions,
  Prompt: promptOptions,
  Training: repeatedOptions,
  "Schedule (Fast Prompt Tuning)": { ...scheduleOptions, ...neuronScoreOptions },
};

export const sweepTable = Object.assign({}, ...Object.values(sweepSections)) as OptionTable;

export type SweepValues = OptionValues<(typeof sweepSections)["Sweep"]> &
  OptionValues<typeof modelOptions> &
  OptionValues<typeof dataOptions> &
  OptionValues<typeof methodOptions> &
  OptionValues<typeof promptOptions> &
  OptionValues<typeof repeatedOptions> &
  OptionValues<typeof scheduleOptions> &
  OptionValues<typeof neuronScoreOptions>;
