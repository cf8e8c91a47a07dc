/**
 * @file What every study gives back: plain data that the terminal, the report page and JSON all render alike.
 *
 * In: finished runs. Out: StudyResult: tables, curves, matrices, notes. No study prints or draws.
 */

/** A study's answer. */
export interface StudyResult {
  /** Command-like name: "compare", "similarity". */
  readonly study: string;
  readonly title: string;
  readonly tables: readonly Table[];
  /** Values of one kind beside each other: a figure of a table's column. */
  readonly dots: readonly DotChart[];
  readonly charts: readonly Chart[];
  readonly matrices: readonly Matrix[];
  /** Every score behind the tables, so that a reader can compute differences and their errors anew; absent where none is of one seed. */
  readonly scores?: readonly SeedScore[];
  /** Findings and reservations, one sentence each; they stand under the tables. */
  readonly notes: readonly string[];
  /** What was run: model, seeds, settings; goes into the report's foot and the JSON. */
  readonly settings: Readonly<Record<string, unknown>>;
}

/** One line of a table on one task with one seed. */
export interface SeedScore {
  readonly line: string;
  readonly task: string;
  readonly seed: number;
  readonly metric: string;
  /** × 100, as tables have it; null where nothing was measured. */
  readonly score: number | null;
  /** Total FLOPs and seconds of everything it needed; absent where nothing was trained for it. */
  readonly flops?: number;
  readonly seconds?: number;
}

/** A table of a study. */
export interface Table {
  readonly title: string;
  readonly columns: readonly Column[];
  /** One cell per column; null where nothing was measured. */
  readonly rows: readonly (readonly Cell[])[];
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
  readonly entries: readonly { readonly name: string; readonly value: Spread | null }[];
}

/** The figure of a table's column of spreads: its rows by their first cell. A table without that column has none. */
export function dotsOf({ title, columns, rows }: Table, column: string): DotChart[] {
  const at = columns.findIndex(({ name }) => name === column);
  if (at < 0) return [];
  const entries = rows.map((row) => {
    const cell = row[at] ?? null;
    return { name: String(row[0]), value: typeof cell === "object" ? cell : null };
  });
  return [{ title, xLabel: `${column}, ± deviation over seeds`, entries }];
}

/** Curves over one axis. */
export interface Chart {
  readonly title: string;
  /** Of charts that differ in their axis alone, the axis in a word: the page shows those of one view at a time. */
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

/** What paired differences say: their mean, its standard error (null of fewer than two), and how often they are above, equal, below zero. */
export interface Paired {
  readonly mean: number;
  readonly error: number | null;
  readonly pairs: number;
  readonly signs: string;
}

/** @param differences of one task and seed each: what both sides of a pair have in common, rows and start prompt, is not in them */
export function paired(differences: readonly number[]): Paired | null {
  const all = spread(differences);
  if (all === null) return null;
  const count = (test: (d: number) => boolean) => differences.filter(test).length;
  return {
    mean: all.mean,
    error: all.deviation === null ? null : all.deviation / Math.sqrt(all.count),
    pairs: all.count,
    signs: `${count((d) => d > 0)} / ${count((d) => d === 0)} / ${count((d) => d < 0)}`,
  };
}

/** Columns of paired differences, and a row's cells under them. */
export const pairedColumns: readonly Column[] = [
  { name: "standard error", unit: "points", digits: 2 },
  { name: "pairs", digits: 0 },
  { name: "above / equal / below" },
];

/** The difference of two lists of scores, seed by seed. */
export function pairedCells(found: Paired | null): Cell[] {
  return found === null ? [null, null, null] : [found.error, found.pairs, found.signs];
}

/** What every table of paired differences must say of itself. */
export const pairedNote =
  "Differences are paired: of the same task, seed, start prompt and validation rows; the standard error is their sample deviation over the square root of the number of pairs. It says nothing of rows that were not scored.";

/** Mean and sample standard deviation; null of nothing. */
export function spread(values: readonly number[]): Spread | null {
  if (values.length === 0) return null;
  const mean = values.reduce((a, b) => a + b, 0) / values.length;
  if (values.length === 1) return { mean, deviation: null, count: 1 };
  const squares = values.reduce((sum, v) => sum + (v - mean) ** 2, 0);
  return { mean, deviation: Math.sqrt(squares / (values.length - 1)), count: values.length };
}
