/**
 * @file The tables and figures of a sweep. In: its settings with their runs, the best first. Out: StudyResult. Pure.
 */
import type { MetricName } from "../data/metrics.js";
import type { Dataset } from "../data/row.js";
import { majorityBaseline } from "../evaluate/evaluate.js";
import { isFreeText } from "../text/rows.js";
import type { FailedRun, FinishedRun } from "./runs.js";
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
import type { Tried } from "./sweep-options.js";

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
  /** Of each seed, × 100, by the first metric; null where a training failed. */
  readonly shown: readonly number[] | null;
}

/** Values in words. */
export const labelOf = (values: Readonly<Record<string, unknown>>) =>
  Object.entries(values)
    .map(([key, value]) => `${key} ${valueText(value)}`)
    .join(", ");

const valueText = (value: unknown) => (Array.isArray(value) ? value.join(" ") : String(value));

/** What was tried, each option with its values. */
type Values = Readonly<Record<string, readonly unknown[]>>;

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
    readonly tried: Tried;
    readonly settings: StudyResult["settings"];
  },
): StudyResult {
  const { task } = rows;
  const [metric] = task.metrics;
  const keys = Object.keys(tried);
  const [best] = ranked;
  const share = 1 / seeds.length;
  const cellOf = (value: unknown): Cell => (value === undefined ? null : valueText(value));
  const table: Table = {
    title: "Settings, the best first",
    columns: [
      ...keys.map((name): Column => ({ name })),
      { name: metric, unit: "held-out rows" },
      { name: "loss", digits: 3 },
      { name: "training", unit: "GFLOP", digits: 1 },
      { name: "training", unit: "s", digits: 1 },
      ...(ranked.some(({ told }) => told.failed !== undefined) ? [{ name: "failed" }] : []),
    ],
    rows: ranked.map(({ told, shown }) => [
      ...keys.map((key) => cellOf(told.values[key])),
      shown === null ? null : spread(shown),
      told.loss,
      (share * told.flops) / 1e9,
      share * told.seconds,
      ...(ranked.some((one) => one.told.failed !== undefined) ? [told.failed ?? ""] : []),
    ]),
  };
  const pairs: Table = {
    title: "Against the best, pair by pair",
    columns: [{ name: "setting" }, { name: `${metric} − the best's`, unit: "points" }, ...pairedColumns],
    rows: ranked.slice(1).map(({ told, shown }): Cell[] => {
      const found = shown === null ? null : paired(shown.map((score, n) => score - best!.shown![n]!));
      return [told.label, found?.mean ?? null, ...pairedCells(found)];
    }),
  };
  const several = keys.filter((key) => new Set(ranked.map(({ told }) => valueText(told.values[key]))).size > 1);
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
      (tried as Values)[key]!.flatMap((value): Cell[][] => {
        const own = ranked.filter(({ told, shown }) => shown !== null && told.values[key] === value);
        const means = own.map(({ shown }) => spread(shown!)!.mean);
        return means.length === 0 ? [] : [[key, valueText(value), own.length, spread(means)!.mean, Math.max(...means)]];
      }),
    ),
  };
  return {
    study: "sweep",
    title: `Settings for ${task.name}`,
    tables: [table, ...(ranked.length > 1 ? [pairs] : []), ...(several.length > 1 ? [values] : [])],
    dots: [
      {
        title: table.title,
        xLabel: `${metric} × 100 on held-out rows, ± deviation over seeds`,
        entries: ranked
          .slice(0, mostDrawn)
          .map(({ told, shown }) => ({ name: told.label, value: shown && spread(shown) })),
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
        score: shown?.[n] ?? null,
        flops: costOf(runs[n]!).flops,
        seconds: costOf(runs[n]!).seconds,
      })),
    ),
    notes: notesOf(rows, ranked, { seeds, left }),
    settings,
  };
}

/** A figure of more lines cannot be read. */
const mostDrawn = 30;
const mostCurves = 8;

const costOf = (run: Run) => ("failed" in run ? run.cost : run.result.cost);

function notesOf(
  { task, train, validation }: Dataset,
  ranked: readonly Ranked[],
  { seeds, left }: { readonly seeds: readonly number[]; readonly left: number },
): string[] {
  const [best] = ranked;
  const level = ranked.slice(1).filter(({ shown }) => {
    const found = shown && paired(shown.map((score, n) => score - best!.shown![n]!));
    return found !== null && (found.error === null || -found.mean <= 2 * found.error);
  });
  const majority = isFreeText({ task, train })
    ? null
    : majorityBaseline(task, train, validation).scores[task.metrics[0]];
  const chance = majority === null || majority === undefined ? null : 100 * majority;
  const top = spread(best!.shown!)!.mean;
  return [
    `Scores are of ${validation.length} training rows that were held out; ${train.length} were trained on. Each is of the evaluation that a training would keep, so it is a little too high, and the best of many settings is more so: the validation rows, which were not looked at, say what it is worth.`,
    ...(chance === null ? [] : [`Always the most frequent label: ${chance.toFixed(2)}.`]),
    ...(chance !== null && top <= chance
      ? [
          "No setting is above the most frequent label: nothing was learnt that these rows show, so no setting is better than another.",
        ]
      : []),
    ...(seeds.length === 1 && ranked.length > 1
      ? ["There is one seed: what lies between two settings may be chance. Give more --seeds."]
      : []),
    ...(seeds.length > 1 && level.length > 0
      ? [
          `${level.length} of ${ranked.length - 1} other settings are within two standard errors of the best: ${listed(level.map(({ told }) => told.label))}.${cheapest(best!, level)}`,
        ]
      : []),
    ...gridEnds(ranked),
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
    const all = [
      ...new Set(ranked.flatMap(({ told }) => (typeof told.values[key] === "number" ? [told.values[key]] : []))),
    ];
    if (typeof value !== "number" || all.length < 2) return [];
    if (value === Math.max(...all)) return [`${key} ${value} is the largest`];
    return value === Math.min(...all) ? [`${key} ${value} is the smallest`] : [];
  });
  return ends.length === 0 ? [] : [`At the end of what was tried: ${ends.join(", ")}. A better value may lie beyond.`];
}

/** Scores against the one option of three or more numbers that was tried most finely, a line for each of the other values. */
function alongNumbers(ranked: readonly Ranked[], several: readonly string[], metric: MetricName): Chart[] {
  const [finest] = several
    .map((key) => ({ key, values: new Set(ranked.map(({ told }) => told.values[key])) }))
    .filter(({ values }) => values.size >= 3 && [...values].every((value) => typeof value === "number"))
    .sort((a, b) => b.values.size - a.values.size);
  if (finest === undefined) return [];
  const { key } = finest;
  const lines = new Map<string, [number, number][]>();
  for (const { told, shown } of ranked) {
    if (shown === null) continue;
    const { [key]: x, ...others } = told.values;
    const name = labelOf(others) || metric;
    lines.set(name, [...(lines.get(name) ?? []), [x as number, spread(shown)!.mean]]);
  }
  const series = [...lines]
    .slice(0, mostCurves)
    .map(([name, points]) => ({ name, points: points.sort(([a], [b]) => a - b) }));
  return [
    { title: `${metric} against ${key}`, x: "value", xLabel: key, yLabel: `${metric} × 100, held-out rows`, series },
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
function matrixOf(ranked: readonly Ranked[], several: readonly string[], tried: Tried, metric: string): Matrix[] {
  if (several.length !== 2) return [];
  const [down, across] = several as [string, string];
  const valuesOf = (key: string) => (tried as Values)[key]!;
  const at = (row: unknown, column: unknown): number | null => {
    const found = ranked.find(({ told }) => told.values[down] === row && told.values[across] === column);
    return found?.shown ? spread(found.shown)!.mean : null;
  };
  return [
    {
      title: `${metric} × 100: ${down} by ${across}`,
      rows: valuesOf(down).map((value) => `${down} ${valueText(value)}`),
      columns: valuesOf(across).map((value) => `${across} ${valueText(value)}`),
      values: valuesOf(down).map((row) => valuesOf(across).map((column) => at(row, column))),
    },
  ];
}
