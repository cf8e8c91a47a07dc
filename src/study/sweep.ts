/**
 * @file A sweep: which of many settings trains best, on training rows that are held out.
 *
 * In: Model, one dataset, an options object with the values to try. Out: Swept: settings, the best first, and a StudyResult. Validation rows are
 * not looked at: they are for the training with the settings that are found. For one seed every setting has the same rows and order of rows.
 */
import { nearest, SoftpromptError } from "../base/errors.js";
import { ownFolder } from "../base/files.js";
import {
  checkOption,
  currentNames,
  type OptionTable,
  type OptionValues,
  pickOptions,
  readOptions,
  renamedIn,
} from "../base/options.js";
import { random } from "../base/random.js";
import type { Dataset } from "../data/row.js";
import { holdout } from "../data/split.js";
import { scoredRows } from "../evaluate/evaluate.js";
import { type MethodKind, methods, openMethod, sizeOf } from "../method/methods.js";
import { fileNames } from "../run/layout.js";
import { withPlannedSteps } from "../schedule/schedule.js";
import { type CallContext, splitCall } from "../tasks/call.js";
import { datasetOf, type RowsOptions } from "../tasks/data.js";
import { sayRate, withOwnRate } from "../tasks/learning-rate.js";
import { sayMemory } from "../tasks/memory-warning.js";
import type { Model } from "../tasks/model.js";
import { type TuneOptions, tuneOptions } from "../tasks/options.js";
import { noEffect, unreadWith, withInit } from "../tasks/planning.js";
import { encodeRows } from "../text/rows.js";
import { owning, studyOptions } from "./call.js";
import { forecast } from "./left.js";
import { checkSeeds, checkVariant, costOf, countingSteps, rowsText, type StudyEvent, withRuns } from "./runs.js";
import type { StudyResult } from "./study.js";
import { sweepOptions, type Tried, triedOptions } from "./sweep-options.js";
import { type Readied, readySetting, runSetting, type Setting, type SweepPlan, scoreOf } from "./sweep-runs.js";
import { labelOf, type Ranked, type Run, type SweptSetting, sweepTables, type Values } from "./sweep-tables.js";
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
  return owning(planned.output, () => runSweep(planned));
}

/** A sweep before its first training. */
export interface PlannedSweep {
  readonly plan: SweepPlan;
  readonly settings: readonly Readied[];
  /** Combinations that were not drawn. */
  readonly left: number;
  readonly tried: Values;
  /** Options that were given. */
  readonly given: Readonly<Record<string, unknown>>;
  readonly output: string | null;
  /** What trains them in child processes. */
  readonly parent: Parent;
}

/** Everything that can be refused is refused here. @throws SoftpromptError as sweep */
export async function planSweep(model: Model, source: Dataset | RowsOptions, input: SweepInput): Promise<PlannedSweep> {
  type Context = CallContext<StudyEvent> & Pick<SweepInput, "try">;
  const { options, context } = splitCall<Context>(input, ["onEvent", "signal", "try"]);
  const given: Readonly<Record<string, unknown>> = currentNames(options, renamedIn(allSweepOptions), "sweep()");
  const { seeds, searchHoldout, mostSettings, workers, output } = readOptions(allSweepOptions, given, "sweep()");
  checkSeeds(seeds);
  const tried = checkTried(context.try, given);
  const { onEvent: observe = () => {}, signal } = context;
  const said = new Set<string>();
  /** Of many settings that are warned of alike, one is. */
  const warn = (event: { readonly kind: "warning"; readonly message: string }) => {
    if (!said.has(event.message)) observe({ kind: "train", event });
    said.add(event.message);
  };
  const { train, validation: _, test: __, ...data } = await datasetOf(source, warn);
  const { kept, held } = holdout(train, { fraction: searchHoldout, seed: drawSeed });
  const rows: Dataset = { ...data, train: kept, validation: held, test: [] };
  const own = pickOptions(trainingOptions, given);
  const { found, left } = await settingsOf(model, rows, own, { tried, most: mostSettings });
  // beside the report, as a study's
  const folder = output === undefined ? null : ownFolder(output, fileNames.runs);
  const plan: SweepPlan = { rows, settings: found, seeds, folder };
  const settings: Readied[] = [];
  for (const setting of found) {
    const readied = await readySetting(model, plan, setting, { onEvent: observe, signal });
    const { input, dataset, variant, options } = readied;
    checkVariant(input, dataset, variant);
    // a window without room for so many virtual tokens is told before the first training, which finds the rows encoded
    encodeRows(dataset.task, dataset.train, input.tokenizer, input.settings.maxInputTokens);
    await sayRate(model, options, warn);
    await sayMemory(model, dataset, options, warn);
    settings.push(readied);
  }
  return {
    ...{ plan, settings, left, tried, output: output ?? null },
    given: { searchHoldout, ...own },
    parent: { engine: model.engine, tokenizer: model.tokenizer, observe, signal, workers },
  };
}

/** Trains what was planned, in a folder that the caller owns. @throws SoftpromptError as sweep */
export async function runSweep(planned: PlannedSweep): Promise<Swept> {
  const { plan, settings, tried, left, given, parent } = planned;
  const { engine, signal } = parent;
  const runs = await withRuns({ folder: plan.folder, signal }, (folder) =>
    runSettings({ ...planned, plan: { ...plan, folder } }),
  );
  const { rows, seeds } = plan;
  const ranked = rank(settings, runs, seeds);
  const { options } = settings[0]!;
  const study = sweepTables({ ...rows, validation: scoredRows(rows.validation, options) }, ranked, {
    ...{ seeds, left, tried },
    settings: { model: engine.checkpoint.name, rows: rowsText(rows, options), seeds, ...given },
  });
  return { settings: ranked.map(({ told }) => told), best: ranked[0]!.of.given as Partial<TuneOptions>, study };
}

/** Draws the rows that are held out and, of too many combinations, those that are trained: the same whatever seeds are asked for. */
const drawSeed = 0;

/**
 * @param given options; one that is also tried is refused, unless it is at its default, which says nothing
 * @returns what is tried, in the order of the options. @throws SoftpromptError "usage" naming the option
 */
export function checkTried(tried: unknown, given: Readonly<Record<string, unknown>>): Values {
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
    if (isSaid(key, given[key]))
      throw refuse(
        "an option is given and tried",
        key,
        "one of the two",
        given[key],
        "put its value among those to try",
      );
  }
  return Object.fromEntries(
    Object.keys(triedOptions).flatMap((key) => (Object.hasOwn(tried, key) ? [[key, tried[key as never]]] : [])),
  );
}

/** Whether a value says something: neither absent nor the default. */
const isSaid = (key: string, value: unknown): boolean =>
  value !== undefined &&
  value !== null &&
  JSON.stringify(value) !== JSON.stringify((tuneOptions as OptionTable)[key]?.default);

/** More cannot be gone through one by one. */
const mostCombinations = 100_000;

/**
 * Every combination, or so many of them, each once: one that does not read an option (the rank of LoRA with a method that has none) stands for
 * all values of it.
 * @throws SoftpromptError "usage" for an option that no combination reads, and for too many
 */
async function settingsOf(
  model: Model,
  rows: Dataset,
  given: Readonly<Record<string, unknown>>,
  { tried, most = mostCombinations }: { readonly tried: Values; readonly most: number | undefined },
): Promise<{ readonly found: readonly Setting[]; readonly left: number }> {
  const total = Object.values(tried).reduce((product, values) => product * values.length, 1);
  if (total > mostCombinations)
    throw new SoftpromptError("usage", "there are too many combinations", {
      where: "try",
      expected: `at most ${mostCombinations}`,
      got: total,
      hint: "give fewer values; mostSettings says how many of the combinations are trained",
    });
  const order =
    total > most ? random(drawSeed, "sweep").permutation(total) : Int32Array.from({ length: total }, (_, n) => n);
  const found = new Map<string, Setting & { readonly at: number }>();
  const read = new Set<string>();
  const unread = new Map<string, Unread>();
  let visited = 0;
  for (const at of order) {
    if (found.size === most) break;
    visited++;
    const asked: Readonly<Record<string, unknown>> = { ...given, ...combinationAt(tried, at) };
    const { options, ignored } = await readBy(model, rows, asked);
    for (const key of Object.keys(asked))
      if (ignored.has(key)) unread.set(key, ignored.get(key)!);
      else read.add(key);
    const own = Object.fromEntries(Object.entries(asked).filter(([key]) => !ignored.has(key)));
    const values = Object.fromEntries(
      Object.keys(tried).flatMap((key) => (Object.hasOwn(own, key) ? [[key, own[key]]] : [])),
    );
    const key = JSON.stringify(values);
    if (!found.has(key)) found.set(key, { at, label: labelOf(values), values, given: own, options });
  }
  for (const [key, { expected, got }] of unread) {
    if (read.has(key)) continue;
    if (Object.hasOwn(tried, key))
      throw new SoftpromptError("usage", "no combination reads this option", {
        where: `try: ${key}`,
        expected,
        got,
        hint: `give ${expected}, or try that too`,
      });
    if (isSaid(key, given[key])) throw noEffect(key, expected, got);
  }
  const settings = [...found.values()].sort((a, b) => a.at - b.at).map(({ at: _, ...setting }) => setting);
  return { found: settings, left: total - visited };
}

/** The n-th combination; the values of the last option change first. */
function combinationAt(tried: Values, n: number): Record<string, unknown> {
  const found: [string, unknown][] = [];
  let rest = n;
  for (const [key, values] of Object.entries(tried).reverse()) {
    found.unshift([key, values[rest % values.length]]);
    rest = Math.floor(rest / values.length);
  }
  return Object.fromEntries(found);
}

/** With what an option would be read, and what there is instead. */
interface Unread {
  readonly expected: string;
  readonly got: string;
}

/** The options of a training, those that it does not read at their defaults, and which these are. */
async function readBy(
  model: Model,
  rows: Dataset,
  asked: Readonly<Record<string, unknown>>,
): Promise<{ readonly options: TuneOptions; readonly ignored: ReadonlyMap<string, Unread> }> {
  const values = readOptions(tuneOptions, await withOwnRate(asked, model.checkpoint), "sweep()") as TuneOptions;
  const options = withPlannedSteps(values);
  const reader = withInit(options, rows, model);
  const { method, optimizer } = options;
  const kind: MethodKind = methods[method];
  const numbers = (virtualTokens: number) =>
    sizeOf(openMethod({ ...options, virtualTokens }), model.checkpoint.config, virtualTokens).numbers;
  const own: Readonly<Record<string, Unread | false>> = {
    // of the same size with one more, it has none
    virtualTokens: numbers(1) === numbers(2) && { expected: "a method with virtual tokens", got: `method ${method}` },
    init: kind.ownStart === true && { expected: "a method that starts from a prompt", got: `method ${method}` },
    momentum: optimizer !== "sgd" && { expected: "optimizer sgd", got: `optimizer ${optimizer}` },
    steps: options.steps !== values.steps && {
      expected: "no stageSteps that hold all steps",
      got: `stageSteps ${options.stageSteps}`,
    },
  };
  const ignored = new Map<string, Unread>();
  for (const key of Object.keys(asked)) {
    const why = unreadWith(key, reader) ?? own[key];
    if (why) ignored.set(key, why);
  }
  // the number of steps is the planned one
  const usual = [...ignored.keys()].filter((key) => key !== "steps");
  return { options: { ...options, ...withDefaults(usual) }, ignored };
}

const withDefaults = (keys: readonly string[]): Partial<TuneOptions> =>
  Object.fromEntries(keys.map((key) => [key, (tuneOptions as OptionTable)[key]!.default]));

/** The runs of each setting, by seed. Seeds are the outer loop, so that every setting has a score early. */
async function runSettings(planned: PlannedSweep): Promise<Run[][]> {
  const { plan, settings, parent } = planned;
  const together = parent.workers > 1;
  if (together) await trainInChildren(planned);
  const units = unitsOf(planned);
  const { left, ended } = forecast(units);
  const runs: Run[][] = settings.map(() => []);
  for (const [index, { task, seed, label }] of units.entries()) {
    const setting = settings[index % settings.length]!;
    const { input, steps } = countingSteps({ ...setting.input, folder: plan.folder });
    // results of child processes are only read back
    const tell = together ? () => {} : input.observe;
    tell({ kind: "run", index, total: units.length, task, seed, label, left: left() });
    const begun = performance.now();
    const run = await runSetting({ ...setting, input }, seed);
    const seconds = (performance.now() - begun) / 1000;
    const found = scoreOf(run, setting.dataset);
    const more = { ...("failed" in found && { failed: found.failed }), ...(steps() === 0 && { kept: true as const }) };
    ended(index, steps() > 0 && !("failed" in found) ? seconds : null);
    runs[index % settings.length]!.push(run);
    const score = "failed" in found ? Number.NaN : found.first;
    tell({ kind: "done", index, total: units.length, score, seconds, ...more });
  }
  return runs;
}

/** Trains every setting with every seed in child processes. @param module that they run; default their own program */
export function trainInChildren(planned: PlannedSweep, module?: string): Promise<void> {
  return inProcesses(planned.parent, { kind: "sweep", ...planned.plan }, unitsOf(planned), module);
}

/** The trainings in their order: every setting with the first seed, then with the next. */
const unitsOf = ({ plan: { seeds, rows }, settings }: PlannedSweep): UnitName[] =>
  seeds.flatMap((seed) => settings.map(({ label }) => ({ method: label, label, task: rows.task.name, seed })));

/** Best first. @throws SoftpromptError "numeric" where none was trained */
export function rank(
  settings: readonly Readied[],
  runs: readonly (readonly Run[])[],
  seeds: readonly number[],
): (Ranked & { readonly of: Readied })[] {
  const all = settings.map((of, n) => {
    const own = runs[n]!;
    const found = own.map((run) => scoreOf(run, of.dataset));
    const [failed] = found.flatMap((one) => ("failed" in one ? [one.failed] : []));
    const scores = found.map((one) => ("failed" in one ? null : one));
    const costs = own.map(costOf);
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
        flops: costs.reduce((total, { flops }) => total + flops, 0),
        seconds: costs.reduce((total, { seconds }) => total + seconds, 0),
      },
      shown: scores.map((one) => (one === null ? null : 100 * one.first)),
      failed: !whole,
    };
  });
  if (all.every(({ failed }) => failed))
    throw new SoftpromptError("numeric", "no setting could be trained", {
      where: "sweep()",
      expected: "one under which losses and gradients stay finite",
      got: all.map(({ told }) => `${told.label}: ${told.failed}`).join("; "),
      hint: "try smaller learning rates",
    });
  // sums of equal scores in another order differ in their last digits
  const mean = ({ told }: Ranked) =>
    Number((told.scores.reduce((total: number, score) => total + score!, 0) / seeds.length).toFixed(9));
  return all.sort((a, b) => {
    if (a.failed || b.failed) return Number(a.failed) - Number(b.failed);
    return mean(b) - mean(a) || a.told.loss! - b.told.loss!;
  });
}
