/**
 * @file One training of a study: makes its schedule and start prompt, runs it or reads it back, and keeps the data for the tables.
 *
 * In: StudyInput, a task, a seed, schedule options. Out: FinishedRun. Every run of one (task, seed) starts from the same
 * prompt, whatever its schedule (fpt.md §2), so that methods are compared pairwise.
 */

import { adapterBase, saveAdapter } from "../adapter/adapter.js";
import type { Adapter } from "../adapter/types.js";
import { interrupted, SoftpromptError } from "../base/errors.js";
import { ownFolder, withFolder } from "../base/files.js";
import { currentNames, type OptionValues } from "../base/options.js";
import { random } from "../base/random.js";
import type { Parameters, Tensor } from "../base/tensor.js";
import { type Scores, selectionScore } from "../data/metrics.js";
import type { Dataset, Task } from "../data/row.js";
import { checkPromptTokens } from "../data/template.js";
import { type Engine, openEngine } from "../engine/engine.js";
import { reportedRows, scoredRows } from "../evaluate/evaluate.js";
import type { InitSpec } from "../method/init.js";
import { openMethod } from "../method/methods.js";
import type { MethodChoice, methodOptions } from "../method/options.js";
import { promptTuning } from "../method/prompt.js";
import type { Checkpoint } from "../model/checkpoint.js";
import type { NeuronScoreOptions, ScoringCost } from "../schedule/neuron-scores.js";
import type { ScheduleOptions } from "../schedule/options.js";
import { presetSchedule } from "../schedule/options.js";
import { adapterContent } from "../tasks/adapter-content.js";
import { writeEvaluations } from "../tasks/event-file.js";
import { checkPlaceOf, drawPrompt, outlineFor, type PlannedOptions, scheduleFor } from "../tasks/planning.js";
import type { Tokenizer } from "../text/tokenizer.js";
import { identityOf } from "../train/identity.js";
import { train } from "../train/trainer.js";
import type { Chosen, HistoryEntry, TrainEvent, TrainInput, TrainResult, TrainSettings } from "../train/types.js";
import { fileName, keptRun } from "./kept-runs.js";
import { forecast, type RunsLeft } from "./left.js";
import type { SeedScore } from "./study.js";

/** What every study needs; the caller owns the engine. */
export interface StudyInput {
  readonly engine: Engine;
  readonly tokenizer: Tokenizer;
  /** Loaded and, where wanted, already cut to fewer rows. */
  readonly tasks: readonly Dataset[];
  readonly seeds: readonly number[];
  /** `seed` is replaced by each of `seeds`. */
  readonly settings: TrainSettings;
  /** Steps, layer and neuron choice, growth; the study fills in the schedule itself. */
  readonly schedule: ScheduleOptions;
  /** P */
  readonly virtualTokens: number;
  /** @deprecated virtualTokens */
  readonly promptLength?: number;
  readonly init: InitSpec;
  readonly scoring: NeuronScoreOptions;
  /** Finished runs and neuron scores are kept here, so that a study can be interrupted; null keeps nothing. */
  readonly folder: string | null;
  readonly observe: (event: StudyEvent) => void;
  readonly signal?: AbortSignal;
}

/** What a study of FPT's tells while it goes. */
export type StudyEvent =
  | { kind: "run"; index: number; total: number; task: string; seed: number; label: string; left: RunsLeft }
  | {
      kind: "done";
      index: number;
      total: number;
      /** Of what ends in a process of its own, among others. */
      label?: string;
      /** NaN where it failed. */
      score: number;
      seconds: number;
      /** It was finished before, and read back. */
      kept?: true;
      /** Of a learning rate that was tried: what went wrong with its training; else absent. The study goes on. */
      failed?: string;
    }
  | { kind: "train"; event: TrainEvent };

/** A finished training. */
export interface FinishedRun {
  readonly label: string;
  readonly task: string;
  readonly seed: number;
  /** [P, D] the common start. */
  readonly start: Tensor;
  readonly result: Omit<TrainResult, "kept">;
  /** Neuron scores' cost, counted where the schedule needed them; null where it did not. */
  readonly scoring: ScoringCost | null;
  /** For a variant with a method: how much was trained, and the size of the result. Its parameters are not kept. */
  readonly size?: MethodSize;
}

/** A trial whose numbers went wrong: what is kept of it. */
export interface FailedRun {
  /** What went wrong. */
  readonly failed: string;
  /** Until then, without neuron scores. */
  readonly cost: { readonly flops: number; readonly seconds: number };
}

/** How much a method trains, and how large its result is. */
export interface MethodSize {
  /** Numbers trained. */
  readonly trained: number;
  /** Bytes of the adapter's files. */
  readonly adapterBytes: number;
}

/** One thing to run: a label for tables and how its schedule differs from the study's. */
export interface Variant {
  readonly label: string;
  readonly schedule: Partial<ScheduleOptions>;
  /** What is trained, and its settings. Default a prompt. */
  readonly method?: OptionValues<typeof methodOptions>;
  /** Settings of the training in which it differs from the study's. */
  readonly settings?: Partial<TrainSettings>;
  /** What its kept runs are filed under, so that an equal run of another label is found. Default its label. */
  readonly filedAs?: string;
}

/**
 * Works in the study's folder. A study that keeps nothing has a temporary one, so that its runs are read back by each other; where it is
 * stopped, no error says that they are kept.
 */
export async function withRuns<R>(
  { folder, signal }: Pick<StudyInput, "folder" | "signal">,
  use: (folder: string) => Promise<R>,
): Promise<R> {
  if (folder !== null) return use(folder);
  try {
    return await withFolder(null, use);
  } catch (error) {
    if (!(error instanceof SoftpromptError) || error.kind !== "interrupted") throw error;
    const { hint: _, ...parts } = error.parts;
    throw interrupted(signal, error.problem, parts);
  }
}

/** A program's input with its length under the name of this version. */
export function currentInput<I extends Pick<StudyInput, "virtualTokens">>(input: I, where: string): I {
  return currentNames(input, { promptLength: "virtualTokens" }, where);
}

/** @throws SoftpromptError "usage" where a seed is repeated: the same run would count twice, with a deviation of 0. */
export function checkSeeds(seeds: readonly number[]): void {
  const repeated = seeds.filter((seed, i) => seeds.indexOf(seed) !== i);
  if (seeds.length === 0 || repeated.length > 0)
    throw new SoftpromptError("usage", seeds.length === 0 ? "no seeds are given" : "a seed is given twice", {
      where: "seeds",
      expected: "one seed or more, each once",
      got: seeds,
      hint: "equal seeds give equal runs, which say nothing of the spread",
    });
}

/**
 * @throws SoftpromptError "usage" where two tasks have one name: tables and kept runs know a task by it; "data" where a task has no
 * validation rows: every score of a study is of them.
 */
export function checkTasks(tasks: readonly Dataset[]): void {
  const names = tasks.map(({ task }) => task.name);
  const repeated = names.find((name, i) => names.indexOf(name) !== i);
  if (repeated !== undefined)
    throw new SoftpromptError("usage", "two tasks have the same name", {
      where: "tasks",
      expected: "a name for each",
      got: repeated,
      hint: "give rows of your own a name with `task`",
    });
  const bare = tasks.filter(({ validation }) => validation.length === 0).map(({ task }) => task.name);
  if (bare.length > 0)
    throw new SoftpromptError("data", "a study reports scores of validation rows, and there are none", {
      where: bare.join(", "),
      expected: "one validation row or more for each task",
      got: 0,
      hint: "give validation rows, or a share of the training rows as such",
    });
}

/** @throws SoftpromptError "usage" where two variants have one label: tables and kept runs know a variant by it. */
function checkLabels(variants: readonly Variant[]): void {
  const labels = variants.map(({ label }) => label);
  const repeated = labels.find((label, i) => labels.indexOf(label) !== i);
  if (repeated !== undefined)
    throw new SoftpromptError("usage", "two variants have the same label", {
      where: "variants",
      expected: "a label for each",
      got: repeated,
      hint: `name them by what differs; ${vanilla.label} is prompt tuning on the full model`,
    });
}

/**
 * Whether a variant can be trained on a task; runs no model. One seed is enough: seeds differ only in a budget's typical shape, by the order
 * of the rows. @throws SoftpromptError "usage", "data", naming both
 */
export function checkVariant(input: StudyInput, dataset: Dataset, variant: Variant): void {
  const { checkpoint } = input.engine;
  const seed = input.seeds[0]!;
  try {
    checkPromptTokens(dataset.task.template, input.virtualTokens, dataset.promptTokens);
    const choice = choiceOf(input, variant, seed);
    if (choice !== undefined) {
      const method = openMethod(choice);
      checkPlaceOf(method, dataset, { checkpoint }, choice);
      // what this model has no place for is told here
      method.parameters(checkpoint.config);
    }
    outlineFor(input, dataset, planOptions(input, variant, seed));
  } catch (error) {
    throw named(error, `${variant.label} on ${dataset.task.name}`);
  }
}

/** An error of one run among many, saying which run. The end by a signal is that of all runs. */
export function named(error: unknown, what: string): unknown {
  if (!(error instanceof SoftpromptError) || error.kind === "interrupted") return error;
  return new SoftpromptError(error.kind, `${what}: ${error.problem}`, error.parts);
}

/** Prompt tuning on the full model; every table measures against it, under this label. */
export const vanilla: Variant = { label: "PT", schedule: presetSchedule("vanilla") };

/** Counts the steps that are trained: a run that ends without one was read back, however long that took. */
export function countingSteps<I extends Pick<StudyInput, "observe">>(input: I): { readonly input: I; steps(): number } {
  let steps = 0;
  const observe = (event: StudyEvent) => {
    if (event.kind === "train" && event.event.kind === "step") steps++;
    input.observe(event);
  };
  return { input: { ...input, observe }, steps: () => steps };
}

/**
 * Runs every variant on every task and seed, in an order that finishes whole (task, seed) groups first.
 * @throws SoftpromptError(usage, data) before the first run where a variant cannot be trained on a task, as checkVariant, or two have one
 * label; (interrupted) when the signal stops it: finished runs are kept.
 */
export async function runAll(given: StudyInput, variants: readonly Variant[]): Promise<FinishedRun[]> {
  const { input, steps } = countingSteps(given);
  checkSeeds(input.seeds);
  checkTasks(input.tasks);
  checkLabels(variants);
  for (const dataset of input.tasks) for (const variant of variants) checkVariant(input, dataset, variant);
  const all = input.seeds.flatMap(() =>
    input.tasks.flatMap(({ task }) => variants.map(({ label }) => ({ method: label, task: task.name }))),
  );
  const total = all.length;
  const { left, ended } = forecast(all);
  const runs: FinishedRun[] = [];
  for (const seed of input.seeds)
    for (const dataset of input.tasks)
      for (const variant of variants) {
        const index = runs.length;
        input.observe({ kind: "run", index, total, task: dataset.task.name, seed, label: variant.label, left: left() });
        const [begun, before] = [performance.now(), steps()];
        const run = await runOne(input, dataset, seed, variant);
        const kept = steps() === before;
        ended(index, kept ? null : (performance.now() - begun) / 1000);
        runs.push(run);
        const { cost } = run.result;
        const told = { score: finalScore(run, dataset), seconds: cost.seconds, ...(kept && { kept }) };
        input.observe({ kind: "done", index, total, ...told });
      }
  return runs;
}

/**
 * Trains one variant, or reads it back.
 * @param trial what a training on other rows than the task's own, of which some may fail, is told by: the folder of its evaluations is another
 * one. Where its numbers go wrong, that is its outcome, kept like a result
 * @throws SoftpromptError as train, naming the run
 */
export async function runOne(input: StudyInput, dataset: Dataset, seed: number, variant: Variant): Promise<FinishedRun>;
export async function runOne(
  input: StudyInput,
  dataset: Dataset,
  seed: number,
  variant: Variant,
  trial: string,
): Promise<FinishedRun | FailedRun>;
export async function runOne(
  input: StudyInput,
  dataset: Dataset,
  seed: number,
  variant: Variant,
  trial?: string,
): Promise<FinishedRun | FailedRun> {
  try {
    return await trainedOrKept(input, dataset, seed, variant, trial);
  } catch (error) {
    throw named(error, `${variant.label} on ${dataset.task.name}, seed ${seed}`);
  }
}

async function trainedOrKept(
  input: StudyInput,
  dataset: Dataset,
  seed: number,
  variant: Variant,
  trial: string | undefined,
): Promise<FinishedRun | FailedRun> {
  const { tokenizer } = input;
  const { task } = dataset;
  const start = await startPrompt(input, seed);
  const { schedule, scoring } = await scheduleFor(input, dataset, planOptions(input, variant, seed), input);
  const { checkpoint, options } = input.engine;
  const { settings } = variant;
  const choice = choiceOf(input, variant, seed);
  const method = choice === undefined ? promptTuning : openMethod(choice);
  const parameters =
    choice === undefined
      ? { prompt: start }
      : await method.start({ checkpoint, random: random(seed, `start ${method.name}`), prompt: async () => start });
  const own = method.key === input.engine.method.key ? null : openEngine(checkpoint, options, method);
  const engine = own ?? input.engine;
  const before = scoring?.flops ?? 0;
  const spent = meter(before);
  const training: TrainInput = {
    engine,
    tokenizer,
    task,
    train: dataset.train,
    validation: dataset.validation,
    parameters,
    mask: null,
    schedule,
    settings: { ...input.settings, ...settings, seed },
    run: null,
    observe: (event) => {
      spent.take(event);
      input.observe({ kind: "train", event });
    },
    signal: input.signal,
    flopsBefore: before,
  };
  const name = `${task.name}-seed${seed}-${variant.label}`;
  const trained = async (): Promise<FinishedRun["result"] & { readonly size?: MethodSize }> => {
    const { kept: _, ...rest } = await train(training);
    for (const { partial } of schedule.stages) if (partial.name !== "full") await engine.release(partial);
    if (choice === undefined || rest.reason === "interrupted") return rest;
    return { ...withoutParameters(rest), size: await methodSize(engine, task, choice, rest.last) };
  };
  const compute = async () => {
    try {
      return await trained();
    } catch (error) {
      if (trial === undefined || !(error instanceof SoftpromptError) || error.kind !== "numeric") throw error;
      return { failed: error.problem, cost: spent.read() };
    }
  };
  const found = await keptRun<FailedRun | Awaited<ReturnType<typeof trained>>>(
    input.folder,
    name,
    // version 2 of the kept data: with the seconds that opening sessions took
    { ...(await identityOf(training)), form: choice === undefined ? "2" : "2, without parameters" },
    compute,
    (run) => "failed" in run || run.reason !== "interrupted",
    `${task.name}-seed${seed}-${variant.filedAs ?? variant.label}`,
  ).finally(() => own?.dispose());
  if ("failed" in found) return found;
  const { size, ...result } = found;
  if (result.reason === "interrupted")
    throw interrupted(input.signal, "the study was stopped", {
      where: name,
      hint: whatIsKept(input),
    });
  const told = trial === undefined ? name : `${name}-${trial}`;
  if (input.folder !== null) writeEvaluations(ownFolder(input.folder, fileName(told)), result.history);
  return { label: variant.label, task: task.name, seed, start, result, scoring, ...(size && { size }) };
}

/** The hint of a study that was stopped. */
export function whatIsKept({ folder }: Pick<StudyInput, "folder">): string | undefined {
  return folder === null ? undefined : "run the same command again: finished runs are kept";
}

/** What a training has spent so far: one that breaks down gives no result that says it. @param before total FLOPs before its first step */
function meter(before: number) {
  let [flops, seconds] = [before, 0];
  return {
    take: (event: TrainEvent): void => {
      if (!("totalFlops" in event)) return;
      flops = event.totalFlops;
      seconds += event.seconds + ("openSeconds" in event ? event.openSeconds : 0);
    },
    read: () => ({ flops: Math.max(0, flops - before), seconds }),
  };
}

/** Drops the parameters: for fine-tuning they would take several times the model's size for every run. */
function withoutParameters(result: FinishedRun["result"]): FinishedRun["result"] {
  const bare = <C extends Chosen | null>(chosen: C): C => chosen && { ...chosen, parameters: {} };
  return { ...result, best: bare(result.best), bestOnFull: bare(result.bestOnFull), last: {} };
}

/** The method's final parameters after the last step, saved once to measure their size. */
async function methodSize(engine: Engine, task: Task, choice: MethodChoice, last: Parameters): Promise<MethodSize> {
  const { method, checkpoint } = engine;
  const left = method.leaves === undefined ? last : await (await engine.left()).run(last);
  return {
    trained: Object.values(last).reduce((sum, { data }) => sum + data.length, 0),
    adapterBytes: await adapterBytes(checkpoint, task, adapterContent(checkpoint.config, choice, method, left)),
  };
}

/** Bytes of an adapter's files: it is saved once. */
export async function adapterBytes(
  checkpoint: Checkpoint,
  task: Task,
  content: Pick<Adapter, "prompt" | "applied">,
): Promise<number> {
  const adapter: Adapter = {
    ...content,
    mask: null,
    base: await adapterBase(checkpoint),
    tokenizer: null,
    task,
    training: null,
    scores: null,
    kept: { config: {}, extras: {} },
  };
  return withFolder(null, async (folder) => saveAdapter(folder, adapter));
}

/** A variant's method with what the study adds; undefined where a prompt is trained. */
function choiceOf({ virtualTokens }: StudyInput, { method }: Variant, seed: number): MethodChoice | undefined {
  return method && { ...method, virtualTokens, seed };
}

/** Options that a variant's schedule is planned from. */
export function planOptions(input: StudyInput, variant: Variant, seed: number): PlannedOptions {
  const { settings, scoring, schedule, virtualTokens } = input;
  const choice = choiceOf(input, variant, seed);
  // what a budget buys depends on what is trained
  const trains = choice && openMethod(choice);
  return { ...settings, ...scoring, ...schedule, ...variant.schedule, virtualTokens, seed, ...(trains && { trains }) };
}

/** The start prompt of a seed, the same for every task and variant. */
export function startPrompt(input: StudyInput, seed: number): Promise<Tensor> {
  return drawPrompt(input, input.init, { virtualTokens: input.virtualTokens, seed });
}

/**
 * A task's rows for a table's foot: how many validation rows its scores are measured on. @param reported whether what is kept is scored at
 * the end
 */
export function rowsText({ task, train, validation }: Dataset, settings: TrainSettings, reported = false): string {
  const scored = (reported ? reportedRows : scoredRows)(validation, settings).length;
  const of = scored < validation.length ? ` of ${validation.length}` : "";
  return `${task.name}: ${train.length} rows, ${scored}${of} validation`;
}

/** What is reported of a run: the best validation score on the full model (fpt.md §7), chosen as the task says and told by its first metric. */
export function finalScore({ result }: FinishedRun, { task }: Dataset): number {
  const chosen = result.bestOnFull ?? result.best;
  return chosen.scores[task.metrics[0]] ?? Number.NaN;
}

/** What a trial on held out rows says. */
export interface TrialScore {
  /** By what the task selects by. */
  readonly score: number;
  /** By its first metric. */
  readonly first: number;
  readonly loss: number;
}

/**
 * What an evaluation of a trial says, or why it chooses nothing. A loss that is no number is a failure, though every step was finite.
 * @param entryOf the evaluation that counts
 */
export function trialScore(
  run: FinishedRun | FailedRun,
  task: Task,
  entryOf: (result: FinishedRun["result"]) => HistoryEntry,
): TrialScore | { readonly failed: string } {
  if ("failed" in run) return { failed: run.failed };
  const { skipped, steps } = run.result;
  // fewer steps than end a training
  if (skipped > 0 && skipped === steps) return { failed: "no step was finite" };
  const { scores, loss } = entryOf(run.result);
  const score = selectionScore(task, scores);
  const [wrong] = Object.entries({ score, loss }).filter(([, value]) => !Number.isFinite(value));
  if (wrong !== undefined) return { failed: `the ${wrong[0]} of held out rows is not finite` };
  return { score, first: scores[task.metrics[0]] ?? Number.NaN, loss };
}

/** What a run took, neuron scores included. */
export function costOf(run: FinishedRun | FailedRun): { readonly flops: number; readonly seconds: number } {
  if ("failed" in run) return run.cost;
  const { cost } = run.result;
  return { flops: cost.flops + (run.scoring?.flops ?? 0), seconds: cost.seconds + (run.scoring?.seconds ?? 0) };
}

/** The first metric of the evaluation with the best selection score, the latest of equals; null if there is none. */
export function bestOf(entries: readonly { readonly scores: Scores }[], task: Task): number | null {
  const [first, ...rest] = entries;
  if (first === undefined) return null;
  const of = ({ scores }: { readonly scores: Scores }) => {
    const score = selectionScore(task, scores);
    return Number.isNaN(score) ? Number.NEGATIVE_INFINITY : score;
  };
  const best = rest.reduce((top, entry) => (of(entry) >= of(top) ? entry : top), first);
  return best.scores[task.metrics[0]] ?? Number.NEGATIVE_INFINITY;
}

/** A run as one line of StudyResult.scores. @param of the score that its table shows; default finalScore */
export function seedScore(
  run: FinishedRun,
  tasks: readonly Dataset[],
  of: (run: FinishedRun, dataset: Dataset) => number = finalScore,
): SeedScore {
  const dataset = tasks.find(({ task }) => task.name === run.task)!;
  const score = of(run, dataset);
  return {
    line: run.label,
    task: run.task,
    seed: run.seed,
    metric: dataset.task.metrics[0],
    score: Number.isFinite(score) ? 100 * score : null,
    ...costOf(run),
  };
}
