/**
 * @file A decoder-only model as transformers.js runs it: one `model.onnx` with past keys and values.
 *
 * In: a config, weights, the keys and values that stand before every text. Out: a draft. Attention is causal, so the keys and values that a
 * prompt or a prefix puts before a text never depend on the text. They are constants, or optional inputs, joined at every step. Inputs and outputs hold only
 * the text's own keys and values, because callers use the length of the cache as the length of the text. Positions and masks are lengthened
 * inside.
 */
import { plus } from "../graph/dims.js";
import { constant, emptyGraph, type Graph, input, output, type Value } from "../graph/graph.js";
import * as ops from "../graph/ops.js";
import { hiddenScore, type KeyValue } from "../model/architecture.js";
import { openBuilder } from "../model/builder.js";
import type { CausalConfig } from "../model/causal/config.js";
import { decode, embed, feedNames, hasOpenLayers, head } from "../model/causal/graph.js";
import { frequencies } from "../model/causal/rotary.js";
import { fullModel } from "../model/partial.js";
import {
  axisLength,
  fed,
  lengths,
  textPlaces,
  writeIds,
  writeKept,
  writePositions,
  writeRotary,
  writeSight,
} from "../onnx/outside.js";
import type { BakedKeys } from "./baked.js";
import { type Baking, type Draft, promptInputs, promptInputsOf } from "./draft.js";

export function causalDraft(
  config: CausalConfig,
  { weights, promptInput }: Pick<Baking, "weights" | "promptInput">,
  baked: BakedKeys,
): Draft {
  const { headWidth: K, keyHeads: G, layers } = config;
  const graph = emptyGraph();
  const ids = input(graph, "inputIds", "int32", ["B", "U"]);
  const b = openBuilder(graph, weights.weights, fullModel(config));
  const x = embed(b, config, ids);
  const pastName = (i: number, part: string) => `past_key_values.${i}.${part}`;
  const past = Array.from({ length: layers }, (_, i): KeyValue => {
    const of = (part: string) => input(graph, pastName(i, part), "float32", ["B", G, "N", K]);
    return { key: of("key"), value: of("value") };
  });
  const each = (part: Value) => ops.broadcastLike(graph, part, x);
  const before = promptInput ? givenKeys(graph, config) : constantKeys(graph, config, baked);
  const memory = before.map(({ key, value }): KeyValue => ({ key: each(key), value: each(value) }));
  const behind = memory.length > 0;
  const decoded = behind ? decode(b, config, x, memory, { past }) : decode(b, config, x, past);
  const join = (i: number, part: "key" | "value") =>
    behind ? decoded.present[i]![part] : ops.concat(graph, [past[i]![part], decoded.present[i]![part]], 2);
  const kept = input(graph, "kept", "float32", [1, "W"]);
  output(graph, "logits", head(b, config, ops.slice(graph, decoded.hidden, kept, 1, "end")));
  for (let i = 0; i < layers; i++)
    for (const part of ["key", "value"] as const) output(graph, `present.${i}.${part}`, join(i, part));
  const names = feedNames("decode");
  return {
    file: "model",
    graph,
    outside: {
      symbols: {
        B: "batch_size",
        P: "prompt_length",
        U: "sequence_length",
        N: "past_sequence_length",
        W: "logits_length",
      },
      inputs: [
        fed("input_ids", "int64", ["B", "U"]),
        fed("attention_mask", "int64", ["B", plus(["N", "U"])]),
        ...past.flatMap(({ key, value }) => [key, value]),
        fed("num_logits_to_keep", "int64", []),
      ],
      optional: promptInputsOf(graph),
      write: (w) => {
        const length = promptInput ? axisLength(w, promptInputs.keys, 2) : baked.length;
        writeIds(w, "input_ids", "inputIds");
        writeKept(w, "num_logits_to_keep", "input_ids", "kept");
        const places = textPlaces(w, "attention_mask", "input_ids", length);
        writePositions(w, places, names.positions);
        if (hasOpenLayers(config)) writeSight(w, places, { window: null, hidden: hiddenScore }, names.bias);
        if (config.window) writeSight(w, places, { window: config.window.size, hidden: hiddenScore }, names.window);
        if (config.rotary) {
          const rows = lengths(w, length, axisLength(w, "attention_mask", 1));
          writeRotary(w, frequencies(config.rotary), rows, { cos: "cos", sin: "sin" });
        }
      },
    },
  };
}

/** Keys and values that are known now, [1, G, P, K] of each layer. */
function constantKeys(
  graph: Graph,
  { headWidth: K, keyHeads: G }: CausalConfig,
  { length, layers }: BakedKeys,
): KeyValue[] {
  const of = (data: Float32Array) => constant(graph, [1, G, length, K], data);
  return layers.map(({ key, value }) => ({ key: of(key), value: of(value) }));
}

/** Keys and values that callers may give, those of all layers in one tensor: ONNX Runtime warns of each optional input. */
function givenKeys(graph: Graph, { headWidth: K, keyHeads: G, layers }: CausalConfig): KeyValue[] {
  const of = (name: string) => ops.split(graph, input(graph, name, "float32", [layers, G, "P", K]), 0, layers);
  const [keys, values] = [of(promptInputs.keys), of(promptInputs.values)];
  return keys.map((key, i) => ({ key, value: values[i]! }));
}
