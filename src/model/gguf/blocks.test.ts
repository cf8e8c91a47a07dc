import { readFileSync } from "node:fs";
import { describe, expect, test } from "vitest";
import { type BlockType, blockTypes, dequantise, runsOf, unpack } from "./blocks.js";

/** byte i = (37 i + 11) mod 256, with 0.5 and 0.25 as the block's float16 factors where the type has them. */
const testBlock = (type: BlockType, factors: readonly number[]) => {
  const bytes = Uint8Array.from({ length: blockTypes[type].bytes }, (_, i) => (37 * i + 11) % 256);
  const halves = [0x3800, 0x3400]; // 0.5, 0.25
  for (const [k, at] of factors.entries()) new DataView(bytes.buffer).setUint16(at, halves[k]!, true);
  return bytes;
};

describe("one block worked out beside this code (all bytes differ, so an exchanged nibble or scale shows)", () => {
  const cases = {
    Q8_0: { factors: [0], bytes: 34, sum: -88, values: { 0: 42.5, 1: 61, 16: -45.5, 31: -24 } },
    Q4_0: { factors: [0], bytes: 18, sum: -10.5, values: { 0: -1.5, 1: 1, 16: -1.5, 31: 0 } },
    Q4_1: { factors: [0, 2], bytes: 20, sum: 130.5, values: { 0: 7.75, 1: 2.25, 16: 4.75, 31: 6.25 } },
    Q5_0: { factors: [0], bytes: 22, sum: 7.5, values: { 0: 4.5, 1: -1, 16: 7, 31: 0.5 } },
    Q5_1: { factors: [0, 2], bytes: 24, sum: 260.5, values: { 0: 9.75, 1: 12.25, 16: 9.75, 31: 2.75 } },
    Q4_K: {
      factors: [0, 2],
      bytes: 144,
      sum: 27220,
      values: { 0: 157.75, 1: -12.75, 32: 4, 33: 10, 128: 211.5, 255: 24.25 },
    },
    Q5_K: {
      factors: [0, 2],
      bytes: 176,
      sum: 58108,
      values: { 0: 405.75, 1: -12.75, 32: 56, 33: -2, 128: 523.5, 255: 54.25 },
    },
    Q6_K: {
      factors: [208],
      bytes: 210,
      sum: 2306,
      values: { 0: -715.5, 1: 848, 32: 115.5, 33: -336, 128: -175.5, 255: -30 },
    },
  } as const;
  test.each(Object.entries(cases))("%s", (name, { factors, bytes, sum, values }) => {
    const block = testBlock(name as BlockType, factors);
    expect(block.length).toBe(bytes);
    const numbers = dequantise(block, name as BlockType);
    expect(numbers.reduce((a, b) => a + b, 0)).toBe(sum);
    for (const [i, value] of Object.entries(values)) expect(numbers[Number(i)]).toBe(value);
  });
});

describe("random blocks give the bits that the Python package gguf gives", () => {
  const oracle = JSON.parse(
    readFileSync(new URL("../../../test/fixtures/gguf/blocks.json", import.meta.url), "utf8"),
  ) as Record<string, { blocks: string; values: string }>;
  test("every type has its blocks", () => {
    expect(Object.keys(oracle).sort()).toEqual(Object.keys(blockTypes).sort());
  });
  test.each(Object.keys(oracle))("%s", (name) => {
    const { blocks, values } = oracle[name]!;
    const expected = new Uint8Array(Buffer.from(values, "base64"));
    const got = dequantise(new Uint8Array(Buffer.from(blocks, "base64")), name as BlockType);
    expect(got).toEqual(new Float32Array(expected.buffer));
    // at an odd address too, as blocks lie in a file
    const shifted = new Uint8Array(Buffer.from(blocks, "base64").length + 1);
    shifted.set(Buffer.from(blocks, "base64"), 1);
    expect(dequantise(shifted.subarray(1), name as BlockType)).toEqual(got);
  });
});

test("subnormal float16 factors survive", () => {
  const at = (bits: number) => {
    const block = new Uint8Array(34).fill(1);
    new DataView(block.buffer).setUint16(0, bits, true);
    return dequantise(block, "Q8_0")[0];
  };
  expect(at(0x0001)).toBe(2 ** -24);
  expect(at(0x03ff)).toBe(1023 * 2 ** -24);
});

test("integers keep within the bits that hold them, and have one scale for each run", () => {
  for (const type of (Object.keys(blockTypes) as BlockType[]).filter((t) => runsOf(t) !== null)) {
    const { bits, hasOffset, run } = runsOf(type)!;
    const [low, high] = bits === 8 ? [-128, 127] : hasOffset ? [0, 15] : [-8, 7];
    const block = Uint8Array.from({ length: 16 * blockTypes[type].bytes }, (_, i) => (i * 2654435761) >>> 24);
    const { integers, scale, offset } = unpack(block, type);
    expect(Math.min(...integers), type).toBeGreaterThanOrEqual(low!);
    expect(Math.max(...integers), type).toBeLessThanOrEqual(high!);
    expect(integers.length, type).toBe(16 * blockTypes[type].elements);
    expect(scale.length, type).toBe(integers.length / run);
    expect(offset?.length, type).toBe(hasOffset ? scale.length : undefined);
  }
});
