/**
 * @file A sweep: which of many settings trains best, on training rows that are held out.
 *
 * In: Model, one dataset, an options object with the values to try. Out: Swept: settings, the best first, and a StudyResult. Validation rows are
 * not looked at: they are for the training with the settings that are found. For one seed every setting has the same rows and order of rows.
 */
import { nearest, SoftpromptError } from "../base/errors.js";
import { ownFolder } from "../base/files.js";
import { checkOption, type OptionTable, type OptionValues, pickOptions, readOptions } from "../base/options.js";
import { random } from "../base/random.js";
import type { Dataset } from "../data/row.js";
import { holdout } from "../data/split.js";
import { fileNames } from "../run/layout.js";
import { withPlannedSteps } from "../schedule/schedule.js";
import { type CallContext, splitCall } from "../tasks/call.js";
import { datasetOf, type RowsOptions } from "../tasks/data.js";
import { withOwnRate } from "../tasks/learning-rate.js";
import type { Model } from "../tasks/model.js";
import { type TuneOptions, tuneOptions } from "../tasks/options.js";
import { noEffect, unreadWith, withInit } from "../tasks/planning.js";
import { encodeRows } from "../text/rows.js";
import { owning, studyOptions } from "./call.js";
import { forecast } from "./left.js";
import { checkSeeds, checkVariant, countingSteps, rowsText, type StudyEvent, trialScore, withRuns } from "./runs.js";
import type { StudyResult } from "./study.js";
import { sweepOptions, type Tried, triedOptions } from "./sweep-options.js";
import { type Readied, readySetting, runSetting, type Setting, type SweepPlan } from "./sweep-runs.js";
import { labelOf, type Ranked, type Run, type SweptSetting, sweepTables } from "./sweep-tables.js";
import { inProcesses, type Parent, type UnitName } from "./unit-pool.js";

const { output: outputOption } = studyOptions;
const { seed: _, output: __, tensorboard: ___, baselines: ____, ...trainingOptions } = tuneOptions;
/** All options of a sweep but the data's, the model's and what is tried. */
export const allSweepOptions = { ...trainingOptions, ...sweepOptions, output: outputOption };

/** One object for `sweep`: what is tried, any of allSweepOptions, and its context. */
export type SweepInput = { readonly try: Tried } & Partial<OptionValues<typeof allSweepOptions>> &
  CallContext<StudyEvent>;

/** A finished sweep. */
export interface Swept {
  /** The best first; those with a training that failed last. */
  readonly settings: readonly SweptSetting[];
  /** Options for `tune`: those that were given, with the values of the best setting. */
  readonly best: Partial<TuneOptions>;
  /** Tables and curves. */
  readonly study: StudyResult;
}

/**
 * Trains every combination of the values to try on most of the training rows, with every seed, and ranks them by their scores on the rows that
 * are held out; equal ones by loss. A training whose numbers go wrong is told and ranked last.
 * @param source a Dataset, or rows of the program with their template
 * @throws SoftpromptError "usage" for what cannot be tried, and before the first training for a combination that cannot be trained; "numeric"
 * where every setting failed; "run" where another process works in `output`; "interrupted": finished trainings are kept in `output`.
 */
export async function sweep(model: Model, source: Dataset | RowsOptions, input: SweepInput): Promise<Swept> {
  const planned = await planSweep(model, source, input);
  const { plan, settings, output, tried, left, given } = planned;
  const runs = await owning(output, () =>
    withRuns({ folder: plan.folder, signal: input.signal }, (at) => runSettings(planned, at)),
  );
  const ranked = rank(settings, runs, plan.seeds);
  const { rows, seeds } = plan;
  const study = sweepTables(rows, ranked, {
    ...{ seeds, left, tried },
    settings: {
      model: model.checkpoint.name,
      rows: rowsText(rows, settings[0]!.options),
      seeds,
      ...given,
    },
  });
  return { settings: ranked.map(({ told }) => told), best: ranked[0]!.of.given as Partial<TuneOptions>, study };
}

/** A sweep before its first training. */
interface Planned {
  readonly plan: SweepPlan;
  readonly settings: readonly Readied[];
  /** Combinations that were not drawn. */
  readonly left: number;
  readonly tried: Tried;
  /** Options that were given. */
  readonly given: Readonly<Record<string, unknown>>;
  readonly output: string | null;
  /** What trains them in child processes. */
  readonly parent: Parent;
}

/** Everything that can be refused is refused here. @throws SoftpromptError as sweep */
export async function planSweep(model: Model, source: Dataset | RowsOptions, input: SweepInput): Promise<Planned> {
  type Context = CallContext<StudyEvent> & Pick<SweepInput, "try">;
  const { options: given, context } = splitCall<Context>(input, ["onEvent", "signal", "try"]);
  const { seeds, searchHoldout, mostSettings, workers, output } = readOptions(allSweepOptions, given, "sweep()");
  checkSeeds(seeds);
  const { onEvent: observe = () => {}, signal } = context;
  const tried = checkTried(context.try);
  const data = await datasetOf(source, (event) => observe({ kind: "train", event }));
  const { kept, held } = holdout(data.train, { fraction: searchHoldout, seed: seeds[0]! });
  const rows: Dataset = { ...data, train: kept, validation: held };
  const all = await settingsOf(model, rows, pickOptions(trainingOptions, given), tried);
  // beside the report, as a study's
  const folder = output === undefined ? null : ownFolder(output, fileNames.runs);
  const plan: SweepPlan = { rows, settings: drawn(all, mostSettings, seeds[0]!), seeds, folder };
  const settings: Readied[] = [];
  for (const setting of plan.settings) settings.push(await readySetting(model, plan, setting, context));
  for (const { input, dataset, variant } of settings) {
    checkVariant(input, dataset, variant);
    // a window without room for so many virtual tokens is told before the first training, which finds the rows encoded
    encodeRows(dataset.task, dataset.train, input.tokenizer, input.settings.maxInputTokens);
  }
  return {
    ...{ plan, settings, left: all.length - settings.length, tried: context.try, output: output ?? null },
    given: { searchHoldout, ...pickOptions(trainingOptions, given) },
    parent: { engine: model.engine, tokenizer: model.tokenizer, observe, signal, workers },
  };
}

/** @returns what is tried, in its order. @throws SoftpromptError "usage" naming the option */
function checkTried(tried: unknown): Readonly<Record<string, readonly unknown[]>> {
  const refuse = (problem: string, where: string, expected: string, got: unknown, hint?: string) =>
    new SoftpromptError("usage", problem, { where, expected, got, hint });
  const example = "{ learningRate: [0.03, 0.1, 0.3] }";
  if (typeof tried !== "object" || tried === null || Array.isArray(tried) || Object.keys(tried).length === 0)
    throw refuse("nothing is to be tried", "try", `options and their values, as ${example}`, tried);
  for (const [key, values] of Object.entries(tried)) {
    const where = `try: ${key}`;
    const option = Object.hasOwn(triedOptions, key) ? triedOptions[key]! : null;
    if (option === null) {
      const near = nearest(key, Object.keys(triedOptions));
      const known = Object.hasOwn(allSweepOptions, key) || Object.hasOwn(tuneOptions, key);
      throw refuse(
        known ? "this option cannot be tried" : `unknown option ${JSON.stringify(key)}`,
        where,
        "an option that changes a training, as learningRate, virtualTokens, method, batchSize, steps",
        key,
        near === undefined || known ? undefined : `did you mean ${JSON.stringify(near)}?`,
      );
    }
    if (!Array.isArray(values) || values.length === 0)
      throw refuse("there are no values", where, "a list of values", values);
    for (const value of values) checkOption(option, value, where);
    const texts = values.map((value) => JSON.stringify(value));
    const repeated = texts.find((text, n) => texts.indexOf(text) !== n);
    if (repeated !== undefined) throw refuse("a value is given twice", where, "each value once", JSON.parse(repeated));
  }
  return tried as Readonly<Record<string, readonly unknown[]>>;
}

/**
 * Every combination, each once: one that does not read an option (the rank of LoRA with a method that has none) stands for all values of it.
 * @throws SoftpromptError "usage" for an option that no combination reads
 */
async function settingsOf(
  model: Model,
  rows: Dataset,
  given: Readonly<Record<string, unknown>>,
  tried: Readonly<Record<string, readonly unknown[]>>,
): Promise<Setting[]> {
  const both = Object.keys(tried).filter((key) => given[key] !== undefined && given[key] !== null);
  if (both.length > 0)
    throw new SoftpromptError("usage", "an option is given and tried", {
      where: both.join(", "),
      expected: "one of the two",
      hint: "leave it out, and put its value among those to try",
    });
  let combinations: Record<string, unknown>[] = [{}];
  for (const [key, values] of Object.entries(tried))
    combinations = combinations.flatMap((one) => values.map((value) => ({ ...one, [key]: value })));
  const found = new Map<string, Setting>();
  const read = new Set<string>();
  const unread = new Map<string, { readonly expected: string; readonly got: string }>();
  for (const combination of combinations) {
    const asked = { ...given, ...combination };
    const options = withPlannedSteps(
      readOptions(tuneOptions, await withOwnRate(asked, model.checkpoint), "sweep()") as TuneOptions,
    );
    const reader = withInit(options, rows, model);
    const own = Object.keys(asked).filter((key) => {
      const why = unreadWith(key, reader);
      if (why === null) read.add(key);
      else unread.set(key, why);
      return why === null;
    });
    const values = pickKeys(combination, own);
    const label = labelOf(values);
    const key = JSON.stringify(values);
    if (!found.has(key))
      found.set(key, {
        label,
        values,
        given: pickKeys(asked, own),
        options: { ...options, ...withDefaults(Object.keys(asked).filter((key) => !own.includes(key))) },
      });
  }
  for (const [key, { expected, got }] of unread) if (!read.has(key)) throw noEffect(key, expected, got);
  return [...found.values()];
}

const pickKeys = (from: Readonly<Record<string, unknown>>, keys: readonly string[]) =>
  Object.fromEntries(Object.entries(from).filter(([key]) => keys.includes(key)));

const withDefaults = (keys: readonly string[]): Partial<TuneOptions> =>
  Object.fromEntries(keys.map((key) => [key, (tuneOptions as OptionTable)[key]!.default]));

/** So many of the settings, in their order; all where there are no more. */
function drawn(settings: readonly Setting[], most: number | undefined, seed: number): readonly Setting[] {
  if (most === undefined || settings.length <= most) return settings;
  const taken = new Set(random(seed, "sweep").sample(settings.length, most));
  return settings.filter((_, n) => taken.has(n));
}

/** The runs of each setting, by seed. Seeds are the outer loop, so that every setting has a score early. */
async function runSettings(planned: Planned, folder: string): Promise<Run[][]> {
  const { plan, settings, parent } = planned;
  const together = parent.workers > 1 && plan.folder !== null;
  if (together) await trainInChildren(planned);
  const units = unitsOf(planned);
  const { left, ended } = forecast(units);
  const runs: Run[][] = settings.map(() => []);
  for (const [index, { task, seed, label }] of units.entries()) {
    const setting = settings[index % settings.length]!;
    const { input, steps } = countingSteps({ ...setting.input, folder });
    // results of child processes are only read back
    const tell = together ? () => {} : input.observe;
    tell({ kind: "run", index, total: units.length, task, seed, label, left: left() });
    const begun = performance.now();
    const run = await runSetting({ ...setting, input }, seed);
    const seconds = (performance.now() - begun) / 1000;
    const found = scoreOf(run, setting.dataset);
    const failed = "failed" in found ? { failed: found.failed } : {};
    ended(index, steps() > 0 && !("failed" in found) ? seconds : null);
    runs[index % settings.length]!.push(run);
    const score = "failed" in found ? Number.NaN : found.first;
    tell({ kind: "done", index, total: units.length, score, seconds, ...failed });
  }
  return runs;
}

/** Trains every setting with every seed in child processes. @param module that they run; default their own program */
export function trainInChildren(planned: Planned, module?: string): Promise<void> {
  return inProcesses(planned.parent, { kind: "sweep", ...planned.plan }, unitsOf(planned), module);
}

/** The trainings in their order: every setting with the first seed, then with the next. */
const unitsOf = ({ plan: { seeds, rows }, settings }: Planned): UnitName[] =>
  seeds.flatMap((seed) => settings.map(({ label }) => ({ method: label, label, task: rows.task.name, seed })));

/** What the prompt that is kept scores. */
const scoreOf = (run: Run, { task }: Dataset) =>
  trialScore(run, task, ({ history, bestOnFull, best }) => {
    const { step } = bestOnFull ?? best;
    return history.findLast((entry) => entry.step === step) ?? history.at(-1)!;
  });

/** Best first. @throws SoftpromptError "numeric" where none was trained */
function rank(
  settings: readonly Readied[],
  runs: readonly (readonly Run[])[],
  seeds: readonly number[],
): (Ranked & { readonly of: Readied })[] {
  const all = settings.map((of, n) => {
    const own = runs[n]!;
    const found = own.map((run) => scoreOf(run, of.dataset));
    const [failed] = found.flatMap((one) => ("failed" in one ? [one.failed] : []));
    const scores = found.map((one) => ("failed" in one ? null : one));
    const sum = (value: (run: Run) => number) => own.reduce((total, run) => total + value(run), 0);
    const whole = scores.every((one) => one !== null);
    return {
      of,
      runs: own,
      told: {
        label: of.label,
        values: of.values,
        scores: scores.map((one) => one?.score ?? null),
        loss: whole ? scores.reduce((total, one) => total + one.loss, 0) / seeds.length : null,
        ...(failed !== undefined && { failed }),
        flops: sum((run) => ("failed" in run ? run.cost.flops : run.result.cost.flops + (run.scoring?.flops ?? 0))),
        seconds: sum((run) =>
          "failed" in run ? run.cost.seconds : run.result.cost.seconds + (run.scoring?.seconds ?? 0),
        ),
      },
      shown: whole ? scores.map(({ first }) => 100 * first) : null,
    };
  });
  if (all.every(({ shown }) => shown === null))
    throw new SoftpromptError("numeric", "no setting could be trained", {
      where: "sweep()",
      expected: "one under which losses and gradients stay finite",
      got: all.map(({ told }) => `${told.label}: ${told.failed}`).join("; "),
      hint: "try smaller learning rates",
    });
  const mean = ({ told }: Ranked) => told.scores.reduce((total: number, score) => total + (score ?? Number.NaN), 0);
  return all.sort((a, b) => {
    if (a.shown === null || b.shown === null) return Number(a.shown === null) - Number(b.shown === null);
    return mean(b) - mean(a) || a.told.loss! - b.told.loss!;
  });
}
