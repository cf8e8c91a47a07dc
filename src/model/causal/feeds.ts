/**
 * @file What the host feeds to a decoder-only model: where each token stands and what it may see, row by row.
 *
 * Positions are counted over a row's own tokens, virtual ones first, so padding does not shift them. A score that must not count is set to
 * `hiddenScore`. A padded query sees no key; softmax then gives equal shares, which are finite and never used.
 */
import type { Feed, Feeds } from "../../base/tensor.js";
import { type DecodeShape, hiddenScore, type Positions } from "../architecture.js";
import type { CausalConfig } from "./config.js";
import { feedNames, type Half, hasOpenLayers } from "./graph.js";
import { rotaryTable } from "./rotary.js";
import { stackName } from "./tensors.js";

/** Queries and keys of one half. */
interface Sight {
  readonly batch: number;
  readonly queries: number;
  readonly keys: number;
  /** Position of each query, [B, queries]. */
  readonly places: Int32Array;
  /** Position of key `k` as query `q` of row `b` sees it; -1 where it does not. */
  seen(b: number, q: number, k: number): number;
}

export function prefillFeeds(config: CausalConfig, positions: Positions): Feeds {
  const { batch, length, on } = positions;
  const { places, before } = placesOf(positions);
  return feeds(config, "prefill", {
    batch,
    queries: length,
    keys: before + length,
    places,
    seen: (b, q, key) => {
      const k = key - before;
      if (!on[b * length + q]) return -1;
      if (k < 0) return key;
      return k <= q && on[b * length + k] ? places[b * length + k]! : -1;
    },
  });
}

export function decodeFeeds(config: CausalConfig, positions: Positions, shape: DecodeShape): Feeds {
  const { batch, length: S, on } = positions;
  const { length: U, past, choices = 1, lead = { length: 0, on: new Uint8Array(0) } } = shape;
  const { places: memory, counts, before } = placesOf(positions);
  const L = lead.length;
  const led = placesOf({ batch, ...lead });
  const queries = L + choices * U;
  const places = Int32Array.from({ length: batch * queries }, (_, i) => {
    const [b, q] = [Math.floor(i / queries), i % queries];
    return counts[b]! + past + (q < L ? led.places[b * L + q]! : led.counts[b]! + ((q - L) % U));
  });
  return feeds(config, "decode", {
    batch,
    queries,
    keys: before + S + past + queries,
    places,
    seen: (b, q, key) => {
      const k = key - before;
      if (k < 0) return key;
      if (k < S) return on[b * S + k] ? memory[b * S + k]! : -1;
      if (k < S + past) return counts[b]! + k - S;
      const other = k - S - past;
      if (other < L) return other <= q && lead.on[b * L + other] ? places[b * queries + other]! : -1;
      // the tokens of a choice see each other, never those of another choice
      return other <= q && Math.floor((other - L) / U) === Math.floor((q - L) / U) ? places[b * queries + other]! : -1;
    },
  });
}

/** Position of each token (0 for padding), the position behind each row's last, and how many keys stand before them all. */
function placesOf({ batch, length, on, keys }: Positions) {
  const before = keys?.[`${stackName}.self`] ?? 0;
  const [places, counts] = [new Int32Array(batch * length), new Int32Array(batch).fill(before)];
  for (let b = 0; b < batch; b++)
    for (let i = b * length; i < (b + 1) * length; i++) if (on[i]) places[i] = counts[b]!++;
  return { places, counts, before };
}

function feeds(config: CausalConfig, half: Half, sight: Sight): Feeds {
  const { batch, queries, keys, places } = sight;
  const names = feedNames(half);
  const made: Record<string, Feed> = {
    // a padded target may lie beyond the model's last position; its result is not used
    [names.positions]: {
      dtype: "int32",
      shape: [batch, queries],
      data: places.map((place) => Math.min(place, (config.maxPositions ?? Number.POSITIVE_INFINITY) - 1)),
    },
  };
  if (hasOpenLayers(config)) made[names.bias] = bias(sight, Number.POSITIVE_INFINITY);
  if (config.window) made[names.window] = bias(sight, config.window.size);
  if (config.rotary) {
    // as many as the longest sequence, padded: the kernel refuses more tokens than rows, whatever their positions
    const rows = Math.max(1, keys);
    const { cos, sin, half: columns } = rotaryTable(config.rotary, rows);
    for (const [name, table] of Object.entries({ cos, sin }))
      made[name] = { dtype: "float32", shape: [rows, columns], data: table.subarray(0, rows * columns) };
  }
  return made;
}

/** [B, 1, queries, keys]: 0 where a key is seen from fewer than `window` positions away, else `hiddenScore`. */
function bias({ batch, queries, keys, places, seen }: Sight, window: number): Feed {
  const data = new Float32Array(batch * queries * keys).fill(hiddenScore);
  for (let b = 0, at = 0; b < batch; b++)
    for (let q = 0; q < queries; q++)
      for (let k = 0; k < keys; k++, at++) {
        const place = seen(b, q, k);
        if (place >= 0 && places[b * queries + q]! - place < window) data[at] = 0;
      }
  return { dtype: "float32", shape: [batch, 1, queries, keys], data };
}
