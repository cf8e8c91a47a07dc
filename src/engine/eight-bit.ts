/**
 * @file The largest 8-bit weight that is safe on this processor, found by a test product.
 *
 * x86 without VNNI adds pairs of products in 16 bits, which saturate: a sum of 64 products 127 × 127 gives half of the right result. With
 * weights up to 64 no pair can saturate. Source: microsoft/onnxruntime#6004.
 */
import { constant, emptyGraph, input, output } from "../graph/graph.js";
import * as ops from "../graph/ops.js";
import { openSession, type SessionOptions } from "../runtime/session.js";

const length = 64;

/** 127, or 64 where sums of larger products saturate. */
export async function largestEightBit(options: Pick<SessionOptions, "device" | "plainOps">): Promise<127 | 64> {
  const g = emptyGraph();
  const x = input(g, "x", "float32", ["M", length]);
  const ones = (of: number) => constant(g, [of], new Float32Array(of).fill(1));
  const forward = { matrix: constant(g, [length, 1], new Int8Array(length).fill(127)), scale: ones(1) };
  const back = { matrix: constant(g, [1, length], new Int8Array(length).fill(127)), scale: ones(length) };
  output(g, "y", ops.linear8(g, x, { forward, back }));
  const session = await openSession("8-bit products", g, { ...options, threads: 1, lowMemory: false });
  try {
    const { y } = await session.run({
      x: { dtype: "float32", shape: [4, length], data: new Float32Array(4 * length).fill(1) },
    });
    return y!.data.every((v) => Math.abs(v - length * 127) < 1) ? 127 : 64;
  } finally {
    await session.dispose();
  }
}
