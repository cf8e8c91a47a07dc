/**
 * @file A decoder-only model whose next token is known: its blocks add nothing, and its head says of each token which one follows. In: nothing.
 * Out: a folder. Right values for streams, stop strings and half characters need no other model.
 */
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { random } from "../../src/base/random.js";
import { parseSafetensors, writeSafetensors } from "../../src/model/safetensors.js";
import { type TinyCausal, tinyCausal, tinyPieces } from "./tiny-causal.js";

/** A byte as byte-level vocabularies write it (GPT-2's table): those that are no printable Latin-1 stand from U+0100 on. */
function byteCharacter(byte: number): string {
  const printable = (b: number) => (b >= 33 && b <= 126) || (b >= 161 && b <= 172) || (b >= 174 && b <= 255);
  if (printable(byte)) return String.fromCharCode(byte);
  let place = 0;
  for (let b = 0; b < byte; b++) if (!printable(b)) place++;
  return String.fromCharCode(256 + place);
}

/** Bytes of "🙂깰", in place of characters that no test writes. */
const bytes = [...Buffer.from("🙂깰")].map(byteCharacter);
const replaced = ["{", "}", "_", "[", "]", "&", "%"];
const pieces = tinyPieces.map((piece) => (replaced.includes(piece) ? bytes[replaced.indexOf(piece)]! : piece));

/** Which piece follows which: a circle of letters, one of characters of several bytes, and short answers to "\n" and "y". */
const chains = [
  [..."ABCDEFGHIJ", "A"],
  ["x", ...bytes, "<|end|>"],
  ["\u010a", "o", "k", "<|end|>"],
];

/** @returns the folder of a model that writes DEFGHIJABC… after C, 🙂깰 and an end after x, ok after a line break. */
export function chainCausal(more: TinyCausal = {}): string {
  const folder = tinyCausal({ ...more, config: { tie_word_embeddings: false, ...more.config } });
  const file = join(folder, "model.safetensors");
  const { entries, tensor } = parseSafetensors(readFileSync(file), file);
  const tensors = Object.fromEntries([...entries.keys()].map((name) => [name, tensor(name)]));
  const [V, D] = tensors["model.embed_tokens.weight"]!.shape as [number, number];
  const draw = random(1, "chain");
  const embedding = Float32Array.from({ length: V * D }, () => (draw.uniform(-1, 1) < 0 ? -1 : 1));
  const head = new Float32Array(V * D);
  for (const chain of chains)
    for (const [i, piece] of chain.slice(0, -1).entries()) {
      const [from, to] = [pieces.indexOf(piece), pieces.indexOf(chain[i + 1]!)];
      for (let d = 0; d < D; d++) head[to * D + d]! += embedding[from * D + d]!;
    }
  for (const [name, { shape, data }] of Object.entries(tensors)) {
    if (/(o_proj|down_proj)\.weight$/.test(name)) tensors[name] = { shape, data: new Float32Array(data.length) };
    if (/norm\.weight$/.test(name)) tensors[name] = { shape, data: new Float32Array(data.length).fill(1) };
  }
  tensors["model.embed_tokens.weight"] = { shape: [V, D], data: embedding };
  tensors["lm_head.weight"] = { shape: [V, D], data: head };
  writeFileSync(file, writeSafetensors(tensors));
  const tokenizer = JSON.parse(readFileSync(join(folder, "tokenizer.json"), "utf8"));
  tokenizer.model.vocab = Object.fromEntries(pieces.map((piece, id) => [piece, id]));
  writeFileSync(join(folder, "tokenizer.json"), JSON.stringify(tokenizer));
  return folder;
}
