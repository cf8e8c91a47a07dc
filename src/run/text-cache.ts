/**
 * @file Cache of texts that the frozen model has read, for later passes: in memory up to a limit, on disk beyond it.
 *
 * In: keys and values of a text. Out: the same, rounded to what they are kept in. A file's name is made from everything that determines its
 * content (weights, precision, partial model, token ids). It holds its own checksum and is written completely or not at all, so that any
 * number of processes may share the folder. A damaged file is computed again. float16 has three more bits of precision than bfloat16 but a
 * smaller range: a text with values beyond it is kept in bfloat16.
 *
 * Training reads the same texts in every epoch, so what is in memory stays there: let go by their age, all would go just before they come
 * again. A server's texts are never all known, so there the one that was unused longest makes room (`evict`).
 */
import { createHash } from "node:crypto";
import { existsSync, readdirSync, readFileSync, statfsSync, utimesSync } from "node:fs";
import { dirname, join } from "node:path";
import { type CacheEntry, entryOf, oldest, removeEntries } from "../base/cache-limit.js";
import { cacheFolder } from "../base/digest.js";
import { writeFileAtomic } from "../base/files.js";
import type { KeptText, TextCacheSettings, TextStore } from "../engine/text-store.js";
import type { EngineOptions } from "../engine/types.js";
import type { Checkpoint } from "../model/checkpoint.js";
import { type FloatDType, fitsFloat16, narrow, widen } from "../model/floats.js";
import { roundingFacts } from "../model/quantise.js";

/** What an engine's options ask for; for openEngine. */
export function openTexts(
  checkpoint: Checkpoint,
  { textCache, ...options }: Required<EngineOptions>,
): TextStore | null {
  if (textCache === null) return null;
  const { device, lowMemory, plainOps } = options;
  const arithmetic = [device, lowMemory, plainOps, ...Object.values(roundingFacts({ options, checkpoint }))];
  const identity = async () => JSON.stringify([await checkpoint.sha256(), checkpoint.config, ...arithmetic]);
  return openTextCache({ ...textCache, identity });
}

export interface TextCacheOptions extends TextCacheSettings {
  /** Default `cacheFolder()/texts`; null keeps nothing on disk. */
  readonly folder?: string | null;
  /** Free bytes on the disk of a folder. Default the system's figure. At most half of it is used. */
  readonly free?: (folder: string) => number;
  /** What the values depend on besides partial model and ids: the hash of the weights, and the options that change numbers. */
  readonly identity: () => Promise<string>;
}

interface Kept {
  readonly dtype: FloatDType;
  readonly bytes: Uint8Array;
}

const version = 2; // texts are padded
const codes: readonly FloatDType[] = ["float32", "bfloat16", "float16"];
/**
 * How often the folder is looked at while a process fills it: other processes write there too, and each may pass the limit by what it writes
 * between two looks.
 */
const looks = 16;
/** Version, type, sha256 of the rest. */
const headerBytes = 2 + 32;

export function openTextCache({
  precision,
  memory,
  disk,
  folder = textFolder(),
  free = freeBytes,
  evict = false,
  identity,
}: TextCacheOptions): TextStore {
  /** If it evicts, in the order of use. */
  const inMemory = new Map<string, Kept>();
  let used = 0;
  let room: number | null = null;
  /** Bytes written since the folder was looked at. */
  let sinceLook = 0;
  let base: Promise<string> | undefined;

  const keyOf = async (partial: string, ids: Int32Array) => {
    base ??= identity();
    const hash = createHash("sha256").update(JSON.stringify([version, await base, precision, partial]));
    return hash.update(new Uint8Array(ids.buffer, ids.byteOffset, ids.byteLength)).digest("hex");
  };
  const onDisk = folder !== null && disk > 0;
  const pathOf = (key: string) => join(folder!, key.slice(0, 2), key);

  /** @returns whether it is there now. */
  const toDisk = (key: string, kept: Kept): boolean => {
    room ??= Math.min(makeRoom(folder!, disk), free(folder!) / 2);
    if (sinceLook > disk / looks) {
      room = Math.min(room, Math.max(0, disk - bytesIn(folder!)));
      sinceLook = 0;
    }
    const size = kept.bytes.length + headerBytes;
    if (size > room) return false;
    // two passes may read one text at the same time, and a damaged file is written anew
    const more = size - bytesOf(pathOf(key));
    [room, sinceLook] = [room - more, sinceLook + more];
    if (written(pathOf(key), kept)) return true;
    // a disk that is full or not writable only costs time
    room = 0;
    return false;
  };
  /** Removes the text that was unused longest from memory. */
  const leave = () => {
    const [key, kept] = inMemory.entries().next().value!;
    inMemory.delete(key);
    used -= kept.bytes.length;
    if (onDisk && !existsSync(pathOf(key))) toDisk(key, kept);
  };
  /** @returns whether it is in memory now. A text that is there already is counted once. */
  const toMemory = (key: string, kept: Kept): boolean => {
    const size = kept.bytes.length;
    const known = inMemory.get(key);
    if (known !== undefined) {
      if (evict) {
        inMemory.delete(key);
        inMemory.set(key, known);
      }
      return true;
    }
    while (evict && size <= memory && used + size > memory) leave();
    if (used + size > memory) return false;
    inMemory.set(key, kept);
    used += size;
    return true;
  };
  let full = false;
  const shared = new Set<string>();

  return {
    precision,
    async get(partial, ids) {
      const key = await keyOf(partial, ids);
      const kept = inMemory.get(key) ?? (onDisk ? readKept(pathOf(key)) : null);
      if (evict && kept !== null) toMemory(key, kept);
      return kept && readable(kept);
    },
    async put(partial, ids, values) {
      const kept = narrowed(values, precision);
      const key = await keyOf(partial, ids);
      if (!toMemory(key, kept) && (!onDisk || !toDisk(key, kept))) full = true;
      return readable(kept);
    },
    async has(partial, ids) {
      const key = await keyOf(partial, ids);
      return inMemory.has(key) || (onDisk && existsSync(pathOf(key)));
    },
    full: () => full,
    async share() {
      if (!onDisk) return;
      for (const [key, kept] of inMemory) {
        if (shared.has(key)) continue;
        shared.add(key);
        if (!existsSync(pathOf(key))) toDisk(key, kept);
      }
    },
  };
}

function textFolder(): string | null {
  const folder = cacheFolder();
  return folder === null ? null : join(folder, "texts");
}

function narrowed(values: Float32Array, precision: FloatDType): Kept {
  const dtype = precision === "float16" && !fitsFloat16(values) ? "bfloat16" : precision;
  return { dtype, bytes: narrow(values, dtype) };
}

/** float32 of every 16-bit pattern, made once per type: widening one by one would cost a step as much as its layers. */
const wide = new Map<FloatDType, Float32Array>();

/** Values are widened where they are written to: a text's own float32 copy would cost as much again. */
function readable({ dtype, bytes }: Kept): KeptText {
  const aligned = bytes.byteOffset % 4 === 0 ? bytes : new Uint8Array(bytes);
  const { buffer, byteOffset, byteLength } = aligned;
  if (dtype === "float32") {
    const values = new Float32Array(buffer, byteOffset, byteLength / 4);
    return {
      length: values.length,
      float16: null,
      copy: (from, to, target, at) => target.set(values.subarray(from, to), at),
    };
  }
  const table = wide.get(dtype) ?? tableOf(dtype);
  const halves = new Uint16Array(buffer, byteOffset, byteLength / 2);
  return {
    length: halves.length,
    float16: dtype === "float16" ? halves : null,
    copy: (from, to, target, at) => {
      for (let i = from, o = at; i < to; i++, o++) target[o] = table[halves[i]!]!;
    },
  };
}

function tableOf(dtype: FloatDType): Float32Array {
  const all = Uint16Array.from({ length: 65536 }, (_, i) => i);
  const table = widen(new Uint8Array(all.buffer), dtype);
  wide.set(dtype, table);
  return table;
}

function sha(bytes: Uint8Array): Buffer {
  return createHash("sha256").update(bytes).digest();
}

function written(path: string, { dtype, bytes }: Kept): boolean {
  const head = Buffer.concat([Buffer.of(version, codes.indexOf(dtype)), sha(bytes)]);
  try {
    writeFileAtomic(path, Buffer.concat([head, bytes]));
    return true;
  } catch {
    return false;
  }
}

/** 0 where no file can be found. */
function bytesOf(path: string): number {
  try {
    return entryOf(path)?.bytes ?? 0;
  } catch {
    return 0;
  }
}

/** null if there is no file, or no valid one. */
function readKept(path: string): Kept | null {
  let file: Buffer;
  try {
    file = readFileSync(path);
  } catch {
    return null;
  }
  const dtype = codes[file[1] ?? 255];
  const bytes = file.subarray(headerBytes);
  const whole = file[0] === version && dtype !== undefined && sha(bytes).equals(file.subarray(2, headerBytes));
  if (whole) touch(path);
  return whole ? { dtype, bytes } : null;
}

/** The time of a file says when it was used last. A folder that may not be written only loses this. */
function touch(path: string): void {
  try {
    const now = new Date();
    utimesSync(path, now, now);
  } catch {
    // a cache that others may only read
  }
}

/** Bytes that may still be written. If the limit is reached, what was unused longest is removed until half of it is free. */
function makeRoom(folder: string, limit: number): number {
  const entries = entriesIn(folder);
  const used = entries.reduce((sum, { bytes }) => sum + bytes, 0);
  if (used < limit) return limit - used;
  const gone = new Set(removeEntries(oldest(entries, limit / 2).map(({ path }) => path)));
  const left = entries.reduce((sum, { path, bytes }) => sum + (gone.has(path) ? 0 : bytes), 0);
  return Math.max(0, limit - left);
}

/** The texts of all models. */
function entriesIn(folder: string): readonly CacheEntry[] {
  return list(folder)
    .flatMap((name) => list(join(folder, name)).map((file) => join(folder, name, file)))
    .flatMap((path) => entryOf(path) ?? []);
}

function bytesIn(folder: string): number {
  return entriesIn(folder).reduce((sum, { bytes }) => sum + bytes, 0);
}

/** Unlimited where the system does not say. */
function freeBytes(folder: string): number {
  for (let at = folder; ; at = dirname(at))
    try {
      const { bavail, bsize } = statfsSync(at);
      return bavail * bsize;
    } catch {
      if (at === dirname(at)) return Number.POSITIVE_INFINITY;
    }
}

function list(folder: string): string[] {
  try {
    return readdirSync(folder);
  } catch {
    return [];
  }
}
