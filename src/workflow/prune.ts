/**
 * @file XPrompt from beginning to end: tuning, scores, search, the chosen adapter, its report. In: Model, Dataset, options.
 */
import { join } from "node:path";
import { adapterBase, saveAdapter } from "../adapter/adapter.js";
import type { Adapter } from "../adapter/types.js";
import { writeFileAtomic } from "../base/files.js";
import { choice, type OptionValues, pickOptions, readOptions } from "../base/options.js";
import type { Dataset } from "../data/row.js";
import { ownMask } from "../prune/candidate.js";
import { type PruneOptions, pruneOptions } from "../prune/options.js";
import { refuseForeign, type SearchEvent } from "../prune/search.js";
import { holdOut } from "../prune/space.js";
import { type XPromptResult, xprompt } from "../prune/xprompt.js";
import { prunePage } from "../report/prune.js";
import { presetSchedule } from "../study/runs.js";
import { type TrainSettings, trainOptions } from "../train/options.js";
import { type PresetName, presets } from "../train/presets.js";
import type { Model } from "./model.js";
import { tuneOptions } from "./options.js";
import { scheduleFor, startPrompt } from "./tune.js";

export const pruneTuneOptions = {
  ...tuneOptions,
  ...pruneOptions,
  retrainSchedule: choice({
    values: Object.keys(presets) as PresetName[],
    default: "vanilla",
    source: "xprompt.md §4; any schedule composes",
    help: "Schedule of the retrainings; --schedule is that of the tuning before",
  }),
};

export interface PruneContext {
  readonly observe?: (event: SearchEvent | { readonly kind: "work"; readonly what: string }) => void;
  readonly signal?: AbortSignal;
  readonly resume?: boolean;
  /** Engine settings for worker processes. */
  readonly engine?: {
    readonly device?: "cpu" | "webgpu" | "cuda";
    /** 0 shares the cores out among the workers. */
    readonly threads?: number;
    readonly lowMemory?: boolean;
    readonly plainOps?: boolean;
  };
}

export interface Pruned {
  readonly result: XPromptResult;
  readonly adapter: Adapter;
  readonly folder: string | null;
  readonly report: string | null;
}

/**
 * Tunes, scores, prunes, rewinds, retrains and chooses.
 * @param given any of pruneTuneOptions; without `output` nothing is kept.
 */
export async function prune(
  model: Model,
  data: Dataset,
  given: Partial<OptionValues<typeof pruneTuneOptions>> = {},
  { observe = () => {}, signal, resume = false, engine }: PruneContext = {},
): Promise<Pruned> {
  const options = readOptions(pruneTuneOptions, given, "prune()");
  const folder = options.output ?? null;
  if (folder !== null) refuseForeign(folder);
  // with a holdout nothing may look at the validation rows before the end, the neuron scores included
  const held = options.holdout > 0;
  const seen = held ? { ...data, train: holdOut(data.train, options.holdout, options.seed).train } : data;
  const planned = held ? { ...options, scoreSplit: "train" as const } : options;
  const { schedule } = await scheduleFor(model, seen, planned, folder, observe, signal);
  const { retrainSchedule } = options;
  // sizes, stages and budget are those of --schedule; they hold for the retrainings where these have the same one
  const own =
    retrainSchedule === options.schedule || retrainSchedule === "custom" ? {} : presetSchedule(retrainSchedule);
  const retraining = await scheduleFor(
    model,
    seen,
    { ...planned, ...own, schedule: retrainSchedule, steps: options.retrainSteps ?? options.steps },
    folder,
    observe,
    signal,
  );
  const result = await xprompt({
    engine: model.engine,
    tokenizer: model.tokenizer,
    task: data.task,
    train: data.train,
    validation: data.validation,
    prompt: await startPrompt(model, data, options),
    schedule,
    retrainSchedule: retraining.schedule,
    settings: pickOptions(trainOptions, options) as TrainSettings,
    options: pickOptions(pruneOptions, options) as PruneOptions,
    run: folder,
    resume,
    observe,
    signal,
    workers: { engine },
  });
  const { best } = result;
  const settings = JSON.parse(JSON.stringify(options));
  const adapter: Adapter = {
    prompt: best.prompt,
    mask: ownMask(best),
    base: await adapterBase(model.checkpoint),
    tokenizer: model.tokenizer.sha256,
    task: data.task,
    training: {
      method: options.schedule === "vanilla" ? "xprompt" : `xprompt+${options.schedule}`,
      schedule: schedule.stages.map(({ partial, steps }) => ({ partial: partial.name, steps })),
      seed: options.seed,
      settings,
    },
    scores: { split: "validation", rows: result.selection.reportedRows, values: result.reported.best },
    kept: { config: {}, extras: {} },
  };
  let report: string | null = null;
  if (folder !== null) {
    saveAdapter(join(folder, "adapter"), adapter);
    writeFileAtomic(join(folder, "result.json"), `${JSON.stringify(withoutTensors(result), null, 2)}\n`);
    report = join(folder, "report.html");
    writeFileAtomic(report, prunePage({ task: data.task.name, metric: data.task.metrics[0], result, settings }));
  }
  return { result, adapter, folder, report };
}

/** The search as JSON: prompts lie in the candidates' own folders. */
export function withoutTensors({ tuned, candidates, control, best, importance, ...rest }: XPromptResult) {
  const bare = ({ prompt: _prompt, mask: _mask, ...candidate }: XPromptResult["best"]) => candidate;
  const { init: _init, prompt: _prompt, kept: _kept, ...plain } = tuned;
  return {
    ...rest,
    tuned: plain,
    best: bare(best),
    control: bare(control),
    candidates: candidates.map(bare),
    importance: { examples: importance.examples, mode: importance.mode, partial: importance.partial },
  };
}
