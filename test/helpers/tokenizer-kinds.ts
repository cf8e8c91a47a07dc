/**
 * @file The small tokenizers of every kind that test/oracles/bpe_tokenizers.py made, and its 10,000 lines.
 */
import { readFileSync } from "node:fs";
import { gunzipSync } from "node:zlib";
import type { Tokenizer } from "../../src/text/tokenizer.js";
import { parseTokenizerJson } from "../../src/text/tokenizer-json.js";

const read = (name: string): unknown =>
  JSON.parse(gunzipSync(readFileSync(new URL(`../fixtures/tokenizer/${name}.json.gz`, import.meta.url))).toString());
const kinds = read("kinds") as Record<string, { tokenizer: unknown }>;

export const kindNames: readonly string[] = Object.keys(kinds);

/** The 10,000 lines. */
export const readLines = (): string[] => read("lines") as string[];

/** A kind's tokenizer.json. */
export const kindFile = (name: string): string => JSON.stringify(kinds[name]!.tokenizer);

export const kindTokenizer = (name: string): Tokenizer =>
  parseTokenizerJson(new TextEncoder().encode(kindFile(name)), `${name}/tokenizer.json`);
