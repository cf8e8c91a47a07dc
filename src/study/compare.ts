/**
 * @file FPT against prompt tuning: the papers' Table 2 and its question, on any model and tasks (fpt.md §8, §9, §11).
 *
 * In: StudyInput. Out: scores, FLOPs and wall-clock shares, Improve over prompt tuning stopped at equal FLOPs, curves.
 */

import { SoftpromptError } from "../base/errors.js";
import type { Dataset } from "../data/row.js";
import { majorityBaseline, scoredRows } from "../evaluate/evaluate.js";
import type { ScheduleOptions } from "../schedule/options.js";
import { presetSchedule } from "../schedule/options.js";
import type { PresetName } from "../schedule/presets.js";
import { isFreeText } from "../text/rows.js";
import type { HistoryEntry, StageCost } from "../train/types.js";
import {
  bestOf,
  currentInput,
  type FinishedRun,
  finalScore,
  rowsText,
  runAll,
  type StudyInput,
  seedScore,
  type Variant,
  vanilla,
} from "./runs.js";
import {
  type Cell,
  type Chart,
  differenceDots,
  dotsOf,
  type Paired,
  paired,
  pairedCells,
  pairedColumns,
  pairedNote,
  type SeedScore,
  type Series,
  type Spread,
  type StudyResult,
  spread,
  type Table,
} from "./study.js";

/** Table 2's methods beside prompt tuning. */
export const comparedMethods = {
  "FPT-LD": "fpt-ld",
  "FPT-FR": "fpt-fr",
  "FPT-CR": "fpt-cr",
} as const satisfies Record<string, PresetName>;

/**
 * Compares schedules.
 * @param variants what is compared with vanilla; default FPT-LD, FPT-FR, FPT-CR as in the papers, and the input's own schedule if it is
 * another one.
 */
export async function compare(
  given: StudyInput,
  variants: readonly Variant[] = defaultVariants(given.schedule),
): Promise<StudyResult> {
  const input = currentInput(given, "compare()");
  const all = [vanilla, ...variants.filter((variant) => !isVanilla(variant))];
  return compareTables(input.tasks, input.seeds, all, await runAll(input, all), {
    steps: input.schedule.steps,
    batchSize: input.settings.batchSize,
    evalEvery: input.settings.evalEvery,
    maxEvalRows: input.settings.maxEvalRows,
    virtualTokens: input.virtualTokens,
    seeds: input.seeds,
    tasks: input.tasks.map((dataset) => rowsText(dataset, input.settings)),
    model: input.engine.checkpoint.name,
  });
}

/** Prompt tuning is compared with, whether a caller lists it or not; another variant under its label is refused. */
function isVanilla({ label, schedule, method, settings }: Variant): boolean {
  const plain = schedule.schedule === "vanilla" && method === undefined && settings === undefined;
  return label === vanilla.label && plain;
}

function defaultVariants(own: ScheduleOptions): Variant[] {
  const papers = Object.entries(comparedMethods).map(([label, name]) => ({ label, schedule: presetSchedule(name) }));
  const { schedule, budget, grow, depths, widths, stageFractions, stageSteps, stageRates } = own;
  const plain = [budget, depths, widths, stageFractions, stageSteps, stageRates].every((v) => v === undefined);
  const listed = grow === "steps" && papers.some((p) => p.schedule.schedule === schedule);
  if (grow === "plateau" && schedule === "vanilla")
    throw new SoftpromptError("usage", "no schedule of this comparison grows at a plateau", {
      where: "grow",
      expected: "a schedule that grows, as --schedule fpt-cr, to stand beside the papers'",
      got: "schedule vanilla",
      hint: "the papers' schedules grow at their steps; leave --grow out, or name a schedule",
    });
  // vanilla with sizes, shares or a budget is refused like any impossible schedule, before the first run
  if (plain && (schedule === "vanilla" || listed)) return papers;
  const words = [
    schedule,
    ...(budget === undefined ? [] : [`budget ${budget}`]),
    ...(grow === "plateau" ? [grow] : []),
  ];
  return [...papers, { label: words.join(" "), schedule: {} }];
}

/** The tables from finished runs; pure. */
export function compareTables(
  tasks: readonly Dataset[],
  seeds: readonly number[],
  variants: readonly Variant[],
  runs: readonly FinishedRun[],
  settings: StudyResult["settings"] & { readonly maxEvalRows?: number },
): StudyResult {
  const { maxEvalRows = 0 } = settings;
  const labels = variants.map((v) => v.label).filter((label) => label !== vanilla.label);
  const find = (label: string, task: string, seed: number): FinishedRun =>
    runs.find((r) => r.label === label && r.task === task && r.seed === seed)!;
  /** One number per seed: the mean of `of` over the tasks; null if it was not measured on some task. */
  const perSeed = <V extends number | null>(of: (dataset: Dataset, seed: number) => V): (number | Extract<V, null>)[] =>
    seeds.map((seed) => {
      const values: readonly (number | null)[] = tasks.map((dataset) => of(dataset, seed));
      const mean = measured(values) ? values.reduce((a, b) => a + b, 0) / tasks.length : null;
      return mean as number | Extract<V, null>;
    });

  const score = (label: string) => (dataset: Dataset, seed: number) =>
    100 * finalScore(find(label, dataset.task.name, seed), dataset);
  /** Prompt tuning stopped when it has spent as much as the variant spent in total. */
  const stoppedAt =
    (spent: (run: FinishedRun) => number, count: "paperFlops" | "flops") =>
    (label: string) =>
    (dataset: Dataset, seed: number) => {
      const mine = find(label, dataset.task.name, seed);
      const best = bestWithin(find(vanilla.label, dataset.task.name, seed), dataset, spent(mine), count);
      return best === null ? null : 100 * best;
    };
  const stopped = stoppedAt(costs.paper, "paperFlops");
  /** What prompt tuning had spent by then, in percent of its whole training by the papers' count. */
  const stoppedShare = (label: string) => (dataset: Dataset, seed: number) => {
    const plain = find(vanilla.label, dataset.task.name, seed);
    const last = looksWithin(plain, costs.paper(find(label, dataset.task.name, seed)), "paperFlops").at(-1);
    return last === undefined ? null : (100 * last.paperFlops) / costs.paper(plain);
  };
  /** The same with all products counted, and with the neuron scores that the variant needed: they are spent before its first step. */
  const stoppedAll = stoppedAt(spentOn, "flops");
  /**
   * The best of prompt tuning's evaluations at the steps where the variant was evaluated on the full model too. Prompt tuning has more
   * evaluations on the full model.
   */
  const equalLooks = (label: string) => (dataset: Dataset, seed: number) => {
    const mine = find(label, dataset.task.name, seed);
    const best = bestAtLooks(find(vanilla.label, dataset.task.name, seed), dataset, mine);
    return best === null ? null : 100 * best;
  };
  const share = (label: string, of: (run: FinishedRun) => number) => (dataset: Dataset, seed: number) =>
    (100 * of(find(label, dataset.task.name, seed))) / of(find(vanilla.label, dataset.task.name, seed));
  const wall = wallClock(runs);

  const scoreRow = (name: string, of: (dataset: Dataset, seed: number) => number | null): Cell[] => [
    name,
    ...tasks.map((dataset) => spreadOfAll(seeds.map((seed) => of(dataset, seed)))),
    spreadOfAll(perSeed(of)),
  ];
  const flops = (label: string, of: (run: FinishedRun) => number) => spread(perSeed(share(label, of)));
  // computed with one median for all seeds, so a deviation over seeds was not measured
  const seconds = (label: string, of: (run: FinishedRun) => number) => {
    const found = flops(label, of);
    return found && { ...found, deviation: null };
  };
  const costCells = (label: string): Cell[] => [
    flops(label, costs.paper),
    flops(label, costs.total),
    seconds(label, wall.training),
    seconds(label, wall.withGrowth),
    seconds(label, wall.withScoring),
    flops(label, costs.everything),
    seconds(label, wall.everything),
  ];
  /** The variant's score minus another, for every task and seed; null if one was not measured. */
  const against = (label: string, other: typeof score | typeof stopped): Paired | null => {
    const all = tasks.flatMap((dataset) =>
      seeds.map((seed) => {
        const theirs = other(label)(dataset, seed);
        return theirs === null ? null : score(label)(dataset, seed) - theirs;
      }),
    );
    return measured(all) ? paired(all) : null;
  };
  const rows = [[...scoreRow(vanilla.label, score(vanilla.label)), ...costCells(vanilla.label), null]];
  for (const label of labels) {
    const gain = perSeed((d, s) => {
      const other = stopped(label)(d, s);
      return other === null ? null : score(label)(d, s) - other;
    });
    rows.push([...scoreRow(label, score(label)), ...costCells(label), spreadOfAll(gain)]);
    rows.push([
      ...scoreRow(stoppedName(label), stopped(label)),
      spreadOfAll(perSeed(stoppedShare(label))),
      ...Array.from({ length: 7 }, () => null),
    ]);
  }
  const table: Table = {
    title: "Progressive training against prompt tuning (layout of FPT's Table 2)",
    columns: [
      { name: "method" },
      ...tasks.map(({ task }) => ({ name: `${task.name} ${task.metrics[0]}`, digits: 2 })),
      { name: "average", digits: 2 },
      { name: "FLOPs", unit: "% (papers' count)", digits: 1 },
      { name: "FLOPs", unit: "% (all products)", digits: 1 },
      { name: "wall", unit: "% (training)", digits: 1 },
      { name: "wall", unit: "% (with growth)", digits: 1 },
      { name: "wall", unit: "% (with growth, scoring)", digits: 1 },
      { name: "FLOPs", unit: "% (with scoring, evaluation)", digits: 1 },
      { name: "wall", unit: "% (with growth, scoring, evaluation)", digits: 1 },
      { name: "Improve", unit: "points", digits: 2 },
    ],
    rows,
  };

  /** "4", or "3 to 4" */
  const looksText = (label: string) => {
    const counts = runs.filter((run) => run.label === label).map((run) => fullLooks(run).length);
    const [least, most] = [Math.min(...counts), Math.max(...counts)];
    return least === most ? `${least}` : `${least} to ${most}`;
  };
  const controls = [
    [stopped, stoppedName],
    [equalLooks, (label: string) => `PT, equal looks with ${label}`],
    [stoppedAll, (label: string) => `PT, stopped at ${label}'s FLOPs with scoring`],
  ] as const;
  const looks: SeedScore[] = labels.flatMap((label) =>
    controls.flatMap(([of, name]) =>
      tasks.flatMap((dataset) =>
        seeds.map((seed) => ({
          line: name(label),
          task: dataset.task.name,
          seed,
          metric: dataset.task.metrics[0],
          score: of(label)(dataset, seed),
        })),
      ),
    ),
  );
  const unmeasured = labels.filter((label) =>
    tasks.some((dataset) => seeds.some((seed) => stopped(label)(dataset, seed) === null)),
  );
  const claims = labels.flatMap((label): Cell[][] => {
    const saved = [
      less(spread(perSeed(share(label, costs.paper)))),
      less(spread(perSeed(share(label, wall.withGrowth)))),
    ];
    const row = (name: string, found: Paired | null): Cell[] => [
      name,
      ...saved,
      found?.mean ?? null,
      ...pairedCells(found),
    ];
    return [
      row(
        `${label} − PT`,
        against(label, () => score(vanilla.label)),
      ),
      row(`${label} − PT, equal looks`, against(label, equalLooks)),
      row(`${label} − PT, stopped at its FLOPs`, against(label, stopped)),
      row(`${label} − PT, stopped at its FLOPs with scoring`, against(label, stoppedAll)),
    ];
  });
  const saved: Table = {
    title: "What is saved, and at what difference in score",
    columns: [
      { name: "pair" },
      { name: "FLOPs saved", unit: "%", digits: 1 },
      { name: "wall clock saved", unit: "%", digits: 1 },
      { name: "first − second", unit: "points", digits: 2 },
      ...pairedColumns,
    ],
    rows: claims,
  };
  return {
    study: "compare",
    title: "Fast Prompt Tuning against prompt tuning",
    tables: [table, saved],
    dots: [...dotsOf(table, "average"), ...differenceDots(saved)],
    charts: tasks.flatMap((dataset) => curves(dataset, seeds, variants, find)),
    matrices: [],
    scores: [...runs.map((run) => seedScore(run, tasks)), ...looks],
    notes: [
      `Always the most frequent label: ${tasks.map((dataset) => `${dataset.task.name} ${majority(dataset, maxEvalRows)}`).join(", ")}.`,
      "Scores are the best validation score on the full model, by the task's first metric, × 100; ± is the sample standard deviation over seeds. The split that chose a prompt also scores it, as in the papers.",
      pairedNote,
      `The best of many evaluations is flattered more than the best of few: PT is the best of ${looksText(vanilla.label)} on the full model, ${labels.map((label) => `${label} of ${looksText(label)}`).join(", ")}. With equal looks, PT has only the evaluations at the steps where the other has one on the full model.`,
      "“PT at …'s FLOPs” is prompt tuning's best score until it had spent as much (papers' count, an evaluation up to 5 % later counts), and beside it the share that it had spent by its last evaluation of those; Improve is the method's score minus it, seed by seed. Its resolution is the evaluation interval.",
      "“With scoring” counts all products, and the pass over rows that neuron scores take before the first step, which the papers' count leaves out.",
      ...(unmeasured.length > 0
        ? [
            `Prompt tuning was not evaluated before it had spent what ${unmeasured.join(", ")} did, on every task and seed: no score at equal FLOPs there. A smaller --eval-every gives one.`,
          ]
        : []),
      `Wall clock is ${wall.how}. It has no ±: the seeds share one price.`,
    ],
    settings,
  };
}

/** Prompt tuning's line at the papers' count of what a method spent. */
const stoppedName = (label: string) => `PT at ${label}'s FLOPs`;

const costs = {
  paper: ({ result }: FinishedRun) => result.cost.paperFlops,
  total: ({ result }: FinishedRun) => result.cost.trainFlops,
  everything: ({ result, scoring }: FinishedRun) => result.cost.flops + (scoring?.flops ?? 0),
};

/**
 * Seconds of a run. The machine's load changes over an hour of runs, so a single run's seconds say little: the time of each stage is its
 * steps times the median seconds per step over the seeds of the same (task, method, stage).
 */
function wallClock(runs: readonly FinishedRun[]) {
  const overStages = (run: FinishedRun, price: (stage: StageCost) => number, amount: (stage: StageCost) => number) => {
    const alike = runs.filter((other) => other.task === run.task && other.label === run.label);
    return run.result.cost.perStage.reduce((sum, stage, i) => {
      const prices = alike.flatMap(({ result }) => {
        const same = result.cost.perStage[i];
        return same === undefined || same.steps === 0 ? [] : [price(same)];
      });
      return sum + amount(stage) * median(prices);
    }, 0);
  };
  const training = (run: FinishedRun) =>
    overStages(
      run,
      ({ seconds, steps }) => seconds / steps,
      ({ steps }) => steps,
    );
  // The full model's sessions stay open from run to run; the first run opened them for all.
  const withGrowth = (run: FinishedRun) =>
    training(run) +
    overStages(
      run,
      ({ openSeconds }) => openSeconds,
      ({ partial, steps }) => (steps > 0 && partial !== "full" ? 1 : 0),
    );
  const withScoring = (run: FinishedRun) => withGrowth(run) + (run.scoring?.seconds ?? 0);
  return {
    how: "training alone, each stage at the median seconds per step over seeds, because the load of the machine varies; with growth adds what opening the partial models' sessions took (median over seeds; the full model's stays open from run to run and is counted for none); scoring adds the neuron scores' seconds, and the last column the evaluations as measured. The saving below is the one with growth",
    training,
    withGrowth,
    withScoring,
    everything: (run: FinishedRun) => withScoring(run) + run.result.cost.evalSeconds,
  };
}

/** What a run's training took in all products, neuron scores included. */
const spentOn = ({ result, scoring }: FinishedRun) => result.cost.trainFlops + (scoring?.flops ?? 0);

/** Two trainings are never evaluated at the same cost: so much of a run's own counts as the same. Our choice. */
const sameCost = 0.05;

/**
 * A run's evaluations when it had spent so much, or hardly more: the last one below alone would take up to a whole interval from the run
 * that is stopped, and never give it any. @param count which FLOPs
 */
function looksWithin({ result }: FinishedRun, most: number, count: "paperFlops" | "flops") {
  const whole = result.cost[count === "flops" ? "trainFlops" : count];
  return result.history.filter((entry) => entry[count] <= most + sameCost * whole);
}

/** Best validation score until so many FLOPs were spent; null where none was. @param count which FLOPs */
export function bestWithin(
  run: FinishedRun,
  { task }: Dataset,
  most: number,
  count: "paperFlops" | "flops" = "paperFlops",
): number | null {
  return bestOf(looksWithin(run, most, count), task);
}

/** Evaluations on the full model. */
const fullLooks = ({ result }: FinishedRun) => result.history.filter(({ partial }) => partial === "full");

/** The run's best score among its evaluations at the steps where `other` was evaluated on the full model; null where none was. */
export function bestAtLooks(run: FinishedRun, { task }: Dataset, other: FinishedRun): number | null {
  const steps = new Set(fullLooks(other).map(({ step }) => step));
  const seen = fullLooks(run).filter(({ step }) => steps.has(step));
  return bestOf(seen, task);
}

/** Score against steps, seconds and FLOPs: the mean over seeds at each evaluation that all of them have, best so far left out. */
function curves(
  dataset: Dataset,
  seeds: readonly number[],
  variants: readonly Variant[],
  find: (label: string, task: string, seed: number) => FinishedRun,
): Chart[] {
  const metric = dataset.task.metrics[0];
  const of = seeds.length === 1 ? `seed ${seeds[0]}` : `mean of ${seeds.length} seeds`;
  return axes.map(({ view, x, xLabel, at }) => ({
    title: `${dataset.task.name}: ${metric} against ${xLabel}`,
    view,
    x,
    xLabel,
    yLabel: `${metric} × 100, ${of}`,
    series: variants.map(({ label }): Series => {
      const runs = seeds.map((seed) => find(label, dataset.task.name, seed));
      const average = (f: (run: FinishedRun) => number) => runs.reduce((sum, run) => sum + f(run), 0) / runs.length;
      const points = sharedLooks(runs.map(({ result }) => result.history)).map((entries) => {
        const mean = (f: (entry: HistoryEntry) => number) => entries.reduce((sum, e) => sum + f(e), 0) / entries.length;
        return [mean(at), 100 * mean(({ scores }) => scores[metric] ?? 0)] as const;
      });
      const stages = runs[0]!.result.cost.perStage.map(({ partial }, n) => ({
        x: average((run) => whereStage(run, n, at)),
        partial,
      }));
      return { name: label, points, ...(stages.length > 1 && { stages }) };
    }),
  }));
}

/**
 * The evaluations that every history has, side by side. A plateau ends a stage, and evaluates, at another step for each seed: the n-th
 * evaluations of two seeds need not belong together.
 */
function sharedLooks(histories: readonly (readonly HistoryEntry[])[]): HistoryEntry[][] {
  const looks = histories.map((history) => {
    // a step may be evaluated twice, on its own model and on the full one
    const nth = (i: number) => (history[i - 1]?.step === history[i]!.step ? "again" : "first");
    return new Map(history.map((entry, i) => [`${entry.step} ${nth(i)}`, entry]));
  });
  return [...looks[0]!.keys()].flatMap((look) => {
    const found = looks.flatMap((own) => own.get(look) ?? []);
    return found.length === histories.length ? [found] : [];
  });
}

/**
 * Where a run's stage began, on an axis that is known only at evaluations: interpolated between the evaluations before and after, in
 * proportion to the steps.
 */
function whereStage({ result, scoring }: FinishedRun, stage: number, at: (entry: Entry) => number): number {
  const step = result.cost.perStage.slice(0, stage).reduce((sum, { steps }) => sum + steps, 0);
  const start = at({ ...nothingYet, totalFlops: scoring?.flops ?? 0 });
  const known = [[0, start] as const, ...result.history.map((entry) => [entry.step, at(entry)] as const)];
  const next = known.findIndex(([s]) => s >= step);
  if (next <= 0) return next === 0 ? start : known.at(-1)![1];
  const [[before, low], [after, high]] = [known[next - 1]!, known[next]!];
  return low + ((high - low) * (step - before)) / (after - before);
}

const nothingYet = { step: 0, seconds: 0, flops: 0, totalFlops: 0 };

const axes: readonly (Pick<Chart, "x" | "xLabel"> & { view: string; at: (entry: Entry) => number })[] = [
  { view: "steps", x: "steps", xLabel: "optimizer steps", at: (e) => e.step },
  { view: "time", x: "seconds", xLabel: "seconds of training", at: (e) => e.seconds },
  { view: "FLOPs", x: "flops", xLabel: "training FLOPs (all products)", at: (e) => e.flops },
  {
    view: "all FLOPs",
    x: "flops",
    xLabel: "all FLOPs (training, evaluation, neuron scores)",
    at: (e) => e.totalFlops,
  },
];

type Entry = Pick<FinishedRun["result"]["history"][number], keyof typeof nothingYet>;

function majority({ task, train, validation }: Dataset, maxEvalRows: number): string {
  if (isFreeText({ task, train })) return "–";
  const scored = scoredRows(validation, { maxEvalRows });
  return (100 * (majorityBaseline(task, train, scored).scores[task.metrics[0]] ?? Number.NaN)).toFixed(2);
}

function measured(values: readonly (number | null)[]): values is readonly number[] {
  return values.every((value) => value !== null && Number.isFinite(value));
}

/** Null if one was not measured, because a mean over some seeds cannot be compared with one over all. */
function spreadOfAll(values: readonly (number | null)[]): Spread | null {
  return measured(values) ? spread(values) : null;
}

function less(percent: Spread | null): number | null {
  return percent === null ? null : 100 - percent.mean;
}

function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 === 1 ? sorted[middle]! : (sorted[middle - 1]! + sorted[middle]!) / 2;
}
