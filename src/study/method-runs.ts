/**
 * @file What the comparison of methods runs: for each method and task a search for the learning rate, then every seed at the rate found.
 *
 * In: ComparisonInput. Out: MethodRuns. The rate is chosen on a holdout of the training rows, once per method and task with the first seed;
 * what that costs belongs to the method. Validation rows are not used for choosing: a run's result is that of its last step. Every training
 * is a cell.
 */
import { SoftpromptError } from "../base/errors.js";
import { sha256 } from "../base/files.js";
import { defaults, type OptionValues } from "../base/options.js";
import { withoutColumns } from "../data/define.js";
import type { Dataset, Task } from "../data/row.js";
import { holdout } from "../data/split.js";
import { evaluate, evaluationOptions, scoredRows } from "../evaluate/evaluate.js";
import { drawExamples, inContext } from "../evaluate/in-context.js";
import { methodOptions } from "../method/options.js";
import { fullModel } from "../model/partial.js";
import { roundingFacts } from "../model/quantise.js";
import { type PruneOptions, pruneOptions } from "../prune/options.js";
import { presetSchedule } from "../schedule/options.js";
import { ownRate } from "../tasks/learning-rate.js";
import { scheduleFor } from "../tasks/planning.js";
import type { HistoryEntry } from "../train/types.js";
import { keptRun } from "./kept-runs.js";
import {
  type ComparableName,
  type ComparisonOptions,
  isProgressive,
  isTrained,
  isUntrained,
} from "./method-options.js";
import {
  adapterBytes,
  checkVariant,
  type FailedRun,
  type FinishedRun,
  type MethodSize,
  named,
  planOptions,
  runOne,
  type StudyInput,
  trialScore,
  type Variant,
} from "./runs.js";
import { checkCases, forEachSearch } from "./xprompt-runs.js";
import type { XPromptStudyInput } from "./xprompt-types.js";
import { variants as xpromptVariants } from "./xprompt-variants.js";

/** The input of the comparison, besides that of every study. */
export interface ComparisonInput extends StudyInput {
  readonly comparison: ComparisonOptions;
  readonly prune: PruneOptions;
}

/** A method on a task with a seed. */
export interface MethodRun {
  readonly method: ComparableName;
  readonly task: string;
  readonly seed: number;
  /** After the last step, by the task's first metric, on validation rows. */
  readonly score: number;
  /**
   * Evaluations on the full model, in order of the steps; empty if there is no stepwise training here. Their FLOPs are all that the training
   * had spent by then, `before` included.
   */
  readonly history: readonly HistoryEntry[];
  /** Total FLOPs of the training before its first step: neuron scores. */
  readonly before: number;
  /** null where nothing is trained. */
  readonly size: MethodSize | null;
  /** Cost of training alone, including opening sessions and neuron scores; for a search for a mask its total cost. */
  readonly training: Cost;
  /** Total FLOPs of one answer, as the mean over the scored rows; null if it was not measured separately. */
  readonly answerFlops: number | null;
  /** The learning rate and the cost of finding it; null if there is none. */
  readonly search: RateSearch | null;
}

export interface Cost {
  readonly flops: number;
  readonly seconds: number;
}

/** How a learning rate was found. */
export interface RateSearch extends Cost {
  readonly rate: number;
  /** Rates that were tried and their scores on the holdout. */
  readonly tried: readonly TriedRate[];
}

/** A learning rate that was tried. */
export interface TriedRate {
  readonly rate: number;
  /** null if the training failed. */
  readonly score: number | null;
  /** What went wrong; absent where nothing did. */
  readonly failed?: string;
}

/** A method on a task: the smallest unit of work that is independent of others. */
export interface Unit {
  readonly method: ComparableName;
  readonly dataset: Dataset;
}

/**
 * Whether a unit can be run; runs no model. A study of hours must not end at its last method for what was known at the beginning.
 * @throws SoftpromptError "usage", "data", naming method and task
 */
export function checkUnit(input: ComparisonInput, { method, dataset }: Unit): void {
  const { comparison, seeds } = input;
  const { task, train } = dataset;
  const check = (work: () => void) => {
    try {
      work();
    } catch (error) {
      throw named(error, `${method} on ${task.name}`);
    }
  };
  if (method === "instruction") check(() => instructionOf(task, comparison));
  else if (method === "few-shot") check(() => drawExamples(train, comparison.shots, seeds[0]!));
  else {
    if (ratesOf(input).length > 1) check(() => searchRows(input, dataset));
    const rate = input.settings.learningRate;
    if (method === "xprompt") check(() => checkCases(searchInput(input, dataset, seeds[0]!, rate), [whole], ["both"]));
    // its label has no rate: that is not known yet
    else checkVariant(input, dataset, { ...variantOf(input, method, rate), label: method });
  }
}

export function unitsOf({ tasks, comparison: { methods: names } }: ComparisonInput): Unit[] {
  return (names ?? []).flatMap((method) => tasks.map((dataset) => ({ method, dataset })));
}

/** Called when a run begins and ends. @param outcome what its end tells */
export type TellRun = <R>(
  what: { readonly label: string; readonly task: string; readonly seed: number },
  run: () => Promise<R>,
  outcome: (found: R) => { readonly score: number; readonly failed?: string },
) => Promise<R>;

/** Runs a unit on every seed, or reads it back. @throws SoftpromptError as runOne; "usage" for what cannot be compared. */
export async function runUnit(input: ComparisonInput, { method, dataset }: Unit, tell: TellRun): Promise<MethodRun[]> {
  const each = async (run: (seed: number) => Promise<MethodRun>) => {
    const runs: MethodRun[] = [];
    for (const seed of input.seeds)
      runs.push(
        await tell(
          { label: method, task: dataset.task.name, seed },
          () => run(seed),
          ({ score }) => ({ score }),
        ),
      );
    return runs;
  };
  if (isUntrained(method)) return each((seed) => untrainedRun(input, method, dataset, seed));
  const search = await chooseRate(input, method === "xprompt" ? "prompt" : method, dataset, tell);
  if (method === "xprompt") return each((seed) => xpromptRun(input, dataset, seed, search));
  const rows = scoredRows(dataset.validation, input.settings).length;
  return each(async (seed) =>
    trainedRun(
      method,
      await runOne(input, dataset, seed, variantOf(input, method, search.rate)),
      dataset,
      rows,
      search,
    ),
  );
}

/** The methods of the runs that a unit reports, in order: XPrompt's rate is prompt tuning's. */
export function runsOf(input: ComparisonInput, { method }: Unit): ComparableName[] {
  const rates = ratesOf(input);
  const searched = isUntrained(method) || rates.length === 1 ? [] : rates;
  return [...searched.map(() => (method === "xprompt" ? "prompt" : method)), ...input.seeds.map(() => method)];
}

/** The rates to try, each once, as factors of a method's own. */
const ratesOf = ({ comparison: { rateFactors } }: Pick<ComparisonInput, "comparison">) => [...new Set(rateFactors)];

/** A task with the rows of the search for a rate: trained on most of the training rows, scored on those held out. */
function searchRows({ comparison: { searchHoldout }, seeds }: ComparisonInput, dataset: Dataset): Dataset {
  const { kept, held } = holdout(dataset.train, { fraction: searchHoldout, seed: seeds[0]! });
  return { ...dataset, train: kept, validation: held };
}

function trainedRun(
  method: ComparableName,
  { task: name, seed, result, scoring, size }: FinishedRun,
  { task }: Dataset,
  rows: number,
  search: RateSearch,
): MethodRun {
  const { cost } = result;
  const before = scoring?.flops ?? 0;
  const history = result.history
    .filter(({ partial }) => partial === "full")
    .map((entry) => ({ ...entry, flops: before + entry.flops }));
  return {
    method,
    task: name,
    seed,
    score: history.at(-1)?.scores[task.metrics[0]] ?? Number.NaN,
    history,
    before,
    size: size ?? null,
    training: {
      flops: before + cost.trainFlops,
      seconds: cost.trainSeconds + cost.openSeconds + (scoring?.seconds ?? 0),
    },
    // evaluations of partial models would make the cost of an answer look too low
    answerFlops: history.length === result.history.length && rows > 0 ? cost.evalFlops / (history.length * rows) : null,
    search,
  };
}

/** The training of a method at a rate. */
function variantOf({ comparison }: ComparisonInput, name: ComparableName, learningRate: number): Variant {
  const trained = isTrained(name) ? name : "prompt";
  const own = Object.fromEntries(Object.keys(methodOptions).map((key) => [key, comparison[key as never]]));
  const method = { ...defaults(methodOptions), ...own, method: trained } as OptionValues<typeof methodOptions>;
  return {
    label: `${name} ${rateText(learningRate)}`,
    schedule: presetSchedule(isProgressive(name) ? name : "vanilla"),
    method,
    settings: { learningRate },
  };
}

const rateText = (rate: number) => String(Number(rate.toPrecision(4)));

/** The best of the rates on held out training rows, by what the task selects by; of equal scores the one of lower loss. */
async function chooseRate(
  input: ComparisonInput,
  name: ComparableName,
  dataset: Dataset,
  tell: TellRun,
): Promise<RateSearch> {
  const own = await ownRate(isTrained(name) ? name : "prompt", input.engine.checkpoint);
  const rates = ratesOf(input).map((factor) => factor * own);
  if (rates.length === 1) return { rate: rates[0]!, flops: 0, seconds: 0, tried: [] };
  const seed = input.seeds[0]!;
  const searched = searchRows(input, dataset);
  // intermediate evaluations are not used for choosing
  const quiet = { ...input, settings: { ...input.settings, evalEvery: input.schedule.steps } };
  // the rates share one pass of neuron scores: the trainings below read it back
  const planned = planOptions(quiet, variantOf(input, name, own), seed);
  const { scoring } = await scheduleFor(quiet, searched, planned, quiet);
  const before: Cost = scoring ?? { flops: 0, seconds: 0 };
  const tried: (TrialRate & { readonly cost: Cost })[] = [];
  for (const rate of rates) {
    const run = await tell(
      { label: `${name}, rate ${rateText(rate)} on held out rows`, task: dataset.task.name, seed },
      () => runOne(quiet, searched, seed, variantOf(input, name, rate), "held-out"),
      (found) => trialOf(found, dataset.task).told,
    );
    tried.push({ rate, ...trialOf(run, dataset.task).trial, cost: "failed" in run ? run.cost : run.result.cost });
  }
  const best = bestRate(tried, name, dataset.task.name);
  const sum = (of: (cost: Cost) => number) => tried.reduce((total, { cost }) => total + of(cost), of(before));
  return {
    rate: best.rate,
    flops: sum(({ flops }) => flops),
    seconds: sum(({ seconds }) => seconds),
    tried: tried.map(({ loss: _, cost: __, ...rate }) => rate),
  };
}

/** A rate that was tried, and what chooses among them. */
export interface TrialRate extends TriedRate {
  /** On held out rows; decides between equal scores. */
  readonly loss: number;
}

/** How a trial ended, and what is told of it. */
function trialOf(run: FinishedRun | FailedRun, task: Task) {
  const found = trialScore(run, task, ({ history }) => history.at(-1)!);
  if ("failed" in found)
    return {
      trial: { score: null, loss: Number.NaN, failed: found.failed },
      told: { score: Number.NaN, failed: found.failed },
    };
  const { score, first, loss } = found;
  return { trial: { score, loss }, told: { score: first } };
}

/**
 * The rate of the best score; of equal scores the one of lower loss, of equal losses the first. One that failed is not taken.
 * @throws SoftpromptError "numeric" where every rate failed, naming all
 */
export function bestRate<T extends TrialRate>(tried: readonly T[], method: string, task: string): T {
  const able = tried.filter(({ failed }) => failed === undefined);
  if (able.length > 0)
    return able.reduce((top, one) =>
      one.score! > top.score! || (one.score === top.score && one.loss < top.loss) ? one : top,
    );
  throw new SoftpromptError("numeric", `no learning rate trains ${method}`, {
    where: `${method} on ${task}`,
    expected: "a rate under which losses and gradients stay finite",
    got: tried.map(({ rate, failed }) => `${rateText(rate)}: ${failed}`).join("; "),
    hint: "give smaller --rate-factors",
  });
}

/** The frozen model with in-context examples or instructions. */
async function untrainedRun(
  input: ComparisonInput,
  method: "few-shot" | "instruction",
  dataset: Dataset,
  seed: number,
): Promise<MethodRun> {
  const { engine, tokenizer, settings, comparison, signal } = input;
  const { task, train, validation } = dataset;
  const rows = scoredRows(validation, settings);
  const before =
    method === "few-shot"
      ? { instruction: null, examples: drawExamples(train, comparison.shots, seed) }
      : { instruction: instructionOf(task, comparison), examples: [] };
  const asked = inContext(task, rows, before, tokenizer, settings.maxInputTokens).rows;
  const options = evaluationOptions(settings);
  const { device, lowMemory, plainOps } = engine.options;
  const inputs = {
    model: await engine.checkpoint.sha256(),
    tokenizer: tokenizer.sha256,
    rules: tokenizer.rules ?? null,
    engine: { device, lowMemory, plainOps, ...roundingFacts(engine) },
    task: withoutColumns(task),
    rows: sha256(JSON.stringify(asked)),
    options,
  };
  // an instruction is the same for every seed, and so are its answers
  const name = method === "instruction" ? `${task.name}-${method}` : `${task.name}-seed${seed}-${method}`;
  const { scores, flops } = await keptRun(input.folder, name, inputs, async () => {
    const full = fullModel(engine.checkpoint.config);
    const found = await evaluate(engine, full, tokenizer, task, asked, null, { ...options, signal });
    return { scores: found.scores, flops: found.flops };
  });
  return {
    method,
    task: task.name,
    seed,
    score: scores[task.metrics[0]] ?? Number.NaN,
    history: [],
    before: 0,
    size: null,
    training: { flops: 0, seconds: 0 },
    answerFlops: rows.length > 0 ? flops / rows.length : null,
    search: null,
  };
}

/** The text of method instruction. */
export function instructionOf(
  { name, verbalizer }: Pick<Task, "name" | "verbalizer">,
  { instructions }: Pick<ComparisonOptions, "instructions">,
): string {
  const own = instructions !== undefined && Object.hasOwn(instructions, name) ? instructions[name] : undefined;
  if (own !== undefined) return own;
  if (verbalizer !== null) return `Answer with one of these: ${Object.values(verbalizer).join(", ")}.`;
  throw new SoftpromptError("usage", "this task has no label words to make an instruction of", {
    where: name,
    expected: `--instructions ${name}=TEXT`,
  });
}

/** XPrompt at the rate of prompt tuning: its mask is chosen on held out training rows. */
async function xpromptRun(
  input: ComparisonInput,
  dataset: Dataset,
  seed: number,
  search: RateSearch,
): Promise<MethodRun> {
  const { checkpoint } = input.engine;
  const found: MethodRun[] = [];
  await forEachSearch(
    searchInput(input, dataset, seed, search.rate),
    [whole],
    async (opened) => {
      const { score, counts, flops, seconds, prompt } = await xpromptVariants.xprompt.run(opened);
      found.push({
        method: "xprompt",
        task: dataset.task.name,
        seed,
        score,
        history: [],
        before: 0,
        size: { trained: counts.parameters, adapterBytes: await adapterBytes(checkpoint, dataset.task, { prompt }) },
        training: { flops, seconds },
        answerFlops: null,
        search,
      });
    },
    ["both"],
  );
  return found[0]!;
}

/** XPrompt as one line has no cases. */
const whole = { label: "" };

/** The input of one search for a mask at a rate. */
function searchInput(input: ComparisonInput, dataset: Dataset, seed: number, learningRate: number): XPromptStudyInput {
  const share = input.prune.holdout > 0 ? input.prune.holdout : Math.min(input.comparison.searchHoldout, mostHeldOut);
  return {
    ...input,
    tasks: [dataset],
    seeds: [seed],
    settings: { ...input.settings, learningRate },
    prune: { ...input.prune, holdout: share, workers: 1 },
    schedule: { ...input.schedule, ...presetSchedule("vanilla") },
    workers: { count: 1 },
    observe: (event) => {
      if (event.kind !== "search") return;
      if (event.event.kind === "tune" || event.event.kind === "candidate")
        input.observe({ kind: "train", event: event.event.event });
    },
  };
}

/** As the option of a search expects it. */
const mostHeldOut = pruneOptions.holdout.max ?? 1;
