/**
 * @file A model cut into its layers: graphs of one layer each, of what comes before the first and after the last. They are the frozen model's
 * alone, without a method.
 *
 * In: a ModelSource whose partial model keeps the one layer (or none). Out: a Graph. A model of one stack reads text and target as one
 * sequence; then T is their length together, and `picks` [B, U, T] of 0 and 1 says whose hidden states predict the targets.
 */
import { emptyGraph, type Graph, input, output, type Value } from "../graph/graph.js";
import * as ops from "../graph/ops.js";
import type { Ends } from "../model/architecture.js";
import { architectureOf } from "../model/architectures.js";
import { openBuilder } from "../model/builder.js";
import type { PartialModel } from "../model/partial.js";
import type { ModelSource } from "./graphs.js";

/** One layer of a model, by its stack's name and its number in the full model. */
export interface LayerSite {
  readonly stack: string;
  readonly layer: number;
}

/** The partial model that keeps one layer, or nothing. */
export function oneLayer(config: ModelSource["config"], site: LayerSite | null): PartialModel {
  const stacks = architectureOf(config).stacks(config);
  const kept = (stack: string) => ({ layers: site?.stack === stack ? [site.layer] : [], neurons: null });
  const name = site === null ? "no layer" : `${site.stack} ${site.layer}`;
  return { stacks: Object.fromEntries(stacks.map((stack) => [stack.name, kept(stack.name)])), name };
}

const inner: Ends = { first: false, last: false };

/** What enters the first stack. In: inputIds [B, T]. Out: next [B, T, D]. */
export function enterGraph(source: ModelSource): Graph {
  const { graph, architecture, builder, config } = open(source);
  const x = architecture.embed(builder, config, input(graph, "inputIds", "int32", ["B", "T"]));
  output(graph, "next", architecture.prefill(builder, config, x, { first: true, last: false }).hidden);
  return graph;
}

/** What enters the second stack of a family that has two. In: decoderIds [B, U]. Out: next [B, U, D]. */
export function enterSecondGraph(source: ModelSource): Graph {
  const { graph, architecture, builder, config } = open(source);
  const x = architecture.embed(builder, config, input(graph, "decoderIds", "int32", ["B", "U"]));
  output(
    graph,
    "next",
    architecture.decode(builder, config, x, [], undefined, false, { first: true, last: false }).hidden,
  );
  return graph;
}

/** A layer of the first stack. In: hidden [B, T, D]. Out: next, of the same shape. */
export function firstStackGraph(source: ModelSource): Graph {
  const { graph, architecture, builder, config } = open(source);
  output(graph, "next", architecture.prefill(builder, config, hidden(source, graph, "T"), inner).hidden);
  return graph;
}

/** A layer of the second stack. In: hidden [B, U, D], and `read` [B, T, D], what the first stack's last layer gave. Out: next, of the same shape. */
export function secondStackGraph(source: ModelSource): Graph {
  const { graph, architecture, builder, config } = open(source);
  const read = hidden(source, graph, "T", "read");
  const { memory } = architecture.prefill(builder, config, read, { first: false, last: true });
  const x = hidden(source, graph, "U");
  output(graph, "next", architecture.decode(builder, config, x, memory, undefined, false, inner).hidden);
  return graph;
}

/** Final norm and head. In: hidden of the last stack, targetIds [B, U], of one stack `picks` as well. Out: nll [B, U] unweighted. */
export function lossGraph(source: ModelSource): Graph {
  const { graph, architecture, builder, config } = open(source);
  const end: Ends = { first: false, last: true };
  const oneStack = architecture.stacks(config).length === 1;
  const predicting = (): Value => {
    if (!oneStack)
      return architecture.decode(builder, config, hidden(source, graph, "U"), [], undefined, false, end).hidden;
    const { hidden: all } = architecture.prefill(builder, config, hidden(source, graph, "T"), end);
    return ops.matmul(graph, input(graph, "picks", "float32", ["B", "U", "T"]), all);
  };
  const logits = architecture.logits(builder, config, predicting());
  output(graph, "nll", ops.nll(graph, logits, input(graph, "targetIds", "int32", ["B", "U"])));
  return graph;
}

function open({ config, weights, partial }: ModelSource) {
  const graph = emptyGraph();
  return { graph, config, architecture: architectureOf(config), builder: openBuilder(graph, weights, partial) };
}

function hidden({ config }: ModelSource, graph: Graph, length: string, name = "hidden"): Value {
  return input(graph, name, "float32", ["B", length, config.width]);
}
