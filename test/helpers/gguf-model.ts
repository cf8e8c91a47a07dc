/**
 * @file A small Llama as a GGUF file whose matrices have the types that a test asks for. In: types by tensor. Out: the file, with random
 * blocks; metadata and tokenizer are those of test/fixtures/gguf/llama.gguf (width 64, 4 heads, 2 key heads, 256 neurons, one layer).
 */
import { readFileSync, writeFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { random } from "../../src/base/random.js";
import { type BlockType, blockTypes } from "../../src/model/gguf/blocks.js";
import { parseGgufHeader } from "../../src/model/gguf/header.js";
import { text, u32, u64 } from "./gguf.js";

const fixture = fileURLToPath(new URL("../fixtures/gguf/llama.gguf", import.meta.url));

/** Where the float16 factors of a block stand: random bytes there could be NaN. */
const factors: Readonly<Record<string, readonly number[]>> = {
  ...{ Q8_0: [0], Q4_0: [0], Q4_1: [0, 2], Q5_0: [0], Q5_1: [0, 2] },
  ...{ Q2_K: [80, 82], Q3_K: [108], Q4_K: [0, 2], Q5_K: [0, 2], Q6_K: [208], IQ2_XXS: [0] },
};

/** Names of the matrices of its layer, without "blk.0." and ".weight". */
export const matrices = ["attn_q", "attn_k", "attn_v", "attn_output", "ffn_gate", "ffn_up", "ffn_down"] as const;

/**
 * Writes the file.
 * @param typeOf type of a matrix (a name of `matrices`, "token_embd" or "output"). The K types need rows of 256: ffn_down only
 */
export function writeGgufModel(path: string, typeOf: (matrix: string) => BlockType): void {
  const source = readFileSync(fixture);
  const header = parseGgufHeader(source, source.length, fixture);
  if (!("tensors" in header)) throw new Error("the fixture is cut");
  // the tensors' descriptions begin where the first of them is named
  const first = Math.min(
    ...[...header.tensors.keys()].map((name) => source.indexOf(text(name))).filter((at) => at > 0),
  );
  const draw = random(5, "gguf model");
  const tensors = [...header.tensors.values()].map((tensor) => {
    const { name, shape } = tensor;
    const type = shape.length === 2 ? typeOf(name.replace(/^blk\.0\.|\.weight$/g, "")) : tensor.type;
    const bytes =
      shape.length === 2
        ? blocks(type, shape[0]! * shape[1]!)
        : source.subarray(tensor.offset, tensor.offset + tensor.length);
    return { name, shape, type, bytes };
  });
  const descriptions: Uint8Array[] = [];
  const data: Uint8Array[] = [];
  let at = 0;
  for (const { name, shape, type, bytes } of tensors) {
    const dims = shape.toReversed().map((n) => u64(n));
    descriptions.push(text(name), u32(shape.length), ...dims, u32(blockTypes[type].id), u64(at));
    const padded = Buffer.alloc(Math.ceil(bytes.length / 32) * 32);
    padded.set(bytes);
    data.push(padded);
    at += padded.length;
  }
  const head = Buffer.concat([source.subarray(0, first), ...descriptions]);
  writeFileSync(path, Buffer.concat([head, Buffer.alloc(Math.ceil(head.length / 32) * 32 - head.length), ...data]));

  /** Random blocks whose numbers are small, as weights are. */
  function blocks(type: BlockType, elements: number): Uint8Array {
    const { elements: each, bytes: width } = blockTypes[type];
    const bytes = Buffer.alloc((elements / each) * width);
    for (let i = 0; i < bytes.length; i++) bytes[i] = draw.integer(256);
    const range = type === "F32" || type === "F16" || type === "BF16" ? null : (spread[type] ?? 0.01);
    for (let from = 0; from < bytes.length; from += width) {
      if (type === "F32") bytes.writeFloatLE(draw.uniform(-0.3, 0.3), from);
      else if (range === null) bytes.writeUInt16LE(half(draw.uniform(-0.3, 0.3), type), from);
      else
        for (const place of factors[type]!)
          bytes.writeUInt16LE(half(draw.uniform(0.2, 1) * range, "F16"), from + place);
    }
    return bytes;
  }
}

/** Factors that give numbers of about 0.1, by type. */
const spread: Partial<Record<BlockType, number>> = {
  ...{ Q8_0: 0.002, Q4_0: 0.03, Q4_1: 0.02, Q5_0: 0.015, Q5_1: 0.01 },
  ...{ Q2_K: 0.01, Q3_K: 0.003, Q4_K: 0.0005, Q5_K: 0.0003, Q6_K: 0.0001, IQ2_XXS: 0.002 },
};

/** Bits of a float16 or bfloat16, cut. */
function half(value: number, type: "F16" | "BF16" | BlockType): number {
  const bits = new Uint32Array(Float32Array.of(value).buffer)[0]!;
  if (type === "BF16") return bits >>> 16;
  const exponent = ((bits >>> 23) & 255) - 112;
  return ((bits >>> 16) & 0x8000) | (exponent <= 0 ? 0 : (exponent << 10) | ((bits >>> 13) & 0x3ff));
}
