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
export type { MetricName } from "./data/metrics.js";
export type { Dataset, Row, Task } from "./data/row.js";
export { type InitSpec, initPrompt } from "./method/init.js";
export { fullMask, maskCounts, maskFromScores, type PromptMask } from "./method/mask.js";
export { type Checkpoint, openCheckpoint } from "./model/checkpoint.js";
export type { T5Config } from "./model/config.js";
export { stepFlops } from "./model/flops.js";
export { fullModel, type PartialModel, type PartialSpec, partialModel } from "./model/partial.js";
export { importance } from "./prune/importance.js";
export type { XPromptResult } from "./prune/xprompt.js";
export type { RunResult } from "./report/result.js";
export type { PruneResult } from "./report/search.js";
export { studyMarkdown, studyPage } from "./report/study.js";
export { openEngine } from "./session/engine.js";
export type { Engine, EngineOptions } from "./session/types.js";
export { compare } from "./study/compare.js";
export { fptStudies } from "./study/fpt.js";
export type { StudyInput } from "./study/runs.js";
export type { StudyResult } from "./study/study.js";
export { xpromptStudies } from "./study/xprompt.js";
export { loadTokenizer } from "./text/load.js";
export type { Tokenizer } from "./text/tokenizer.js";
export { type Evaluation, evaluate, majorityBaseline } from "./train/evaluate.js";
export { makeSchedule, singleStage } from "./train/schedule.js";
export type { Schedule, Stage } from "./train/stage.js";
export { train } from "./train/trainer.js";
export type { TrainEvent, TrainInput, TrainResult } from "./train/types.js";
export { type DataOptions, loadData } from "./workflow/data.js";
export { type Model, type OpenModelOptions, openModel } from "./workflow/model.js";
export { type Answer, type PredictInput, type PredictOptions, predict } from "./workflow/predict.js";
export { type Pruned, prune } from "./workflow/prune.js";
export { type Tuned, type TuneEvent, tune } from "./workflow/tune.js";
