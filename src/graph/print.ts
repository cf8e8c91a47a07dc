/**
 * @file A graph as text, one line per node: `y: float32[B, U] = add a b`.
 */
import { shapeText } from "../base/tensor.js";
import type { Graph, Value } from "./graph.js";

/** The whole graph: inputs, weights, nodes in running order, outputs. */
export function print(graph: Graph): string {
  const type = (v: Value) => shapeText(v.dtype, v.shape);
  const lines = [
    ...graph.inputs.map((v) => `${v.name}: ${type(v)}  input`),
    ...graph.weights.map((v) => `${v.name}: ${type(v)}  weight`),
    ...graph.nodes.map((n) => {
      const attributes = Object.entries(n.attributes).map(([k, v]) => `${k}=${Array.isArray(v) ? `[${v}]` : v}`);
      const call = [n.op, ...n.inputs.map((v) => v.name), ...(attributes.length ? [`{${attributes.join(" ")}}`] : [])];
      return `${n.outputs.map((v) => `${v.name}: ${type(v)}`).join(", ")} = ${call.join(" ")}`;
    }),
    ...graph.outputs.map((o) => `→ ${o.name} = ${o.value.name}`),
  ];
  return lines.join("\n");
}
