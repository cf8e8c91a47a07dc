/**
 * @file Residual prompt tuning: each token passes one shared bottleneck with a skip, prompt = x + norm(up·relu(down·x)); all of it is
 * trained, the bottleneck is discarded at the end. Source: Razdaibiedina et al. 2023, arXiv:2305.03937 (their ResMLP with LayerNorm).
 *
 * What the bottleneck adds starts at the size of the vocabulary's vectors, at most 1 (our choice; T5's have that size): on a model of smaller
 * vectors it would drown the start prompt.
 */
import type { OptionValues } from "../base/options.js";
import * as ops from "../graph/ops.js";
import { filled, linearBias, linearWeight } from "./draws.js";
import { vocabularySize } from "./init.js";
import type { Method } from "./method.js";
import type { residualOptions } from "./options.js";
import { reparametrised } from "./prompt.js";

type Settings = OptionValues<typeof residualOptions> & { readonly virtualTokens: number };

export function residual({ residualBottleneck: m, virtualTokens: P }: Settings): Method {
  return reparametrised({
    name: "residual",
    key: `residual ${JSON.stringify([m, P])}`,
    tokens: P,
    parameters: ({ width: D }) => [
      { name: "vectors", shape: [P, D] },
      { name: "down.weight", shape: [m, D] },
      { name: "down.bias", shape: [m] },
      { name: "up.weight", shape: [D, m] },
      { name: "up.bias", shape: [D] },
      { name: "norm.weight", shape: [D] },
      { name: "norm.bias", shape: [D] },
    ],
    prompt: ({ graph: g }, v) => {
      const x = v.vectors!;
      const inner = ops.relu(g, ops.linear(g, x, v["down.weight"]!, { bias: v["down.bias"]! }));
      const outer = ops.linear(g, inner, v["up.weight"]!, { bias: v["up.bias"]! });
      return ops.add(g, x, ops.layerNorm(g, outer, v["norm.weight"]!, v["norm.bias"]!, 1e-5));
    },
    start: async ({ checkpoint, prompt, random }) => {
      const D = checkpoint.config.width;
      const size = Math.min(1, await vocabularySize(checkpoint));
      return {
        vectors: await prompt(),
        "down.weight": linearWeight(random, m, D),
        "down.bias": linearBias(random, m, D),
        "up.weight": linearWeight(random, D, m),
        "up.bias": linearBias(random, D, m),
        "norm.weight": filled([D], size),
        "norm.bias": filled([D], 0),
      };
    },
  });
}
