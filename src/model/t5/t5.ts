/** @file T5 as an Architecture: its config, tensors, graph, and what the host feeds (masks as biases, position buckets). */
import type { Feed, Feeds } from "../../base/tensor.js";
import { type Architecture, hiddenScore, type Lead, type Positions } from "../architecture.js";
import { readT5Config, type T5Config, t5Families } from "./config.js";
import { decoder, embed, encoder, head, relativeBuckets } from "./graph.js";
import { t5LeftOvers, t5Tensors } from "./tensors.js";

export const t5: Architecture<T5Config> = {
  name: "t5",
  modelTypes: Object.keys(t5Families),
  taskType: "SEQ_2_SEQ_LM",
  embedding: "shared.weight",
  readConfig: readT5Config,
  stacks: ({ encoderLayers, decoderLayers }) => [
    { name: "encoder", layers: encoderLayers },
    { name: "decoder", layers: decoderLayers },
  ],
  tensors: t5Tensors,
  leftOver: (name) => t5LeftOvers.has(name),
  describe: (c) =>
    [
      `T5, ${c.encoderLayers} + ${c.decoderLayers} layers, width ${c.width}, ${c.heads} heads of ${c.headWidth}`,
      `feed-forward ${c.feedForwardWidth} ${c.gated ? "gated " : ""}${c.activation}`,
      `vocabulary ${c.vocabulary}`,
      c.tiedHead ? "tied head" : "untied head",
    ].join(", "),
  peftShape: ({ encoderLayers, heads }) => ({ layers: encoderLayers, heads, submodules: 2 }),
  embed: (b, _, ids) => embed(b, ids),
  prefill: encoder,
  decode: decoder,
  logits: head,
  prefillFeeds: (config, positions) => {
    const { length: S, keys } = positions;
    const before = keys?.["encoder.self"] ?? 0;
    return {
      padding: padding(positions),
      encoderBuckets:
        before === 0
          ? int([S, S], buckets(config, S, false))
          : int([S, before + S], relativeBuckets(config, S, before + S, { causal: false, first: before })),
    };
  },
  decodeFeeds: (config, positions, { length, past, choices = 1, lead, pastLead }): Feeds => {
    if (lead) return { padding: padding(positions), ...ledFeeds(config, positions.batch, { length, choices, lead }) };
    const first = (positions.keys?.["decoder.self"] ?? 0) + past;
    return {
      padding: padding(positions),
      ...(pastLead && { decodedPadding: decodedPadding(positions.batch, pastLead, past + length) }),
      decoderBuckets:
        first === 0
          ? int([length, length], buckets(config, length, true))
          : int([length, first + length], relativeBuckets(config, length, first + length, { causal: true, first })),
    };
  },
  keys: ({ heads, headWidth }) => ({ heads, headWidth }),
  startId: ({ decoderStartId }) => decoderStartId,
  stopIds: ({ eosId }) => [eosId],
};

/**
 * A prompt and what the decoder begins with, then the tokens of all choices in one list: those of a choice stand behind the prompt, as if no
 * other choice were there, and never see another choice.
 */
function ledFeeds(
  config: T5Config,
  batch: number,
  { length: U, choices: C, lead }: { readonly length: number; readonly choices: number; readonly lead: Lead },
): Feeds {
  const L = lead.length;
  const N = L + C * U;
  const alone = buckets(config, L + U, true);
  const table = new Int32Array(N * N).fill(config.relativeBuckets);
  const place = (n: number) => (n < L ? n : L + ((n - L) % U));
  const choice = (n: number) => (n < L ? -1 : Math.floor((n - L) / U));
  for (let q = 0; q < N; q++)
    for (let k = 0; k < N; k++)
      if (k < L || choice(k) === choice(q)) table[q * N + k] = alone[place(q) * (L + U) + place(k)]!;
  return { decoderBuckets: int([N, N], table), decodedPadding: decodedPadding(batch, lead, N) };
}

/** Hides what is padding among the first of `length` decoded tokens. */
function decodedPadding(batch: number, lead: Lead, length: number): Feed {
  const on = new Uint8Array(batch * length).fill(1);
  for (let b = 0; b < batch; b++) on.set(lead.on.subarray(b * lead.length, (b + 1) * lead.length), b * length);
  return padding({ batch, length, on });
}

const int = (shape: readonly number[], data: Int32Array): Feed => ({ dtype: "int32", shape, data });

function padding({ batch, length, on }: Positions): Feed {
  const data = Float32Array.from(on, (counts) => (counts ? 0 : hiddenScore));
  return { dtype: "float32", shape: [batch, 1, 1, length], data };
}

const tables = new WeakMap<T5Config, Map<string, Int32Array>>();

/** Bucket tables depend on the length only; the last few are kept. */
function buckets(config: T5Config, length: number, causal: boolean): Int32Array {
  const known = tables.get(config) ?? new Map<string, Int32Array>();
  tables.set(config, known);
  const key = `${length}${causal}`;
  let table = known.get(key);
  if (!table) {
    if (known.size >= 16) known.clear();
    table = relativeBuckets(config, length, length, { causal });
    known.set(key, table);
  }
  return table;
}
