/**
 * @file Verbalizers: labels and the words the decoder says for them.
 *
 * In: label → words. Out: checks, the label of a cell, the label of a generated text.
 */
import { nearest, SoftpromptError } from "../base/errors.js";

export type Verbalizer = Readonly<Record<string, string>>;

/** More labels than this are no classification; rank entities by row instead (Row.choices). */
export const maxLabels = 1_000;

/** Refuses a verbalizer that cannot tell labels apart. Throws SoftpromptError (usage). */
export function checkVerbalizer(verbalizer: Verbalizer, where: string): void {
  const refuse = (problem: string, expected: string, got?: unknown): never => {
    throw new SoftpromptError("usage", problem, { where, expected, got });
  };
  const labels = Object.entries(verbalizer);
  if (labels.length < 2 || labels.length > maxLabels)
    refuse("a verbalizer has a wrong number of labels", `2 … ${maxLabels}`, labels.length);
  const words = new Map<string, string>();
  for (const [label, text] of labels) {
    if (typeof text !== "string" || text.trim() === "") refuse(`the label ${label} has no words`, "a text", text);
    const same = words.get(text.trim());
    if (same !== undefined) refuse(`the labels ${same} and ${label} have the same words`, "different words", text);
    words.set(text.trim(), label);
  }
}

/** The label a cell means: by its text; `true`, `1` and `1.0` mean their text. Throws SoftpromptError (data). */
export function labelOf(value: unknown, labels: readonly string[], where: string, column: string): string {
  const text =
    typeof value === "string"
      ? value.trim()
      : typeof value === "number" || typeof value === "boolean"
        ? String(value)
        : null;
  if (text !== null && labels.includes(text)) return text;
  const near = text === null ? undefined : nearest(text, labels);
  throw new SoftpromptError("data", `column ${column} holds no known label`, {
    where,
    expected: `one of ${labels.slice(0, 20).join(", ")}`,
    got: value,
    hint: near ? `did you mean ${near}?` : undefined,
  });
}

/** The label whose words a text is, word for word but for outer blanks; null if it is none's. */
export function labelOfText(text: string, choices: Verbalizer): string | null {
  const said = text.trim();
  for (const [label, words] of Object.entries(choices)) if (words.trim() === said) return label;
  return null;
}
