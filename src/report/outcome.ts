/**
 * @file What a user should know of how a training or a search ended: a score at chance looks like a real result.
 *
 * In: scores, their course, predictions. Out: sentences, for the end of the command and for its page.
 */
import { constantAnswer, fewestJudged, type Judged } from "../evaluate/evaluate.js";
import type { Scores } from "../run/result.js";
import { scoreText } from "./format.js";

export interface Outcome {
  /** Scores of what was kept; the first metric is the one that is told. */
  readonly scores: Scores;
  /** Scores of always the most frequent label; null where they were not measured. */
  readonly majority: Scores | null;
  readonly predictions: readonly Judged[];
  /** Why the training ended; with `evaluations` it tells whether it was given up too early. Default: nothing is said of it. */
  readonly reason?: string;
  /** Every evaluation in its order, with the name of the model that it was made on. */
  readonly evaluations?: readonly { readonly partial: string; readonly scores: Scores }[];
}

/** Sentences, the gravest first; none if all is well. */
export function outcomeWarnings({ scores, majority, predictions, reason, evaluations = [] }: Outcome): string[] {
  const [metric] = Object.keys(scores);
  if (metric === undefined) return [];
  const constant = constantAnswer(predictions);
  const [score, always] = [scores[metric]!, predictions.length < fewestJudged ? undefined : majority?.[metric]];
  const last = evaluations.at(-1)?.partial;
  const course = evaluations.filter(({ partial }) => partial === last).map((one) => one.scores);
  // of any metric: a task may choose by their mean
  const rose = course.some((later) => Object.entries(later).some(([name, value]) => value > course[0]![name]!));
  return [
    ...(constant === null ? [] : [constant]),
    ...(constant === null && always !== undefined && score <= always && score < 1
      ? [`${metric} ${scoreText(score)} is not above that of always the most frequent label, ${scoreText(always)}`]
      : []),
    ...(reason === "patience" && course.length > 1 && !rose
      ? [
          "patience ended the training before any evaluation was above the first: a soft prompt can stay at chance for thousands of steps. Give it more patience, or none (0)",
        ]
      : []),
  ];
}
