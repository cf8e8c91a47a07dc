/**
 * @file How much arithmetic a graph is. In: a graph and the sizes of its symbols. Out: FLOPs of its products.
 *
 * Counted as the graph runs: nodes that no output needs are left out. A multiply and an add are 2 FLOPs. Only products
 * count, as is usual: what is left (norms, activations, softmax) moves memory more than it computes.
 */
import { sizeOf } from "./dims.js";
import type { Attributes, Graph, Node, Op, Shape } from "./graph.js";
import { simplify } from "./simplify.js";

export interface Flops {
  readonly total: number;
  /** Products with a layer's weights: of the model's own pass, and on the way back to its inputs. */
  readonly linears: { readonly forward: number; readonly back: number };
  /** Scores and contexts of attention, forwards. */
  readonly attention: number;
  /** All other products: attention's way back, gradients of trained weights, averages. */
  readonly products: number;
}

type Kind = "forward" | "back" | "attention" | "products";

/** Multiply-accumulates of one node, and what they are. */
type Cost<K extends Op> = (
  inputs: readonly Shape[],
  outputs: readonly Shape[],
  attributes: Attributes[K],
  volume: (shape: Shape) => number,
) => readonly [Kind, number];

const costs: { readonly [K in Op]?: Cost<K> } = {
  linear: ([x], [y], { back }, volume) => [back ? "back" : "forward", volume(y!) * volume(x!.slice(-1))],
  matmul: ([a], [y], { transA }, volume) => {
    const inner = a!.at(transA ? -2 : -1)!;
    return ["products", volume(y!) * volume([inner])];
  },
  // scores [.., q, k] over K, context [.., q, V] over k
  attend: ([q], [y, p], _, volume) => {
    const keys = p!.slice(-1);
    return ["attention", volume(p!) * volume(q!.slice(-1)) + volume(y!) * volume(keys)];
  },
};

/**
 * @param sizes of every symbol in the graph: { B: 8, T: 64, … }
 * @throws where a size is missing
 */
export function count(graph: Graph, sizes: Readonly<Record<string, number>>): Flops {
  const volume = (shape: Shape) => shape.reduce((n: number, dim) => n * sizeOf(dim, sizes), 1);
  const flops: Record<Kind, number> = { forward: 0, back: 0, attention: 0, products: 0 };
  for (const node of simplify(graph).graph.nodes) {
    const cost = costs[node.op] as Cost<Op> | undefined;
    if (!cost) continue;
    const [kind, macs] = cost(shapes(node.inputs), shapes(node.outputs), node.attributes, volume);
    flops[kind] += 2 * macs;
  }
  const { forward, back, attention, products } = flops;
  return { total: forward + back + attention + products, linears: { forward, back }, attention, products };
}

const shapes = (values: Node["inputs"]): Shape[] => values.map((v) => v.shape);
