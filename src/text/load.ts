/**
 * @file The tokenizer of a model folder: `tokenizer.json`, or `spiece.model` alone, or `vocab.json` with `merges.txt`.
 *
 * In: a Hugging Face folder. Out: a Tokenizer. Known differences from the two reference libraries, by design or by theirs:
 * - With `tokenizer.json` a blank at the end of a text is a token of its own (▁), as the tokenizers library has it; with
 *   `spiece.model` it is dropped, as SentencePiece has it. The two also read the character map differently (charsmap.ts).
 * - SentencePiece adds scores in float32 over the whole line, we in float64 per word; a tie closer than float32's rounding
 *   may fall the other way.
 * - SentencePiece gives user-defined pieces no `▁` behind them; we treat them as added tokens, as transformers does.
 * - transformers 5 rebuilds a T5's tokenizer.json *without its normaliser*, so its ids differ from those of the tokenizers
 *   library, transformers 4 and ours wherever the normaliser matters (odd Unicode).
 */
import { readFile, stat } from "node:fs/promises";
import { join } from "node:path";
import { SoftpromptError } from "../base/errors.js";
import { bpeFilesClasses, maxMergesBytes, parseBpeFiles } from "./bpe-files.js";
import { maxSentencePieceBytes, parseSentencePiece } from "./sentencepiece.js";
import type { Tokenizer } from "./tokenizer.js";
import { type ConfigFile, readTokenizerConfig, type TokenizerConfig, type TokenizerFiles } from "./tokenizer-config.js";
import { maxTokenizerJsonBytes, parseTokenizerJson } from "./tokenizer-json.js";

/** Longest `tokenizer_config.json` and companions; Llama 3's has 55 kB. */
const maxConfigBytes = 1 << 22;

/** Tokenizers that have no file, because text is bytes or characters to them. */
const withoutFile: Readonly<Record<string, string>> = {
  ByT5Tokenizer: "its ids are bytes",
  PerceiverTokenizer: "its ids are bytes",
  CanineTokenizer: "its ids are code points",
};

/**
 * Reads the tokenizer of `folder`: tokenizer.json if there is one, else spiece.model, else vocab.json with merges.txt.
 * Throws SoftpromptError (checkpoint, io).
 */
export async function loadTokenizer(folder: string): Promise<Tokenizer> {
  const config = readTokenizerConfig(await tokenizerFiles(folder));
  const path = (name: string) => join(folder, name);
  const json = await readIfThere(path("tokenizer.json"), maxTokenizerJsonBytes);
  if (json) return parseTokenizerJson(json, path("tokenizer.json"), config);
  const spiece = await readIfThere(path("spiece.model"), maxSentencePieceBytes);
  if (spiece) return parseSentencePiece(spiece, path("spiece.model"), { extraIds: config.extraIds, config });
  const vocabulary = await readIfThere(path("vocab.json"), maxTokenizerJsonBytes);
  const merges = await readIfThere(path("merges.txt"), maxMergesBytes);
  if (vocabulary && merges && Object.hasOwn(bpeFilesClasses, config.class ?? ""))
    return parseBpeFiles({ vocabulary, where: path("vocab.json") }, { merges, where: path("merges.txt") }, config);
  throw noTokenizer(folder, config, vocabulary !== null && merges !== null);
}

/** The configuration files beside the tokenizer file. Throws SoftpromptError (checkpoint, io). */
export async function tokenizerFiles(folder: string): Promise<TokenizerFiles> {
  return {
    config: await textIfThere(folder, "tokenizer_config.json"),
    specialTokens: await textIfThere(folder, "special_tokens_map.json"),
    addedTokens: await textIfThere(folder, "added_tokens.json"),
    chatTemplate: await textIfThere(folder, "chat_template.jinja"),
  };
}

function noTokenizer(folder: string, config: TokenizerConfig, bpe: boolean): SoftpromptError {
  const expected = "tokenizer.json, spiece.model, or vocab.json with merges.txt";
  const name = config.class;
  if (name !== undefined && Object.hasOwn(withoutFile, name))
    return new SoftpromptError("checkpoint", `a ${name} is not read: ${withoutFile[name]}, it has no vocabulary file`, {
      where: join(folder, "tokenizer_config.json"),
      expected,
      got: `tokenizer_class ${name}`,
      hint: "choose a model with a tokenizer of pieces, e.g. T5 or mT5 for ByT5",
    });
  if (bpe)
    return new SoftpromptError("checkpoint", "vocab.json and merges.txt do not say how text is cut into words", {
      where: join(folder, "tokenizer_config.json"),
      expected: `tokenizer_class ${Object.keys(bpeFilesClasses).join(", ")}; or a tokenizer.json`,
      got: name ?? "no tokenizer_class",
    });
  return new SoftpromptError("checkpoint", "no tokenizer found", {
    where: folder,
    expected,
    got: name === undefined ? undefined : `tokenizer_class ${name}`,
    hint: "give the folder of a Hugging Face checkpoint",
  });
}

async function textIfThere(folder: string, name: string): Promise<ConfigFile | undefined> {
  const where = join(folder, name);
  const bytes = await readIfThere(where, maxConfigBytes);
  return bytes === null ? undefined : { text: bytes.toString("utf8"), where };
}

async function readIfThere(path: string, limit: number): Promise<Buffer | null> {
  try {
    const info = await stat(path);
    if (!info.isFile()) throw new SoftpromptError("checkpoint", "this is not a file", { where: path });
    if (info.size > limit)
      throw new SoftpromptError("checkpoint", "this file is too large for a tokenizer", {
        where: path,
        expected: `at most ${limit} bytes`,
        got: info.size,
      });
    return await readFile(path);
  } catch (cause) {
    if (cause instanceof SoftpromptError) throw cause;
    if ((cause as NodeJS.ErrnoException).code === "ENOENT") return null;
    throw new SoftpromptError("io", "cannot read the tokenizer", { where: path, cause, got: String(cause) });
  }
}
