/** Positions and masks by hand: padding on both sides, a window, choices side by side. */
import { expect, test } from "vitest";
import type { Feeds } from "../../base/tensor.js";
import { readConfig } from "../architectures.js";
import type { CausalConfig } from "./config.js";
import { decodeFeeds, prefillFeeds } from "./feeds.js";

const config = (window: number | null, more: object = {}) =>
  readConfig(
    JSON.stringify({
      ...{ model_type: "mistral", hidden_size: 16, num_attention_heads: 2, num_key_value_heads: 1, vocab_size: 8 },
      ...{ num_hidden_layers: 2, intermediate_size: 8, eos_token_id: 1, sliding_window: window, ...more },
    }),
    "c",
  ) as CausalConfig;

/** Which keys each query sees, as text: "0 1" per query, of each row. */
const sights = (feeds: Feeds, name: string): string[][] => {
  const { shape, data } = feeds[name]!;
  const [B, , queries, keys] = shape as [number, number, number, number];
  return Array.from({ length: B }, (_, b) =>
    Array.from({ length: queries }, (_, q) =>
      Array.from({ length: keys }, (_, k) => k)
        .filter((k) => data[(b * queries + q) * keys + k] === 0)
        .join(" "),
    ),
  );
};
const all = (length: number) => ({ batch: 1, length, on: new Uint8Array(length).fill(1) });

test("a window of 3 over 5 positions: the last row sees three, itself included, decoded over a memory too", () => {
  expect(sights(prefillFeeds(config(3), all(5)), "prefillWindow")).toEqual([["0", "0 1", "0 1 2", "1 2 3", "2 3 4"]]);
  // the same sequence: three in the memory, one in the cache, one now
  expect(sights(decodeFeeds(config(3), all(3), { length: 1, past: 1 }), "decodeWindow")).toEqual([["2 3 4"]]);
  expect(sights(decodeFeeds(config(3), all(3), { length: 2, past: 0 }), "decodeWindow")).toEqual([["1 2 3", "2 3 4"]]);
  expect(Object.keys(prefillFeeds(config(3), all(5)))).not.toContain("prefillBias");
  expect(sights(prefillFeeds(config(null), all(3)), "prefillBias")).toEqual([["0", "0 1", "0 1 2"]]);
});

test("padding on either side is neither seen nor counted, and leaves finite numbers", () => {
  const positions = { batch: 2, length: 4, on: Uint8Array.of(0, 1, 1, 0, 1, 1, 1, 1) };
  const prefill = prefillFeeds(config(null), positions);
  expect([...prefill.prefillPositions!.data]).toEqual([0, 0, 1, 0, 0, 1, 2, 3]);
  expect(sights(prefill, "prefillBias")).toEqual([
    ["", "1", "1 2", ""],
    ["0", "0 1", "0 1 2", "0 1 2 3"],
  ]);
  expect(prefill.prefillBias!.data.every(Number.isFinite)).toBe(true);
  const decode = decodeFeeds(config(null), positions, { length: 2, past: 0 });
  expect([...decode.decodePositions!.data]).toEqual([2, 3, 4, 5]);
  expect(sights(decode, "decodeBias")[0]).toEqual(["1 2 4", "1 2 4 5"]);
  // a window counts the row's own positions, not the places of the batch
  const window = decodeFeeds(config(2), { batch: 1, length: 4, on: Uint8Array.of(1, 1, 0, 0) }, { length: 1, past: 0 });
  expect(sights(window, "decodeWindow")).toEqual([["1 4"]]);
});

test("choices of a row start at one position and do not see each other", () => {
  const feeds = decodeFeeds(config(null), all(2), { length: 2, past: 0, choices: 2 });
  expect([...feeds.decodePositions!.data]).toEqual([2, 3, 2, 3]);
  expect(sights(feeds, "decodeBias")).toEqual([["0 1 2", "0 1 2 3", "0 1 4", "0 1 4 5"]]);
});

test("a padded target behind the last position is fed the last one", () => {
  const feeds = decodeFeeds(config(null, { max_position_embeddings: 4 }), all(3), { length: 3, past: 0 });
  expect([...feeds.decodePositions!.data]).toEqual([3, 3, 3]);
});
