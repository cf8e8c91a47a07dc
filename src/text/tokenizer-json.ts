/**
 * @file A `tokenizer.json` of the Hugging Face tokenizers library: bytes in, Tokenizer out.
 *
 * In: version 1.0 files with a Unigram model, as all T5s have. Out: the ids that library gives, added tokens included.
 * Every step the file may name is in the two tables below; a step that is not there is refused by name, so that no file is
 * tokenised almost right. Regular expressions from the file are never run: the one that T5 files carry is known by its text.
 * Source: tokenizers 0.23, src/{normalizers,pre_tokenizers,models/unigram,tokenizer/added_vocabulary}.
 */
import { createHash } from "node:crypto";
import { nearest, SoftpromptError } from "../base/errors.js";
import { isObject, type JsonObject, own, parseJson } from "../base/json.js";
import { type AddedToken, assemble, splitAtSpaces, tokenizerLimits } from "./assemble.js";
import { maxCharsmapBytes, readCharsmap } from "./charsmap.js";
import { utf8 } from "./protobuf.js";
import type { Tokenizer } from "./tokenizer.js";
import type { Piece } from "./unigram.js";

/** Files above this are refused; mT5's has 16 MB. */
export const maxTokenizerJsonBytes = 64 * 1024 * 1024;

type Normalizer = (text: string) => string;
/** Cuts words further; the first part of a section may get a blank before it. */
type Splitter = (words: readonly string[]) => string[];

/** Parses the bytes of a `tokenizer.json`. Throws SoftpromptError (kind checkpoint) for anything it cannot use exactly. */
export function parseTokenizerJson(bytes: Uint8Array, where: string): Tokenizer {
  if (bytes.length > maxTokenizerJsonBytes)
    throw new SoftpromptError("checkpoint", "this tokenizer.json is too large", {
      where,
      expected: `at most ${maxTokenizerJsonBytes} bytes`,
      got: bytes.length,
    });
  const root = object(
    parseJson(utf8(bytes, where), where, "checkpoint", {
      length: maxTokenizerJsonBytes,
      containers: tokenizerLimits.pieces + tokenizerLimits.addedTokens + 10_000,
    }),
    where,
  );
  const model = object(own(root, "model"), `${where}, model`);
  const type = own(model, "type");
  if (type !== "Unigram")
    throw new SoftpromptError("checkpoint", "only Unigram tokenizers (T5's) are read", {
      where: `${where}, model.type`,
      expected: "Unigram",
      got: type,
    });
  const pieces = readVocabulary(model, where);
  const unkId = own(model, "unk_id");
  if (!isIndex(unkId) || unkId >= pieces.length)
    throw new SoftpromptError("checkpoint", "the unknown token is outside the vocabulary", {
      where: `${where}, model.unk_id`,
      expected: `0 … ${pieces.length - 1}`,
      got: unkId,
    });
  const normalize = normalizer(own(root, "normalizer"), `${where}, normalizer`);
  const split = splitter(own(root, "pre_tokenizer"), `${where}, pre_tokenizer`);
  return assemble({
    pieces,
    added: readAdded(own(root, "added_tokens"), pieces, where),
    unkId,
    byteFallback: own(model, "byte_fallback") === true,
    normalize,
    words: (text) => (text.length > 0 ? split([text]) : []),
    sha256: createHash("sha256").update(bytes).digest("hex"),
    where,
  });
}

function readVocabulary(model: JsonObject, where: string): Piece[] {
  const list = own(model, "vocab");
  const place = `${where}, model.vocab`;
  const refuse = (at: string, problem: string, expected: string, got?: unknown): never => {
    throw new SoftpromptError("checkpoint", problem, { where: at, expected, got });
  };
  if (!Array.isArray(list) || list.length === 0 || list.length > tokenizerLimits.pieces)
    return refuse(place, "no usable vocabulary", `1 … ${tokenizerLimits.pieces} pairs [piece, score]`);
  const seen = new Set<string>();
  let characters = 0;
  return list.map((entry: unknown, i) => {
    const [text, score] = Array.isArray(entry) && entry.length === 2 ? (entry as unknown[]) : [];
    const at = `${place}[${i}]`;
    if (typeof text !== "string" || typeof score !== "number")
      return refuse(at, "this is no piece", "[piece, score]", JSON.stringify(entry));
    if (text.length === 0 || text.length > tokenizerLimits.pieceLength)
      refuse(at, "a piece has a wrong length", `1 … ${tokenizerLimits.pieceLength} characters`, text.length);
    if (!Number.isFinite(score)) refuse(at, "a score is not finite", "a log probability", score);
    if (seen.has(text)) refuse(at, "a piece stands twice in the vocabulary", "every piece once", text);
    seen.add(text);
    characters += text.length;
    if (characters > tokenizerLimits.characters)
      refuse(place, "the vocabulary is too large", `at most ${tokenizerLimits.characters} characters`);
    return { text, score, matches: true };
  });
}

function readAdded(list: unknown, pieces: readonly Piece[], where: string): AddedToken[] {
  const place = `${where}, added_tokens`;
  if (list === undefined || list === null) return [];
  if (!Array.isArray(list) || list.length > tokenizerLimits.addedTokens)
    throw new SoftpromptError("checkpoint", "the added tokens are unusable", {
      where: place,
      expected: `a list of at most ${tokenizerLimits.addedTokens}`,
    });
  const pieceIds = new Map(pieces.map((p, id) => [p.text, id]));
  const taken = new Map<number, string>();
  let next = pieces.length;
  return list.map((entry: unknown, i) => {
    const at = `${place}[${i}]`;
    const token = object(entry, at);
    const content = own(token, "content");
    const id = own(token, "id");
    if (typeof content !== "string" || content.length === 0 || content.length > tokenizerLimits.pieceLength)
      throw new SoftpromptError("checkpoint", "an added token has no usable text", { where: at, got: content });
    const expected = pieceIds.get(content) ?? next;
    if (id !== expected || taken.has(expected))
      throw new SoftpromptError("checkpoint", `the id of the added token ${content} does not fit the vocabulary`, {
        where: at,
        expected: `${expected}, once`,
        got: id,
      });
    if (expected === next) next++;
    taken.set(expected, content);
    const flag = (name: string, otherwise: boolean): boolean => {
      const value = own(token, name);
      if (value === undefined) return otherwise;
      if (typeof value !== "boolean")
        throw new SoftpromptError("checkpoint", `"${name}" must be true or false`, { where: at, got: value });
      return value;
    };
    const special = flag("special", false);
    return {
      id: expected,
      content,
      special,
      normalized: flag("normalized", !special),
      lstrip: flag("lstrip", false),
      rstrip: flag("rstrip", false),
      singleWord: flag("single_word", false),
    };
  });
}

/** The normalisation steps that are read exactly. */
const normalizers: Readonly<Record<string, (config: JsonObject, where: string) => Normalizer>> = {
  Sequence: (c, where) => {
    const steps = array(own(c, "normalizers"), where).map((n, i) => normalizer(n, `${where}.normalizers[${i}]`));
    return (text) => steps.reduce((t, step) => step(t), text);
  },
  Precompiled: (c, where) => {
    const blob = own(c, "precompiled_charsmap");
    if (blob === null || blob === "") return (text) => text;
    if (typeof blob !== "string" || blob.length > 2 * maxCharsmapBytes || !/^[A-Za-z0-9+/]*={0,2}$/.test(blob))
      throw new SoftpromptError("checkpoint", "the precompiled character map is not base64", { where });
    return readCharsmap(Buffer.from(blob, "base64"), "graphemes", where);
  },
  Replace: (c, where) => {
    const pattern = object(own(c, "pattern"), where);
    const content = string(own(c, "content"), where);
    const literal = own(pattern, "String");
    if (typeof literal === "string" && literal.length > 0) return (text) => text.split(literal).join(content);
    if (own(pattern, "Regex") === " {2,}") return (text) => text.replace(/ {2,}/g, () => content);
    throw new SoftpromptError("checkpoint", "this replacement pattern is not supported", {
      where,
      expected: 'a literal String, or the Regex " {2,}"',
      got: JSON.stringify(pattern),
    });
  },
  Strip: (c) => {
    const left = own(c, "strip_left") !== false;
    const right = own(c, "strip_right") !== false;
    return (text) => {
      const t = left ? text.replace(/^\p{White_Space}+/u, "") : text;
      return right ? trimEnd(t) : t;
    };
  },
  Lowercase: () => (text) => text.toLowerCase(),
  NFC: () => (text) => text.normalize("NFC"),
  NFD: () => (text) => text.normalize("NFD"),
  NFKC: () => (text) => text.normalize("NFKC"),
  NFKD: () => (text) => text.normalize("NFKD"),
};

/** The ways to cut a text into words that are read exactly. */
const splitters: Readonly<Record<string, (config: JsonObject, where: string) => Splitter>> = {
  Sequence: (c, where) => {
    const steps = array(own(c, "pretokenizers"), where).map((n, i) => splitter(n, `${where}.pretokenizers[${i}]`));
    return (words) => steps.reduce<readonly string[]>((w, step) => step(w), words) as string[];
  },
  WhitespaceSplit: () => (words) =>
    words.flatMap((w) => w.split(/\p{White_Space}+/u).filter((part) => part.length > 0)),
  Metaspace: (c, where) => {
    const replacement = own(c, "replacement") ?? "▁";
    // Files before tokenizers 0.15 say add_prefix_space; "first" is like "always" for the text of one section only.
    const scheme = own(c, "prepend_scheme") ?? (own(c, "add_prefix_space") === false ? "never" : "always");
    if (replacement !== "▁" || (scheme !== "always" && scheme !== "never"))
      throw new SoftpromptError("checkpoint", "this Metaspace step is not supported", {
        where,
        expected: 'replacement "▁" and prepend_scheme "always" or "never"',
        got: [replacement, scheme],
      });
    const split = own(c, "split") !== false;
    return (words) =>
      words.flatMap((word) => {
        let text = word.replaceAll(" ", "▁");
        if (scheme === "always" && !text.startsWith("▁")) text = `▁${text}`;
        return split ? splitAtSpaces(text) : [text];
      });
  },
};

function normalizer(config: unknown, where: string): Normalizer {
  if (config === null || config === undefined) return (text) => text;
  return step(normalizers, config, where);
}

function splitter(config: unknown, where: string): Splitter {
  if (config === null || config === undefined) return (words) => [...words];
  return step(splitters, config, where);
}

function step<T>(
  table: Readonly<Record<string, (c: JsonObject, where: string) => T>>,
  config: unknown,
  where: string,
): T {
  const c = object(config, where);
  const type = own(c, "type");
  if (typeof type !== "string" || !Object.hasOwn(table, type)) {
    const near = typeof type === "string" ? nearest(type, Object.keys(table)) : undefined;
    throw new SoftpromptError("checkpoint", "this step of the tokenizer is not supported", {
      where: `${where}.type`,
      expected: Object.keys(table).join(", "),
      got: type,
      hint: near ? `did the file mean ${near}?` : undefined,
    });
  }
  return table[type]!(c, where);
}

function object(value: unknown, where: string): JsonObject {
  if (isObject(value)) return value;
  throw new SoftpromptError("checkpoint", "an object is missing", { where, expected: "an object", got: typeof value });
}

function array(value: unknown, where: string): readonly unknown[] {
  if (Array.isArray(value)) return value as unknown[];
  throw new SoftpromptError("checkpoint", "a list is missing", { where, expected: "a list", got: typeof value });
}

function string(value: unknown, where: string): string {
  if (typeof value === "string") return value;
  throw new SoftpromptError("checkpoint", "a text is missing", { where, expected: "a string", got: typeof value });
}

function isIndex(value: unknown): value is number {
  return typeof value === "number" && Number.isInteger(value) && value >= 0;
}

/** Without a regular expression, whose `\s+$` takes quadratic time on a long run of blanks inside the text. */
function trimEnd(text: string): string {
  let end = text.length;
  while (end > 0 && /\p{White_Space}/u.test(text[end - 1]!)) end--;
  return text.slice(0, end);
}
