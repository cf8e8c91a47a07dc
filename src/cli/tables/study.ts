/**
 * @file The option tables of compare and study.
 */
import { map, type OptionTable, type OptionValues, string } from "../../base/options.js";
import { pruneOptions } from "../../prune/options.js";
import { neuronScoreOptions } from "../../schedule/neuron-options.js";
import { scheduleOptions } from "../../schedule/options.js";
import { comparisonOptions } from "../../study/method-options.js";
import { referenceOptions } from "../../study/reference-options.js";
import { dataOptions, quickstartTask } from "../../tasks/data.js";
import { modelOptions, promptOptions, seedsOption } from "../../tasks/options.js";
import { repeatedOptions } from "../../train/options.js";

/** By heading. */
export const sections = {
  Model: modelOptions,
  Tasks: {
    tasks: map({
      required: true,
      help: `Task and its folder of official files, or a YAML file with data options (train, template, …); ${quickstartTask}= for the bundled rows`,
    }),
    fewShot: { ...dataOptions.fewShot, help: "Train on so few rows of each task, drawn with seed 0" },
    ...seedsOption,
  },
  Prompt: promptOptions,
  Training: repeatedOptions,
  Schedule: { ...scheduleOptions, ...neuronScoreOptions },
  Study: {
    ...referenceOptions,
    output: string({
      placeholder: "folder",
      help: "Finished runs, result.json and report.html; an interrupted study goes on from here, one process at a time. A report that the new one does not hold all of is kept in earlier-1, -2, …",
      source: "default studies/NAME",
    }),
  },
};
export const compareSections = { ...sections, Methods: comparisonOptions, "Pruning (method xprompt)": pruneOptions };
export const studySections = {
  ...sections,
  "Methods (study methods)": comparisonOptions,
  "Pruning (XPrompt studies)": pruneOptions,
};

export type StudyValues = OptionValues<typeof modelOptions> &
  OptionValues<(typeof sections)["Tasks"]> &
  OptionValues<typeof promptOptions> &
  OptionValues<typeof repeatedOptions> &
  OptionValues<typeof scheduleOptions> &
  OptionValues<typeof neuronScoreOptions> &
  OptionValues<(typeof sections)["Study"]> &
  OptionValues<typeof comparisonOptions> &
  OptionValues<typeof pruneOptions>;

/** All options of all studies. */
export const studyTable = Object.assign({}, ...Object.values(studySections)) as OptionTable;
