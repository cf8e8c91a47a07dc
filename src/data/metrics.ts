/**
 * @file Metrics: predictions against rows.
 *
 * In: the task, its rows, one prediction per row. Out: scores as fractions 0 … 1 (ROUGE and F1 too; tables print × 100).
 * Every metric is one entry of the table below. Sources: fpt.md §6, xprompt.md §5; F1 as scikit-learn's f1_score with zero
 * where nothing was predicted.
 */
import { type MetricName, metricNames, type Scores } from "./metric-names.js";
import { rouge } from "./rouge.js";
import type { Row, Task } from "./row.js";

/** What the model said for one row. */
export interface Prediction {
  /** The chosen label, or null if the generated text is no label's words. Free-text tasks: null. */
  readonly label: string | null;
  /** The generated text, or the chosen label's words. */
  readonly text: string;
}

export { type MetricName, metricNames, type Scores };

type Pair = readonly [row: Row, prediction: Prediction];
type Metric = (pairs: readonly Pair[], task: ScoredTask) => number;

/** What scoring needs of a task. */
export type ScoredTask = Pick<Task, "verbalizer" | "scoring">;

const f1Of: Metric = (pairs, task) => {
  const positive = positiveLabel(task);
  const missing = task.scoring?.outOfLabel === "positive" ? positive : null;
  return f1(
    pairs,
    ([row]) => row.label === positive,
    ([, p]) => (p.label ?? missing) === positive,
  );
};

const metrics = {
  /** Share of rows with the right label; without labels, with the first reference word for word. */
  accuracy: (pairs, task) => mean(pairs, ([row, p]) => right(row, p, task)),
  /** F1 of the positive label. */
  f1: f1Of,
  /** Unweighted mean of every label's F1; labels that neither stand in the rows nor were predicted are left out. */
  macroF1: (pairs, task) => {
    const seen = new Set(pairs.flatMap(([row, p]) => [row.label, p.label]));
    const labels = Object.keys(task.verbalizer ?? {}).filter((label) => seen.has(label));
    return mean(labels, (label) =>
      f1(
        pairs,
        ([row]) => row.label === label,
        ([, p]) => p.label === label,
      ),
    );
  },
  /** MultiRC's F1a: F1 of the positive label over all answer options of all questions. */
  f1a: f1Of,
  /** Share of groups (MultiRC: questions) whose rows are all right; a row without group is its own. */
  groupExactMatch: (pairs, task) => {
    const groups = new Map<string, boolean>();
    for (const [row, p] of pairs) {
      const key = row.group ?? `row ${row.id}`;
      groups.set(key, (groups.get(key) ?? true) && right(row, p, task) === 1);
    }
    return mean([...groups.values()], Number);
  },
  /** Share of rows whose text is one of the references, as it stands unless `scoring.normalize` says otherwise. */
  exactMatch: (pairs, task) =>
    mean(pairs, ([row, p]) => Number(row.references.some((r) => normal(r, task) === normal(p.text, task)))),
  /** Mean over rows of the best token F1 against any reference; tokens are cut at white space. */
  tokenF1: (pairs, task) =>
    mean(pairs, ([row, p]) =>
      row.references.reduce((best, r) => Math.max(best, textF1(normal(p.text, task), normal(r, task), task)), 0),
    ),
  /** F1 of "has an answer" against "no answer" (SQuAD 2.0). */
  hasAnswerF1: (pairs) =>
    f1(
      pairs,
      ([row]) => row.target !== noAnswer,
      ([, p]) => p.text.trim() !== noAnswer,
    ),
  rouge1: (pairs) => mean(pairs, ([row, p]) => rouge(p.text, row.target).rouge1),
  rouge2: (pairs) => mean(pairs, ([row, p]) => rouge(p.text, row.target).rouge2),
  rougeL: (pairs) => mean(pairs, ([row, p]) => rouge(p.text, row.target).rougeL),
} satisfies Record<MetricName, Metric>;

/** The target of a question without an answer (fpt.md §6). */
export const noAnswer = "no answer";

/** Scores predictions (one per row, in order) by the metrics of the task, or by those named. Throws RangeError on a length mismatch. */
export function computeMetrics(
  task: ScoredTask & Pick<Task, "metrics">,
  rows: readonly Row[],
  predictions: readonly Prediction[],
  names: readonly MetricName[] = task.metrics,
): Partial<Record<MetricName, number>> {
  if (rows.length !== predictions.length)
    throw new RangeError(`${predictions.length} predictions for ${rows.length} rows`);
  const pairs = rows.map((row, i): Pair => [row, predictions[i]!]);
  return Object.fromEntries(names.map((name) => [name, metrics[name](pairs, task)]));
}

/** How well one label is found. Null where a share has nothing to be a share of. */
export interface LabelScores {
  readonly label: string;
  /** Rows that have it. */
  readonly support: number;
  /** Rows that were given it. */
  readonly predicted: number;
  /** Share of the rows that were given it that have it; null if none was. */
  readonly precision: number | null;
  /** Share of the rows that have it that were given it; null if none has. */
  readonly recall: number | null;
  /** Their harmonic mean, 0 if no row is right; null if none has it or was given it. */
  readonly f1: number | null;
}

/**
 * Precision, recall, F1 and support of each label, as scikit-learn's precision_recall_fscore_support; what it sets to `zero_division` is null.
 * @param pairs each row's own label, and the one that it was given; null is no label, which counts against the row's own alone
 */
export function labelScores(
  labels: readonly string[],
  pairs: readonly (readonly [truth: string | null, given: string | null])[],
): LabelScores[] {
  const share = (part: number, whole: number) => (whole === 0 ? null : part / whole);
  return labels.map((label) => {
    const support = pairs.filter(([truth]) => truth === label).length;
    const predicted = pairs.filter(([, given]) => given === label).length;
    const both = pairs.filter(([truth, given]) => truth === label && given === label).length;
    return {
      label,
      support,
      predicted,
      precision: share(both, predicted),
      recall: share(both, support),
      f1: share(2 * both, support + predicted),
    };
  });
}

/**
 * The label of the task's F1: `scoring.positiveLabel`, else the largest where all labels are numbers (scikit-learn's 1 of -1 and 1; an
 * object lists `1` before `-1` however it was written), else the last of the verbalizer.
 */
export function positiveLabel(task: ScoredTask): string | null {
  if (task.scoring?.positiveLabel !== undefined) return task.scoring.positiveLabel;
  const labels = Object.keys(task.verbalizer ?? {});
  if (labels.length > 0 && labels.every((label) => label.trim() !== "" && Number.isFinite(Number(label))))
    return labels.reduce((a, b) => (Number(b) > Number(a) ? b : a));
  return labels.at(-1) ?? null;
}

/** 1 if the prediction is right: by label where the row has one, else by text. */
function right(row: Row, p: Prediction, task: ScoredTask): number {
  if (task.scoring?.referent) {
    // whoever says nothing has not denied that it is the candidate: right for no label, as in T5's postprocessor
    if (referentWords(p.text).length === 0) return 0;
    return Number(String(namesReferent(p.text, row.target)) === (row.label ?? "true").toLowerCase());
  }
  if (row.label !== null && p.label !== null) return Number(row.label === p.label);
  return Number(row.label === null && normal(p.text, task) === normal(row.target, task));
}

/**
 * WSC by generation: does the text name the candidate? Case and determiners dropped, its words must be a subset or superset of
 * the candidate's; a possessive on one side only does not match. Source: T5's postprocessor `wsc_simple`, xprompt.md §5.2.
 */
export function namesReferent(text: string, candidate: string): boolean {
  const [said, meant] = [referentWords(text), referentWords(candidate)];
  if (said.length === 0) return false;
  if (said.join(" ").includes("'") !== meant.join(" ").includes("'")) return false;
  return said.every((w) => meant.includes(w)) || meant.every((w) => said.includes(w));
}

function referentWords(text: string): string[] {
  return text
    .trim()
    .toLowerCase()
    .split(/\s+/)
    .filter((w) => w !== "" && !determiners.has(w));
}

const determiners = new Set(
  "a an few her his each every many much my our some that the their these this those which whose your".split(" "),
);

/** As it stands; or SQuAD's: lower case, no punctuation, no articles, single blanks. */
function normal(text: string, task: ScoredTask): string {
  if (task.scoring?.normalize !== "squad") return text.trim();
  return (
    text
      .toLowerCase()
      .replace(/[!-/:-@[-`{-~]/g, "")
      // \b of the official script knows every script's letters, JavaScript's only ASCII's: it would take the a of "peña"
      .replace(/(?<![\p{L}\p{N}_])(a|an|the)(?![\p{L}\p{N}_])/gu, " ")
      .split(/\s+/)
      .filter((w) => w !== "")
      .join(" ")
  );
}

/** As the script of SQuAD 2.0: having no answer is right or wrong, whatever words it shares with an answer. */
function textF1(said: string, meant: string, task: ScoredTask): number {
  const none = task.scoring?.normalize === "squad" && [said, meant].includes(noAnswer);
  return none ? Number(said === meant) : tokenF1(said, meant);
}

function tokenF1(said: string, meant: string): number {
  const tokens = (s: string) => s.split(/\s+/).filter((w) => w !== "");
  const [a, b] = [tokens(said), tokens(meant)];
  if (a.length === 0 || b.length === 0) return Number(a.length === b.length);
  const counts = new Map<string, number>();
  for (const w of b) counts.set(w, (counts.get(w) ?? 0) + 1);
  let common = 0;
  for (const w of a) {
    const left = counts.get(w) ?? 0;
    if (left > 0) {
      common++;
      counts.set(w, left - 1);
    }
  }
  return (2 * common) / (a.length + b.length);
}

function f1(pairs: readonly Pair[], isGold: (pair: Pair) => boolean, isPredicted: (pair: Pair) => boolean): number {
  let [both, gold, predicted] = [0, 0, 0];
  for (const pair of pairs) {
    const [g, p] = [isGold(pair), isPredicted(pair)];
    if (g) gold++;
    if (p) predicted++;
    if (g && p) both++;
  }
  return gold + predicted === 0 ? 0 : (2 * both) / (gold + predicted);
}

function mean<T>(list: readonly T[], of: (item: T) => number): number {
  return list.length === 0 ? 0 : list.reduce((sum, item) => sum + of(item), 0) / list.length;
}

/** The one number that chooses prompts and candidates; NaN where a metric of it was not measured. */
export function selectionScore(
  { metrics: names, selectBy }: Pick<Task, "metrics" | "selectBy">,
  scores: Scores,
): number {
  const of = (name: MetricName) => scores[name] ?? Number.NaN;
  return selectBy === "mean" ? mean(names, of) : of(names[0]);
}

/** Its name for people. */
export function selectionName({ metrics: names, selectBy }: Pick<Task, "metrics" | "selectBy">): string {
  return selectBy === "mean" && names.length > 1 ? `mean of ${names.join(", ")}` : names[0];
}
