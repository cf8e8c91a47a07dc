/**
 * @file Compares methods of tuning: scores, sizes, cost, scores after given steps and at equal FLOPs, and paired differences to prompt
 * tuning.
 *
 * In: ComparisonInput. Out: StudyResult. For one seed every method has the same start prompt, rows and order of rows. Each method has its
 * own learning rate.
 */
import { SoftpromptError } from "../base/errors.js";
import type { Dataset } from "../data/row.js";
import { majorityBaseline, scoredRows } from "../evaluate/evaluate.js";
import { type ScheduleOptions, scheduleOptions } from "../schedule/options.js";
import { isFreeText } from "../text/rows.js";
import type { HistoryEntry } from "../train/types.js";
import { forecast } from "./left.js";
import { type ComparableName, isUntrained } from "./method-options.js";
import {
  type ComparisonInput,
  checkUnit,
  type MethodRun,
  type RateSearch,
  runsOf,
  runUnit,
  type TellRun,
  type Unit,
  unitsOf,
} from "./method-runs.js";
import { checkSeeds, checkTasks, countingSteps, rowsText, withRuns } from "./runs.js";
import {
  type Cell,
  type Chart,
  type Column,
  differenceDots,
  dotsOf,
  paired,
  pairedCells,
  pairedColumns,
  pairedNote,
  type Series,
  type Spread,
  type StudyResult,
  spread,
  type Table,
} from "./study.js";
import { inProcesses } from "./unit-pool.js";

/** The method with which every other is paired. */
const reference: ComparableName = "prompt";
/** Budgets of the table of equal FLOPs, as shares of what prompt tuning's training spends. */
const budgets = [0.25, 0.5, 1];

/**
 * Runs the comparison and makes its tables.
 * @throws SoftpromptError as the runs; "usage" for methods that are named twice, or none, and before the first run for one that cannot be
 * run on a task.
 */
export async function compareMethods(given: ComparisonInput): Promise<StudyResult> {
  // scoring neurons on validation rows would be a choice by validation rows
  const input: ComparisonInput = { ...given, scoring: { ...given.scoring, scoreSplit: "train" } };
  checkSeeds(input.seeds);
  checkTasks(input.tasks);
  const names = input.comparison.methods ?? [];
  if (names.length === 0 || new Set(names).size < names.length)
    throw new SoftpromptError("usage", names.length === 0 ? "no methods are given" : "a method is named twice", {
      where: "methods",
      expected: "one method or more, each once",
      got: names,
    });
  const { rateFactors } = input.comparison;
  if (rateFactors.length === 0 || rateFactors.some((factor) => factor === 0))
    throw new SoftpromptError("usage", "there is no learning rate to try", {
      where: "rateFactors",
      expected: "one factor or more, each above 0; 1 is each method's own rate",
      got: rateFactors,
    });
  const units = unitsOf(input);
  for (const unit of units) checkUnit(input, unit);
  const shared = (input.prune.workers ?? 1) > 1 && input.folder !== null;
  if (shared) await inChildren(input, units);
  const runs: MethodRun[] = [];
  // results of child processes are only read back
  const counting = countingSteps(input);
  const tell: TellRun = shared ? (_, run) => run() : told(counting.input, units, counting.steps);
  // XPrompt reads back the search for prompt tuning's rate
  await withRuns(input, async (folder) => {
    for (const unit of units) runs.push(...(await runUnit({ ...counting.input, folder }, unit, tell)));
  });
  return methodTables(input.tasks, input.seeds, names, runs, {
    scoreSteps: input.comparison.scoreSteps,
    maxEvalRows: input.settings.maxEvalRows,
    settings: {
      model: input.engine.checkpoint.name,
      tasks: input.tasks.map((dataset) => rowsText(dataset, input.settings)),
      seeds: input.seeds,
      steps: input.schedule.steps,
      batchSize: input.settings.batchSize,
      evalEvery: input.settings.evalEvery,
      maxEvalRows: input.settings.maxEvalRows,
      maxInputTokens: input.settings.maxInputTokens,
      virtualTokens: input.virtualTokens,
      rateFactors: input.comparison.rateFactors,
      searchHoldout: input.comparison.searchHoldout,
      shots: input.comparison.shots,
    },
  });
}

/** Runs the units in child processes. @param module that they run; default their own program @throws SoftpromptError as inProcesses */
export function inChildren(
  { engine, tokenizer, observe, signal, ...work }: ComparisonInput,
  units: readonly Unit[],
  module?: string,
): Promise<void> {
  const workers = work.prune.workers ?? 1;
  const names = units.map(({ method, dataset }) => ({
    ...{ method, label: method },
    ...{ task: dataset.task.name, seed: work.seeds[0]! },
  }));
  return inProcesses({ engine, tokenizer, observe, signal, workers }, { kind: "methods", ...work }, names, module);
}

/** Reports every run with its number among all. @param steps how many were trained so far */
function told(input: ComparisonInput, units: readonly Unit[], steps: () => number): TellRun {
  const all = units.flatMap((unit) => runsOf(input, unit).map((method) => ({ method, task: unit.dataset.task.name })));
  const total = all.length;
  const { left, ended } = forecast(all);
  let index = -1;
  return async ({ label, task, seed }, run, outcome) => {
    index++;
    const at = index;
    input.observe({ kind: "run", index: at, total, task, seed, label, left: left() });
    const [started, before] = [performance.now(), steps()];
    const found = await run();
    const seconds = (performance.now() - started) / 1000;
    const { score, failed } = outcome(found);
    // a training that failed after a few steps says nothing of a whole one
    const asked = isUntrained(all[at]!.method);
    ended(at, asked || (steps() > before && failed === undefined) ? seconds : null);
    const kept = !asked && steps() === before;
    const told = { score, seconds, ...(kept && { kept }), ...(failed !== undefined && { failed }) };
    input.observe({ kind: "done", index: at, total, ...told });
    return found;
  };
}

/** The tables from finished runs; pure. */
export function methodTables(
  tasks: readonly Dataset[],
  seeds: readonly number[],
  names: readonly ComparableName[],
  runs: readonly MethodRun[],
  of: {
    readonly scoreSteps: readonly number[];
    readonly maxEvalRows: number;
    readonly settings: StudyResult["settings"];
  },
): StudyResult {
  const find = (method: ComparableName, task: string, seed: number) =>
    runs.find((run) => run.method === method && run.task === task && run.seed === seed)!;
  /** One number per seed: the mean over tasks; null if one was not measured. */
  const perSeed = (value: (dataset: Dataset, seed: number) => number | null) =>
    seeds.map((seed) => mean(tasks.map((dataset) => value(dataset, seed))));
  const score = (method: ComparableName) => (dataset: Dataset, seed: number) =>
    percent(find(method, dataset.task.name, seed).score);
  const ofRun =
    (method: ComparableName, value: (run: MethodRun) => number | null) =>
    ({ task }: Dataset, seed: number) =>
      value(find(method, task.name, seed));
  const average = (method: ComparableName, value: (run: MethodRun) => number | null) =>
    mean(perSeed(ofRun(method, value)));
  /** The last known score of a method when it had spent a given share of prompt tuning's training FLOPs. */
  const within = (method: ComparableName, share: number) => (dataset: Dataset, seed: number) => {
    const run = find(method, dataset.task.name, seed);
    if (isUntrained(method)) return percent(run.score);
    const spent = names.includes(reference) ? find(reference, dataset.task.name, seed).training.flops : null;
    return spent === null ? null : percentOrNull(lastWithin(run, dataset, share * spent));
  };
  const scores: Table = {
    title: "Methods: score after the last step, and what it takes",
    columns: [
      { name: "method" },
      ...tasks.map(({ task }) => ({ name: `${task.name} ${task.metrics[0]}` })),
      { name: "average" },
      { name: "trained numbers", digits: 0 },
      { name: "adapter", unit: "kB", digits: 1 },
      { name: "training", unit: "GFLOP", digits: 1 },
      { name: "search", unit: "GFLOP", digits: 1 },
      { name: "one answer", unit: "GFLOP", digits: 3 },
      { name: "training", unit: "s", digits: 1 },
      { name: "search", unit: "s", digits: 1 },
    ],
    rows: names.map((method) => [
      method,
      ...tasks.map((dataset) => spreadOfAll(seeds.map((seed) => score(method)(dataset, seed)))),
      spreadOfAll(perSeed(score(method))),
      average(method, ({ size }) => size?.trained ?? null),
      scaled(
        average(method, ({ size }) => size?.adapterBytes ?? null),
        1e3,
      ),
      scaled(
        average(method, ({ training }) => training.flops),
        1e9,
      ),
      scaled(
        average(method, ({ search }) => search?.flops ?? 0),
        1e9,
      ),
      scaled(
        average(method, ({ answerFlops }) => answerFlops),
        1e9,
      ),
      average(method, ({ training }) => training.seconds),
      average(method, ({ search }) => search?.seconds ?? 0),
    ]),
  };
  const steps = of.scoreSteps.filter((step) =>
    runs.some(({ history }) => history.some((entry) => entry.step === step)),
  );
  const after = (method: ComparableName, step: number) => (dataset: Dataset, seed: number) =>
    percentOrNull(
      find(method, dataset.task.name, seed).history.find((entry) => entry.step === step)?.scores[
        dataset.task.metrics[0]
      ] ?? null,
    );
  const byStep: Table = {
    title: "Score after so many steps, mean over tasks",
    columns: [{ name: "method" }, ...steps.map((step): Column => ({ name: `${step} steps` }))],
    rows: names
      .filter((method) => runs.some((run) => run.method === method && run.history.length > 0))
      .map((method) => [method, ...steps.map((step) => spreadOfAll(perSeed(after(method, step))))]),
  };
  const byFlops: Table = {
    title: "Score at equal training FLOPs, mean over tasks",
    columns: [{ name: "method" }, ...budgets.map((share): Column => ({ name: `${100 * share} % of prompt tuning's` }))],
    rows: names.map((method) => [method, ...budgets.map((share) => spreadOfAll(perSeed(within(method, share))))]),
  };
  const against = (
    mine: (d: Dataset, s: number) => number | null,
    theirs: (d: Dataset, s: number) => number | null,
  ) => {
    const all = tasks.flatMap((dataset) => seeds.map((seed) => less(mine(dataset, seed), theirs(dataset, seed))));
    return measured(all) ? paired(all) : null;
  };
  const pairs: Table = {
    title: "Against prompt tuning, pair by pair",
    columns: [{ name: "pair" }, { name: "first − second", unit: "points" }, ...pairedColumns],
    rows: names.includes(reference)
      ? names
          .filter((method) => method !== reference)
          .flatMap((method): Cell[][] => {
            const last = against(score(method), score(reference));
            const equal = against(within(method, 1), within(reference, 1));
            return [
              [`${method} − ${reference}`, last?.mean ?? null, ...pairedCells(last)],
              [`${method} − ${reference}, equal FLOPs`, equal?.mean ?? null, ...pairedCells(equal)],
            ];
          })
      : [],
  };
  const last = Math.max(0, ...runs.map(({ history }) => history.at(-1)?.step ?? 0));
  const early = steps.filter((step) => step < last);
  const pairsByStep: Table = {
    title: "Against prompt tuning after so many steps, pair by pair",
    columns: [
      { name: "pair" },
      { name: "steps", digits: 0 },
      { name: "first − second", unit: "points" },
      ...pairedColumns,
    ],
    rows: (names.includes(reference) ? names : [])
      .filter((method) => method !== reference && !isUntrained(method))
      .flatMap((method) =>
        early.flatMap((step): Cell[][] => {
          const found = against(after(method, step), after(reference, step));
          return found === null ? [] : [[`${method} − ${reference}`, step, found.mean, ...pairedCells(found)]];
        }),
      ),
  };
  return {
    study: "methods",
    title: "Methods of tuning",
    tables: [
      scores,
      ...(steps.length > 0 ? [byStep] : []),
      ...(names.includes(reference) ? [byFlops, pairs] : []),
      ...(names.includes(reference) && pairsByStep.rows.length > 0 ? [pairsByStep] : []),
      rateTable(tasks, seeds, names, find),
    ],
    dots: [...dotsOf(scores, "average"), ...differenceDots(pairs)],
    charts: tasks.flatMap((dataset) => curves(dataset, seeds, names, find)),
    matrices: [],
    scores: runs.map((run) => ({
      line: run.method,
      task: run.task,
      seed: run.seed,
      metric: tasks.find(({ task }) => task.name === run.task)!.task.metrics[0],
      score: percentOrNull(run.score),
      ...(!isUntrained(run.method) && { flops: run.training.flops, seconds: run.training.seconds }),
    })),
    notes: [
      `Always the most frequent label: ${tasks.map((dataset) => `${dataset.task.name} ${majority(dataset, of.maxEvalRows)}`).join(", ")}.`,
      "Scores are of the validation rows after the last step, by the task's first metric, × 100; the validation rows choose nothing. ± is the sample standard deviation over seeds.",
      `${
        tasks.some(({ task }) => names.some((name) => wasSearched(find(name, task.name, seeds[0]!))))
          ? "The learning rate is chosen per method and task on held out training rows with the first seed; its FLOPs and seconds, evaluations included, are the search's."
          : "One learning rate was given for each method, so none was searched for."
      } A training's FLOPs and seconds are those of its steps, without evaluations; XPrompt's are of all that its search for a mask took, and its rate is prompt tuning's.`,
      "At equal FLOPs a method has the last score on the full model that it had when its training, neuron scores included, had spent so much of prompt tuning's FLOPs; none where it was not evaluated by then. Its resolution is the evaluation interval.",
      ...failedRates(tasks, seeds, names, find),
      ...atGridEnds(tasks, seeds, names, find),
      ...(names.includes("xprompt")
        ? [
            "XPrompt chooses its mask on training rows that it holds out, so its prompts are trained on fewer rows than those of the other methods.",
          ]
        : []),
      pairedNote,
      "“One answer” is the mean FLOPs of scoring a validation row, its examples and its labels included. Seconds are of the machine at that time, with whatever else ran on it.",
    ],
    settings: of.settings,
  };
}

/** Whether a run's rate was chosen among several. */
const wasSearched = ({ search }: MethodRun) => search !== null && search.tried.length > 0;

/** The run of a method on a task with a seed. */
type FindRun = (method: ComparableName, task: string, seed: number) => MethodRun;

/** Which rates were tried, what they scored on held out rows, and which was taken. */
function rateTable(
  tasks: readonly Dataset[],
  seeds: readonly number[],
  names: readonly ComparableName[],
  find: FindRun,
): Table {
  const searched = names.some((method) => tasks.some(({ task }) => wasSearched(find(method, task.name, seeds[0]!))));
  return {
    title: searched ? "Learning rates, chosen on held out training rows" : "Learning rates; none was searched for",
    columns: [{ name: "method" }, { name: "task" }, { name: "rate", digits: 4 }, { name: "tried, and their scores" }],
    rows: names.flatMap((method) =>
      tasks.flatMap(({ task }): Cell[][] => {
        const { search } = find(method, task.name, seeds[0]!);
        if (search === null) return [];
        const tried = search.tried.map(
          ({ rate, score }) =>
            `${Number(rate.toPrecision(4))}: ${score === null ? "failed" : percent(score).toFixed(2)}`,
        );
        return [[method, task.name, search.rate, tried.join(", ")]];
      }),
    ),
  };
}

/** The searches for a rate, each method's on each task. */
function searchesOf(
  tasks: readonly Dataset[],
  seeds: readonly number[],
  names: readonly ComparableName[],
  find: FindRun,
): { readonly method: ComparableName; readonly task: string; readonly search: RateSearch }[] {
  return tasks.flatMap(({ task: { name: task } }) =>
    names.flatMap((method) => {
      const { search } = find(method, task, seeds[0]!);
      return search === null ? [] : [{ method, task, search }];
    }),
  );
}

/** A note of the rates whose training failed. Empty where none did. */
function failedRates(
  tasks: readonly Dataset[],
  seeds: readonly number[],
  names: readonly ComparableName[],
  find: FindRun,
): string[] {
  const failed = searchesOf(tasks, seeds, names, find).flatMap(({ method, task, search }) => {
    // XPrompt's is prompt tuning's
    if (method === "xprompt" && names.includes("prompt")) return [];
    return search.tried.flatMap(({ rate, failed: problem }) =>
      problem === undefined ? [] : [`${method} on ${task}, rate ${Number(rate.toPrecision(4))} (${problem})`],
    );
  });
  return failed.length === 0 ? [] : [`Rates whose training failed, so that they were not taken: ${failed.join("; ")}.`];
}

/** A note of the rates that were taken at an end of what was tried: one beyond may be better. Empty where there are none. */
function atGridEnds(
  tasks: readonly Dataset[],
  seeds: readonly number[],
  names: readonly ComparableName[],
  find: FindRun,
): string[] {
  const ends = searchesOf(tasks, seeds, names, find).flatMap(({ method, task, search }) => {
    // XPrompt's is prompt tuning's
    if (search.tried.length < 2 || method === "xprompt") return [];
    const rates = search.tried.map(({ rate }) => rate);
    const end = [Math.min(...rates), Math.max(...rates)].indexOf(search.rate);
    return end < 0 ? [] : [`${method} on ${task} (${["lowest", "highest"][end]})`];
  });
  return ends.length === 0
    ? []
    : [`Rates at an end of what was tried, so that one beyond may be better (--rate-factors): ${ends.join(", ")}.`];
}

/** The last score that was known when `flops` had been spent; null where none was. */
export function lastWithin(
  run: Pick<MethodRun, "history" | "before" | "training">,
  { task }: Pick<Dataset, "task">,
  flops: number,
): number | null {
  const perStep = (run.training.flops - run.before) / Math.max(1, run.history.at(-1)?.step ?? 1);
  // half a step of tolerance, because steps of two methods do not end at the same FLOPs
  const known = run.history.filter((entry) => entry.flops <= flops + perStep / 2);
  return known.at(-1)?.scores[task.metrics[0]] ?? null;
}

function curves(dataset: Dataset, seeds: readonly number[], names: readonly ComparableName[], find: FindRun): Chart[] {
  const metric = dataset.task.metrics[0];
  const axes: readonly (Pick<Chart, "x" | "xLabel"> & { view: string; at: (entry: HistoryEntry) => number })[] = [
    { view: "steps", x: "steps", xLabel: "optimizer steps", at: ({ step }) => step },
    { view: "FLOPs", x: "flops", xLabel: "training FLOPs (all products)", at: ({ flops }) => flops },
  ];
  return axes.map(({ view, x, xLabel, at }) => ({
    title: `${dataset.task.name}: ${metric} against ${xLabel}`,
    view,
    x,
    xLabel,
    yLabel: `${metric} × 100, ${seeds.length === 1 ? `seed ${seeds[0]}` : `mean of ${seeds.length} seeds`}`,
    series: names.flatMap((method): Series[] => {
      const histories = seeds.map((seed) => find(method, dataset.task.name, seed).history);
      const length = Math.min(...histories.map((history) => history.length));
      if (length === 0) return [];
      const averageOf = (value: (entry: HistoryEntry) => number, i: number) =>
        histories.reduce((sum, history) => sum + value(history[i]!), 0) / histories.length;
      const points = Array.from(
        { length },
        (_, i) => [averageOf(at, i), 100 * averageOf(({ scores }) => scores[metric] ?? 0, i)] as const,
      );
      return [{ name: method, points }];
    }),
  }));
}

function majority({ task, train, validation }: Dataset, maxEvalRows: number): string {
  if (isFreeText({ task, train })) return "–";
  const scored = scoredRows(validation, { maxEvalRows });
  return percent(majorityBaseline(task, train, scored).scores[task.metrics[0]] ?? Number.NaN).toFixed(2);
}

const percent = (score: number) => 100 * score;
const percentOrNull = (score: number | null) => (score === null || !Number.isFinite(score) ? null : percent(score));
const less = (a: number | null, b: number | null) => (a === null || b === null ? null : a - b);
const scaled = (value: number | null, by: number) => (value === null ? null : value / by);

function measured(values: readonly (number | null)[]): values is readonly number[] {
  return values.every((value) => value !== null && Number.isFinite(value));
}

/** Null if one was not measured, because a mean over some cannot be compared with one over all. */
function mean(values: readonly (number | null)[]): number | null {
  return measured(values) && values.length > 0 ? values.reduce((a, b) => a + b, 0) / values.length : null;
}

function spreadOfAll(values: readonly (number | null)[]): Spread | null {
  return measured(values) ? spread(values) : null;
}

/** A schedule is one of the methods. */
const readAlone: ReadonlySet<string> = new Set<keyof ScheduleOptions>([
  "steps",
  "layerChoice",
  "neuronChoice",
  "reduceDecoder",
]);

/** The comparison of methods as a study. */
export const methodStudies = {
  methods: {
    title: "Methods of tuning beside each other, and models that are only asked",
    source: "XPrompt Tables 1 to 3, and the methods since",
    unread: [
      "learningRate",
      "scoreSplit",
      "finalEvalRows",
      // validation rows would choose the end of a training
      "patience",
      "snapshotEvery",
      "snapshotSeconds",
      ...Object.keys(scheduleOptions).filter((key) => !readAlone.has(key)),
    ],
    run: compareMethods,
  },
} as const;
