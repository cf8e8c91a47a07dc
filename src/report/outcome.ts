/**
 * @file What a user should know of how a training or a search ended: a score at chance looks like a real result.
 *
 * In: scores, their course, predictions. Out: sentences, for the end of the command and for its page.
 */
import { type Answered, constantAnswer } from "../evaluate/evaluate.js";
import type { Scores } from "../run/result.js";
import { scoreText } from "./format.js";

export interface Outcome {
  /** Scores of what was kept; the first metric is the one that chooses. */
  readonly scores: Scores;
  /** Scores of always the most frequent label; null where they were not measured. */
  readonly majority: Scores | null;
  readonly predictions: readonly Answered[];
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
  const [score, always] = [scores[metric]!, majority?.[metric]];
  const last = evaluations.at(-1)?.partial;
  const course = evaluations.filter(({ partial }) => partial === last).map((one) => one.scores[metric]!);
  const rose = course.some((later) => later > course[0]!);
  return [
    ...(constant === null ? [] : [constant]),
    ...(constant === null && always !== undefined && score <= always
      ? [`${metric} ${scoreText(score)} is not above that of always the most frequent label, ${scoreText(always)}`]
      : []),
    ...(reason === "patience" && course.length > 1 && !rose
      ? [
          "patience ended the training before any evaluation was above the first: a soft prompt can stay at chance for thousands of steps. Give it more patience, or none (0)",
        ]
      : []),
  ];
}
