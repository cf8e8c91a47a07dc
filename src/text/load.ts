/**
 * @file The tokenizer of a model folder: `tokenizer.json`, or `spiece.model` alone.
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
import { isObject, own, parseJson } from "../base/json.js";
import { maxSentencePieceBytes, parseSentencePiece } from "./sentencepiece.js";
import type { Tokenizer } from "./tokenizer.js";
import { maxTokenizerJsonBytes, parseTokenizerJson } from "./tokenizer-json.js";

/** Reads the tokenizer of `folder`: tokenizer.json if there is one, else spiece.model. Throws SoftpromptError (checkpoint, io). */
export async function loadTokenizer(folder: string): Promise<Tokenizer> {
  const json = join(folder, "tokenizer.json");
  const jsonBytes = await readIfThere(json, maxTokenizerJsonBytes);
  if (jsonBytes) return parseTokenizerJson(jsonBytes, json);
  const spiece = join(folder, "spiece.model");
  const spieceBytes = await readIfThere(spiece, maxSentencePieceBytes);
  if (spieceBytes) return parseSentencePiece(spieceBytes, spiece, { extraIds: await extraIds(folder) });
  throw new SoftpromptError("checkpoint", "no tokenizer found", {
    where: folder,
    expected: "tokenizer.json or spiece.model",
    hint: "give the folder of a Hugging Face T5 checkpoint",
  });
}

/** `extra_ids` of tokenizer_config.json, if it says one. */
async function extraIds(folder: string): Promise<number | undefined> {
  const where = join(folder, "tokenizer_config.json");
  const bytes = await readIfThere(where, 1 << 22);
  if (!bytes) return undefined;
  const config = parseJson(bytes.toString("utf8"), where, "checkpoint");
  const value = isObject(config) ? own(config, "extra_ids") : undefined;
  if (value === undefined || value === null) return undefined;
  if (typeof value === "number" && Number.isInteger(value) && value >= 0 && value <= 10_000) return value;
  throw new SoftpromptError("checkpoint", "extra_ids must be a small whole number", {
    where,
    expected: "0 … 10000",
    got: value,
  });
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
