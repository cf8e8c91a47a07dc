/** @file Interim scores until the data room's metrics are there: accuracy alone. */
import type { MetricName } from "../data/metrics.js";
import type { Row, Task } from "../data/row.js";

export interface Predicted {
  readonly row: Row;
  readonly label: string | null;
  readonly text: string;
}

export function scorePredictions(task: Task, predictions: readonly Predicted[]): Partial<Record<MetricName, number>> {
  const right = predictions.filter(({ row, label, text }) =>
    row.label !== null ? label === row.label : row.references.includes(text),
  ).length;
  return Object.fromEntries(
    task.metrics.map((name) => [name, predictions.length === 0 ? 0 : right / predictions.length]),
  );
}
