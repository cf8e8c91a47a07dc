/**
 * @file The result of every study: plain data for the terminal, the report page and JSON.
 *
 * In: finished runs. Out: StudyResult: tables, curves, matrices, notes. No study prints or draws.
 */
import { SoftpromptError } from "../base/errors.js";

/** A study's result. */
export interface StudyResult {
  /** Command-like name: "compare", "similarity". */
  readonly study: string;
  /** The command that makes it, where that is not `study` with this name. */
  readonly command?: string;
  readonly title: string;
  readonly tables: readonly Table[];
  /** Dot plots: a figure of one column of a table. */
  readonly dots: readonly DotChart[];
  readonly charts: readonly Chart[];
  readonly matrices: readonly Matrix[];
  /**
   * Every score behind the tables, so that a reader can compute differences and their errors anew; absent if no score belongs to a single
   * seed.
   */
  readonly scores?: readonly SeedScore[];
  /** Findings and limitations, one sentence each; they are shown under the tables. */
  readonly notes: readonly string[];
  /** What was run: model, seeds, settings; goes into the report's foot and the JSON. */
  readonly settings: Readonly<Record<string, unknown>>;
}

/** The score of one line of a table, on one task with one seed. */
export interface SeedScore {
  readonly line: string;
  readonly task: string;
  readonly seed: number;
  readonly metric: string;
  /** × 100, as tables have it; null where nothing was measured. */
  readonly score: number | null;
  /**
   * Total FLOPs and seconds of everything it needed; in the comparison of methods those of the training, as its table has them, without
   * evaluations and the search for a rate. Absent if nothing was trained for it.
   */
  readonly flops?: number;
  readonly seconds?: number;
}

/** A table of a study. */
export interface Table {
  readonly title: string;
  readonly columns: readonly Column[];
  /** One cell per column; null where nothing was measured. */
  readonly rows: readonly (readonly Cell[])[];
  /** Rows from this one on are not the study's own (a paper's): they are drawn grey. Default none. */
  readonly greyFrom?: number;
}

/** A column of a study's table. */
export interface Column {
  readonly name: string;
  /** "%", "s", "GFLOP"; shown once in the heading. */
  readonly unit?: string;
  /** Decimals of numbers; default 2. */
  readonly digits?: number;
}

/** A text, a number, a number with its spread over seeds (sample standard deviation; null for one seed), or nothing. */
export type Cell = string | number | Spread | null;

/** Mean and deviation over seeds. */
export interface Spread {
  readonly mean: number;
  readonly deviation: number | null;
  readonly count: number;
}

/** One value with its spread per name. */
export interface DotChart {
  readonly title: string;
  readonly xLabel: string;
  /** Differences: the axis has a line at 0. Default false. */
  readonly differences?: boolean;
  readonly entries: readonly { readonly name: string; readonly value: Spread | null }[];
}

/** The figure of a column with spreads: the rows, named by their first cell. A table without that column has no figure. */
export function dotsOf({ title, columns, rows }: Table, column: string): DotChart[] {
  const at = columns.findIndex(({ name }) => name === column);
  if (at < 0) return [];
  const entries = rows.map((row) => {
    const cell = row[at] ?? null;
    return { name: String(row[0]), value: typeof cell === "object" ? cell : null };
  });
  return [{ title, xLabel: `${column}, ± deviation over seeds`, entries }];
}

/**
 * The figure of a table of paired differences: each with twice its standard error, which by the protocol decides. A table without pairs, or
 * with no measured one, has no figure.
 */
export function differenceDots({ title, columns, rows }: Table): DotChart[] {
  const error = columns.findIndex(({ name }) => name === pairedColumns[0]!.name);
  const entries = rows.flatMap((row) => {
    const [mean, half, count] = [row[error - 1], row[error], row[error + 1]];
    if (typeof mean !== "number") return [];
    const deviation = typeof half === "number" ? 2 * half : null;
    return [{ name: String(row[0]), value: { mean, deviation, count: typeof count === "number" ? count : 0 } }];
  });
  if (error < 1 || entries.length === 0) return [];
  const what = columns[error - 1]!.name;
  return [{ title, xLabel: `${what}, points, ± twice the standard error`, differences: true, entries }];
}

/** Curves over one axis. */
export interface Chart {
  readonly title: string;
  /** For charts that differ only in their axis: the name of the axis. The page shows the charts of one view at a time. */
  readonly view?: string;
  readonly x: "steps" | "seconds" | "flops" | "value";
  readonly xLabel: string;
  readonly yLabel: string;
  readonly series: readonly Series[];
}

/** One line of a chart. */
export interface Series {
  readonly name: string;
  /** Ascending in x. */
  readonly points: readonly (readonly [x: number, y: number])[];
  /** Models trained one after the other, the first among them, and where each took over. */
  readonly stages?: readonly { readonly x: number; readonly partial: string }[];
}

/** A heat map. `values` is [rows.length][columns.length]; null cells are drawn grey. */
export interface Matrix {
  readonly title: string;
  readonly rows: readonly string[];
  readonly columns: readonly string[];
  readonly values: readonly (readonly (number | null)[])[];
  /** Colour range; default the values' own. */
  readonly range?: readonly [low: number, high: number];
}

/**
 * Summary of paired differences: their mean, its standard error (null for fewer than two), and how often they are above, equal to or below
 * zero.
 */
export interface Paired {
  readonly mean: number;
  readonly error: number | null;
  readonly pairs: number;
  readonly signs: string;
}

/**
 * @param differences one per task and seed; effects that both sides of a pair share (rows, start prompt) cancel out
 * @returns null for none, and where one is not finite: a mean over some pairs cannot be compared with one over all
 */
export function paired(differences: readonly number[]): Paired | null {
  const all = spread(differences);
  if (all === null || !differences.every(Number.isFinite)) return null;
  const count = (test: (d: number) => boolean) => differences.filter(test).length;
  return {
    mean: all.mean,
    error: all.deviation === null ? null : all.deviation / Math.sqrt(all.count),
    pairs: all.count,
    signs: `${count((d) => d > 0)} / ${count((d) => d === 0)} / ${count((d) => d < 0)}`,
  };
}

/**
 * The two-sided sign test: how often a fair coin would fall so unevenly, or more so. Ties count for neither side.
 * @param above pairs in which the first is better @param below pairs in which the second is
 * @throws SoftpromptError "usage" for what are no counts: NaN would give 0, which reads as certain
 */
export function signTest(above: number, below: number): number {
  for (const [where, count] of Object.entries({ above, below }))
    if (!Number.isSafeInteger(count) || count < 0)
      throw new SoftpromptError("usage", "the sign test takes counts of pairs", {
        where: `signTest(): ${where}`,
        expected: "a whole number, 0 or more",
        got: count,
      });
  const n = above + below;
  let tail = 0;
  // in logarithms: 2 ** n is no number from 1,024 pairs on
  let logWays = -n * Math.LN2;
  for (let k = 0; k <= Math.min(above, below); k++) {
    tail += Math.exp(logWays);
    logWays += Math.log((n - k) / (k + 1));
  }
  return Math.min(1, 2 * tail);
}

/** Columns of paired differences. */
export const pairedColumns: readonly Column[] = [
  { name: "standard error", unit: "points", digits: 2 },
  { name: "pairs", digits: 0 },
  { name: "above / equal / below" },
];

/** Cells of paired differences under their columns. */
export function pairedCells(found: Paired | null): Cell[] {
  return found === null ? [null, null, null] : [found.error, found.pairs, found.signs];
}

const pairedBy = (shared: string) =>
  `Differences are paired: of the same ${shared}; the standard error is their sample deviation over the square root of the number of pairs. It says nothing of rows that were not scored.`;

/** The note under a table of paired differences. */
export const pairedNote = pairedBy("task, seed, start prompt and validation rows");

/** The same where start prompts are what differs, or differ too. */
export const pairedNoteOfStarts = pairedBy("task, seed and validation rows");

/** The same where settings differ. */
export const pairedNoteOfSettings = pairedBy("task, seed, training rows and held-out rows");

/** Mean and sample standard deviation; null without values. */
export function spread(values: readonly number[]): Spread | null {
  if (values.length === 0) return null;
  const mean = values.reduce((a, b) => a + b, 0) / values.length;
  if (values.length === 1) return { mean, deviation: null, count: 1 };
  const squares = values.reduce((sum, v) => sum + (v - mean) ** 2, 0);
  return { mean, deviation: Math.sqrt(squares / (values.length - 1)), count: values.length };
}
