/**
 * @file Results of a finished tuning or search: the adapter, result.json and predictions.jsonl, in the same form for both.
 *
 * In: Model, Dataset, options, what was found. Out: Adapter, RunResult, and the files in a run's folder.
 */
import { adapterBase, saveAdapter } from "../adapter/adapter.js";
import type { Adapter, Applied } from "../adapter/types.js";
import { ownFolder } from "../base/files.js";
import type { JsonObject } from "../base/json.js";
import type { Tensor } from "../base/tensor.js";
import type { Dataset } from "../data/row.js";
import type { Prediction } from "../evaluate/evaluate.js";
import type { InitKind } from "../method/init.js";
import type { PromptMask } from "../method/mask.js";
import type { BlockKind } from "../model/block-weights.js";
import { type LayerChoice, measuredChoices, type PartialModel } from "../model/partial.js";
import { fileNames } from "../run/layout.js";
import { codeCommit, peakMemory, type RunResult, type Scores, whereWeAre } from "../run/result.js";
import { tensorHash } from "../train/identity.js";
import type { Schedule } from "../train/stage.js";
import { type Model, precisionOf } from "./model.js";
import { isChat } from "./readied.js";

/** Options that a record reads by name; all options are recorded. */
interface RecordedOptions {
  readonly seed: number;
  readonly schedule: string;
  readonly layerChoice?: LayerChoice;
  readonly init: InitKind;
  readonly output?: string;
  readonly initFrom?: string;
  readonly from?: string | undefined;
}

/** What was found, and on how many validation rows it was scored. */
export interface Found {
  /** "prompt-tuning", "xprompt", or the name of another method. */
  readonly method: string;
  readonly schedule: Schedule;
  /** The prompt that training began with. */
  readonly start: Tensor;
  readonly prompt: Tensor;
  /** The result of a method that leaves no prompt. */
  readonly applied?: Applied | undefined;
  readonly mask: PromptMask | null;
  readonly scores: Scores;
  readonly rows: number;
}

/** "prompt-tuning", "xprompt+fpt-cr", … */
function methodName({ method }: Pick<Found, "method">, { schedule }: RecordedOptions): string {
  return schedule === "vanilla" ? method : `${method}+${schedule}`;
}

/** @param scored false if the scores are not those of the reported rows; then the adapter records no scores. */
export async function tunedAdapter(
  model: Model,
  { task }: Dataset,
  options: RecordedOptions,
  found: Found,
  scored = true,
): Promise<Adapter> {
  const { schedule, prompt, applied, mask, scores, rows } = found;
  return {
    prompt,
    ...(applied && { applied }),
    mask,
    base: await adapterBase(model.checkpoint),
    tokenizer: model.tokenizer.sha256,
    task,
    ...(isChat(model) ? { chat: true } : {}),
    training: {
      method: methodName(found, options),
      schedule: schedule.stages.map(({ partial, steps }) => ({ partial: partial.name, steps })),
      seed: options.seed,
      settings: { ...adapterSettings(options, found.start), ...recordedPrecision(model) },
    },
    scores: scored ? { split: "validation", rows, values: scores } : null,
    kept: { config: {}, extras: {} },
  };
}

/**
 * Options as an adapter records them: those that determine the prompt, independent of the machine. The output folder is left out, and an
 * adapter from which the training started is identified by its values, not by its folder.
 */
function adapterSettings(options: RecordedOptions, start: Tensor): JsonObject {
  const { output: _, initFrom: __, from: ___, ...settings } = options;
  const from = options.init === "fromPrompt" ? { initFrom: `sha256 ${tensorHash(start)}` } : {};
  return JSON.parse(JSON.stringify({ ...settings, ...from }));
}

/** The precision, where it is not float32: records of earlier versions do not name it. */
function recordedPrecision(model: Model): { readonly precision?: "int8" | BlockKind } {
  const precision = precisionOf(model);
  return precision === "float32" ? {} : { precision };
}

/** Saves the adapter in the folder. @returns its size in bytes; without a folder the size of its values */
export function keepAdapter(folder: string | null, adapter: Adapter): number {
  if (folder === null) {
    const tensors = adapter.applied ? Object.values(adapter.applied.parameters) : [adapter.prompt];
    return 4 * tensors.reduce((sum, { data }) => sum + data.length, 0);
  }
  return saveAdapter(ownFolder(folder, fileNames.adapter), adapter);
}

/** How the training ended, and its cost. @param weights sha256 of the base model */
export function runRecord(
  model: Model,
  data: Dataset,
  options: RecordedOptions,
  found: Found,
  ended: {
    readonly run: Pick<RunResult["run"], "reason" | "steps" | "bestStep">;
    readonly baseline: RunResult["baseline"];
    readonly cost: Omit<RunResult["cost"], "baseParameters" | "peakBytes">;
    readonly weights: string;
  },
): RunResult {
  const { perStage, trainedParameters, adapterBytes, ...spent } = ended.cost;
  return {
    run: {
      task: data.task.name,
      method: methodName(found, options),
      options: JSON.parse(JSON.stringify(options)),
      seed: options.seed,
      commit: codeCommit(),
      ...keptLayers(found.schedule, options),
      ...ended.run,
    },
    scores: found.scores,
    scoredOn: { split: "validation", rows: found.rows },
    baseline: ended.baseline,
    cost: {
      ...spent,
      perStage,
      trainedParameters,
      baseParameters: model.checkpoint.parameters,
      adapterBytes,
      peakBytes: peakMemory(),
    },
    where: whereWeAre({
      device: model.device,
      ...recordedPrecision(model),
      model: { name: model.checkpoint.name, sha256: ended.weights },
      data: data.files,
    }),
  };
}

/** The layers of each partial stage where they were measured; other choices follow from the sizes. */
function keptLayers({ stages }: Schedule, { layerChoice }: RecordedOptions): Pick<RunResult["run"], "layers"> {
  if (layerChoice === undefined || !measuredChoices[layerChoice]) return {};
  const partials = stages.map(({ partial }) => partial).filter(({ name }) => name !== "full");
  if (partials.length === 0) return {};
  const layersOf = ({ stacks }: PartialModel) =>
    Object.fromEntries(Object.entries(stacks).map(([stack, { layers }]) => [stack, layers]));
  return { layers: Object.fromEntries(partials.map((partial) => [partial.name, layersOf(partial)])) };
}

/** Writes result.json and predictions.jsonl. @param write a file of the run's folder by its name */
export function writeRecord(
  write: (name: string, content: string) => void,
  result: RunResult,
  predictions: readonly Prediction[],
): void {
  write(fileNames.result, `${JSON.stringify(result, null, 2)}\n`);
  write(fileNames.predictions, predictions.map(predictionLine).join(""));
}

/** One line of predictions.jsonl: the answer as a line of `softprompt predict` has it, and beside it the true one. */
export function predictionLine({ row, label, text, correct, probabilities }: Prediction): string {
  return `${JSON.stringify({
    id: row.id,
    input: row.input,
    label,
    text,
    probabilities,
    trueLabel: row.label,
    target: row.target,
    correct,
  })}\n`;
}
