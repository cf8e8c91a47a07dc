/**
 * @file Mutators that know a frame: they change what is inside and make lengths and checksums true again. In, out: bytes.
 *
 * safetensors (length, JSON header, data), GGUF (counts, keys, values, tensors, data), protobuf messages, checksummed JSON, parquet pages before they are compressed.
 * Without them every input would end at the first length or checksum, and nothing behind would be tried.
 */
import { gzipSync } from "node:zlib";
import { parquetWriteBuffer } from "hyparquet-writer";
import { sha256 } from "../../src/base/files.js";
import type { Random } from "../../src/base/random.js";
import {
  bytesOf,
  cached,
  chance,
  editBytes,
  editJson,
  editWithin,
  extremes,
  type Mutator,
  pick,
  textOf,
  varint,
} from "./mutate.js";

function withLength(header: Uint8Array, data: Uint8Array): Uint8Array {
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(header.length));
  return Buffer.concat([length, header, data]);
}

const headers = new WeakMap<Uint8Array, Uint8Array>();

/** The JSON header of a sound safetensors file, always the same object, so that its tree is parsed once. */
function headerOf(bytes: Uint8Array): Uint8Array {
  const known = headers.get(bytes);
  if (known !== undefined) return known;
  const length = Number(Buffer.from(bytes).readBigUInt64LE(0));
  const header = bytes.slice(8, 8 + length);
  headers.set(bytes, header);
  return header;
}

/** Any byte; the header's JSON under a true length; the length itself; the data, shorter, longer, or other numbers. */
export const safetensors: Mutator = (bytes, draw, others) => {
  const header = headerOf(bytes);
  const data = bytes.subarray(8 + header.length);
  const how = draw.next();
  if (how < 0.25) return editBytes(bytes, draw, others);
  if (how < 0.75) return withLength(editJson(header, draw, []), data);
  if (how < 0.85) {
    const length = Buffer.alloc(8);
    length.writeBigUInt64LE(
      BigInt.asUintN(64, chance(draw, 0.5) ? pick(draw, extremes) : BigInt(header.length + draw.integer(9) - 4)),
    );
    return Buffer.concat([length, bytes.subarray(8)]);
  }
  return withLength(header, editBytes(data, draw, others));
};

interface GgufPart {
  /** A count, type, dimension or offset of so many bytes; a text, whose length stands before it; numbers. */
  readonly kind: "number" | "text" | "numbers";
  readonly content: Uint8Array;
  /** One of many in an array: there are hundreds of them to each part of the frame. */
  readonly item: boolean;
}

const ggufParts = new WeakMap<Uint8Array, { parts: GgufPart[]; data: Uint8Array }>();

/** The header of a sound GGUF file, cut into parts. */
function partsOfGguf(bytes: Uint8Array) {
  const known = ggufParts.get(bytes);
  if (known) return known;
  const parts: GgufPart[] = [];
  const all = Buffer.from(bytes);
  let at = 0;
  const take = (kind: GgufPart["kind"], length: number, item = false) => {
    parts.push({ kind, content: all.subarray(at, at + length), item });
    at += length;
    return kind === "number" && length >= 4 ? all.readUInt32LE(at - length) : 0;
  };
  const text = (item = false) => {
    const length = Number(all.readBigUInt64LE(at));
    at += 8;
    take("text", length, item);
  };
  const widths = [1, 1, 2, 2, 4, 4, 4, 1, 0, 0, 8, 8, 8];
  take("numbers", 4);
  take("number", 4);
  const tensors = take("number", 8);
  const keys = take("number", 8);
  for (let i = 0; i < keys; i++) {
    text();
    const type = take("number", 4);
    if (type === 8) text();
    else if (type !== 9) take("number", widths[type]!);
    else {
      const element = take("number", 4);
      const count = take("number", 8);
      if (element !== 8) take("numbers", count * widths[element]!);
      else for (let n = 0; n < count; n++) text(true);
    }
  }
  for (let i = 0; i < tensors; i++) {
    text();
    const rank = take("number", 4);
    for (let n = 0; n < rank; n++) take("number", 8);
    take("number", 4);
    take("number", 8);
  }
  const read = { parts, data: all.subarray(Math.ceil(at / 32) * 32) };
  ggufParts.set(bytes, read);
  return read;
}

/** Any byte; or a few parts of the header, with true lengths and the data where they belong. */
export const gguf: Mutator = (bytes, draw, others) => {
  if (chance(draw, 0.2)) return editBytes(bytes, draw, others);
  const { parts, data } = partsOfGguf(bytes);
  const frame = parts.flatMap(({ item }, i) => (item ? [] : [i]));
  const changed = new Map<number, Uint8Array>();
  for (let n = 1 + draw.integer(3); n > 0; n--) {
    const i = chance(draw, 0.8) ? pick(draw, frame) : draw.integer(parts.length);
    const { kind, content } = parts[i]!;
    if (kind === "number") {
      const other = Buffer.alloc(8);
      const old = Buffer.concat([content, Buffer.alloc(8)]).readBigUInt64LE(0);
      const value = chance(draw, 0.5) ? pick(draw, extremes) : old + BigInt(draw.integer(9) - 4);
      other.writeBigUInt64LE(BigInt.asUintN(64, value));
      changed.set(i, other.subarray(0, content.length));
    } else changed.set(i, kind === "text" ? editBytes(content, draw, [content]) : sameLength(content, draw, [content]));
  }
  const header = parts.map(({ kind, content }, i) => {
    const now = changed.get(i) ?? content;
    if (kind !== "text") return now;
    const length = Buffer.alloc(8);
    const lie = changed.has(i) && chance(draw, 0.1);
    length.writeBigUInt64LE(lie ? BigInt.asUintN(64, pick(draw, extremes)) : BigInt(now.length));
    return Buffer.concat([length, now]);
  });
  const size = header.reduce((sum, part) => sum + part.length, 0);
  return Buffer.concat([...header, Buffer.alloc(Math.ceil(size / 32) * 32 - size), data]);
};

/** `{"…":"…","body":BODY}` with its sha256 made true again: for whoever writes checksums himself. */
export const checksummed: Mutator = (bytes, draw, others) => {
  if (chance(draw, 0.25)) return editBytes(bytes, draw, others);
  const [, before, body] = /^(.*?"sha256":")[0-9a-f]{64}","body":(.*)\}\n$/s.exec(textOf(bytes))!;
  const other = textOf(editJson(cached(body!), draw, others));
  return bytesOf(`${before}${sha256(other)}","body":${other}}\n`);
};

/** A protobuf message: fields cut, doubled, moved, given another number, wire type, value or length; messages inside likewise. */
export const protobuf: Mutator = (bytes, draw, others) => {
  if (chance(draw, 0.3)) return editBytes(bytes, draw, others);
  let out: Uint8Array = bytes;
  for (let n = 1 + draw.integer(3); n > 0; n--) out = editMessage(out, draw, 0);
  return out;
};

interface Span {
  readonly key: number;
  readonly from: number;
  /** Where the value, and the content of a length-delimited one, begins. */
  readonly value: number;
  readonly content: number;
  readonly to: number;
}

function editMessage(message: Uint8Array, draw: Random, depth: number): Uint8Array {
  const spans = spansOf(message);
  if (spans.length === 0) return editBytes(message, draw, [message]);
  // the last fields of a SentencePiece model are its settings; before them stand hundreds of pieces
  const span = chance(draw, 0.4) ? spans.at(-1 - draw.integer(Math.min(4, spans.length)))! : pick(draw, spans);
  const whole = message.subarray(span.from, span.to);
  const how = draw.next();
  const replace = (by: Uint8Array) => Buffer.concat([message.subarray(0, span.from), by, message.subarray(span.to)]);
  if (how < 0.08) return replace(new Uint8Array(0));
  if (how < 0.16) return replace(Buffer.concat([whole, whole]));
  if (how < 0.22)
    return replace(
      Buffer.concat([varint(BigInt(draw.integer(50) * 8 + (span.key & 7))), message.subarray(span.value, span.to)]),
    );
  if (how < 0.26)
    return replace(
      Buffer.concat([varint(BigInt((span.key & ~7) | draw.integer(8))), message.subarray(span.value, span.to)]),
    );
  if (how < 0.3) return replace(Buffer.concat([varint(pick(draw, extremes)), message.subarray(span.value, span.to)]));
  const key = message.subarray(span.from, span.value);
  if ((span.key & 7) === 0)
    return replace(Buffer.concat([key, varint(chance(draw, 0.5) ? pick(draw, extremes) : BigInt(draw.integer(8)))]));
  if ((span.key & 7) === 5) return replace(Buffer.concat([key, pick(draw, floats)]));
  if ((span.key & 7) !== 2) return replace(editBytes(whole, draw, [whole]));
  const content = message.subarray(span.content, span.to);
  if (how < 0.36) return replace(Buffer.concat([key, varint(pick(draw, extremes)), content]));
  const inner =
    depth < 3 && chance(draw, 0.7) && spansOf(content).length > 0
      ? editMessage(content, draw, depth + 1)
      : editBytes(content, draw, [content]);
  return replace(Buffer.concat([key, varint(BigInt(inner.length)), inner]));
}

const floats = [0, -0, 1, -1e30, Number.NaN, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY, 1e-45].map((value) => {
  const bytes = Buffer.alloc(4);
  bytes.writeFloatLE(value);
  return bytes;
});

/** Fields of a message as far as it can be read as one. */
function spansOf(message: Uint8Array): Span[] {
  const spans: Span[] = [];
  let at = 0;
  const number = () => {
    let value = 0;
    for (let i = 0; i < 5; i++) {
      const byte = message[at++];
      if (byte === undefined) return -1;
      value += (byte & 127) * 2 ** (7 * i);
      if (byte < 128) return value;
    }
    return -1;
  };
  while (at < message.length) {
    const from = at;
    const key = number();
    const value = at;
    if (key < 8) return spans;
    let content = at;
    const wire = key & 7;
    if (wire === 0) {
      if (number() < 0) return spans;
    } else if (wire === 5) at += 4;
    else if (wire === 1) at += 8;
    else if (wire === 2) {
      const length = number();
      content = at;
      if (length < 0) return spans;
      at += length;
    } else return spans;
    if (at > message.length) return spans;
    spans.push({ key, from, value, content, to: at });
  }
  return spans;
}

const codecs = ["SNAPPY", "GZIP", "UNCOMPRESSED", "ZSTD", "LZ4_RAW"] as const;
const rows = 24;
const column = <T>(of: (row: number) => T): T[] => Array.from({ length: rows }, (_, row) => of(row));

/** A parquet file of many types and encodings. @param page changes the bytes of a page before compression */
function parquetFile(
  codec: (typeof codecs)[number],
  set: number,
  page?: (bytes: Uint8Array) => Uint8Array,
): Uint8Array {
  const sets = [
    [
      { name: "text", data: column((i) => `row ${i % 5} of some text`), type: "STRING" },
      { name: "label", data: column((i) => i % 3), type: "INT32", encoding: "DELTA_BINARY_PACKED" },
      { name: "score", data: column((i) => (i % 5 ? i / 3 : null)), type: "DOUBLE", nullable: true },
      { name: "meta", data: column((i) => ({ n: i, tags: ["x", "y"] })), type: "JSON" },
    ],
    [
      { name: "plain", data: column((i) => `${i} written out`), type: "STRING", encoding: "DELTA_LENGTH_BYTE_ARRAY" },
      { name: "prefix", data: column((i) => `same start ${i}`), type: "STRING", encoding: "DELTA_BYTE_ARRAY" },
      { name: "yes", data: column((i) => i % 2 === 0), type: "BOOLEAN" },
      { name: "when", data: column((i) => new Date(1e12 + i)), type: "TIMESTAMP" },
      { name: "big", data: column((i) => BigInt(i) ** 9n), type: "INT64" },
      { name: "split", data: column((i) => i / 7), type: "FLOAT", encoding: "BYTE_STREAM_SPLIT" },
    ],
  ];
  const gzip = (bytes: Uint8Array) => gzipSync(bytes, { level: 1 });
  const compressors = {
    UNCOMPRESSED: {},
    GZIP: { GZIP: (bytes: Uint8Array) => gzip(page ? page(bytes) : bytes) },
    ZSTD: { ZSTD: (bytes: Uint8Array) => rawFrame(page ? page(bytes) : bytes) },
    LZ4_RAW: { LZ4_RAW: (bytes: Uint8Array) => oneLiteral(page ? page(bytes) : bytes) },
    // hyparquet-writer's own snappy makes matches; ours for changed pages makes none
    SNAPPY: page ? { SNAPPY: (bytes: Uint8Array) => literals(page(bytes)) } : {},
  };
  return new Uint8Array(
    parquetWriteBuffer({
      columnData: sets[set % sets.length] as never,
      codec,
      rowGroupSize: 10,
      compressors: compressors[codec],
    }),
  );
}

/** Snappy without a single match: length, then literals of up to 60 bytes. Any content, and content alone, is thereby tried. */
function literals(bytes: Uint8Array): Uint8Array {
  const parts: Uint8Array[] = [varint(BigInt(bytes.length))];
  for (let at = 0; at < bytes.length; at += 60) {
    const chunk = bytes.subarray(at, at + 60);
    parts.push(Uint8Array.of((chunk.length - 1) << 2), chunk);
  }
  return Buffer.concat(parts);
}

/** zstd without compression: one frame that says its size, of raw blocks (RFC 8878 §3.1.1). */
function rawFrame(bytes: Uint8Array): Uint8Array {
  const size = Buffer.alloc(4);
  size.writeUInt32LE(bytes.length);
  const parts: Uint8Array[] = [Uint8Array.of(0x28, 0xb5, 0x2f, 0xfd, 0xa0), size];
  const most = 1 << 16;
  for (let at = 0; at === 0 || at < bytes.length; at += most) {
    const chunk = bytes.subarray(at, at + most);
    const header = Number(at + most >= bytes.length) | (chunk.length << 3);
    parts.push(Uint8Array.of(header & 255, (header >> 8) & 255, header >> 16), chunk);
  }
  return Buffer.concat(parts);
}

/** LZ4 without compression: one literal. */
function oneLiteral(bytes: Uint8Array): Uint8Array {
  if (bytes.length < 15) return Buffer.concat([Uint8Array.of(bytes.length << 4), bytes]);
  const rest = bytes.length - 15;
  const length = [...new Uint8Array(Math.floor(rest / 255)).fill(255), rest % 255];
  return Buffer.concat([Uint8Array.of(0xf0, ...length), bytes]);
}

/** Sound files of each codec, with two sets of columns. */
export const parquetFiles = (): Uint8Array[] =>
  codecs.flatMap((codec) => [parquetFile(codec, 0), parquetFile(codec, 1)]);

/** Any byte; the footer; the first page headers; or a whole file whose pages were changed before they were compressed. */
export const parquet: Mutator = (bytes, draw, others) => {
  const how = draw.next();
  const footer = bytes.length - 8 - Buffer.from(bytes).readUInt32LE(bytes.length - 8);
  if (how < 0.2) return editBytes(bytes, draw, others);
  if (how < 0.45)
    return refooted(
      editWithin(bytes, footer, bytes.length - 8, (part) => sameLength(part, draw, others)),
      footer,
    );
  if (how < 0.65) return editWithin(bytes, 4, footer, (part) => sameLength(part, draw, others));
  const codec = pick(draw, ["SNAPPY", "GZIP", "ZSTD", "LZ4_RAW"] as const);
  const share = pick(draw, [0.1, 0.4, 1]);
  return parquetFile(codec, draw.integer(2), (page) => (chance(draw, share) ? sameLength(page, draw, [page]) : page));
};

/** Makes the footer's length true. @param from where the footer begins */
function refooted(bytes: Uint8Array, from: number): Uint8Array {
  const out = Buffer.from(bytes);
  out.writeUInt32LE(out.length - 8 - from, out.length - 8);
  return out;
}

/** Bytes changed in place, so that every offset in the file stays true; now and then anything at all. */
function sameLength(part: Uint8Array, draw: Random, others: readonly Uint8Array[]): Uint8Array {
  if (part.length === 0 || chance(draw, 0.15)) return editBytes(part, draw, others);
  const out = Uint8Array.from(part);
  for (let n = 1 + draw.integer(5); n > 0; n--) {
    // the first bytes of a page are its levels and counts
    const at = draw.integer(chance(draw, 0.5) ? Math.min(out.length, 24) : out.length);
    if (chance(draw, 0.4)) out[at] = pick(draw, [0, 1, 2, 0x7f, 0x80, 0xff, 0xfe, 0x15]);
    else out[at]! ^= 1 << draw.integer(8);
  }
  return out;
}
