/**
 * @file The keys and values that a prompt or a prefix puts before every text of a decoder-only model, computed once.
 *
 * In: a checkpoint, a method, its parameters. Out: per layer [G, P, K]. While they are computed, one unused token follows them, because not
 * every kernel accepts a sequence of length 0. Earlier tokens do not see it.
 */

import { SoftpromptError } from "../base/errors.js";
import type { Parameters } from "../base/tensor.js";
import { int, parameterFeeds, positionsOf } from "../engine/feeds.js";
import { prefillGraph } from "../engine/graphs.js";
import type { Method } from "../method/method.js";
import { architectureOf } from "../model/architectures.js";
import { bindWeights } from "../model/bindings.js";
import type { Checkpoint } from "../model/checkpoint.js";
import { fullModel } from "../model/partial.js";
import { openSession } from "../runtime/session.js";

/** Keys and values before every text. */
export interface BakedKeys {
  /** P */
  readonly length: number;
  /** [G, P, K] each; none where P is 0. */
  readonly layers: readonly { readonly key: Float32Array; readonly value: Float32Array }[];
}

/** @throws SoftpromptError "adapter" for a prompt that fills the model's window. */
export async function bakedKeys(
  checkpoint: Checkpoint,
  method: Method | null,
  parameters: Parameters,
): Promise<BakedKeys> {
  const { config } = checkpoint;
  const added = method?.adds(parameters) ?? { tokens: 0, keys: {} };
  const length = added.tokens + Math.max(0, ...Object.values(added.keys));
  if (method === null || length === 0) return { length: 0, layers: [] };
  if (length >= (config.maxPositions ?? Number.POSITIVE_INFINITY))
    throw new SoftpromptError("adapter", "the prompt leaves no position for a text", {
      where: "adapter",
      expected: `fewer than ${config.maxPositions} virtual tokens`,
      got: length,
    });
  const partial = fullModel(config);
  const graph = prefillGraph({ config, weights: bindWeights(checkpoint, partial), partial, method });
  const declared = new Set(graph.inputs.map(({ name }) => name));
  const parametersFed = parameterFeeds(method, config, parameters, 1);
  const positions = positionsOf(parametersFed, { size: 1, inputLength: 1, inputMask: Int32Array.of(1) });
  const feeds = {
    ...parametersFed.feeds,
    inputIds: int([1, 1], Int32Array.of(0)),
    ...architectureOf(config).prefillFeeds(config, positions),
  };
  const session = await openSession("keys and values of the prompt", graph, {
    threads: 0,
    device: "cpu",
    lowMemory: true,
    plainOps: false,
  });
  try {
    const memory = await session.run(Object.fromEntries(Object.entries(feeds).filter(([name]) => declared.has(name))));
    const { heads: G, headWidth: K } = architectureOf(config).keys(config);
    const own = (name: string) => {
      const data = memory[name]!.data as Float32Array;
      const out = new Float32Array(G * length * K);
      for (let g = 0; g < G; g++)
        out.set(data.subarray(g * (length + 1) * K, g * (length + 1) * K + length * K), g * length * K);
      return out;
    };
    const layers = partial.stacks[architectureOf(config).stacks(config).at(-1)!.name]!.layers;
    return {
      length,
      layers: layers.map((_, i) => ({ key: own(`memoryKey${i}`), value: own(`memoryValue${i}`) })),
    };
  } finally {
    await session.dispose();
  }
}
