/**
 * @file A finished run in a few lines for the terminal. In: RunResult, predictions. Out: text.
 */

import type { Prediction } from "../evaluate/evaluate.js";
import { byteText, flopText, scaled, scoreText, secondText } from "../report/format.js";
import { plainTable } from "../report/markdown.js";
import type { RunResult } from "../run/result.js";
import { short } from "./data.js";

/** Scores before and after, and the cost. */
export function resultText({ run, scores, scoredOn, baseline, cost }: RunResult): string {
  const scored = cost.scoringFlops > 0;
  const rows = Object.entries(scores).map(([metric, score]) => [
    metric,
    scoreText(score),
    baseline.noPrompt === null ? "not measured" : scoreText(baseline.noPrompt[metric]),
    baseline.majority === null ? "–" : scoreText(baseline.majority[metric]),
  ]);
  return [
    plainTable([
      [`${run.task}, ${scoredOn.rows} ${scoredOn.split} rows`, "tuned", "no prompt", "majority class"],
      ...rows,
    ]),
    "",
    plainTable([
      [
        "steps",
        `${run.steps}${run.reason === "patience" ? " (stopped early: the score no longer rose)" : ""}; the prompt of step ${run.bestStep} is kept`,
      ],
      [
        "time",
        `${secondText(cost.seconds)} (training ${secondText(cost.trainSeconds)}, evaluation ${secondText(cost.evalSeconds)}, opening ${secondText(cost.openSeconds)}${cost.readSeconds ? `, reading rows ${secondText(cost.readSeconds)}` : ""}${scored ? `, scoring ${secondText(cost.scoringSeconds)}` : ""})`,
      ],
      [
        "compute",
        `${flopText(cost.flops)} (training ${flopText(cost.trainFlops)}, evaluation ${flopText(cost.evalFlops)}${scored ? `, scoring ${flopText(cost.scoringFlops)}` : ""}; as the papers count ${flopText(cost.paperFlops)})${cost.recomputedFlops === undefined ? "" : `; beside it ${flopText(cost.recomputedFlops)} computed again to save memory`}`,
      ],
      [
        "trained",
        `${scaled(cost.trainedParameters)} of ${scaled(cost.baseParameters)} parameters; adapter ${byteText(cost.adapterBytes)}`,
      ],
      ["memory", `${byteText(cost.peakBytes)} at most`],
    ]),
  ].join("\n");
}

/**
 * A warning if the prompt is no better than no prompt, or than always the most frequent label, by the metric that chose it. Null if it is
 * better, or if there is nothing to compare with.
 */
export function warningOf({ scores, baseline }: Pick<RunResult, "scores" | "baseline">): string | null {
  const [metric, score] = Object.entries(scores)[0] ?? [];
  if (metric === undefined || score === undefined) return null;
  const none = baseline.noPrompt?.[metric];
  const majority = baseline.majority?.[metric];
  const look = "look at the labels, the learning rate and the number of steps";
  if (none !== undefined && none !== null && score < none)
    return `the tuned prompt is worse than no prompt (${metric} ${scoreText(score)} against ${scoreText(none)}): ${look}`;
  if (none !== undefined && none !== null && score === none)
    return `the tuned prompt is no better than no prompt (${metric} ${scoreText(score)}): ${look}`;
  if (majority !== undefined && majority !== null && score <= majority)
    return `the tuned prompt is no better than always the most frequent answer (${metric} ${scoreText(score)} against ${scoreText(majority)}): ${look}`;
  return null;
}

/** A few predictions, right and wrong ones where there are both. */
export function samplesText(predictions: readonly Prediction[], count = 3): string {
  const wrong = predictions.find((p) => !p.correct);
  const right = predictions.filter((p) => p.correct);
  const chosen = [...right.slice(0, count - (wrong ? 1 : 0)), ...(wrong ? [wrong] : [])].slice(0, count);
  return chosen
    .map(({ row, text, correct, probabilities, label }) => {
      const sure =
        probabilities === null || label === null || !Object.hasOwn(probabilities, label)
          ? ""
          : ` (${probabilities[label]!.toFixed(2)})`;
      const verdict = correct ? "right" : `wrong, should be “${clip(row.target, 60)}”`;
      return `  ${clip(row.input, 90)}\n    → ${clip(text, 60)}${sure}, ${verdict}`;
    })
    .join("\n");
}

const clip = (text: string, length: number): string => short(text.replaceAll(/\s+/g, " "), length);
