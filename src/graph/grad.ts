/**
 * @file Reverse-mode differentiation from graph to graph, complete in this file.
 *
 * In: a graph, a scalar loss, some values. Out: new nodes in the same graph that compute d loss / d value for each,
 * made of the same ordinary ops, so that any inference runtime can train. Only the cone is walked: nodes that depend on
 * one of the values and that the loss depends on. A frozen weight lies outside it, so no gradient of it is ever made.
 */
import { SoftpromptError } from "../base/errors.js";
import { type Graph, type Node, type Op, scalar, type Value } from "./graph.js";
import { isGrouped } from "./infer.js";
import * as ops from "./ops.js";

/** Ops without a rule: an op here inside the cone stops the differentiation, by name. */
export type Opaque = "abs" | "step" | "cast" | "mean" | "scatterAdd" | "scatterRows" | "argMax" | "widenBlocks";
/** Operators that have a gradient rule. */
export type DifferentiableOp = Exclude<Op, Opaque>;

/**
 * One rule: from the gradient `dy` of the node's first output to the gradients of its inputs. `needs(i)` tells whether
 * input i lies in the cone; a rule leaves the others undefined. Other outputs (softmax, norms) carry no gradient, but
 * for `split`, whose rule reads `dys`. `before(i)` is the sum of the gradients of input i that are known already; a rule that adds to it in a
 * pass that it needs anyway returns the sum as `Total`.
 */
type Rule<K extends Op> = (
  g: Graph,
  node: Node<K>,
  dy: Value,
  needs: (index: number) => boolean,
  dys: readonly (Value | undefined)[],
  before: (index: number) => Value | undefined,
) => readonly (Value | Total | undefined)[];

/** A gradient with those that were known before. */
interface Total {
  readonly total: Value;
}

const { add, sub, mul, matmul, mean, sum } = ops;

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
  scaleAdd: (g, { inputs: [, y, s] }, dy, needs) =>
    [needs(0) && dy, needs(1) && mul(g, dy, s!), needs(2) && sum(g, mul(g, dy, y!), [y!.shape.length - 1])].map(orNone),
  exp: (g, { outputs: [y] }, dy) => [mul(g, dy, y!)],
  // σ' = σ − σ²
  sigmoid: (g, { outputs: [y] }, dy) => [mul(g, dy, sub(g, y!, mul(g, y!, y!)))],
  // tanh' = 1 − tanh²
  tanh: (g, { outputs: [y] }, dy) => [sub(g, dy, mul(g, dy, mul(g, y!, y!)))],
  relu: (g, { inputs: [x] }, dy) => [mul(g, dy, ops.step(g, x!))],
  // (x·s)' = s + x·s(1−s)·w' = s + (y − y·s)·w', where y = x·s
  gelu: (g, { inputs: [x], outputs: [y, s], attributes: { exact } }, dy) => {
    if (exact) {
      // (x·Φ)' = Φ + x·φ, φ(x) = e^(−x²/2)/√(2π)
      const bell = ops.exp(g, mul(g, mul(g, x!, x!), scalar(g, -0.5)));
      return [mul(g, dy, add(g, s!, mul(g, mul(g, x!, bell), scalar(g, 1 / Math.sqrt(2 * Math.PI)))))];
    }
    const w = add(g, mul(g, mul(g, x!, x!), scalar(g, bend)), scalar(g, slope));
    return [mul(g, dy, add(g, s!, mul(g, sub(g, y!, mul(g, y!, s!)), w)))];
  },
  // (x·s)' = s + x·s(1−s) = s + (y − y·s)
  silu: (g, { outputs: [y, s] }, dy) => [mul(g, dy, add(g, s!, sub(g, y!, mul(g, y!, s!))))],
  // y = A·B, y = A·Bᵀ, y = Aᵀ·B, y = Aᵀ·Bᵀ, each times alpha
  matmul: (g, { inputs: [a, b], attributes: { transA, transB, alpha } }, dy, needs) =>
    [
      needs(0) &&
        unbroadcast(
          g,
          transA
            ? matmul(g, b!, dy, { transA: transB, transB: true, alpha })
            : matmul(g, dy, b!, { transB: !transB, alpha }),
          a!,
        ),
      needs(1) &&
        unbroadcast(
          g,
          transB
            ? matmul(g, dy, a!, { transA: true, transB: transA, alpha })
            : matmul(g, a!, dy, { transA: !transA, alpha }),
          b!,
        ),
    ].map(orNone),
  linear: (g, { inputs: [x, w, bias], attributes: { back, ...how } }, dy, needs) => {
    const outFirst = (how.stored === "out,in") !== back;
    const [rows, dRows] = needs(1) ? [matrix(g, x!), matrix(g, dy)] : [];
    return [
      needs(0) && ops.apply(g, "linear", [dy, w!], { back: !back, ...how })[0],
      needs(1) && (outFirst ? matmul(g, dRows!, rows!, { transA: true }) : matmul(g, rows!, dRows!, { transA: true })),
      bias !== undefined && needs(2) && unbroadcast(g, dy, bias),
    ].map(orNone);
  },
  // The matrix is frozen, and rounding is differentiated as the identity.
  linear8: (g, { inputs: [, m, s, turned, t, ...smoothing], attributes: { back, terms } }, dy) => {
    if (!turned) throw frozen("linear8", "its way back");
    return [ops.apply(g, "linear8", [dy, turned, t!, m!, s!, ...smoothing], { back: !back, terms })[0]];
  },
  linearBack8: (g, { inputs: [, , turned, t] }, dy, needs) => {
    if (needs(1)) throw frozen("linearBack8", "its matrix");
    return [ops.apply(g, "linear8", [dy, turned!, t!], { back: true, terms: 1 })[0]];
  },
  // The matrix is frozen. It is widened again on the way back, so that no wide copy is kept between the two passes.
  linearBlocks: (g, { inputs: [, ...blocks] }, dy) => {
    const wide = ops.apply(g, "widenBlocks", blocks, {})[0]!;
    return [ops.apply(g, "linear", [dy, wide], { back: true, stored: "out,in" })[0]];
  },
  // y = x·r·g, h = dy·g: dx = h·r − x·r³·mean(h·x). It does not read y, so that no pass has to keep it.
  rmsNorm: (g, { inputs: [x, gain], attributes, outputs: [, r] }, dy, needs, _, before) => {
    const dGain = gain && needs(1) && unbroadcast(g, mul(g, mul(g, dy, x!), r!), gain);
    if (!needs(0)) return [undefined, orNone(dGain)];
    const h = gain ? mul(g, dy, gain) : dy;
    const by = attributes.stopsAtZero ? withoutZeroRows(g, r!, attributes.epsilon) : r!;
    const share = mul(g, mean(g, mul(g, h, x!), [x!.shape.length - 1]), minusCube(g, by));
    return [{ total: ops.scaleAdd(g, scaled(g, h, by, before(0)), x!, share) }, orNone(dGain)];
  },
  // y = (x − μ)·r·g + b, h = dy·g: dx = h·r − (x − μ)·r³·mean(h·(x − μ)) − r·mean(h)
  layerNorm: (g, { inputs: [x, gain, bias], outputs: [, mu, r] }, dy, needs, _, before) => {
    const last = [x!.shape.length - 1];
    const centred = (needs(0) || needs(1)) && sub(g, x!, mu!);
    const dGain = needs(1) && unbroadcast(g, mul(g, mul(g, dy, centred as Value), r!), gain!);
    const dBias = needs(2) && unbroadcast(g, dy, bias!);
    if (!needs(0)) return [undefined, dGain, dBias].map((v) => orNone(v));
    const h = mul(g, dy, gain!);
    const share = mul(g, mean(g, mul(g, h, centred as Value), last), minusCube(g, r!));
    const dx = ops.scaleAdd(g, scaled(g, h, r!, before(0)), centred as Value, share);
    return [{ total: sub(g, dx, mul(g, mean(g, h, last), r!)) }, orNone(dGain), orNone(dBias)];
  },
  // y = P·v, P = softmax(scale·q·kᵀ + bias): dS = P ⊙ (dy·vᵀ − rowsum(dy ⊙ y)), since rowsum(dP ⊙ P) = rowsum(dy ⊙ y).
  // Query heads that share a key head are stacked along the rows in every product (`regroup`).
  attend: (g, { inputs: [q, k, v, bias], attributes: { scale }, outputs: [y, p] }, dy, needs) => {
    const grouped = isGrouped(q!, k!);
    const join = (x: Value) => (grouped ? ops.regroup(g, x, k!.shape.at(-3) as number) : x);
    const part = (x: Value) => (grouped ? ops.regroup(g, x, q!.shape.at(-3) as number) : x);
    const dyRows = join(dy);
    const dv = needs(2) && unbroadcast(g, matmul(g, join(p!), dyRows, { transA: true }), v!);
    if (!needs(0) && !needs(1) && !needs(3)) return [undefined, undefined, orNone(dv)];
    const total = sum(g, mul(g, dy, y!), [y!.shape.length - 1]);
    const ds = mul(g, p!, sub(g, part(matmul(g, dyRows, v!, { transB: true })), total));
    const dBias = needs(3) && unbroadcast(g, ds, bias!);
    const dsRows = join(ds);
    const dq = needs(0) && unbroadcast(g, part(matmul(g, dsRows, k!, { alpha: scale })), q!);
    const dk = needs(1) && unbroadcast(g, matmul(g, dsRows, join(q!), { transA: true, alpha: scale }), k!);
    return [dq, dk, dv, dBias].map(orNone);
  },
  // As attend, part by part: nothing is computed towards the memory, which is most of the keys, and nothing is joined.
  attendOver: (g, { inputs: [q, mk, mv, k, v], attributes: { scale }, outputs: [y, pm, p] }, dy, needs) => {
    if (needs(1) || needs(2) || needs(5)) throw frozen("attendOver", "its memory");
    const grouped = isGrouped(q!, k!);
    const join = (x: Value) => (grouped ? ops.regroup(g, x, k!.shape.at(-3) as number) : x);
    const part = (x: Value) => (grouped ? ops.regroup(g, x, q!.shape.at(-3) as number) : x);
    const dyRows = join(dy);
    const dv = needs(4) && matmul(g, join(p!), dyRows, { transA: true });
    if (!needs(0) && !needs(3)) return [undefined, undefined, undefined, undefined, orNone(dv)];
    const total = sum(g, mul(g, dy, y!), [q!.shape.length - 1]);
    const dsOf = (shares: Value, values: Value) =>
      join(mul(g, shares, sub(g, part(matmul(g, dyRows, values, { transB: true })), total)));
    const ds = dsOf(p!, v!);
    const dq = () =>
      part(add(g, matmul(g, dsOf(pm!, mv!), mk!, { alpha: scale }), matmul(g, ds, k!, { alpha: scale })));
    const dk = needs(3) && matmul(g, ds, join(q!), { transA: true, alpha: scale });
    return [needs(0) ? dq() : undefined, undefined, undefined, orNone(dk), orNone(dv)];
  },
  // a rotation's transpose is the rotation back
  rope: (g, { inputs: [, ...how], attributes: { back } }, dy, needs) => {
    if (needs(1) || needs(2)) throw frozen("rope", "its angles");
    return [ops.apply(g, "rope", [dy, ...how], { back: !back })[0]];
  },
  sum: (g, { inputs: [x] }, dy) => [add(g, dy, mul(g, x!, scalar(g, 0)))],
  transpose: (g, { attributes: { order } }, dy) => [ops.transpose(g, dy, invert(order))],
  splitHeads: (g, _, dy) => [ops.mergeHeads(g, dy)],
  mergeHeads: (g, { inputs: [x] }, dy) => [ops.splitHeads(g, dy, x!.shape.at(-3) as number)],
  reshapeLike: (g, { inputs: [x] }, dy) => [ops.reshapeLike(g, dy, x!)],
  flatten: (g, { inputs: [x] }, dy) => [ops.reshapeLike(g, dy, x!)],
  unsqueeze: (g, { inputs: [x] }, dy) => [ops.reshapeLike(g, dy, x!)],
  regroup: (g, { inputs: [x] }, dy) => [ops.regroup(g, dy, x!.shape.at(-3) as number)],
  broadcastLike: (g, { attributes: { axis } }, dy) => [sum(g, dy, [axis])],
  concat: (g, { inputs, attributes: { axis } }, dy, needs) =>
    inputs.map((x, i) => {
      if (!needs(i)) return undefined;
      return i === inputs.length - 1
        ? ops.slice(g, dy, x, axis, "end")
        : ops.slice(g, dy, x, axis, "start", inputs.slice(0, i));
    }),
  split: (g, { outputs, attributes: { axis } }, _, __, dys) => [
    ops.concat(
      g,
      outputs.map((y, i) => dys[i] ?? mul(g, y, scalar(g, 0))),
      axis,
    ),
  ],
  slice: (g, { inputs: [x, , ...skipped], attributes }, dy) => [
    ops.apply(g, "padLike", [dy, x!, ...skipped], attributes)[0],
  ],
  padLike: (g, { inputs: [x, , ...skipped], attributes }, dy) => [
    ops.apply(g, "slice", [dy, x!, ...skipped], attributes)[0],
  ],
  // Rows come first, whatever axis they were taken from, are added up, and go back.
  gather: (g, { inputs: [table, ids], attributes: { axis } }, dy) => {
    const others = table!.shape.map((_, i) => i).filter((i) => i !== axis);
    const rank = ids!.shape.length;
    const idAxes = Array.from({ length: rank }, (_, i) => axis + i);
    const otherAxes = others.map((i) => (i < axis ? i : i + rank - 1));
    const front = axis === 0 ? table! : ops.transpose(g, table!, [axis, ...others]);
    const rows = axis === 0 ? dy : ops.transpose(g, dy, [...idAxes, ...otherAxes]);
    const added = ops.scatterRows(g, front, ids!, rows, false);
    return [axis === 0 ? added : ops.transpose(g, added, invert([axis, ...others]))];
  },
  gatherRows: (g, { inputs: [x, ids] }, dy) => [ops.scatterRows(g, x!, ids!, dy, true)],
  // dx = (softmax − onehot)·dy
  nll: (g, { inputs: [, ids], outputs: [, logProbabilities] }, dy) => {
    const pushed = mul(g, ops.exp(g, logProbabilities!), ops.unsqueeze(g, dy, dy.shape.length));
    return [ops.scatterAdd(g, pushed, ids!, mul(g, dy, scalar(g, -1)))];
  },
} satisfies { [K in DifferentiableOp]: Rule<K> };

/** `gradients` for one value. */
export function gradient(graph: Graph, loss: Value, wrt: Value): Value {
  return gradients(graph, loss, [wrt])[0]!;
}

/**
 * Appends the gradients of `loss` (one element) with respect to each value, in one walk, and returns them; their shapes
 * are those of the values. Refuses, by name, an op in the cone that has no rule, and a value that the loss does not
 * depend on.
 */
export function gradients(graph: Graph, loss: Value, wrt: readonly Value[]): readonly Value[] {
  if (loss.shape.some((d) => d !== 1))
    throw new SoftpromptError("engine", "only a loss of one element can be differentiated", {
      where: "gradient",
      expected: "shape [] or [1, …]",
      got: loss.shape,
    });
  const nodes = [...graph.nodes]; // the walk must not see the nodes it appends
  const cone = new Set(wrt.map((v) => v.id));
  for (const node of nodes) if (node.inputs.some((v) => cone.has(v.id))) for (const v of node.outputs) cone.add(v.id);

  const grads = new Map<number, Value>([[loss.id, reshapeOnes(graph, loss)]]);
  for (const node of nodes.reverse()) {
    const dys = node.outputs.map((v) => grads.get(v.id));
    if (dys.every((dy) => dy === undefined) || !node.inputs.some((v) => cone.has(v.id))) continue;
    const rule = rules[node.op as DifferentiableOp] as Rule<Op> | undefined;
    if (!rule) throw unknown(node.op);
    if (node.op !== "split" && dys.slice(1).some((dy) => dy !== undefined)) throw unknown(`${node.op}'s second output`);
    const dxs = rule(
      graph,
      node,
      dys[0]!,
      (i) => cone.has(node.inputs[i]!.id),
      dys,
      (i) => grads.get(node.inputs[i]!.id),
    );
    for (const [i, dx] of dxs.entries()) {
      const x = node.inputs[i]!;
      if (dx === undefined || !cone.has(x.id)) continue;
      const before = grads.get(x.id);
      grads.set(x.id, "total" in dx ? dx.total : before ? add(graph, before, dx) : dx);
    }
  }
  return wrt.map((v) => {
    const found = grads.get(v.id);
    if (found) return found;
    throw new SoftpromptError("engine", `the loss does not depend on ${v.name}`, {
      where: "gradient",
      expected: `a path from ${v.name} to ${loss.name}`,
    });
  });
}

/** `before` + x·s, one s for each row. */
const scaled = (g: Graph, x: Value, s: Value, before: Value | undefined): Value =>
  before ? ops.scaleAdd(g, before, x, s) : mul(g, x, s);

/** r, and 0 where the row is zeros: r is 1/√ε there, but for rounding. The margin takes in rows whose root mean square is below √ε/220. */
const withoutZeroRows = (g: Graph, r: Value, epsilon: number): Value =>
  mul(g, r, ops.step(g, sub(g, scalar(g, (1 - 1e-5) / Math.sqrt(epsilon)), r)));

/** −r³ */
const minusCube = (g: Graph, r: Value): Value => mul(g, mul(g, r, r), mul(g, r, scalar(g, -1)));

/** All axes but the last joined: [N, D]. */
function matrix(g: Graph, x: Value): Value {
  let flat = x;
  for (let axis = x.shape.length - 3; axis >= 0; axis--) flat = ops.flatten(g, flat, axis);
  return flat;
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

function frozen(op: string, what: string): SoftpromptError {
  return new SoftpromptError("engine", `${op} has no gradient for ${what}`, {
    where: "gradient",
    expected: "a frozen operand outside the cone between the prompt and the loss",
    hint: "this operand is never trained here",
  });
}
