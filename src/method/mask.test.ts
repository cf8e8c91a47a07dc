/**
 * @file Masks against numbers worked out by hand: XPrompt's parameter table, the grid of §3.3, cumulative pruning, ties.
 */
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { maskWithin } from "../../test/helpers/masks.js";
import { SoftpromptError } from "../base/errors.js";
import { random } from "../base/random.js";
import {
  applyMask,
  complementMask,
  dropPruned,
  entryMask,
  fullMask,
  gatherLive,
  livePieces,
  maskCounts,
  maskFromJson,
  maskFromScores,
  maskToJson,
  type PromptMask,
  packMask,
  randomMask,
  scatterLive,
} from "./mask.js";

const drawScores = (seed: number, tokens: number, pieces: number) => {
  const stream = random(seed, "scores");
  return {
    tokens: Float64Array.from({ length: tokens }, () => stream.next()),
    pieces: Float64Array.from({ length: tokens * pieces }, () => stream.next()),
  };
};

describe("parameter table of XPrompt (T5-XL: 20 tokens, 16 pieces, D = 2048)", () => {
  // poster's count → surviving tokens × surviving pieces per token (xprompt.md §3.3)
  test.each([
    ["COPA", 17, 7, 15_232],
    ["BoolQ", 19, 12, 29_184],
    ["MultiRC", 18, 12, 27_648],
    ["RTE", 2, 2, 512],
    ["WSC", 12, 4, 6_144],
    ["WiC", 10, 2, 2_560],
    ["CB", 4, 5, 2_560],
    ["Prompt-Tuning", 20, 16, 40_960],
  ])("%s: %i × %i", (_, tokens, pieces, parameters) => {
    const mask = maskFromScores(drawScores(1, 20, 16), { tokensPruned: 20 - tokens, piecesPruned: 16 - pieces });
    expect(maskCounts(mask, 2048)).toEqual({
      tokens,
      pieces: tokens * pieces,
      parameters,
      fraction: parameters / 40_960,
    });
    expect(entryMask(mask, 2048).reduce((a, b) => a + b, 0)).toBe(parameters);
  });
});

test("an entry lives when its token and its piece live, by either layout", () => {
  const mask = { ...fullMask(3, 2), tokens: Uint8Array.of(1, 0, 1), piecesKept: Uint8Array.of(1, 0, 1, 1, 0, 1) };
  expect([...entryMask(mask, 4)]).toEqual([1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 1, 1]);
  expect([...entryMask({ ...mask, layout: "strided" }, 4)]).toEqual([1, 0, 1, 0, 0, 0, 0, 0, 0, 1, 0, 1]);
});

test("a width that pieces do not divide is refused, naming both", () => {
  expect(() => entryMask(fullMask(2, 16), 100)).toThrow(/divides 100[\s\S]*got: 16/);
});

test("pruned entries are exactly +0 whatever was there, live ones untouched", () => {
  const mask = { ...fullMask(1, 2), piecesKept: Uint8Array.of(0, 1) };
  const masked = applyMask({ shape: [1, 4], data: Float32Array.of(Number.NaN, -5, -0, 0.1) }, mask);
  expect([...masked.data].slice(0, 2).map((v) => Object.is(v, 0))).toEqual([true, true]);
  expect(Object.is(masked.data[2], -0)).toBe(true);
  expect(masked.data[3]).toBe(Math.fround(0.1));
});

test("lowest scores go first, ties by lower index; highest first for the losing ticket", () => {
  const scores = { tokens: [3, 1, 1, 2], pieces: [5, 5, 4, 6, 1, 1, 1, 1, 2, 3, 4, 5, 9, 8, 7, 6] };
  const mask = maskFromScores(scores, { tokensPruned: 1, piecesPruned: 2 });
  expect(maskToJson(mask)).toEqual({
    pieces: 4,
    layout: "contiguous",
    tokens: "1011",
    piecesKept: ["0101", "0011", "0011", "1100"],
  });
  expect(maskToJson(maskFromScores(scores, { tokensPruned: 2, piecesPruned: 1, prune: "highest" }))).toMatchObject({
    tokens: "0110",
    piecesKept: ["1110", "0111", "1110", "0111"],
  });
});

test("global ranking prunes the lowest of all surviving pieces; an emptied token is pruned", () => {
  const scores = { tokens: [1, 2, 3], pieces: [0, 0, 1, 2, 8, 9] };
  const mask = maskFromScores(scores, { tokensPruned: 1, piecesPruned: 1, ranking: "global" });
  expect(maskToJson(mask)).toMatchObject({ tokens: "001", piecesKept: ["11", "00", "11"] });
  expect(maskCounts(mask, 2)).toMatchObject({ tokens: 1, pieces: 2 });
});

test("masks are cumulative along tokens and along pieces", () => {
  const counts = fc.record({ t: fc.integer({ min: 0, max: 18 }), p: fc.integer({ min: 0, max: 14 }), seed: fc.nat() });
  fc.assert(
    fc.property(counts, ({ t, p, seed }) => {
      const scores = drawScores(seed, 20, 16);
      const base = maskFromScores(scores, { tokensPruned: t, piecesPruned: p });
      expect(maskWithin(maskFromScores(scores, { tokensPruned: t + 1, piecesPruned: p }), base)).toBe(true);
      for (const ranking of ["within", "global"] as const)
        expect(
          maskWithin(
            maskFromScores(scores, { tokensPruned: t, piecesPruned: p + 1, ranking }),
            maskFromScores(scores, { tokensPruned: t, piecesPruned: p, ranking }),
          ),
        ).toBe(true);
    }),
    { numRuns: 60 },
  );
});

test("a mask and its complement share no entry and leave none out", () => {
  const mask = maskFromScores(drawScores(3, 20, 16), { tokensPruned: 8, piecesPruned: 9 });
  const [a, b] = [entryMask(mask, 64), entryMask(complementMask(mask), 64)];
  expect(a.every((v, i) => v + b[i]! === 1)).toBe(true);
  expect(() => complementMask(fullMask(4, 2))).toThrow(/prunes nothing/);
});

test("a random mask keeps the counts, follows its seed and differs by seed", () => {
  const mask = maskFromScores(drawScores(4, 20, 16), { tokensPruned: 6, piecesPruned: 5, ranking: "global" });
  const draw = (seed: number) => randomMask(mask, random(seed, "random-mask"));
  const sorted = (m: typeof mask) => livePieces(m).sort((a, b) => a - b);
  expect(sorted(draw(1))).toEqual(sorted(mask));
  expect(draw(1)).toEqual(draw(1));
  expect(draw(1)).not.toEqual(draw(2));
});

test("compact values and dense prompt are the same prompt", () => {
  const mask = maskFromScores(drawScores(5, 6, 4), { tokensPruned: 2, piecesPruned: 1, layout: "strided" });
  const dense = applyMask({ shape: [6, 8], data: Float32Array.from({ length: 48 }, (_, i) => i + 0.5) }, mask);
  const values = gatherLive(dense, mask);
  expect(values.length).toBe(maskCounts(mask, 8).parameters);
  expect(scatterLive(values, mask, 8)).toEqual(dense);
  expect(() => scatterLive(values.subarray(1), mask, 8)).toThrow(SoftpromptError);
});

test("dropping leaves the live rows in order, with their pieces masked", () => {
  const mask = { ...fullMask(3, 2), tokens: Uint8Array.of(1, 0, 1), piecesKept: Uint8Array.of(1, 1, 1, 1, 0, 1) };
  const dropped = dropPruned({ shape: [3, 2], data: Float32Array.of(1, 2, 3, 4, 5, 6) }, mask);
  expect(dropped.kept).toEqual([0, 2]);
  expect(dropped.prompt).toEqual({ shape: [2, 2], data: Float32Array.of(1, 2, 0, 6) });
  expect(maskToJson(dropped.mask)).toMatchObject({ tokens: "11", piecesKept: ["11", "01"] });
});

test("JSON round trip; anything else is refused with its place", () => {
  const mask = maskFromScores(drawScores(6, 5, 4), { tokensPruned: 1, piecesPruned: 2, layout: "strided" });
  const json = maskToJson(mask);
  expect(maskFromJson(JSON.parse(JSON.stringify(json)), "x")).toEqual(mask);
  for (const bad of [
    null,
    "1",
    { ...json, pieces: 3 },
    { ...json, pieces: 1e9 },
    { ...json, layout: "constructor" },
    { ...json, tokens: "10x11" },
    { ...json, tokens: "1" },
    { ...json, piecesKept: [1, 2, 3, 4, 5] },
  ])
    expect(() => maskFromJson(bad, "softprompt.json")).toThrow(/softprompt\.json/);
});

test("counts out of range and scores that are no numbers are refused", () => {
  const scores = drawScores(7, 4, 4);
  expect(() => maskFromScores(scores, { tokensPruned: 4, piecesPruned: 0 })).toThrow(/from 0 to 3/);
  expect(() => maskFromScores(scores, { tokensPruned: 0, piecesPruned: 4 })).toThrow(/from 0 to 3/);
  expect(() => maskFromScores(scores, { tokensPruned: 0.5, piecesPruned: 0 })).toThrow(SoftpromptError);
  const nan = { ...scores, pieces: scores.pieces.map((v, i) => (i === 3 ? Number.NaN : v)) };
  expect(() => maskFromScores(nan, { tokensPruned: 0, piecesPruned: 0 })).toThrow(/piece 3/);
  expect(() => maskFromScores({ tokens: [1, 2], pieces: [1, 2, 3] }, { tokensPruned: 0, piecesPruned: 0 })).toThrow(
    /do not belong/,
  );
});

test("a packed mask is read back as it was; bits too many, too few or beyond its end are refused", () => {
  const draw = random(3, "packed masks");
  for (let n = 0; n < 200; n++) {
    const [tokens, pieces] = [1 + Math.floor(draw.uniform(0, 40)), 1 + Math.floor(draw.uniform(0, 20))];
    const bit = () => (draw.uniform(0, 1) < 0.5 ? 0 : 1);
    const mask: PromptMask = {
      tokens: Uint8Array.from({ length: tokens }, bit),
      piecesKept: Uint8Array.from({ length: tokens * pieces }, bit),
      pieces,
      layout: n % 2 === 0 ? "contiguous" : "strided",
    };
    const packed = packMask(mask);
    expect(maskFromJson(JSON.parse(JSON.stringify(packed)), "x")).toEqual(mask);
    for (const more of [
      { count: tokens + 8 },
      { bits: `AAAA${packed.bits}` },
      { bits: packed.bits.slice(4) },
      { bits: 7 },
      { count: 1e9 },
    ])
      expect(() => maskFromJson({ ...packed, ...more }, "x")).toThrow(/mask's/);
  }
  // 3 bits of the byte are used
  expect(maskFromJson({ pieces: 2, layout: "contiguous", count: 1, bits: "4A==" }, "x").tokens).toEqual(
    Uint8Array.of(1),
  );
  expect(() => maskFromJson({ pieces: 2, layout: "contiguous", count: 1, bits: "4Q==" }, "x")).toThrow(/mask's/);
});
