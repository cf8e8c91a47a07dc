/**
 * @file A SentencePiece model file (`spiece.model`): bytes in, Tokenizer out.
 *
 * In: the protobuf ModelProto, Unigram only. Out: ids as SentencePiece gives them, with T5's sentinels `<extra_id_N>` after
 * the vocabulary in reversed order (`<extra_id_0>` is the last), and special pieces written in the text matched as such.
 * Fields read: pieces (1: piece, score, type) · trainer_spec (2: model_type 3, treat_whitespace_as_suffix 24,
 * byte_fallback 35) · normalizer_spec (3: precompiled_charsmap 2, add_dummy_prefix 3, remove_extra_whitespaces 4,
 * escape_whitespaces 5).
 * Source: sentencepiece src/sentencepiece_model.proto, normalizer.cc; transformers' T5Tokenizer for the sentinels.
 */
import { createHash } from "node:crypto";
import { SoftpromptError } from "../base/errors.js";
import type { AddedToken } from "./added.js";
import { assemble, byteIds, tokenizerLimits } from "./assemble.js";
import { readCharsmap } from "./charsmap.js";
import { sentencePieceDecoding } from "./decoding.js";
import { splitAtSpaces } from "./pre-tokenizers.js";
import { type Field, fields, float32, utf8 } from "./protobuf.js";
import type { Tokenizer } from "./tokenizer.js";
import { noConfig, type TokenizerConfig, withConfig } from "./tokenizer-config.js";
import { unigramSegments } from "./unigram.js";

const pieceTypes = { normal: 1, unknown: 2, control: 3, userDefined: 4, unused: 5, byte: 6 } as const;
const modelTypes: Readonly<Record<number, string>> = { 1: "unigram", 2: "bpe", 3: "word", 4: "char" };

/** Files above this are refused; mT5's has 4.3 MB. */
export const maxSentencePieceBytes = 64 * 1024 * 1024;

export interface SentencePieceOptions {
  /** How many `<extra_id_N>` follow the vocabulary; default 100 as in T5, or 0 if the vocabulary already has them. */
  readonly extraIds?: number;
  /** From the configuration files beside it: tokens added to the vocabulary, and the roles of some tokens. */
  readonly config?: TokenizerConfig;
}

/** Parses the bytes of a `spiece.model`. Throws SoftpromptError (kind checkpoint) for anything it cannot use. */
export function parseSentencePiece(bytes: Uint8Array, where: string, options: SentencePieceOptions = {}): Tokenizer {
  const refuse = (problem: string, expected?: string, got?: unknown): never => {
    throw new SoftpromptError("checkpoint", problem, { where, expected, got });
  };
  if (bytes.length > maxSentencePieceBytes)
    refuse("this SentencePiece model is too large", `at most ${maxSentencePieceBytes} bytes`, bytes.length);
  const model = readModel(bytes, where);
  if (model.modelType !== 1)
    refuse("this SentencePiece model is of another kind", "unigram", modelTypes[model.modelType] ?? model.modelType);
  if (model.whitespaceAsSuffix) refuse("blanks at the end of words (treat_whitespace_as_suffix) are not supported");
  if (!model.escapeWhitespaces)
    refuse("models that keep blanks as they are (escape_whitespaces off) are not supported");

  const unknowns = model.pieces.flatMap((p, id) => (p.type === pieceTypes.unknown ? [id] : []));
  if (unknowns.length !== 1) refuse("the vocabulary needs one unknown piece", "exactly 1", unknowns.length);
  const seen = new Set<string>();
  for (const { text } of model.pieces) {
    if (seen.has(text)) refuse("a piece stands twice in the vocabulary", "every piece once", text);
    seen.add(text);
  }
  const count = options.extraIds ?? (seen.has("<extra_id_0>") ? 0 : 100);
  const pieces = model.pieces.map((p) => ({ text: p.text, score: p.score, matches: p.type === pieceTypes.normal }));
  const added: AddedToken[] = model.pieces.flatMap((p, id) =>
    p.type === pieceTypes.unknown || p.type === pieceTypes.control
      ? [token(id, p.text, true)]
      : p.type === pieceTypes.userDefined
        ? [token(id, p.text, /^▁?<extra_id_\d+>$/.test(p.text))]
        : [],
  );
  for (let n = count - 1; n >= 0; n--) {
    const content = `<extra_id_${n}>`;
    if (seen.has(content)) refuse("the vocabulary already holds a sentinel", `extra_ids 0, or no ${content}`, content);
    added.push(token(pieces.length + count - 1 - n, content, true));
  }

  const map = model.charsmap.length > 0 ? readCharsmap(model.charsmap, "longest", where) : (text: string) => text;
  const normalize = (text: string): string => {
    let normal = map(text);
    if (model.removeExtraWhitespaces) normal = normal.replace(/ {2,}/g, " ").replace(/^ | $/g, "");
    if (normal.length === 0) return "";
    return (model.addDummyPrefix ? ` ${normal}` : normal).replaceAll(" ", "▁");
  };
  // Words can be segmented one by one where no piece reaches across a blank and a blank alone is known.
  const whole = !seen.has("▁") || model.pieces.some((p) => p.type === pieceTypes.normal && p.text.indexOf("▁", 1) > 0);
  const ids = new Map(pieces.map((p, id) => [p.text, id]));
  for (const t of added) ids.set(t.content, t.id);
  const config = options.config ?? noConfig;
  const ownSpecial = new Map(added.map((t) => [t.id, t.special]));
  const vocabulary = {
    known: (text: string) => ids.get(text),
    added,
    count: pieces.length + count,
    json: false,
  };
  // Matched as they are written: the normaliser here puts a blank before every text.
  const all = withConfig(config, vocabulary).map((t) => ({ ...t, normalized: false }));
  const later = all.filter((t) => ownSpecial.get(t.id) !== t.special);
  for (const t of later) ids.set(t.content, t.id);
  const unkId = unknowns[0]!;
  const eosId = ids.get(config.roles.eos ?? "</s>");
  const hash = createHash("sha256").update(bytes);
  if (later.length > 0) hash.update(JSON.stringify(later)); // this gives other ids, so it is another tokenizer
  return assemble({
    names: pieces.map((p) => p.text),
    ...unigramSegments(pieces, unkId, model.byteFallback ? byteIds(ids, where, true) : null),
    added: all,
    unkId,
    normalize,
    words: whole ? (text) => (text.length > 0 ? [text] : []) : splitAtSpaces,
    decoding: { ...sentencePieceDecoding, byteFallback: model.byteFallback },
    frame: { before: [], after: eosId === undefined ? [] : [eosId] },
    padId: ids.get(config.roles.pad ?? "<pad>"),
    bosId: ids.get(config.roles.bos ?? "<s>"),
    eosIds: eosId === undefined ? [] : [eosId],
    sha256: hash.digest("hex"),
  });
}

function token(id: number, content: string, special: boolean): AddedToken {
  return { id, content, special, normalized: false, lstrip: false, rstrip: false, singleWord: false };
}

interface SentencePieceModel {
  pieces: { text: string; score: number; type: number }[];
  modelType: number;
  whitespaceAsSuffix: boolean;
  byteFallback: boolean;
  charsmap: Uint8Array;
  addDummyPrefix: boolean;
  removeExtraWhitespaces: boolean;
  escapeWhitespaces: boolean;
}

function readModel(bytes: Uint8Array, where: string): SentencePieceModel {
  const model: SentencePieceModel = {
    pieces: [],
    modelType: 1,
    whitespaceAsSuffix: false,
    byteFallback: false,
    charsmap: new Uint8Array(0),
    addDummyPrefix: true,
    removeExtraWhitespaces: true,
    escapeWhitespaces: true,
  };
  let characters = 0;
  for (const field of fields(bytes, where)) {
    if (field.number === 1) {
      const piece = readPiece(message(field, where), `${where}, piece ${model.pieces.length}`);
      characters += piece.text.length;
      if (model.pieces.length >= tokenizerLimits.pieces || characters > tokenizerLimits.characters)
        throw new SoftpromptError("checkpoint", "the vocabulary is too large", {
          where,
          expected: `at most ${tokenizerLimits.pieces} pieces and ${tokenizerLimits.characters} characters`,
        });
      model.pieces.push(piece);
    } else if (field.number === 2) {
      for (const f of fields(message(field, where), `${where}, trainer_spec`)) {
        if (f.number === 3) model.modelType = number(f, where);
        else if (f.number === 24) model.whitespaceAsSuffix = number(f, where) !== 0;
        else if (f.number === 35) model.byteFallback = number(f, where) !== 0;
      }
    } else if (field.number === 3) {
      for (const f of fields(message(field, where), `${where}, normalizer_spec`)) {
        if (f.number === 2) model.charsmap = message(f, where);
        else if (f.number === 3) model.addDummyPrefix = number(f, where) !== 0;
        else if (f.number === 4) model.removeExtraWhitespaces = number(f, where) !== 0;
        else if (f.number === 5) model.escapeWhitespaces = number(f, where) !== 0;
      }
    }
  }
  if (model.pieces.length === 0)
    throw new SoftpromptError("checkpoint", "this is no SentencePiece model: it has no pieces", {
      where,
      expected: "a SentencePiece ModelProto",
    });
  return model;
}

function readPiece(bytes: Uint8Array, where: string): SentencePieceModel["pieces"][number] {
  const piece: { text: string; score: number; type: number } = { text: "", score: 0, type: pieceTypes.normal };
  for (const f of fields(bytes, where)) {
    if (f.number === 1) piece.text = utf8(message(f, where), where);
    else if (f.number === 2) {
      if (f.wire !== 5) wrongType(f, where, "a float");
      piece.score = float32(f);
    } else if (f.number === 3) piece.type = number(f, where);
  }
  const refuse = (problem: string, expected: string, got: unknown): never => {
    throw new SoftpromptError("checkpoint", problem, { where, expected, got });
  };
  if (piece.text.length === 0 || piece.text.length > tokenizerLimits.pieceLength)
    refuse("a piece has a wrong length", `1 … ${tokenizerLimits.pieceLength} characters`, piece.text.length);
  if (!Number.isFinite(piece.score)) refuse("a piece's score is not a number", "a finite log probability", piece.score);
  if (!(piece.type >= 1 && piece.type <= 6)) refuse("a piece has an unknown type", "1 … 6", piece.type);
  return piece;
}

function message(field: Field, where: string): Uint8Array {
  return field.wire === 2 ? field.bytes : wrongType(field, where, "bytes");
}

function number(field: Field, where: string): number {
  return field.wire === 0 ? field.value : wrongType(field, where, "a number");
}

function wrongType(field: Field, where: string, expected: string): never {
  throw new SoftpromptError("checkpoint", `field ${field.number} has the wrong wire type`, {
    where,
    expected,
    got: `wire type ${field.wire}`,
  });
}
