/**
 * @file The frozen weights of an exported model: with a method's changes folded in, linear layers transposed to [in, out], in float32 or,
 * those of the blocks, in 8 bits.
 *
 * In: a Checkpoint. Out: Weights that graphs are built with, and the same graphs with the bytes in place: inside the model file, or beside
 * it where they are too many for one. Plain ONNX multiplies by [in, out]; a matrix stored the other way would be transposed at each start.
 */
import { closeSync, openSync, writeSync } from "node:fs";
import { join } from "node:path";
import { ioError, makeFolder } from "../base/files.js";
import { floatBytes } from "../base/floats.js";
import { dtypes, size, type Tensor } from "../base/tensor.js";
import { type Graph, type Value, type Weight, weight } from "../graph/graph.js";
import type { Weights } from "../model/architecture.js";
import { architectureOf } from "../model/architectures.js";
import type { Checkpoint } from "../model/checkpoint.js";
import type { EightBitPlan } from "../model/eight-bit.js";
import { productsOf, type Rounded, roundColumns, roundRowsTurned, storedAs } from "../model/quantise.js";
import type { ExpectedTensor } from "../model/tensors.js";

/** Weights without bytes, and where their bytes come from. */
export interface ExportWeights {
  readonly weights: Weights;
  read(name: string): Promise<Float32Array | Int8Array | Uint8Array>;
}

/** Numbers of the linear layers. */
export type ExportType = "fp32" | "int8";

/**
 * Largest 8-bit weight that is safe in products of signed numbers on any processor: those without VNNI add pairs of products in 16 bits, which
 * saturate beyond, and nobody knows where an exported model will run.
 */
const mostEightBit = 64;

export type Fold = (name: string, frozen: Tensor) => Tensor;

export function exportWeights(
  checkpoint: Pick<Checkpoint, "config" | "read">,
  fold: Fold = (_, t) => t,
  plan: EightBitPlan = new Map(),
): ExportWeights {
  const { config } = checkpoint;
  const expected = new Map(
    architectureOf(config)
      .tensors(config)
      .map((tensor) => [tensor.name, tensor]),
  );
  const { largest, dtype } = productsOf(plan.values(), mostEightBit);
  const rounded = new Map([...plan.keys()].map((name) => [name, expected.get(name)!]));
  const turned = (name: string) => isLinear(expected.get(name)!) && !expected.get(name)!.transposed;
  const folded = async (name: string) => fold(name, await checkpoint.read(name));
  // matrix and scale of a layer are read one after the other
  let last: { readonly name: string; readonly values: Rounded } | null = null;
  const inEightBits = async (name: string): Promise<Rounded> => {
    if (last?.name === name) return last.values;
    const { shape, data } = await folded(name);
    const round = rounded.get(name)!.transposed ? roundColumns : roundRowsTurned;
    last = { name, values: round(data, shape[1]!, largest) };
    return last.values;
  };
  return {
    weights: {
      has: (name) => expected.has(name),
      stored: (name) => (isLinear(expected.get(name)!) ? "in,out" : "out,in"),
      declare: (graph, name) => {
        const { shape } = expected.get(name)!;
        return weight(graph, name, "float32", turned(name) ? [...shape].reverse() : shape, nowhere);
      },
      eightBit: (graph, name) => {
        const tensor = rounded.get(name);
        if (tensor === undefined) return null;
        const [out, into] = (tensor.transposed ? tensor.shape.toReversed() : tensor.shape) as [number, number];
        const of = (side: string, shape: [number, number], bytes: Weight) => ({
          matrix: weight(graph, `${name}/${side}`, dtype, shape, bytes),
          scale: weight(graph, `${name}/${side}${scaleEnd}`, "float32", [shape[1]], bytes),
        });
        const { terms } = plan.get(name)!;
        return { forward: of(forwardSide, [into, out], nowhere), back: of("back", [out, into], never), terms };
      },
    },
    read: async (name) => {
      const [layer, side] = [name.slice(0, name.lastIndexOf("/")), name.slice(name.lastIndexOf("/") + 1)];
      if (rounded.has(layer) && side.startsWith(forwardSide)) {
        const { values, scale } = await inEightBits(layer);
        return side.endsWith(scaleEnd) ? scale : storedAs(dtype, values);
      }
      const tensor = await folded(name);
      return (turned(name) ? transposed(tensor) : tensor).data;
    },
  };
}

const forwardSide = "forward";
const scaleEnd = ".scale";
/** The matrix of the backward pass, which an exported model does not have. */
const never: Weight = { kind: "inline", data: new Int8Array(0) };
const nowhere: Weight = { kind: "inline", data: new Float32Array(0) };

/** Matrices that are used only in products. The embedding is also read row by row and stays as it is. */
function isLinear({ name, shape, layer, part }: ExpectedTensor): boolean {
  return shape.length === 2 && name.endsWith(".weight") && (layer !== undefined || part === "head");
}

function transposed({ shape, data }: Tensor): Tensor {
  const [rows, columns] = shape as [number, number];
  const out = new Float32Array(data.length);
  // in squares that fit the cache: a column at a time would miss it at every element
  const side = 64;
  for (let r0 = 0; r0 < rows; r0 += side)
    for (let c0 = 0; c0 < columns; c0 += side)
      for (let r = r0; r < Math.min(rows, r0 + side); r++)
        for (let c = c0; c < Math.min(columns, c0 + side); c++) out[c * rows + r] = data[r * columns + c]!;
  return { shape: [columns, rows], data: out };
}

/** How many bytes of weights are stored in which file. */
export interface WeightLimits {
  /** In the model file itself. A file of protobuf ends at 2 GiB, and writing one takes four times its size. */
  readonly inside: number;
  /** In one file beside it: browsers take no larger buffer. */
  readonly beside: number;
}

export const weightLimits: WeightLimits = { inside: 2 ** 30, beside: 2 ** 31 - 2 ** 20 };

/** Large tensors begin at a page, so that a file can be mapped into memory. */
const page = 4096;

/**
 * Puts the bytes in. @param path of the model file; files beside it are named after it, because transformers.js looks for these names.
 * @returns the graphs, and how many files lie beside the model.
 */
export async function placeWeights<G extends readonly Graph[]>(
  graphs: G,
  { read }: ExportWeights,
  path: { readonly folder: string; readonly name: string },
  limits: WeightLimits = weightLimits,
): Promise<{ readonly graphs: { [K in keyof G]: Graph }; readonly files: number }> {
  const open = new Map(graphs.flatMap((g) => g.weights.filter(isOpen)).map((value) => [value.name, value]));
  const bytesOf = ({ shape, dtype }: Value) => dtypes[dtype].bytes * size(shape as number[]);
  const total = [...open.values()].reduce((sum, value) => sum + bytesOf(value), 0);
  const placed = new Map<string, Weight>();
  let files = 0;
  if (total <= limits.inside)
    for (const name of open.keys()) placed.set(name, { kind: "inline", data: await read(name) });
  else {
    let [out, at] = [-1, Number.POSITIVE_INFINITY];
    let file = "";
    try {
      makeFolder(path.folder);
      for (const [name, value] of open) {
        if (at + bytesOf(value) > limits.beside) {
          if (out >= 0) closeSync(out);
          file = join(path.folder, `${path.name}_data${files === 0 ? "" : `_${files}`}`);
          [out, at] = [openSync(file, "w"), 0];
          files++;
        }
        const numbers = await read(name);
        const bytes = numbers instanceof Float32Array ? floatBytes(numbers) : numbers;
        for (let done = 0; done < bytes.length; )
          done += writeSync(out, bytes, done, Math.min(bytes.length - done, 2 ** 30), at + done);
        placed.set(name, { kind: "file", file, offset: at, length: bytes.length });
        at = Math.ceil((at + bytes.length) / page) * page;
      }
    } catch (cause) {
      throw ioError(cause, file || path.folder);
    } finally {
      if (out >= 0) closeSync(out);
    }
  }
  const fill = (graph: Graph): Graph => ({
    ...graph,
    weights: graph.weights.map((value) => {
      const bytes = isOpen(value) ? placed.get(value.name) : undefined;
      return bytes === undefined ? value : { ...value, source: { weight: bytes } };
    }),
  });
  return { graphs: graphs.map(fill) as { [K in keyof G]: Graph }, files };
}

const isOpen = (value: Value) => (value.source as { weight: Weight }).weight === nowhere;
