/**
 * @file Report of the kept prompt's predictions on the validation rows: confusion, the most confident errors, some right answers.
 *
 * In: lines of predictions.jsonl. Out: sections of a report's page.
 */
import { highest } from "../base/extent.js";
import { labelScores } from "../data/metrics.js";
import { scoreText } from "./format.js";
import { type Html, html, htmlTable, say } from "./page.js";

/** The tuned model's prediction for one row. */
export interface Prediction {
  readonly id: string;
  readonly input: string;
  /** The label that the model chose; null for free text, and where generated text is no label's words. */
  readonly label: string | null;
  /** The label's words, or the generated text. */
  readonly text: string;
  /** Label → probability among the choices; null when generated. */
  readonly probabilities: Readonly<Record<string, number>> | null;
  /** The row's own label; null for free text. */
  readonly trueLabel: string | null;
  /** The words that would have been right. */
  readonly target: string;
  readonly correct: boolean;
}

/** How many rows of each kind the page shows. */
const shownErrors = 25;
const shownSamples = 8;
const longestText = 400;

/** Empty if nothing was predicted. */
export function predictionSections(predictions: readonly Prediction[]): Html[] {
  return [...confusionSection(predictions), ...errorSection(predictions)];
}

/** Table of right against predicted labels. */
function confusionSection(predictions: readonly Prediction[]): Html[] {
  const labelled = predictions.filter((p) => p.trueLabel !== null);
  const unsaid = labelled.filter((p) => p.label === null);
  const labels = [...new Set(labelled.flatMap((p) => [p.trueLabel!, p.label ?? p.trueLabel!]))].sort();
  if (labels.length < 2 || labels.length > 30) return [];
  // where texts are judged without becoming labels (WSC by generation), there is nothing to confuse
  if (unsaid.length === labelled.length && labelled.some((p) => p.correct)) return [];
  const count = (gold: string, said: string | null) =>
    labelled.filter((p) => p.trueLabel === gold && p.label === said).length;
  const scores = labelScores(
    labels,
    labelled.map((p) => [p.trueLabel, p.label] as const),
  );
  const some = unsaid.length > 0;
  return [
    html`<h2>Confusion</h2><p class="soft">Rows: the true label. Columns: what the model said${some ? "; no label: a text that is no label's words" : ""}. Precision, recall and F1 × 100; a dash where there is nothing to take a share of.</p>`,
    htmlTable(
      ["true \\ said", ...labels, ...(some ? ["no label"] : []), "support", "precision", "recall", "f1"],
      scores.map(({ label: gold, support, precision, recall, f1 }) => [
        gold,
        ...labels.map((said) => String(count(gold, said))),
        ...(some ? [String(count(gold, null))] : []),
        String(support),
        ...[precision, recall, f1].map(scoreText),
      ]),
    ),
  ];
}

/** The most confident mistakes first, because they tell most about data and template. */
function errorSection(predictions: readonly Prediction[]): Html[] {
  const sureness = (p: Prediction) => highest(Object.values(p.probabilities ?? {}), 0);
  const wrong = predictions.filter((p) => !p.correct).sort((a, b) => sureness(b) - sureness(a));
  const right = predictions.filter((p) => p.correct);
  const table = (rows: readonly Prediction[]) =>
    htmlTable(
      ["row", "input", "expected", "said", "probability"],
      rows.map((p) => [
        html`<code>${p.id}</code>`,
        clipped(p.input),
        clipped(p.target),
        clipped(p.text),
        p.probabilities === null ? "–" : sureness(p).toFixed(2),
      ]),
      { stacked: true },
    );
  return [
    ...(wrong.length === 0
      ? []
      : [
          html`<h2>Errors</h2><p class="soft">${Math.min(shownErrors, wrong.length)} of ${wrong.length}, the surest first.</p>`,
          table(wrong.slice(0, shownErrors)),
        ]),
    ...(right.length === 0
      ? []
      : [
          html`<h2>Right answers</h2><p class="soft">${Math.min(shownSamples, right.length)} of ${right.length}.</p>`,
          table(right.slice(0, shownSamples)),
        ]),
  ];
}

function clipped(text: string): Html {
  return text.length <= longestText
    ? say(text)
    : html`<details><summary>${text.slice(0, longestText)}…</summary>${text.slice(longestText)}</details>`;
}
