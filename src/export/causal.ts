/**
 * @file A decoder-only model as transformers.js runs it: one `model.onnx` with past keys and values.
 *
 * In: a config, weights, the keys and values that stand before every text. Out: a draft. Attention is causal, so the keys and values that a
 * prompt or a prefix puts before a text never depend on the text. They are constants, joined at every step. Inputs and outputs hold only
 * the text's own keys and values, because callers use the length of the cache as the length of the text. Positions and masks are lengthened
 * inside.
 */
import { plus } from "../graph/dims.js";
import { constant, emptyGraph, input, output } from "../graph/graph.js";
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
import type { Baking, Draft } from "./draft.js";

export function causalDraft(config: CausalConfig, { weights }: Pick<Baking, "weights">, baked: BakedKeys): Draft {
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
  const { length: before } = baked;
  const constantOf = (data: Float32Array) => ops.broadcastLike(graph, constant(graph, [1, G, before, K], data), x);
  const memory = baked.layers.map(({ key, value }): KeyValue => ({ key: constantOf(key), value: constantOf(value) }));
  const decoded = before > 0 ? decode(b, config, x, memory, { past }) : decode(b, config, x, past);
  const join = (i: number, part: "key" | "value") =>
    before > 0 ? decoded.present[i]![part] : ops.concat(graph, [past[i]![part], decoded.present[i]![part]], 2);
  const kept = input(graph, "kept", "float32", [1, "W"]);
  output(graph, "logits", head(b, config, ops.slice(graph, decoded.hidden, kept, 1, "end")));
  for (let i = 0; i < layers; i++)
    for (const part of ["key", "value"] as const) output(graph, `present.${i}.${part}`, join(i, part));
  const names = feedNames("decode");
  return {
    file: "model",
    graph,
    outside: {
      symbols: { B: "batch_size", U: "sequence_length", N: "past_sequence_length", W: "logits_length" },
      inputs: [
        fed("input_ids", "int64", ["B", "U"]),
        fed("attention_mask", "int64", ["B", plus(["N", "U"])]),
        ...past.flatMap(({ key, value }) => [key, value]),
        fed("num_logits_to_keep", "int64", []),
      ],
      write: (w) => {
        writeIds(w, "input_ids", "inputIds");
        writeKept(w, "num_logits_to_keep", "input_ids", "kept");
        const places = textPlaces(w, "attention_mask", "input_ids", before);
        writePositions(w, places, names.positions);
        if (hasOpenLayers(config)) writeSight(w, places, { window: null, hidden: hiddenScore }, names.bias);
        if (config.window) writeSight(w, places, { window: config.window.size, hidden: hiddenScore }, names.window);
        if (config.rotary) {
          const rows = lengths(w, before, axisLength(w, "attention_mask", 1));
          writeRotary(w, frequencies(config.rotary), rows, { cos: "cos", sin: "sin" });
        }
      },
    },
  };
}
