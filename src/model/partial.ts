/**
 * @file Partial PLMs: which layers and which feed-forward neurons of the full model a smaller graph keeps (fpt.md §3).
 *
 * In: a T5Config (and neuron scores). Out: a PartialModel; the graph builder makes a genuinely smaller graph from it.
 */
import type { T5Config } from "./config.js";

/** What one stack keeps. Indices are of the full model, ascending. */
export interface PartialStack {
  readonly layers: readonly number[];
  /** Kept neurons per kept layer (same order as `layers`), or null for all. */
  readonly neurons: readonly Int32Array[] | null;
}

/** A smaller model over the same weight file. */
export interface PartialModel {
  readonly encoder: PartialStack;
  readonly decoder: PartialStack;
  /** Stable name for caches, logs and checkpoints, e.g. "full", "e6d24·w0.25". */
  readonly name: string;
}

/** The full model as a partial one: every layer, every neuron. */
export function fullModel(config: T5Config): PartialModel {
  const all = (n: number) => ({ layers: Array.from({ length: n }, (_, i) => i), neurons: null });
  return { encoder: all(config.encoderLayers), decoder: all(config.decoderLayers), name: "full" };
}
