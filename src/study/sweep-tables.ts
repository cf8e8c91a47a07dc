/**
 * @file The tables and figures of a sweep. In: its settings with their runs, the best first. Out: StudyResult. Pure.
 */
import type { MetricName } from "../data/metrics.js";
import type { Dataset } from "../data/row.js";
import { majorityBaseline } from "../evaluate/evaluate.js";
import { isFreeText } from "../text/rows.js";
import { costOf, type FailedRun, type FinishedRun } from "./runs.js";
import {
  type Cell,
  type Chart,
  type Column,
  differenceDots,
  type Matrix,
  paired,
  pairedCells,
  pairedColumns,
  pairedNoteOfSettings,
  type StudyResult,
  spread,
  type Table,
} from "./study.js";

/** A setting, and how its trainings went. */
export interface SweptSetting {
  /** Its values in words: "learningRate 0.1, virtualTokens 20". */
  readonly label: string;
  /** What was tried, without the options that this setting does not read. */
  readonly values: Readonly<Record<string, unknown>>;
  /** Of each seed, on the rows held out, a fraction: what the task selects by; null where the training failed. */
  readonly scores: readonly (number | null)[];
  /** Mean over the seeds of the loss there; null where a training failed. */
  readonly loss: number | null;
  /** What went wrong with the first training that failed; absent where none did. */
  readonly failed?: string;
  /** Total FLOPs and seconds of its trainings together, evaluations included. */
  readonly flops: number;
  readonly seconds: number;
}

/** A training of a sweep. */
export type Run = FinishedRun | FailedRun;

/** A setting with its runs, by seed. */
export interface Ranked {
  readonly runs: readonly Run[];
  readonly told: SweptSetting;
  /** Of each seed, × 100, by the first metric; null where the training failed. */
  readonly shown: readonly (number | null)[];
  /** Whether a training failed. */
  readonly failed: boolean;
}

/** The scores of a setting; null where a training failed: a mean over some seeds cannot be compared with one over all. */
const whole = ({ shown, failed }: Ranked): readonly number[] | null => (failed ? null : (shown as readonly number[]));
/** Their mean and deviation. */
function scored(one: Ranked) {
  const scores = whole(one);
  return scores && spread(scores);
}
/** How far a setting is from another, seed by seed. */
function apart(one: Ranked, other: Ranked) {
  const [mine, theirs] = [whole(one), whole(other)];
  return mine && theirs && paired(mine.map((score, n) => score - theirs[n]!));
}

/** Values in words. */
export const labelOf = (values: Readonly<Record<string, unknown>>) =>
  Object.entries(values)
    .map(([key, value]) => `${key} ${valueText(value)}`)
    .join(", ");

const valueText = (value: unknown) => (Array.isArray(value) ? value.join(" ") : String(value));

/** What was tried, each option with its values. */
export type Values = Readonly<Record<string, readonly unknown[]>>;

/** The tables and figures of ranked settings; pure. */
export function sweepTables(
  rows: Dataset,
  ranked: readonly Ranked[],
  {
    seeds,
    left,
    tried,
    settings,
  }: {
    readonly seeds: readonly number[];
    /** Combinations that were not drawn. */
    readonly left: number;
    readonly tried: Values;
    readonly settings: StudyResult["settings"];
  },
): StudyResult {
  const { task } = rows;
  const [metric] = task.metrics;
  const keys = Object.keys(tried);
  const [best] = ranked;
  const share = 1 / seeds.length;
  const byMean = task.selectBy === "mean" && task.metrics.length > 1;
  const anyFailed = ranked.some(({ failed }) => failed);
  const cellOf = (value: unknown): Cell => (value === undefined ? null : valueText(value));
  const table: Table = {
    title: "Settings, the best first",
    columns: [
      ...keys.map((name): Column => ({ name })),
      { name: metric, unit: "held-out rows" },
      // what ranks them is not the first metric alone
      ...(byMean ? [{ name: "mean of metrics", unit: "held-out rows" }] : []),
      { name: "loss", digits: 3 },
      { name: "training", unit: "GFLOP", digits: 1 },
      { name: "training", unit: "s", digits: 1 },
      ...(anyFailed ? [{ name: "failed" }] : []),
    ],
    rows: ranked.map((one) => {
      const { told } = one;
      return [
        ...keys.map((key) => cellOf(told.values[key])),
        scored(one),
        ...(byMean ? [one.failed ? null : 100 * meanOf(told.scores as readonly number[])] : []),
        told.loss,
        (share * told.flops) / 1e9,
        share * told.seconds,
        ...(anyFailed ? [told.failed ?? ""] : []),
      ];
    }),
  };
  const pairs: Table = {
    title: "Against the best, pair by pair",
    columns: [{ name: "setting" }, { name: `${metric} − the best's`, unit: "points" }, ...pairedColumns],
    rows: ranked.slice(1).map((one): Cell[] => {
      const found = apart(one, best!);
      return [one.told.label, found?.mean ?? null, ...pairedCells(found)];
    }),
  };
  const several = keys.filter((key) => valuesOf(ranked, key).length > 1);
  const values: Table = {
    title: "Each value, mean over the settings that have it",
    columns: [
      { name: "option" },
      { name: "value" },
      { name: "settings", digits: 0 },
      { name: metric },
      { name: "its best" },
    ],
    rows: several.flatMap((key) =>
      tried[key]!.flatMap((value): Cell[][] => {
        const own = ranked.filter(({ told, failed }) => !failed && told.values[key] === value);
        const means = own.map((one) => scored(one)!.mean);
        return means.length === 0 ? [] : [[key, valueText(value), own.length, spread(means)!.mean, Math.max(...means)]];
      }),
    ),
  };
  return {
    study: "sweep",
    command: "sweep",
    title: `Settings for ${task.name}`,
    tables: [table, ...(ranked.length > 1 ? [pairs] : []), ...(several.length > 1 ? [values] : [])],
    dots: [
      {
        title: table.title,
        xLabel: `${metric} × 100 on held-out rows, ± deviation over seeds`,
        entries: ranked.slice(0, mostDrawn).map((one) => ({ name: one.told.label, value: scored(one) })),
      },
      ...differenceDots({ ...pairs, rows: pairs.rows.slice(0, mostDrawn) }),
    ],
    charts: [...alongNumbers(ranked, several, metric), ...curves(ranked, metric)],
    matrices: matrixOf(ranked, several, tried, metric),
    scores: ranked.flatMap(({ told, shown, runs }) =>
      seeds.map((seed, n) => ({
        line: told.label,
        task: task.name,
        seed,
        metric,
        score: shown[n]!,
        ...costOf(runs[n]!),
      })),
    ),
    notes: notesOf(rows, ranked, { seeds, left }),
    settings,
  };
}

/** The values of an option among settings that read it. */
const valuesOf = (ranked: readonly Ranked[], key: string): readonly unknown[] => [
  ...new Set(ranked.flatMap(({ told }) => (told.values[key] === undefined ? [] : [told.values[key]]))),
];

const meanOf = (scores: readonly number[]) => scores.reduce((sum, score) => sum + score, 0) / scores.length;

/** A figure of more lines cannot be read. */
const mostDrawn = 30;
const mostCurves = 8;

function notesOf(
  { task, train, validation }: Dataset,
  ranked: readonly Ranked[],
  { seeds, left }: { readonly seeds: readonly number[]; readonly left: number },
): string[] {
  const [best] = ranked;
  const level = ranked.slice(1).filter((one) => {
    const found = apart(one, best!);
    return found !== null && (found.error === null || -found.mean <= 2 * found.error);
  });
  // of these rows, whose shares may be others than those of the rows that are trained on: one answer for all of them is no gain
  const majority = isFreeText({ task, train })
    ? null
    : majorityBaseline(task, validation, validation).scores[task.metrics[0]];
  const chance = majority === null || majority === undefined ? null : 100 * majority;
  const top = scored(best!)!.mean;
  const learnt = chance === null || top > chance;
  const different = new Set(ranked.flatMap((one) => whole(one) ?? [])).size > 1;
  return [
    `Scores are of ${validation.length} training rows that were held out; ${train.length} were trained on. Each is of the evaluation that a training would keep, so it is a little too high, and the best of many settings is more so: the validation rows, which were not looked at, say what it is worth. Of equal scores the one of less loss (there, per target token) stands first.`,
    ...(chance === null ? [] : [`Always these rows' most frequent label: ${chance.toFixed(2)}.`]),
    ...(learnt
      ? []
      : [
          "No setting is above always the most frequent label: nothing was learnt that these rows show, so no setting is better than another. Give more steps, or try other rates.",
        ]),
    ...(learnt && !different && ranked.length > 1
      ? ["Every training has the same score, so these rows say nothing of the settings."]
      : []),
    ...(seeds.length === 1 && ranked.length > 1
      ? ["There is one seed: what lies between two settings may be chance. Give more --seeds."]
      : []),
    ...(seeds.length > 1 && level.length > 0
      ? [
          `${level.length} of ${ranked.length - 1} other settings are within two standard errors of the best: ${listed(level.map(({ told }) => told.label))}.${cheapest(best!, level)}`,
        ]
      : []),
    ...(learnt && different ? gridEnds(ranked) : []),
    ...(left > 0 ? [`${left} more combinations were not drawn (mostSettings).`] : []),
    pairedNoteOfSettings,
  ];
}

/** Of settings that are level with the best the one of fewest FLOPs, where it takes fewer than the best. */
function cheapest(best: Ranked, level: readonly Ranked[]): string {
  const { told } = level.reduce((least, one) => (one.told.flops < least.told.flops ? one : least));
  const share = told.flops / best.told.flops;
  return share < 0.95
    ? ` The cheapest of them, ${told.label}, takes ${(100 * share).toFixed(0)} % of the best's FLOPs.`
    : "";
}

const listed = (names: readonly string[]) =>
  names.length <= 4 ? names.join("; ") : `${names.slice(0, 4).join("; ")}; and ${names.length - 4} more`;

/** Numbers whose best value is the smallest or largest that was tried: the best may lie beyond. */
function gridEnds(ranked: readonly Ranked[]): string[] {
  const [best] = ranked;
  const ends = Object.entries(best!.told.values).flatMap(([key, value]) => {
    const all = valuesOf(ranked, key).filter((one) => typeof one === "number");
    if (typeof value !== "number" || all.length < 2) return [];
    if (value === Math.max(...all)) return [`${key} ${value} is the largest`];
    return value === Math.min(...all) ? [`${key} ${value} is the smallest`] : [];
  });
  return ends.length === 0 ? [] : [`At the end of what was tried: ${ends.join(", ")}. A better value may lie beyond.`];
}

/** Scores against the one option of three or more numbers that was tried most finely, a line for each of the other values. */
function alongNumbers(ranked: readonly Ranked[], several: readonly string[], metric: MetricName): Chart[] {
  const [finest] = several
    .map((key) => ({ key, values: valuesOf(ranked, key) }))
    .filter(({ values }) => values.length >= 3 && values.every((value) => typeof value === "number"))
    .sort((a, b) => b.values.length - a.values.length);
  if (finest === undefined) return [];
  const { key, values } = finest;
  const numbers = values as readonly number[];
  // rates are tried in steps of a factor
  const byFactor = Math.min(...numbers) > 0 && Math.max(...numbers) >= 8 * Math.min(...numbers);
  const place = (x: number) => (byFactor ? Math.log10(x) : x);
  const lines = new Map<string, [number, number][]>();
  for (const one of ranked) {
    const { told } = one;
    // another method may not read this option
    if (one.failed || told.values[key] === undefined) continue;
    const { [key]: x, ...others } = told.values;
    const name = labelOf(others) || metric;
    lines.set(name, [...(lines.get(name) ?? []), [place(x as number), scored(one)!.mean]]);
  }
  const series = [...lines]
    .slice(0, mostCurves)
    .map(([name, points]) => ({ name, points: points.sort(([a], [b]) => a - b) }));
  return [
    {
      title: `${metric} against ${key}`,
      x: "value",
      xLabel: byFactor ? `log10 ${key}` : key,
      yLabel: `${metric} × 100, held-out rows`,
      series,
    },
  ];
}

/** The curves of the best settings that were evaluated more than once. */
function curves(ranked: readonly Ranked[], metric: MetricName): Chart[] {
  const series = ranked.slice(0, mostCurves).flatMap(({ told, runs }) => {
    const known = runs.flatMap((run) => ("failed" in run ? [] : [run.result.history]));
    const steps = (known[0] ?? []).map(({ step }) => step);
    if (known.length < runs.length || steps.length < 2) return [];
    const points = steps.flatMap((step): [number, number][] => {
      const all = known.map((history) => history.find((entry) => entry.step === step)?.scores[metric]);
      // a run that patience ended has fewer evaluations
      const there = all.filter((score): score is number => score !== undefined);
      return there.length < all.length ? [] : [[step, 100 * spread(there)!.mean]];
    });
    return [{ name: told.label, points }];
  });
  if (series.length === 0) return [];
  const title = `The best settings: ${metric} against optimizer steps`;
  return [{ title, x: "steps", xLabel: "optimizer steps", yLabel: `${metric} × 100, held-out rows`, series }];
}

/** Where two options have several values: the mean score of each pair of values. */
function matrixOf(ranked: readonly Ranked[], several: readonly string[], tried: Values, metric: string): Matrix[] {
  // a setting that does not read one of them has no place in it
  if (several.length !== 2 || !ranked.every(({ told }) => several.every((key) => told.values[key] !== undefined)))
    return [];
  const [down, across] = several as [string, string];
  const at = (row: unknown, column: unknown): number | null => {
    const found = ranked.find(({ told }) => told.values[down] === row && told.values[across] === column);
    return found === undefined ? null : (scored(found)?.mean ?? null);
  };
  return [
    {
      title: `${metric} × 100: ${down} by ${across}`,
      rows: tried[down]!.map((value) => `${down} ${valueText(value)}`),
      columns: tried[across]!.map((value) => `${across} ${valueText(value)}`),
      values: tried[down]!.map((row) => tried[across]!.map((column) => at(row, column))),
    },
  ];
}
