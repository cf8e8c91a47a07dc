/**
 * @file Normalisers of a `tokenizer.json`: text in, the text that the model sees out.
 *
 * In: the file's `normalizer`. Out: a function on text. Regular expressions of the file are never run. Those of known families are
 * recognised by their text.
 * Source: tokenizers 0.23, src/normalizers.
 */
import { SoftpromptError } from "../base/errors.js";
import { own } from "../base/json.js";
import { toByteCharacters } from "./byte-level.js";
import { maxCharsmapBytes, readCharsmap } from "./charsmap.js";
import { array, flag, object, type StepTable, step, string } from "./parts.js";
import { trimEnd, trimStart, whiteSpace } from "./unicode.js";

export type Normalizer = (text: string) => string;

/** Longest text that a step may insert: an untrusted file could insert a very long text for every letter. */
const maxContent = 64;

const replacedPatterns: Readonly<Record<string, RegExp>> = {
  " {2,}": / {2,}/g,
  " +": / +/g,
  "\\s+": new RegExp(`${whiteSpace}+`, "gu"),
  "\\s{2,}": new RegExp(`${whiteSpace}{2,}`, "gu"),
};

/** The normalisation steps that are read exactly. */
const normalizers: StepTable<Normalizer> = {
  Sequence: (c, where) => {
    const steps = array(own(c, "normalizers"), where).map((n, i) => readNormalizer(n, `${where}.normalizers[${i}]`));
    return (text) => steps.reduce((t, next) => next(t), text);
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
    const content = shortText(own(c, "content"), where);
    const literal = own(pattern, "String");
    const known = own(pattern, "Regex");
    const expression =
      typeof known === "string" && Object.hasOwn(replacedPatterns, known) ? replacedPatterns[known]! : null;
    if (expression === null && !(typeof literal === "string" && literal.length > 0))
      throw new SoftpromptError("checkpoint", "this replacement pattern is not supported", {
        where,
        expected: `a literal String, or one of the Regex ${Object.keys(replacedPatterns).join(" and ")}`,
        got: JSON.stringify(pattern),
      });
    return (text) =>
      expression === null ? text.split(literal as string).join(content) : text.replace(expression, () => content);
  },
  Prepend: (c, where) => {
    const before = shortText(own(c, "prepend"), where);
    return (text) => (text.length > 0 ? before + text : text);
  },
  Strip: (c, where) => {
    const left = flag(c, "strip_left", true, where);
    const right = flag(c, "strip_right", true, where);
    return (text) => {
      const t = left ? trimStart(text) : text;
      return right ? trimEnd(t) : t;
    };
  },
  // A letter at a time: JavaScript looks around a Σ, Rust's `char::to_lowercase` does not.
  Lowercase: () => (text) => (plainAscii.test(text) ? text.toLowerCase() : Array.from(text, lower).join("")),
  StripAccents: () => (text) => text.replace(/\p{M}/gu, ""),
  Nmt: () => (text) => text.replace(/[\p{C}\p{Z}▁]|\ufffd/gu, (c) => nmt.get(c.codePointAt(0)!) ?? c),
  ByteLevel: () => toByteCharacters,
  NFC: () => (text) => text.normalize("NFC"),
  NFD: () => (text) => text.normalize("NFD"),
  NFKC: () => (text) => text.normalize("NFKC"),
  NFKD: () => (text) => text.normalize("NFKD"),
};

function shortText(value: unknown, where: string): string {
  const text = string(value, where);
  if (text.length <= maxContent) return text;
  throw new SoftpromptError("checkpoint", "a step of the tokenizer puts in too long a text", {
    where,
    expected: `at most ${maxContent} characters`,
    got: text.length,
  });
}

const lower = (character: string): string => character.toLowerCase();
const plainAscii = /^[\x20-\x7e]*$/;
/** SentencePiece's nmt rules: control characters that they drop, and characters that they make a blank. */
const nmt = new Map<number, string>([
  ...[
    [0x01, 0x08],
    [0x0b, 0x0b],
    [0x0e, 0x1f],
    [0x7f, 0x7f],
    [0x8f, 0x8f],
    [0x9f, 0x9f],
  ].flatMap(every("")),
  ...[
    [0x09, 0x0a],
    [0x0c, 0x0d],
    [0x1680, 0x1680],
    [0x200b, 0x200f],
    [0x2028, 0x2029],
    [0x2581, 0x2581],
  ].flatMap(every(" ")),
  ...[
    [0xfeff, 0xfeff],
    [0xfffd, 0xfffd],
  ].flatMap(every(" ")),
]);

function every(becomes: string): (range: readonly number[]) => [number, string][] {
  return ([from, to]) => Array.from({ length: to! - from! + 1 }, (_, i) => [from! + i, becomes]);
}

/** The normaliser that a file describes; none is one that changes nothing. */
export function readNormalizer(config: unknown, where: string): Normalizer {
  if (config === null || config === undefined) return (text) => text;
  return step(normalizers, config, where);
}
