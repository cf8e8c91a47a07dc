/**
 * @file The runs behind XPrompt's studies: for each task, seed and case one search, asked for the variants a table wants.
 *
 * In: XPromptStudyInput, cases (what differs: length, start, schedules, rows), variants (which sub-prompts). Out: Outcomes.
 * A search is a folder; whatever it trained is read back when a study is run again or asks for the same candidate.
 */
import { interrupted, SoftpromptError } from "../base/errors.js";
import { ownFolder, sha256, withFolder } from "../base/files.js";
import { lockFolder } from "../base/lock.js";
import type { Tensor } from "../base/tensor.js";
import { withoutColumns } from "../data/define.js";
import type { Dataset, Row } from "../data/row.js";
import { checkPromptTokens, compileTemplate } from "../data/template.js";
import type { InitSpec } from "../method/init.js";
import { roundingFacts } from "../model/quantise.js";
import type { PruneOptions } from "../prune/options.js";
import { planSearch } from "../prune/plan.js";
import { freeOptions, openSearch } from "../prune/search.js";
import type { ScheduleOptions } from "../schedule/options.js";
import { scoringBeside } from "../schedule/plan.js";
import { renewSearchEvents } from "../tasks/event-file.js";
import { drawPrompt, outlineFor, type PlannedOptions, scheduleFor, searchTrainings } from "../tasks/planning.js";
import { forPrompt } from "../tasks/readied.js";
import { freeSettings, type TrainSettings, trainOptions } from "../train/options.js";
import { forecast } from "./left.js";
import { named, rowsText } from "./runs.js";
import type { StudyResult } from "./study.js";
import type { Outcome, VariantSearch, XPromptStudyInput } from "./xprompt-types.js";
import { type VariantEntry, type VariantName, variants } from "./xprompt-variants.js";

/** The differences from the study's settings. */
export interface Case {
  readonly label: string;
  readonly virtualTokens?: number;
  /** Start prompt; a function is asked per task and seed (transfer). */
  readonly init?: InitSpec | ((dataset: Dataset, seed: number) => Promise<InitSpec>);
  /** Schedule of stage A. */
  readonly schedule?: Partial<ScheduleOptions>;
  /** Schedule of the retrainings; steps from `prune.retrainSteps`, else as in stage A. */
  readonly retrain?: Partial<ScheduleOptions>;
  readonly prune?: Partial<PruneOptions>;
  readonly rows?: (train: readonly Row[], seed: number) => readonly Row[];
}

/** Runs every case and variant on every task and seed. @throws "interrupted"; finished work is kept in `input.folder`. */
export async function outcomes(
  input: XPromptStudyInput,
  cases: readonly Case[],
  wanted: readonly VariantName[],
): Promise<Outcome[]> {
  const found: Outcome[] = [];
  if (wanted.some((name) => (variants[name] as VariantEntry).drawsAnew)) checkDrawn(input, cases);
  await forEachSearch(
    input,
    cases,
    async (search, { label, task, seed }) => {
      for (const name of wanted) {
        const outcome = { label, variant: name, task, seed, ...(await variants[name].run(search)) };
        input.observe({ kind: "outcome", outcome });
        found.push(outcome);
      }
    },
    [...new Set(wanted.flatMap((name) => variants[name].levels))],
  );
  return found;
}

export interface SearchPlace {
  readonly label: string;
  readonly task: string;
  readonly seed: number;
  readonly dataset: Dataset;
}

/**
 * Opens the search of every case, task and seed in turn, after checking that all of them are possible.
 * @param levels whose candidates `use` will ask for. @throws SoftpromptError as planSearch, before anything is trained.
 */
export async function forEachSearch(
  input: XPromptStudyInput,
  cases: readonly Case[],
  use: (search: VariantSearch, place: SearchPlace) => Promise<void>,
  levels: readonly PruneOptions["level"][] = [],
): Promise<void> {
  checkCases(input, cases, levels);
  const all = input.seeds.flatMap(() =>
    input.tasks.flatMap(({ task }) => cases.map(({ label }) => ({ method: label, task: task.name }))),
  );
  const total = all.length;
  const { left, ended } = forecast(all);
  const counting = countingSearchSteps(input);
  let index = 0;
  for (const seed of input.seeds)
    for (const dataset of input.tasks)
      for (const what of cases) {
        const { name } = dataset.task;
        input.observe({ kind: "case", task: name, seed, label: what.label, index, total, left: left() });
        const place = { label: what.label, task: name, seed, dataset };
        const [begun, before] = [performance.now(), counting.steps()];
        await toldOf(input, place, () =>
          withFolder(input.folder, (folder) =>
            withCase(counting.input, dataset, seed, what, folder, async (search) => {
              await use(search, place);
              if (folder !== null) renewSearchEvents(search.folder);
            }),
          ),
        );
        ended(index++, counting.steps() > before ? (performance.now() - begun) / 1000 : null);
      }
}

/** Counts the steps that a study's searches train, as countingSteps those of its runs. */
function countingSearchSteps(input: XPromptStudyInput) {
  let steps = 0;
  const observe: XPromptStudyInput["observe"] = (event) => {
    if (event.kind === "search" && "event" in event.event && event.event.event.kind === "step") steps++;
    input.observe(event);
  };
  return { input: { ...input, observe }, steps: () => steps };
}

/** A study of one case gives it no label. */
const caseName = (label: string, task: string) => (label === "" ? task : `${label} on ${task}`);

/**
 * An error of one search says which of the study's it was. An interruption has another hint: a study has no --resume, because it always
 * continues.
 */
async function toldOf<R>(
  input: XPromptStudyInput,
  { label, task, seed }: SearchPlace,
  work: () => Promise<R>,
): Promise<R> {
  try {
    return await work();
  } catch (error) {
    if (!(error instanceof SoftpromptError) || error.kind !== "interrupted")
      throw named(error, `${caseName(label, task)}, seed ${seed}`);
    const hint = input.folder === null ? undefined : "run the same command again: finished work is kept";
    throw interrupted(input.signal, "the study was stopped", { where: task, hint });
  }
}

/** The parts of a case that are known before its start prompt, which has `virtualTokens` tokens. */
function caseOf(input: XPromptStudyInput, dataset: Dataset, seed: number, what: Case, virtualTokens: number) {
  const options: PruneOptions = { ...input.prune, ...what.prune };
  const train = what.rows ? what.rows(dataset.train, seed) : dataset.train;
  const { settings, scoring, schedule } = input;
  const shared: PlannedOptions = { ...settings, ...scoring, ...schedule, virtualTokens, seed };
  const retrainSteps = what.retrain?.steps ?? options.retrainSteps;
  const trainings = searchTrainings(
    { ...dataset, train },
    { ...options, retrainSteps },
    { ...shared, ...what.schedule },
    { ...shared, ...what.retrain },
  );
  return { options, train, ...trainings };
}

/** A start prompt that is given has one length. @throws SoftpromptError "usage" where a case has another one. */
function checkGiven(given: InitSpec | null, { virtualTokens }: Case): void {
  if (given?.kind === "fromPrompt" && virtualTokens !== undefined && virtualTokens !== given.prompt.shape[0])
    throw noOtherLength(`${virtualTokens} virtual tokens`, given.prompt);
}

/** For variants that draw another start prompt. @throws SoftpromptError "usage" where a case's start prompt, or a template, has one length. */
function checkDrawn(input: XPromptStudyInput, cases: readonly Case[]): void {
  for (const { task } of input.tasks)
    if (compileTemplate(task.template).parts.some((tokens) => tokens !== null))
      throw new SoftpromptError(
        "usage",
        "a template that gives the number of virtual tokens has no prompt of another length",
        {
          where: task.name,
          expected: "a template that a prompt as long as what survives (Length) fits in",
          got: task.template,
          hint: "leave the numbers of virtual tokens out of promptPosition (or the template), or take another study",
        },
      );
  for (const { init = input.init } of cases)
    if (typeof init !== "function" && init.kind === "fromPrompt")
      throw noOtherLength("a start prompt as long as what survives (Length)", init.prompt);
}

function noOtherLength(expected: string, { shape: [length] }: Tensor): SoftpromptError {
  return new SoftpromptError("usage", "the study needs start prompts of other lengths than the given one", {
    ...{ where: "init fromPrompt", expected, got: `an adapter of ${length} virtual tokens` },
    hint: "take an init that draws a prompt of any length, for instance --init sampledVocab",
  });
}

/** Length of a case's prompt. A prompt that another search will give (null) has the study's length. */
export function lengthOf(input: XPromptStudyInput, what: Case, init: InitSpec | null): number {
  return init?.kind === "fromPrompt" ? init.prompt.shape[0]! : (what.virtualTokens ?? input.virtualTokens);
}

/** Runs no model. @throws SoftpromptError for an impossible search. */
export function checkCases(
  input: XPromptStudyInput,
  cases: readonly Case[],
  levels: readonly PruneOptions["level"][],
): void {
  for (const seed of input.seeds)
    for (const dataset of input.tasks) for (const what of cases) checkCase(input, dataset, seed, what, levels);
}

function checkCase(
  input: XPromptStudyInput,
  dataset: Dataset,
  seed: number,
  what: Case,
  levels: readonly PruneOptions["level"][],
): void {
  const { engine } = input;
  const { width } = engine.checkpoint.config;
  const init = typeof what.init === "function" ? null : (what.init ?? input.init);
  checkGiven(init, what);
  const length = lengthOf(input, what, init);
  try {
    checkPromptTokens(dataset.task.template, length, dataset.promptTokens);
  } catch (error) {
    throw named(error, caseName(what.label, dataset.task.name));
  }
  const { tokenizer } = forPrompt(input, length);
  const { options, train, seen, tuned, retrained } = caseOf(input, dataset, seed, what, length);
  planSearch(
    {
      engine,
      tokenizer,
      task: dataset.task,
      train,
      validation: dataset.validation,
      // only its length counts
      prompt: { shape: [length, width], data: new Float32Array(length * width) },
      schedule: outlineFor(input, seen, tuned),
      retrainSchedule: outlineFor(input, seen, retrained),
      settings: { ...input.settings, seed },
      options,
    },
    [...new Set([options.level, ...levels])], // openSearch plans the levels of its own options
  );
}

/** Opens (or reads back) one search and owns its folder while it is used; the folder is named by what went into it. */
export async function withCase<R>(
  given: XPromptStudyInput,
  dataset: Dataset,
  seed: number,
  what: Case,
  folder: string,
  use: (search: VariantSearch) => Promise<R>,
): Promise<R> {
  const { task } = dataset;
  const init = typeof what.init === "function" ? await what.init(dataset, seed) : (what.init ?? given.init);
  const length = lengthOf(given, what, init);
  // the context window has room for as many virtual tokens as this case has
  const input = forPrompt(given, length);
  const { engine, tokenizer } = input;
  const freshPrompt = (virtualTokens: number) => drawPrompt(input, init, { virtualTokens, seed });
  const { options, train, seen, tuned, retrained } = caseOf(input, dataset, seed, what, length);
  const plan = (own: PlannedOptions) =>
    // a folder is used even if the study keeps none, so that one scoring pass serves stage A and the retrainings
    scheduleFor(input, seen, own, { folder, signal: input.signal });
  const tuning = await plan(tuned);
  const retraining = await plan(retrained);
  const prompt = await freshPrompt(length);
  const key = sha256(
    JSON.stringify([
      // a short hash of the inputs; the search and the trainer check the complete inputs
      Object.fromEntries(Object.entries(options).filter(([name]) => !freeOptions.has(name as keyof PruneOptions))),
      { ...withoutFree(input.settings), seed },
      [...prompt.data],
      [tuning.schedule, retraining.schedule],
      await engine.checkpoint.sha256(),
      sha256(JSON.stringify([withoutColumns(task), train, dataset.validation])),
      ...Object.values(roundingFacts(engine)),
      ...arithmeticOf(engine),
    ]),
  );
  const own = ownFolder(folder, `${slug(task.name)}-s${seed}-${slug(what.label)}-${key.slice(0, 10)}`);
  const lock = lockFolder(own);
  try {
    const search = await openSearch(
      {
        engine,
        tokenizer,
        task,
        train,
        validation: dataset.validation,
        reportOn: input.reportOn?.(task.name),
        prompt,
        schedule: tuning.schedule,
        retrainSchedule: retraining.schedule,
        settings: { ...input.settings, seed },
        options,
        resume: true,
        observe: (event) => input.observe({ kind: "search", event }),
        signal: input.signal,
        workers: input.workers,
      },
      own,
    );
    const neurons = {
      tuning: tuning.scoring ?? { flops: 0, seconds: 0 },
      retraining: scoringBeside(retraining, tuning),
    };
    return await use({ ...search, input, options, seed, dataset, freshPrompt, neurons });
  } finally {
    lock.release();
  }
}

/** Settings with those that change no training at their defaults, so that a search is found under any of them. */
function withoutFree(settings: TrainSettings): object {
  return Object.fromEntries(
    (Object.entries(settings) as [keyof TrainSettings, unknown][]).map(([key, value]) => [
      key,
      freeSettings.has(key) ? trainOptions[key].default : value,
    ]),
  );
}

/**
 * What of the engine changes the last digits, where it is not the default: the trainer refuses to go on in a folder under another one. Nothing
 * by default, so that folders of earlier versions are found.
 */
function arithmeticOf({ options: { device, lowMemory, plainOps } }: XPromptStudyInput["engine"]): string[] {
  return [
    ...(device === "cpu" ? [] : [device]),
    ...(lowMemory ? ["lowMemory"] : []),
    ...(plainOps ? ["plainOps"] : []),
  ];
}

/** What was run, for the report's foot. */
export function settingsOf(input: XPromptStudyInput): StudyResult["settings"] {
  return {
    model: input.engine.checkpoint.name,
    tasks: input.tasks.map((dataset) => rowsText(dataset, input.settings, true)),
    seeds: input.seeds,
    virtualTokens: lengthOf(input, { label: "" }, input.init),
    steps: input.schedule.steps,
    retrainSteps: input.prune.retrainSteps ?? input.schedule.steps,
    schedule: input.schedule.schedule,
    learningRate: input.settings.learningRate,
    batchSize: input.settings.batchSize,
    evalEvery: input.settings.evalEvery,
    maxEvalRows: input.settings.maxEvalRows,
    maxInputTokens: input.settings.maxInputTokens,
    prune: input.prune,
  };
}

function slug(text: string): string {
  return text.replace(/[^A-Za-z0-9]+/g, "-").toLowerCase();
}
