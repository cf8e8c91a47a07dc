/**
 * @file Builds the project's Tokenizer from its parts.
 *
 * In: vocabulary, model, added tokens, a normaliser, a splitter, a way to decode. Out: encode and decode.
 * Order as in Hugging Face tokenizers: added tokens are cut out of the raw text, the rest is normalised, added tokens that
 * want normalised text are cut out of that, the rest is split into words, each word goes through the model.
 */
import { SoftpromptError } from "../base/errors.js";
import { type AddedToken, cutter, isControl } from "./added.js";
import { type Decoding, decoding } from "./decoding.js";
import type { Span, Tokenizer } from "./tokenizer.js";
import { wellFormed } from "./unicode.js";

export type { AddedToken } from "./added.js";

export interface TokenizerParts {
  /** Piece of each id of the model; added tokens beyond them come from `added`. */
  readonly names: readonly (string | undefined)[];
  /** Ids of a word. */
  readonly segment: Segment;
  /** The same with a model without these pieces: some vocabularies hold `</s>` as a piece that text can match. */
  readonly segmentWithout: (ids: ReadonlySet<number>) => Segment;
  readonly added: readonly AddedToken[];
  readonly unkId: number | undefined;
  readonly normalize: (text: string) => string;
  /** Normalised text → words; `atStart` says that it stands at the very start of the text. */
  readonly words: (text: string, atStart: boolean) => readonly string[];
  readonly decoding: Decoding;
  readonly frame: Tokenizer["frame"];
  readonly padId: number | undefined;
  readonly bosId: number | undefined;
  readonly eosIds: readonly number[];
  readonly sha256: string;
}

export type Segment = (word: string) => readonly number[];

/** What a tokenizer file may hold. mT5's vocabulary, the largest of its family, has 250,112 pieces. */
export const tokenizerLimits = {
  pieces: 1_000_000,
  merges: 2_000_000,
  pieceLength: 512,
  characters: 12_000_000,
  addedTokens: 10_000,
};

export function assemble(parts: TokenizerParts): Tokenizer {
  const { segment, normalize, words } = parts;
  const names = [...parts.names];
  for (const t of parts.added) names[t.id] = t.content;
  const written = [...names];
  const verbatim = new Set<number>();
  for (const t of parts.added) {
    const text = t.normalized ? normalize(t.content) : t.content;
    written[t.id] = text;
    if (text === t.content) verbatim.add(t.id);
  }
  const special = new Set(parts.added.filter((t) => t.special).map((t) => t.id));
  const openDecoder = decoding({ names: written, verbatim, special }, parts.decoding);
  const asWritten = (t: AddedToken) => ({ ...t, match: t.content });
  const inNormal = (t: AddedToken) => ({ ...t, match: normalize(t.content) });
  const raw = cutter(parts.added.filter((t) => !t.normalized).map(asWritten));
  const normal = cutter(parts.added.filter((t) => t.normalized).map(inNormal));
  // To keep a user's text as text, its exact place must be known. So all control tokens are then searched in the raw text.
  const rawGuarded = cutter(parts.added.filter((t) => !t.normalized || isControl(t)).map(asWritten));
  const normalGuarded = cutter(parts.added.filter((t) => t.normalized && !isControl(t)).map(inNormal));

  const controls = new Map(parts.added.filter(isControl).map((t) => [t.id, t]));
  const forbidden = new Set([...controls.keys()].filter((id) => id !== parts.unkId));
  let withoutControls: Segment | null = null;
  const segmentGuarded: Segment = (word) => {
    const ids = segment(word);
    if (!ids.some((id) => forbidden.has(id))) return ids;
    withoutControls ??= parts.segmentWithout(forbidden);
    return withoutControls(word);
  };
  /** Whether normalising keeps a text's first character; if not, what is left does not begin where the text does. */
  const startStays = (text: string) => normalize(String.fromCodePoint(text.codePointAt(0)!)) !== "";

  return {
    encode(text, { special: framed = false, userText = [] } = {}) {
      const out: number[] = framed ? [...parts.frame.before] : [];
      const guarded = userText === true ? [{ from: 0, to: text.length }] : userText;
      const [first, second] = guarded.length > 0 ? [rawGuarded, normalGuarded] : [raw, normal];
      const allowed = (token: AddedToken, from: number, to: number) => !isControl(token) || !touches(guarded, from, to);
      const segmentWord = guarded.length > 0 ? segmentGuarded : segment;
      for (const section of first(wellFormed(text), guarded.length > 0 ? allowed : undefined))
        if (typeof section === "number") out.push(section);
        else
          for (const part of second(normalize(section.text)))
            if (typeof part === "number") out.push(part);
            else
              for (const word of words(part.text, section.at === 0 && part.at === 0 && startStays(section.text)))
                for (const piece of segmentWord(word)) out.push(piece);
      if (framed) out.push(...parts.frame.after);
      return out;
    },
    decode(ids, options) {
      const decoder = openDecoder(options);
      return decoder.push(ids) + decoder.flush();
    },
    openDecoder,
    piece: (id) => names[id] ?? "",
    padId: parts.padId,
    bosId: parts.bosId,
    unkId: parts.unkId,
    eosIds: parts.eosIds,
    frame: parts.frame,
    controls,
    size: names.length,
    sha256: parts.sha256,
  };
}

/** Whether [from, to) has a part in one of the spans, which stand in order. */
function touches(spans: readonly Span[], from: number, to: number): boolean {
  let [low, high] = [0, spans.length];
  while (low < high) {
    const middle = (low + high) >> 1;
    if (spans[middle]!.to <= from) low = middle + 1;
    else high = middle;
  }
  return low < spans.length && spans[low]!.from < to;
}

/** Ids of the byte pieces `<0x00>` … `<0xFF>`, which byte fallback needs; `all` refuses a vocabulary that lacks one. */
export function byteIds(ids: ReadonlyMap<string, number>, where: string, all: true): number[];
export function byteIds(ids: ReadonlyMap<string, number>, where: string, all: false): (number | undefined)[];
export function byteIds(ids: ReadonlyMap<string, number>, where: string, all: boolean): (number | undefined)[] {
  return Array.from({ length: 256 }, (_, b) => {
    const name = `<0x${b.toString(16).toUpperCase().padStart(2, "0")}>`;
    const id = ids.get(name);
    if (id === undefined && all)
      throw new SoftpromptError("checkpoint", `byte fallback is on, but the vocabulary has no ${name}`, { where });
    return id;
  });
}
