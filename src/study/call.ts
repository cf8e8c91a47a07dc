/**
 * @file A study as one call: a model, the data of its tasks, one options object. In: Model, Datasets, options. Out: StudyResult.
 *
 * The studies themselves take a complete StudyInput; here the option tables fill in defaults.
 */
import { nearest, SoftpromptError } from "../base/errors.js";
import { lockFolder } from "../base/lock.js";
import { currentNames, type Option, type OptionValues, readOptions, renamedIn, string } from "../base/options.js";
import type { Dataset } from "../data/row.js";
import { pruneOptions } from "../prune/options.js";
import { neuronScoreOptions } from "../schedule/neuron-options.js";
import { scheduleOptions } from "../schedule/options.js";
import { withPlannedSteps } from "../schedule/schedule.js";
import { type CallContext, type NoticeEvent, splitCall } from "../tasks/call.js";
import { answersFor, datasetOf, type RowsOptions } from "../tasks/data.js";
import { sayRate, withOwnRate } from "../tasks/learning-rate.js";
import type { Model } from "../tasks/model.js";
import { type FormerPruneOptions, promptOptions, seedsOption } from "../tasks/options.js";
import { initSpec } from "../tasks/planning.js";
import { forPrompt } from "../tasks/readied.js";
import { repeatedOptions } from "../train/options.js";
import { compare as compareSchedules } from "./compare.js";
import { fptStudies } from "./fpt.js";
import { comparisonOptions } from "./method-options.js";
import { compareMethods, methodStudies } from "./methods.js";
import { withReference } from "./reference.js";
import { referenceOptions } from "./reference-options.js";
import { checkSeeds, type StudyEvent, type StudyInput, type Variant } from "./runs.js";
import type { StudyResult } from "./study.js";
import { xpromptStudies } from "./xprompt.js";
import type { XPromptStudyEvent } from "./xprompt-types.js";

/** Options that each study does not read, by its name. */
export const unreadOptions: Readonly<Record<string, readonly string[]>> = Object.fromEntries(
  Object.entries({ ...fptStudies, ...methodStudies, ...xpromptStudies }).map(([name, { unread: own }]) => [
    name,
    // only one study uses the options of methods
    [...own, ...(Object.hasOwn(methodStudies, name) ? [] : Object.keys(comparisonOptions))],
  ]),
);

/** All options of a study but the data's and the model's. */
export const studyOptions = {
  ...promptOptions,
  ...repeatedOptions,
  ...scheduleOptions,
  ...neuronScoreOptions,
  ...seedsOption,
  ...referenceOptions,
  output: string({
    placeholder: "folder",
    help: "Finished runs are kept here, and an interrupted study goes on from them, one process at a time; without it nothing is kept",
  }),
};

/** All options of `study`: those of every study, of pruning, and of the comparison of methods. */
export const allStudyOptions = { ...studyOptions, ...pruneOptions, ...comparisonOptions };

/** Events of a study. */
export type AnyStudyEvent = StudyEvent | XPromptStudyEvent;

/** One object for `compare`: any of allStudyOptions, and its context; with `methods` it compares these. */
export type CompareInput = Partial<OptionValues<typeof allStudyOptions>> &
  FormerPruneOptions &
  CallContext<StudyEvent> & {
    /** What is compared with prompt tuning. Default FPT-LD, FPT-FR and FPT-CR, and the schedule of the options if it is another one. */
    readonly variants?: readonly Variant[] | undefined;
  };

/** One object for `study`: any of studyOptions and the options of pruning, and its context. */
export type StudyCallInput = Partial<OptionValues<typeof allStudyOptions>> &
  FormerPruneOptions &
  CallContext<AnyStudyEvent>;

/**
 * FPT's schedules against prompt tuning, or the named `methods` beside each other, over tasks and seeds: scores, cost, and the score at
 * equal cost.
 * @throws SoftpromptError as tunings do; "usage" for options that it would not read; "run" where another process works in `output`;
 * "interrupted".
 */
export async function compare(
  model: Model,
  tasks: readonly (Dataset | RowsOptions)[],
  input: CompareInput = {},
): Promise<StudyResult> {
  type Context = CallContext<StudyEvent> & Pick<CompareInput, "variants">;
  const { options, context } = splitCall<Context>(input, ["onEvent", "signal", "variants"]);
  const values = readOptions(allStudyOptions, await withOwnRate(options, model.checkpoint), "compare()");
  const name = values.methods === undefined ? "compare" : "methods";
  refuseUnread(name, options, "compare()");
  if (values.methods !== undefined && context.variants !== undefined)
    throw new SoftpromptError("usage", "either methods are compared, or variants of a schedule", {
      where: "compare(): variants",
      expected: "methods or variants",
      got: "both",
    });
  const shared = await inputOf(model, tasks, values, context);
  const result = await owning(shared.folder, () =>
    values.methods === undefined
      ? compareSchedules(shared, context.variants)
      : compareMethods({ ...shared, ...methodInput(values, "compare()") }),
  );
  return withReference(result, values.reference);
}

/**
 * One of the studies by its name, a key of fptStudies, methodStudies or xpromptStudies.
 * @throws SoftpromptError "usage" where no study has this name, or it would not read an option that is given; "run" where another process
 * works in `output`.
 */
export async function study(
  model: Model,
  name: string,
  tasks: readonly (Dataset | RowsOptions)[],
  input: StudyCallInput = {},
): Promise<StudyResult> {
  const { options, context } = splitCall<CallContext<AnyStudyEvent>>(input, ["onEvent", "signal"]);
  checkStudyName(name, "study()");
  const values = readOptions(allStudyOptions, await withOwnRate(options, model.checkpoint), "study()");
  refuseUnread(name, options, "study()");
  const shared = await inputOf(model, tasks, values, context);
  const shown = async (run: () => Promise<StudyResult>) =>
    withReference(await owning(shared.folder, run), values.reference);
  if (Object.hasOwn(fptStudies, name)) return shown(() => fptStudies[name as keyof typeof fptStudies].run(shared));
  if (Object.hasOwn(methodStudies, name))
    return shown(() => compareMethods({ ...shared, ...methodInput(values, "study()") }));
  const observe = (event: AnyStudyEvent) => context.onEvent?.(event);
  const { prune } = methodInput(values, "study()");
  return shown(() => xpromptStudies[name as keyof typeof xpromptStudies].run({ ...shared, observe, prune }));
}

/** Runs a study that owns its folder meanwhile: another process in it would train the same runs. @throws SoftpromptError "run" as lockFolder */
export async function owning<R>(folder: string | null, run: () => Promise<R>): Promise<R> {
  const lock = folder === null ? null : lockFolder(folder);
  try {
    return await run();
  } finally {
    lock?.release();
  }
}

/** @throws SoftpromptError "usage" where no study has this name. */
export function checkStudyName(name: string, where: string, hint?: string): void {
  if (Object.hasOwn(unreadOptions, name)) return;
  const names = Object.keys(unreadOptions);
  const near = nearest(name, names);
  throw new SoftpromptError("usage", "no such study", {
    where,
    expected: names.join(", "),
    got: name,
    hint: near === undefined ? hint : `did you mean ${near}?`,
  });
}

/**
 * Options that are given and that a study does not read: who gives an option expects an effect. A value that is the default says nothing,
 * as in the configuration that a study of an earlier version left.
 */
export function ignoredOptions(study: string, given: Readonly<Record<string, unknown>>): string[] {
  return Object.entries(given).flatMap(([key, value]) => {
    if (!unreadOptions[study]!.includes(key) || value === undefined || value === null) return [];
    const { default: usual } = allStudyOptions[key as keyof typeof allStudyOptions] as Option;
    return JSON.stringify(value) === JSON.stringify(usual) ? [] : [key];
  });
}

/** @throws SoftpromptError "usage" naming the options. */
function refuseUnread(study: string, given: object, where: string): void {
  const ignored = ignoredOptions(study, { ...currentNames(given, renamedIn(allStudyOptions), where, () => {}) });
  if (ignored.length > 0)
    throw new SoftpromptError("usage", "this study does not read every option that is given", {
      where: `${where}: ${study}`,
      expected: "options that change what it does",
      got: ignored.join(", "),
      hint: `leave ${ignored.length > 1 ? "them" : "it"} out`,
    });
}

/** @throws SoftpromptError "usage" where the start prompts of several tasks would be made of one's label words. */
export function checkSharedInit({ init }: { readonly init?: string | undefined }, tasks: number, where: string): void {
  if (init !== "classLabels" || tasks <= 1) return;
  throw new SoftpromptError("usage", "init classLabels is of one task, and a study starts all its tasks alike", {
    where,
    expected: "one task, or another init",
    got: `${tasks} tasks`,
    hint: "run the study for each task by itself, or use sampledVocab",
  });
}

const methodInput = (options: object, where: string) => ({
  prune: readOptions(pruneOptions, pick(pruneOptions, options), where),
  comparison: readOptions(comparisonOptions, pick(comparisonOptions, options), where),
});

const pick = (table: object, options: object) =>
  Object.fromEntries(Object.entries(options).filter(([key]) => Object.hasOwn(table, key)));

/** Whether methods are compared, each at rates of its own. */
const hasOwnRates = (values: object) => (values as { readonly methods?: unknown }).methods !== undefined;

async function inputOf(
  model: Model,
  tasks: readonly (Dataset | RowsOptions)[],
  values: OptionValues<typeof studyOptions>,
  { onEvent, signal }: CallContext<StudyEvent>,
): Promise<StudyInput> {
  checkSeeds(values.seeds);
  if (!Array.isArray(tasks) || tasks.length === 0)
    throw new SoftpromptError("usage", "a study needs tasks", { where: "tasks", expected: "a list of datasets" });
  checkSharedInit(values, tasks.length, "init");
  const data: Dataset[] = [];
  const said = ({ message }: Pick<NoticeEvent, "message">) =>
    onEvent?.({ kind: "train", event: { kind: "warning", message } });
  if (!hasOwnRates(values)) await sayRate(model, { ...values, method: "prompt" }, said);
  for (const task of tasks) data.push(answersFor(await datasetOf(task, said), model, values));
  return {
    engine: model.engine,
    // the context window has room for the prompt too
    tokenizer: forPrompt(model, values.virtualTokens).tokenizer,
    tasks: data,
    seeds: values.seeds,
    settings: { ...readOptions(repeatedOptions, pick(repeatedOptions, values), "study"), seed: values.seeds[0] ?? 0 },
    schedule: withPlannedSteps(readOptions(scheduleOptions, pick(scheduleOptions, values), "study")),
    virtualTokens: values.virtualTokens,
    init: await initSpec(values, data[0]!, model, { onEvent: said, signal }),
    scoring: readOptions(neuronScoreOptions, pick(neuronScoreOptions, values), "study"),
    folder: values.output ?? null,
    observe: (event) => onEvent?.(event),
    signal,
  };
}
