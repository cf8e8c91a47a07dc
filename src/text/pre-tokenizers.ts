/**
 * @file Pre-tokenizers of a `tokenizer.json`: normalised text in, the words that the model sees out.
 *
 * In: the file's `pre_tokenizer`. Out: a function from text to words. Regular expressions of the file are never run: the
 * patterns that known families carry are known by their text (patterns.ts), others are refused.
 * Source: tokenizers 0.23, src/pre_tokenizers, src/tokenizer/normalizer.rs (split).
 */
import { SoftpromptError } from "../base/errors.js";
import { type JsonObject, own } from "../base/json.js";
import { toByteCharacters } from "./byte-level.js";
import { array, flag, object, oneOf, type StepTable, step, string } from "./parts.js";
import { gpt2Pattern, knownPattern } from "./patterns.js";
import { whiteSpace, wordCharacters } from "./unicode.js";

/** Words on their way through the steps. */
export interface Words {
  readonly list: readonly string[];
  /** Whether the first word stands at the very start of the text. Metaspace's `first` depends on it. */
  readonly atStart: boolean;
}

export type PreTokenizer = (words: Words) => Words;

const behaviours = ["Removed", "Isolated", "MergedWithPrevious", "MergedWithNext", "Contiguous"] as const;
type Behaviour = (typeof behaviours)[number];

const metaspace = "▁";

const preTokenizers: StepTable<PreTokenizer> = {
  Sequence: (c, where) => {
    const steps = array(own(c, "pretokenizers"), where).map((n, i) =>
      readPreTokenizer(n, `${where}.pretokenizers[${i}]`),
    );
    return (words) => steps.reduce((w, next) => next(w), words);
  },
  ByteLevel: (c, where) => {
    const blankFirst = flag(c, "add_prefix_space", true, where);
    const split = flag(c, "use_regex", true, where) ? cut(gpt2Pattern, "Isolated", false) : null;
    return (words) => {
      const list = blankFirst ? words.list.map((w) => (w.startsWith(" ") ? w : ` ${w}`)) : words.list;
      const parts = split ? split({ ...words, list }) : { ...words, list };
      return { ...parts, list: parts.list.map(toByteCharacters) };
    };
  },
  Digits: (c, where) =>
    flag(c, "individual_digits", false, where)
      ? cut(/\p{N}/gu, "Isolated", false)
      : cut(/\p{N}/gu, "Contiguous", false),
  Split: (c, where) =>
    cut(
      readPattern(own(c, "pattern"), `${where}.pattern`),
      readBehaviour(c, undefined, where),
      flag(c, "invert", false, where),
    ),
  Punctuation: (c, where) => cut(/[!-/:-@[-`{-~]|\p{P}/gu, readBehaviour(c, "Isolated", where), false),
  Whitespace: () => cut(new RegExp(`[${wordCharacters}]+|[^${wordCharacters}${whiteSpace}]+`, "gu"), "Removed", true),
  WhitespaceSplit: () => cut(new RegExp(whiteSpace, "gu"), "Removed", false),
  CharDelimiterSplit: (c, where) => {
    const delimiter = string(own(c, "delimiter"), where);
    if ([...delimiter].length !== 1)
      throw new SoftpromptError("checkpoint", "a delimiter is one character", { where, got: delimiter });
    return cut(literally(delimiter), "Removed", false);
  },
  Metaspace: (c, where) => {
    if ((own(c, "replacement") ?? metaspace) !== metaspace)
      throw new SoftpromptError("checkpoint", "this Metaspace step is not supported", {
        where,
        expected: `replacement "${metaspace}"`,
        got: own(c, "replacement"),
      });
    const scheme = prependScheme(c, where);
    const split = flag(c, "split", true, where);
    return ({ list, atStart }) => ({
      atStart,
      list: list.flatMap((word, i) => {
        let text = word.replaceAll(" ", metaspace);
        const prepends = scheme === "always" || (scheme === "first" && atStart && i === 0);
        if (prepends && !text.startsWith(metaspace)) text = metaspace + text;
        return split ? splitAtSpaces(text) : [text];
      }),
    });
  },
};

/** When a Metaspace step puts ▁ before a word. Files before tokenizers 0.15 say add_prefix_space instead. */
export function prependScheme(c: JsonObject, where: string): "always" | "first" | "never" {
  const older = flag(c, "add_prefix_space", true, where) ? "always" : "never";
  return oneOf(c, "prepend_scheme", ["always", "first", "never"], older, where);
}

/** The pre-tokenizer that a file describes; none leaves the text whole. */
export function readPreTokenizer(config: unknown, where: string): PreTokenizer {
  if (config === null || config === undefined) return (words) => words;
  return step(preTokenizers, config, where);
}

function readBehaviour(c: JsonObject, otherwise: Behaviour | undefined, where: string): Behaviour {
  const given = own(c, "behavior") ?? otherwise;
  if (behaviours.includes(given as Behaviour)) return given as Behaviour;
  throw new SoftpromptError("checkpoint", "this behaviour of a split is not known", {
    where,
    expected: behaviours.join(", "),
    got: given,
  });
}

function readPattern(config: unknown, where: string): RegExp {
  const pattern = object(config, where);
  const literal = own(pattern, "String");
  if (typeof literal === "string" && literal.length > 0) return literally(literal);
  return knownPattern(own(pattern, "Regex"), where);
}

function literally(text: string): RegExp {
  return new RegExp(text.replace(/[\\^$.*+?()[\]{}|/-]/g, "\\$&"), "gu");
}

/** Cuts words at the matches of a pattern (or, inverted, between them). */
function cut(pattern: RegExp, behaviour: Behaviour, invert: boolean): PreTokenizer {
  const once = new RegExp(pattern.source, pattern.flags.replace("g", ""));
  return ({ list, atStart }) => {
    const out: string[] = [];
    let startStays = atStart;
    for (const [i, word] of list.entries()) {
      if (!invert && !once.test(word)) {
        out.push(word);
        continue;
      }
      if (!invert && behaviour === "Isolated") {
        // Most patterns match every character: then the matches are the words.
        const matches = word.match(pattern)!;
        if (matches.reduce((sum, m) => sum + m.length, 0) === word.length) {
          for (const match of matches) out.push(match);
          continue;
        }
      }
      if (!invert && behaviour === "Removed") {
        const kept = word.split(pattern); // no pattern here captures
        if (i === 0 && kept[0] === "") startStays = false;
        for (const piece of kept) if (piece !== "") out.push(piece);
        continue;
      }
      const pieces = behave(matchesOf(word, pattern, invert), behaviour);
      for (const [from, to] of pieces) if (to > from) out.push(word.slice(from, to));
      if (i === 0 && !pieces.some(([from, to]) => from === 0 && to > 0)) startStays = false;
    }
    return { list: out, atStart: startStays };
  };
}

type Stretch = [from: number, to: number, isMatch: boolean];

/** The whole word in stretches: matches and what lies between them. */
function matchesOf(word: string, pattern: RegExp, invert: boolean): Stretch[] {
  const out: Stretch[] = [];
  let at = 0;
  for (const match of word.matchAll(pattern)) {
    if (match.index > at) out.push([at, match.index, invert]);
    at = match.index + match[0].length;
    out.push([match.index, at, !invert]);
  }
  if (at < word.length) out.push([at, word.length, invert]);
  return out;
}

function behave(stretches: readonly Stretch[], behaviour: Behaviour): [number, number][] {
  const out: [number, number][] = [];
  let matched = false;
  switch (behaviour) {
    case "Isolated":
      return stretches.map(([from, to]) => [from, to]);
    case "Removed":
      return stretches.flatMap(([from, to, isMatch]) => (isMatch ? [] : [[from, to] as [number, number]]));
    case "Contiguous":
      for (const [from, to, isMatch] of stretches) {
        if (isMatch === matched && out.length > 0) out.at(-1)![1] = to;
        else out.push([from, to]);
        matched = isMatch;
      }
      return out;
    case "MergedWithPrevious":
      for (const [from, to, isMatch] of stretches) {
        if (isMatch && !matched && out.length > 0) out.at(-1)![1] = to;
        else out.push([from, to]);
        matched = isMatch;
      }
      return out;
    case "MergedWithNext":
      for (const [from, to, isMatch] of stretches.toReversed()) {
        if (isMatch && !matched && out.length > 0) out.at(-1)![0] = from;
        else out.push([from, to]);
        matched = isMatch;
      }
      return out.reverse();
  }
}

/** Words of a text whose blanks are `▁`: a cut before each `▁`. Exact as long as no piece holds a `▁` behind its first character. */
export function splitAtSpaces(text: string): string[] {
  const out: string[] = [];
  let from = 0;
  for (let i = text.indexOf(metaspace, 1); i > 0; i = text.indexOf(metaspace, i + 1)) {
    out.push(text.slice(from, i));
    from = i;
  }
  if (from < text.length) out.push(text.slice(from));
  return out;
}
