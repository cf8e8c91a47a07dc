/**
 * @file Ultra-low-dimensional prompts: prompt = (Z·R) ∘ s + b with Z [P, r] trained, R [r, D] random and fixed, and one scale s and one shift
 * b for all tokens; and the shift alone on a plain prompt, which the paper's ablation credits with most of the effect.
 *
 * R is drawn from the seed, so it is never saved; Z starts as the projection of the start prompt (our choice), s as ones, b as zeros.
 * Source: Wu, Hao, Mou 2025, arXiv:2502.04501v2.
 */
import type { OptionValues } from "../base/options.js";
import { random } from "../base/random.js";
import { constant } from "../graph/graph.js";
import * as ops from "../graph/ops.js";
import { coordinates, filled, projection } from "./draws.js";
import type { Method } from "./method.js";
import type { ulptOptions } from "./options.js";
import { reparametrised } from "./prompt.js";

type Settings = OptionValues<typeof ulptOptions> & { readonly virtualTokens: number; readonly seed: number };

export function ulpt({ ulptRank: r, virtualTokens: P, seed }: Settings): Method {
  const R = (D: number) => projection(random(seed, "ulpt"), r, D);
  return reparametrised({
    name: "ulpt",
    key: `ulpt ${JSON.stringify([r, P, seed])}`,
    tokens: P,
    parameters: ({ width }) => [
      { name: "coordinates", shape: [P, r] },
      { name: "scale", shape: [width] },
      { name: "shift", shape: [width] },
    ],
    prompt: ({ graph: g }, { coordinates: z, scale, shift }, { width }) => {
      const { shape, data } = R(width);
      return ops.add(g, ops.mul(g, ops.matmul(g, z!, constant(g, shape, data)), scale!), shift!);
    },
    start: async ({ checkpoint, prompt }) => {
      const { width } = checkpoint.config;
      return {
        coordinates: coordinates(await prompt(), R(width)),
        scale: filled([width], 1),
        shift: filled([width], 0),
      };
    },
  });
}

/** A plain prompt with one trained vector added to every token. */
export function shifted({ virtualTokens: P }: { readonly virtualTokens: number }): Method {
  return reparametrised({
    name: "shift",
    key: `shift ${P}`,
    tokens: P,
    parameters: ({ width }) => [
      { name: "vectors", shape: [P, width] },
      { name: "shift", shape: [width] },
    ],
    prompt: ({ graph: g }, { vectors, shift }) => ops.add(g, vectors!, shift!),
    start: async ({ checkpoint, prompt }) => ({
      vectors: await prompt(),
      shift: filled([checkpoint.config.width], 0),
    }),
  });
}
