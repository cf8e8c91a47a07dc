/**
 * @file The plan of a search, before a model is run: rows, counts, rewinding, and the cost of retrainings. Refuses impossible searches.
 *
 * In: rows, a start prompt, schedules (their sizes and steps; which neurons stay does not matter), PruneOptions. Out: SearchPlan.
 */
import { SoftpromptError } from "../base/errors.js";
import type { Row } from "../data/row.js";
import { compileTemplate } from "../data/template.js";
import type { ModelConfig } from "../model/architecture.js";
import { fullModel, type PartialModel, partialModel } from "../model/partial.js";
import { type Forecast, forecast } from "../train/forecast.js";
import { inTurn } from "../train/job.js";
import type { ReadSteps, TrainSettings } from "../train/types.js";
import type { PruneOptions } from "./options.js";
import type { SearchInput } from "./search-types.js";
import { holdOut, pruneCounts, rewindTarget } from "./space.js";
import { halvingPairs, halvingPlan, type SearchSpace } from "./strategies.js";
import type { Retraining } from "./types.js";

/** The parts of a search that are known before it has a folder. */
export type SearchOutline = Omit<SearchInput, "resume" | "observe">;

export interface SearchPlan {
  /** Settings of the tuning, with snapshots often enough for a search of hours. */
  readonly settings: TrainSettings;
  /** Rows that tuning and retrainings train on. */
  readonly rows: readonly Row[];
  /** Rows on which candidates are compared: held-out rows, or the validation rows. */
  readonly selection: readonly Row[];
  readonly heldOut: boolean;
  readonly rewind: ReturnType<typeof rewindTarget>;
  /** Texts that the tuning reads and keeps, if texts are kept. */
  readonly read: readonly ReadSteps[];
  /** Scores are measured on this model; undefined is the full one. */
  readonly scoredOn: PartialModel | undefined;
  readonly retraining: Retraining;
  /** Steps of one whole retraining. */
  readonly steps: number;
  readonly spaceOf: (level: PruneOptions["level"]) => SearchSpace;
}

/**
 * Plans a search; runs no model and touches no file.
 * @param levels that will be searched. Default the options' own.
 * @throws SoftpromptError "usage" for impossible counts, pieces, rewinding, holdout, scoring depth or budget.
 */
export function planSearch(
  input: SearchOutline,
  levels: readonly PruneOptions["level"][] = [input.options.level],
): SearchPlan {
  const { engine, tokenizer, task, options, signal, prompt, method } = input;
  const settings = durable(input.settings);
  if (options.prunedTokens === "drop" && compileTemplate(task.template).parts.some((tokens) => tokens !== null))
    throw new SoftpromptError("usage", "tokens of a prompt whose template gives their number cannot be dropped", {
      where: "prunedTokens",
      expected: "zero",
      got: options.prunedTokens,
      hint: "the template says how many virtual tokens stand at each place",
    });
  const [first] = engine.method.parameters(engine.checkpoint.config);
  if (options.prunedTokens === "drop" && typeof first?.shape[0] === "number")
    throw new SoftpromptError("usage", `pruned positions of a ${engine.method.name} cannot be dropped`, {
      where: "prunedTokens",
      expected: "zero",
      got: options.prunedTokens,
      hint: "their number is part of the model's graph; as zeros they stay and hold nothing",
    });
  const [P, D] = prompt.shape as [number, number];
  const rewind = rewindTarget(options.rewindTo, input.schedule);
  const { train: rows, held } = holdOut(input.train, options.holdout, settings.seed);
  const selection = held.length > 0 ? held : input.validation;
  if (selection.length === 0)
    throw new SoftpromptError("usage", "there are no rows to choose a candidate by", {
      where: "holdout",
      expected: "validation rows, or a share of the training rows that is held out",
      got: options.holdout,
      hint: "--holdout 0.1 holds out a tenth",
    });
  const { importanceDepth: depth } = options;
  const retrainSettings = durable(input.retrainSettings ?? settings);
  const alike = (["batchSize", "seed"] as const).every((key) => retrainSettings[key] === settings[key]);
  const read = engine.texts === null ? [] : readBy(input.schedule, engine.checkpoint.config);
  const retraining: Retraining = {
    engine,
    tokenizer,
    task,
    train: rows,
    selection,
    schedule: input.retrainSchedule,
    settings: retrainSettings,
    ...(method && { method }),
    ...(alike && read.length > 0 && { readBefore: read }),
    signal,
  };
  const steps = input.retrainSchedule.stages.reduce((sum, stage) => sum + stage.steps, 0);
  let foreseen: Forecast | undefined;
  const foresee = () => {
    foreseen ??= forecast({
      ...retraining,
      validation: selection,
      parameters: { prompt },
      mask: null,
      observe: () => {},
    });
    return foreseen;
  };
  const spaceOf = (level: PruneOptions["level"]): SearchSpace => {
    const { halvingMinSteps = Math.max(1, Math.floor(steps / 4)), halvingBudget } = options;
    return { ...pruneCounts({ ...options, level }, P, D), steps, halvingMinSteps, halvingBudget, forecast: foresee };
  };
  for (const level of levels) {
    const space = spaceOf(level);
    if (options.search === "halving") halvingPlan(halvingPairs(space).length, space);
  }
  return {
    settings,
    rows,
    selection,
    heldOut: held.length > 0,
    rewind,
    read,
    scoredOn: depth === undefined ? undefined : partialModel(engine.checkpoint.config, { depth }),
    retraining,
    steps,
    spaceOf,
  };
}

/** The steps of a schedule on each of its models; every tuning is scored on the full one at its end. */
function readBy({ stages }: SearchInput["schedule"], config: ModelConfig): ReadSteps[] {
  const own = inTurn(stages.map(({ partial, steps }) => ({ partial: partial.name, steps })));
  const full = fullModel(config).name;
  return own.some(({ partial }) => partial === full) ? own : [...own, { partial: full, from: 0, to: 0 }];
}

/** Saves at every step unless the settings say how often: a killed search of hours then loses only the step in progress. */
export function durable(settings: TrainSettings): TrainSettings {
  return { ...settings, snapshotEvery: settings.snapshotEvery || 1 };
}
