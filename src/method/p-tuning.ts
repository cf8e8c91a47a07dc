/**
 * @file P-tuning: the prompt is what an encoder makes of trained vectors, prompt = W₃·relu(W₂·relu(W₁·x + b₁) + b₂) + b₃; the encoder is
 * trained too and discarded at the end. Source: Liu et al. 2021, arXiv:2103.10385; layers as PEFT's PromptEncoder with its MLP.
 */
import type { OptionValues } from "../base/options.js";
import * as ops from "../graph/ops.js";
import { linearBias, linearWeight } from "./draws.js";
import type { Method } from "./method.js";
import type { pTuningOptions } from "./options.js";
import { reparametrised } from "./prompt.js";

type Settings = OptionValues<typeof pTuningOptions> & { readonly virtualTokens: number };

export function pTuning({ pTuningHidden, virtualTokens: P }: Settings): Method {
  const sizes = (D: number): readonly (readonly [number, number])[] => {
    const h = pTuningHidden ?? D;
    return [
      [h, D],
      [h, h],
      [D, h],
    ];
  };
  return reparametrised({
    name: "p-tuning",
    key: `p-tuning ${JSON.stringify([pTuningHidden, P])}`,
    tokens: P,
    parameters: ({ width: D }) => [
      { name: "vectors", shape: [P, D] },
      ...sizes(D).flatMap(([out, from], i) => [
        { name: `encoder.${i}.weight`, shape: [out, from] },
        { name: `encoder.${i}.bias`, shape: [out] },
      ]),
    ],
    prompt: ({ graph: g }, v) => {
      const layer = (x: typeof v.vectors, i: number) =>
        ops.linear(g, x!, v[`encoder.${i}.weight`]!, { bias: v[`encoder.${i}.bias`]! });
      return layer(ops.relu(g, layer(ops.relu(g, layer(v.vectors, 0)), 1)), 2);
    },
    start: async ({ checkpoint, prompt, random }) => ({
      vectors: await prompt(),
      ...Object.fromEntries(
        sizes(checkpoint.config.width).flatMap(([out, from], i) => [
          [`encoder.${i}.weight`, linearWeight(random, out, from)],
          [`encoder.${i}.bias`, linearBias(random, out, from)],
        ]),
      ),
    }),
  });
}
