/**
 * The counts from the engine's graphs against T5's closed forms, full and partial.
 */
import { expect, test } from "vitest";
import * as closed from "../../test/helpers/t5-flops.js";
import { fullModel, type PartialModel, partialModel } from "../model/partial.js";
import type { T5Config } from "../model/t5/config.js";
import { t5Shape } from "../model/t5/shapes.js";
import * as counted from "./flops.js";

const gated: T5Config = { ...t5Shape("small"), encoderLayers: 6, decoderLayers: 4, width: 96, feedForwardWidth: 40 };
const plain: T5Config = { ...gated, gated: false, activation: "relu", tiedHead: true };
const shape = { batch: 3, prompt: 5, input: 17, target: 4 };

const cases: [string, T5Config, PartialModel][] = [gated, plain].flatMap(
  (config): [string, T5Config, PartialModel][] => [
    ["full", config, fullModel(config)],
    ["depth", config, partialModel(config, { depth: 0.5 })],
    [
      "both, decoder too",
      config,
      partialModel(config, { depth: 3, width: 0.25, neuronChoice: "first", reduceDecoder: true }),
    ],
  ],
);

test.each(cases)("training step, forward pass, ranking, generation, parameters: %s", (_, config, partial) => {
  expect(counted.stepFlops(config, partial, shape)).toEqual(closed.stepFlops(config, partial, shape));
  expect(counted.forwardFlops(config, partial, shape)).toEqual(closed.forwardFlops(config, partial, shape));
  expect(counted.paperMacs(config, partial, 22, 4)).toBe(closed.paperMacs(config, partial, 22, 4));
  const ranked = { ...shape, choices: 2 };
  expect(counted.rankingFlops(config, partial, ranked)).toEqual(closed.rankingFlops(config, partial, ranked));
  expect(counted.generationFlops(config, partial, shape)).toEqual(closed.generationFlops(config, partial, shape));
  expect(counted.partialParameters(config, partial)).toBe(closed.partialParameters(config, partial));
});

test.each([gated, plain])("neuron scores", (config) => {
  expect(counted.activationFlops(config, shape)).toEqual(closed.activationFlops(config, shape));
});

test("the papers' shapes at the papers' sizes", () => {
  for (const size of ["small", "base", "large", "xl", "xxl"] as const) {
    const config = t5Shape(size);
    const long = { batch: 1, prompt: 100, input: 412, target: 200 };
    expect(counted.stepFlops(config, fullModel(config), long)).toEqual(
      closed.stepFlops(config, fullModel(config), long),
    );
  }
});
