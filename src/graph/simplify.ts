/**
 * @file Removes nodes that no output needs, because a runtime computes every node of a graph even if its result is not requested.
 */
import { type Graph, maker, type Node, type Value } from "./graph.js";

/**
 * The same graph without nodes and weights that no output depends on, and how many nodes went. Inputs stay.
 * @param reads the inputs that a node needs; default all. Where it leaves some out, a node may name a value that went.
 */
export function simplify(
  graph: Graph,
  reads: (node: Node) => readonly Value[] = ({ inputs }) => inputs,
): { graph: Graph; removed: number } {
  const used = new Set<number>();
  const visit: Value[] = graph.outputs.map((o) => o.value);
  for (let value = visit.pop(); value; value = visit.pop()) {
    if (used.has(value.id)) continue;
    used.add(value.id);
    const node = maker(value);
    if (node) visit.push(...reads(node));
  }
  const nodes = graph.nodes.filter((n) => n.outputs.some((v) => used.has(v.id)));
  const weights = graph.weights.filter((v) => used.has(v.id));
  return { graph: { ...graph, nodes, weights }, removed: graph.nodes.length - nodes.length };
}
