/**
 * @file Metrics: predictions against rows. (contract; the data room fills it in)
 */
export type MetricName = "accuracy" | "f1" | "macroF1" | "f1a" | "exactMatch" | "tokenF1" | "rougeL";
