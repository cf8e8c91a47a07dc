/**
 * @file The weights a graph refers to: tensors of the checkpoint's files, and slices of them where a partial model keeps some neurons.
 *
 * In: a Checkpoint and a PartialModel. Out: Weights. Nothing is read here: ONNX Runtime takes whole tensors from the file,
 * and folds a slice (rows of wi, columns of wo: really smaller matrices) when the session is opened, that is at growth and
 * not at each step. With `lowMemory` nothing is folded and the slice is taken in each step.
 */
import { SoftpromptError } from "../base/errors.js";
import { constant, type Graph, type Value, weight } from "../graph/graph.js";
import { gather } from "../graph/ops.js";
import type { Checkpoint } from "./checkpoint.js";
import type { PartialModel } from "./partial.js";

export interface Weights {
  /** Declares the tensor of that Hugging Face name in a graph. */
  declare(graph: Graph, name: string): Value;
}

interface Slice {
  readonly axis: 0 | 1;
  readonly kept: Int32Array;
}

/** The weights of a model as far as a partial model keeps them. */
export function bindWeights(checkpoint: Checkpoint, partial: PartialModel): Weights {
  const slices = slicesOf(checkpoint, partial);
  return {
    declare(graph, name) {
      const span = checkpoint.tensors.get(name);
      if (!span)
        throw new SoftpromptError("checkpoint", `tensor ${name} is missing`, {
          where: checkpoint.name,
          expected: "every tensor of the architecture that config.json describes",
        });
      const { dtype, shape, file, offset, length } = span;
      const whole = weight(graph, name, dtype, shape, { kind: "file", file, offset, length });
      const slice = slices.get(name);
      return slice ? gather(graph, whole, constant(graph, [slice.kept.length], slice.kept), slice.axis) : whole;
    },
  };
}

/** Neuron j is row j of wi (wi_0, wi_1) and column j of wo. */
function slicesOf({ config }: Checkpoint, partial: PartialModel): Map<string, Slice> {
  const slices = new Map<string, Slice>();
  for (const [stack, ff] of [
    ["encoder", 1],
    ["decoder", 2],
  ] as const)
    for (const [i, layer] of partial[stack].layers.entries()) {
      const kept = partial[stack].neurons?.[i];
      if (!kept || kept.length === config.feedForwardWidth) continue;
      const at = `${stack}.block.${layer}.layer.${ff}.DenseReluDense`;
      for (const name of config.gated ? ["wi_0", "wi_1"] : ["wi"])
        slices.set(`${at}.${name}.weight`, { axis: 0, kept });
      slices.set(`${at}.wo.weight`, { axis: 1, kept });
    }
  return slices;
}
