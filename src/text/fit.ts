/**
 * @file A text that is too long: which field is cut, and where.
 *
 * In: a filled template with the stretches of its fields, a way to encode it, a limit. Out: the text that fits.
 * The template's own text stays whole, and so do all fields but one: the one that the template marks (`{passage!cut}`), else
 * the longest. The next field is cut only if the text does not fit even without the first one. A cut falls between words where there are
 * words. The tokens of the whole text are counted each time, because the counts of parts do not add up.
 */
import type { FieldSpan } from "../data/row.js";
import { isBlankAt } from "./unicode.js";

export interface Fitted {
  readonly input: string;
  readonly fields: readonly FieldSpan[];
  /** Names of the fields that were cut; empty where the text fitted as it was. */
  readonly cut: readonly string[];
  readonly ids: readonly number[];
}

type Text = Pick<Fitted, "input" | "fields">;

/** What of a text may be cut. */
export interface FitLimits {
  readonly limit: number;
  /** Fields that begin at this place or later stay whole, because they stand behind the virtual tokens. Default: none. */
  readonly keepFrom?: number | undefined;
}

type Encoded = Text & Pick<Fitted, "ids">;
type Encode = (text: Text) => readonly number[];

/** Tokens that may stay unused: to search for the exact limit costs more than these tokens are worth. */
const slack = 2;
/** Longest part of a word that is dropped to place a cut between words. */
const longestWord = 24;

/** The text with at most `limit` tokens, or null where the template alone has more. @param whole with its own ids */
export function fitText(
  whole: Encoded,
  encode: Encode,
  { limit, keepFrom = Number.POSITIVE_INFINITY }: FitLimits,
): Fitted | null {
  const withIds = (text: Text): Encoded => ({ ...text, ids: encode(text) });
  let fitted = whole;
  const cut: string[] = [];
  const order = whole.fields
    .map((field, at) => ({ at, length: field.to - field.from, marked: field.cut === true }))
    .filter(({ at, length }) => length > 0 && whole.fields[at]!.to <= keepFrom)
    .sort((a, b) => Number(b.marked) - Number(a.marked) || b.length - a.length);
  for (const { at } of order) {
    if (fitted.ids.length <= limit) break;
    const without = withIds(shortened(fitted, at, 0));
    cut.push(whole.fields[at]!.name);
    fitted = without.ids.length > limit ? without : longestThatFits(fitted, without, { at, limit, withIds });
  }
  return fitted.ids.length <= limit ? { ...fitted, cut } : null;
}

/** @param without the text without the field; it fits. With the whole field it does not fit. */
function longestThatFits(
  text: Encoded,
  without: Encoded,
  { at, limit, withIds }: { at: number; limit: number; withIds: (text: Text) => Encoded },
): Encoded {
  const { from, to } = text.fields[at]!;
  let [low, best, high, most] = [0, without, to - from, text.ids.length];
  // Tokens grow about evenly with characters; every third guess halves, for texts where they do not.
  for (let n = 1; high - low > 1 && limit - best.ids.length > slack; n++) {
    const had = best.ids.length;
    const share = n % 3 === 0 ? 0.5 : (limit - had) / Math.max(1, most - had);
    const guess = Math.min(high - 1, Math.max(low + 1, low + Math.floor((high - low) * share)));
    const tried = withIds(shortened(text, at, guess));
    if (tried.ids.length <= limit) [low, best] = [guess, tried];
    else [high, most] = [guess, tried.ids.length];
  }
  const end = wordEnd(text.input, from, low);
  const words = end === low ? best : withIds(shortened(text, at, end));
  return words.ids.length <= limit ? words : best;
}

/** The length up to the end of the last whole word, or unchanged if that word is long. */
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
