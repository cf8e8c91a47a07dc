/** @file Decoder-only models as Architectures: one per family, all over one graph. */
import type { Architecture } from "../architecture.js";
import { type CausalConfig, readCausalConfig } from "./config.js";
import { type CausalFamily, causalFamilies, embeddingOf, families } from "./families.js";
import { decodeFeeds, prefillFeeds } from "./feeds.js";
import { decode, embed, head, prefill } from "./graph.js";
import { causalLeftOver, causalTensors, stackName } from "./tensors.js";

export const causalArchitectures: readonly Architecture<CausalConfig>[] = causalFamilies.map(architecture);

function architecture(family: CausalFamily): Architecture<CausalConfig> {
  return {
    name: family,
    modelTypes: [family],
    taskType: "CAUSAL_LM",
    embedding: `${embeddingOf(families[family])}.weight`,
    readConfig: (raw, where) => readCausalConfig(family, raw, where),
    stacks: ({ layers }) => [{ name: stackName, layers }],
    tensors: causalTensors,
    leftOver: causalLeftOver,
    describe: (c) =>
      [
        `${families[family].title}, ${c.layers} layers, width ${c.width}`,
        `${c.heads} heads${c.keyHeads === c.heads ? "" : ` over ${c.keyHeads}`} of ${c.headWidth}`,
        `feed-forward ${c.feedForwardWidth} ${c.gated ? "gated " : ""}${c.activation}`,
        ...(c.window ? [`window ${c.window.size}`] : []),
        `vocabulary ${c.vocabulary}`,
        c.tiedHead ? "tied head" : "untied head",
      ].join(", "),
    peftShape: ({ layers, heads }) => ({ layers, heads, submodules: 1 }),
    embed,
    prefill,
    decode,
    logits: head,
    prefillFeeds,
    decodeFeeds,
    keys: ({ keyHeads, headWidth }) => ({ heads: keyHeads, headWidth }),
    startId: () => undefined,
    stopIds: ({ eosIds }) => eosIds,
  };
}
