/**
 * @file The library: the same tasks as the command line, with the types of their inputs and results.
 *
 * Start with `openModel`, `tune`, `predict`. Errors are SoftpromptErrors, whose kind a program can act on. The caller that opens a model
 * disposes it. The parts from which the tasks are built: `softprompt/engine`, `softprompt/graph`, `softprompt/train`, `softprompt/study`.
 */

export {
  type AdapterForm,
  adapterBase,
  type BaseCheck,
  checkBase,
  loadAdapter,
  saveAdapter,
} from "./adapter/adapter.js";
export { type AdapterReport, inspectAdapter, type TokenReport } from "./adapter/inspect.js";
export type { Adapter, AdapterBase, AdapterScores, AdapterTraining, Applied, AppliedModel } from "./adapter/types.js";
export { type ErrorKind, type ErrorParts, errorKinds, SoftpromptError } from "./base/errors.js";
export type { JsonObject } from "./base/json.js";
export {
  type BooleanOption,
  type ChoiceOption,
  defaults,
  type ListOption,
  type MapOption,
  type NumberOption,
  type OnRenamed,
  type Option,
  type OptionCommon,
  type OptionDescription,
  type OptionTable,
  type OptionValues,
  readOptions,
  type StringOption,
} from "./base/options.js";
export type { Parameters, Tensor } from "./base/tensor.js";
export { defineTask, type TaskDefinition } from "./data/define.js";
export type { MemoryRow } from "./data/memory.js";
export { type LabelScores, type MetricName, metricNames, type Scores } from "./data/metrics.js";
export type { Dataset, FieldSpan, PromptPart, Row, Scoring, Task, TaskColumns } from "./data/row.js";
export { type PromptPosition, promptPositions } from "./data/template.js";
export type { Verbalizer } from "./data/verbalizer.js";
export type { Confusion, Evaluation, Prediction, RowsEvent, Selective } from "./evaluate/evaluate.js";
export { type RankingMode, rankingModes } from "./evaluate/ranking.js";
export type { HubProgress } from "./hub/hub.js";
export { fullMask, maskCounts, maskFromScores, type PromptMask } from "./method/mask.js";
export type { PruneResult, SearchCandidate, SearchSummary } from "./prune/record.js";
export type { XPromptSelection } from "./prune/search.js";
export type { SearchEvent, Tuned as TunedPrompt } from "./prune/search-types.js";
export type { Candidate, CandidateCost } from "./prune/types.js";
export type { XPromptResult } from "./prune/xprompt.js";
export type { RunResult, Scores as ResultScores, Where } from "./run/result.js";
export { type AnyStudyEvent, type CompareInput, compare, studyOptions } from "./study/call.js";
export { type AnyEvent, eventsOf, type Running, type Watched } from "./study/events.js";
export type { RunsLeft } from "./study/left.js";
export { type SweepInput, type Swept, sweep } from "./study/sweep.js";
export { sweepOptions, type Tried } from "./study/sweep-options.js";
export type { SweptSetting } from "./study/sweep-tables.js";
export type { CallContext, EarlierContext, NoticeEvent } from "./tasks/call.js";
export {
  type DataOptions,
  dataOptions,
  type FormerDataOptions,
  type LoadContext,
  loadData,
  loadRows,
  type RowsOptions,
} from "./tasks/data.js";
export { type EvaluateInput, type EvaluateRows, evaluate } from "./tasks/evaluate.js";
export {
  type Exported,
  type ExportInput,
  exportModel,
  exportOnnxAdapter,
  exportPrompt,
  exportRequest,
  type OnnxAdapterInput,
  type PromptInput,
  type RequestInput,
} from "./tasks/export.js";
export { type ExportFormat, exportFormats, exportOptions } from "./tasks/export-options.js";
export {
  type GeneratedEnd,
  type GeneratedPiece,
  type GenerateInput,
  generate,
  generateStream,
} from "./tasks/generate.js";
export { type GenerateOptions, generateOptions } from "./tasks/generate-options.js";
export {
  type Model,
  type ModelContext,
  type ModelEvent,
  type ModelWork,
  type OpenModel,
  type OpenModelOptions,
  openModel,
  openOptions,
} from "./tasks/model.js";
export {
  type FormerPruneOptions,
  type FormerTuneOptions,
  type ModelOptions,
  modelOptions,
  pruneTuneOptions,
  type TuneOptions,
  tuneOptions,
} from "./tasks/options.js";
export {
  type PredictAllOptions,
  type PredictOptions,
  type PredictStreamOptions,
  predict,
  predictStream,
} from "./tasks/predict.js";
export {
  type Answer,
  type AnswerOptions,
  type NamedAdapter,
  openPredictor,
  type PredictInput,
  type Predictor,
  type PredictorInput,
  type PredictorOptions,
  type SkillOptions,
} from "./tasks/predictor.js";
export { type PruneContext, type Pruned, type PruneEvent, type PruneInput, prune } from "./tasks/prune.js";
export { type TuneContext, type Tuned, type TuneEvent, type TuneInput, tune, type WorkEvent } from "./tasks/tune.js";
export { type PromptWords, promptWords, type WordsInput } from "./tasks/words.js";
export type { TrainEvent, TrainResult } from "./train/types.js";
