/**
 * @file Preview of a dataset: counts, labels, sample rows, and the score of a constant prediction.
 *
 * In: Dataset. Out: plain data for `show` commands and reports.
 */
import { computeMetrics, type MetricName } from "./metrics.js";
import type { Dataset, Row } from "./row.js";
import type { Split } from "./tasks.js";

export interface TaskPreview {
  readonly task: Dataset["task"];
  /** Rows of each split. */
  readonly counts: Readonly<Record<Split, number>>;
  /** Label → rows, in the training and the validation split; empty for free text. */
  readonly labels: Readonly<Record<string, { readonly train: number; readonly validation: number }>>;
  /** The first rows of the training split as the model will see them. */
  readonly rows: readonly Pick<Row, "id" | "input" | "target" | "label">[];
  readonly notices: readonly string[];
}

/** The first `n` training rows and the counts. */
export function taskPreview(dataset: Dataset, n = 3): TaskPreview {
  const { task, train, validation, test } = dataset;
  const count = (rows: readonly Row[], label: string) => rows.filter((r) => r.label === label).length;
  return {
    task,
    counts: { train: train.length, validation: validation.length, test: test.length },
    labels: Object.fromEntries(
      Object.keys(task.verbalizer ?? {}).map((label) => [
        label,
        { train: count(train, label), validation: count(validation, label) },
      ]),
    ),
    rows: train.slice(0, n).map(({ id, input, target, label }) => ({ id, input, target, label })),
    notices: dataset.notices ?? [],
  };
}

/** The majority-class baseline: the commonest training label (or target), said for every row of `rows`; ties by first seen. */
export function majorityBaseline(
  dataset: Pick<Dataset, "task" | "train">,
  rows: readonly Row[],
): { readonly says: string; readonly scores: Partial<Record<MetricName, number>> } {
  const counts = new Map<string, { count: number; row: Row }>();
  for (const row of dataset.train) {
    const key = row.label ?? row.target;
    const entry = counts.get(key);
    if (entry) entry.count++;
    else counts.set(key, { count: 1, row });
  }
  let best: { count: number; row: Row } | undefined;
  for (const entry of counts.values()) if (!best || entry.count > best.count) best = entry;
  const { label, target } = best?.row ?? { label: null, target: "" };
  return {
    says: label ?? target,
    scores: computeMetrics(
      dataset.task,
      rows,
      rows.map(() => ({ label, text: target })),
    ),
  };
}
