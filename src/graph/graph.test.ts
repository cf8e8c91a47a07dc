/** Graphs as data: printed, checked, simplified, differentiated, refused. Numbers are checked in test/ops.test.ts. */
import { expect, test } from "vitest";
import { check } from "./check.js";
import { gradient } from "./grad.js";
import { emptyGraph, type Graph, input, output, scalar, weight } from "./graph.js";
import { interpret } from "./interpret.js";
import * as ops from "./ops.js";
import { print } from "./print.js";
import { simplify } from "./simplify.js";

/** loss = Σ (x·Wᵀ)², x [B, 3], W [2, 3] frozen. */
function square() {
  const g = emptyGraph();
  const x = input(g, "x", "float32", ["B", 3]);
  const w = weight(g, "w", "float32", [2, 3], { kind: "file", file: "/models/a.safetensors", offset: 8, length: 24 });
  const y = ops.linear(g, x, w);
  const loss = ops.sum(g, ops.mul(g, y, y), [0, 1]);
  output(g, "loss", loss);
  return { g, x, y, w, loss };
}

test("a graph and its gradient, printed", () => {
  const { g, x, loss } = square();
  output(g, "gradient", gradient(g, loss, x));
  check(g);
  expect(print(g)).toMatchInlineSnapshot(`
    "x: float32[B, 3]  input
    w: float32[2, 3]  weight
    c1[]: float32[]  weight
    c0[]: float32[]  weight
    linear_2: float32[B, 2] = linear x w {back=false stored=out,in}
    mul_3: float32[B, 2] = mul linear_2 linear_2
    sum_4: float32[1, 1] = sum mul_3 {axes=[0,1]}
    unsqueeze_6: float32[1] = unsqueeze c1[] {axis=0}
    unsqueeze_7: float32[1, 1] = unsqueeze unsqueeze_6 {axis=0}
    mul_9: float32[B, 2] = mul mul_3 c0[]
    add_10: float32[B, 2] = add unsqueeze_7 mul_9
    mul_11: float32[B, 2] = mul add_10 linear_2
    mul_12: float32[B, 2] = mul add_10 linear_2
    add_13: float32[B, 2] = add mul_11 mul_12
    linear_14: float32[B, 3] = linear add_13 w {back=true stored=out,in}
    → loss = sum_4
    → gradient = linear_14"
  `);
});

test("only the cone is differentiated: a branch beside it costs nothing", () => {
  const { g, x, w, loss } = square();
  // abs has no rule: were it walked, it would be refused
  const aside = ops.abs(g, x);
  const frozen = ops.abs(g, input(g, "frozen", "float32", [2]));
  output(g, "aside", aside);
  expect(() => gradient(g, loss, x)).not.toThrow();
  const more = ops.sum(g, ops.mul(g, ops.linear(g, x, w), frozen), [0, 1]);
  expect(() => gradient(g, more, x)).not.toThrow();
  const through = ops.add(g, loss, ops.sum(g, aside, [0, 1]));
  expect(() => gradient(g, through, x)).toThrow(/no gradient rule for abs/);
});

test.each([
  [
    "abs",
    (g: Graph) => ops.abs(g, input(g, "x", "float32", ["B", 3])),
    /no gradient rule for abs[\s\S]*expected: one of add/,
  ],
  [
    "trained angles",
    (g: Graph) => {
      const [y, sin] = [input(g, "y", "float32", [1, 1, 2]), input(g, "sin", "float32", [3, 1])];
      const turned = ops.rope(g, y, input(g, "x", "float32", [3, 1]), sin, input(g, "positions", "int32", [1]));
      return ops.flatten(g, turned, 0);
    },
    /rope has no gradient for its angles/,
  ],
])("refused by name: %s", (_, build, message) => {
  const g = emptyGraph();
  const y = build(g);
  const x = g.inputs.find((v) => v.name === "x")!;
  const loss = ops.sum(g, y, [0, 1]);
  expect(() => gradient(g, loss, x)).toThrow(message);
});

test("a loss that does not depend on the value, or has many elements, is refused", () => {
  const { g, x, y, loss } = square();
  const elsewhere = input(g, "elsewhere", "float32", ["B", 3]);
  expect(() => gradient(g, loss, elsewhere)).toThrow(/the loss does not depend on elsewhere/);
  expect(() => gradient(g, y, x)).toThrow(/only a loss of one element/);
});

test("shapes are refused with the op's name and both shapes", () => {
  const g = emptyGraph();
  const a = input(g, "a", "float32", ["B", "S", 4]);
  const b = input(g, "b", "float32", ["B", "T", 4]);
  const ids = input(g, "ids", "int32", ["B"]);
  expect(() => ops.add(g, a, b)).toThrow(/add cannot be applied[\s\S]*float32\[B, S, 4\], float32\[B, T, 4\]/);
  expect(() => ops.matmul(g, a, b)).toThrow(/matmul cannot be applied[\s\S]*equal inner sizes/);
  expect(() => ops.splitHeads(g, a, 3)).toThrow(/splitHeads[\s\S]*H = 3/);
  expect(() => ops.rmsNorm(g, a, scalar(g, 1), 1e-6)).toThrow(/rmsNorm[\s\S]*g \[D\]/);
  expect(() => ops.attend(g, a, a, a, b)).toThrow(/attend[\s\S]*a bias that broadcasts/);
  const heads = (n: number) => input(g, `heads${n}`, "float32", ["B", n, "S", 4]);
  const [two, three, six] = [heads(2), heads(3), heads(6)];
  expect(() => ops.attend(g, three, two, two, a)).toThrow(/attend[\s\S]*a multiple of the key heads/);
  expect(() => ops.attend(g, six, two, three, a)).toThrow(/as many value heads/);
  expect(() => ops.regroup(g, two, 4)).toThrow(/regroup[\s\S]*divisible by 4/);
  const angles = input(g, "angles", "float32", ["N", 3]);
  const positions = input(g, "positions", "int32", ["B", "S"]);
  expect(() => ops.rope(g, two, angles, angles, positions)).toThrow(/rope[\s\S]*R ≤ K/);
  expect(() => ops.layerNorm(g, a, scalar(g, 1), scalar(g, 1), 1e-5)).toThrow(/layerNorm[\s\S]*b \[D\]/);
  const stored = input(g, "stored", "float32", [4, 6]);
  expect(() => ops.linear(g, a, stored)).toThrow(/linear[\s\S]*x \[…, 6\] and W \[out,in\]/);
  expect(() => ops.linear(g, a, stored, { stored: "in,out", bias: scalar(g, 0) })).toThrow(/a bias \[6\]/);
  expect(() => ops.split(g, a, 2, 3)).toThrow(/split[\s\S]*axis 2 in 3 equal parts/);
  expect(() => ops.split(g, a, 1, 2)).toThrow(/split/);
  expect(() => ops.broadcastLike(g, a, b, 1)).toThrow(/broadcastLike[\s\S]*size 1 at axis 1/);
  expect(() => ops.gatherRows(g, a, ids)).toThrow(/gatherRows/);
  expect(() => ops.scatterRows(g, a, ids, b, false)).toThrow(/scatterRows[\s\S]*a row for each/);
  expect(() => ops.flatten(g, two, 0)).toThrow(/known sizes behind/);
  expect(() => ops.concat(g, [a, b], 2)).toThrow(/concat[\s\S]*except axis 2/);
  expect(() => ops.gather(g, a, b)).toThrow(/int32 ids/);
  expect(() => ops.nll(g, a, ids)).toThrow(/nll[\s\S]*ids/);
  expect(() => ops.transpose(g, a, [0, 0, 1])).toThrow(/an order of all axes/);
  expect(() => ops.sum(g, a, [3])).toThrow(/axes \[3\]/);
  expect(() => input(g, "a", "float32", [])).toThrow(/declared twice/);
});

test("a dead node goes, and only it; the graph it came from stays as it was", () => {
  const { g, x, w } = square();
  const alive = g.nodes.length;
  ops.exp(g, ops.linear(g, x, w));
  const result = simplify(g);
  expect(result.removed).toBe(2);
  expect(result.graph.nodes.length).toBe(alive);
  expect(g.nodes.length).toBe(alive + 2);
});

test("check finds what a hand can break", () => {
  const { g, y } = square();
  const broken = (change: Partial<Graph>) => () => check({ ...g, ...change });
  expect(broken({})).not.toThrow();
  expect(broken({ nodes: [...g.nodes].reverse() })).toThrow(/not made before it/);
  expect(broken({ inputs: [] })).toThrow(/linear uses x/);
  expect(broken({ nodes: [...g.nodes, g.nodes[0]!] })).toThrow(/made twice/);
  const [linear, ...rest] = g.nodes;
  const lying = { ...linear!, outputs: [{ ...y, shape: ["B", 9] }] };
  expect(broken({ nodes: [lying, ...rest] })).toThrow(/linear gives float32\[B,2\], not/);
  const foreign = square().loss;
  expect(broken({ outputs: [{ name: "z", value: { ...foreign, id: 999 } }] })).toThrow(/output z/);
});

test("the interpreter's exact gelu ends for every number, and is right in the tails", () => {
  const g = emptyGraph();
  output(g, "y", ops.geluExact(g, input(g, "x", "float32", ["N"])));
  // Φ(−5), Φ(−6), Φ(−7), Φ(−10) to ten digits (Abramowitz & Stegun, table 26.2)
  const known = [
    [-5, 2.866515719e-7],
    [-6, 9.86587645e-10],
    [-7, 1.279812544e-12],
    [-10, 7.619853024e-24],
  ] as const;
  const gelu = (...x: number[]) => interpret(g, { x: { shape: [x.length], data: Float64Array.from(x) } }).y!.data;
  for (const [x, share] of known) expect(gelu(x)[0]! / (x * share)).toBeCloseTo(1, 8);
  expect([...gelu(8, 40, 1e30, Number.POSITIVE_INFINITY)]).toEqual(
    [8, 40, 1e30, Number.POSITIVE_INFINITY].map((x) => expect.closeTo(x, 12)),
  );
  expect(Math.abs(gelu(-40)[0]!)).toBeLessThan(1e-300);
  expect(gelu(Number.NaN)[0]).toBeNaN();
});
