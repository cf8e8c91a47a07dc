/**
 * @file The vocabulary inside a GGUF file as tokenizer.json and tokenizer_config.json.
 *
 * In: metadata keys `tokenizer.*`. Out: the two files' text, as the tokenizers library would write them; ids stay as they are.
 * - Kind `gpt2` (byte-level BPE): the pattern that splits text is only *named* in the file, by `tokenizer.ggml.pre`; a wrong one gives other
 *   ids for many words without any error, so an unknown name is refused.
 * - Kind `llama` (SentencePiece BPE with byte fallback): merges come from the scores, best first, as transformers'
 *   `convert_slow_tokenizer.generate_merges` makes them.
 * Source: llama.cpp src/llama-vocab.cpp (names and defaults), the models' own tokenizer.json (patterns).
 */
import type { JsonObject } from "../../base/json.js";
import type { Fields } from "./fields.js";

export interface TokenizerFiles {
  readonly tokenizer: string;
  readonly config: string;
  /** Further ids that end an answer, for generation_config.json. */
  readonly ends: readonly number[];
  /** Ids for config.json; only those that the file names. */
  readonly ids: Readonly<Record<string, number>>;
}

/** tokenizer.ggml.token_type */
const tokenTypes = { normal: 1, unknown: 2, control: 3, userDefined: 4, unused: 5, byte: 6 } as const;

const byteLevel = (useRegex: boolean) => ({
  type: "ByteLevel",
  add_prefix_space: false,
  trim_offsets: true,
  use_regex: useRegex,
});
const splitBy = (pattern: string) => ({
  type: "Sequence",
  pretokenizers: [
    { type: "Split", pattern: { Regex: pattern }, behavior: "Isolated", invert: false },
    byteLevel(false),
  ],
});
const contractions = "(?i:'s|'t|'re|'ve|'m|'ll|'d)";
const ends = String.raw`\s*[\r\n]+|\s+(?!\S)|\s+`;
const llama3 = {
  pre: splitBy(String.raw`${contractions}|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|${ends}`),
  normalizer: null,
  ignoreMerges: true,
  bos: true,
};
const gpt2 = { pre: byteLevel(true), normalizer: null, ignoreMerges: false, bos: false };

interface PreTokenizer {
  readonly pre: JsonObject;
  readonly normalizer: JsonObject | null;
  /** Words that are tokens are taken as they are. */
  readonly ignoreMerges: boolean;
  /** Whether the first token is BOS where the file does not say. */
  readonly bos: boolean;
}

/** By the names of tokenizer.ggml.pre. */
export const preTokenizers: Readonly<Record<string, PreTokenizer>> = {
  "gpt-2": gpt2,
  smollm: {
    ...gpt2,
    pre: { type: "Sequence", pretokenizers: [{ type: "Digits", individual_digits: true }, byteLevel(true)] },
  },
  "llama-bpe": llama3,
  "llama-v3": llama3,
  llama3,
  qwen2: {
    pre: splitBy(String.raw`${contractions}|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|${ends}`),
    normalizer: { type: "NFC" },
    ignoreMerges: false,
    bos: false,
  },
  tekken: {
    pre: splitBy(
      String.raw`[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|${ends}`,
    ),
    normalizer: null,
    ignoreMerges: true,
    bos: true,
  },
};

/**
 * @param vocabulary rows of the embedding
 * @throws SoftpromptError("checkpoint")
 */
export function tokenizerFiles(fields: Fields, vocabulary: number, contextLength: number): TokenizerFiles {
  const kind = fields.text("tokenizer.ggml.model");
  if (kind !== "gpt2" && kind !== "llama")
    throw fields.refuse("this kind of vocabulary is not read", "tokenizer.ggml.model gpt2 or llama", kind);
  const tokens = fields.texts("tokenizer.ggml.tokens");
  if (tokens.length === 0 || tokens.length > vocabulary)
    throw fields.wrong("tokenizer.ggml.tokens", `1 to ${vocabulary} tokens, as many as the embedding has rows`);
  const types = fields.has("tokenizer.ggml.token_type")
    ? fields.numbers("tokenizer.ggml.token_type")
    : tokens.map(() => 1);
  if (types.length !== tokens.length)
    throw fields.wrong("tokenizer.ggml.token_type", `${tokens.length} types, one for each token`);
  // fillers up to the embedding's size have no merges, but a whole word could be one
  const kept = kind === "gpt2" ? (id: number) => types[id] !== tokenTypes.unused : () => true;
  const vocab = new Map<string, number>();
  for (const [id, token] of tokens.entries())
    if (kept(id)) {
      if (vocab.has(token))
        throw fields.refuse("a token stands twice in the vocabulary", "every token once", token.slice(0, 100));
      vocab.set(token, id);
    }

  const id = (name: string) => {
    const key = `tokenizer.ggml.${name}_token_id`;
    if (!fields.has(key)) return undefined;
    const value = fields.integer(key, 0, 2 ** 32 - 1);
    if (value === 2 ** 32 - 1) return undefined; // some writers mean "none" by this value
    if (value < tokens.length) return value;
    throw fields.wrong(key, `a token, 0 to ${tokens.length - 1}`);
  };
  const [bos, eos, pad, unknown] = [id("bos"), id("eos"), id("padding"), id("unknown")];
  const ends = [eos, id("eot"), id("eom")].filter((end) => end !== undefined);
  const parts =
    kind === "gpt2" ? byteLevelParts(fields, vocab) : sentencePieceParts(fields, tokens, types, vocab, unknown);

  const first = fields.flag("tokenizer.ggml.add_bos_token", parts.bos);
  const last = fields.flag("tokenizer.ggml.add_eos_token", false);
  if (first && bos === undefined)
    throw fields.wrong("tokenizer.ggml.bos_token_id", "the token that stands before a text");
  if (last && eos === undefined)
    throw fields.wrong("tokenizer.ggml.eos_token_id", "the token that stands behind a text");
  const special = new Set<number>([tokenTypes.control, ...(kind === "llama" ? [tokenTypes.unknown] : [])]);
  const added = tokens.flatMap((content, i) =>
    content !== "" && (special.has(types[i]!) || types[i] === tokenTypes.userDefined)
      ? [
          {
            ...{ id: i, content, single_word: false, lstrip: false, rstrip: false, normalized: false },
            special: special.has(types[i]!),
          },
        ]
      : [],
  );
  const named = (text: unknown) => JSON.stringify(text);
  const model = Object.entries(parts.model).map(([key, value]) => `${named(key)}: ${named(value)}`);
  // the JSON is written by hand, because a token may be called __proto__, which a plain object would not keep
  const vocabText = `{${[...vocab].map(([token, i]) => `${named(token)}: ${i}`).join(", ")}}`;
  const tokenizer =
    `{"version": "1.0", "truncation": null, "padding": null, "added_tokens": ${named(added)}, "normalizer": ${named(parts.normalizer)}, ` +
    `"pre_tokenizer": ${named(parts.preTokenizer)}, "post_processor": ${named(template(tokens, first ? bos! : null, last ? eos! : null))}, ` +
    `"decoder": ${named(parts.decoder)}, "model": {${model.join(", ")}, "vocab": ${vocabText}, "merges": ${named(parts.merges)}}}\n`;
  const token = (name: string, i: number | undefined) => (i === undefined ? {} : { [name]: tokens[i] });
  const config = {
    tokenizer_class: "PreTrainedTokenizerFast",
    ...{
      ...token("bos_token", bos),
      ...token("eos_token", eos),
      ...token("pad_token", pad),
      ...token("unk_token", unknown),
    },
    ...{ clean_up_tokenization_spaces: false, model_max_length: contextLength },
    ...(fields.has("tokenizer.chat_template") ? { chat_template: fields.text("tokenizer.chat_template") } : {}),
  };
  const ids = { bos_token_id: bos, eos_token_id: eos, pad_token_id: pad };
  return {
    tokenizer,
    config: `${JSON.stringify(config, null, 2)}\n`,
    ends: [...new Set(ends)],
    ids: Object.fromEntries(Object.entries(ids).filter(([, value]) => value !== undefined)) as Record<string, number>,
  };
}

interface Parts {
  readonly model: JsonObject;
  readonly merges: readonly string[];
  readonly normalizer: JsonObject | null;
  readonly preTokenizer: JsonObject | null;
  readonly decoder: JsonObject;
  readonly bos: boolean;
}

const bpe = { type: "BPE", dropout: null, continuing_subword_prefix: null, end_of_word_suffix: null };

function byteLevelParts(fields: Fields, vocab: ReadonlyMap<string, number>): Parts {
  const key = "tokenizer.ggml.pre";
  // files of GPT-2 are older than this key; their architecture determines the value
  const older = fields.text("general.architecture") === "gpt2" ? "gpt-2" : undefined;
  const name = fields.text(key, older ?? "");
  if (!Object.hasOwn(preTokenizers, name))
    throw fields.refuse(
      name === "" ? `${key} is missing` : `${key} names a pattern that is not known`,
      Object.keys(preTokenizers).join(", "),
      name === "" ? undefined : name,
      "without the pattern words would be split wrongly; take a newer file of this model, or its Hugging Face folder",
    );
  const known = preTokenizers[name]!;
  const merges = checkedMerges(fields, vocab);
  return {
    model: { ...bpe, unk_token: null, fuse_unk: false, byte_fallback: false, ignore_merges: known.ignoreMerges },
    merges,
    normalizer: known.normalizer,
    preTokenizer: known.pre,
    decoder: { type: "ByteLevel", add_prefix_space: true, trim_offsets: true, use_regex: true },
    bos: known.bos,
  };
}

function sentencePieceParts(
  fields: Fields,
  tokens: readonly string[],
  types: readonly number[],
  vocab: ReadonlyMap<string, number>,
  unknown: number | undefined,
): Parts {
  for (const [key, what] of [
    ["precompiled_charsmap", "a map of characters"],
    ["remove_extra_whitespaces", "removal of blanks"],
  ] as const)
    if (
      fields.has(`tokenizer.ggml.${key}`) &&
      (key !== "remove_extra_whitespaces" || fields.flag(`tokenizer.ggml.${key}`, false))
    )
      throw fields.refuse(`a vocabulary with ${what} is not read`, "neither in a vocabulary of the kind llama", key);
  const unk = unknown ?? types.indexOf(tokenTypes.unknown);
  const prefix = fields.flag("tokenizer.ggml.add_space_prefix", true);
  const bytes = types.filter((type) => type === tokenTypes.byte).length;
  if (bytes !== 0 && bytes !== 256)
    throw fields.refuse("the vocabulary has some bytes and not others", "256 tokens <0x00> … <0xFF>, or none", bytes);
  const merges = fields.has("tokenizer.ggml.merges")
    ? checkedMerges(fields, vocab)
    : mergesFromScores(fields, tokens, types, vocab);
  const blank = { String: " " };
  return {
    model: {
      ...bpe,
      unk_token: tokens[unk] ?? null,
      fuse_unk: true,
      byte_fallback: bytes === 256,
      ignore_merges: false,
    },
    merges,
    normalizer: {
      type: "Sequence",
      normalizers: [
        ...(prefix ? [{ type: "Prepend", prepend: "▁" }] : []),
        { type: "Replace", pattern: blank, content: "▁" },
      ],
    },
    preTokenizer: null,
    decoder: {
      type: "Sequence",
      decoders: [
        { type: "Replace", pattern: { String: "▁" }, content: " " },
        ...[{ type: "ByteFallback" }, { type: "Fuse" }],
        ...(prefix ? [{ type: "Strip", content: " ", start: 1, stop: 0 }] : []),
      ],
    },
    bos: true,
  };
}

/** The file's merges; each must join two tokens to a third, or a reader of tokenizer.json would refuse them. */
function checkedMerges(fields: Fields, vocab: ReadonlyMap<string, number>): readonly string[] {
  const merges = fields.texts("tokenizer.ggml.merges");
  for (const merge of merges) {
    const at = merge.indexOf(" "); // U+0020 alone: a token may hold other blanks
    const [left, right] = [merge.slice(0, at), merge.slice(at + 1)];
    if (at < 1 || !vocab.has(left) || !vocab.has(right) || !vocab.has(left + right))
      throw fields.refuse(
        "a merge joins what are not tokens",
        "two tokens, a blank between, whose join is a token",
        merge.slice(0, 100),
      );
  }
  return merges;
}

/** Every way to make a token of two others, best score first. */
function mergesFromScores(
  fields: Fields,
  tokens: readonly string[],
  types: readonly number[],
  vocab: ReadonlyMap<string, number>,
): string[] {
  const scores = fields.numbers("tokenizer.ggml.scores");
  if (scores.length !== tokens.length || !scores.every(Number.isFinite))
    throw fields.wrong("tokenizer.ggml.scores", `${tokens.length} finite scores, one for each token`);
  // only pieces take part: control tokens are never made of text, user-defined ones are found before
  const piece = (id: number | undefined) =>
    id !== undefined && (types[id] === tokenTypes.normal || types[id] === tokenTypes.unused);
  const found: { left: string; right: string; score: number; lengths: [number, number] }[] = [];
  for (const [id, token] of tokens.entries()) {
    const characters = [...token];
    if (!piece(id) || token.includes(" ")) continue;
    if (characters.length > longestPiece)
      throw fields.refuse(
        "a piece is too long for its merges to be found",
        `at most ${longestPiece} characters`,
        token.slice(0, 100),
      );
    const here: { left: string; right: string; ids: [number, number]; lengths: [number, number] }[] = [];
    for (let cut = 1; cut < characters.length; cut++) {
      const [left, right] = [characters.slice(0, cut).join(""), characters.slice(cut).join("")];
      const [a, b] = [vocab.get(left), vocab.get(right)];
      if (piece(a) && piece(b)) here.push({ left, right, ids: [a!, b!], lengths: [cut, characters.length - cut] });
    }
    here.sort((x, y) => x.ids[0] - y.ids[0] || x.ids[1] - y.ids[1]);
    for (const { left, right, lengths } of here) found.push({ left, right, score: scores[id]!, lengths });
  }
  found.sort((x, y) => y.score - x.score || y.lengths[0] - x.lengths[0] || y.lengths[1] - x.lengths[1]);
  return found.map(({ left, right }) => `${left} ${right}`);
}

/** Characters of a piece; SentencePiece's own limit is 16 by default. The work grows with the square. */
const longestPiece = 64;

/** TemplateProcessing with BOS before and EOS behind; null where neither is wanted. */
function template(tokens: readonly string[], bos: number | null, eos: number | null): JsonObject | null {
  if (bos === null && eos === null) return null;
  const token = (id: number | null, type: number) =>
    id === null ? [] : [{ SpecialToken: { id: tokens[id]!, type_id: type } }];
  const one = (name: string, type: number) => [
    ...token(bos, type),
    { Sequence: { id: name, type_id: type } },
    ...token(eos, type),
  ];
  const used = [...new Set([bos, eos].filter((id) => id !== null))];
  return {
    type: "TemplateProcessing",
    single: one("A", 0),
    pair: [...one("A", 0), ...one("B", 1)],
    special_tokens: Object.fromEntries(
      used.map((id) => [tokens[id]!, { id: tokens[id]!, ids: [id], tokens: [tokens[id]!] }]),
    ),
  };
}
