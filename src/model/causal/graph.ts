/**
 * @file Decoder-only models as graphs: one block for every family, read once over prompt and text, then over the tokens that follow.
 *
 * In: a Builder, a CausalConfig. Out: graph values. Both halves are the same stack. The memory of the first half is each layer's keys (turned
 * by their positions) and values; the second half's tokens see it and, causally, each other. The host feeds the mask and the position of
 * each token (feeds.ts), row by row, so a row never depends on its padding.
 */

import { plus } from "../../graph/dims.js";
import { maker, type Value } from "../../graph/graph.js";
import * as ops from "../../graph/ops.js";
import {
  type Builder,
  bothEnds,
  type Decoded,
  type Decoding,
  type Ends,
  type KeyValue,
  type Prefilled,
} from "../architecture.js";
import { ops as activations } from "./activations.js";
import type { CausalConfig } from "./config.js";
import { embeddingOf, families, nameOf } from "./families.js";
import { headNorms, stackName } from "./tensors.js";

/** Token embeddings as float32: ids […] → […, D]. Rows are gathered before they are widened. */
export function embed(b: Builder, config: CausalConfig, ids: Value): Value {
  const table = b.weight(`${embeddingOf(families[config.family])}.weight`);
  return ops.cast(b.graph, ops.gather(b.graph, table, ids), "float32");
}

/** @param x [B, S, D] embeddings of prompt and text; S may be 0 */
export function prefill(b: Builder, config: CausalConfig, x: Value, ends: Ends = bothEnds): Prefilled {
  const before = b.before({ stack: stackName, attention: "self" });
  const pass = open(b, config, "prefill", x.shape[1]!, plus([...(before > 0 ? [before] : []), x.shape[1]!]));
  const memory: KeyValue[] = [];
  const seen: Value[] = [];
  let hidden = ends.first ? positioned(pass, x) : x;
  for (const [i, layer] of b.kept.stacks[stackName]!.layers.entries()) {
    const result = block(pass, hidden, { layer, lowest: ends.first && i === 0 }, (own) => {
      const keys = b.keyValues(own, { stack: stackName, layer, attention: "self" });
      memory.push(keys);
      return keys;
    });
    hidden = result.hidden;
    seen.push(result.activation);
  }
  return { memory, hidden: ends.last ? finalNorm(pass, hidden) : hidden, activations: { [stackName]: seen } };
}

/**
 * @param x [B, U, D], or [B, C, U, D]: the tokens of all choices of a row are one list of C·U queries over its one memory, and the mask keeps
 *   each choice to itself
 */
export function decode(
  b: Builder,
  config: CausalConfig,
  x: Value,
  memory: readonly KeyValue[],
  { past, ends = bothEnds }: Decoding = {},
): Decoded {
  const { graph: g } = b;
  const flat = x.shape.length === 4 ? ops.flatten(g, x, 1) : x;
  const U = flat.shape[1]!;
  const before = [memory[0]!, ...(past ? [past[0]!] : [])].map(({ key }) => key.shape.at(-2)!);
  const pass = open(b, config, "decode", U, plus([...before, U]));
  const present: KeyValue[] = [];
  const seen: Value[] = [];
  // a memory that is fed is frozen: it need not be joined with the new keys
  const fed = isFed(memory[0]!.key);
  let hidden = ends.first ? positioned(pass, flat) : flat;
  for (const [i, layer] of b.kept.stacks[stackName]!.layers.entries()) {
    const result = block(pass, hidden, { layer, lowest: ends.first && i === 0 }, (own) => {
      const now = past ? join(b, past[i]!, own) : own;
      present.push(now);
      return fed ? { ...now, memory: memory[i]! } : join(b, memory[i]!, now);
    });
    hidden = result.hidden;
    seen.push(result.activation);
  }
  const normed = ends.last ? finalNorm(pass, hidden) : hidden;
  return {
    hidden: flat === x ? normed : ops.reshapeLike(g, normed, x),
    present,
    activations: { [stackName]: seen },
  };
}

/** Whether a value is fed, in whatever type it comes. */
function isFed(value: Value): boolean {
  const node = maker(value);
  return node?.op === "cast" ? isFed(node.inputs[0]!) : value.source === "input";
}

/** Logits […, V]. */
export function head(b: Builder, config: CausalConfig, hidden: Value): Value {
  const family = families[config.family];
  return b.linear(hidden, config.tiedHead ? embeddingOf(family) : family.layout.head[0]);
}

/** One half of the model while it is written: the mask and the positions of its tokens. */
interface Pass {
  readonly b: Builder;
  readonly config: CausalConfig;
  /** int32 [B, queries] */
  readonly positions: Value;
  readonly rotary: { readonly cos: Value; readonly sin: Value } | null;
  /** Added to the scores of a layer: [B, 1, queries, keys]. */
  bias(layer: number): Value;
}

/** Declares what feeds.ts feeds, whatever layers are kept. */
function open(
  b: Builder,
  config: CausalConfig,
  half: Half,
  queries: Value["shape"][number],
  keys: Value["shape"][number],
): Pass {
  const names = feedNames(half);
  const positions = b.feed(names.positions, "int32", ["B", queries]);
  const table = (name: string) => b.feed(name, "float32", ["R", config.rotary!.width / 2]);
  const bias = (name: string) => b.feed(name, "float32", ["B", 1, queries, keys]);
  const windowed = config.window ? bias(names.window) : null;
  const open = hasOpenLayers(config) ? bias(names.bias) : null;
  return {
    b,
    config,
    positions,
    rotary: config.rotary ? { cos: table("cos"), sin: table("sin") } : null,
    bias: (layer) => (config.window?.layers.includes(layer) ? windowed! : open!),
  };
}

/** What a layer's queries see, given its own keys and values; a frozen memory before them stays apart. */
type Reach = (own: KeyValue) => KeyValue & { readonly memory?: KeyValue };

export type Half = "prefill" | "decode";

/** Names of a half's own feeds; the tables `cos` and `sin` serve both. */
export function feedNames(half: Half) {
  return { positions: `${half}Positions`, bias: `${half}Bias`, window: `${half}Window` } as const;
}

/** Whether some layer sees everything before it. */
export function hasOpenLayers({ window, layers }: CausalConfig): boolean {
  return window === null || window.layers.length < layers;
}

function block(
  pass: Pass,
  x: Value,
  { layer, lowest }: { readonly layer: number; readonly lowest: boolean },
  reach: Reach,
): { readonly hidden: Value; readonly activation: Value } {
  const { b, config } = pass;
  const { graph: g } = b;
  const { layout } = families[config.family];
  const at = (name: string) => nameOf(layout, name, layer);
  const attended = attention(pass, norm(pass, x, at(layout.attentionNorm), lowest), layer, reach);
  const middle = ops.add(g, x, attended);
  const normed = norm(pass, config.parallel ? x : middle, at(layout.feedForwardNorm));
  const activate = activations[config.activation];
  const [first, second] = layout.up.map((name) => b.linear(normed, at(name)));
  const activation = second ? ops.mul(g, activate(g, first!), second) : activate(g, first!);
  return { hidden: ops.add(g, middle, b.linear(activation, at(layout.down))), activation };
}

function attention(pass: Pass, x: Value, layer: number, reach: Reach): Value {
  const { b, config } = pass;
  const { graph: g } = b;
  const family = families[config.family];
  const at = (name: string) => nameOf(family.layout, name, layer);
  const { q, k, v } = project(pass, x, layer);
  const [queryNorm, keyNorm] = headNorms.map(at);
  const normed = (heads: Value, name: string) =>
    family.headNorms ? ops.rmsNorm(g, heads, b.vector(`${name}.weight`), config.normEpsilon) : heads;
  const { memory, ...own } = reach({ key: turn(pass, normed(k, keyNorm!)), value: v });
  const query = turn(pass, normed(q, queryNorm!));
  const scale = config.headWidth ** -0.5;
  const context = memory
    ? ops.attendOver(g, query, memory, own, pass.bias(layer), scale)
    : ops.attend(g, query, own.key, own.value, pass.bias(layer), scale);
  return b.linear(ops.mergeHeads(g, context), at(family.layout.out));
}

/** Queries [B, H, S, K], keys and values [B, G, S, K]. */
function project({ b, config }: Pass, x: Value, layer: number): { q: Value; k: Value; v: Value } {
  const { graph: g } = b;
  const { layout } = families[config.family];
  const { attention } = layout;
  const linear = (name: string) => b.linear(x, nameOf(layout, name, layer));
  if (attention.kind === "apart") {
    const heads = (name: string, count: number) => ops.splitHeads(g, linear(name), count);
    return {
      q: heads(attention.q, config.heads),
      k: heads(attention.k, config.keyHeads),
      v: heads(attention.v, config.keyHeads),
    };
  }
  const all = linear(attention.qkv);
  const [q, k, v] =
    attention.kind === "blocks"
      ? ops.split(g, all, 2, 3).map((part) => ops.splitHeads(g, part, config.heads))
      : ops.split(g, ops.splitHeads(g, all, config.heads), 3, 3);
  return { q: q!, k: k!, v: v! };
}

function turn({ b, positions, rotary }: Pass, heads: Value): Value {
  return rotary ? ops.rope(b.graph, heads, rotary.cos, rotary.sin, positions) : heads;
}

/** Learned positions are added to what enters the stack, virtual tokens included. */
function positioned({ b, config, positions }: Pass, x: Value): Value {
  const { layout } = families[config.family];
  if (!layout.positions) return x;
  const rows = ops.gather(b.graph, b.weight(`${nameOf(layout, layout.positions)}.weight`), positions);
  return ops.add(b.graph, x, ops.cast(b.graph, rows, "float32"));
}

/**
 * Virtual tokens of zeros at the beginning, pruned ones, see only themselves: without biases they stay zeros in every layer. Each norm would
 * multiply their gradient by 1/√ε, to infinity in a deep model, and infinity times the zeros of the causal mask is NaN for all others. So
 * the gradient of zeros stops at every norm but the lowest, where it may be that of a prompt which starts from zeros.
 */
function norm({ b, config }: Pass, x: Value, name: string, lowest = false): Value {
  const weight = b.vector(`${name}.weight`);
  if (families[config.family].norm === "rms")
    return ops.rmsNorm(b.graph, x, weight, config.normEpsilon, { stopsAtZero: !lowest });
  return ops.layerNorm(b.graph, x, weight, b.vector(`${name}.bias`), config.normEpsilon);
}

function finalNorm(pass: Pass, x: Value): Value {
  const { layout } = families[pass.config.family];
  return norm(pass, x, nameOf(layout, layout.finalNorm));
}

function join({ graph: g }: Builder, before: KeyValue, now: KeyValue): KeyValue {
  return { key: ops.concat(g, [before.key, now.key], 2), value: ops.concat(g, [before.value, now.value], 2) };
}
