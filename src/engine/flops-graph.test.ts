/**
 * The honest count against the graphs that the engine runs: every product of the simplified graph, counted from its shapes.
 */
import { expect, test } from "vitest";
import type { Dim, Graph, Shape } from "../graph/graph.js";
import { weight } from "../graph/graph.js";
import { simplify } from "../graph/simplify.js";
import type { Weights } from "../model/bindings.js";
import { activationFlops, forwardFlops, generationFlops, rankingFlops, stepFlops } from "../model/flops.js";
import { fullModel, type PartialModel, partialModel } from "../model/partial.js";
import type { T5Config } from "../model/t5/config.js";
import { t5Shape } from "../model/t5/shapes.js";
import { activationGraph, encodeGraph, forwardGraph, scoreGraph, stepGraph, trainGraph } from "./graphs.js";

const gated: T5Config = { ...t5Shape("small"), encoderLayers: 6, decoderLayers: 4, width: 96, feedForwardWidth: 40 };
const plain: T5Config = { ...gated, gated: false, activation: "relu", tiedHead: true };
const shape = { batch: 3, prompt: 5, input: 17, target: 4 };
const axes: Record<string, number> = { B: 3, P: 5, T: 17, U: 4, C: 2 };

const cases: [string, T5Config, PartialModel][] = [gated, plain].flatMap((config) => [
  ["full", config, fullModel(config)],
  ["depth", config, partialModel(config, { depth: 0.5 })],
  [
    "both, decoder too",
    config,
    partialModel(config, { depth: 3, width: 0.25, neuronChoice: "first", reduceDecoder: true }),
  ],
]);

test.each(cases)("training step, forward pass, ranking: %s", (_, config, partial) => {
  const source = { config, partial, weights: shapesOnly(config, partial) };
  expect(stepFlops(config, partial, shape).honest).toBe(2 * macs(trainGraph(source), axes));
  expect(forwardFlops(config, partial, shape).honest).toBe(2 * macs(forwardGraph(source), axes));
  expect(rankingFlops(config, partial, { ...shape, choices: 2 }).honest).toBe(2 * macs(scoreGraph(source), axes));
});

test.each(cases)("generation, token by token: %s", (_, config, partial) => {
  const source = { config, partial, weights: shapesOnly(config, partial) };
  let total = macs(encodeGraph(source), axes);
  for (let N = 0; N < 4; N++) total += macs(stepGraph(source), { ...axes, N });
  expect(generationFlops(config, partial, shape).honest).toBe(2 * total);
});

test.each([gated, plain])("neuron scores", (config) => {
  const source = { config, partial: fullModel(config), weights: shapesOnly(config, fullModel(config)) };
  expect(activationFlops(config, shape).honest).toBe(2 * macs(activationGraph(source), axes));
});

/** Multiply-accumulates of every product in a graph. */
function macs(whole: Graph, sizes: Record<string, number>): number {
  const size = (dim: Dim): number => {
    if (typeof dim === "number") return dim;
    return dim
      .split("+")
      .map((term) =>
        term
          .split("*")
          .map((f) => sizes[f] ?? Number(f))
          .reduce((a, b) => a * b, 1),
      )
      .reduce((a, b) => a + b, 0);
  };
  const volume = (dims: Shape) => dims.map(size).reduce((a, b) => a * b, 1);
  const counted: Record<string, (inputs: readonly Shape[], outputs: readonly Shape[], a: never) => number> = {
    linear: ([x], [y]) => volume(y!) * size(x!.at(-1)!),
    matmul: ([a], [y], { transA }: { transA: boolean }) => volume(y!) * size(a!.at(transA ? -2 : -1)!),
    // scores [.., q, k] over K, context [.., q, K] over k
    attend: ([q], [, p]) => 2 * volume(p!) * size(q!.at(-1)!),
  };
  return simplify(whole).graph.nodes.reduce((sum, { op, inputs, outputs, attributes }) => {
    const shapes = (values: typeof inputs) => values.map((v) => v.shape);
    return sum + (counted[op]?.(shapes(inputs), shapes(outputs), attributes as never) ?? 0);
  }, 0);
}

/** Weights that have shapes and no bytes. */
function shapesOnly(config: T5Config, partial: PartialModel): Weights {
  const { width: D, vocabulary: V, heads, headWidth, feedForwardWidth } = config;
  const I = heads * headWidth;
  const shapeOf = (name: string): number[] => {
    const [, stack, layer] = /^(encoder|decoder)\.block\.(\d+)\./.exec(name) ?? [];
    const kept = stack === undefined ? null : partial[stack as "encoder" | "decoder"];
    const F = kept?.neurons?.[kept.layers.indexOf(Number(layer))]?.length ?? feedForwardWidth;
    if (name === "shared.weight" || name === "lm_head.weight") return [V, D];
    if (name.includes("relative_attention_bias")) return [config.relativeBuckets, heads];
    if (/\.[qkv]\.weight$/.test(name)) return [I, D];
    if (/\.o\.weight$/.test(name)) return [D, I];
    if (/\.wi(_[01])?\.weight$/.test(name)) return [F, D];
    if (/\.wo\.weight$/.test(name)) return [D, F];
    if (/norm\.weight$/.test(name)) return [D];
    throw new Error(name);
  };
  return {
    declare: (graph, name) =>
      weight(graph, name, "float32", shapeOf(name), { kind: "file", file: "none", offset: 0, length: 0 }),
  };
}
