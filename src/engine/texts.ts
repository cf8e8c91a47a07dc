/**
 * @file Texts that are read once: keys and values of what stands before the virtual tokens, by the frozen model alone.
 *
 * In: a batch of texts. Out: its memory, memoryKey{i} and memoryValue{i} [B, G, S, K]. The memory depends only on the text's ids and on the
 * model, so a store may keep it. A text for the store is read alone, not in a batch, because the last bits of a sum depend on the rest of
 * the batch and a resumed run would read it in another batch.
 */
import { type Feed, type Feeds, size } from "../base/tensor.js";
import type { ModelConfig, PartialModel } from "../model/architecture.js";
import { architectureOf } from "../model/architectures.js";
import { openSession, type Session, type SessionOptions } from "../runtime/session.js";
import type { TextBatch } from "../text/batch.js";
import { float, positionsOf, textFeeds } from "./feeds.js";
import { type ModelSource, textGraph } from "./graphs.js";
import type { TextStore } from "./text-store.js";

type Texts = Pick<TextBatch, "size" | "inputIds" | "inputMask" | "inputLength">;

export interface TextReader {
  /** Memory of the batch's texts, padded as the batch is. */
  read(batch: Texts): Promise<Feeds>;
  /** Reads a text into the store, if it is not there. */
  keep(ids: Int32Array): Promise<void>;
  dispose(): Promise<void>;
}

/** How many numbers one token of a text takes in memory: keys and values of every kept layer of the decoding stack. */
export function valuesPerToken(config: ModelConfig, partial: PartialModel): number {
  const { heads, headWidth } = architectureOf(config).keys(config);
  return 2 * layersOf(config, partial) * heads * headWidth;
}

function layersOf(config: ModelConfig, partial: PartialModel): number {
  return partial.stacks[architectureOf(config).stacks(config).at(-1)!.name]!.layers.length;
}

/** Opens no session until a text must be read. @param store null reads each text every time */
export function openTextReader(source: ModelSource, options: SessionOptions, store: TextStore | null): TextReader {
  const { config, partial } = source;
  const architecture = architectureOf(config);
  const { heads: G, headWidth: K } = architecture.keys(config);
  const layers = layersOf(config, partial);
  const names = Array.from({ length: layers }, (_, i) => [`memoryKey${i}`, `memoryValue${i}`]).flat();
  let session: Promise<Session> | undefined;

  const compute = async (batch: Texts): Promise<Feeds> => {
    session ??= openSession(`text ${partial.name}`, textGraph({ ...source, place: "start" }), options);
    const own = architecture.prefillFeeds(
      config,
      positionsOf({ feeds: {}, tokens: 0, lengths: null, keys: {} }, batch),
    );
    return (await session).run({ ...textFeeds(batch, config), ...own });
  };

  /** One text's values, [names, G, n, K]. */
  const valuesOf = async (ids: Int32Array, { get, put }: TextStore): Promise<Float32Array> => {
    const kept = await get(partial.name, ids);
    if (kept !== null) return kept;
    const n = ids.length;
    const memory = await compute({ size: 1, inputIds: ids, inputMask: new Int32Array(n).fill(1), inputLength: n });
    const values = new Float32Array(names.length * size([G, n, K]));
    for (const [i, name] of names.entries()) values.set((memory[name] as Feed).data as Float32Array, i * G * n * K);
    return put(partial.name, ids, values);
  };

  return {
    async read(batch) {
      const { size: B, inputLength: S, inputIds, inputMask } = batch;
      // a text that is used with many prompts is read, and widened, once
      const source = firstOfEqual(batch);
      const own = [...source.keys()].filter((b) => source[b] === b);
      if (store === null && own.length === B) return compute(batch);
      const memory = names.map(() => new Float32Array(B * G * S * K));
      if (store === null) {
        const rows = (ids: Int32Array) => Int32Array.from(own.flatMap((b) => [...ids.subarray(b * S, (b + 1) * S)]));
        const some = { size: own.length, inputLength: S, inputIds: rows(inputIds), inputMask: rows(inputMask) };
        const read = await compute(some);
        for (const [i, whole] of memory.entries()) {
          const values = read[names[i]!]!.data as Float32Array;
          for (const [n, b] of own.entries())
            whole.set(values.subarray(n * G * S * K, (n + 1) * G * S * K), b * G * S * K);
        }
      } else
        for (const b of own) {
          const n = inputMask.subarray(b * S, (b + 1) * S).lastIndexOf(1) + 1;
          if (n === 0) continue;
          const values = await valuesOf(inputIds.slice(b * S, b * S + n), store);
          for (const [i, whole] of memory.entries())
            for (let g = 0; g < G; g++) {
              const from = (i * G + g) * n * K;
              whole.set(values.subarray(from, from + n * K), (b * G + g) * S * K);
            }
        }
      for (const [b, from] of source.entries())
        if (from !== b)
          for (const whole of memory) whole.copyWithin(b * G * S * K, from * G * S * K, (from + 1) * G * S * K);
      return Object.fromEntries(memory.map((whole, i) => [names[i]!, float([B, G, S, K], whole)]));
    },
    async keep(ids) {
      if (store !== null && ids.length > 0) await valuesOf(ids, store);
    },
    async dispose() {
      await (await session)?.dispose();
      session = undefined;
    },
  };
}

/** For each row of the batch the first row with the same text. */
function firstOfEqual({ size: B, inputLength: S, inputIds, inputMask }: Texts): number[] {
  const seen = new Map<string, number>();
  return Array.from({ length: B }, (_, b) => {
    const n = inputMask.subarray(b * S, (b + 1) * S).lastIndexOf(1) + 1;
    const key = inputIds.subarray(b * S, b * S + n).join();
    const first = seen.get(key) ?? b;
    seen.set(key, first);
    return first;
  });
}
