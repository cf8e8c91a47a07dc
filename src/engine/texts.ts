/**
 * @file Texts that are read once: keys and values of what stands before the virtual tokens, by the frozen model alone.
 *
 * In: a batch of texts. Out: its memory, memoryKey{i} and memoryValue{i} [B, G, S, K], in float16 if it is kept so and the asking graph takes
 * it: widening it here costs as much as the layers of a step. The memory depends only on the text's ids and on the model, so a store may
 * keep it. A text for the store is read alone, not in a batch, because the last bits of a sum depend on the rest of the batch and a resumed
 * run would read it in another batch. What many texts begin with (an instruction, a chat's frame, examples) is read once for all: the rest
 * of each text is read over its memory.
 */
import { type Feeds, size } from "../base/tensor.js";
import type { ModelConfig, PartialModel } from "../model/architecture.js";
import { architectureOf } from "../model/architectures.js";
import { fitsFloat16, narrow } from "../model/floats.js";
import { openSession, type Session, type SessionOptions } from "../runtime/session.js";
import type { TextBatch } from "../text/batch.js";
import { checkIds, float, half, int, positionsOf, textFeeds } from "./feeds.js";
import { type MemoryType, type ModelSource, restGraph, textGraph } from "./graphs.js";
import type { KeptText, TextStore } from "./text-store.js";

type Texts = Pick<TextBatch, "size" | "inputIds" | "inputMask" | "inputLength" | "shared">;

/** Bytes of shared beginnings that a reader keeps, unless one alone is larger. */
const mostBeginnings = 2 ** 28;

export interface TextReader {
  /** The type in which `read` gives a memory that may come in float16, unless some value is too large for it, or all is a shared beginning. */
  readonly usual: MemoryType;
  /** Memory of the batch's texts, padded as the batch is. */
  read(batch: Texts, how?: HowRead): Promise<Feeds>;
  /** Reads a text into the store, if it is not there. @param shared how many of its ids begin many texts */
  keep(ids: Int32Array, shared: number): Promise<void>;
  dispose(): Promise<void>;
}

export interface HowRead {
  /** If all rows have one text, its memory comes with one row. Default false. */
  readonly once?: boolean;
  /** The memory may come in float16. Default false. */
  readonly float16?: boolean;
}

/** Values of consecutive ids of a row, [names, G, n, K], and at which of its ids they begin. */
interface Part {
  readonly row: number;
  readonly from: number;
  readonly values: KeptText;
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
  let [session, rest]: (Promise<Session> | undefined)[] = [];

  const compute = async (batch: Texts): Promise<Feeds> => {
    session ??= openSession(`text ${partial.name}`, textGraph({ ...source, place: "start" }), options);
    const own = architecture.prefillFeeds(
      config,
      positionsOf({ feeds: {}, tokens: 0, lengths: null, keys: {} }, batch),
    );
    return (await session).run({ ...textFeeds(batch, config), ...own });
  };

  const valuesIn = (read: Feeds, prefix: string, n: number): Float32Array => {
    const values = new Float32Array(names.length * size([G, n, K]));
    for (const [i, name] of names.entries())
      values.set(read[name.replace("memory", prefix)]!.data as Float32Array, i * G * n * K);
    return values;
  };
  const alone = (ids: Int32Array): Texts => {
    const n = ids.length;
    return { size: 1, inputIds: ids, inputMask: new Int32Array(n).fill(1), inputLength: n };
  };

  const usual: MemoryType = store?.precision === "float16" && options.device !== "webgpu" ? "float16" : "float32";
  const beginnings = new Map<string, Beginning>();
  /** Values of what many texts begin with: in memory alone, the last few of them. */
  const beginningOf = async (ids: Int32Array): Promise<Beginning> => {
    const key = ids.join();
    const found =
      beginnings.get(key) ?? beginning(valuesIn(await compute(alone(ids)), "memory", ids.length), usual === "float16");
    beginnings.delete(key);
    beginnings.set(key, found);
    const bytes = () => [...beginnings.values()].reduce((sum, { exact }) => sum + exact.byteLength, 0);
    while (beginnings.size > 1 && bytes() > mostBeginnings) beginnings.delete(beginnings.keys().next().value!);
    return found;
  };

  /** Values of a text's ids after its beginning, [names, G, N, K]. */
  const restOf = async (ids: Int32Array, shared: number): Promise<Float32Array> => {
    rest ??= openSession(
      `text ${partial.name}, after its beginning`,
      restGraph({ ...source, place: "start" }),
      options,
    );
    const { exact } = await beginningOf(ids.subarray(0, shared));
    const memory = names.map((name, i) => {
      const part = exact.subarray(i * G * shared * K, (i + 1) * G * shared * K);
      return [name, float([1, G, shared, K], part)] as const;
    });
    const N = ids.length - shared;
    const positions = { batch: 1, length: shared, on: new Uint8Array(shared).fill(1) };
    const read = await (await rest).run({
      ...Object.fromEntries(memory),
      decoderIds: int([1, N], ids.slice(shared)),
      ...architecture.decodeFeeds(config, positions, { length: N, past: 0 }),
    });
    return valuesIn(read, "present", N);
  };

  /** A text's own values, [names, G, n, K]: of those of its ids that it does not share. */
  const valuesOf = async (ids: Int32Array, shared: number, { get, put }: TextStore): Promise<KeptText> => {
    // with a beginning the own values come from another graph, and their last bits differ
    const name = shared === 0 ? partial.name : `${partial.name} after ${shared}`;
    const kept = await get(name, ids);
    if (kept !== null) return kept;
    checkIds("input", ids, config.vocabulary);
    const values = shared === 0 ? valuesIn(await compute(alone(ids)), "memory", ids.length) : await restOf(ids, shared);
    return put(name, ids, values);
  };

  /** Writes a part into the memory of its batch, whose texts have S places. */
  const write = ({ row, from, values }: Part, memory: readonly (Float32Array | Uint16Array)[], S: number) => {
    const n = values.length / (names.length * G * K);
    for (const [i, whole] of memory.entries())
      for (let g = 0; g < G; g++) {
        const [at, to] = [(i * G + g) * n * K, ((row * G + g) * S + from) * K];
        if (whole instanceof Float32Array) values.copy(at, at + n * K, whole, to);
        else whole.set(values.float16!.subarray(at, at + n * K), to);
      }
  };

  return {
    usual,
    async read(batch, how = {}) {
      const { size: B, inputLength: S, inputIds, inputMask, shared } = batch;
      // a text that is used with many prompts is read, and widened, once
      const source = firstOfEqual(batch);
      const own = [...source.keys()].filter((b) => source[b] === b);
      const length = (b: number) => inputMask.subarray(b * S, (b + 1) * S).lastIndexOf(1) + 1;
      const begun = (b: number) => Math.min(shared?.[b] ?? 0, length(b));
      // without a store only texts that are nothing but a shared beginning are kept
      const together = store === null ? own.filter((b) => begun(b) === 0 || begun(b) < length(b)) : [];
      if (together.length === B) return compute(batch);
      if (how.once && B > 1 && own.length === 1) return this.read(firstRow(batch), how);
      const parts: Part[] = [];
      for (const b of own) {
        if (together.includes(b)) continue;
        const ids = inputIds.slice(b * S, b * S + length(b));
        const to = begun(b);
        if (to > 0) parts.push({ row: b, from: 0, values: (await beginningOf(ids.subarray(0, to))).values });
        if (ids.length > to) parts.push({ row: b, from: to, values: await valuesOf(ids, to, store!) });
      }
      // what is nothing but a shared beginning stays exact: there is little of it
      const inHalves =
        how.float16 && usual === "float16" && own.some((b) => begun(b) < length(b)) && parts.every(isHalf);
      const memory = names.map(() => new (inHalves ? Uint16Array : Float32Array)(B * G * S * K));
      if (together.length > 0) {
        const rows = (ids: Int32Array) =>
          Int32Array.from(together.flatMap((b) => [...ids.subarray(b * S, (b + 1) * S)]));
        const some = { size: together.length, inputLength: S, inputIds: rows(inputIds), inputMask: rows(inputMask) };
        const read = await compute(some);
        for (const [i, whole] of memory.entries()) {
          const values = read[names[i]!]!.data as Float32Array;
          for (const [n, b] of together.entries())
            whole.set(values.subarray(n * G * S * K, (n + 1) * G * S * K), b * G * S * K);
        }
      }
      for (const part of parts) write(part, memory, S);
      for (const [b, from] of source.entries())
        if (from !== b)
          for (const whole of memory) whole.copyWithin(b * G * S * K, from * G * S * K, (from + 1) * G * S * K);
      const feed = (whole: Float32Array | Uint16Array) =>
        whole instanceof Float32Array ? float([B, G, S, K], whole) : half([B, G, S, K], whole);
      return Object.fromEntries(memory.map((whole, i) => [names[i]!, feed(whole)]));
    },
    async keep(ids, shared) {
      if (store !== null && ids.length > shared) await valuesOf(ids, shared, store);
    },
    async dispose() {
      await (await session)?.dispose();
      await (await rest)?.dispose();
      [session, rest] = [undefined, undefined];
      beginnings.clear();
    },
  };
}

/** What many texts begin with: exact, for reading what follows it, and as it is fed. */
interface Beginning {
  readonly exact: Float32Array;
  readonly values: KeptText;
}

function beginning(exact: Float32Array, float16: boolean): Beginning {
  const bytes = float16 && fitsFloat16(exact) ? narrow(exact, "float16") : null;
  const values: KeptText = {
    length: exact.length,
    float16: bytes && new Uint16Array(bytes.buffer, bytes.byteOffset, exact.length),
    copy: (from, to, target, at) => target.set(exact.subarray(from, to), at),
  };
  return { exact, values };
}

const isHalf = ({ values }: Part) => values.float16 !== null;

function firstRow({ inputIds, inputMask, inputLength: S, shared }: Texts): Texts {
  const row = { inputIds: inputIds.slice(0, S), inputMask: inputMask.slice(0, S), shared: shared?.slice(0, 1) ?? null };
  return { size: 1, inputLength: S, ...row };
}

/** For each row of the batch the first row with the same text. */
function firstOfEqual({ size: B, inputLength: S, inputIds, inputMask, shared }: Texts): number[] {
  const seen = new Map<string, number>();
  return Array.from({ length: B }, (_, b) => {
    const n = inputMask.subarray(b * S, (b + 1) * S).lastIndexOf(1) + 1;
    const key = `${shared?.[b] ?? 0} ${inputIds.subarray(b * S, b * S + n).join()}`;
    const first = seen.get(key) ?? b;
    seen.set(key, first);
    return first;
  });
}
