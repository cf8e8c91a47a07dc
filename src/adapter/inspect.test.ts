/**
 * @file Inspecting an adapter: nearest words against a table worked out by hand, pruned tokens have none.
 */
import { expect, test } from "vitest";
import { fullMask } from "../method/mask.js";
import type { Checkpoint } from "../model/checkpoint.js";
import type { Tokenizer } from "../text/tokenizer.js";
import { checkBase, saveAdapter } from "./adapter.js";
import { adapterReportText, inspectAdapter } from "./inspect.js";
import type { Adapter } from "./types.js";

const embedding = [
  [1, 0],
  [0, 2],
  [3, 3],
  [-1, 0],
  [0, 0],
];
const checkpoint = {
  config: { family: "t5", width: 2, vocabulary: 5 },
  readRows: async (name: string, ids: number[]) => {
    expect(name).toBe("shared.weight");
    return { shape: [ids.length, 2], data: Float32Array.from(ids.flatMap((id) => embedding[id]!)) };
  },
} as unknown as Checkpoint;
const tokenizer = { size: 5, piece: (id: number) => `w${id}` } as unknown as Tokenizer;
const adapter: Adapter = {
  prompt: { shape: [3, 2], data: Float32Array.of(2, 0, 0, 0, 1, 1) },
  mask: { ...fullMask(3, 2), tokens: Uint8Array.of(1, 0, 1), piecesKept: Uint8Array.of(1, 0, 1, 1, 1, 1) },
  base: { name: "tiny", revision: null, sha256: null, family: "t5", width: 2, layers: null, heads: null },
  tokenizer: null,
  task: null,
  training: null,
  scores: { split: "validation", rows: 10, values: { accuracy: 0.75 } },
  kept: { config: {}, extras: {} },
};

test("nearest words by cosine, ties by lower id, none for a pruned token or a zero row", async () => {
  const report = await inspectAdapter(adapter, { checkpoint, tokenizer }, 2);
  const words = report.perToken.map((t) => t.nearest.map((n) => [n.piece, Number(n.cosine.toFixed(2))]));
  expect(words).toEqual([
    [
      ["w0", 1],
      ["w2", 0.71],
    ],
    [],
    [
      ["w2", 1],
      ["w0", 0.71],
    ],
  ]);
  expect(report.perToken.map((t) => t.pieces)).toEqual([1, 0, 2]);
  expect(report.perToken[2]!.norm).toBeCloseTo(Math.SQRT2, 6);
  expect(report.live).toEqual({ tokens: 2, pieces: 3, parameters: 3, fraction: 0.5 });
});

test("as text: the map, the counts, the score", async () => {
  const text = adapterReportText(await inspectAdapter(adapter));
  expect(text).toContain("0 #·\n1 --\n2 ##");
  expect(text).toContain("2 tokens, 3 pieces, 3 parameters (50.00 % of these 3 tokens)");
  expect(text).toContain("0.7500 on 10 rows of validation");
  // without its pruned token the share is of a shorter prompt
  const mask = { ...fullMask(2, 2), piecesKept: Uint8Array.of(1, 0, 1, 1) };
  const dropped = { ...adapter, prompt: { shape: [2, 2], data: Float32Array.of(2, 0, 1, 1) }, mask };
  expect(adapterReportText(await inspectAdapter(dropped))).toContain("3 parameters (75.00 % of these 2 tokens)");
  const plain = await inspectAdapter({ ...adapter, mask: null });
  expect(plain).toMatchObject({ map: null, live: { tokens: 3, pieces: null, parameters: 6 } });
});

test("what is no adapter is refused with what belongs there, by every call that takes one", async () => {
  for (const given of ["runs/pt", undefined, null, {}, { base: {}, prompt: null }]) {
    const refused = { kind: "usage", problem: "this is no adapter" };
    await expect(inspectAdapter(given as never)).rejects.toMatchObject(refused);
    await expect(checkBase(given as never, checkpoint)).rejects.toMatchObject(refused);
    await expect(async () => saveAdapter("nowhere", given as never)).rejects.toMatchObject(refused);
  }
  await expect(inspectAdapter("runs/pt" as never)).rejects.toThrow(
    /inspectAdapter\(\).*what tune or loadAdapter gave.*loadAdapter\("runs\/pt"\)/s,
  );
});
