/**
 * @file From the parts of a tokenizer to the Tokenizer the house uses.
 *
 * In: vocabulary, added tokens, a normaliser, a splitter. Out: encode and decode.
 * Order as in Hugging Face tokenizers: added tokens are cut out of the raw text, the rest is normalised, added tokens that
 * want normalised text are cut out of that, the rest is split into words, each word goes through the Unigram model.
 */
import { SoftpromptError } from "../base/errors.js";
import type { Tokenizer } from "./tokenizer.js";
import { type Piece, unigram } from "./unigram.js";

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

export interface TokenizerParts {
  /** In order of id; added tokens beyond the model's pieces come after them. */
  readonly pieces: readonly Piece[];
  readonly added: readonly AddedToken[];
  readonly unkId: number;
  /** Unknown characters become byte pieces `<0x..>`. */
  readonly byteFallback: boolean;
  readonly normalize: (text: string) => string;
  /** Normalised text → words, each with its `▁`. */
  readonly words: (text: string) => readonly string[];
  readonly sha256: string;
  readonly where: string;
}

/** What a tokenizer file may hold. mT5's vocabulary, the largest of the family, has 250,112 pieces. */
export const tokenizerLimits = { pieces: 1_000_000, pieceLength: 512, characters: 12_000_000, addedTokens: 10_000 };

const space = "\u2581"; // ▁, which stands for a blank

/** Builds the tokenizer; refuses parts without `<pad>` or `</s>`. */
export function assemble(parts: TokenizerParts): Tokenizer {
  const names: string[] = parts.pieces.map((p) => p.text);
  for (const t of parts.added) names[t.id] = t.content;
  const ids = new Map(names.map((text, id) => [text, id]));
  for (const t of parts.added) ids.set(t.content, t.id);
  const id = (name: string): number => {
    const found = ids.get(name);
    if (found === undefined)
      throw new SoftpromptError("checkpoint", `the vocabulary has no ${name}`, {
        where: parts.where,
        expected: "T5's special pieces <pad> and </s>",
      });
    return found;
  };
  const padId = id("<pad>");
  const eosId = id("</s>");
  const model = unigram(parts.pieces, parts.unkId, parts.byteFallback ? byteIds(ids, parts.where) : null);
  const special = new Set(parts.added.filter((t) => t.special).map((t) => t.id));
  const added = new Set(parts.added.map((t) => t.id));
  const raw = cutter(parts.added.filter((t) => !t.normalized).map((t) => ({ ...t, match: t.content })));
  const normal = cutter(
    parts.added.filter((t) => t.normalized).map((t) => ({ ...t, match: parts.normalize(t.content) })),
  );

  return {
    encode(text) {
      const out: number[] = [];
      for (const section of raw(wellFormed(text)))
        if (typeof section === "number") out.push(section);
        else
          for (const part of normal(parts.normalize(section)))
            if (typeof part === "number") out.push(part);
            else for (const word of parts.words(part)) for (const piece of model.segment(word)) out.push(piece);
      return out;
    },
    decode(tokens, { keepSpecial = false } = {}) {
      let out = "";
      let bytes: number[] = [];
      let first = true;
      const flush = () => {
        if (bytes.length > 0) out += new TextDecoder().decode(Uint8Array.from(bytes));
        bytes = [];
      };
      for (const token of tokens) {
        if (special.has(token) && !keepSpecial) continue;
        const name = names[token];
        if (name === undefined) continue; // an id of the model's padding, above the tokenizer
        const byte = parts.byteFallback ? /^<0x([0-9A-F]{2})>$/.exec(name) : null;
        if (byte) bytes.push(Number.parseInt(byte[1]!, 16));
        else {
          flush();
          out += added.has(token) ? name : name.replaceAll(space, first ? "" : " ");
        }
        first = false;
      }
      flush();
      return out;
    },
    piece: (token) => names[token] ?? "",
    padId,
    eosId,
    unkId: parts.unkId,
    size: names.length,
    sha256: parts.sha256,
  };
}

/** Cuts added tokens out of a text: leftmost first, then longest. Numbers are their ids. */
function cutter(tokens: readonly (AddedToken & { match: string })[]): (text: string) => (string | number)[] {
  const byFirst = new Map<number, (AddedToken & { match: string })[]>();
  for (const t of tokens) {
    if (t.match.length === 0) continue;
    const group = byFirst.get(t.match.charCodeAt(0));
    if (group) group.push(t);
    else byFirst.set(t.match.charCodeAt(0), [t]);
  }
  for (const group of byFirst.values()) group.sort((a, b) => b.match.length - a.match.length);
  return (text) => {
    if (byFirst.size === 0) return text.length > 0 ? [text] : [];
    const out: (string | number)[] = [];
    let from = 0;
    for (let i = 0; i < text.length; ) {
      const token = byFirst.get(text.charCodeAt(i))?.find((t) => text.startsWith(t.match, i) && stands(t, text, i));
      if (!token) {
        i++;
        continue;
      }
      const before = text.slice(from, i);
      const kept = token.lstrip ? before.trimEnd() : before;
      if (kept.length > 0) out.push(kept);
      out.push(token.id);
      i += token.match.length;
      if (token.rstrip) while (i < text.length && /\s/.test(text[i]!)) i++;
      from = i;
    }
    if (from < text.length) out.push(text.slice(from));
    return out;
  };
}

const wordCharacter = /[\p{Alphabetic}\p{M}\p{Nd}\p{Pc}]/u;

function stands(token: AddedToken & { match: string }, text: string, at: number): boolean {
  if (!token.singleWord) return true;
  const end = at + token.match.length;
  const before = at > 0 ? String.fromCodePoint(text.codePointAt(at - (isLow(text, at - 1) ? 2 : 1))!) : "";
  const after = end < text.length ? String.fromCodePoint(text.codePointAt(end)!) : "";
  return !wordCharacter.test(before) && !wordCharacter.test(after);
}

function isLow(text: string, at: number): boolean {
  const unit = text.charCodeAt(at);
  return unit >= 0xdc00 && unit < 0xe000 && at > 0;
}

function byteIds(ids: ReadonlyMap<string, number>, where: string): number[] {
  return Array.from({ length: 256 }, (_, b) => {
    const name = `<0x${b.toString(16).toUpperCase().padStart(2, "0")}>`;
    const id = ids.get(name);
    if (id === undefined)
      throw new SoftpromptError("checkpoint", `byte fallback is on, but the vocabulary has no ${name}`, { where });
    return id;
  });
}

/** Half a surrogate pair is no character; it becomes U+FFFD, as in every UTF-8 encoder. */
function wellFormed(text: string): string {
  return text.replace(/[\ud800-\udfff]/gu, "\ufffd");
}

/** Words of a text whose blanks are `▁`: a cut before each `▁`. Exact as long as no piece holds a `▁` behind its first character. */
export function splitAtSpaces(text: string): string[] {
  const out: string[] = [];
  let from = 0;
  for (let i = text.indexOf(space, 1); i > 0; i = text.indexOf(space, i + 1)) {
    out.push(text.slice(from, i));
    from = i;
  }
  if (from < text.length) out.push(text.slice(from));
  return out;
}
