/** @file Derivatives by the masks. */
import { expect, test } from "vitest";
import { fullMask, maskFromScores } from "../method/mask.js";
import { maskDerivatives, survivorScores } from "./scores.js";

test("the derivative by a mask is Σ gradient · value over what it multiplies", () => {
  const prompt = { shape: [2, 4], data: Float32Array.of(1, 2, 3, 4, 0, 1, 0, 0) };
  const gradient = Float32Array.of(1, 1, 2, 0.5, 9, 2, 9, 9);
  const { tokens, pieces } = maskDerivatives(gradient, prompt, Int32Array.of(0, 0, 1, 1), 2);
  expect([...pieces]).toEqual([3, 8, 2, 0]);
  expect([...tokens]).toEqual([11, 2]);
});

test("what a candidate has pruned is pruned again, though signed scores fall below 0; dropped tokens have no scores of their own", () => {
  const mask = maskFromScores({ tokens: [3, 1, 2], pieces: [1, 2, 5, 6, 4, 3] }, { tokensPruned: 1, piecesPruned: 1 });
  expect([[...mask.tokens], [...mask.piecesKept]]).toEqual([
    [1, 0, 1],
    [0, 1, 0, 1, 1, 0],
  ]);
  const next = { tokensPruned: 2, piecesPruned: 1 };
  const zeroed = { tokens: [-4, 0, -5], pieces: [0, -4, 0, 0, -5, 0] };
  const dropped = { tokens: [-4, -5], pieces: [0, -4, -5, 0] };
  for (const own of [zeroed, dropped]) {
    const again = maskFromScores(survivorScores(own, mask), next);
    expect([...again.tokens]).toEqual([1, 0, 0]);
    // of the survivor the same piece
    expect([...again.piecesKept.subarray(0, 2)]).toEqual([0, 1]);
  }
  const whole = { tokens: [1, 2, 3], pieces: [1, 2, 3, 4, 5, 6] };
  expect(survivorScores(whole, fullMask(3, 2))).toEqual(whole);
});

test("a zeroed token has the derivative 0, whatever its gradient is", () => {
  const prompt = { shape: [2, 2], data: Float32Array.of(0, -0, 1, 2) };
  const gradient = Float32Array.of(Number.POSITIVE_INFINITY, Number.NaN, 1, 1);
  const { tokens } = maskDerivatives(gradient, prompt, Int32Array.of(0, 1), 2);
  expect([...tokens]).toEqual([0, 3]);
});
