/**
 * @file The GGUF format: a checked reader of headers. Pure function on the first bytes of a file and its true length.
 *
 * In: the start of a file, and how long the file is. Out: metadata, name → type, shape, place; or how many bytes more are needed.
 * Format: "GGUF", version (u32), counts of tensors and of metadata (u64), metadata (key, type, value), tensors (name, dimensions, type,
 * offset), padding, data. Little-endian; strings are a length (u64) and UTF-8.
 * Source: github.com/ggml-org/ggml docs/gguf.md and `src/gguf.cpp` (versions 2 and 3). Every count and length is compared with what the
 * file can still hold before anything is made of it, so that a file of a few bytes cannot ask for gigabytes.
 */
import { isUtf8 } from "node:buffer";
import { SoftpromptError, show } from "../../base/errors.js";
import { otherFormat } from "../safetensors.js";
import { type BlockType, blockTypeNames, blockTypes, unreadTypes } from "./blocks.js";

/** Limits that no real file meets; each refuses a file made to exhaust the reader. */
export const ggufLimits = {
  /** Bytes before the data. The largest vocabularies (260,000 tokens with their merges) need 15 MB. */
  headerBytes: 64_000_000,
  tensors: 100_000,
  keys: 10_000,
  /** Bytes of a key or a tensor's name. */
  nameLength: 512,
  /** Bytes of one string; chat templates have a few thousand. */
  stringLength: 10_000_000,
  /** Elements of all arrays together. */
  elements: 4_000_000,
  rank: 4,
  alignment: 65_536,
} as const;

/** A metadata value. 64-bit integers beyond 2^53 stay bigint. Arrays hold one kind and are never nested. */
export type GgufValue = number | bigint | boolean | string | readonly (number | bigint | boolean | string)[];

/** Where one tensor lies in its file. */
export interface GgufTensor {
  readonly name: string;
  readonly type: BlockType;
  /** Row-major, slowest first: the reverse of the order in the file. */
  readonly shape: readonly number[];
  /** Bytes from the start of the file. */
  readonly offset: number;
  readonly length: number;
}

export interface GgufHeader {
  readonly version: number;
  readonly metadata: ReadonlyMap<string, GgufValue>;
  readonly tensors: ReadonlyMap<string, GgufTensor>;
  readonly dataOffset: number;
}

/** `block` ended within the header; the reader needs at least the first `bytes` bytes of the file. */
export interface MoreNeeded {
  readonly more: number;
}

/** Thrown when the given bytes end before the file does; caught inside this module. */
class EndOfBlock {
  constructor(readonly bytes: number) {}
}

/**
 * Parses and checks a header.
 * @param block the first bytes of the file
 * @param fileBytes length of the whole file
 * @returns the header, or how many bytes the next try needs at least.
 * @throws SoftpromptError("checkpoint")
 */
export function parseGgufHeader(block: Uint8Array, fileBytes: number, where: string): GgufHeader | MoreNeeded {
  try {
    return parse(new Cursor(block, fileBytes, where), where);
  } catch (end) {
    if (end instanceof EndOfBlock) return { more: end.bytes };
    throw end;
  }
}

function parse(cursor: Cursor, where: string): GgufHeader {
  const fail = refusal(where);
  const magic = cursor.take(4, "the magic number");
  if (magic.toString("latin1") !== "GGUF") {
    const other = otherFormat(cursor.start());
    throw fail("this is not a GGUF file", '"GGUF" at the start', other?.what ?? quoted(magic), other?.hint);
  }
  const version = cursor.u32("the version");
  if (version !== 2 && version !== 3) {
    // the format does not state its byte order; a version whose low half is 0 was read in the wrong byte order
    if ((version & 0xffff) === 0 && version !== 0)
      throw fail(
        "this GGUF file is big-endian",
        "little-endian",
        undefined,
        "convert it again for this kind of machine",
      );
    throw fail(
      "this version of GGUF is not read",
      "version 2 or 3",
      version,
      "convert the model again with a newer tool",
    );
  }
  const tensorCount = cursor.count("the number of tensors", ggufLimits.tensors, 8 + 4 + 8 + 4 + 8);
  const keyCount = cursor.count("the number of metadata keys", ggufLimits.keys, 8 + 4 + 1);

  const metadata = new Map<string, GgufValue>();
  for (let i = 0; i < keyCount; i++) {
    const key = cursor.string("a metadata key", ggufLimits.nameLength);
    if (metadata.has(key)) throw fail(`the key ${show(key, 100)} stands twice`, "every key once");
    metadata.set(key, cursor.value(`key ${show(key, 100)}`));
  }
  const alignment = metadata.get("general.alignment") ?? 32;
  if (typeof alignment !== "number" || !isAlignment(alignment))
    throw fail("general.alignment is impossible", `a power of two from 8 to ${ggufLimits.alignment}`, alignment);

  const described: { name: string; type: BlockType; shape: number[]; offset: number; length: number }[] = [];
  const names = new Set<string>();
  for (let i = 0; i < tensorCount; i++) {
    const tensor = describe(cursor, alignment, where);
    if (names.has(tensor.name)) throw fail(`tensor ${show(tensor.name, 100)} stands twice`, "every name once");
    names.add(tensor.name);
    described.push(tensor);
  }
  const dataOffset = Math.ceil(cursor.at / alignment) * alignment;
  const tensors = described
    .map((tensor) => ({ ...tensor, offset: dataOffset + tensor.offset }))
    .sort((a, b) => a.offset - b.offset);
  let end = dataOffset;
  for (const { name, offset, length } of tensors) {
    const label = `tensor ${show(name, 100)}`;
    if (offset < end)
      throw fail(
        `${label} overlaps the one before`,
        `start at byte ${end - dataOffset} of the data or later`,
        offset - dataOffset,
      );
    end = offset + length;
    if (end > cursor.fileBytes)
      throw fail(`${label} lies outside the file`, `${end} bytes or more`, `${cursor.fileBytes} bytes`, cutShort);
  }
  return { version, metadata, tensors: new Map(tensors.map((tensor) => [tensor.name, tensor])), dataOffset };
}

/** One entry of the tensor list. Its offset still counts from the start of the data. */
function describe(cursor: Cursor, alignment: number, where: string) {
  const fail = refusal(where);
  const name = cursor.string("a tensor's name", ggufLimits.nameLength);
  const label = `tensor ${show(name, 100)}`;
  if (name === "") throw fail("a tensor has no name");
  const rank = cursor.u32(`${label}'s number of dimensions`);
  if (rank < 1 || rank > ggufLimits.rank)
    throw fail(`${label} has an impossible number of dimensions`, `1 to ${ggufLimits.rank}`, rank);
  const shape: number[] = [];
  for (let i = 0; i < rank; i++) {
    const size = cursor.u64(`${label}'s dimensions`);
    if (size < 1n || size > BigInt(Number.MAX_SAFE_INTEGER))
      throw fail(`${label} has an impossible dimension`, "1 … 2^53-1", size);
    shape.unshift(Number(size)); // the file writes the fastest first
  }
  const id = cursor.u32(`${label}'s type`);
  const type = blockTypeNames.get(id);
  if (type === undefined)
    throw fail(
      `${label} has a type that is not read`,
      Object.keys(blockTypes).join(", "),
      unreadTypes.get(id) ?? `type ${id}`,
      "take a file of the same model in one of these types, e.g. Q8_0 or Q4_K_M",
    );
  const { elements, bytes } = blockTypes[type];
  if (shape.at(-1)! % elements !== 0)
    throw fail(
      `a row of ${label} is no whole number of blocks`,
      `a multiple of ${elements} elements for ${type}`,
      shape.at(-1),
    );
  const length = (shape.reduce((a, b) => a * b, 1) / elements) * bytes;
  if (!Number.isSafeInteger(length) || length > cursor.fileBytes)
    throw fail(`${label} is larger than the file`, `at most ${cursor.fileBytes} bytes`, shape, cutShort);
  const offset = cursor.u64(`${label}'s offset`);
  if (offset % BigInt(alignment) !== 0n)
    throw fail(`${label} does not lie where the alignment wants it`, `a multiple of ${alignment}`, offset);
  if (offset > BigInt(cursor.fileBytes))
    throw fail(`${label} lies outside the file`, `at most ${cursor.fileBytes} bytes`, offset, cutShort);
  return { name, type, shape, offset: Number(offset), length };
}

/** Metadata types by number; `least` is the fewest bytes one element can take. */
const scalars = {
  0: { least: 1, read: (b, at) => b.readUInt8(at) },
  1: { least: 1, read: (b, at) => b.readInt8(at) },
  2: { least: 2, read: (b, at) => b.readUInt16LE(at) },
  3: { least: 2, read: (b, at) => b.readInt16LE(at) },
  4: { least: 4, read: (b, at) => b.readUInt32LE(at) },
  5: { least: 4, read: (b, at) => b.readInt32LE(at) },
  6: { least: 4, read: (b, at) => b.readFloatLE(at) },
  10: { least: 8, read: (b, at) => small(b.readBigUInt64LE(at)) },
  11: { least: 8, read: (b, at) => small(b.readBigInt64LE(at)) },
  12: { least: 8, read: (b, at) => b.readDoubleLE(at) },
} satisfies Record<number, { least: number; read: (bytes: Buffer, at: number) => number | bigint }>;
const [boolType, stringType, arrayType] = [7, 8, 9];

/** Walks through the header; every read is checked against the file's end first, then against the end of what is at hand. */
class Cursor {
  at = 0;
  private elements = 0;
  private readonly bytes: Buffer;
  constructor(
    block: Uint8Array,
    readonly fileBytes: number,
    private readonly where: string,
  ) {
    this.bytes = Buffer.from(block.buffer, block.byteOffset, block.byteLength);
  }

  private fail(problem: string, expected?: string, got?: unknown, hint?: string): SoftpromptError {
    return refusal(this.where)(problem, expected, got, hint);
  }

  /** Moves on by `length` bytes. @returns where they begin. */
  private step(length: number, what: string): number {
    const end = this.at + length;
    if (end > this.fileBytes)
      throw this.fail(`the file ends within ${what}`, `${end} bytes or more`, `${this.fileBytes} bytes`, cutShort);
    if (end > ggufLimits.headerBytes)
      throw this.fail("the header is too long", `at most ${ggufLimits.headerBytes} bytes`, `${end} bytes at ${what}`);
    if (end > this.bytes.length) throw new EndOfBlock(end);
    const start = this.at;
    this.at = end;
    return start;
  }

  /** The first eight bytes, or as many as there are. */
  start(): Uint8Array {
    return this.bytes.subarray(0, 8);
  }

  take(length: number, what: string): Buffer {
    const start = this.step(length, what);
    return this.bytes.subarray(start, start + length);
  }
  u32(what: string): number {
    return this.bytes.readUInt32LE(this.step(4, what));
  }
  u64(what: string): bigint {
    return this.bytes.readBigUInt64LE(this.step(8, what));
  }

  /** A count of things that take at least `least` bytes each. */
  count(what: string, most: number, least: number): number {
    const value = this.u64(what);
    if (value > BigInt(most)) throw this.fail(`${what} is absurd`, `at most ${most}`, value);
    if (value * BigInt(least) > BigInt(this.fileBytes - this.at))
      throw this.fail(
        `${what} is more than the file can hold`,
        `at most ${Math.floor((this.fileBytes - this.at) / least)}`,
        value,
        cutShort,
      );
    return Number(value);
  }

  string(what: string, most: number): string {
    const bytes = this.take(this.count(`the length of ${what}`, most, 1), what);
    if (!isUtf8(bytes)) throw this.fail(`${what} is not valid UTF-8`, undefined, quoted(bytes.subarray(0, 40)));
    return bytes.toString("utf8");
  }

  value(what: string): GgufValue {
    const type = this.u32(`the type of ${what}`);
    if (type !== arrayType) return this.one(type, what);
    const element = this.u32(`the type of ${what}`);
    if (element === arrayType)
      throw this.fail(`${what} holds arrays within an array`, "numbers, truth values or strings");
    const least = element === stringType ? 8 : element === boolType ? 1 : this.scalar(element, what).least;
    const count = this.count(`the length of ${what}`, ggufLimits.elements - this.elements, least);
    this.elements += count;
    const values: (number | bigint | boolean | string)[] = [];
    for (let i = 0; i < count; i++) values.push(this.one(element, what));
    return values;
  }

  private one(type: number, what: string): number | bigint | boolean | string {
    if (type === stringType) return this.string(what, ggufLimits.stringLength);
    if (type === boolType) {
      const value = this.bytes.readUInt8(this.step(1, what));
      if (value > 1) throw this.fail(`${what} is no truth value`, "0 or 1", value);
      return value === 1;
    }
    const { least, read } = this.scalar(type, what);
    return read(this.bytes, this.step(least, what));
  }

  private scalar(type: number, what: string): { least: number; read: (bytes: Buffer, at: number) => number | bigint } {
    if (Object.hasOwn(scalars, type)) return scalars[type as keyof typeof scalars];
    throw this.fail(`${what} has an unknown type`, "0 … 12", type);
  }
}

const cutShort = "the file was cut short; fetch it again";

function isAlignment(n: number): boolean {
  return n >= 8 && n <= ggufLimits.alignment && Number.isInteger(Math.log2(n));
}

function small(value: bigint): number | bigint {
  const number = Number(value);
  return Number.isSafeInteger(number) ? number : value;
}

function quoted(bytes: Buffer): string {
  return show(bytes.toString("latin1"), 40);
}

function refusal(where: string) {
  return (problem: string, expected?: string, got?: unknown, hint?: string) =>
    new SoftpromptError("checkpoint", problem, { where, expected, got, hint });
}
