/**
 * @file How much arithmetic a graph is. In: a graph and the sizes of its symbols. Out: FLOPs of its products.
 *
 * Counted as the graph runs: nodes that no output needs are left out. A multiply and an add are 2 FLOPs. Only products
 * count, as is usual: what is left (norms, activations, softmax) moves memory more than it computes.
 */
import { sizeOf } from "./dims.js";
import type { Attributes, Dim, Graph, Node, Op, Shape } from "./graph.js";
import { simplify } from "./simplify.js";

/** Floating-point operations of a graph's matrix products, by what they are for. */
export interface Flops {
  readonly total: number;
  /** Products with a layer's weights: in the forward pass, and in the backward pass to the layer's inputs. */
  readonly linears: { readonly forward: number; readonly back: number };
  /** Scores and contexts of attention, forwards. */
  readonly attention: number;
  /** All other products: the backward pass of attention, gradients of trained weights, averages. */
  readonly products: number;
}

type Kind = "forward" | "back" | "attention" | "products";

/** One product of a graph: what it is, and the sizes whose product is its multiply-accumulates. */
type Product = readonly [Kind, readonly Dim[]];

type Cost<K extends Op> = (
  inputs: readonly Shape[],
  outputs: readonly Shape[],
  attributes: Attributes[K],
) => readonly Product[];

const costs: { readonly [K in Op]?: Cost<K> } = {
  linear: ([x], [y], { back }) => [[back ? "back" : "forward", [...y!, x!.at(-1)!]]],
  linear8: ([x], [y], { back }) => [[back ? "back" : "forward", [...y!, x!.at(-1)!]]],
  linearBack8: ([x], [y]) => [["forward", [...y!, x!.at(-1)!]]],
  linearBlocks: ([x], [y]) => [["forward", [...y!, x!.at(-1)!]]],
  matmul: ([a], [y], { transA }) => [["products", [...y!, a!.at(transA ? -2 : -1)!]]],
  // scores [.., q, k] over K, context [.., q, V] over k
  attend: ([q], [y, p]) => [
    ["attention", [...p!, q!.at(-1)!]],
    ["attention", [...y!, p!.at(-1)!]],
  ],
  attendOver: ([q], [y, ...parts]) =>
    parts.flatMap((p): Product[] => [
      ["attention", [...p, q!.at(-1)!]],
      ["attention", [...y!, p.at(-1)!]],
    ]),
};

/** FLOPs of a graph as a function of its symbols' sizes: the graph is walked once, however often it is asked. */
export function counter(graph: Graph): (sizes: Readonly<Record<string, number>>) => Flops {
  // products of equal symbols are one term: some ten terms for any model
  const terms = new Map<string, { kind: Kind; symbols: readonly string[]; factor: number }>();
  for (const node of simplify(graph).graph.nodes) {
    const cost = costs[node.op] as Cost<Op> | undefined;
    for (const [kind, dims] of cost?.(shapes(node.inputs), shapes(node.outputs), node.attributes) ?? []) {
      const symbols = dims.filter((dim) => typeof dim === "string").sort();
      const factor = dims.reduce<number>((n, dim) => (typeof dim === "number" ? n * dim : n), 2);
      const key = `${kind} ${symbols.join(" ")}`;
      terms.set(key, { kind, symbols, factor: (terms.get(key)?.factor ?? 0) + factor });
    }
  }
  return (sizes) => {
    const flops: Record<Kind, number> = { forward: 0, back: 0, attention: 0, products: 0 };
    for (const { kind, symbols, factor } of terms.values())
      flops[kind] += symbols.reduce((n, symbol) => n * sizeOf(symbol, sizes), factor);
    const { forward, back, attention, products } = flops;
    return { total: forward + back + attention + products, linears: { forward, back }, attention, products };
  };
}

/**
 * @param sizes of every symbol in the graph: { B: 8, T: 64, … }
 * @throws where a size is missing
 */
export function count(graph: Graph, sizes: Readonly<Record<string, number>>): Flops {
  return counter(graph)(sizes);
}

const shapes = (values: Node["inputs"]): Shape[] => values.map((v) => v.shape);
