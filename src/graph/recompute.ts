/**
 * @file A training graph that keeps little of its forward pass: what the backward pass reads is computed again from the few values that are
 * kept.
 *
 * In: a graph with its gradients. Out: a graph with the same results, bit for bit, which takes about a third more time and holds the values
 * of one block at a time. Kept are the inputs of norms, which is the stream of states between the blocks, the probabilities of the targets,
 * and what does not depend on the trained values. (Chen et al. 2016, arXiv:1604.06174)
 */
import { type Graph, maker, type Node, type Value } from "./graph.js";
import { apply } from "./ops.js";

/**
 * @param forward how many nodes the graph had before its gradients were made
 * @param trained what the gradients are taken for
 */
export function recomputing(graph: Graph, forward: number, trained: readonly Value[]): Graph {
  const first = graph.nodes.slice(0, forward);
  const kept = keptValues(first, trained);
  const own = new Set(first);
  const out: Graph = { ...graph, nodes: [...first], outputs: [] };

  /** Values of the new graph by the id of the old ones. */
  const again = new Map<number, Value>();
  const write = (node: Node, inputs: readonly Value[]) => {
    const values = apply(out, node.op, inputs, node.attributes);
    for (const [i, v] of node.outputs.entries()) again.set(v.id, values[i]!);
  };
  const copy = (value: Value): Value => {
    const node = maker(value);
    if (node === undefined || kept.has(value.id) || !own.has(node)) return value;
    if (!again.has(value.id)) write(node, node.inputs.map(copy));
    return again.get(value.id)!;
  };
  const later = graph.nodes.slice(forward);
  const chain = chainOf(later);
  // Whatever needs no gradient stands before whatever does: a node that is written earlier is run later, just before what reads it
  // (onnx/lower.ts). The other way round all blocks would be computed again at once.
  for (const node of later) {
    const inputs = node.inputs.map((v) => again.get(v.id) ?? copy(v));
    if (!chain.has(node)) write(node, inputs);
  }
  for (const node of later)
    if (chain.has(node))
      write(
        node,
        node.inputs.map((v) => again.get(v.id) ?? v),
      );
  const isLater = new Set(later);
  for (const { name, value } of graph.outputs)
    out.outputs.push({ name, value: isLater.has(maker(value)!) ? again.get(value.id)! : value });
  return out;
}

/** The nodes through which gradients go. The first node of the backward pass makes the gradient of the loss. */
function chainOf(later: readonly Node[]): ReadonlySet<Node> {
  const values = new Set<number>();
  const chain = new Set<Node>();
  for (const node of later) {
    if (chain.size > 0 && !node.inputs.some(({ id }) => values.has(id))) continue;
    chain.add(node);
    for (const { id } of node.outputs) values.add(id);
  }
  return chain;
}

/** Ids of the values that the backward pass may read as they are. */
function keptValues(forward: readonly Node[], trained: readonly Value[]): ReadonlySet<number> {
  const cone = new Set(trained.map(({ id }) => id));
  const kept = new Set<number>();
  for (const node of forward) {
    const inside = node.inputs.some(({ id }) => cone.has(id));
    // a text's keys and values that are kept in 16 bits are widened once more: the wide ones are most of what a step behind a text holds
    for (const { id } of node.outputs) if (inside || node.op !== "cast") (inside ? cone : kept).add(id);
    if (node.op === "rmsNorm" || node.op === "layerNorm") kept.add(node.inputs[0]!.id);
    if (node.op === "nll") for (const { id } of node.outputs) kept.add(id);
  }
  return kept;
}
