/**
 * @file Fine-tuning: trains all weights of the model, or those of named parts. The other weights stay frozen.
 *
 * In: which parts. Out: a Method whose parameters are tensors of the checkpoint, by their own names, in float32; they are fed at each pass,
 * so the model must fit in memory several times. Under FPT, layers that a partial model leaves out are not trained.
 */
import { SoftpromptError } from "../base/errors.js";
import type { OptionValues } from "../base/options.js";
import { constant } from "../graph/graph.js";
import * as ops from "../graph/ops.js";
import type { ModelConfig } from "../model/architecture.js";
import { architectureOf } from "../model/architectures.js";
import { keptNeurons } from "../model/bindings.js";
import { type ExpectedTensor, parameterCount } from "../model/tensors.js";
import type { Method } from "./method.js";
import type { fullOptions } from "./options.js";

/** Numbers trained at most: parameters, gradients and the best so far are in memory, and in each saved state. */
export const mostTrained = 1.5e8;

export function full({ fullParts }: OptionValues<typeof fullOptions>): Method {
  const chosen = (config: ModelConfig) => trainedTensors(config, fullParts);
  return {
    name: "full",
    key: `full ${JSON.stringify(fullParts ?? null)}`,
    prunable: false,
    perRow: false,
    parameters: (config) => chosen(config).map(({ name, shape }) => ({ name, shape, perRow: false })),
    attach: (b) => b,
    weights: (frozen, values, config, partial) => {
      const tensors = new Map(chosen(config).map((tensor) => [tensor.name, tensor]));
      return {
        ...frozen,
        eightBit: (graph, name) => (values[name] === undefined ? (frozen.eightBit?.(graph, name) ?? null) : null),
        eightBitBack: (graph, name) =>
          values[name] === undefined ? (frozen.eightBitBack?.(graph, name) ?? null) : null,
        blocks: (graph, name) => (values[name] === undefined ? (frozen.blocks?.(graph, name) ?? null) : null),
        declare: (graph, name) => {
          const trained = values[name];
          if (trained === undefined) return frozen.declare(graph, name);
          const kept = keptNeurons(tensors.get(name), partial);
          if (kept === null) return trained;
          return ops.gather(graph, trained, constant(graph, [kept.indices.length], kept.indices), kept.axis);
        },
      };
    },
    folded: (_, parameters) => (name, frozen) => (Object.hasOwn(parameters, name) ? parameters[name]! : frozen),
    adds: () => ({ tokens: 0, keys: {} }),
    start: async ({ checkpoint }) => {
      const tensors = chosen(checkpoint.config);
      const count = parameterCount(tensors);
      if (count > mostTrained)
        throw new SoftpromptError("usage", "the model is too large to train all of these weights here", {
          where: "method full",
          expected: `at most ${mostTrained} trained numbers`,
          got: count,
          hint: "name fewer parts (fullParts), or use lora",
        });
      return Object.fromEntries(
        await Promise.all(tensors.map(async ({ name }) => [name, await checkpoint.read(name)] as const)),
      );
    },
  };
}

/** Whether a dotted name contains these segments as whole, consecutive segments. */
const hasPart = (name: string, part: string) => `.${name}.`.includes(`.${part}.`);

function trainedTensors(config: ModelConfig, parts: readonly string[] | undefined): readonly ExpectedTensor[] {
  const all = architectureOf(config).tensors(config);
  const unknown = parts?.find((part) => !all.some(({ name }) => hasPart(name, part)));
  if (unknown !== undefined || parts?.length === 0)
    throw new SoftpromptError("usage", "no tensor of the model has this in its name", {
      where: "fullParts",
      expected: `whole segments of names such as ${all[1]?.name ?? all[0]!.name}`,
      got: unknown ?? "none",
    });
  return parts === undefined ? all : all.filter(({ name }) => parts.some((part) => hasPart(name, part)));
}
