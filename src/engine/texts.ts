/**
 * @file Texts that are read once: keys and values of what stands before the virtual tokens, by the frozen model alone.
 *
 * In: a batch of texts. Out: its memory, memoryKey{i} and memoryValue{i} [B, G, S, K], in float16 if it is kept so and the asking graph takes
 * it: widening it here costs as much as the layers of a step. The memory depends only on the text's ids and on the model, so a store may
 * keep it. A text for the store is padded to a length that follows from its own, and is read with others of that length: the last bits of a
 * sum depend on the length of what is summed, and a resumed run reads a text with other neighbours, or alone. (Where they depend on the
 * number of rows as well, each text is read alone.) What many texts begin with
 * (an instruction, a chat's frame, examples) is read once for all: the rest of each text is read over its memory.
 */
import type { Feeds } from "../base/tensor.js";
import type { ModelConfig, PartialModel } from "../model/architecture.js";
import { architectureOf } from "../model/architectures.js";
import { fitsFloat16, narrow } from "../model/floats.js";
import { openSession, type SessionOptions } from "../runtime/session.js";
import type { TextBatch } from "../text/batch.js";
import { atNeed } from "./at-need.js";
import { checkIds, float, half, int, positionsOf, textFeeds } from "./feeds.js";
import { type MemoryType, type ModelSource, restGraph, textGraph } from "./graphs.js";
import { type KeepTexts, type KeptText, paddedLength, type TextStore, type TextToRead } from "./text-store.js";

type Texts = Pick<TextBatch, "size" | "inputIds" | "inputMask" | "inputLength" | "shared">;

/** Tokens that are read for the store at once, as long as their values are not too many. */
const mostTokens = 1024;
const mostValues = 2 ** 25;

/** Bytes of shared beginnings that a reader keeps, unless one alone is larger. */
const mostBeginnings = 2 ** 28;

export interface TextReader {
  /** The type in which `read` gives a memory that may come in float16, unless some value is too large for it, or all is a shared beginning. */
  readonly usual: MemoryType;
  /** Memory of the batch's texts, padded as the batch is. */
  read(batch: Texts, how?: HowRead): Promise<Feeds>;
  /** Reads texts into the store that are not there, those of like length together, the longest first. */
  keep(texts: readonly TextToRead[], how?: KeepTexts): Promise<void>;
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
export function openTextReader(
  source: ModelSource,
  options: SessionOptions & { readonly blocks?: string | null },
  store: TextStore | null,
): TextReader {
  const { config, partial } = source;
  const architecture = architectureOf(config);
  const { heads: G, headWidth: K } = architecture.keys(config);
  const layers = layersOf(config, partial);
  const names = Array.from({ length: layers }, (_, i) => [`memoryKey${i}`, `memoryValue${i}`]).flat();
  const graphs = { text: textGraph, rest: restGraph } as const;
  const titles = { text: `text ${partial.name}`, rest: `text ${partial.name}, after its beginning` } as const;
  const sessions = atNeed(titles.text, async (kind: keyof typeof graphs) =>
    openSession(titles[kind], graphs[kind]({ ...source, place: "start" }), options),
  );
  // without packed weights ONNX Runtime divides a product among threads by its number of rows, and sums differ in their last bits
  const inGroups = options.device === "cpu" && !options.lowMemory && !options.blocks;

  const compute = async (batch: Texts): Promise<Feeds> => {
    const own = architecture.prefillFeeds(
      config,
      positionsOf({ feeds: {}, tokens: 0, lengths: null, keys: {} }, batch),
    );
    return (await sessions.get("text")).run({ ...textFeeds(batch, config), ...own });
  };

  /** What was read of n ids, [names, G, n, K], from a row of results [B, G, S, K]. */
  const valuesIn = (read: Feeds, prefix: string, { row, S, n }: Record<"row" | "S" | "n", number>): Float32Array => {
    const values = new Float32Array(names.length * G * n * K);
    for (const [i, name] of names.entries()) {
      const whole = read[name.replace("memory", prefix)]!.data as Float32Array;
      for (let g = 0; g < G; g++) {
        const at = (row * G + g) * S * K;
        values.set(whole.subarray(at, at + n * K), (i * G + g) * n * K);
      }
    }
    return values;
  };
  /** Texts of one padded length S, each in its row. */
  const padded = (texts: readonly Int32Array[], S: number): Texts => {
    const [inputIds, inputMask] = [new Int32Array(texts.length * S), new Int32Array(texts.length * S)];
    for (const [b, ids] of texts.entries()) {
      inputIds.set(ids, b * S);
      inputMask.fill(1, b * S, b * S + ids.length);
    }
    return { size: texts.length, inputIds, inputMask, inputLength: S };
  };
  /** Values of each text of one padded length S, [names, G, n, K]. */
  const valuesAlike = async (texts: readonly Int32Array[], S: number): Promise<Float32Array[]> => {
    const read = await compute(padded(texts, S));
    return texts.map(({ length: n }, row) => valuesIn(read, "memory", { row, S, n }));
  };

  const usual: MemoryType = store?.precision === "float16" && options.device !== "webgpu" ? "float16" : "float32";
  const beginnings = new Map<string, Beginning>();
  /** Values of what many texts begin with: in memory alone, the last few of them. */
  const beginningOf = async (ids: Int32Array): Promise<Beginning> => {
    const key = ids.join();
    const found = beginnings.get(key) ?? beginning((await valuesAlike([ids], ids.length))[0]!, usual === "float16");
    beginnings.delete(key);
    beginnings.set(key, found);
    const bytes = () => [...beginnings.values()].reduce((sum, { exact }) => sum + exact.byteLength, 0);
    while (beginnings.size > 1 && bytes() > mostBeginnings) beginnings.delete(beginnings.keys().next().value!);
    return found;
  };

  /** Values of a text's ids after its beginning, [names, G, N, K]. */
  const restOf = async (ids: Int32Array, shared: number): Promise<Float32Array> => {
    const { exact } = await beginningOf(ids.subarray(0, shared));
    const memory = names.map((name, i) => {
      const part = exact.subarray(i * G * shared * K, (i + 1) * G * shared * K);
      return [name, float([1, G, shared, K], part)] as const;
    });
    const N = ids.length - shared;
    const positions = { batch: 1, length: shared, on: new Uint8Array(shared).fill(1) };
    const read = await (await sessions.get("rest")).run({
      ...Object.fromEntries(memory),
      decoderIds: int([1, N], ids.slice(shared)),
      ...architecture.decodeFeeds(config, positions, { length: N, past: 0 }),
    });
    return valuesIn(read, "present", { row: 0, S: N, n: N });
  };

  // with a beginning the own values come from another graph, and their last bits differ
  const nameIn = ({ shared }: TextToRead) => (shared === 0 ? partial.name : `${partial.name} after ${shared}`);

  /**
   * Gives each text's own values, [names, G, n, K], of those of its ids that it does not share, from the store or read into it: those of a
   * like length together.
   */
  const valuesOf = async (
    texts: readonly TextToRead[],
    { get, put }: TextStore,
    give: (numbers: readonly number[], values: readonly KeptText[]) => void,
    stop: () => boolean = () => false,
  ): Promise<void> => {
    const alike = new Map<number, number[]>();
    for (const [t, text] of texts.entries()) {
      await turn(t);
      if (stop()) return;
      const kept = await get(nameIn(text), text.ids);
      if (kept !== null) {
        give([t], [kept]);
        continue;
      }
      checkIds("input", text.ids, config.vocabulary);
      // a text that goes on from a beginning is read over its memory, by itself
      const S = text.shared > 0 ? 0 : paddedLength(text.ids.length, config);
      const others = alike.get(S);
      if (others === undefined) alike.set(S, [t]);
      else others.push(t);
    }
    for (const [S, numbers] of [...alike].sort(([a], [b]) => b - a)) {
      const most = Math.min(mostTokens, Math.floor(mostValues / (names.length * G * K)));
      const size = S === 0 || !inGroups ? 1 : Math.max(1, Math.floor(most / S));
      for (let from = 0; from < numbers.length; from += size) {
        if (stop()) return;
        const some = numbers.slice(from, from + size);
        const own = some.map((t) => texts[t]!);
        const values =
          S === 0
            ? [await restOf(own[0]!.ids, own[0]!.shared)]
            : await valuesAlike(
                own.map(({ ids }) => ids),
                S,
              );
        const kept: KeptText[] = [];
        for (const [i, text] of own.entries()) kept.push(await put(nameIn(text), text.ids, values[i]!));
        give(some, kept);
      }
    }
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
      const [rows, texts]: [number[], TextToRead[]] = [[], []];
      for (const b of own) {
        if (together.includes(b)) continue;
        const ids = inputIds.slice(b * S, b * S + length(b));
        const shared = begun(b);
        if (shared > 0) parts.push({ row: b, from: 0, values: (await beginningOf(ids.subarray(0, shared))).values });
        if (ids.length === shared) continue;
        rows.push(b);
        texts.push({ ids, shared });
      }
      if (store !== null)
        await valuesOf(texts, store, (numbers, values) => {
          for (const [i, t] of numbers.entries())
            parts.push({ row: rows[t]!, from: texts[t]!.shared, values: values[i]! });
        });
      // what is nothing but a shared beginning stays exact: there is little of it
      const inHalves =
        how.float16 && usual === "float16" && own.some((b) => begun(b) < length(b)) && parts.every(isHalf);
      const memory = names.map(() => new (inHalves ? Uint16Array : Float32Array)(B * G * S * K));
      if (together.length > 0) {
        const rowsOf = (ids: Int32Array) =>
          Int32Array.from(together.flatMap((b) => [...ids.subarray(b * S, (b + 1) * S)]));
        const some = {
          size: together.length,
          inputLength: S,
          inputIds: rowsOf(inputIds),
          inputMask: rowsOf(inputMask),
        };
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
    async keep(texts, { onKept, signal } = {}) {
      if (store === null) return;
      const stop = () => signal?.aborted === true || store.full();
      const missing: TextToRead[] = [];
      for (const [t, text] of texts.entries()) {
        await turn(t);
        if (stop()) return;
        if (text.ids.length > text.shared && !(await store.has(nameIn(text), text.ids))) missing.push(text);
      }
      await valuesOf(missing, store, (numbers) => onKept?.(numbers.map((t) => missing[t]!)), stop);
    },
    async dispose() {
      beginnings.clear();
      await sessions.dispose();
    },
  };
}

/** Texts that are looked up before other work, such as a signal that ends the reading, gets its turn: a look-up alone never lets it. */
const lookUps = 256;
const turn = async (done: number): Promise<void> => {
  if (done > 0 && done % lookUps === 0) await new Promise((next) => setTimeout(next, 0));
};

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
