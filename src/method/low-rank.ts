/**
 * @file Low-rank prompts (decomposed prompt tuning): prompt = A·B, A [P, r] and B [r, D] both trained.
 *
 * B starts as a random projection and A as the start prompt's coordinates under it (our choice). Source: Xiao et al. 2023 (DPT).
 */
import type { OptionValues } from "../base/options.js";
import * as ops from "../graph/ops.js";
import { coordinates, projection } from "./draws.js";
import type { Method } from "./method.js";
import type { lowRankOptions } from "./options.js";
import { reparametrised } from "./prompt.js";

type Settings = OptionValues<typeof lowRankOptions> & { readonly virtualTokens: number };

export function lowRank({ lowRank: r, virtualTokens: P }: Settings): Method {
  return reparametrised({
    name: "low-rank",
    key: `low-rank ${JSON.stringify([r, P])}`,
    tokens: P,
    parameters: ({ width }) => [
      { name: "left", shape: [P, r] },
      { name: "right", shape: [r, width] },
    ],
    prompt: ({ graph: g }, { left, right }) => ops.matmul(g, left!, right!),
    start: async ({ checkpoint, prompt, random }) => {
      const right = projection(random, r, checkpoint.config.width);
      return { left: coordinates(await prompt(), right), right };
    },
  });
}
