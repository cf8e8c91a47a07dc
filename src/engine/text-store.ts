/**
 * @file What keeps the memory of texts that were read. The engine asks for it and does not know where it lies (run/text-cache.ts).
 */
import type { FloatDType } from "../model/floats.js";

/** Plain data, so that worker processes keep texts as their parent does. */
export interface TextCacheSettings {
  readonly precision: FloatDType;
  /** Bytes. */
  readonly memory: number;
  /** Bytes on disk, all models together; 0 keeps none there. */
  readonly disk: number;
}

/** Keeps what the model made of texts that come again. */
export interface TextStore {
  /** How values are kept. */
  readonly precision: FloatDType;
  /** Values of a text on a partial model, as they are kept; null where it has none. */
  get(partial: string, ids: Int32Array): Promise<Float32Array | null>;
  /** Keeps values if there is room. @returns them as they are kept, or would be: what is computed with never depends on the room. */
  put(partial: string, ids: Int32Array, values: Float32Array): Promise<Float32Array>;
  /** Puts what other processes will need where they find it, as far as there is room. */
  share(): Promise<void>;
}
