/**
 * @file Several matrices [N, …] side by side as one, and back: row n holds all that is trained for virtual token n.
 *
 * In: parameters by name. Out: a matrix [N, width] that masks fit (mask.ts), its columns ordered by the parameters' names. No config of a
 * model is needed, so that an adapter's file can be checked alone.
 */
import { SoftpromptError } from "../base/errors.js";
import type { Parameters, Tensor } from "../base/tensor.js";
import { applyMask, type PromptMask } from "./mask.js";

/** Descending: encoder.self, decoder.self, decoder.cross, which is the order in which a model computes them. */
export function inRow<T extends { readonly name: string }>(all: readonly T[]): T[] {
  return [...all].sort((a, b) => (a.name < b.name ? 1 : -1));
}

/** @throws SoftpromptError "usage" for parameters that are not matrices of as many rows. */
export function joinRows(parameters: Parameters): Tensor {
  const parts = inRow(Object.entries(parameters).map(([name, { shape, data }]) => ({ name, shape, data })));
  const N = parts[0]?.shape[0] ?? 0;
  for (const { name, shape } of parts)
    if (shape.length !== 2 || shape[0] !== N)
      throw new SoftpromptError("usage", "these parameters have no common rows", {
        where: name,
        expected: `[${N}, width]`,
        got: `[${shape.join(", ")}]`,
      });
  const width = parts.reduce((sum, { shape }) => sum + shape[1]!, 0);
  const data = new Float32Array(N * width);
  let at = 0;
  for (const { shape, data: own } of parts) {
    const W = shape[1]!;
    for (let n = 0; n < N; n++) data.set(own.subarray(n * W, (n + 1) * W), n * width + at);
    at += W;
  }
  return { shape: [N, width], data };
}

/** The inverse of joinRows. @param widths of the parts, by name */
export function partRows({ shape, data }: Tensor, widths: Readonly<Record<string, number>>): Parameters {
  const [N, width] = shape as [number, number];
  let at = 0;
  return Object.fromEntries(
    inRow(Object.entries(widths).map(([name, W]) => ({ name, W }))).map(({ name, W }) => {
      const own = new Float32Array(N * W);
      for (let n = 0; n < N; n++) own.set(data.subarray(n * width + at, n * width + at + W), n * W);
      at += W;
      return [name, { shape: [N, W], data: own }];
    }),
  );
}

/** The parameters with the entries that the mask prunes from their rows exactly +0. @throws as joinRows and applyMask. */
export function maskRows(parameters: Parameters, mask: PromptMask): Parameters {
  const widths = Object.fromEntries(Object.entries(parameters).map(([name, { shape }]) => [name, shape[1]!]));
  return partRows(applyMask(joinRows(parameters), mask), widths);
}
