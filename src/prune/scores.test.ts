/** @file Derivatives by the masks. */
import { expect, test } from "vitest";
import { maskDerivatives } from "./scores.js";

test("the derivative by a mask is Σ gradient · value over what it multiplies", () => {
  const prompt = { shape: [2, 4], data: Float32Array.of(1, 2, 3, 4, 0, 1, 0, 0) };
  const gradient = Float32Array.of(1, 1, 2, 0.5, 9, 2, 9, 9);
  const { tokens, pieces } = maskDerivatives(gradient, prompt, Int32Array.of(0, 0, 1, 1), 2);
  expect([...pieces]).toEqual([3, 8, 2, 0]);
  expect([...tokens]).toEqual([11, 2]);
});

test("a zeroed token has the derivative 0, whatever its gradient is", () => {
  const prompt = { shape: [2, 2], data: Float32Array.of(0, -0, 1, 2) };
  const gradient = Float32Array.of(Number.POSITIVE_INFINITY, Number.NaN, 1, 1);
  const { tokens } = maskDerivatives(gradient, prompt, Int32Array.of(0, 1), 2);
  expect([...tokens]).toEqual([0, 3]);
});
