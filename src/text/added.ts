/**
 * @file Added tokens: cut out of the text before the model sees it.
 *
 * In: added tokens, text, and where in it they may stand. Out: the text in sections, tokens as their ids.
 * Leftmost first, then longest. If `single_word` rules out the longest match, it is skipped whole and no shorter match is tried. The search
 * goes on behind the token itself, not behind the blanks that `rstrip` took. Both are as in the tokenizers library.
 * Source: tokenizers 0.23, src/tokenizer/added_vocabulary.rs, find_matches.
 */
import { isBlankAt, wordCharacters } from "./unicode.js";

/** A token that is matched before the model sees the text. */
export interface AddedToken {
  readonly id: number;
  readonly content: string;
  readonly special: boolean;
  /** Matched in normalised instead of raw text. */
  readonly normalized: boolean;
  /** Swallows white space before / after itself. */
  readonly lstrip: boolean;
  readonly rstrip: boolean;
  /** Matches only between characters that are no letters or digits. */
  readonly singleWord: boolean;
}

/** An added token with the text that it matches: its content, or its normalised content. */
export type Matched = AddedToken & { readonly match: string };

/** A part of a text between added tokens. */
export interface Section {
  readonly text: string;
  /** Where it begins in the text that was cut. */
  readonly at: number;
}

/** Cuts a text; numbers are ids of tokens. `allowed` says whether a token may stand in [from, to). */
export type Cutter = (
  text: string,
  allowed?: (token: AddedToken, from: number, to: number) => boolean,
) => (Section | number)[];

/** Some vocabularies (Pythia) have runs of blanks as added tokens. They are harmless: a user cannot steer a model with them. */
export function isControl(token: AddedToken): boolean {
  for (let i = 0; i < token.content.length; i++) if (!isBlankAt(token.content, i)) return true;
  return false;
}

export function cutter(tokens: readonly Matched[]): Cutter {
  const byFirst = new Map<number, Matched[]>();
  for (const t of tokens) {
    if (t.match.length === 0) continue;
    const group = byFirst.get(t.match.charCodeAt(0));
    if (group) group.push(t);
    else byFirst.set(t.match.charCodeAt(0), [t]);
  }
  for (const group of byFirst.values()) group.sort((a, b) => b.match.length - a.match.length);
  return (text, allowed = () => true) => {
    if (byFirst.size === 0) return text.length > 0 ? [{ text, at: 0 }] : [];
    const out: (Section | number)[] = [];
    let from = 0;
    for (let i = 0; i < text.length; ) {
      const token = byFirst
        .get(text.charCodeAt(i))
        ?.find((t) => text.startsWith(t.match, i) && allowed(t, i, i + t.match.length));
      if (!token) {
        i++;
        continue;
      }
      let [start, end] = [i, i + token.match.length];
      i = end;
      if (token.singleWord && !standsAlone(text, start, end)) continue;
      if (token.lstrip) while (start > from && isBlankAt(text, start - 1)) start--;
      if (token.rstrip) while (end < text.length && isBlankAt(text, end)) end++;
      if (from < start) out.push({ text: text.slice(from, start), at: from });
      out.push(token.id);
      from = end;
    }
    if (from < text.length) out.push({ text: text.slice(from), at: from });
    return out;
  };
}

const wordCharacter = new RegExp(`[${wordCharacters}]`, "u");

function standsAlone(text: string, start: number, end: number): boolean {
  const before = start > 0 ? String.fromCodePoint(text.codePointAt(start - (endsInPair(text, start) ? 2 : 1))!) : "";
  const after = end < text.length ? String.fromCodePoint(text.codePointAt(end)!) : "";
  return !wordCharacter.test(before) && !wordCharacter.test(after);
}

/** Whether the character before `at` takes two UTF-16 units. */
function endsInPair(text: string, at: number): boolean {
  const unit = text.charCodeAt(at - 1);
  return unit >= 0xdc00 && unit < 0xe000 && at > 1;
}
