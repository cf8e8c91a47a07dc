/**
 * @file A text that is too long: which field is cut, and where.
 *
 * In: a filled template with the stretches of its fields, a way to count tokens, a limit. Out: the text that fits.
 * The template's own text stays whole, and so do all fields but one: the one that the template marks (`{passage!cut}`), else
 * the longest. Only where even without it the text does not fit is the next one cut. A cut falls between words where there are
 * words. Tokens are counted of the whole text each time, as tokens of parts do not add up.
 */
import type { FieldSpan } from "../data/row.js";
import { isBlankAt } from "./unicode.js";

export interface Fitted {
  readonly input: string;
  readonly fields: readonly FieldSpan[];
  /** Names of the fields that were cut; empty where the text fitted as it was. */
  readonly cut: readonly string[];
  /** Tokens before and now. */
  readonly before: number;
  readonly now: number;
}

type Text = Pick<Fitted, "input" | "fields">;
export type Count = (text: Text) => number;

/** Tokens that may stay unused: the search for the last one costs more than it gives. */
const slack = 2;
/** Longest part of a word that a cut goes back over. */
const longestWord = 24;

/** The text with at most `limit` tokens, or null where the template alone has more. */
export function fitText(text: Text, count: Count, limit: number): Fitted | null {
  const before = count(text);
  let [fitted, now] = [text, before];
  const cut: string[] = [];
  const order = text.fields
    .map((field, at) => ({ at, length: field.to - field.from, marked: field.cut === true }))
    .filter(({ length }) => length > 0)
    .sort((a, b) => Number(b.marked) - Number(a.marked) || b.length - a.length);
  for (const { at } of order) {
    if (now <= limit) break;
    const without = shortened(fitted, at, 0);
    const least = count(without);
    cut.push(text.fields[at]!.name);
    if (least > limit) [fitted, now] = [without, least];
    else [fitted, now] = longestThatFits(fitted, at, { count, limit, least, most: now });
  }
  return now <= limit ? { ...fitted, cut, before, now } : null;
}

/** @param bounds `least` and `most` are the tokens without the field and with all of it. */
function longestThatFits(
  text: Text,
  at: number,
  bounds: { count: Count; limit: number; least: number; most: number },
): [Text, number] {
  const { count, limit } = bounds;
  const { from, to } = text.fields[at]!;
  let [low, lowTokens, high, highTokens] = [0, bounds.least, to - from, bounds.most];
  // Tokens grow about evenly with characters; every third guess halves, for texts where they do not.
  for (let n = 1; high - low > 1 && limit - lowTokens > slack; n++) {
    const share = n % 3 === 0 ? 0.5 : (limit - lowTokens) / Math.max(1, highTokens - lowTokens);
    const guess = Math.min(high - 1, Math.max(low + 1, low + Math.floor((high - low) * share)));
    const tokens = count(shortened(text, at, guess));
    if (tokens <= limit) [low, lowTokens] = [guess, tokens];
    else [high, highTokens] = [guess, tokens];
  }
  const words = shortened(text, at, wordEnd(text.input, from, low));
  const tokens = count(words);
  return tokens <= limit ? [words, tokens] : [shortened(text, at, low), lowTokens];
}

/** The length up to the end of the last whole word, or as it is where that word is long. */
function wordEnd(input: string, from: number, length: number): number {
  const end = from + length;
  let cut = end;
  while (cut > from && end - cut <= longestWord && !isBlankAt(input, cut)) cut--;
  if (!isBlankAt(input, cut)) return length;
  while (cut > from && isBlankAt(input, cut - 1)) cut--;
  return cut - from;
}

/** The text with only `length` units of one field; never half of a surrogate pair. */
function shortened({ input, fields }: Text, at: number, length: number): Text {
  const { from, to } = fields[at]!;
  let end = from + length;
  const unit = input.charCodeAt(end - 1);
  if (length > 0 && end < to && unit >= 0xd800 && unit < 0xdc00) end--;
  const lost = to - end;
  return {
    input: input.slice(0, end) + input.slice(to),
    fields: fields.map((field, i) =>
      i < at ? field : { ...field, from: i === at ? field.from : field.from - lost, to: field.to - lost },
    ),
  };
}
