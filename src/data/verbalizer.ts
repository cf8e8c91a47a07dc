/**
 * @file Verbalizers: labels and the words the decoder says for them.
 *
 * In: label → words. Out: checks, the label of a cell, the label of a generated text. One label has many spellings in files: `1` is
 * `1.0` once a column had a gap, and `True` is `TRUE` in a sheet; they are the same label in every format.
 */
import { nearest, SoftpromptError } from "../base/errors.js";
import { codePoints } from "../base/printable.js";

/** Label → its words, in ranking order. */
export type Verbalizer = Readonly<Record<string, string>>;

/** With more labels than this it is not a classification; rank entities by row instead (Row.choices). */
export const maxLabels = 1_000;

const oneByOne = "on the command line once for each label: --verbalizer 0=bad --verbalizer 1=good";

/** Refuses a verbalizer that cannot tell labels apart. Throws SoftpromptError (usage). */
export function checkVerbalizer(verbalizer: Verbalizer, where: string): void {
  const refuse = (problem: string, expected: string, got?: unknown, hint?: string): never => {
    throw new SoftpromptError("usage", problem, { where, expected, got, hint });
  };
  const labels = Object.entries(verbalizer);
  if (labels.length < 2 || labels.length > maxLabels)
    refuse("a verbalizer has a wrong number of labels", `2 … ${maxLabels}`, labels.length, oneByOne);
  const words = new Map<string, string>();
  for (const [label, text] of labels) {
    if (label.trim() === "") refuse("a label is empty", "a name for every label", text);
    if (typeof text !== "string" || text.trim() === "") refuse(`the label ${label} has no words`, "a text", text);
    const same = words.get(text.trim());
    if (same !== undefined) refuse(`the labels ${same} and ${label} have the same words`, "different words", text);
    words.set(text.trim(), label);
  }
}

/** A cell as a label: its text without outer blanks, whole numbers without `.0`; "" for a missing one, null for what is no label. */
export function labelText(value: unknown): string | null {
  if (value === undefined || value === null) return "";
  if (typeof value === "string") return plainNumber(value.trim());
  if (typeof value === "boolean" || typeof value === "bigint") return String(value);
  if (typeof value !== "number" || !Number.isFinite(value)) return null;
  return plainNumber(String(value));
}

function plainNumber(text: string): string {
  const whole = /^([+-]?\d+)\.0+$/.exec(text)?.[1] ?? text;
  return whole === "-0" ? "0" : whole;
}

/** `TRUE`, `True` and `true` are one; anything else is itself. */
export function spelling(label: string): string {
  const lower = label.toLowerCase();
  return lower === "true" || lower === "false" ? lower : label;
}

/** Labels without invisible differences: Unicode normal form, zero-width characters, kinds of blanks. */
export function visible(label: string): string {
  return label
    .normalize("NFC")
    .replace(/\p{Default_Ignorable_Code_Point}/gu, "")
    .replace(/\s+/g, " ")
    .trim();
}

/**
 * The label a cell means, in any of its spellings.
 * @param values what a file may write → the label that it means, where several spellings mean one. Throws SoftpromptError (data).
 */
export function labelOf(
  value: unknown,
  labels: readonly string[],
  where: string,
  column: string,
  values: Readonly<Record<string, string>> = {},
): string {
  if (typeof value === "string" && labels.includes(value.trim())) return value.trim();
  const text = labelText(value);
  if (text === "")
    throw new SoftpromptError("data", `column ${column} is missing`, {
      where,
      expected: `a label: ${labels.slice(0, 20).join(", ")}`,
      hint: "--skip-bad-rows leaves such rows out",
    });
  if (text !== null) {
    if (labels.includes(text)) return text;
    const same = labels.filter((label) => spelling(plainNumber(label)) === spelling(text));
    const meant = new Set(same.map((label) => (Object.hasOwn(values, label) ? values[label] : label)));
    if (meant.size === 1) return same[0]!;
  }
  const alike = text === null ? undefined : labels.find((label) => visible(label) === visible(text));
  const near = text === null ? undefined : nearest(text, labels);
  throw new SoftpromptError("data", `column ${column} holds no known label`, {
    where,
    expected: `one of ${labels.slice(0, 20).join(", ")}`,
    got: value,
    hint:
      alike !== undefined
        ? `${alike} looks the same and is written otherwise: ${codePoints(alike)}, here ${codePoints(text!)}`
        : near
          ? `did you mean ${near}?`
          : undefined,
  });
}

/**
 * The label whose words a text is, word for word but for outer blanks; null if it is none's. Words that T5's tokenizers cannot write as
 * they stand (two blanks, a full-width letter) are also found in the form that those write.
 */
export function labelOfText(text: string, choices: Verbalizer): string | null {
  const said = text.trim();
  for (const [label, words] of Object.entries(choices)) if (words.trim() === said) return label;
  const alike = Object.entries(choices).filter(([, words]) => normalWords(words) === said);
  return alike.length === 1 ? alike[0]![0] : null;
}

const normalWords = (words: string) => words.normalize("NFKC").replace(/\s+/g, " ").trim();
