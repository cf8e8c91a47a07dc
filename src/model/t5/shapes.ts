/**
 * @file Shapes of the public T5 v1.1 family (also LM-adapted and Flan): what FLOPs tables and benchmarks are computed on.
 *
 * In: a size's name. Out: a T5Config without any weights. Source: fpt.md §1; the config.json files of google/t5-v1_1-*.
 */
import type { T5Config } from "./config.js";

/** D, F, layers of each stack, heads, K. */
const sizes = {
  small: [512, 1024, 8, 6, 64],
  base: [768, 2048, 12, 12, 64],
  large: [1024, 2816, 24, 16, 64],
  xl: [2048, 5120, 24, 32, 64],
  xxl: [4096, 10240, 24, 64, 64],
} as const satisfies Record<T5Size, readonly number[]>;

/** Name of a size. */
export type T5Size = "small" | "base" | "large" | "xl" | "xxl";

/** Names of the sizes, smallest first. */
export const t5Sizes = Object.keys(sizes) as readonly T5Size[];

/** The config of a T5 v1.1: gated tanh-GELU, no biases, untied head, 32,128 rows of vocabulary. */
export function t5Shape(name: T5Size): T5Config {
  const [width, feedForwardWidth, layers, heads, headWidth] = sizes[name];
  return {
    family: "t5",
    width,
    headWidth,
    heads,
    feedForwardWidth,
    encoderLayers: layers,
    decoderLayers: layers,
    vocabulary: 32128,
    activation: "gelu",
    gated: true,
    tiedHead: false,
    normEpsilon: 1e-6,
    relativeBuckets: 32,
    relativeMaxDistance: 128,
    padId: 0,
    eosId: 1,
    decoderStartId: 0,
  };
}
