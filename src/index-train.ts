/**
 * @file `softprompt/train`: one training on its own, schedules, start prompts, masks, scores, and evaluation of prepared rows.
 *
 * Start with `train`; `defaults(trainOptions)` gives its settings, `singleStage` or `makeSchedule` its schedule.
 */
export { defaults, readOptions } from "./base/options.js";
export { type Random, random } from "./base/random.js";
export { type DatasetSpec, loadDataset } from "./data/dataset.js";
export {
  type Asked,
  answerRows,
  evaluatePrepared,
  majorityBaseline,
  type Prepared,
  prepareEvaluation,
} from "./evaluate/evaluate.js";
export { type InitInput, type InitSpec, initPrompt } from "./method/init.js";
export * from "./method/mask.js";
export * from "./optim/optimizer.js";
export { type Importance, type ImportanceOptions, importance } from "./prune/importance.js";
export { type PruneOptions, pruneOptions } from "./prune/options.js";
export { type NeuronScoreOptions, neuronScoreOptions } from "./schedule/neuron-options.js";
export { type ScheduleOptions, scheduleOptions } from "./schedule/options.js";
export { makeSchedule, type ScheduleFor, singleStage } from "./schedule/schedule.js";
export { type TrainSettings, trainOptions } from "./train/options.js";
export type { Schedule, Stage } from "./train/stage.js";
export { train } from "./train/trainer.js";
export type * from "./train/types.js";
