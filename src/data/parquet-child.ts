/**
 * @file Where hyparquet runs: a child process with a memory limit and a deadline.
 *
 * In: the bytes of a parquet file that parquet.ts has looked at. Out: its records. hyparquet trusts what the pages say: runs
 * longer than their page, blocks of negative size. In a child, the worst such a page can do is end the child; no thread can
 * be relied on for that, since an isolate that runs out of memory may take the process with it.
 */
import { spawn } from "node:child_process";
import { createRequire } from "node:module";
import { pathToFileURL } from "node:url";
import { deserialize } from "node:v8";
import { SoftpromptError } from "../base/errors.js";
import { unpackFramedLz4, unpackLz4 } from "./lz4.js";
import { unpackSnappy } from "./snappy.js";

export interface ChildLimits {
  /** Heap of the child in MB. */
  readonly heapMb: number;
  /** Seconds for any file, and more for each MB of it. Generous: a loaded machine must still read sound files. */
  readonly seconds: number;
  readonly secondsPerMb: number;
}

export const childLimits: ChildLimits = { heapMb: 4096, seconds: 60, secondsPerMb: 5 };

/** What a file says of itself: bytes of its pages unpacked, and values in them. */
export interface ParquetClaims {
  readonly unpacked: number;
  readonly values: number;
}

/**
 * A small file gets a small limit: several times the memory that valid records of that size take as objects, and never more than the limit.
 */
export function limitsFor({ unpacked, values }: ParquetClaims): ChildLimits {
  return { ...childLimits, heapMb: Math.min(childLimits.heapMb, 256 + Math.ceil((8 * unpacked + 256 * values) / 1e6)) };
}

/** The child's answer: the records, or the reason why there are none. */
export type ChildAnswer = { records: Record<string, unknown>[] } | { problem: string };

/** What the decoding uses. It is passed as an argument because the code runs in another process. */
export interface ParquetTools {
  readonly hyparquet: Pick<typeof import("hyparquet"), "parquetReadObjects" | "parquetMetadata">;
  readonly zlib: typeof import("node:zlib");
  readonly fzstd: Pick<typeof import("fzstd"), "decompress">;
  readonly unpackSnappy: typeof unpackSnappy;
  readonly unpackLz4: typeof unpackLz4;
  readonly unpackFramedLz4: typeof unpackFramedLz4;
}

/**
 * Reads the records of a file with hyparquet. Sent to the child as text, so it uses nothing but what it is given. Decimals become texts,
 * exact to the last digit; a date has no time of day; microseconds stay.
 * @throws whatever hyparquet and the decompressors throw; may use all memory, or never return
 */
export async function decodeParquet(
  bytes: Uint8Array,
  { hyparquet, zlib, fzstd, unpackSnappy, unpackLz4, unpackFramedLz4 }: ParquetTools,
): Promise<Record<string, unknown>[]> {
  type Inflate = (input: Uint8Array, options: { maxOutputLength: number }) => Uint8Array;
  const inflate = (run: Inflate) => (input: Uint8Array, length: number) =>
    run(input, { maxOutputLength: Math.max(1, length) });
  /** Without Node's own: fzstd writes into the array that it is given, never beyond; what the frame says must fit it. */
  const unpackZstd = (input: Uint8Array, length: number): Uint8Array => {
    const flags = input[4] ?? 0;
    const single = (flags >> 5) & 1;
    const size = flags >> 6 ? 1 << (flags >> 6) : single;
    const from = 6 - single + [0, 1, 2, 4][flags & 3]!;
    let said = size === 2 ? 256 : 0;
    for (let i = 0; i < size; i++) said += (input[from + i] ?? 0) * 2 ** (8 * i);
    if (size > 0 && said !== length) throw new Error("its packed data has another length than its page");
    return fzstd.decompress(input, new Uint8Array(length));
  };
  const { zstdDecompressSync } = zlib as { zstdDecompressSync?: Inflate };
  const compressors = {
    SNAPPY: unpackSnappy,
    GZIP: inflate(zlib.gunzipSync),
    BROTLI: inflate(zlib.brotliDecompressSync),
    ZSTD: zstdDecompressSync ? inflate(zstdDecompressSync) : unpackZstd,
    LZ4: (input: Uint8Array, length: number) => unpackFramedLz4(input, length, unpackLz4),
    LZ4_RAW: unpackLz4,
  };
  const buffer = new Uint8Array(bytes).buffer;
  const file = { byteLength: buffer.byteLength, slice: (from: number, to?: number) => buffer.slice(from, to) };

  // hyparquet makes floating-point numbers of decimals: two of 38 digits may become one. Their columns are read raw instead.
  const metadata = hyparquet.parquetMetadata(buffer);
  const decimals = new Map<string, number>();
  let at = 0;
  const visit = (depth: number): void => {
    const element = metadata.schema[at++];
    if (element === undefined) return;
    if (element.converted_type === "DECIMAL" || element.logical_type?.type === "DECIMAL") {
      if (depth === 1) {
        decimals.set(element.name, Math.max(0, element.scale ?? 0));
        element.converted_type = undefined;
        element.logical_type = undefined;
      } else if ((element.precision ?? 38) > 15)
        throw new Error("a decimal of more than 15 digits inside a list or struct; make it a column of its own");
    }
    for (let i = 0; i < (element.num_children ?? 0); i++) visit(depth + 1);
  };
  visit(0);
  const decimal = (raw: unknown, scale: number): string | null => {
    if (raw === undefined || raw === null) return null;
    let value: bigint;
    if (raw instanceof Uint8Array) {
      if (raw.length > 64) throw new Error("a decimal has too many digits");
      value = 0n;
      for (const byte of raw) value = value * 256n + BigInt(byte);
      value = BigInt.asIntN(8 * raw.length, value);
    } else value = BigInt(raw as number);
    const digits = String(value < 0n ? -value : value).padStart(scale + 1, "0");
    const whole = digits.slice(0, digits.length - scale);
    return `${value < 0n ? "-" : ""}${whole}${scale > 0 ? `.${digits.slice(-scale)}` : ""}`;
  };

  const iso = (millis: number): string | null => {
    const date = new Date(millis);
    return Number.isNaN(date.getTime()) ? null : date.toISOString();
  };
  /** A time together with its part below a millisecond. */
  const fine = (value: bigint, perMilli: bigint, digits: number): string | null => {
    const rest = ((value % perMilli) + perMilli) % perMilli;
    const text = iso(Number((value - rest) / perMilli));
    return text === null || rest === 0n ? text : text.replace("Z", `${String(rest).padStart(digits, "0")}Z`);
  };
  const parsers = {
    dateFromDays: (days: number) => iso(days * 86_400_000)?.replace(/T.*$/, "") ?? null,
    timestampFromMilliseconds: (millis: bigint) => iso(Number(millis)),
    timestampFromMicroseconds: (micros: bigint) => fine(BigInt(micros), 1000n, 3),
    timestampFromNanoseconds: (nanos: bigint) => fine(BigInt(nanos), 1_000_000n, 6),
  } as unknown as import("hyparquet").ParquetParsers;

  const records = await hyparquet.parquetReadObjects({
    file,
    metadata,
    compressors,
    parsers,
    geoparquet: false,
    utf8: false,
  });
  if (decimals.size > 0)
    for (const record of records) for (const [name, scale] of decimals) record[name] = decimal(record[name], scale);
  return records;
}

/** The child's program. It is sent as text, so that it needs no file of its own beside the source or the build. */
const program = (libraries: { readonly hyparquet: string; readonly fzstd: string }) => `
const v8 = require("node:v8");
const unpackSnappy = ${unpackSnappy.toString()};
const unpackLz4 = ${unpackLz4.toString()};
const unpackFramedLz4 = ${unpackFramedLz4.toString()};
const decodeParquet = ${decodeParquet.toString()};
const answer = (value) => process.stdout.write(v8.serialize(value));
const chunks = [];
process.stdin.on("data", (chunk) => chunks.push(chunk));
process.stdin.on("end", async () => {
  try {
    const hyparquet = await import(${JSON.stringify(libraries.hyparquet)});
    const fzstd = require(${JSON.stringify(libraries.fzstd)});
    const tools = { hyparquet, fzstd, zlib: require("node:zlib"), unpackSnappy, unpackLz4, unpackFramedLz4 };
    answer({ records: await decodeParquet(Buffer.concat(chunks), tools) });
  } catch (error) {
    answer({ problem: String((error && error.message) || error).slice(0, 300) });
  }
});`;

/** Reads the records of a file in a child process. Never throws because of the bytes; SoftpromptError (io) if no process can be started. */
export function readInChild(
  bytes: Uint8Array,
  limits: ChildLimits = childLimits,
  signal?: AbortSignal,
): Promise<ChildAnswer> {
  const { resolve: pathOf } = createRequire(import.meta.url);
  const libraries = { hyparquet: pathToFileURL(pathOf("hyparquet")).href, fzstd: pathOf("fzstd") };
  const seconds = limits.seconds + (limits.secondsPerMb * bytes.length) / 1e6;
  return new Promise((resolve, reject) => {
    const child = spawn(process.execPath, [`--max-old-space-size=${limits.heapMb}`, "-e", program(libraries)], {
      stdio: ["pipe", "pipe", "ignore"],
      env: { ...process.env, NODE_OPTIONS: "" },
    });
    let late = false;
    const deadline = setTimeout(() => {
      late = true;
      child.kill("SIGKILL");
    }, seconds * 1000);
    const stop = () => child.kill("SIGKILL");
    signal?.addEventListener("abort", stop, { once: true });
    const chunks: Buffer[] = [];
    child.stdout.on("data", (chunk: Buffer) => chunks.push(chunk));
    child.stdin.on("error", () => {}); // the child ended before it had read everything; "close" says why
    child.on("error", (error) => {
      clearTimeout(deadline);
      reject(
        new SoftpromptError("io", "cannot start a process to read parquet", { where: process.execPath, cause: error }),
      );
    });
    child.on("close", (code) => {
      clearTimeout(deadline);
      signal?.removeEventListener("abort", stop);
      if (late) return resolve({ problem: `reading it takes more than ${Math.round(seconds)} seconds` });
      if (code !== 0)
        return resolve({ problem: `reading it needs more than ${limits.heapMb} MB, or its pages are damaged` });
      try {
        resolve(deserialize(Buffer.concat(chunks)) as ChildAnswer);
      } catch {
        resolve({ problem: "its pages are damaged" });
      }
    });
    child.stdin.end(bytes);
  });
}
