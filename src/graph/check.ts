/**
 * @file Checks that a graph is valid. Runs before a graph is written as ONNX, so that a builder's mistake gives a clear error.
 */
import { SoftpromptError } from "../base/errors.js";
import { describe, type Graph, type Op } from "./graph.js";
import { infer } from "./infer.js";

/**
 * Throws unless every node's inputs were made before it (or are inputs or weights of this graph), ids and names are
 * unique, shapes are those the op gives, and every output is made in this graph.
 */
export function check(graph: Graph): void {
  const known = new Set<number>();
  const names = new Set<string>();
  const learn = (id: number, name: string) => {
    if (known.has(id) || names.has(name)) throw invalid(`${name} is made twice`);
    known.add(id);
    names.add(name);
  };
  for (const v of [...graph.inputs, ...graph.weights]) learn(v.id, v.name);
  for (const node of graph.nodes) {
    for (const v of node.inputs)
      if (!known.has(v.id)) throw invalid(`${node.op} uses ${describe(v)}, which is not made before it`);
    const types = (infer[node.op] as (i: unknown, a: unknown) => ReturnType<(typeof infer)[Op]>)(
      node.inputs,
      node.attributes,
    );
    for (const [i, v] of node.outputs.entries()) {
      if (types[i]?.dtype !== v.dtype || types[i]?.shape.join() !== v.shape.join())
        throw invalid(`${node.op} gives ${types[i]?.dtype}[${types[i]?.shape}], not ${describe(v)}`);
      learn(v.id, v.name);
    }
  }
  for (const o of graph.outputs)
    if (!known.has(o.value.id)) throw invalid(`output ${o.name} is ${describe(o.value)}, which is not in the graph`);
}

function invalid(problem: string): SoftpromptError {
  return new SoftpromptError("engine", problem, { where: "graph", expected: "a graph in running order" });
}
