/**
 * @file The regular expressions by which known families cut text into words, by their text in `tokenizer.json`.
 *
 * In: a pattern's text. Out: the expression in JavaScript that matches the same, or a SoftpromptError.
 * An untrusted expression is never run: one of thirty characters can take a century. What differs between Oniguruma, which
 * the tokenizers library runs, and JavaScript is written out: white space is Unicode's property, `(?i:…)` is spelt in both
 * cases (ſ is an s without case), and a possessive repetition is a plain one where nothing behind it could take a part back.
 */
import { nearest, SoftpromptError } from "../base/errors.js";

const contractions = "'s|'t|'re|'ve|'m|'ll|'d";
const ending = " ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+";
const upper = "\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}";
const lower = "\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}";

/** By family. The text must be equal to the last character. */
const patterns = {
  "GPT-2, Pythia, SmolLM2": `${contractions}| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+`,
  "GPT-2, shorter": "'(?:[sdmt]|ll|ve|re)| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+",
  "Llama 3": `(?i:${contractions})|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1,3}|${ending}`,
  cl100k:
    "'(?i:[sdmt]|ll|ve|re)|[^\\r\\n\\p{L}\\p{N}]?+\\p{L}+|\\p{N}{1,3}| ?[^\\s\\p{L}\\p{N}]++[\\r\\n]*|\\s*[\\r\\n]|\\s+(?!\\S)|\\s+",
  "Qwen 2, Qwen 3": `(?i:${contractions})|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}|${ending}`,
  "Qwen 3.5": `(?i:${contractions})|[^\\r\\n\\p{L}\\p{N}]?[\\p{L}\\p{M}]+|\\p{N}| ?[^\\s\\p{L}\\p{M}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+`,
  "Tekken (Mistral Nemo)":
    `[^\\r\\n\\p{L}\\p{N}]?[${upper}]*[${lower}]+|[^\\r\\n\\p{L}\\p{N}]?[${upper}]+[${lower}]*|\\p{N}|` +
    " ?[^\\s\\p{L}\\p{N}]+[\\r\\n/]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+",
  "o200k (GPT-4o), Llama 4":
    `[^\\r\\n\\p{L}\\p{N}]?[${upper}]*[${lower}]+(?i:${contractions})?|[^\\r\\n\\p{L}\\p{N}]?[${upper}]+[${lower}]*(?i:${contractions})?|` +
    "\\p{N}{1,3}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n/]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+",
  "three digits (Falcon)": "[0-9][0-9][0-9]",
  "digits in threes": "\\p{N}{1,3}",
  "a digit": "\\d",
  digits: "\\d+",
  "Latin digits": "[0-9]",
  "a number": "\\p{N}",
  "a blank": " ",
  blanks: "\\s+",
  lines: "[\\r\\n]",
} as const satisfies Readonly<Record<string, string>>;

/** Oniguruma's text in JavaScript's words; right for the patterns above, not for every pattern. */
function translate(source: string): RegExp {
  const text = source
    .replaceAll("\\s", "\\p{White_Space}")
    .replaceAll("\\S", "\\P{White_Space}")
    .replaceAll("\\d", "\\p{Nd}")
    .replaceAll(/([?+])\+/g, "$1")
    .replaceAll(/\(\?i:([^)]*)\)/g, (_, inside: string) => `(?:${bothCases(inside)})`);
  return new RegExp(text, "gu");
}

/** Letters inside and outside a class, in both cases. */
function bothCases(source: string): string {
  let inClass = false;
  return [...source]
    .map((c) => {
      if (c === "[" || c === "]") inClass = c === "[";
      if (!/[a-z]/.test(c)) return c;
      const cases = c + c.toUpperCase() + (c === "s" ? "ſ" : "");
      return inClass ? cases : `[${cases}]`;
    })
    .join("");
}

const known = new Map<string, RegExp>(Object.values(patterns).map((text) => [text, translate(text)]));

/** The pattern of a ByteLevel step. */
export const gpt2Pattern = known.get(patterns["GPT-2, Pythia, SmolLM2"])!;

/** The text of the pattern of Qwen 2. */
export const qwen2PatternText: string = patterns["Qwen 2, Qwen 3"];

/** The expression of a pattern's text. Throws SoftpromptError (checkpoint) for one that is not known. */
export function knownPattern(text: unknown, where: string): RegExp {
  const found = typeof text === "string" ? known.get(text) : undefined;
  if (found) return found;
  const near = typeof text === "string" && text.length < 200 ? nearest(text, known.keys()) : undefined;
  throw new SoftpromptError("checkpoint", "this pattern that cuts text into words is not known", {
    where,
    expected: `a literal String, or the Regex of one of: ${Object.keys(patterns).join("; ")}`,
    got: text,
    hint: near ? `the nearest that is known is ${near}` : undefined,
  });
}
