/**
 * @file An encoder-decoder as transformers.js runs it: `encoder_model.onnx` and `decoder_model_merged.onnx`.
 *
 * In: a T5's config, weights, what a method adds. Out: two drafts. The encoder puts the virtual tokens before the text and gives out their
 * states with the text's; the decoder is given the mask of the text alone and lengthens it. The decoder's keys and values over those states
 * are computed at the first token and taken from the caller afterwards (`use_cache_branch`), because callers discard later ones.
 */
import { plus } from "../graph/dims.js";
import { emptyGraph, type Graph, input, output, type Value } from "../graph/graph.js";
import type { KeyValue } from "../model/architecture.js";
import { hiddenScore } from "../model/architecture.js";
import { openBuilder } from "../model/builder.js";
import { fullModel } from "../model/partial.js";
import type { T5Config } from "../model/t5/config.js";
import { decoder, embed, encoder, head, memoryOf, relativeBuckets } from "../model/t5/graph.js";
import { axisLength, type ByDistance, fed, lengths, writeByDistance, writeIds, writePadding } from "../onnx/outside.js";
import { attached, type Baking, type Draft, openToPrompt, promptInputs, promptInputsOf } from "./draft.js";

export function seq2seqDrafts(config: T5Config, baking: Baking): Draft[] {
  return [encoderDraft(config, baking), decoderDraft(config, baking)];
}

function encoderDraft(config: T5Config, { weights, method, parameters, promptInput }: Baking): Draft {
  const graph = emptyGraph();
  const ids = input(graph, "inputIds", "int32", ["B", "T"]);
  const frozen = openBuilder(graph, weights.weights, fullModel(config));
  const text = embed(frozen, ids);
  const b = promptInput ? openToPrompt(frozen, config, text) : attached(frozen, config, method, parameters, text);
  const before = b.before({ stack: "encoder", attention: "self" });
  output(graph, "last_hidden_state", encoder(b, config, b.late ? text : b.embeddings(text)).hidden);
  return {
    file: "encoder_model",
    graph,
    outside: {
      symbols: callers,
      inputs: ["input_ids", "attention_mask"].map((name) => fed(name, "int64", ["B", "T"])),
      optional: promptInputsOf(graph),
      write: (w) => {
        const prompt = promptInput ? axisLength(w, promptInputs.vectors, 0) : tokensOf({ method, parameters });
        writeIds(w, "input_ids", "inputIds");
        writePadding(w, "attention_mask", { prompt, hidden: hiddenScore }, "padding");
        const queries = lengths(w, prompt, axisLength(w, "input_ids", 1));
        const at = { queries, first: lengths(w, before), keys: lengths(w, before, queries) };
        writeByDistance(w, bucketTable(config, false), at, "encoderBuckets");
      },
    },
  };
}

function decoderDraft(config: T5Config, { weights, method, parameters, promptInput }: Baking): Draft {
  const graph = emptyGraph();
  const ids = input(graph, "decoderIds", "int32", ["B", "U"]);
  const frozen = openBuilder(graph, weights.weights, fullModel(config));
  const x = embed(frozen, ids);
  const b = attached(frozen, config, method, parameters, x);
  const before = {
    self: b.before({ stack: "decoder", attention: "self" }),
    cross: b.before({ stack: "decoder", attention: "cross" }),
  };
  const memoryLength = before.cross > 0 ? plus([before.cross, "P+T"]) : "P+T";
  const { heads: H, headWidth: K, decoderLayers } = config;
  const pairs = (of: (part: "key" | "value", i: number) => Value): KeyValue[] =>
    Array.from({ length: decoderLayers }, (_, i) => ({ key: of("key", i), value: of("value", i) }));
  const memory = pairs((part, i) => input(graph, `memory.${i}.${part}`, "float32", ["B", H, memoryLength, K]));
  const pastName = (side: string, i: number, part: string) => `past_key_values.${i}.${side}.${part}`;
  const past = pairs((part, i) => input(graph, pastName("decoder", i, part), "float32", ["B", H, "N", K]));
  const decoded = decoder(b, config, x, memory, { past });
  output(graph, "logits", head(b, config, decoded.hidden));
  for (const [i, present] of decoded.present.entries())
    for (const part of ["key", "value"] as const) {
      output(graph, `present.${i}.decoder.${part}`, present[part]);
      output(graph, `present.${i}.encoder.${part}`, memory[i]![part]);
    }

  // the ids of its values distinguish them from the other graph's
  const reading: Graph = { ...emptyGraph(), next: 1_000_000 };
  const states = input(reading, "encoder_hidden_states", "float32", ["B", "P+T", config.width]);
  const reader = attached(openBuilder(reading, weights.weights, fullModel(config)), config, method, parameters, states);
  for (const [i, made] of memoryOf(reader, config, states).entries())
    for (const part of ["key", "value"] as const) output(reading, `memory.${i}.${part}`, made[part]);

  const layers = Array.from({ length: decoderLayers }, (_, i) => i);
  const sides = [
    ["decoder", "N"],
    ["encoder", "past_memory"],
  ] as const;
  return {
    file: "decoder_model_merged",
    graph,
    outside: {
      symbols: callers,
      inputs: [
        fed("encoder_attention_mask", "int64", ["B", "T"]),
        fed("input_ids", "int64", ["B", "U"]),
        fed("encoder_hidden_states", "float32", ["B", "P+T", config.width]),
        ...layers.flatMap((i) =>
          sides.flatMap(([side, length]) =>
            ["key", "value"].map((part) => fed(pastName(side, i, part), "float32", ["B", H, length, K])),
          ),
        ),
        fed("use_cache_branch", "bool", [1]),
      ],
      write: (w) => {
        writeIds(w, "input_ids", "decoderIds");
        // how many states the encoder put before the text
        const given = () => {
          const [states, text] = ["encoder_hidden_states", "encoder_attention_mask"].map((x) => axisLength(w, x, 1));
          return w.add("Sub", [states!, text!]);
        };
        const prompt = promptInput ? given() : tokensOf({ method, parameters });
        writePadding(w, "encoder_attention_mask", { prompt, hidden: hiddenScore }, "padding");
        const queries = axisLength(w, "input_ids", 1);
        const first = lengths(w, before.self, axisLength(w, pastName("decoder", 0, "key"), 2));
        const at = { queries, first, keys: lengths(w, first, queries) };
        writeByDistance(w, bucketTable(config, true), at, "decoderBuckets");
      },
      once: {
        unless: "use_cache_branch",
        graph: reading,
        given: Object.fromEntries(
          layers.flatMap((i) => ["key", "value"].map((part) => [`memory.${i}.${part}`, pastName("encoder", i, part)])),
        ),
      },
    },
  };
}

/** The buckets of a query among keys from `least` on; of the causal ones the first key behind it is hidden, as all others there. */
function bucketTable(config: T5Config, causal: boolean): ByDistance {
  const reach = config.relativeMaxDistance;
  const values = relativeBuckets(config, 1, reach + (causal ? 2 : reach + 1), { causal, first: reach });
  return { least: -reach, values };
}

function tokensOf({ method, parameters }: Pick<Baking, "method" | "parameters">): number {
  return method === null ? 0 : method.adds(parameters).tokens;
}

/** Names that callers expect. Callers use the first symbol as the batch size of empty caches. */
const callers = {
  B: "batch_size",
  P: "prompt_length",
  T: "encoder_sequence_length",
  U: "decoder_sequence_length",
  N: "past_decoder_length",
};
