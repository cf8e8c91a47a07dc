/**
 * @file The safetensors format: a checked reader of headers and a deterministic writer. Pure functions on bytes.
 *
 * In: the first bytes of a file and its size. Out: name → type, shape, place; every rule of the format verified.
 * Format: 8 bytes length of the header (little-endian), JSON header { name: { dtype, shape, data_offsets } }, data.
 * Source: github.com/huggingface/safetensors README and `safetensors/src/tensor.rs`, whose validation this follows:
 * the data must be covered completely, without holes or overlaps, and every span must be just as long as its shape says.
 */
import { type ErrorKind, SoftpromptError, show } from "../base/errors.js";
import { isObject, own, parseJson } from "../base/json.js";
import { type DType, dtypes, shapeText, size, type Tensor } from "../base/tensor.js";
import { type FloatDType, narrow, widen } from "./floats.js";

/** Limits that no real file meets; each refuses a file made to exhaust the reader. */
export const safetensorsLimits = {
  /** Bytes of the JSON header. The reference reader allows 100 MB; a T5-XXL needs 60 kB. */
  headerBytes: 25_000_000,
  tensors: 100_000,
  rank: 8,
  /** Characters of a tensor's name. */
  nameLength: 512,
} as const;

/** Types of the format and the bytes of one element. Those in `ours` can be read; all others, also newer ones, can only be skipped. */
const formatTypes: Readonly<Record<string, number>> = {
  ...{ BOOL: 1, U8: 1, I8: 1, F8_E5M2: 1, F8_E4M3: 1, F8_E8M0: 1, I16: 2, U16: 2, F16: 2, BF16: 2 },
  ...{ I32: 4, U32: 4, F32: 4, F64: 8, I64: 8, U64: 8, C64: 8 },
};
const ours = new Map(Object.entries(dtypes).map(([name, d]) => [d.safetensors as string, name as DType]));

/** Where one tensor lies in its file. */
export interface SafetensorsEntry {
  readonly name: string;
  /** Our name of the type, or null for a type that we only skip. */
  readonly dtype: DType | null;
  /** As written in the file, e.g. "BF16". */
  readonly storedType: string;
  readonly shape: readonly number[];
  /** Bytes from the start of the file. */
  readonly offset: number;
  readonly length: number;
}

export interface SafetensorsHeader {
  /** In the order of the data. */
  readonly entries: ReadonlyMap<string, SafetensorsEntry>;
  readonly metadata: ReadonlyMap<string, string>;
  /** Where the data starts. */
  readonly dataOffset: number;
}

/**
 * Length of the header block (with its 8 bytes of length) from the first 8 bytes of a file.
 * @param fileBytes size of the whole file
 */
export function headerBlockLength(
  first: Uint8Array,
  fileBytes: number,
  where: string,
  kind: ErrorKind = "checkpoint",
): number {
  const fail = refusal(where, kind);
  if (fileBytes < 10 || first.length < 8)
    throw fail("too short for a safetensors file", "10 bytes or more", `${fileBytes} bytes`);
  const length = new DataView(first.buffer, first.byteOffset, 8).getBigUint64(0, true);
  if (length > BigInt(safetensorsLimits.headerBytes)) {
    const other = otherFormat(first);
    if (other) throw fail("this is not a safetensors file", "a safetensors file", other.what, other.hint);
    throw fail("the header is too long", `at most ${safetensorsLimits.headerBytes} bytes`, `${length} bytes`);
  }
  if (8n + length > BigInt(fileBytes))
    throw fail("the file ends inside its header", `${8n + length} bytes or more`, `${fileBytes} bytes`, cutShort);
  return 8 + Number(length);
}

/**
 * Parses and checks a header.
 * @param block the first `headerBlockLength` bytes of the file (more do no harm)
 * @param fileBytes size of the whole file
 */
export function parseSafetensorsHeader(
  block: Uint8Array,
  fileBytes: number,
  where: string,
  kind: ErrorKind = "checkpoint",
): SafetensorsHeader {
  const fail = refusal(where, kind);
  const dataOffset = headerBlockLength(block, fileBytes, where, kind);
  if (block.length < dataOffset) throw fail("the header is incomplete", `${dataOffset} bytes`, `${block.length} bytes`);
  if (block[8] !== 0x7b) throw fail("the header must start with {", "{", String.fromCharCode(block[8]!));
  const json = parseJson(decodeUtf8(block.subarray(8, dataOffset), where, kind), `${where} (header)`, kind, {
    depth: 4,
  });
  if (!isObject(json)) throw fail("the header must be an object");

  const found: SafetensorsEntry[] = [];
  let metadata: ReadonlyMap<string, string> = new Map();
  const names = Object.keys(json);
  if (names.length > safetensorsLimits.tensors)
    throw fail("too many tensors", `at most ${safetensorsLimits.tensors}`, names.length);
  for (const name of names) {
    if (name === "__metadata__") metadata = readMetadata(own(json, name), where, kind);
    else found.push(readEntry(name, own(json, name), dataOffset, fileBytes, where, kind));
  }
  found.sort((a, b) => a.offset - b.offset || a.length - b.length);
  let end = dataOffset;
  for (const entry of found) {
    if (entry.offset !== end)
      throw fail(
        `tensor ${show(entry.name)} ${entry.offset < end ? "overlaps the one before" : "leaves a gap before it"}`,
        `start at byte ${end - dataOffset} of the data`,
        entry.offset - dataOffset,
      );
    end += entry.length;
  }
  if (end !== fileBytes)
    throw fail(
      "the data does not end where the file ends",
      `${end} bytes`,
      `${fileBytes} bytes`,
      end > fileBytes ? cutShort : undefined,
    );
  return { entries: new Map(found.map((e) => [e.name, e])), metadata, dataOffset };
}

/** A whole file in memory (adapters, run checkpoints): header, and each tensor's bytes as views. */
export function parseSafetensors(bytes: Uint8Array, where: string, kind: ErrorKind = "checkpoint") {
  const header = parseSafetensorsHeader(bytes, bytes.length, where, kind);
  const view = (entry: SafetensorsEntry) => bytes.subarray(entry.offset, entry.offset + entry.length);
  return {
    ...header,
    /** @returns the stored bytes of one tensor, or undefined. */
    bytesOf: (name: string): Uint8Array | undefined => {
      const entry = header.entries.get(name);
      return entry && view(entry);
    },
    /** @returns one float tensor widened to float32; refuses other types and missing names. */
    tensor: (name: string): Tensor => {
      const entry = header.entries.get(name);
      if (!entry)
        throw refusal(where, kind)(
          `there is no tensor ${show(name)}`,
          undefined,
          [...header.entries.keys()].slice(0, 8),
        );
      return { shape: entry.shape, data: widen(view(entry), floatType(entry, where, kind)) };
    },
  };
}

/** The entry's float type; refuses integers, booleans and 8-bit floats by name. */
export function floatType(entry: SafetensorsEntry, where: string, kind: ErrorKind = "checkpoint"): FloatDType {
  if (entry.dtype === "float32" || entry.dtype === "bfloat16" || entry.dtype === "float16") return entry.dtype;
  throw refusal(where, kind)(
    `tensor ${show(entry.name)} has an unsupported type`,
    "F32, BF16 or F16",
    entry.storedType,
  );
}

/** What the writer takes. float32 data of another float type is rounded; other types take raw little-endian bytes. */
export type WritableTensor =
  | { readonly shape: readonly number[]; readonly data: Float32Array; readonly dtype?: FloatDType }
  | { readonly shape: readonly number[]; readonly data: Int32Array; readonly dtype?: "int32" }
  | { readonly shape: readonly number[]; readonly data: Uint8Array; readonly dtype: DType };

/**
 * Writes a safetensors file. The same tensors and metadata give the same bytes: tensors are ordered by element width
 * (widest first, as the reference writer does, so that each is aligned) and then by name, metadata by key; the header is padded with blanks
 * to a multiple of 8.
 */
export function writeSafetensors(
  tensors: Readonly<Record<string, WritableTensor>> | ReadonlyMap<string, WritableTensor>,
  metadata: Readonly<Record<string, string>> = {},
): Uint8Array {
  const list = [...(tensors instanceof Map ? tensors.entries() : Object.entries(tensors))].map(([name, t]) => {
    const dtype: DType = t.dtype ?? (t.data instanceof Int32Array ? "int32" : "float32");
    const bytes =
      t.data instanceof Float32Array
        ? narrow(t.data, dtype as FloatDType)
        : new Uint8Array(t.data.buffer, t.data.byteOffset, t.data.byteLength);
    if (name === "__metadata__" || bytes.length !== size(t.shape) * dtypes[dtype].bytes)
      throw new TypeError(`cannot write ${show(name)}: ${bytes.length} bytes for ${shapeText(dtype, t.shape)}`);
    return { name, dtype, shape: t.shape, bytes };
  });
  const { header, order } = safetensorsLayout(list, metadata);
  const file = new Uint8Array(order.reduce((sum, { bytes }) => sum + bytes.length, header.length));
  file.set(header);
  let at = header.length;
  for (const { bytes } of order) {
    file.set(bytes, at);
    at += bytes.length;
  }
  return file;
}

/** The bytes before the data, for callers that write tensor by tensor. The data follow in `order`, without gaps. */
export function safetensorsLayout<
  T extends { readonly name: string; readonly dtype: DType; readonly shape: readonly number[] },
>(
  tensors: readonly T[],
  metadata: Readonly<Record<string, string>> = {},
): { readonly header: Uint8Array; readonly order: readonly T[] } {
  const order = [...tensors].sort(
    (a, b) => dtypes[b.dtype].bytes - dtypes[a.dtype].bytes || (a.name < b.name ? -1 : 1),
  );
  const parts: string[] = [];
  const meta = Object.entries(metadata).sort(([a], [b]) => (a < b ? -1 : 1));
  if (meta.length > 0)
    parts.push(`"__metadata__":{${meta.map(([k, v]) => `${JSON.stringify(k)}:${JSON.stringify(v)}`).join(",")}}`);
  let end = 0;
  for (const { name, dtype, shape } of order) {
    const bytes = size(shape) * dtypes[dtype].bytes;
    const entry = { dtype: dtypes[dtype].safetensors, shape, data_offsets: [end, end + bytes] };
    parts.push(`${JSON.stringify(name)}:${JSON.stringify(entry)}`);
    end += bytes;
  }
  const unpadded = new TextEncoder().encode(`{${parts.join(",")}}`);
  const headerBytes = Math.ceil(unpadded.length / 8) * 8;
  const header = new Uint8Array(8 + headerBytes).fill(0x20, 8);
  new DataView(header.buffer).setBigUint64(0, BigInt(headerBytes), true);
  header.set(unpadded, 8);
  return { header, order };
}

/** What a file is if it is not a safetensors file, by its first eight bytes; undefined if unknown. */
export function otherFormat(first: Uint8Array): { readonly what: string; readonly hint: string } | undefined {
  const start = Buffer.from(first.subarray(0, 8)).toString("latin1");
  const [, what, hint] = otherFormats.find(([pattern]) => pattern.test(start)) ?? [];
  return what === undefined || hint === undefined ? undefined : { what, hint };
}

/** Other formats that may be found in place of a weight file: a pattern of the first eight bytes, the format's name, and what to do. */
const otherFormats: readonly (readonly [pattern: RegExp, what: string, hint: string])[] = [
  [
    /^version /,
    "a Git LFS pointer",
    "it only names the file; fetch the file itself (git lfs pull), or download the model again",
  ],
  [
    /^\s*<(!doctyp|!--|\?xml|html|head|body)/i,
    "a web page",
    "a login page or an error was saved in place of the file; download it again",
  ],
  [/^GGUF/, "a GGUF file", "give it a name that ends in .gguf, and the path of the file as the model"],
  [/^(\x80|PK)/, "a pickle or a zip archive, as PyTorch writes them", "pickles are not read: they can run code"],
  [/^\x89HDF/, "an HDF5 file, as Keras writes them", "take the model's safetensors file"],
  [/^\s*[{[]/, "JSON", "a message of a server, or an index, was saved in place of the file; download it again"],
];

const cutShort = "the file was cut short; fetch it again";

function refusal(where: string, kind: ErrorKind) {
  return (problem: string, expected?: string, got?: unknown, hint?: string) =>
    new SoftpromptError(kind, problem, { where, expected, got, hint });
}

function decodeUtf8(bytes: Uint8Array, where: string, kind: ErrorKind): string {
  try {
    return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch (cause) {
    throw new SoftpromptError(kind, "the header is not valid UTF-8", { where, cause });
  }
}

function readMetadata(value: unknown, where: string, kind: ErrorKind): ReadonlyMap<string, string> {
  const fail = refusal(where, kind);
  if (!isObject(value)) throw fail("__metadata__ must be an object of strings", undefined, value);
  const entries = Object.entries(value);
  for (const [key, text] of entries)
    if (typeof text !== "string") throw fail(`__metadata__.${key.slice(0, 80)} must be a string`, "a string", text);
  return new Map(entries as [string, string][]);
}

function readEntry(
  name: string,
  value: unknown,
  dataOffset: number,
  fileBytes: number,
  where: string,
  kind: ErrorKind,
): SafetensorsEntry {
  const label = `tensor ${show(name, 100)}`;
  const fail = refusal(where, kind);
  if (name.length === 0 || name.length > safetensorsLimits.nameLength)
    throw fail("a tensor's name is empty or too long", `1 to ${safetensorsLimits.nameLength} characters`, name);
  if (!isObject(value)) throw fail(`${label} must be described by an object`, "{ dtype, shape, data_offsets }", value);
  const extra = Object.keys(value).find((k) => k !== "dtype" && k !== "shape" && k !== "data_offsets");
  if (extra !== undefined) throw fail(`${label} has an unknown field`, "dtype, shape, data_offsets", extra);

  const storedType = own(value, "dtype");
  if (typeof storedType !== "string" || !/^[A-Z][A-Z0-9_]{1,23}$/.test(storedType))
    throw fail(`${label} has an impossible dtype`, `a name such as ${Object.keys(formatTypes).join(", ")}`, storedType);
  const shape = own(value, "shape");
  if (!Array.isArray(shape) || shape.length > safetensorsLimits.rank || !shape.every(isCount))
    throw fail(`${label} has an impossible shape`, `up to ${safetensorsLimits.rank} sizes, each 0 … 2^53-1`, shape);
  const offsets: unknown = own(value, "data_offsets");
  const [start, end] = Array.isArray(offsets) && offsets.length === 2 ? (offsets as unknown[]) : [];
  if (!isCount(start) || !isCount(end) || start > end)
    throw fail(`${label} has impossible data_offsets`, "[start, end] with start ≤ end, each 0 … 2^53-1", offsets);

  if (end > fileBytes - dataOffset)
    throw fail(`${label} lies outside the file`, `at most ${fileBytes - dataOffset} bytes of data`, offsets, cutShort);
  // a product beyond 2^53 is inexact and stays large unless a zero follows, so zeros are looked for first
  const elements = shape.includes(0) ? 0 : size(shape as number[]);
  // the format may gain types: a type unknown to this code can be skipped, but its size cannot be checked
  const bytes = Object.hasOwn(formatTypes, storedType) ? elements * formatTypes[storedType]! : end - start;
  if (!Number.isSafeInteger(bytes) || bytes !== end - start)
    throw fail(`${label} has the wrong number of bytes`, `${bytes} for ${shapeText(storedType, shape)}`, end - start);
  return {
    name,
    dtype: ours.get(storedType) ?? null,
    storedType,
    shape: shape as number[],
    offset: dataOffset + start,
    length: end - start,
  };
}

function isCount(value: unknown): value is number {
  return Number.isSafeInteger(value) && (value as number) >= 0 && !Object.is(value, -0);
}
