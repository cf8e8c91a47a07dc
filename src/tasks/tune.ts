/**
 * @file One tuning from beginning to end: baselines, start prompt, schedule, training, scores, adapter, result, report.
 *
 * In: Model, Dataset, options. Out: Tuned, and where a folder is given a run folder with everything in it. The command line's
 * `train` and `quickstart` and the library's `tune` are this one function.
 */
import { existsSync } from "node:fs";
import { join } from "node:path";
import { z } from "zod";
import type { Adapter } from "../adapter/types.js";
import { interrupted, SoftpromptError } from "../base/errors.js";
import { sha256 } from "../base/files.js";
import { kept as keptIn } from "../base/kept.js";
import { readOptions } from "../base/options.js";
import { random } from "../base/random.js";
import type { Parameters, Tensor } from "../base/tensor.js";
import { withoutColumns } from "../data/define.js";
import type { Dataset } from "../data/row.js";
import { checkPromptTokens } from "../data/template.js";
import { beginningsOf } from "../engine/flops.js";
import {
  type Evaluation,
  evaluate,
  evaluatePrepared,
  evaluationOptions,
  majorityBaseline,
  type Prediction,
  prepareEvaluation,
  type Reading,
  type RowProgress,
  type RowsEvent,
  reportedRows,
  rowsEvent,
  scoredRows,
} from "../evaluate/evaluate.js";
import type { PromptMask } from "../method/mask.js";
import type { Method } from "../method/method.js";
import { type MethodKind, methods, openMethod } from "../method/methods.js";
import { promptTuning } from "../method/prompt.js";
import { fullModel } from "../model/partial.js";
import { roundingFacts } from "../model/quantise.js";
import { outcomeWarnings } from "../report/outcome.js";
import { openRun, refuseChangedInputs } from "../run/folder.js";
import { fileNames } from "../run/layout.js";
import type { RunResult, Scores } from "../run/result.js";
import { needsLayerOrder, needsNeuronScores, withPlannedSteps } from "../schedule/schedule.js";
import { encodeRows } from "../text/rows.js";
import { stepsPerEpoch } from "../train/order.js";
import { train } from "../train/trainer.js";
import type { TrainEvent, TrainResult } from "../train/types.js";
import { adapterContent } from "./adapter-content.js";
import { type CallContext, type EarlierContext, type NoticeEvent, oneObject, splitCall } from "./call.js";
import { answersFor, datasetOf, type RowsOptions } from "./data.js";
import { followEvents, hasEventFile } from "./event-file.js";
import { sayRate, withOwnRate } from "./learning-rate.js";
import { sayMemory } from "./memory-warning.js";
import { type Model, withMethod } from "./model.js";
import { type FormerTuneOptions, type TuneOptions, tuneOptions } from "./options.js";
import { checkEffect, checkPlaceOf, outlineFor, scheduleFor, startPrompt, withInit } from "./planning.js";
import { forPrompt, isChat } from "./readied.js";
import { type Found, keepAdapter, runRecord, tunedAdapter, writeRecord } from "./record.js";
import { writeReport } from "./run-report.js";
import { resumeHint } from "./shell.js";
import { sayStart } from "./start.js";
import { sayTexts } from "./texts.js";

/** Events of a tuning: the trainer's, and those of the work around it. */
export type TuneEvent = TrainEvent | WorkEvent;

/** Events of the work around a training or a search. */
export type WorkEvent =
  | { readonly kind: "baseline"; readonly name: "majority" | "no prompt"; readonly scores: Scores }
  | { readonly kind: "work"; readonly what: string }
  /** Progress of the current evaluation, or of the reading of texts. */
  | (RowsEvent & { readonly what?: "texts" })
  /** A warning that does not stop the work. */
  | { readonly kind: "warning"; readonly message: string };

/**
 * Context of a tuning. Aborting `signal` finishes the step, saves, and returns with reason "interrupted". Before and after the training an
 * abort throws "interrupted".
 */
export interface TuneContext extends CallContext<TuneEvent> {
  /** Go on with the run in `output`; refused when anything that decides the result changed. Default false. */
  readonly resume?: boolean | undefined;
  /**
   * With `resume`: `steps` may be more than the run was begun with. Refused, before anything is written, where the run would not become
   * what it would have been with so many steps from the start; `configText` replaces the old one. Default false.
   */
  readonly further?: boolean | undefined;
  /** Start prompt that replaces `init`, e.g. of another tuning. */
  readonly prompt?: Tensor | undefined;
  /** Entries of the prompt that live; the others stay zero. Default all. */
  readonly mask?: PromptMask | undefined;
  /** Written into the run folder as config.yaml, because the command line has more options than this room. */
  readonly configText?: string | undefined;
}

/** One object for a tuning: any of tuneOptions, and its context. */
export type TuneInput = Partial<TuneOptions> & FormerTuneOptions & TuneContext;

const contextKeys = ["onEvent", "signal", "resume", "further", "prompt", "mask", "configText"] as const;

/** A finished (or interrupted) tuning. */
export interface Tuned {
  readonly result: RunResult;
  readonly training: TrainResult;
  /** The prompt that is kept: the best on the full model, or the last where nothing was evaluated. */
  readonly adapter: Adapter;
  /** Predictions of the kept prompt for the validation rows. */
  readonly predictions: readonly Prediction[];
  /** Run folder; null when nothing was written. */
  readonly folder: string | null;
  /** Path of report.html; null without a folder. */
  readonly report: string | null;
}

/** What a tuning and a search have in common. */
export type BaseOptions = Omit<TuneOptions, "tensorboard" | "output">;

/**
 * Tunes a soft prompt.
 *
 * @param source a Dataset, or rows of the program with their template.
 * @param input any of tuneOptions, by name, with `onEvent` and `signal` beside them; defaults fill the rest. Without `output` nothing is
 *   written.
 * @throws SoftpromptError as the rooms do; "interrupted" while the frozen model or the kept prompt is scored: what was done is
 *   kept, and a resume goes on. An interruption of the training itself is no error (reason "interrupted").
 */
export async function tune(
  opened: Model,
  source: Dataset | RowsOptions,
  input: TuneInput = {},
  earlier?: EarlierContext,
): Promise<Tuned> {
  const { options: given, context } = splitCall<TuneContext>(oneObject(input, earlier, "tune"), contextKeys);
  const asked = withPlannedSteps(readOptions(tuneOptions, await withOwnRate(given, opened.checkpoint), "tune()"));
  checkResume("tune()", context, asked.output);
  if (context.prompt !== undefined) checkStart(context.prompt, asked);
  // a start prompt that is given has its own length, for which everything is planned
  const planned = { ...asked, virtualTokens: context.prompt?.shape[0] ?? asked.virtualTokens };
  const { onEvent: observe = () => {}, signal, resume = false, further = false } = context;
  const began = performance.now();
  const model = forPrompt(opened, planned.virtualTokens);
  const read = await datasetOf(source, observe);
  const data = answersFor(read, model, planned);
  checkPromptTokens(data.task.template, planned.virtualTokens, data.promptTokens);
  const method = openMethod(planned);
  checkPlaceOf(method, data, model, planned);
  const options = withInit(planned, data, model);
  // a run that goes on has its options from when it began
  if (!resume) checkEffect(options);
  if (data.train.length === 0)
    throw new SoftpromptError("data", "there are no training rows", {
      where: data.task.name,
      expected: "at least one labelled row in the training split",
    });
  const folder = options.output ?? null;
  const validation = reportedRows(data.validation, options);
  // everything that can be checked without running the model is checked before a folder is claimed or anything is scored
  const plan = { ...options, trains: method };
  const outline = outlineFor(model, data, plan);
  await sayMemory(model, data, options, observe);
  await sayRate(model, options, observe);
  // equal seeds give every method the same prompt to start from
  let drawn: Promise<Tensor> | undefined;
  const prompt = () => {
    drawn ??=
      context.prompt === undefined
        ? startPrompt(model, data, options, { onEvent: asWarning(observe), signal })
        : Promise.resolve(context.prompt);
    return drawn;
  };
  if (context.mask !== undefined && !method.prunable) throw notPrunable(method, "a mask", [promptTuning.name]);
  const parameters = await method.start({
    checkpoint: model.checkpoint,
    random: random(options.seed, `start ${method.name}`),
    prompt,
  });
  const tuner = await withMethod(model, method);
  const readSeconds = (read === source ? (read.seconds ?? 0) : 0) + (performance.now() - began) / 1000;
  const evalEvery = options.evalEvery || stepsPerEpoch(data.train.length, options.batchSize);
  const longer = further ? { evalEvery } : undefined;
  const run =
    folder === null
      ? null
      : openRun(folder, {
          resume,
          longer,
          follow: options.tensorboard || hasEventFile(folder) ? followEvents : undefined,
          files: context.configText === undefined ? {} : { [fileNames.config]: context.configText },
        });
  try {
    const weights = await model.checkpoint.sha256();
    const job = {
      engine: tuner.engine,
      tokenizer: model.tokenizer,
      task: data.task,
      train: data.train,
      validation: data.validation,
      parameters,
      mask: context.mask ?? null,
      schedule: outline,
      settings: options,
      observe,
      signal,
    };
    if (folder !== null && resume) await refuseChangedInputs(folder, job, longer);
    const { baseline, cost: bare } = await baselines(model, { ...data, validation }, options, {
      observe,
      signal,
      folder,
    });
    sayScoring(options, observe);
    const { schedule, scoring } = await scheduleFor(model, data, plan, { folder, signal });
    const scored = scoring ?? { flops: 0, seconds: 0 };
    const [first] = schedule.stages;
    const steps = schedule.stages.length === 1 ? options.steps : first.steps;
    sayTexts(model, data, options, { steps, partial: first.partial }, observe);
    const asks = options.baselines && method.key === promptTuning.key && job.mask === null && !signal?.aborted;
    const asked = asks ? await sayStart(model, data, options, await prompt(), observe) : { flops: 0, seconds: 0 };
    const before = { flops: bare.flops + asked.flops, seconds: bare.seconds + asked.seconds };
    const training = await train({ ...job, schedule, run, flopsBefore: scored.flops + before.flops });
    const kept = training.bestOnFull ?? { parameters: training.last, step: training.steps, scores: {} };
    const left = method.leaves === undefined ? kept.parameters : await (await tuner.engine.left()).run(kept.parameters);
    const what = adapterContent(model.checkpoint.config, options, method, left);
    await refuseChangedModel(model, weights);
    const runner = method.leaves === undefined ? tuner : await withMethod(model, method.leaves.method);
    // both are drawn in the same way, so equal counts mean that the training has scored these rows, and read their texts
    const again = training.bestOnFull !== null && scoredRows(data.validation, options).length === validation.length;
    const reading = readingOf(runner.engine, { ...data, known: again && runner === tuner }, model.tokenizer, options);
    const final =
      training.reason === "interrupted"
        ? null
        : await finalEvaluation(runner, { ...data, validation }, options, left, { observe, signal, reading }).finally(
            () => (runner === tuner ? undefined : runner.close()),
          );
    const evaluated = {
      flops: before.flops + training.cost.evalFlops + (final?.flops ?? 0),
      seconds: before.seconds + training.cost.evalSeconds + (final?.seconds ?? 0),
    };
    const found: Found = {
      method: method.key === promptTuning.key ? "prompt-tuning" : method.name,
      schedule,
      start: await prompt(),
      ...what,
      mask: context.mask ?? null,
      scores: (final?.scores ?? kept.scores) as Scores,
      rows: validation.length,
    };
    const adapter = await tunedAdapter(model, data, options, found, final !== null);
    // a finished run that is being made longer keeps its adapter beside its result; the snapshot has the state to go on from
    const stays = training.reason === "interrupted" && folder !== null && existsSync(join(folder, fileNames.result));
    const { trainFlops, paperFlops, recomputedFlops, trainSeconds, openSeconds, perStage } = training.cost;
    const result = runRecord(model, data, options, found, {
      run: { reason: training.reason, steps: training.steps, bestStep: kept.step },
      baseline,
      cost: {
        flops: trainFlops + evaluated.flops + scored.flops,
        trainFlops,
        evalFlops: evaluated.flops,
        paperFlops,
        ...(recomputedFlops !== undefined && { recomputedFlops }),
        scoringFlops: scored.flops,
        seconds: readSeconds + trainSeconds + openSeconds + evaluated.seconds + scored.seconds,
        trainSeconds,
        evalSeconds: evaluated.seconds,
        scoringSeconds: scored.seconds,
        readSeconds,
        openSeconds,
        perStage,
        trainedParameters: countOf(parameters),
        adapterBytes: keepAdapter(stays ? null : folder, adapter),
      },
      weights,
    });
    const predictions = final?.predictions ?? [];
    const { history: evaluations, reason } = training;
    const ended = { scores: found.scores, majority: baseline.majority, predictions, reason, evaluations };
    for (const message of outcomeWarnings(ended)) observe({ kind: "warning", message });
    let report: string | null = null;
    if (run !== null && training.reason !== "interrupted") {
      writeRecord(run.write, result, predictions);
      report = await writeReport(run.folder, { tensorboard: options.tensorboard });
    }
    return { result, training, adapter, predictions, folder, report };
  } catch (error) {
    if (folder === null || !(error instanceof SoftpromptError) || error.kind !== "interrupted") throw error;
    // before its first step a longer run is not known to be one
    const hint = resumeHint("train", folder, further ? ` --steps ${options.steps}` : "");
    throw interrupted(signal, error.problem, { ...error.parts, hint });
  } finally {
    run?.close();
    await tuner.close();
  }
}

/** What goes on is a folder's run: without one it would begin anew. @throws SoftpromptError "usage" */
export function checkResume(
  call: string,
  { resume = false, further = false }: Partial<Pick<TuneContext, "resume" | "further">>,
  output: string | undefined,
): void {
  if (further && !resume)
    throw new SoftpromptError("usage", "further has no effect here", {
      where: call,
      expected: "resume as well: a finished run is made longer",
      got: "resume false",
    });
  if (resume && output === undefined)
    throw new SoftpromptError("usage", "there is nothing to resume", {
      where: call,
      expected: "output, the folder of the run that goes on",
      got: "no output",
    });
}

/** A start prompt must be what the method starts from, and as long as was asked for. @throws SoftpromptError "usage" */
function checkStart({ shape: [length] }: Tensor, { method, virtualTokens }: BaseOptions): void {
  const kind: MethodKind = methods[method];
  const where = "tune(): prompt";
  if (kind.ownStart)
    throw new SoftpromptError("usage", "a start prompt has no effect here", {
      where,
      expected: "a method that starts from a prompt",
      got: `method ${method}`,
      hint: "leave prompt out",
    });
  // a value that is the default says nothing
  if (virtualTokens !== length && virtualTokens !== tuneOptions.virtualTokens.default)
    throw new SoftpromptError("usage", "the start prompt is not as long as virtualTokens says", {
      where,
      expected: `${virtualTokens} virtual tokens`,
      got: `${length}`,
      hint: "leave virtualTokens out: a start prompt brings its length",
    });
}

/** Notices as events of a tuning or a search: warnings. */
export function asWarning(observe: (event: WorkEvent) => void): (event: NoticeEvent) => void {
  return ({ message }) => observe({ kind: "warning", message });
}

const countOf = (parameters: Parameters) => Object.values(parameters).reduce((sum, { data }) => sum + data.length, 0);

/** The error for a method whose parameters cannot be pruned. @param can names of those that can. Default those that a search can prune */
export function notPrunable(
  { name, leaves }: Method,
  what: string,
  can: readonly string[] = Object.entries(methods).flatMap(([other, kind]) => (kind.prunable ? [other] : [])),
): SoftpromptError {
  return new SoftpromptError("usage", `${what} needs a method whose parameters can be pruned`, {
    where: "method",
    expected: can.join(", "),
    got: name,
    ...(leaves?.method.prunable && {
      hint: "the prompt that it leaves can be pruned: --init fromPrompt --init-from RUN tunes and prunes it as a prompt",
    }),
  });
}

/**
 * Checks that the frozen weights are unchanged. @param weights sha256 before the run @throws SoftpromptError(checkpoint) if it has changed
 */
export async function refuseChangedModel({ checkpoint }: Model, weights: string): Promise<void> {
  const after = await checkpoint.sha256({ fresh: true });
  if (after === weights) return;
  throw new SoftpromptError("checkpoint", "the frozen model's files changed during the run", {
    where: checkpoint.folder,
    expected: `sha256 ${weights}`,
    got: `sha256 ${after}`,
    hint: "somebody else wrote to them; the run cannot be trusted",
  });
}

/** The frozen model's score and its cost, as kept in the run folder. */
const scoreForm = z.object({ scores: z.record(z.string(), z.number()), flops: z.number(), seconds: z.number() });

/**
 * Majority class (no model is run) and the frozen model without a prompt (one evaluation), on the validation rows of `data`; and what
 * that cost.
 */
export async function baselines(
  model: Model,
  data: Pick<Dataset, "task" | "train" | "validation">,
  options: BaseOptions,
  {
    observe = () => {},
    signal,
    folder = null,
  }: {
    readonly signal?: AbortSignal | undefined;
    readonly observe?: (event: WorkEvent) => void;
    /** Where the frozen model's score is kept for a resume; null keeps nothing. */
    readonly folder?: string | null;
  },
): Promise<{ readonly baseline: RunResult["baseline"]; readonly cost: Pick<Evaluation, "flops" | "seconds"> }> {
  const nothing = { flops: 0, seconds: 0 };
  if (data.validation.length === 0) return { baseline: { majority: null, noPrompt: null }, cost: nothing };
  const majority = majorityBaseline(data.task, data.train, data.validation).scores as Scores;
  observe({ kind: "baseline", name: "majority", scores: majority });
  if (!options.baselines) return { baseline: { majority, noPrompt: null }, cost: nothing };
  const { engine, tokenizer, checkpoint } = model;
  const { device, lowMemory, plainOps } = engine.options;
  const facts = {
    version: 1,
    model: await checkpoint.sha256(),
    config: checkpoint.config,
    tokenizer: tokenizer.sha256,
    chat: isChat(model),
    engine: { device, lowMemory, plainOps, ...roundingFacts(engine) },
    task: withoutColumns(data.task),
    rows: data.validation,
    options: evaluationOptions(options),
  };
  const path = folder === null ? null : join(folder, fileNames.noPrompt);
  const form = { read: (body: unknown) => scoreForm.safeParse(body).data ?? null };
  const { value: bare } = await keptIn(path, sha256(JSON.stringify(facts)), form, async () => {
    observe({ kind: "work", what: "scoring the frozen model without a prompt" });
    const full = fullModel(checkpoint.config);
    const settings = evaluateOptions(options, { observe, signal });
    const found = await evaluate(engine, full, tokenizer, data.task, data.validation, null, settings);
    return { scores: found.scores as Scores, flops: found.flops, seconds: found.seconds };
  });
  observe({ kind: "baseline", name: "no prompt", scores: bare.scores });
  return { baseline: { majority, noPrompt: bare.scores }, cost: bare };
}

/** What the last evaluation need not read again, as the trainer counts its own. @param known the training or the search has scored its rows */
export function readingOf(
  engine: Model["engine"],
  { task, train, known }: Pick<Dataset, "task" | "train"> & { readonly known: boolean },
  tokenizer: Model["tokenizer"],
  options: BaseOptions,
): Reading {
  const { texts } = engine;
  const encoded = encodeRows(task, train, tokenizer, options.maxInputTokens);
  return { textsKnown: known && texts !== null, together: texts === null, beginnings: beginningsOf(encoded) };
}

/** Evaluates the kept prompt on the validation rows of `data`, with its prediction for each. */
export async function finalEvaluation(
  { engine, tokenizer, checkpoint }: Pick<Model, "engine" | "tokenizer" | "checkpoint">,
  { task, validation }: Pick<Dataset, "task" | "validation">,
  options: BaseOptions,
  parameters: Parameters,
  {
    observe = () => {},
    signal,
    reading,
  }: {
    readonly signal?: AbortSignal | undefined;
    readonly observe?: (event: WorkEvent) => void;
    readonly reading: Reading;
  },
): Promise<Evaluation | null> {
  if (validation.length === 0) return null;
  observe({ kind: "work", what: `scoring the kept prompt on ${validation.length} validation rows` });
  const full = fullModel(checkpoint.config);
  const { progress, ...how } = evaluateOptions(options, { observe, signal });
  const prepared = prepareEvaluation(tokenizer, task, validation, how);
  const found = await evaluatePrepared(engine, full, tokenizer, prepared, parameters, signal, progress, reading);
  if (found === null) throw interrupted(signal, "stopped before every row was scored", { where: task.name });
  return found;
}

/** All rows of the data, in passes of the training's evaluation size, so that memory suffices here too. */
function evaluateOptions(
  options: BaseOptions,
  { observe, signal }: { readonly observe: (event: WorkEvent) => void; readonly signal?: AbortSignal },
) {
  const progress: RowProgress = (...rows) => observe(rowsEvent(...rows));
  return { ...evaluationOptions(options), signal, progress };
}

/** Reports that neurons will be scored or layers chosen, if the schedule needs it. */
export function sayScoring(options: BaseOptions, observe: (event: WorkEvent) => void): void {
  if (needsNeuronScores(options)) observe({ kind: "work", what: "scoring neurons for the partial models" });
  if (needsLayerOrder(options)) observe({ kind: "work", what: "choosing the layers of the partial models" });
}
