/**
 * Texts that were read, kept: what is computed over them equals what is computed without (float32 exactly as read, 16 bits in direction), on
 * every decoder-only fixture; and the store itself: limits, damage, several stores on one folder.
 */
import { mkdtempSync, readdirSync, readFileSync, rmSync, statSync, utimesSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { readFixture } from "../../test/helpers/safetensors.js";
import { random } from "../base/random.js";
import { openEngine } from "../engine/engine.js";
import type { KeptText, TextCacheSettings, TextStore } from "../engine/text-store.js";
import { type HowRead, openTextReader } from "../engine/texts.js";
import { promptTuning } from "../method/prompt.js";
import { bindWeights } from "../model/bindings.js";
import { openCheckpoint } from "../model/checkpoint.js";
import { type FloatDType, widen } from "../model/floats.js";
import { fullModel } from "../model/partial.js";
import { type EncodedRow, makeBatch } from "../text/batch.js";
import { openTextCache, openTexts } from "./text-cache.js";

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "texts-"));
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

const cache = (precision: FloatDType, { memory = 2 ** 24, disk = 0, evict = false, identity = "a model" } = {}) =>
  openTextCache({ precision, memory, disk, folder, evict, identity: async () => identity });
const files = () =>
  readdirSync(folder, { recursive: true, encoding: "utf8" }).filter((name) => statSync(join(folder, name)).isFile());

const models = readdirSync(fileURLToPath(new URL("../../test/fixtures", import.meta.url))).filter((name) =>
  name.startsWith("tiny-causal-"),
);

describe.each(models)("%s", (model) => {
  const place = fileURLToPath(new URL(`../../test/fixtures/${model}`, import.meta.url));
  const oracle = JSON.parse(readFileSync(`${place}/oracle.json`, "utf8")) as {
    inputIds: number[][];
    inputMask: number[][];
    targetIds: number[][];
    targetMask: number[][];
    maxTokens: number;
    behindGreedy: number[][];
  };
  const valid = (ids: number[], mask: number[]) => ids.filter((_, i) => mask[i]);
  const rows = oracle.inputIds.map((ids, b): EncodedRow => {
    const text = valid(ids, oracle.inputMask[b]!);
    const target = Int32Array.from(valid(oracle.targetIds[b]!, oracle.targetMask[b]!));
    const input = Int32Array.from(text.slice(0, -1));
    const same = { id: `row ${b}`, choices: [target], gold: 0, truncated: false };
    return { ...same, input, first: text.at(-1)!, target, promptAt: text.length };
  });
  const wanted = readFixture(new URL(`file://${place}/oracle.safetensors`));
  const prompt = { prompt: wanted.prompt! };

  const computed = async (texts: TextStore | null) => {
    const engine = openEngine(await openCheckpoint(place), { threads: 1 }, undefined, () => texts);
    const ones = new Float32Array(rows.length).fill(1);
    const train = await engine.train(undefined, "behind");
    await train.run(prompt, makeBatch(rows), ones);
    // the second time everything comes from the store, in another batch
    const { loss, gradients } = await train.run(prompt, makeBatch([...rows].reverse()), ones);
    const scores = (await (await engine.score(undefined, "behind")).run(prompt, rows)).map(([log]) => log!);
    const ids = await (await engine.generate(undefined, "behind")).run(prompt, rows, oracle.maxTokens);
    await engine.dispose();
    return { loss, gradient: gradients.prompt!.data, scores, ids };
  };

  test("float32 is exact, 16 bits keep the gradient's direction", async () => {
    const without = await computed(null);
    expect(without.ids).toEqual(oracle.behindGreedy);
    const whole = await computed(cache("float32"));
    expect(far(whole.loss, without.loss)).toBeLessThan(1e-5);
    expect(far(whole.gradient, without.gradient)).toBeLessThan(1e-5);
    expect(far(whole.scores, without.scores)).toBeLessThan(1e-5);
    expect(whole.ids).toEqual(oracle.behindGreedy);
    for (const precision of ["float16", "bfloat16"] as const) {
      const half = await computed(cache(precision));
      expect(cosine(half.gradient, without.gradient)).toBeGreaterThan(0.999);
      expect(far(half.loss, without.loss)).toBeLessThan(precision === "float16" ? 2e-3 : 2e-2);
    }
  });

  test.each([
    [1, false],
    [4, false],
    [4, true],
  ])("a text has equal bits, alone or beside others (%i threads, low memory %s)", async (threads, lowMemory) => {
    const draw = random(3, "texts");
    const { config } = await openCheckpoint(place);
    const most = Math.min(40, config.maxPositions ?? 40);
    const texts = [1, 2, 15, 16, 17, 18, 31, 32, 33, most, 3, 16, 17, 30]
      .filter((n) => n <= most)
      .map((n) => ({ ids: Int32Array.from({ length: n }, () => 3 + draw.integer(90)), shared: 0 }));
    const kept = async (groups: (typeof texts)[]) => {
      const store = cache("float32");
      const engine = openEngine(await openCheckpoint(place), { threads, lowMemory }, undefined, () => store);
      const counts: number[] = [];
      for (const group of groups)
        await engine.readTexts(group, undefined, { onKept: (some) => counts.push(some.length) });
      const values = await Promise.all(
        texts.map(async ({ ids }) => {
          const { length, copy } = (await store.get(fullModel(config).name, ids))!;
          const target = new Float32Array(length);
          copy(0, length, target, 0);
          return target;
        }),
      );
      await engine.dispose();
      return { counts, values };
    };
    const [together, alone] = [await kept([texts]), await kept(texts.map((text) => [text]))];
    // without packed weights sums depend on the number of rows, so each text is read alone
    if (lowMemory) expect(Math.max(...together.counts)).toBe(1);
    else expect(Math.max(...together.counts)).toBeGreaterThan(3);
    expect(alone.counts).toEqual(texts.map(() => 1));
    expect(together.values).toEqual(alone.values);
  });

  test("float16 is fed as it is kept, and gives to the bit what the widened values give, also beside a text that is not kept so", async () => {
    const kept = await computed(cache("float16"));
    expect(await computed(told(cache("float16"), hidden))).toEqual(kept);
    const some = told(cache("float16"), (values) => (values.length % 3 === 0 ? hidden(values) : values));
    expect(await computed(some)).toEqual(kept);
  });
});

/** A store that gives its texts in another way. */
const told = (store: TextStore, how: (kept: KeptText) => KeptText): TextStore => ({
  ...store,
  get: async (partial, ids) => {
    const kept = await store.get(partial, ids);
    return kept && how(kept);
  },
  put: async (partial, ids, values) => how(await store.put(partial, ids, values)),
});
/** Values whose bits no graph can take. */
const hidden = ({ length, copy }: KeptText): KeptText => ({ length, copy, float16: null });

describe("a reader", () => {
  const place = fileURLToPath(new URL("../../test/fixtures/tiny-causal-llama", import.meta.url));
  const texts = [Int32Array.of(5, 9, 31, 7), Int32Array.of(8, 3)];
  const batch = makeBatch(
    texts.map((ids, n) => ({
      ...{ id: `${n}`, input: ids.subarray(0, -1), first: ids.at(-1)!, target: Int32Array.of(4), promptAt: ids.length },
      ...{ choices: null, gold: -1, truncated: false },
    })),
  );
  const read = async (store: TextStore | null, how: HowRead) => {
    const checkpoint = await openCheckpoint(place);
    const partial = fullModel(checkpoint.config);
    const source = { config: checkpoint.config, weights: bindWeights(checkpoint, partial), partial };
    const options = { threads: 1, device: "cpu", lowMemory: false, plainOps: false } as const;
    const reader = openTextReader({ ...source, method: promptTuning }, options, store);
    const memory = await reader.read(batch, how);
    await reader.dispose();
    return { usual: reader.usual, key: memory.memoryKey0!, names: Object.keys(memory).length };
  };

  test("gives float16 where it may, and the same values in float32 where it may not", async () => {
    const store = cache("float16");
    const [half, whole] = [await read(store, { float16: true }), await read(store, {})];
    expect([half.usual, half.key.dtype, whole.key.dtype]).toEqual(["float16", "float16", "float32"]);
    expect(half.names).toBe(whole.names);
    expect(half.key.shape).toEqual(whole.key.shape);
    const { buffer, byteOffset, byteLength } = half.key.data;
    expect(widen(new Uint8Array(buffer, byteOffset, byteLength), "float16")).toEqual(whole.key.data);
  });

  test("gives float32 for a batch with a value that float16 cannot hold, and where texts are kept otherwise or not", async () => {
    const large = cache("float16");
    const store: TextStore = {
      ...large,
      put: (p, ids, v) => large.put(p, ids, ids.length === 4 ? v.map((x) => 1e6 * x) : v),
    };
    const found = await read(store, { float16: true });
    expect([found.usual, found.key.dtype]).toEqual(["float16", "float32"]);
    for (const other of [cache("bfloat16"), cache("float32"), null])
      expect((await read(other, { float16: true })).key.dtype).toBe("float32");
  });
});

describe("the store", () => {
  const ids = (...list: number[]) => Int32Array.from(list);
  const read = (kept: KeptText | null) => {
    const all = new Float32Array(kept!.length);
    kept!.copy(0, all.length, all, 0);
    return all;
  };
  const values = (n: number, scale = 1) => Float32Array.from({ length: 64 }, (_, i) => ((i * 7 + n) % 13) * scale);

  test("beyond the memory a text is on disk, where another process finds it; another model does not", async () => {
    const first = cache("float16", { memory: 128, disk: 2 ** 20 });
    await first.put("full", ids(1, 2), values(1));
    expect(files()).toEqual([]);
    const kept = read(await first.put("full", ids(3), values(2)));
    expect(files().length).toBe(1);
    const second = cache("float16", { memory: 0, disk: 2 ** 20 });
    expect(read(await second.get("full", ids(3)))).toEqual(kept);
    expect(await second.get("full", ids(1, 2))).toBeNull();
    expect(await second.get("e1", ids(3))).toBeNull();
    // what is in memory is there for others once it is shared
    await first.share();
    await first.share();
    expect(files().length).toBe(2);
    expect(read(await second.get("full", ids(1, 2)))).toEqual(read(await first.get("full", ids(1, 2))));
    expect(await cache("bfloat16", { disk: 2 ** 20 }).get("full", ids(3))).toBeNull();
    expect(await cache("float16", { disk: 2 ** 20, identity: "another" }).get("full", ids(3))).toBeNull();
  });

  test("a damaged or cut file is as good as none, and is written anew", async () => {
    const store = cache("float32", { memory: 0, disk: 2 ** 20 });
    await store.put("full", ids(3), values(2));
    const path = join(folder, files()[0]!);
    const whole = readFileSync(path);
    for (const damaged of [whole.subarray(0, 40), Buffer.of(), whole.with(50, whole[50]! ^ 1), whole.with(0, 9)]) {
      writeFileSync(path, damaged);
      expect(await store.get("full", ids(3))).toBeNull();
    }
    await store.put("full", ids(3), values(2));
    expect(read(await store.get("full", ids(3)))).toEqual(values(2));
  });

  test("reading ahead ends where there is no room, and reads nothing that is there", async () => {
    const place = fileURLToPath(new URL("../../test/fixtures/tiny-causal-llama", import.meta.url));
    const texts = [5, 20, 40, 60].map((n) => ({ ids: new Int32Array(n).fill(9), shared: 0 }));
    const checkpoint = await openCheckpoint(place);
    const readInto = async (store: TextStore) => {
      let read = 0;
      const put = (...given: Parameters<TextStore["put"]>) => {
        read++;
        return store.put(...given);
      };
      const counted = { ...store, put };
      const engine = openEngine(checkpoint, { threads: 1 }, undefined, () => counted);
      const counts: number[] = [];
      for (let i = 0; i < 2; i++) {
        await engine.readTexts(texts);
        counts.push(read);
      }
      await engine.dispose();
      return counts;
    };
    expect(await readInto(cache("float32"))).toEqual([4, 4]);
    // the longest, which has no room, is read first
    expect(await readInto(cache("float32", { memory: 100 }))).toEqual([1, 1]);
  });

  test("a signal is heard while many texts are looked up, and one that came before looks nothing up", async () => {
    const place = fileURLToPath(new URL("../../test/fixtures/tiny-causal-llama", import.meta.url));
    const texts = Array.from({ length: 3000 }, (_, n) => ({
      ids: Int32Array.of(3 + (n % 50), 4 + (n % 60)),
      shared: 0,
    }));
    let [asked, given] = [0, 0];
    const store = cache("float32");
    const has = async () => {
      asked++;
      return false;
    };
    const get = async () => {
      given++;
      return null;
    };
    const engine = openEngine(await openCheckpoint(place), { threads: 1 }, undefined, () => ({ ...store, has, get }));
    const stop = new AbortController();
    setTimeout(() => stop.abort("SIGINT"), 0);
    await engine.readTexts(texts, undefined, { signal: stop.signal });
    expect(asked).toBeLessThan(texts.length);
    const before = asked;
    await engine.readTexts(texts, undefined, { signal: stop.signal });
    expect([asked, given]).toEqual([before, 0]);
    await engine.dispose();
  });

  test("a text that two passes read at once is counted once, in memory and on disk", async () => {
    // 256 bytes each
    const store = cache("float32", { memory: 2 * 256 });
    for (const n of [1, 1, 1, 2]) await store.put("full", ids(n), values(n));
    expect(await store.get("full", ids(2))).not.toBeNull();
    expect(store.full()).toBe(false);
    const below = cache("float32", { memory: 0, disk: 2 * 290 });
    for (const n of [1, 1, 1, 2]) await below.put("full", ids(n), values(n));
    expect(files().length).toBe(2);
  });

  test("a server's cache lets go of what was unused longest; training's keeps what it has", async () => {
    const kept = async (store: TextStore) => {
      for (const n of [1, 2]) await store.put("full", ids(n), values(n));
      await store.get("full", ids(1));
      for (const n of [3, 4]) {
        await store.put("full", ids(n), values(n));
        await store.get("full", ids(1));
      }
      const there = [];
      for (const n of [1, 2, 3, 4]) if (await store.has("full", ids(n))) there.push(n);
      return there;
    };
    expect(await kept(cache("float32", { memory: 2 * 256 }))).toEqual([1, 2]);
    const server = cache("float32", { memory: 2 * 256, evict: true });
    expect(await kept(server)).toEqual([1, 4]);
    expect(read(await server.get("full", ids(4)))).toEqual(values(4));
    expect(server.full()).toBe(false);
    // one that is larger than the memory sends nothing away
    await server.put("full", ids(9), new Float32Array(1000));
    expect(await server.has("full", ids(1))).toBe(true);
    expect(server.full()).toBe(true);
  });

  test("what leaves the memory goes to the disk, where there is one, and comes back when it is used", async () => {
    const store = cache("float32", { memory: 256, disk: 2 ** 20, evict: true });
    for (const n of [1, 2]) await store.put("full", ids(n), values(n));
    expect(files().length).toBe(1);
    expect(read(await store.get("full", ids(1)))).toEqual(values(1));
    expect(files().length).toBe(2);
    rmSync(folder, { recursive: true });
    expect(read(await store.get("full", ids(1)))).toEqual(values(1));
    expect(await store.get("full", ids(2))).toBeNull();
  });

  test("an engine's store evicts where its settings say so", async () => {
    const checkpoint = await openCheckpoint(
      fileURLToPath(new URL(`../../test/fixtures/${models[0]}`, import.meta.url)),
    );
    const there = async (settings: TextCacheSettings) => {
      const engine = openEngine(checkpoint, { threads: 1, textCache: settings }, undefined, openTexts);
      for (const n of [1, 2]) await engine.texts!.put("full", ids(n), values(n));
      return [await engine.texts!.has("full", ids(1)), await engine.texts!.has("full", ids(2))];
    };
    const usual: TextCacheSettings = { precision: "float32", memory: 256, disk: 0 };
    expect([await there(usual), await there({ ...usual, evict: true })]).toEqual([
      [true, false],
      [false, true],
    ]);
  });

  test("where there is no room nothing is kept, and the numbers are the same", async () => {
    const store = cache("float16", { memory: 100, disk: 100 });
    const odd = values(1).map((v) => v + 1e-4);
    const kept = read(await store.put("full", ids(5), odd));
    expect(await store.get("full", ids(5))).toBeNull();
    expect(kept).toEqual(read(await cache("float16").put("full", ids(5), odd)));
    expect(kept).not.toEqual(odd);
    expect(files()).toEqual([]);
  });

  test("at most half of the disk's free space is taken, whatever the limit", async () => {
    const settings = { precision: "float32", memory: 0, disk: 2 ** 30, folder, identity: async () => "m" } as const;
    const store = openTextCache({ ...settings, free: () => 1000 });
    for (let n = 0; n < 4; n++) await store.put("full", ids(n), values(n)); // 290 bytes each
    expect(files().length).toBe(1);
    // a folder that is not there yet lies on a disk too
    const deeper = openTextCache({ ...settings, folder: join(folder, "not", "yet") });
    await deeper.put("full", ids(1), values(1));
    expect(read(await deeper.get("full", ids(1)))).toEqual(values(1));
  });

  test("a full disk lets its oldest texts go when it is opened again", async () => {
    const fill = cache("float32", { memory: 0, disk: 2 ** 20 });
    for (let n = 0; n < 8; n++) await fill.put("full", ids(n), values(n));
    expect(files().length).toBe(8);
    for (const path of files()) utimesSync(join(folder, path), 1000, 1000);
    await fill.get("full", ids(0)); // a text that was just read is not old
    const small = cache("float32", { memory: 0, disk: 1000 });
    await small.put("full", ids(99), values(9));
    expect(files().length).toBeLessThan(4);
    expect(read(await small.get("full", ids(99)))).toEqual(values(9));
    expect(read(await small.get("full", ids(0)))).toEqual(values(0));
    expect(await small.get("full", ids(1))).toBeNull();
  });

  test("processes that fill a folder at the same time stay within its limit together, but for a sixteenth each", async () => {
    const bytes = 34 + 4 * values(0).length;
    const disk = 200 * bytes;
    const stores = [1, 2, 3].map(() => cache("float32", { memory: 0, disk }));
    for (let n = 0; n < 200; n++)
      for (const [s, store] of stores.entries()) await store.put("full", ids(1000 * s + n), values(n));
    const taken = files().reduce((sum, path) => sum + statSync(join(folder, path)).size, 0);
    expect(taken).toBeGreaterThan(0.9 * disk);
    expect(taken).toBeLessThanOrEqual(disk * (1 + 3 / 16) + 3 * bytes);
    expect(stores.every((store) => store.full())).toBe(true);
  });

  test("what is beyond float16 is kept in bfloat16, never as infinity", async () => {
    const store = cache("float16");
    const kept = read(await store.put("full", ids(1), values(3, 1e5)));
    const [part, whole] = [new Float32Array(9), read(await store.get("full", ids(1)))];
    (await store.get("full", ids(1)))!.copy(10, 15, part, 2);
    expect([...part]).toEqual([0, 0, ...whole.subarray(10, 15), 0, 0]);
    expect(kept.every(Number.isFinite)).toBe(true);
    expect(far(kept, values(3, 1e5))).toBeLessThan(2 ** -8);
  });
});

/** Largest difference, as a share of the largest number. */
function far(a: ArrayLike<number>, b: ArrayLike<number>): number {
  const [most, off] = [Math.max(...Array.from(b, Math.abs)), Math.max(...Array.from(a, (v, i) => Math.abs(v - b[i]!)))];
  return off / most;
}

function cosine(a: Float32Array, b: Float32Array): number {
  const dot = (x: Float32Array, y: Float32Array) => x.reduce((sum, v, i) => sum + v * y[i]!, 0);
  return dot(a, b) / Math.sqrt(dot(a, a) * dot(b, b));
}
