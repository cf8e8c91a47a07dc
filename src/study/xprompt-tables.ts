/**
 * @file Outcomes as tables: scores with spread over seeds, kept parameters, cost, and pairwise differences.
 */
import type { Dataset } from "../data/row.js";
import {
  type Cell,
  type Column,
  paired,
  pairedCells,
  pairedColumns,
  type SeedScore,
  spread,
  type Table,
} from "./study.js";
import type { Outcome } from "./xprompt-types.js";
import { type VariantName, variants } from "./xprompt-variants.js";

/** One line of a table. */
export interface Line {
  readonly label: string;
  /** Case and variant the line shows. */
  readonly case: string;
  readonly variant: VariantName;
}

/** Lines of one case, in the order of the variants. */
export function linesOf(caseLabel: string, wanted: readonly VariantName[], prefix = ""): Line[] {
  return wanted.map((variant) => ({ label: `${prefix}${variants[variant].label}`, case: caseLabel, variant }));
}

/** The data of a task that a table needs: its name and first metric. */
export type TaskName = Pick<Dataset, "task">;

/**
 * Score × 100 per task (spread over seeds), average, parameters kept, FLOPs. No average where a seed lacks a task: a mean over some tasks
 * cannot be compared with one over all.
 */
export function scoreTable(
  title: string,
  found: readonly Outcome[],
  lines: readonly Line[],
  tasks: readonly TaskName[],
): Table {
  const columns: Column[] = [
    { name: "prompt" },
    ...tasks.map(({ task }) => ({ name: `${task.name} ${task.metrics[0]}`, digits: 2 })),
    { name: "average", digits: 2 },
    { name: "tokens", digits: 1 },
    { name: "pieces", digits: 1 },
    { name: "parameters", digits: 0 },
    { name: "kept", unit: "%", digits: 1 },
    { name: "FLOPs", unit: "TFLOP, all products", digits: 2 },
    { name: "time", unit: "s", digits: 1 },
  ];
  const rows = lines.map((line): Cell[] => {
    const own = of(found, line);
    const mean = (value: (o: Outcome) => number) => spread(own.map(value))?.mean ?? null;
    return [
      line.label,
      ...tasks.map(({ task }) => spread(own.filter((o) => o.task === task.name).map((o) => 100 * o.score))),
      averageOf(own, tasks),
      mean((o) => o.counts.tokens),
      mean((o) => o.counts.pieces),
      mean((o) => o.counts.parameters),
      mean((o) => 100 * o.counts.fraction),
      mean((o) => o.flops / 1e12),
      mean((o) => o.seconds),
    ];
  });
  return { title, columns, rows };
}

/** For each pair, the difference in points task by task and seed by seed: its mean, standard error, and signs. */
export function differenceTable(
  title: string,
  found: readonly Outcome[],
  pairs: readonly (readonly [question: string, a: Line, b: Line])[],
): Table {
  const rows = pairs.map(([question, a, b]): Cell[] => {
    const differences = of(found, a).flatMap((mine) => {
      const other = of(found, b).find((o) => o.task === mine.task && o.seed === mine.seed);
      return other ? [100 * (mine.score - other.score)] : [];
    });
    const all = paired(differences);
    return [question, all?.mean ?? null, ...pairedCells(all)];
  });
  return {
    title,
    columns: [{ name: "question" }, { name: "first − second", unit: "points", digits: 2 }, ...pairedColumns],
    rows,
  };
}

/** Layout of the poster's parameter table: per task what survived. */
export function parameterTable(found: readonly Outcome[], line: Line, tasks: readonly TaskName[]): Table {
  return {
    title: `What survives: ${line.label}`,
    columns: [
      { name: "task" },
      { name: "tokens", digits: 1 },
      { name: "pieces", digits: 1 },
      { name: "parameters", digits: 0 },
      { name: "of PT", unit: "%", digits: 2 },
    ],
    rows: tasks.map(({ task }): Cell[] => {
      const own = of(found, line).filter((o) => o.task === task.name);
      return [
        task.name,
        spread(own.map((o) => o.counts.tokens)),
        spread(own.map((o) => o.counts.pieces)),
        spread(own.map((o) => o.counts.parameters)),
        spread(own.map((o) => 100 * o.counts.fraction)),
      ];
    }),
  };
}

/** Every outcome of the lines, one by one. */
export function seedScores(found: readonly Outcome[], lines: readonly Line[], tasks: readonly TaskName[]): SeedScore[] {
  return lines.flatMap((line) =>
    of(found, line).map(({ task, seed, score, flops, seconds }) => ({
      line: line.label,
      task,
      seed,
      metric: tasks.find((dataset) => dataset.task.name === task)!.task.metrics[0],
      score: Number.isFinite(score) ? 100 * score : null,
      flops,
      seconds,
    })),
  );
}

export function of(found: readonly Outcome[], line: Line): Outcome[] {
  return found.filter((o) => o.label === line.case && o.variant === line.variant);
}

/** Spread over seeds of the mean over tasks. */
function averageOf(own: readonly Outcome[], tasks: readonly TaskName[]): Cell {
  const ofSeed = (seed: number) => own.filter((o) => o.seed === seed);
  const seeds = seedsOf(own);
  const isWhole = (seed: number) => tasks.every(({ task }) => ofSeed(seed).some((o) => o.task === task.name));
  return seeds.every(isWhole) ? spread(seeds.map((seed) => average(ofSeed(seed).map((o) => 100 * o.score)))) : null;
}

function seedsOf(found: readonly Outcome[]): number[] {
  return [...new Set(found.map((o) => o.seed))];
}

function average(values: readonly number[]): number {
  return values.reduce((a, b) => a + b, 0) / values.length;
}
