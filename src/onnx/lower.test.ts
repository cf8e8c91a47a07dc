/**
 * @file The order in which nodes are written: what depends on weights alone stands first where weights are widened at each use, since ONNX Runtime
 * would run casts that are written beside their readers before everything else, and keep all their results.
 */
import { fromBinary } from "@bufbuild/protobuf";
import { ModelProtoSchema } from "onnx-buf";
import { expect, test } from "vitest";
import { gradient } from "../graph/grad.js";
import { constant, emptyGraph, input, output, weight } from "../graph/graph.js";
import * as ops from "../graph/ops.js";
import { lower } from "./lower.js";

function nodesOf(widenPerUse: boolean) {
  const g = emptyGraph();
  const place = (n: number) => ({ kind: "file", file: "/model.safetensors", offset: 32 * n, length: 32 }) as const;
  const whole = weight(g, "first", "bfloat16", [4, 4], place(0));
  const slice = ops.gather(g, whole, constant(g, [2], Int32Array.of(3, 1)));
  const x = input(g, "x", "float32", ["B", 4]);
  const y = ops.relu(g, ops.linear(g, ops.relu(g, x), slice));
  output(g, "y", ops.linear(g, y, weight(g, "second", "bfloat16", [4, 2], place(1))));
  const { bytes } = lower(g, { plain: false, widenPerUse });
  return fromBinary(ModelProtoSchema, bytes).graph!.node.map(({ opType }) => opType);
}

/** A product with a 4-bit matrix in blocks, and with a slice of another one; and, where asked for, the way back. */
function blocksOf(back: boolean) {
  const g = emptyGraph();
  const file = (n: number) => ({ kind: "file", file: "/blocks.safetensors", offset: 64 * n, length: 64 }) as const;
  const blocks = (n: number) => ({
    values: weight(g, `values${n}`, "uint8", [32, 16], file(2 * n)),
    scale: weight(g, `scale${n}`, "float32", [32, 1], file(2 * n + 1)),
  });
  const x = input(g, "x", "float32", ["B", 32]);
  const y = ops.linearBlocks(g, x, blocks(0));
  const kept = constant(g, [2], Int32Array.of(3, 1));
  const z = ops.linear(g, y, ops.gather(g, ops.widenBlocks(g, blocks(1)), kept));
  output(g, "z", z);
  if (back) output(g, "dx", gradient(g, ops.sum(g, z, [0, 1]), x));
  const { bytes } = lower(g, { plain: false, widenPerUse: true });
  return fromBinary(ModelProtoSchema, bytes).graph!;
}

test("blocks: packed where only the forward pass runs, widened for each product where a way back follows; what is made of them stands first", () => {
  const forward = blocksOf(false);
  expect(forward.node.map(({ opType }) => opType)).toEqual([
    "DequantizeLinear",
    "Gather",
    "MatMulNBits",
    "FusedMatMul",
  ]);
  const types = (graph: typeof forward, name: string) =>
    graph.initializer.filter((i) => i.name.startsWith(name)).map((i) => [i.dataType, i.dims.map(Number)]);
  expect(types(forward, "values0")).toEqual([[2, [32, 1, 16]]]);
  expect(types(forward, "values1")).toEqual([[21, [32, 32]]]);
  const both = blocksOf(true);
  const ops = both.node.map(({ opType }) => opType);
  expect(ops).not.toContain("MatMulNBits");
  // two forwards, one back, and the slice of the second; what else reads constants alone may stand there too
  const products = ops.indexOf("FusedMatMul");
  expect(ops.slice(0, products).filter((op) => /Dequantize|Gather/.test(op))).toHaveLength(4);
  expect(ops.slice(products).filter((op) => /Dequantize|Gather/.test(op))).toEqual([]);
  expect(types(both, "values0")).toEqual([[21, [32, 32]]]); // one copy of the file's bytes
});

test("casts and slices of weights stand first where they are made at each use, otherwise beside their readers", () => {
  expect(nodesOf(true)).toEqual(["Gather", "Cast", "Cast", "Relu", "FusedMatMul", "Relu", "FusedMatMul"]);
  expect(nodesOf(false)).toEqual(["Gather", "Relu", "Cast", "FusedMatMul", "Relu", "Cast", "FusedMatMul"]);
});

test("the model names the shape of whatever it computes, of 8-bit layers too: where shapes have no names, the plan of buffers is quadratic", () => {
  const g = emptyGraph();
  const x = input(g, "x", "float32", ["B", "T", 8]);
  const matrix = (name: string, n: number) =>
    weight(g, name, "int8", [8, 8], { kind: "file", file: "/w.safetensors", offset: 64 * n, length: 64 });
  const ones = constant(g, [8], new Float32Array(8).fill(1));
  const layer = { forward: { matrix: matrix("f", 0), scale: ones }, back: { matrix: matrix("b", 1), scale: ones } };
  const y = ops.relu(g, ops.linear8(g, ops.relu(g, x), { ...layer, terms: 2 }));
  output(g, "y", ops.sum(g, y, [0, 1, 2]));
  const { bytes } = lower(g, { plain: false, widenPerUse: false });
  const { node, valueInfo } = fromBinary(ModelProtoSchema, bytes).graph!;
  const shapes = new Map(
    valueInfo.map(({ name, type }) => {
      const { value } = type!.value as { value: { shape: { dim: { value: { value: unknown } }[] } } };
      return [name, value.shape.dim.map((d) => String(d.value.value))];
    }),
  );
  const shapeOf = (type: string, i: number) => shapes.get(node.filter(({ opType }) => opType === type)[i]!.output[0]!);
  expect(shapeOf("Relu", 0)).toEqual(["B", "T", "8"]);
  expect(shapeOf("Expand", 0)).toEqual(["B", "T", "1"]);
  expect(shapeOf("MatMulIntegerToFloat", 0)).toEqual(["B", "T", "8"]);
  // every size that ONNX cannot infer itself: what a reshape, an expansion or a product of integers makes
  for (const { opType, output } of node)
    if (/Reshape|Expand|MatMul/.test(opType)) expect(shapes.has(output[0]!), output[0]).toBe(true);
});

test.each([false, true])(
  "what only a gradient would read is left out, with all that leads to it, and stays where the gradient is there (%s)",
  (back) => {
    const g = emptyGraph();
    const x = input(g, "x", "float32", ["B", 8]);
    const matrix = (name: string, n: number) =>
      weight(g, name, "int8", [8, 8], { kind: "file", file: `/${name}.safetensors`, offset: 0, length: 64 * n });
    const scale = (name: string) =>
      weight(g, name, "float32", [8], { kind: "file", file: `/${name}.safetensors`, offset: 64, length: 32 });
    const forward = { matrix: matrix("there", 1), scale: scale("there.scale") };
    // two nodes, one after the other, that the forward product does not read
    const turned = { matrix: matrix("back", 1), scale: ops.exp(g, ops.relu(g, scale("back.scale"))) };
    const y = ops.linear8(g, x, { forward, back: turned });
    output(g, "y", y);
    if (back) output(g, "dx", gradient(g, ops.sum(g, y, [0, 1]), x));
    const { bytes, files } = lower(g, { plain: true, widenPerUse: false });
    const { node, initializer } = fromBinary(ModelProtoSchema, bytes).graph!;
    const has = (type: string) => node.some(({ opType }) => opType === type);
    expect([has("Exp"), has("Relu")]).toEqual([back, back]);
    expect(initializer.some(({ name }) => name.startsWith("back"))).toBe(back);
    expect(files.some(({ path }) => path.startsWith("/back"))).toBe(back);
  },
);
