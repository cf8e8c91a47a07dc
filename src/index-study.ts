/**
 * @file `softprompt/study`: the papers' experiments as functions, and their tables and pages.
 *
 * Start with `study` or `compare`; `studyMarkdown` and `studyPage` write their results.
 */

export type { WorkerSettings } from "./prune/types.js";
export type { ScoringCost } from "./schedule/neuron-scores.js";
export {
  type AnyStudyEvent,
  allStudyOptions,
  type CompareInput,
  compare,
  type StudyCallInput,
  study,
  studyOptions,
} from "./study/call.js";
export { compare as compareSchedules } from "./study/compare.js";
export { type FptStudy, type FptStudyName, fptStudies } from "./study/fpt.js";
export type { RunsLeft } from "./study/left.js";
export { chartDrawing, matrixDrawing, studyMarkdown, studyPage } from "./study/pages.js";
export { type PartialSize, partialAlone } from "./study/partial-alone.js";
export { type ListedRun, listRuns, type RunOrder, type RunState } from "./study/run-list.js";
export {
  type FinishedRun,
  type MethodSize,
  runAll as runVariants,
  type StudyEvent,
  type StudyInput,
  type Variant,
  vanilla,
} from "./study/runs.js";
export { similarity } from "./study/similarity.js";
export * from "./study/study.js";
export { type XPromptStudy, type XPromptStudyName, xpromptStudies } from "./study/xprompt.js";
export { type Case, outcomes, settingsOf } from "./study/xprompt-runs.js";
export { differenceTable, type Line, linesOf, scoreTable, seedScores, type TaskName } from "./study/xprompt-tables.js";
export type { Outcome, XPromptStudyEvent, XPromptStudyInput } from "./study/xprompt-types.js";
export type { VariantName } from "./study/xprompt-variants.js";
