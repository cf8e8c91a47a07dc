/**
 * @file The order in which nodes are written: what depends on weights alone stands first where weights are widened at each use, since ONNX Runtime
 * would run casts that are written beside their readers before everything else, and keep all their results.
 */
import { fromBinary } from "@bufbuild/protobuf";
import { ModelProtoSchema } from "onnx-buf";
import { expect, test } from "vitest";
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

test("casts and slices of weights stand first where they are made at each use, otherwise beside their readers", () => {
  expect(nodesOf(true)).toEqual(["Gather", "Cast", "Cast", "Relu", "FusedMatMul", "Relu", "FusedMatMul"]);
  expect(nodesOf(false)).toEqual(["Gather", "Relu", "Cast", "FusedMatMul", "Relu", "Cast", "FusedMatMul"]);
});
