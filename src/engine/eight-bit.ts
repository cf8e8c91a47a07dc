/**
 * @file Linear layers in 8 bits, as far as they need a runtime: the largest weight that is safe on this processor, found by a test product,
 * and the inputs of a model's layers, by which the weights are smoothed.
 *
 * x86 without VNNI adds pairs of signed products in 16 bits, which saturate: a sum of 64 products 127 × 127 gives half of the right result. With
 * weights up to 64 no pair can saturate. Source: microsoft/onnxruntime#6004. A model whose inputs are rounded in two terms would lose what the
 * second term gains, so there weights go to 127 and products are of unsigned numbers (model/quantise.ts, productsOf).
 */
import { random } from "../base/random.js";
import { constant, emptyGraph, input, output, type Value } from "../graph/graph.js";
import * as ops from "../graph/ops.js";
import type { Method } from "../method/method.js";
import { architectureOf } from "../model/architectures.js";
import { bindWeights } from "../model/bindings.js";
import type { Checkpoint } from "../model/checkpoint.js";
import {
  type EightBitOptions,
  type EightBitPlan,
  type LayerInputs,
  planEightBit,
  withEightBit,
} from "../model/eight-bit.js";
import { fullModel } from "../model/partial.js";
import { openSession, type SessionOptions } from "../runtime/session.js";
import { int } from "./feeds.js";
import { forwardGraph } from "./graphs.js";

const length = 64;

/** 127, or 64 where sums of larger signed products saturate. */
export async function largestEightBit(options: Pick<SessionOptions, "device" | "plainOps">): Promise<127 | 64> {
  const g = emptyGraph();
  const x = input(g, "x", "float32", ["M", length]);
  const ones = (of: number) => constant(g, [of], new Float32Array(of).fill(1));
  const forward = { matrix: constant(g, [length, 1], new Int8Array(length).fill(127)), scale: ones(1) };
  const back = { matrix: constant(g, [1, length], new Int8Array(length).fill(127)), scale: ones(length) };
  output(g, "y", ops.linear8(g, x, { forward, back }));
  const session = await openSession("8-bit products", g, { ...options, threads: 1, lowMemory: false });
  try {
    const { y } = await session.run({
      x: { dtype: "float32", shape: [4, length], data: new Float32Array(4 * length).fill(1) },
    });
    return y!.data.every((v) => Math.abs(v - length * 127) < 1) ? 127 : 64;
  } finally {
    await session.dispose();
  }
}

/**
 * The checkpoint with its linear layers in 8 bits (model/eight-bit.ts). Where they are made, the inputs of the layers are measured on a few
 * tokens.
 */
export function inEightBits(
  checkpoint: Checkpoint,
  options: Omit<EightBitOptions, "inputs"> & { readonly plainOps?: boolean },
): Promise<Checkpoint> {
  const { plainOps = false, ...rest } = options;
  return withEightBit(checkpoint, { ...rest, inputs: (layers) => layerInputs(checkpoint, layers, plainOps) });
}

/** Which layers of a checkpoint would be computed in 8 bits; no weights are made. */
export function plannedEightBits(checkpoint: Checkpoint): Promise<EightBitPlan> {
  return planEightBit(checkpoint, (layers) => layerInputs(checkpoint, layers, false));
}

/** The text on which inputs are measured: rows of drawn ids. The first ids of a vocabulary are often special tokens, so each row has some. */
const sample = { rows: 4, special: 8, text: 48, target: 16 } as const;

/**
 * The largest size of each channel of the layers' inputs on the sample, in float32 and without a prompt. One thread and a fixed stream of ids:
 * the answer depends on the model alone.
 */
async function layerInputs(
  checkpoint: Checkpoint,
  layers: readonly string[],
  plainOps: boolean,
): Promise<readonly LayerInputs[]> {
  const { config } = checkpoint;
  const architecture = architectureOf(config);
  const partial = fullModel(config);
  /** Names by the value that they read; a layer that is used twice belongs where it was used first. */
  const readers = new Map<Value, string[]>();
  const uses = new Map<string, Value[]>();
  const recording: Method = {
    name: "layer inputs",
    key: "layer inputs",
    prunable: false,
    perRow: true,
    parameters: () => [],
    attach: (b) => ({
      ...b,
      linear: (x, name) => {
        const weight = `${name}.weight`;
        if (layers.includes(weight)) {
          if (!uses.has(weight)) readers.set(x, [...(readers.get(x) ?? []), weight]);
          uses.set(weight, [...(uses.get(weight) ?? []), x]);
        }
        return b.linear(x, name);
      },
    }),
    adds: () => ({ tokens: 0, keys: {} }),
    start: async () => ({}),
  };
  const graph = forwardGraph({ config, weights: bindWeights(checkpoint, partial), partial, method: recording });
  const values = [...new Set([...uses.values()].flat())];
  for (const value of values) output(graph, `input ${value.id}`, value);
  const options = { threads: 1, device: "cpu", lowMemory: true, plainOps } as const;
  const session = await openSession("inputs of 8-bit layers", graph, options);
  const largest = new Map(values.map((v) => [v, new Float32Array(v.shape.at(-1) as number)]));
  try {
    const draw = random(0, "inputs of 8-bit layers");
    const ids = (count: number) =>
      Int32Array.from({ length: count }, (_, i) =>
        draw.integer(i < sample.special ? Math.min(32, config.vocabulary) : config.vocabulary),
      );
    const { text: T, target: U } = sample;
    const positions = { batch: 1, length: T, on: new Uint8Array(T).fill(1) };
    for (let row = 0; row < sample.rows; row++) {
      const found = await session.run({
        inputIds: int([1, T], ids(T)),
        ...architecture.prefillFeeds(config, positions),
        decoderIds: int([1, U], ids(U)),
        ...architecture.decodeFeeds(config, positions, { length: U, past: 0 }),
      });
      for (const [value, most] of largest) {
        const { data } = found[`input ${value.id}`]!;
        for (let i = 0, c = 0; i < data.length; i++, c = c + 1 === most.length ? 0 : c + 1)
          most[c] = Math.max(most[c]!, Math.abs(data[i]!));
      }
    }
  } finally {
    await session.dispose();
  }
  return [...readers.values()].map((names) => {
    const all = names.flatMap((name) => uses.get(name)!).map((value) => largest.get(value)!);
    return { names, largest: Float32Array.from(all[0]!, (_, c) => Math.max(...all.map((of) => of[c]!))) };
  });
}
