/**
 * @file XPrompt from beginning to end: tuning, scores, search, the chosen adapter, its report. In: Model, Dataset, options.
 */
import { existsSync } from "node:fs";
import { join } from "node:path";
import type { Adapter } from "../adapter/types.js";
import { interrupted, SoftpromptError } from "../base/errors.js";
import { ownFolder, withFolder, writeFileAtomic } from "../base/files.js";
import { type FolderLock, lockFolder } from "../base/lock.js";
import { type OptionValues, pickOptions, readOptions } from "../base/options.js";
import { random } from "../base/random.js";
import type { Parameters, Tensor } from "../base/tensor.js";
import { selectionName } from "../data/metrics.js";
import type { Dataset } from "../data/row.js";
import { checkPromptTokens } from "../data/template.js";
import { type Evaluation, type Prediction, reportedRows } from "../evaluate/evaluate.js";
import type { InitKind } from "../method/init.js";
import type { Method, VectorRows } from "../method/method.js";
import { methods, openMethod, prunableForm } from "../method/methods.js";
import { type MethodChoice, methodOptions } from "../method/options.js";
import { promptTuning } from "../method/prompt.js";
import { ownMask } from "../prune/candidate.js";
import { type PruneOptions, pruneOptions } from "../prune/options.js";
import { planSearch, type SearchOutline } from "../prune/plan.js";
import { type PruneResult, searchSummary } from "../prune/record.js";
import { tunedFrom } from "../prune/search.js";
import type { SearchEvent, Tuned } from "../prune/search-types.js";
import type { CandidateCost } from "../prune/types.js";
import { type XPromptResult, xprompt } from "../prune/xprompt.js";
import { outcomeWarnings } from "../report/outcome.js";
import { openFinished, refuseUnfinished } from "../run/finished.js";
import { refuseChangedInputs } from "../run/folder.js";
import { claim, fileNames } from "../run/layout.js";
import type { Scores } from "../run/result.js";
import { presetSchedule } from "../schedule/options.js";
import { scoringBeside } from "../schedule/plan.js";
import { withPlannedSteps } from "../schedule/schedule.js";
import { type TrainSettings, trainOptions } from "../train/options.js";
import { train } from "../train/trainer.js";
import type { TrainInput } from "../train/types.js";
import { adapterContent } from "./adapter-content.js";
import { type CallContext, type EarlierContext, type NoticeEvent, oneObject, splitCall } from "./call.js";
import { answersFor, datasetOf, type RowsOptions } from "./data.js";
import { sayRate, withOwnRate } from "./learning-rate.js";
import { sayMemory } from "./memory-warning.js";
import { type Model, withMethod } from "./model.js";
import { type FormerPruneOptions, pruneTuneOptions } from "./options.js";
import {
  checkEffect,
  checkPlaceOf,
  noEffect,
  outlineFor,
  scheduleFor,
  searchTrainings,
  startPrompt,
  unseenValidation,
  withInit,
} from "./planning.js";
import { forPrompt } from "./readied.js";
import { type Found, keepAdapter, runRecord, tunedAdapter, writeRecord } from "./record.js";
import { writeReport } from "./run-report.js";
import { resumeHint } from "./shell.js";
import { sayStart } from "./start.js";
import { sayTexts } from "./texts.js";
import {
  asWarning,
  baselines,
  checkResume,
  finalEvaluation,
  notPrunable,
  readingOf,
  refuseChangedModel,
  sayScoring,
  type WorkEvent,
} from "./tune.js";

/** Events of a search: its own, and those of the work around it. */
export type PruneEvent = SearchEvent | WorkEvent;

/** Context of a search. Aborting `signal` ends it with "interrupted"; with `output` a resume goes on. */
export interface PruneContext extends CallContext<PruneEvent> {
  /** Go on with the search in `output`; refused when anything that decides the result changed. Default false. */
  readonly resume?: boolean | undefined;
  /** Written into the folder as config.yaml, because the command line has more options than this room. */
  readonly configText?: string | undefined;
}

/** One object for a search: any of pruneTuneOptions, and its context. */
export type PruneInput = Partial<OptionValues<typeof pruneTuneOptions>> & FormerPruneOptions & PruneContext;

const contextKeys = ["onEvent", "signal", "resume", "configText"] as const;

/** A finished search. */
export interface Pruned {
  readonly result: XPromptResult;
  /** Content of result.json: `result` without tensors, and the fields of every run. */
  readonly record: PruneResult;
  readonly adapter: Adapter;
  /** Predictions of the chosen prompt for the reported rows. */
  readonly predictions: readonly Prediction[];
  readonly folder: string | null;
  readonly report: string | null;
}

/**
 * Tunes, scores, prunes, rewinds, retrains and chooses.
 * @param source a Dataset, or rows of the program with their template.
 * @param input any of pruneTuneOptions, by name, with `onEvent` and `signal` beside them; without `output` nothing is kept.
 */
export async function prune(
  opened: Model,
  source: Dataset | RowsOptions,
  input: PruneInput = {},
  earlier?: EarlierContext,
): Promise<Pruned> {
  const { options: given, context } = splitCall<PruneContext>(oneObject(input, earlier, "prune"), contextKeys);
  const asked = resolved(readOptions(pruneTuneOptions, await withOwnRate(given, opened.checkpoint), "prune()"));
  const { output = null } = asked;
  checkResume("prune()", context, asked.output);
  const method = openMethod(asked);
  const form = methods[asked.method].prunable ? prunableForm(method, opened.checkpoint.config) : null;
  if (form === null) throw notPrunable(method, "a search");
  if (method.leaves !== undefined && asked.from === undefined)
    throw new SoftpromptError("usage", `a ${method.name} that a network makes can be pruned once it is tuned`, {
      where: "method",
      expected: "its finished run (from), or a method that trains its values themselves",
      got: method.key,
      hint: "softprompt prune --from RUN, or --prefix-hidden 0",
    });
  if (output !== null) claim(output, "search", context.resume ?? false);
  const model = forPrompt(opened, asked.virtualTokens);
  const data = answersFor(await datasetOf(source, context.onEvent), model, asked);
  checkPromptTokens(data.task.template, asked.virtualTokens, data.promptTokens);
  checkPlaceOf(form.method, data, model, asked);
  const options = withInit(asked, data, model);
  // a run that goes on, or that the tuning is taken from, has its options from when it began
  if (!context.resume && asked.from === undefined) checkEffect(options);
  if (!context.resume) checkSearch(options);
  const searcher = await withMethod(model, form.method);
  const { onEvent = () => {}, signal } = context;
  const pruned: PrunedMethod = {
    method,
    form,
    engine: searcher.engine,
    heard: { onEvent: asWarning(onEvent), signal },
  };
  let lock: FolderLock | null = null;
  try {
    // everything that can be checked without running the model is checked before a folder is made or anything is scored
    const outline = await outlineOf(model, data, options, pruned);
    planSearch(outline);
    if (asked.from !== undefined) await checkSource(asked.from, { model, data, options, pruned, outline });
    if (output === null) return await search(model, data, options, pruned, outline, null, context);
    // the lock covers all of the work: neuron scores before the search and the adapter after it are written here too
    lock = lockFolder(output);
    ownFolder(output, fileNames.adapter);
    return await search(model, data, options, pruned, outline, lock, context);
  } catch (error) {
    if (lock === null || !(error instanceof SoftpromptError) || error.kind !== "interrupted") throw error;
    throw interrupted(context.signal, error.problem, { ...error.parts, hint: searchHint(lock.folder) });
  } finally {
    lock?.release();
    await searcher.close();
  }
}

/** Options that only some searches read: which those are, and how one asks for them. */
const searchReads = {
  tokensPruned: [({ level }) => level !== "pieces", "--level both or tokens"],
  piecesPruned: [({ level }) => level !== "tokens", "--level both or pieces"],
  pieceRanking: [({ level }) => level !== "tokens", "--level both or pieces"],
  rescorePieces: [
    ({ level, search }) => level === "both" && search !== "iterative",
    "--level both, and a search that scores once (iterative scores anew)",
  ],
  halvingMinSteps: [({ search }) => search === "halving", "--search halving"],
  halvingBudget: [({ search }) => search === "halving", "--search halving"],
} as const satisfies Partial<Record<keyof PruneOptions, readonly [(options: PruneOptions) => boolean, string]>>;

/** @throws SoftpromptError "usage" for options that this search would not read. */
function checkSearch(options: PruneOptions): void {
  for (const [key, [reads, expected]] of Object.entries(searchReads)) {
    const value = options[key as keyof typeof searchReads];
    // no counts are what such a search has anyway
    const none = value === undefined || (Array.isArray(value) && value.length === 0);
    if (none || value === pruneOptions[key as keyof typeof searchReads].default || reads(options)) continue;
    throw noEffect(key, expected, `--search ${options.search}, --level ${options.level}`);
  }
}

/** The method of the tuning, its vectors as the matrix that is pruned, and an engine under the method that trains that matrix. */
interface PrunedMethod {
  readonly method: Method;
  readonly form: VectorRows;
  readonly engine: Model["engine"];
  /** Who hears of an adapter that is fetched to start from, and who stops it. */
  readonly heard: CallContext<NoticeEvent>;
}

/** The values that the tuning's method starts from. */
async function startOf(
  model: Model,
  data: Dataset,
  options: Options,
  { method, heard }: PrunedMethod,
): Promise<Parameters> {
  const prompt = () => startPrompt(model, data, options, heard);
  return method.start({
    checkpoint: model.checkpoint,
    random: random(options.seed, `start ${method.name}`),
    prompt,
  });
}

/** What the tuning's method leaves of its parameters, as the matrix that is pruned. */
async function rowsOf(model: Model, { method, form }: PrunedMethod, parameters: Parameters): Promise<Tensor> {
  if (method.leaves === undefined) return form.join(parameters);
  const tuner = await withMethod(model, method);
  try {
    return form.join(await (await tuner.engine.left()).run(parameters));
  } finally {
    await tuner.close();
  }
}

/** The hint how to continue a stopped search. */
function searchHint(folder: string): string {
  const begun = existsSync(join(folder, fileNames.search));
  return begun ? resumeHint("prune", folder) : "start it again: nothing was trained yet";
}

type Given = OptionValues<typeof pruneTuneOptions>;
type Options = Given & { readonly init: InitKind };

/** Options as they take effect, and as they are recorded. */
function resolved(options: Given): Given {
  return unseenValidation(withPlannedSteps(options), options.holdout);
}

/** The two trainings behind the schedules. */
function trainingsOf(data: Dataset, options: Options) {
  const { retrainSchedule } = options;
  // sizes, stages and budget belong to --schedule; the retrainings use them only if they have the same schedule
  const own =
    retrainSchedule === options.schedule || retrainSchedule === "custom" ? {} : presetSchedule(retrainSchedule);
  return searchTrainings(data, options, options, { ...options, ...own, schedule: retrainSchedule });
}

const { virtualTokens, seed } = pruneTuneOptions;
/** What opens a method. */
const withLength = { ...methodOptions, virtualTokens, seed };

/** The search with its schedules in outline. @throws SoftpromptError as the schedules and the start prompt do. */
async function outlineOf(model: Model, data: Dataset, options: Options, pruned: PrunedMethod): Promise<SearchOutline> {
  const { seen, tuned, retrained } = trainingsOf(data, options);
  const { engine } = pruned;
  return {
    engine,
    ...(engine !== model.engine && { method: pickOptions(withLength, options) as MethodChoice }),
    tokenizer: model.tokenizer,
    task: data.task,
    train: data.train,
    validation: data.validation,
    schedule: outlineFor(model, seen, tuned),
    retrainSchedule: outlineFor(model, seen, retrained),
    prompt: await rowsOf(model, pruned, await startOf(model, data, options, pruned)),
    settings: pickOptions(trainOptions, options) as TrainSettings,
    options: pickOptions(pruneOptions, options) as PruneOptions,
  };
}

/** @param lock of the folder that keeps it; null keeps nothing */
async function search(
  model: Model,
  data: Dataset,
  options: Options,
  pruned: PrunedMethod,
  outline: SearchOutline,
  lock: FolderLock | null,
  { onEvent: observe = () => {}, signal, resume = false, configText }: PruneContext,
): Promise<Pruned> {
  const folder = lock?.folder ?? null;
  await sayMemory(model, data, options, observe);
  await sayRate(model, options, observe);
  const trainings = trainingsOf(data, options);
  const weights = await model.checkpoint.sha256();
  // the rows that will be reported
  const validation = reportedRows(data.validation, options);
  const { baseline, cost: before } = await baselines(model, { ...data, validation }, options, {
    observe,
    signal,
    folder,
  });
  const [tuning, retraining] = await withFolder(folder, async (kept) => {
    const plan = (own: Options) => {
      sayScoring(own, observe);
      return scheduleFor(model, trainings.seen, own, { folder: kept, signal });
    };
    // the second plan reads back the neuron scores of the first
    return [await plan(trainings.tuned), await plan(trainings.retrained)] as const;
  });
  const { schedule } = tuning;
  const source = { model, data, options, pruned, outline: { ...outline, schedule } };
  const tuned = options.from === undefined ? null : await tunedBy(options.from, source);
  const nothing = { flops: 0, seconds: 0 };
  const neurons = {
    tuning: tuning.scoring ?? nothing,
    retraining: scoringBeside(retraining, tuning),
  };
  if (tuned === null) {
    const [first] = schedule.stages;
    const steps = schedule.stages.length === 1 ? options.steps : first.steps;
    sayTexts(model, trainings.seen, options, { steps, partial: first.partial }, observe);
  }
  const isPrompt = pruned.form.method.key === promptTuning.key;
  const asks = options.baselines && isPrompt && tuned === null && !signal?.aborted;
  const asked = asks ? await sayStart(model, trainings.seen, options, outline.prompt, observe) : nothing;
  const result = await xprompt({
    ...outline,
    schedule,
    retrainSchedule: retraining.schedule,
    ...(tuned && { tuned }),
    run: folder,
    ...(lock && { lock }),
    resume,
    files: configText === undefined ? {} : { [fileNames.config]: configText },
    observe,
    signal,
    neurons,
  });
  await refuseChangedModel(model, weights);
  const { best } = result;
  const final = await finalEvaluation(
    { ...model, engine: pruned.engine },
    { ...data, validation },
    options,
    { prompt: best.prompt },
    {
      observe,
      signal,
      // the retrainings were scored on these rows, or the report was
      reading: readingOf(pruned.engine, { ...trainings.seen, known: true }, model.tokenizer, options),
    },
  );
  const predictions = final?.predictions ?? [];
  const ended = { scores: result.reported.best as Scores, majority: baseline.majority, predictions };
  for (const message of outcomeWarnings(ended)) observe({ kind: "warning", message });
  const found: Found = {
    method: isPrompt ? "xprompt" : `xprompt-${pruned.method.name}`,
    schedule,
    start: outline.prompt,
    ...adapterContent(model.checkpoint.config, options, pruned.method, pruned.form.part(best.prompt)),
    mask: ownMask(best),
    scores: result.reported.best as Scores,
    rows: result.selection.reportedRows,
  };
  const adapter = await tunedAdapter(model, data, options, found, final !== null);
  const record: PruneResult = {
    ...runRecord(model, data, options, found, {
      // of the chosen candidate's retraining
      run: { reason: "search", steps: best.steps, bestStep: best.bestStep },
      baseline,
      cost: {
        ...costOf(result, [before, asked, final ?? { flops: 0, seconds: 0 }], data.seconds),
        trainedParameters: best.counts.parameters,
        adapterBytes: keepAdapter(folder, adapter),
      },
      weights,
    }),
    search: searchSummary(result, selectionName(data.task)),
  };
  if (folder === null) return { result, record, adapter, predictions, folder, report: null };
  writeRecord((name, content) => writeFileAtomic(join(folder, name), content), record, predictions);
  const report = await writeReport(folder, { tensorboard: options.tensorboard });
  return { result, record, adapter, predictions, folder, report };
}

/** The tuning that a finished run must have done, for its method's engine. */
async function tuningInput(
  engine: Model["engine"],
  { model, data, options, pruned, outline }: SourceFor,
): Promise<Omit<TrainInput, "run">> {
  const { rows, selection, rewind } = planSearch(outline);
  return {
    ...outline,
    engine,
    parameters: await startOf(model, data, options, pruned),
    train: rows,
    validation: selection,
    mask: null,
    observe: () => {},
    keep: rewind.keep,
    ...(pruned.heard.signal && { signal: pruned.heard.signal }),
  };
}

/** What a search is made for that takes its tuning from a run. */
interface SourceFor {
  readonly model: Model;
  readonly data: Dataset;
  readonly options: Options;
  readonly pruned: PrunedMethod;
  readonly outline: SearchOutline;
}

/**
 * Checks, before anything is scored, that the run has done the tuning of this search. @throws SoftpromptError "run": the rows are held out,
 * it is not finished, or something that determines its result has changed.
 */
async function checkSource(folder: string, source: SourceFor): Promise<void> {
  const { model, pruned, outline } = source;
  if (planSearch(outline).heldOut)
    throw new SoftpromptError("run", "the run was tuned on the rows that would be held out", {
      where: folder,
      expected: "no --holdout with --from",
      got: `--holdout ${outline.options.holdout}`,
      hint: "leave one of them out",
    });
  refuseUnfinished(folder, resumeHint("train", folder));
  const tuner = await withMethod(model, pruned.method);
  try {
    await refuseChangedInputs(folder, await tuningInput(tuner.engine, source));
  } finally {
    await tuner.close();
  }
}

/**
 * Takes the tuning from a run that has done it, instead of repeating it. The trainer makes no step in a finished run, and refuses it if
 * anything that determines its result has changed.
 */
async function tunedBy(folder: string, source: SourceFor): Promise<Tuned> {
  const { model, pruned, outline } = source;
  const tuner = await withMethod(model, pruned.method);
  try {
    const run = openFinished(folder, resumeHint("train", folder));
    const result = await tuningInput(tuner.engine, source)
      .then((input) => train({ ...input, run }))
      .finally(run.close);
    const asRows = async (parameters: Parameters) => ({ prompt: await rowsOf(model, pruned, parameters) });
    const best = result.bestOnFull ?? result.best;
    const kept = new Map<number, Parameters>();
    for (const [step, parameters] of result.kept) kept.set(step, await asRows(parameters));
    const own = { ...best, parameters: await asRows(best.parameters) };
    return tunedFrom(outline.prompt, { ...result, best: own, bestOnFull: null, kept }, outline.task);
  } finally {
    await tuner.close();
  }
}

/** Sum over reading, tuning, control and every candidate, the scores that they needed, and the evaluations before and after. */
function costOf(
  { tuned, control, candidates, cost }: XPromptResult,
  evaluations: readonly Pick<Evaluation, "flops" | "seconds">[],
  readSeconds = 0,
) {
  const trained = [tuned.cost, control.cost, ...candidates.map((candidate) => candidate.cost)];
  const sum = (key: keyof CandidateCost) => trained.reduce((all, of) => all + of[key], 0);
  const beside = {
    flops: evaluations.reduce((all, { flops }) => all + flops, 0),
    seconds: evaluations.reduce((all, { seconds }) => all + seconds, 0),
  };
  return {
    flops: cost.total + beside.flops,
    trainFlops: sum("trainFlops"),
    evalFlops: sum("evalFlops") + cost.reporting + beside.flops,
    paperFlops: sum("paperFlops"),
    scoringFlops: cost.neurons + cost.retrainNeurons + cost.scoring,
    seconds: readSeconds + cost.seconds + beside.seconds,
    readSeconds,
    trainSeconds: sum("trainSeconds"),
    evalSeconds: sum("evalSeconds") + cost.reportingSeconds + beside.seconds,
    scoringSeconds: cost.seconds - cost.reportingSeconds - sum("seconds"),
    openSeconds: sum("seconds") - sum("trainSeconds") - sum("evalSeconds"),
    perStage: [],
  };
}
