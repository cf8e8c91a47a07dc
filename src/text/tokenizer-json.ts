/**
 * @file A `tokenizer.json` of the Hugging Face tokenizers library: bytes in, Tokenizer out.
 *
 * In: version 1.0 files with a Unigram model (T5) or a BPE model (GPT-2, Llama, Qwen, SmolLM, Mistral, Pythia), and what
 * `tokenizer_config.json` says beside them. Out: the ids that library gives, added tokens included.
 * Every step the file may name is in a table (normalizers.ts, pre-tokenizers.ts, post-processor.ts, decoding.ts); a step
 * that is not there is refused by name, so that no file is tokenised almost right. Regular expressions from the file are
 * never run: those of known families are known by their text (patterns.ts).
 * Source: tokenizers 0.23, src/{normalizers,pre_tokenizers,models,processors,decoders,tokenizer/added_vocabulary}.
 */
import { createHash } from "node:crypto";
import { SoftpromptError } from "../base/errors.js";
import { type JsonObject, own, parseJson } from "../base/json.js";
import type { AddedToken } from "./added.js";
import { assemble, byteIds, type TokenizerParts, tokenizerLimits } from "./assemble.js";
import { bpeSegments, type Merges } from "./bpe.js";
import { byteLevelDecoding, type Decoding, readDecoder, sentencePieceDecoding } from "./decoding.js";
import { readNormalizer } from "./normalizers.js";
import { array, flag, isIndex, object } from "./parts.js";
import { type Frame, readPostProcessor } from "./post-processor.js";
import { readPreTokenizer } from "./pre-tokenizers.js";
import { utf8 } from "./protobuf.js";
import type { Tokenizer } from "./tokenizer.js";
import { endOfText, noConfig, type TokenizerConfig, withConfig } from "./tokenizer-config.js";
import { type Piece, unigramSegments } from "./unigram.js";

/** Files above this are refused; mT5's has 16 MB, Qwen 3's 11 MB. */
export const maxTokenizerJsonBytes = 64 * 1024 * 1024;

/** What one kind of model gives. */
interface Model {
  /** Piece → id. */
  readonly vocabulary: ReadonlyMap<string, number>;
  readonly unkId: number | undefined;
  readonly byteFallback: boolean;
  readonly segment: TokenizerParts["segment"];
  readonly segmentWithout: TokenizerParts["segmentWithout"];
}

/** Parses the bytes of a `tokenizer.json`. Throws SoftpromptError (kind checkpoint) for anything it cannot use exactly. */
export function parseTokenizerJson(bytes: Uint8Array, where: string, config: TokenizerConfig = noConfig): Tokenizer {
  if (bytes.length > maxTokenizerJsonBytes)
    throw new SoftpromptError("checkpoint", "this tokenizer.json is too large", {
      where,
      expected: `at most ${maxTokenizerJsonBytes} bytes`,
      got: bytes.length,
    });
  const root = object(
    parseJson(utf8(bytes, where), where, "checkpoint", {
      length: maxTokenizerJsonBytes,
      containers: tokenizerLimits.pieces + tokenizerLimits.merges + tokenizerLimits.addedTokens + 10_000,
    }),
    where,
  );
  return makeTokenizer(root, where, createHash("sha256").update(bytes).digest("hex"), config);
}

/** The tokenizer of a parsed `tokenizer.json`; `sha256` of the bytes it came from. */
export function makeTokenizer(root: JsonObject, where: string, sha256: string, config: TokenizerConfig): Tokenizer {
  const at = (name: string) => `${where}, ${name}`;
  const modelConfig = object(own(root, "model"), at("model"));
  const type = own(modelConfig, "type") ?? kindOf(modelConfig);
  if (type !== "Unigram" && type !== "BPE")
    return refuse(at("model.type"), "tokenizers of this kind are not read", "Unigram (T5), BPE (decoders)", type);
  const model = type === "BPE" ? readBpe(modelConfig, where) : readUnigram(modelConfig, where);
  const names: (string | undefined)[] = [];
  for (const [text, id] of model.vocabulary) names[id] = text;
  const ownTokens = readAdded(own(root, "added_tokens"), model.vocabulary, where);
  const byText = new Map([...model.vocabulary, ...ownTokens.map((t) => [t.content, t.id] as const)]);
  const count = Math.max(names.length, ...ownTokens.map((t) => t.id + 1));
  const known = (text: string) => byText.get(text);
  const added = withConfig(config, { known, added: ownTokens, count, json: true });
  for (const t of added) byText.set(t.content, t.id);

  const preTokenize = readPreTokenizer(own(root, "pre_tokenizer"), at("pre_tokenizer"));
  const role = (name: keyof TokenizerConfig["roles"], ...otherwise: string[]) => {
    const named = config.roles[name];
    return (named === undefined ? otherwise : [named]).map(known).find((id) => id !== undefined);
  };
  // GPT-2's folder names neither its class nor its end token
  const ends = config.class === undefined ? ["</s>", endOfText] : ["</s>"];
  const [bosId, eosId] = [role("bos", "<s>"), role("eos", ...ends)];
  const frame = llamaFrame(readPostProcessor(own(root, "post_processor"), at("post_processor")), config, bosId, eosId);
  const size = Math.max(count, ...added.map((t) => t.id + 1));
  for (const id of [...frame.before, ...frame.after])
    if (id >= size)
      throw new SoftpromptError("checkpoint", "a special token is outside the vocabulary", {
        where: at("post_processor"),
        expected: `0 … ${size - 1}`,
        got: id,
      });
  return assemble({
    names,
    segment: model.segment,
    segmentWithout: model.segmentWithout,
    added,
    unkId: model.unkId,
    normalize: readNormalizer(own(root, "normalizer"), at("normalizer")),
    words: (text, atStart) => (text.length > 0 ? preTokenize({ list: [text], atStart }).list : []),
    decoding: decodingOf(root, type, model, at("decoder")),
    frame,
    padId: role("pad", "<pad>"),
    bosId,
    eosIds: eosId === undefined ? [] : [eosId],
    sha256,
  });
}

/** Older files do not say what their model is. */
function kindOf(model: JsonObject): "Unigram" | "BPE" {
  return own(model, "merges") === undefined ? "Unigram" : "BPE";
}

/** T5's files describe their decoder in several ways that all mean SentencePiece's. For BPE every step is read. */
function decodingOf(root: JsonObject, type: "Unigram" | "BPE", model: Model, where: string): Decoding {
  if (type === "Unigram") return { ...sentencePieceDecoding, byteFallback: model.byteFallback };
  const config = own(root, "decoder");
  if (config !== null && config !== undefined) return readDecoder(config, where);
  return model.byteFallback ? { ...sentencePieceDecoding, byteFallback: true, strip: 1 } : byteLevelDecoding;
}

/** `add_bos_token` and `add_eos_token` count only if the class is Llama's own; PreTrainedTokenizerFast does not read them. */
function llamaFrame(frame: Frame, config: TokenizerConfig, bos: number | undefined, eos: number | undefined): Frame {
  if (!/^(Code)?LlamaTokenizer(Fast)?$/.test(config.class ?? "")) return frame;
  const side = (wanted: boolean | undefined, id: number | undefined, otherwise: readonly number[]) =>
    wanted === undefined ? otherwise : wanted && id !== undefined ? [id] : [];
  return { before: side(config.addBos, bos, frame.before), after: side(config.addEos, eos, frame.after) };
}

function readUnigram(model: JsonObject, where: string): Model {
  const pieces = readPieces(model, where);
  const unkId = own(model, "unk_id");
  if (!isIndex(unkId) || unkId >= pieces.length)
    throw new SoftpromptError("checkpoint", "the unknown token is outside the vocabulary", {
      where: `${where}, model.unk_id`,
      expected: `0 … ${pieces.length - 1}`,
      got: unkId,
    });
  const vocabulary = new Map(pieces.map((p, id) => [p.text, id]));
  const byteFallback = own(model, "byte_fallback") === true;
  const segments = unigramSegments(pieces, unkId, byteFallback ? byteIds(vocabulary, where, true) : null);
  return { vocabulary, unkId, byteFallback, ...segments };
}

function readPieces(model: JsonObject, where: string): Piece[] {
  const list = own(model, "vocab");
  const place = `${where}, model.vocab`;
  if (!Array.isArray(list) || list.length === 0 || list.length > tokenizerLimits.pieces)
    return refuse(place, "no usable vocabulary", `1 … ${tokenizerLimits.pieces} pairs [piece, score]`);
  const check = pieceCheck(place);
  return list.map((entry: unknown, i) => {
    const [text, score] = Array.isArray(entry) && entry.length === 2 ? (entry as unknown[]) : [];
    const at = `${place}[${i}]`;
    if (typeof text !== "string" || typeof score !== "number")
      return refuse(at, "this is no piece", "[piece, score]", JSON.stringify(entry));
    check(text, at);
    if (!Number.isFinite(score)) refuse(at, "a score is not finite", "a log probability", score);
    return { text, score, matches: true };
  });
}

/** Bounds one piece and all of them together; refuses the second of two equal ones. */
function pieceCheck(place: string): (text: string, at: string) => void {
  const seen = new Set<string>();
  let characters = 0;
  return (text, at) => {
    if (text.length === 0 || text.length > tokenizerLimits.pieceLength)
      refuse(at, "a piece has a wrong length", `1 … ${tokenizerLimits.pieceLength} characters`, text.length);
    if (seen.has(text)) refuse(at, "a piece stands twice in the vocabulary", "every piece once", text);
    seen.add(text);
    characters += text.length;
    if (characters > tokenizerLimits.characters)
      refuse(place, "the vocabulary is too large", `at most ${tokenizerLimits.characters} characters`);
  };
}

function readBpe(model: JsonObject, where: string): Model {
  const place = `${where}, model`;
  const vocabulary = readVocabulary(own(model, "vocab"), `${place}.vocab`);
  const dropout = own(model, "dropout");
  if (dropout !== undefined && dropout !== null && dropout !== 0)
    refuse(`${place}.dropout`, "merges dropped at random are not supported", "null", dropout);
  const affix = (name: string): string => {
    const value = own(model, name) ?? "";
    if (typeof value === "string" && value.length <= 32) return value;
    return refuse(`${place}.${name}`, "not a short text", "a text or null", value);
  };
  const prefix = affix("continuing_subword_prefix");
  const unkText = own(model, "unk_token");
  const unkId = typeof unkText === "string" ? vocabulary.get(unkText) : undefined;
  if (unkText !== undefined && unkText !== null && unkId === undefined)
    refuse(`${place}.unk_token`, "the unknown token is not in the vocabulary", "a piece or null", unkText);
  const byteFallback = flag(model, "byte_fallback", false, place);
  const segments = bpeSegments({
    vocabulary,
    merges: readMerges(own(model, "merges"), vocabulary, prefix, `${place}.merges`),
    unknown: unkId === undefined ? null : { id: unkId, fuse: flag(model, "fuse_unk", false, place) },
    byteIds: byteFallback ? byteIds(vocabulary, where, false) : null,
    ignoreMerges: flag(model, "ignore_merges", false, place),
    prefix,
    suffix: affix("end_of_word_suffix"),
  });
  return { vocabulary, unkId, byteFallback, ...segments };
}

function readVocabulary(value: unknown, place: string): Map<string, number> {
  const entries = Object.entries(object(value, place));
  if (entries.length === 0 || entries.length > tokenizerLimits.pieces)
    refuse(place, "no usable vocabulary", `1 … ${tokenizerLimits.pieces} pieces`, entries.length);
  const check = pieceCheck(place);
  const taken = new Uint8Array(2 * tokenizerLimits.pieces);
  for (const [text, id] of entries) {
    check(text, place);
    if (!isIndex(id) || id >= taken.length)
      return refuse(place, `the piece ${text} has no usable id`, "a whole number", id);
    if (taken[id]) refuse(place, "two pieces have the same id", "every id once", id);
    taken[id] = 1;
  }
  return new Map(entries as [string, number][]);
}

/** Merges as texts ("Ġ t": cut at the one blank, as pieces may hold other kinds) or as pairs. */
function readMerges(value: unknown, vocabulary: ReadonlyMap<string, number>, prefix: string, place: string): Merges {
  const list = array(value, place);
  if (list.length > tokenizerLimits.merges)
    refuse(place, "there are too many merges", `at most ${tokenizerLimits.merges}`, list.length);
  const lines = list.filter((entry) => typeof entry !== "string" || !entry.startsWith("#version"));
  const merges = {
    left: new Int32Array(lines.length),
    right: new Int32Array(lines.length),
    merged: new Int32Array(lines.length),
  };
  for (const [rank, entry] of lines.entries()) {
    const sides: unknown[] = typeof entry === "string" ? entry.split(" ") : Array.isArray(entry) ? entry : [];
    const [left, right] = sides;
    if (sides.length !== 2 || typeof left !== "string" || typeof right !== "string")
      return refuse(`${place}[${rank}]`, "this is no merge", "two pieces", JSON.stringify(entry));
    const id = (text: string): number =>
      vocabulary.get(text) ?? refuse(`${place}[${rank}]`, "a merge is of no piece", "pieces of the vocabulary", text);
    merges.left[rank] = id(left);
    merges.right[rank] = id(right);
    merges.merged[rank] = id(left + right.slice(prefix.length));
  }
  return merges;
}

function readAdded(list: unknown, vocabulary: ReadonlyMap<string, number>, where: string): AddedToken[] {
  const place = `${where}, added_tokens`;
  if (list === undefined || list === null) return [];
  if (!Array.isArray(list) || list.length > tokenizerLimits.addedTokens)
    return refuse(place, "the added tokens are unusable", `a list of at most ${tokenizerLimits.addedTokens}`);
  const taken = new Map<number, string>();
  let next = vocabulary.size;
  return list.map((entry: unknown, i) => {
    const at = `${place}[${i}]`;
    const token = object(entry, at);
    const content = own(token, "content");
    const id = own(token, "id");
    if (typeof content !== "string" || content.length === 0 || content.length > tokenizerLimits.pieceLength)
      throw new SoftpromptError("checkpoint", "an added token has no usable text", { where: at, got: content });
    const expected = vocabulary.get(content) ?? next;
    if (id !== expected || taken.has(expected))
      return refuse(at, `the id of the added token ${content} does not fit the vocabulary`, `${expected}, once`, id);
    if (expected === next) next++;
    taken.set(expected, content);
    const special = flag(token, "special", false, at);
    return {
      id: expected,
      content,
      special,
      normalized: flag(token, "normalized", !special, at),
      lstrip: flag(token, "lstrip", false, at),
      rstrip: flag(token, "rstrip", false, at),
      singleWord: flag(token, "single_word", false, at),
    };
  });
}

function refuse(where: string, problem: string, expected: string, got?: unknown): never {
  throw new SoftpromptError("checkpoint", problem, { where, expected, got });
}
