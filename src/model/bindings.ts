/**
 * @file The weights that a graph refers to: tensors of the checkpoint's files, or slices of them where a partial model keeps only some
 * neurons.
 *
 * In: a Checkpoint and a PartialModel. Out: Weights. Nothing is read here: ONNX Runtime takes whole tensors from the file,
 * and folds a slice (rows of a first matrix, columns of a last one: really smaller matrices) when the session is opened, that is once per
 * growth of the model, not at each step. With `lowMemory` or weights in blocks nothing is folded and the slice is taken in each step.
 */
import { SoftpromptError } from "../base/errors.js";
import { constant, type Graph, weight } from "../graph/graph.js";
import { gather, widenBlocks } from "../graph/ops.js";
import type { ModelConfig, PartialModel, Weights } from "./architecture.js";
import { architectureOf } from "./architectures.js";
import type { Checkpoint, EightBitSpans, TensorSpan } from "./checkpoint.js";
import type { ExpectedTensor } from "./tensors.js";

export type { Weights } from "./architecture.js";

/**
 * The weights of a model as far as a partial model keeps them.
 * @param how which of the checkpoint's other forms are used: in 8 bits, in blocks. Default neither.
 */
export function bindWeights(
  checkpoint: Checkpoint,
  partial: PartialModel,
  { inEightBits = false, inBlocks = false }: { readonly inEightBits?: boolean; readonly inBlocks?: boolean } = {},
): Weights {
  const expected = expectedByName(checkpoint.config);
  const declared = (graph: Graph, span: TensorSpan) =>
    weight(graph, span.name, span.dtype, span.shape, { kind: "file", ...placeOf(span) });
  /** Kept neurons are rows of one pass's matrix and columns of the other's; only columns have their own scales. */
  const rounded = (graph: Graph, name: string, { matrix, scale }: EightBitSpans, pass: "forward" | "back") => {
    const kept = keptNeurons(expected.get(name), partial);
    const [m, s] = [declared(graph, matrix), declared(graph, scale)];
    if (kept === null) return { matrix: m, scale: s };
    const ids = constant(graph, [kept.indices.length], kept.indices);
    const columns = (kept.side === "out") === (pass === "forward");
    return { matrix: gather(graph, m, ids, columns ? 1 : 0), scale: columns ? gather(graph, s, ids) : s };
  };
  return {
    inBlocks,
    has: (name) => expected.has(name),
    stored: (name) => (expected.get(name)?.transposed ? "in,out" : "out,in"),
    declare(graph, name) {
      const span = checkpoint.tensors.get(name);
      if (!span)
        throw new SoftpromptError("checkpoint", `tensor ${name} is missing`, {
          where: checkpoint.name,
          expected: "every tensor of the architecture that config.json describes",
        });
      const { dtype, shape, file, offset, length } = span;
      const whole = weight(graph, name, dtype, shape, { kind: "file", file, offset, length });
      const kept = keptNeurons(expected.get(name), partial);
      if (kept === null) return whole;
      return gather(graph, whole, constant(graph, [kept.indices.length], kept.indices), kept.axis);
    },
    eightBit(graph, name) {
      const spans = inEightBits ? checkpoint.eightBit?.get(name) : undefined;
      if (spans === undefined) return null;
      return {
        forward: rounded(graph, name, spans.forward, "forward"),
        back: rounded(graph, name, spans.back, "back"),
        terms: spans.terms,
        // an input whose layers are smoothed is never one of kept neurons (model/eight-bit.ts)
        smoothing: spans.smoothing ? declared(graph, spans.smoothing) : undefined,
      };
    },
    eightBitBack(graph, name) {
      const spans = inEightBits ? checkpoint.eightBitBack?.get(name) : undefined;
      return spans === undefined ? null : rounded(graph, name, spans, "back");
    },
    blocks(graph, name) {
      const spans = inBlocks ? checkpoint.blocks?.get(name) : undefined;
      if (spans === undefined) return null;
      const whole = {
        values: declared(graph, spans.values),
        scale: declared(graph, spans.scale),
        offset: spans.offset ? declared(graph, spans.offset) : undefined,
      };
      const kept = keptNeurons(expected.get(name), partial);
      if (kept === null) return { whole };
      // neurons are single columns of one of the two matrices, which no block consists of
      const ids = constant(graph, [kept.indices.length], kept.indices);
      return { part: gather(graph, widenBlocks(graph, whole), ids, kept.side === "out" ? 0 : 1) };
    },
  };
}

const placeOf = ({ file, offset, length }: TensorSpan) => ({ file, offset, length });

/** Weights with shapes but without bytes. They are enough to count what a graph costs. */
export function shapeWeights(config: ModelConfig, partial: PartialModel): Weights {
  const expected = expectedByName(config);
  return {
    has: (name) => expected.has(name),
    stored: (name) => (expected.get(name)?.transposed ? "in,out" : "out,in"),
    declare(graph, name) {
      const tensor = expected.get(name)!;
      const kept = keptNeurons(tensor, partial);
      const shape = kept === null ? tensor.shape : tensor.shape.with(kept.axis, kept.indices.length);
      return weight(graph, name, "float32", shape, { kind: "file", file: "", offset: 0, length: 0 });
    },
  };
}

function expectedByName(config: ModelConfig): ReadonlyMap<string, ExpectedTensor> {
  return new Map(
    architectureOf(config)
      .tensors(config)
      .map((tensor) => [tensor.name, tensor]),
  );
}

/** Which neurons of a tensor are kept, and whether they are inputs or outputs of its layer; null for all. */
export function keptNeurons(tensor: ExpectedTensor | undefined, partial: PartialModel) {
  if (!tensor?.neurons) return null;
  const { axis } = tensor.neurons;
  const { layers, neurons } = partial.stacks[tensor.part]!;
  const indices = neurons?.[layers.indexOf(tensor.layer!)];
  if (!indices || indices.length >= tensor.shape[axis]!) return null;
  const side = (axis === 0) !== (tensor.transposed ?? false) ? ("out" as const) : ("in" as const);
  return { axis, indices, side };
}
