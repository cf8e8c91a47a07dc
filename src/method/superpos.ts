/**
 * @file SuperPos-Prompt: every virtual token is a weighted sum of the same m sampled vocabulary vectors, prompt = W·E; W [P, m] is trained
 * without softmax, E stays frozen or is trained too. Source: Ali Sadraei Javaheri et al. 2024, PMLR 262.
 *
 * W starts with a single 1 per row, so the prompt starts as m sampled words, as Lester's does (our choice).
 */
import type { OptionValues } from "../base/options.js";
import { random } from "../base/random.js";
import { constant } from "../graph/graph.js";
import * as ops from "../graph/ops.js";
import type { ModelConfig } from "../model/architecture.js";
import { architectureOf } from "../model/architectures.js";
import type { Method } from "./method.js";
import type { superposOptions } from "./options.js";
import { reparametrised } from "./prompt.js";

type Settings = OptionValues<typeof superposOptions> & { readonly virtualTokens: number; readonly seed: number };

export function superpos({ superposBasis: m, superposTuneBasis: tuned, virtualTokens: P, seed }: Settings): Method {
  const idsOf = ({ vocabulary }: ModelConfig) => {
    const population = Math.min(5000, vocabulary);
    return random(seed, "superpos").sample(population, Math.min(m, population));
  };
  return reparametrised({
    name: "superpos",
    key: `superpos ${JSON.stringify([m, tuned, P, seed])}`,
    tokens: P,
    parameters: (config) => [
      { name: "mixture", shape: [P, idsOf(config).length] },
      ...(tuned ? [{ name: "basis", shape: [idsOf(config).length, config.width] }] : []),
    ],
    prompt: (b, { mixture, basis }, config) => {
      const ids = idsOf(config);
      const frozen = () => architectureOf(config).embed(b, config, constant(b.graph, [ids.length], ids));
      return ops.matmul(b.graph, mixture!, basis ?? frozen());
    },
    start: async ({ checkpoint }) => {
      const ids = idsOf(checkpoint.config);
      const mixture = new Float32Array(P * ids.length);
      for (let i = 0; i < P; i++) mixture[i * ids.length + (i % ids.length)] = 1;
      const { embedding } = architectureOf(checkpoint.config);
      return {
        mixture: { shape: [P, ids.length], data: mixture },
        ...(tuned && { basis: await checkpoint.readRows(embedding, [...ids]) }),
      };
    },
  });
}
