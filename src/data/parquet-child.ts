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

/** A file that claims little is given little: several times what sound records of that size take as objects, and never more than the limit. */
export function limitsFor({ unpacked, values }: ParquetClaims): ChildLimits {
  return { ...childLimits, heapMb: Math.min(childLimits.heapMb, 256 + Math.ceil((8 * unpacked + 256 * values) / 1e6)) };
}

/** What comes back: the records, or why there are none. */
export type ChildAnswer = { records: Record<string, unknown>[] } | { problem: string };

/**
 * Reads the records of a file with hyparquet. Sent to the child as text, so it uses nothing but what it is given.
 * @throws whatever hyparquet and the decompressors throw; may take all memory, or for ever
 */
export async function decodeParquet(
  bytes: Uint8Array,
  { parquetReadObjects }: Pick<typeof import("hyparquet"), "parquetReadObjects">,
  zlib: typeof import("node:zlib"),
  snappy: typeof unpackSnappy,
): Promise<Record<string, unknown>[]> {
  type Inflate = (input: Uint8Array, options: { maxOutputLength: number }) => Uint8Array;
  const inflate = (run: Inflate) => (input: Uint8Array, length: number) =>
    run(input, { maxOutputLength: Math.max(1, length) });
  const { zstdDecompressSync } = zlib as { zstdDecompressSync?: Inflate };
  const compressors = {
    SNAPPY: snappy,
    GZIP: inflate(zlib.gunzipSync),
    BROTLI: inflate(zlib.brotliDecompressSync),
    ...(zstdDecompressSync && { ZSTD: inflate(zstdDecompressSync) }),
  };
  const buffer = new Uint8Array(bytes).buffer;
  const file = { byteLength: buffer.byteLength, slice: (from: number, to?: number) => buffer.slice(from, to) };
  return parquetReadObjects({ file, compressors, geoparquet: false });
}

/** The child's program. It is sent as text, so that it needs no file of its own beside the source or the build. */
const program = (library: string) => `
const v8 = require("node:v8");
const unpackSnappy = ${unpackSnappy.toString()};
const decodeParquet = ${decodeParquet.toString()};
const answer = (value) => process.stdout.write(v8.serialize(value));
const chunks = [];
process.stdin.on("data", (chunk) => chunks.push(chunk));
process.stdin.on("end", async () => {
  try {
    const library = await import(${JSON.stringify(library)});
    answer({ records: await decodeParquet(Buffer.concat(chunks), library, require("node:zlib"), unpackSnappy) });
  } catch (error) {
    answer({ problem: String((error && error.message) || error).slice(0, 300) });
  }
});`;

/** Reads the records of a file in a child process. Never throws for what is in the bytes; SoftpromptError (io) without a process. */
export function readInChild(bytes: Uint8Array, limits: ChildLimits = childLimits): Promise<ChildAnswer> {
  const library = pathToFileURL(createRequire(import.meta.url).resolve("hyparquet")).href;
  const seconds = limits.seconds + (limits.secondsPerMb * bytes.length) / 1e6;
  return new Promise((resolve, reject) => {
    const child = spawn(process.execPath, [`--max-old-space-size=${limits.heapMb}`, "-e", program(library)], {
      stdio: ["pipe", "pipe", "ignore"],
      env: { ...process.env, NODE_OPTIONS: "" },
    });
    let late = false;
    const deadline = setTimeout(() => {
      late = true;
      child.kill("SIGKILL");
    }, seconds * 1000);
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
