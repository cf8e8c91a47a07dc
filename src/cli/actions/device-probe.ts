/**
 * @file Tests whether a device can compute, by the sum 2 + 3.
 *
 * In: a device. Out: what went wrong, or null. Run as a program with the device's name it prints {"problem"} as JSON.
 */
import { pathToFileURL } from "node:url";
import { SoftpromptError } from "../../base/errors.js";
import { emptyGraph, input, output } from "../../graph/graph.js";
import * as ops from "../../graph/ops.js";
import type { Device } from "../../runtime/runtime.js";
import { openSession } from "../../runtime/session.js";

/** 2 + 3 on the device. @returns what went wrong, or null. */
export async function tryDevice(device: Device): Promise<string | null> {
  try {
    const graph = emptyGraph();
    const a = input(graph, "a", "float32", [2]);
    const b = input(graph, "b", "float32", [2]);
    output(graph, "sum", ops.add(graph, a, b));
    const session = await openSession("doctor", graph, { device, threads: 1, lowMemory: false, plainOps: true });
    try {
      const number = (value: number) => ({
        dtype: "float32" as const,
        shape: [2],
        data: Float32Array.of(value, value),
      });
      const { sum } = await session.run({ a: number(2), b: number(3) });
      return sum?.data[1] === 5 ? null : "it computes 2 + 3 wrongly";
    } finally {
      await session.dispose();
    }
  } catch (error) {
    const said = String(error instanceof SoftpromptError ? (error.parts.got ?? error.problem) : error);
    // ONNX Runtime writes a source position and a condition before the reason
    return said.split("\n")[0]!.replace(/^.* was false\. /, "");
  }
}

if (process.argv[1] !== undefined && import.meta.url === pathToFileURL(process.argv[1]).href)
  process.stdout.write(`${JSON.stringify({ problem: await tryDevice(process.argv[2] as Device) })}\n`);
