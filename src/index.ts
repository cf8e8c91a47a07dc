/**
 * @file The library: the same whole tasks as the command line, and the parts they are made of.
 *
 * Start with `openModel`, `loadData`, `tune`, `predict`. What throws is SoftpromptError, with a kind to act on; who opens a
 * model disposes it.
 */

export { adapterBase, checkBase, loadAdapter, saveAdapter } from "./adapter/adapter.js";
export { inspectAdapter } from "./adapter/inspect.js";
export type { Adapter } from "./adapter/types.js";
export { type ErrorKind, errorKinds, SoftpromptError } from "./base/errors.js";
export type { Tensor } from "./base/tensor.js";
export { type DatasetSpec, loadDataset } from "./data/dataset.js";
export { defineTask } from "./data/define.js";
export type { MemoryRow } from "./data/memory.js";
export type { MetricName } from "./data/metrics.js";
export type { Dataset, Row, Task } from "./data/row.js";
export { openEngine } from "./engine/engine.js";
export { stepFlops } from "./engine/flops.js";
export type { Engine, EngineOptions } from "./engine/types.js";
export { type Evaluation, evaluate, majorityBaseline } from "./evaluate/evaluate.js";
export { type InitSpec, initPrompt } from "./method/init.js";
export { fullMask, maskCounts, maskFromScores, type PromptMask } from "./method/mask.js";
export type { ModelConfig } from "./model/architecture.js";
export { type Checkpoint, openCheckpoint } from "./model/checkpoint.js";
export { fullModel, type PartialModel, type PartialSpec, partialModel } from "./model/partial.js";
export type { T5Config } from "./model/t5/config.js";
export { importance } from "./prune/importance.js";
export type { PruneResult } from "./prune/record.js";
export type { XPromptResult } from "./prune/xprompt.js";
export type { RunResult } from "./run/result.js";
export { makeSchedule, singleStage } from "./schedule/schedule.js";
export { compare } from "./study/compare.js";
export { fptStudies } from "./study/fpt.js";
export { studyMarkdown, studyPage } from "./study/pages.js";
export type { StudyInput } from "./study/runs.js";
export type { StudyResult } from "./study/study.js";
export { xpromptStudies } from "./study/xprompt.js";
export { type DataOptions, loadData, loadRows, type RowsOptions } from "./tasks/data.js";
export { type Model, type OpenModelOptions, openModel } from "./tasks/model.js";
export {
  type Answer,
  type PredictAllOptions,
  type PredictInput,
  type PredictOptions,
  type PredictStreamOptions,
  predict,
  predictStream,
} from "./tasks/predict.js";
export { type Pruned, prune } from "./tasks/prune.js";
export { type Tuned, type TuneEvent, tune } from "./tasks/tune.js";
export { loadTokenizer } from "./text/load.js";
export type { Tokenizer } from "./text/tokenizer.js";
export type { Schedule, Stage } from "./train/stage.js";
export { train } from "./train/trainer.js";
export type { TrainEvent, TrainInput, TrainResult } from "./train/types.js";
