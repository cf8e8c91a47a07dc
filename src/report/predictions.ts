/**
 * @file Report of the kept prompt's predictions on the validation rows: confusion, the most confident errors, some right answers.
 *
 * In: lines of predictions.jsonl. Out: sections of a report's page.
 */
import { highest } from "../base/extent.js";
import { scoreText } from "./format.js";
import { type Html, html, htmlTable, say } from "./page.js";

/** The tuned model's prediction for one row. */
export interface Prediction {
  readonly id: string;
  readonly input: string;
  readonly target: string;
  readonly prediction: string;
  /** Label of the row and the predicted one; null for free text. */
  readonly label: string | null;
  readonly predictedLabel: string | null;
  /** Label → probability among the choices; absent when generated. */
  readonly probabilities?: Readonly<Record<string, number>>;
  readonly right: boolean;
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
  const labelled = predictions.filter((p) => p.label !== null);
  const unsaid = labelled.filter((p) => p.predictedLabel === null);
  const labels = [...new Set(labelled.flatMap((p) => [p.label!, p.predictedLabel ?? p.label!]))].sort();
  if (labels.length < 2 || labels.length > 30) return [];
  // where texts are judged without becoming labels (WSC by generation), there is nothing to confuse
  if (unsaid.length === labelled.length && labelled.some((p) => p.right)) return [];
  const count = (gold: string, said: string | null) =>
    labelled.filter((p) => p.label === gold && p.predictedLabel === said).length;
  const some = unsaid.length > 0;
  return [
    html`<h2>Confusion</h2><p class="soft">Rows: the true label. Columns: what the model said${some ? "; no label: a text that is no label's words" : ""}.</p>`,
    htmlTable(
      ["true \\ said", ...labels, ...(some ? ["no label"] : []), "rows", "right"],
      labels.map((gold) => {
        const rows = labelled.filter((p) => p.label === gold).length;
        return [
          gold,
          ...labels.map((said) => String(count(gold, said))),
          ...(some ? [String(count(gold, null))] : []),
          String(rows),
          rows === 0 ? "–" : `${scoreText(count(gold, gold) / rows)} %`,
        ];
      }),
    ),
  ];
}

/** The most confident mistakes first, because they tell most about data and template. */
function errorSection(predictions: readonly Prediction[]): Html[] {
  const sureness = (p: Prediction) => highest(Object.values(p.probabilities ?? {}), 0);
  const wrong = predictions.filter((p) => !p.right).sort((a, b) => sureness(b) - sureness(a));
  const right = predictions.filter((p) => p.right);
  const table = (rows: readonly Prediction[]) =>
    htmlTable(
      ["row", "input", "expected", "said", "probability"],
      rows.map((p) => [
        html`<code>${p.id}</code>`,
        clipped(p.input),
        clipped(p.target),
        clipped(p.prediction),
        p.probabilities === undefined ? "–" : sureness(p).toFixed(2),
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
