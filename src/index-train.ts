/**
 * @file `softprompt/train`: one training on its own, schedules, start prompts, masks, scores, and evaluation of prepared rows.
 *
 * Start with `train`; `defaults(trainOptions)` gives its settings, `singleStage` or `makeSchedule` its schedule.
 */
export { defaults, pickOptions, readOptions } from "./base/options.js";
export { type Random, random } from "./base/random.js";
export {
  type CommonSpec,
  type DatasetSpec,
  type DeclaredSpec,
  type FilesSpec,
  loadDataset,
  type OwnSpec,
  type RowsSpec,
} from "./data/dataset.js";
export type { TableOptions } from "./data/rows.js";
export type { FewShot } from "./data/split.js";
export type { Reading } from "./evaluate/evaluate.js";
export {
  type Asked,
  answerRows,
  type EvaluateOptions,
  evaluatePrepared,
  majorityBaseline,
  type Prepared,
  prepareEvaluation,
  type RowProgress,
  type WhileWriting,
} from "./evaluate/evaluate.js";
export { type InitInput, type InitSpec, initPrompt } from "./method/init.js";
export {
  applyMask,
  complementMask,
  entryMask,
  fullMask,
  type MaskCounts,
  type MaskJson,
  type MaskScores,
  maskCounts,
  maskFromJson,
  maskFromScores,
  maskToJson,
  type PieceLayout,
  type PieceRanking,
  type PromptMask,
  type PruneCounts,
  pieceLayouts,
  randomMask,
} from "./method/mask.js";
export * from "./optim/optimizer.js";
export { type OptimizerName, type OptimizerSettings, optimizers } from "./optim/optimizers.js";
export { type Importance, type ImportanceOptions, importance } from "./prune/importance.js";
export { type PruneOptions, pruneOptions } from "./prune/options.js";
export { type ImportanceMode, importanceModes, type Reduction } from "./prune/scores.js";
export { type NeuronScoreOptions, neuronScoreOptions } from "./schedule/neuron-options.js";
export { type ScheduleOptions, scheduleOptions } from "./schedule/options.js";
export { type Measurement, type Plan, type PlannedData, type PlanOptions, planSchedule } from "./schedule/plan.js";
export { makeSchedule, type ScheduleFor, singleStage } from "./schedule/schedule.js";
export { type TrainSettings, trainOptions } from "./train/options.js";
export type { Plateau, Schedule, Stage } from "./train/stage.js";
export type { TrainState } from "./train/state.js";
export { train } from "./train/trainer.js";
export type * from "./train/types.js";
