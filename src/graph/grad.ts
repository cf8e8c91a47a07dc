/**
 * @file Reverse-mode differentiation, graph to graph: the whole of it on one page.
 *
 * In: a graph, a scalar loss, one value. Out: new nodes in the same graph that compute d loss / d value, made of the
 * same ordinary ops, so that any inference runtime can train. Only the cone is walked: nodes that depend on the value
 * and that the loss depends on. A frozen weight lies outside it, so no weight gradient is ever made.
 */
import { SoftpromptError } from "../base/errors.js";
import { type Graph, type Node, type Op, scalar, type Value } from "./graph.js";
import * as ops from "./ops.js";

/** Ops without a rule: an op here inside the cone stops the differentiation, by name. */
type Opaque = "abs" | "step" | "cast" | "mean" | "slice" | "gather" | "scatterAdd" | "argMax";
export type DifferentiableOp = Exclude<Op, Opaque>;

/**
 * One rule: from the gradient `dy` of the node's first output to the gradients of its inputs. `needs(i)` tells whether
 * input i lies in the cone; a rule leaves the others undefined. Other outputs (softmax, norms) carry no gradient.
 */
type Rule<K extends Op> = (
  g: Graph,
  node: Node<K>,
  dy: Value,
  needs: (index: number) => boolean,
) => readonly (Value | undefined)[];

const { add, sub, mul, matmul, sum } = ops;

/** gelu_new(x) = x·σ(w), w = √(8/π)(x + 0.044715 x³); w' = `slope` + `bend`·x². */
const [slope, bend] = [Math.sqrt(8 / Math.PI), 3 * 0.044715 * Math.sqrt(8 / Math.PI)];

/** d loss / d input, given d loss / d output, for every op. */
export const rules = {
  add: (g, { inputs: [a, b] }, dy, needs) =>
    [needs(0) && unbroadcast(g, dy, a!), needs(1) && unbroadcast(g, dy, b!)].map(orNone),
  sub: (g, { inputs: [a, b] }, dy, needs) =>
    [needs(0) && unbroadcast(g, dy, a!), needs(1) && unbroadcast(g, mul(g, dy, scalar(g, -1)), b!)].map(orNone),
  mul: (g, { inputs: [a, b] }, dy, needs) =>
    [needs(0) && unbroadcast(g, mul(g, dy, b!), a!), needs(1) && unbroadcast(g, mul(g, dy, a!), b!)].map(orNone),
  exp: (g, { outputs: [y] }, dy) => [mul(g, dy, y!)],
  // σ' = σ − σ²
  sigmoid: (g, { outputs: [y] }, dy) => [mul(g, dy, sub(g, y!, mul(g, y!, y!)))],
  relu: (g, { inputs: [x] }, dy) => [mul(g, dy, ops.step(g, x!))],
  // (x·s)' = s + x·s(1−s)·w' = s + (y − y·s)·w', where y = x·s
  gelu: (g, { inputs: [x], outputs: [y, s] }, dy) => {
    const w = add(g, mul(g, mul(g, x!, x!), scalar(g, bend)), scalar(g, slope));
    return [mul(g, dy, add(g, s!, mul(g, sub(g, y!, mul(g, y!, s!)), w)))];
  },
  // y = A·B, y = A·Bᵀ, y = Aᵀ·B, y = Aᵀ·Bᵀ
  matmul: (g, { inputs: [a, b], attributes: { transA, transB } }, dy, needs) =>
    [
      needs(0) &&
        unbroadcast(
          g,
          transA ? matmul(g, b!, dy, { transA: transB, transB: true }) : matmul(g, dy, b!, { transB: !transB }),
          a!,
        ),
      needs(1) &&
        unbroadcast(
          g,
          transB ? matmul(g, dy, a!, { transA: true, transB: transA }) : matmul(g, a!, dy, { transA: !transA }),
          b!,
        ),
    ].map(orNone),
  linear: (g, { inputs: [, w], attributes: { back, precision } }, dy, needs) => {
    if (needs(1)) throw frozen("linear");
    return [ops.apply(g, "linear", [dy, w!], { back: !back, precision })[0]];
  },
  // y = x·r·g: dx = r·(dy·g) − x·r²·mean(dy·y). The mean needs no pass of its own over dy·g.
  rmsNorm: (g, { inputs: [x, gain], outputs: [y, r] }, dy, needs) => {
    if (needs(1)) throw frozen("rmsNorm");
    const last = x!.shape.length - 1;
    const share = mul(g, ops.mean(g, mul(g, dy, y!), [last]), mul(g, r!, r!));
    return [sub(g, mul(g, mul(g, dy, gain!), r!), mul(g, x!, share))];
  },
  // y = P·v, P = softmax(q·kᵀ + bias): dS = P ⊙ (dy·vᵀ − rowsum(dy ⊙ y)), since rowsum(dP ⊙ P) = rowsum(dy ⊙ y)
  attend: (g, { inputs: [q, k, v, bias], outputs: [y, p] }, dy, needs) => {
    if (needs(3)) throw frozen("attend", `its bias ${bias!.name}`);
    const dv = needs(2) && unbroadcast(g, matmul(g, p!, dy, { transA: true }), v!);
    if (!needs(0) && !needs(1)) return [undefined, undefined, orNone(dv)];
    const rows = sum(g, mul(g, dy, y!), [y!.shape.length - 1]);
    const ds = mul(g, p!, sub(g, matmul(g, dy, v!, { transB: true }), rows));
    const dq = needs(0) && unbroadcast(g, matmul(g, ds, k!), q!);
    const dk = needs(1) && unbroadcast(g, matmul(g, ds, q!, { transA: true }), k!);
    return [dq, dk, dv].map(orNone);
  },
  sum: (g, { inputs: [x] }, dy) => [add(g, dy, mul(g, x!, scalar(g, 0)))],
  transpose: (g, { attributes: { order } }, dy) => [ops.transpose(g, dy, invert(order))],
  splitHeads: (g, _, dy) => [ops.mergeHeads(g, dy)],
  mergeHeads: (g, { inputs: [x] }, dy) => [ops.splitHeads(g, dy, x!.shape.at(-3) as number)],
  reshapeLike: (g, { inputs: [x] }, dy) => [ops.reshapeLike(g, dy, x!)],
  flatten: (g, { inputs: [x] }, dy) => [ops.reshapeLike(g, dy, x!)],
  unsqueeze: (g, { inputs: [x] }, dy) => [ops.reshapeLike(g, dy, x!)],
  concat: (g, { inputs, attributes: { axis } }, dy, needs) => {
    if (inputs.length !== 2) throw unknown("concat of more than two parts");
    return inputs.map((x, i) => (needs(i) ? ops.slice(g, dy, x, axis, i === 0 ? "start" : "end") : undefined));
  },
  // dx = (softmax − onehot)·dy
  nll: (g, { inputs: [, ids], outputs: [, logProbabilities] }, dy) => {
    const pushed = mul(g, ops.exp(g, logProbabilities!), ops.unsqueeze(g, dy, dy.shape.length));
    return [ops.scatterAdd(g, pushed, ids!, mul(g, dy, scalar(g, -1)))];
  },
} satisfies { [K in DifferentiableOp]: Rule<K> };

/**
 * Appends the gradient of `loss` (one element) with respect to `wrt` and returns it; its shape is that of `wrt`.
 * Refuses, by name, an op in the cone that has no rule, and a loss that does not depend on `wrt`.
 */
export function gradient(graph: Graph, loss: Value, wrt: Value): Value {
  if (loss.shape.some((d) => d !== 1))
    throw new SoftpromptError("engine", "only a loss of one element can be differentiated", {
      where: "gradient",
      expected: "shape [] or [1, …]",
      got: loss.shape,
    });
  const nodes = [...graph.nodes]; // the walk must not see the nodes it appends
  const cone = new Set([wrt.id]);
  for (const node of nodes) if (node.inputs.some((v) => cone.has(v.id))) for (const v of node.outputs) cone.add(v.id);
  if (!cone.has(loss.id))
    throw new SoftpromptError("engine", `the loss does not depend on ${wrt.name}`, {
      where: "gradient",
      expected: `a path from ${wrt.name} to ${loss.name}`,
    });

  const grads = new Map<number, Value>([[loss.id, reshapeOnes(graph, loss)]]);
  for (const node of nodes.reverse()) {
    const dys = node.outputs.map((v) => grads.get(v.id));
    if (dys.every((dy) => dy === undefined) || !node.inputs.some((v) => cone.has(v.id))) continue;
    const rule = rules[node.op as DifferentiableOp] as Rule<Op> | undefined;
    if (!rule) throw unknown(node.op);
    if (dys.slice(1).some((dy) => dy !== undefined)) throw unknown(`${node.op}'s second output`);
    const dxs = rule(graph, node, dys[0]!, (i) => cone.has(node.inputs[i]!.id));
    for (const [i, dx] of dxs.entries()) {
      const x = node.inputs[i]!;
      if (dx === undefined || !cone.has(x.id)) continue;
      const before = grads.get(x.id);
      grads.set(x.id, before ? add(graph, before, dx) : dx);
    }
  }
  return grads.get(wrt.id)!;
}

/** Undoes broadcasting: sums a gradient down to the shape of the operand it belongs to. */
function unbroadcast(g: Graph, dy: Value, x: Value): Value {
  const missing = dy.shape.length - x.shape.length;
  const axes = dy.shape.flatMap((d, i) => (i < missing || (x.shape[i - missing] === 1 && d !== 1) ? [i] : []));
  if (axes.length === 0) return dy;
  const summed = sum(g, dy, axes);
  return missing === 0 ? summed : ops.reshapeLike(g, summed, x);
}

function reshapeOnes(g: Graph, like: Value): Value {
  const one = scalar(g, 1);
  return like.shape.length === 0 ? one : like.shape.reduce((v: Value) => ops.unsqueeze(g, v, 0), one);
}

function orNone(value: Value | false | undefined): Value | undefined {
  return value === false ? undefined : value;
}

function invert(order: readonly number[]): number[] {
  const inverse = new Array<number>(order.length);
  for (const [i, o] of order.entries()) inverse[o] = i;
  return inverse;
}

function unknown(what: string): SoftpromptError {
  return new SoftpromptError("engine", `no gradient rule for ${what}`, {
    where: "gradient",
    expected: `one of ${Object.keys(rules).join(", ")}`,
    got: what,
    hint: "the op lies between the prompt and the loss; add a rule to src/graph/grad.ts, with a test",
  });
}

function frozen(op: string, what = "its weight"): SoftpromptError {
  return new SoftpromptError("engine", `${op} has no gradient for ${what}`, {
    where: "gradient",
    expected: "a frozen operand outside the cone between the prompt and the loss",
    hint: "weights are never trained here",
  });
}
