/**
 * @file The trainings of a sweep. In: a model, rows, the settings as they can be written down. Out: runs, kept and read back.
 */
import { pickOptions, readOptions } from "../base/options.js";
import type { Dataset } from "../data/row.js";
import { methodOptions } from "../method/options.js";
import { neuronScoreOptions } from "../schedule/neuron-options.js";
import { scheduleOptions } from "../schedule/options.js";
import type { CallContext } from "../tasks/call.js";
import { answersFor } from "../tasks/data.js";
import type { Model } from "../tasks/model.js";
import type { TuneOptions } from "../tasks/options.js";
import { initSpec } from "../tasks/planning.js";
import { forPrompt } from "../tasks/readied.js";
import { repeatedOptions } from "../train/options.js";
import { runOne, type StudyEvent, type StudyInput, trialScore, type Variant } from "./runs.js";
import type { Run } from "./sweep-tables.js";

/** A combination that is to be trained. */
export interface Setting {
  readonly label: string;
  readonly values: Readonly<Record<string, unknown>>;
  /** What was given and this setting reads, its values included. */
  readonly given: Readonly<Record<string, unknown>>;
  readonly options: TuneOptions;
}

/** All trainings of a sweep, as they can be written down. */
export interface SweepPlan {
  /** The validation rows are those that choose. */
  readonly rows: Dataset;
  readonly settings: readonly Setting[];
  readonly seeds: readonly number[];
  /** Where finished runs are kept; null keeps nothing. */
  readonly folder: string | null;
}

/** A setting with all that its trainings need. */
export interface Readied extends Setting {
  readonly input: StudyInput;
  readonly dataset: Dataset;
  readonly variant: Variant;
}

/** @throws SoftpromptError as initSpec */
export async function readySetting(
  model: Pick<Model, "engine" | "tokenizer" | "checkpoint" | "offline">,
  { rows, seeds, folder }: SweepPlan,
  setting: Setting,
  { onEvent = () => {}, signal }: CallContext<StudyEvent>,
): Promise<Readied> {
  const { options, label } = setting;
  const dataset = answersFor(rows, model, options);
  const input: StudyInput = {
    engine: model.engine,
    tokenizer: forPrompt(model, options.virtualTokens).tokenizer,
    tasks: [dataset],
    seeds,
    settings: { ...readOptions(repeatedOptions, pickOptions(repeatedOptions, options), "sweep()"), seed: seeds[0]! },
    schedule: readOptions(scheduleOptions, pickOptions(scheduleOptions, options), "sweep()"),
    virtualTokens: options.virtualTokens,
    init: await initSpec(options, dataset, model, {
      onEvent: ({ message }) => onEvent({ kind: "train", event: { kind: "warning", message } }),
      signal,
    }),
    scoring: readOptions(neuronScoreOptions, pickOptions(neuronScoreOptions, options), "sweep()"),
    folder,
    observe: onEvent,
    signal,
  };
  const method = readOptions(methodOptions, pickOptions(methodOptions, options), "sweep()");
  return { ...setting, input, dataset, variant: { label, schedule: {}, method, filedAs: "setting" } };
}

/** Trains a setting, or reads it back. A training whose numbers go wrong is an outcome. */
export const runSetting = ({ input, dataset, variant }: Readied, seed: number): Promise<Run> =>
  runOne(input, dataset, seed, variant, "held-out");

/** What the prompt that is kept scores. */
export const scoreOf = (run: Run, { task }: Dataset) =>
  trialScore(run, task, ({ history, bestOnFull, best }) => {
    const { step } = bestOnFull ?? best;
    return history.findLast((entry) => entry.step === step) ?? history.at(-1)!;
  });
