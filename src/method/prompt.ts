/** @file Prompt tuning: P virtual tokens before, in or behind the text, in the embedding's space. Source: Lester et al. 2021; xprompt.md §2. */
import { SoftpromptError } from "../base/errors.js";
import type { Parameters } from "../base/tensor.js";
import type { Value } from "../graph/graph.js";
import * as ops from "../graph/ops.js";
import type { ModelConfig } from "../model/architecture.js";
import { architectureOf } from "../model/architectures.js";
import type { Builder } from "../model/builder.js";
import type { Method, ParameterSpec, StartInput, Values } from "./method.js";

export const promptTuning: Method = {
  name: "prompt",
  key: "prompt",
  prunable: true,
  perRow: true,
  parameters: ({ width }) => [{ name: "prompt", shape: ["P", width], perRow: true }],
  attach: (b, { prompt }) => ({ ...b, embeddings: (x) => ops.concat(b.graph, [prompt!, b.embeddings(x)], 1) }),
  behind: true,
  adds: ({ prompt }) => ({ tokens: prompt!.shape.at(-2)!, keys: {} }),
  start: async ({ prompt }) => ({ prompt: await prompt() }),
};

/**
 * A prompt that enters before block `layer` of the encoder: what lies below reads the text alone and has no gradient. Its vectors are hidden
 * states, so it is no prompt for programs that put one before the embeddings.
 */
export function latePrompt(layer: number, tokens: number): Method {
  return {
    name: "late-prompt",
    key: `late-prompt ${JSON.stringify([layer, tokens])}`,
    prunable: false,
    perRow: true,
    parameters: (config) => {
      const [reading, ...others] = architectureOf(config).stacks(config);
      if (others.length === 0 || layer >= reading.layers)
        throw new SoftpromptError("usage", "the prompt cannot enter there", {
          where: "insertLayer",
          expected: others.length === 0 ? "0, or a model with an encoder" : `0 … ${reading.layers - 1}`,
          got: layer,
          ...(others.length === 0 && { hint: "in a decoder-only model, --prompt-position end saves more" }),
        });
      return [{ name: "late", shape: [tokens, config.width], perRow: true }];
    },
    attach: (b, { late }) => ({
      ...b,
      late: { layer, tokens },
      embeddings: (x) => ops.concat(b.graph, [late!, b.embeddings(x)], 1),
    }),
    before: true,
    adds: () => ({ tokens, keys: {} }),
    start: async ({ prompt }) => ({ late: await prompt() }),
  };
}

/** A parametrisation of a prompt: other parameters, from which the graph computes it. */
export interface Reparametrisation {
  readonly name: string;
  readonly key: string;
  /** P */
  readonly tokens: number;
  parameters(config: ModelConfig): readonly Omit<ParameterSpec, "perRow">[];
  /** The prompt [P, D]. */
  prompt(b: Builder, values: Values, config: ModelConfig): Value;
  start(from: StartInput): Promise<Parameters>;
}

/** The method that trains a prompt through other parameters. Its result is an ordinary prompt. */
export function reparametrised({ name, key, tokens, parameters, prompt, start }: Reparametrisation): Method {
  return {
    name,
    key,
    prunable: false,
    perRow: false,
    parameters: (config) => parameters(config).map((spec) => ({ ...spec, perRow: false })),
    attach: (b, values, config) => ({
      ...b,
      embeddings: (x) => {
        const text = b.embeddings(x);
        const one = ops.unsqueeze(b.graph, prompt(b, values, config), 0);
        return ops.concat(b.graph, [ops.broadcastLike(b.graph, one, text), text], 1);
      },
    }),
    adds: () => ({ tokens, keys: {} }),
    start,
    leaves: { method: promptTuning, values: (b, values, config) => ({ prompt: prompt(b, values, config) }) },
  };
}
