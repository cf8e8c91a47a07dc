/** FLOPs of graphs whose numbers can be written down by hand. */
import { expect, test } from "vitest";
import { count } from "./count.js";
import { over, plus, sizeOf, times } from "./dims.js";
import { gradient, gradients } from "./grad.js";
import { emptyGraph, input, output } from "./graph.js";
import * as ops from "./ops.js";

const sizes = { B: 2, S: 5, P: 3 };

test("a linear layer forwards, back to its input, and to its weight", () => {
  const g = emptyGraph();
  const x = input(g, "x", "float32", ["B", "P+S", 4]);
  const w = input(g, "w", "float32", [6, 4]);
  const y = ops.linear(g, x, w);
  const loss = ops.sum(g, ops.mul(g, y, y), [0, 1, 2]);
  output(g, "loss", loss);
  const layer = 2 * (2 * 8) * 6 * 4; // 2 FLOPs × positions × out × in
  expect(count(g, sizes)).toEqual({ total: layer, linears: { forward: layer, back: 0 }, attention: 0, products: 0 });
  const [dx, dw] = gradients(g, loss, [x, w]);
  output(g, "dx", dx!);
  expect(count(g, sizes)).toMatchObject({ total: 2 * layer, linears: { forward: layer, back: layer } });
  output(g, "dw", dw!);
  expect(count(g, sizes)).toMatchObject({ total: 3 * layer, products: layer });
});

test("a matrix stored the other way round costs the same", () => {
  const cost = (stored: "out,in" | "in,out") => {
    const g = emptyGraph();
    const x = input(g, "x", "float32", ["B", 4]);
    const w = input(g, "w", "float32", stored === "out,in" ? [6, 4] : [4, 6]);
    const loss = ops.sum(g, ops.linear(g, x, w, { stored, bias: input(g, "b", "float32", [6]) }), [0, 1]);
    output(g, "dx", gradient(g, loss, x));
    return count(g, sizes);
  };
  expect(cost("in,out")).toEqual(cost("out,in"));
  // the loss itself is no output, but the sum's rule reads the layer's result
  expect(cost("out,in").linears).toEqual({ forward: 2 * 2 * 6 * 4, back: 2 * 2 * 6 * 4 });
});

test("attention is counted by its query heads, however many key heads there are", () => {
  const cost = (keyHeads: number) => {
    const g = emptyGraph();
    const q = input(g, "q", "float32", ["B", 4, "S", 8]);
    const k = input(g, "k", "float32", ["B", keyHeads, "P+S", 8]);
    const v = input(g, "v", "float32", ["B", keyHeads, "P+S", 6]);
    const y = ops.attend(g, q, k, v, input(g, "bias", "float32", ["B", 1, "S", "P+S"]));
    output(g, "y", y);
    const forward = count(g, sizes);
    output(g, "dq", gradient(g, ops.sum(g, ops.mul(g, y, y), [0, 1, 2, 3]), q));
    return { forward: forward.total, step: count(g, sizes) };
  };
  const scores = 2 * (2 * 4 * 5 * 8) * 8; // 2 FLOPs × B·H·S·S' × K
  const context = 2 * (2 * 4 * 5 * 6) * 8;
  expect(cost(4).forward).toBe(scores + context);
  expect(cost(2)).toEqual(cost(4));
  // back to the queries: dP = dy·vᵀ costs what the context did, dq = dS·k what the scores did
  expect(cost(2).step).toMatchObject({ attention: scores + context, products: scores + context });
});

test("what no output needs is not counted, and a size that is missing is named", () => {
  const g = emptyGraph();
  const x = input(g, "x", "float32", ["B", "S", 4]);
  output(g, "y", ops.exp(g, x));
  ops.matmul(g, x, x, { transB: true });
  expect(count(g, sizes).total).toBe(0);
  output(g, "z", ops.matmul(g, x, x, { transB: true }));
  expect(count(g, sizes).total).toBe(2 * (2 * 5 * 5) * 4);
  expect(() => count(g, { B: 2 })).toThrow(/the size of S is not known/);
});

test("sizes: equal ones are spelled alike, and their numbers are right", () => {
  expect(plus(["P", "T"])).toBe("P+T");
  expect(plus(["N", 1])).toBe("N+1");
  expect(plus([1, 2])).toBe(3);
  expect(plus(["U", "U", 0])).toBe("2*U");
  expect(times("C", "U")).toBe("C*U");
  expect(times(3, "P+T")).toBe("3*P+3*T");
  expect(times("P+T", 1)).toBe("P+T");
  expect(times("A+B", "A+B")).toBe("A*A+2*A*B+B*B");
  expect(times("P", 0)).toBe(0);
  expect(over("3*P+3*T", 3)).toBe("P+T");
  expect(over("3*P+T", 3)).toBeUndefined();
  expect(over(6, 4)).toBeUndefined();
  expect(over(times(7, "P+C*U"), 7)).toBe("P+C*U");
  expect(sizeOf("3*P+C*U+1", { P: 2, C: 3, U: 5 })).toBe(22);
  expect(sizeOf(times("P+1", "U+2"), { P: 2, U: 5 })).toBe(21);
});
