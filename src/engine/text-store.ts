/**
 * @file The interface of a store that keeps the memory of texts. The engine uses it without knowing where the values are kept
 * (run/text-cache.ts).
 */
import type { ModelConfig } from "../model/architecture.js";
import type { FloatDType } from "../model/floats.js";

/** Texts for the store are padded to a multiple of so many tokens: no processor's vectors hold more numbers. */
const lengthStep = 16;

/** The length at which a text is read for a store, as far as the model has positions. A text behind a shared beginning is not padded. */
export function paddedLength(length: number, { maxPositions = Number.POSITIVE_INFINITY }: ModelConfig): number {
  return Math.max(length, Math.min(maxPositions, Math.ceil(length / lengthStep) * lengthStep));
}

/** Plain data, so that worker processes keep texts as their parent does. */
export interface TextCacheSettings {
  readonly precision: FloatDType;
  /** Bytes. */
  readonly memory: number;
  /** Bytes on disk, all models together; 0 keeps none there. */
  readonly disk: number;
  /** When the memory is full, the text that was unused longest leaves it, for the disk if there is one. Default false: what is there stays. */
  readonly evict?: boolean;
}

/** Values of a text as they are kept. */
export interface KeptText {
  readonly length: number;
  /** Their bits, if they are kept in float16; otherwise null. A graph that takes float16 needs no wider copy. */
  readonly float16: Uint16Array | null;
  /** Writes values from … to-1 into a tensor, as float32. */
  copy(from: number, to: number, target: Float32Array, at: number): void;
}

/** A text, and how many of its ids begin many texts. */
export interface TextToRead {
  readonly ids: Int32Array;
  readonly shared: number;
}

/** How texts are read into a store: who hears of it, and what ends it. */
export interface KeepTexts {
  /** Called with those that are in the store now. */
  readonly onKept?: (texts: readonly TextToRead[]) => void;
  /** Ends the reading early. */
  readonly signal?: AbortSignal | undefined;
}

/** Keeps the keys and values of texts that will be needed again. */
export interface TextStore {
  /** How values are kept. */
  readonly precision: FloatDType;
  /** Values of a text on a partial model, as they are kept; null where it has none. */
  get(partial: string, ids: Int32Array): Promise<KeptText | null>;
  /**
   * Keeps values if there is room. @returns the values in the precision in which they are kept, also if there is no room, so that results
   * never depend on the room.
   */
  put(partial: string, ids: Int32Array, values: Float32Array): Promise<KeptText>;
  /** Whether it has values of a text, which need not be whole. */
  has(partial: string, ids: Int32Array): Promise<boolean>;
  /** Whether it had no room for a text; then reading texts before they are needed is in vain. */
  full(): boolean;
  /** Makes values available to other processes, as far as there is room. */
  share(): Promise<void>;
}
