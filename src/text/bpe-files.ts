/**
 * @file A byte-level BPE tokenizer as two files, `vocab.json` and `merges.txt`, as GPT-2 was published. Out: Tokenizer.
 *
 * The files hold pieces and merges. How text is cut into words follows from the class that tokenizer_config.json names, so a folder without
 * a class is refused. The two files are combined into a `tokenizer.json` in the same way as transformers converts them.
 */
import { createHash } from "node:crypto";
import { SoftpromptError } from "../base/errors.js";
import { type JsonObject, parseJson } from "../base/json.js";
import { tokenizerLimits } from "./assemble.js";
import { object } from "./parts.js";
import { qwen2PatternText } from "./patterns.js";
import { utf8 } from "./protobuf.js";
import type { Tokenizer } from "./tokenizer.js";
import type { TokenizerConfig } from "./tokenizer-config.js";
import { makeTokenizer } from "./tokenizer-json.js";

export const maxMergesBytes = 32 * 1024 * 1024;

const gpt2 = (config: TokenizerConfig): JsonObject => ({
  normalizer: null,
  pre_tokenizer: { type: "ByteLevel", add_prefix_space: config.addPrefixSpace ?? false, use_regex: true },
});
const qwen2 = (): JsonObject => ({
  normalizer: { type: "NFC" },
  pre_tokenizer: {
    type: "Sequence",
    pretokenizers: [
      { type: "Split", pattern: { Regex: qwen2PatternText }, behavior: "Isolated", invert: false },
      { type: "ByteLevel", add_prefix_space: false, use_regex: false },
    ],
  },
});

/** Class of tokenizer_config.json → normaliser and pre-tokenizer. */
export const bpeFilesClasses: Readonly<Record<string, (config: TokenizerConfig) => JsonObject>> = {
  GPT2Tokenizer: gpt2,
  GPT2TokenizerFast: gpt2,
  Qwen2Tokenizer: qwen2,
  Qwen2TokenizerFast: qwen2,
};

/** Throws SoftpromptError (kind checkpoint) for files that it cannot use exactly. */
export function parseBpeFiles(
  { vocabulary, where }: { vocabulary: Uint8Array; where: string },
  { merges, where: mergesWhere }: { merges: Uint8Array; where: string },
  config: TokenizerConfig,
): Tokenizer {
  const steps = bpeFilesClasses[config.class ?? ""];
  if (steps === undefined)
    throw new SoftpromptError("checkpoint", "these files do not say how text is cut into words", {
      where: mergesWhere,
      expected: `tokenizer_class ${Object.keys(bpeFilesClasses).join(", ")}`,
      got: config.class,
    });
  const vocab = object(parseJson(utf8(vocabulary, where), where, "checkpoint"), where);
  const lines = utf8(merges, mergesWhere)
    .split(/\r?\n/, tokenizerLimits.merges + 2)
    .filter((line) => line !== "");
  // The end token is a piece of the vocabulary, and is written in texts as it is in every GPT-2.
  const special = [...new Set(Object.values(config.roles))].filter((text) => Object.hasOwn(vocab, text));
  const root = {
    ...steps(config),
    added_tokens: special.map((content) => ({ id: vocab[content], content, special: true, normalized: false })),
    decoder: { type: "ByteLevel" },
    model: { type: "BPE", vocab, merges: lines },
  };
  const sha256 = createHash("sha256").update(vocabulary).update(merges).digest("hex");
  return makeTokenizer(root, where, sha256, config);
}
