/**
 * @file XPrompt's published numbers, and the tables that set a study's own beside them in the paper's layout.
 *
 * In: StudyResult. Out: the same with further tables whose last rows are the paper's. They are numbers of T5 Large, XL and XXL, trained far longer: for
 * reading, not for comparison. Source: Ma et al. 2022, arXiv:2210.04457, as the paper's poster prints its Tables 1 to 3 (xprompt.md §7); every
 * average was checked against its row.
 */
import type { ReferenceName } from "./reference-options.js";
import type { Cell, Column, StudyResult, Table } from "./study.js";

/** The seven SuperGLUE tasks of the paper, in its order; scores of MultiRC are F1 over all answers, of the others accuracy (metricOf). */
export const referenceTasks = ["wic", "wsc", "cb", "copa", "rte", "boolq", "multirc"] as const;

/** A line of Table 1: scores by task, and the average as it is printed (of those that are there). */
export interface ReferenceScores {
  readonly model: "T5-Large" | "T5-XL" | "T5-XXL";
  readonly method: "Fine-Tuning" | "P-Tuning" | "Prefix-Tuning" | "Prompt-Tuning" | "XPrompt";
  /** In the order of referenceTasks; null where the paper has none. */
  readonly scores: readonly (number | null)[];
  readonly average: number;
}

const line = (
  model: ReferenceScores["model"],
  method: ReferenceScores["method"],
  scores: readonly (number | null)[],
  average: number,
): ReferenceScores => ({ model, method, scores, average });

/** Table 1. Fine-Tuning is quoted there from earlier work. */
export const referenceMain: readonly ReferenceScores[] = [
  line("T5-Large", "Fine-Tuning", [73.5, 88.5, 94.3, 72.0, 90.6, 88.3, 85.4], 84.65),
  line("T5-Large", "P-Tuning", [70.37, 64.42, 92.85, 76.0, 79.78, 83.02, 79.96], 78.06),
  line("T5-Large", "Prefix-Tuning", [62.5, 64.46, 78.78, null, 55.7, 65.17, 60.19], 64.46),
  line("T5-Large", "Prompt-Tuning", [72.25, 68.26, 82.14, 76.0, 85.19, 83.02, 79.86], 78.1),
  line("T5-Large", "XPrompt", [73.51, 70.39, 91.07, 82.0, 87.72, 83.82, 81.02], 81.36),
  line("T5-XL", "Fine-Tuning", [74.3, 95.2, 92.0, 96.0, 91.7, 89.6, 88.2], 89.57),
  line("T5-XL", "P-Tuning", [72.54, 81.73, 91.07, 73.0, 89.53, 84.54, 85.45], 82.55),
  line("T5-XL", "Prompt-Tuning", [74.29, 86.53, 91.07, 91.0, 89.16, 87.58, 84.89], 86.36),
  line("T5-XL", "XPrompt", [76.95, 91.34, 92.85, 95.0, 92.79, 89.0, 87.34], 89.32),
  line("T5-XXL", "Fine-Tuning", [78.5, 95.2, 100.0, 99.0, 92.1, 90.4, 88.6], 91.97),
  line("T5-XXL", "P-Tuning", [76.8, 94.23, 92.85, 93.0, 89.8, 86.98, 87.56], 88.75),
  line("T5-XXL", "Prompt-Tuning", [76.1, 96.15, 96.42, 98.0, 91.69, 89.08, 87.9], 90.76),
  line("T5-XXL", "XPrompt", [77.69, 97.11, 100.0, 99.0, 94.94, 90.87, 88.9], 92.64),
];

/** Tasks of Table 2, in its order. */
export const referenceFewShotTasks = ["boolq", "wic", "rte"] as const;

/** Table 2: 32 training examples, T5-XL; GPT-3's lines are quoted there. */
export const referenceFewShot: readonly { readonly method: string; readonly scores: readonly number[] }[] = [
  { method: "T5-XL P-Tuning", scores: [64.99, 54.23, 57.4] },
  { method: "GPT-3 1.3B, in context", scores: [64.1, 53.0, 50.9] },
  { method: "GPT-3 2.7B, in context", scores: [70.3, 51.6, 56.3] },
  { method: "T5-XL Prompt-Tuning", scores: [69.81, 60.81, 66.08] },
  { method: "T5-XL XPrompt", scores: [70.23, 62.85, 67.87] },
];

/** Table 3: numbers that are trained, T5-XL, 20 tokens of width 2,048; in the order of referenceTasks. */
export const referenceParameters: readonly { readonly method: string; readonly parameters: readonly number[] }[] = [
  { method: "T5-XL Fine-Tuning", parameters: Array.from({ length: 7 }, () => 3e9) },
  { method: "T5-XL Prompt-Tuning", parameters: Array.from({ length: 7 }, () => 40_960) },
  { method: "T5-XL XPrompt", parameters: [2_560, 6_144, 2_560, 15_232, 512, 29_184, 27_648] },
];

const note =
  "Rows marked with “paper:” are XPrompt's own numbers (Ma et al. 2022, arXiv:2210.04457, Tables 1 to 3), of models of 770 million to 11 billion parameters trained far longer. They stand there for reading; nothing is compared.";

/** The result with the paper's tables behind its own. */
export function withReference(result: StudyResult, name: ReferenceName): StudyResult {
  if (name === "none") return result;
  const tables = [mainTable(result), fewShotTable(result), parameterTable(result)];
  return { ...result, tables: [...result.tables, ...tables], notes: [...result.notes, note] };
}

/**
 * A study's lines on these tasks: mean over seeds; null for a task that was not run, or was scored by another metric than the paper's. A task
 * that was run in several formats has a line for each: no mean of them is in the paper.
 */
function ownLines(
  { scores = [] }: StudyResult,
  tasks: readonly string[],
): { name: string; values: (number | null)[] }[] {
  const names = [...new Set(scores.map((score) => score.line))];
  return names.flatMap((name) => {
    const own = scores.filter((score) => score.line === name && score.metric === metricOf(taskOf(score.task)));
    return columnsIn(
      own.map(({ task }) => task),
      tasks,
    ).flatMap(({ label, columns }) => {
      const values = columns.map((task) => {
        const seeds = own.filter((score) => score.task === task);
        return seeds.length === 0 || seeds.some(({ score }) => score === null)
          ? null
          : seeds.reduce((sum, { score }) => sum + score!, 0) / seeds.length;
      });
      return values.every((value) => value === null) ? [] : [{ name: name + label, values }];
    });
  });
}

/** What the paper's scores of a task are. */
const metricOf = (task: string) => (task === "multirc" ? "f1a" : "accuracy");

/** "boolq/t5" is a format of boolq. */
const taskOf = (name: string) => name.split("/")[0]!;

/** Names of a study's tasks in the paper's columns: one row, or as many as a task has formats, each then named in its label. */
function columnsIn(
  names: readonly string[],
  tasks: readonly string[],
): { readonly label: string; readonly columns: readonly (string | null)[] }[] {
  const ways = tasks.map((task) => [...new Set(names.filter((name) => taskOf(name) === task))]);
  const several = ways.filter(({ length }) => length > 1);
  return Array.from({ length: Math.max(1, ...ways.map(({ length }) => length)) }, (_, n) => ({
    label: several.length === 0 ? "" : ` (${several.flatMap((way) => way[n] ?? []).join(", ")})`,
    columns: ways.map((way) => way[n] ?? null),
  }));
}

/** The mean where every task was run. */
function averageOf(values: readonly (number | null)[]): number | null {
  const known = values.filter((value) => value !== null);
  return known.length < values.length ? null : known.reduce((a, b) => a + b, 0) / known.length;
}

const columnsOf = (tasks: readonly string[], digits: number): Column[] => tasks.map((name) => ({ name, digits }));

function mainTable(result: StudyResult): Table {
  // scores of 32 examples do not belong here
  const lines = result.study === "few-shot" ? [] : ownLines(result, referenceTasks);
  const own = lines.map(({ name, values }): Cell[] => [name, ...values, averageOf(values)]);
  return {
    title: "Layout of XPrompt's Table 1, with its numbers",
    columns: [{ name: "method" }, ...columnsOf(referenceTasks, 2), { name: "average of 7", digits: 2 }],
    rows: [
      ...own,
      ...referenceMain.map(({ model, method, scores, average }): Cell[] => [
        `paper: ${model} ${method}`,
        ...scores,
        average,
      ]),
    ],
    greyFrom: own.length,
  };
}

function fewShotTable(result: StudyResult): Table {
  // scores of trainings on all rows do not belong here
  const own = result.study === "few-shot" ? ownLines(result, referenceFewShotTasks) : [];
  const rows = own.map(({ name, values }): Cell[] => [name, ...values]);
  return {
    title: "Layout of XPrompt's Table 2 (32 training examples), with its numbers",
    columns: [{ name: "method" }, ...columnsOf(referenceFewShotTasks, 2)],
    rows: [...rows, ...referenceFewShot.map(({ method, scores }): Cell[] => [`paper: ${method}`, ...scores])],
    greyFrom: rows.length,
  };
}

/** Own rows are of the tables that say what survives of each task. */
function parameterTable({ tables }: StudyResult): Table {
  const own = tables.flatMap((table): Cell[][] => {
    const at = table.columns.findIndex(({ name }) => name === "parameters");
    if (table.columns[0]?.name !== "task" || at < 0) return [];
    const names = table.rows.map(([name]) => String(name));
    return columnsIn(names, referenceTasks).flatMap(({ label, columns }): Cell[][] => {
      const cells = columns.map((task) => table.rows.find(([name]) => name === task)?.[at] ?? null);
      return cells.every((cell) => cell === null) ? [] : [[table.title + label, ...cells]];
    });
  });
  return {
    title: "Layout of XPrompt's Table 3 (numbers that are trained), with its numbers",
    columns: [{ name: "method" }, ...columnsOf(referenceTasks, 0)],
    rows: [...own, ...referenceParameters.map(({ method, parameters }): Cell[] => [`paper: ${method}`, ...parameters])],
    greyFrom: own.length,
  };
}
