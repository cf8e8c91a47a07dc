/**
 * @file Parquet read as the product reads it, guard and decoding both, but without a process per file: a hundred thousand take hours.
 *
 * What the product leaves to the child's limits (hyparquet may loop, or take all memory) ends this process instead: the harness
 * then gives that one input to the real reader, whose deadline and heap must answer for it.
 */
import * as zlib from "node:zlib";
import * as fzstd from "fzstd";
import * as hyparquet from "hyparquet";
import { unpackFramedLz4, unpackLz4 } from "../../src/data/lz4.js";
import { parseParquet } from "../../src/data/parquet.js";
import { decodeParquet } from "../../src/data/parquet-child.js";
import { unpackSnappy } from "../../src/data/snappy.js";

const tools = { hyparquet, zlib, fzstd, unpackSnappy, unpackLz4, unpackFramedLz4 };

export async function readParquetHere(file: Uint8Array): Promise<void> {
  const { rows } = await parseParquet(file, "rows.parquet", {}, async (bytes) => {
    try {
      return { records: await decodeParquet(bytes, tools) };
    } catch (error) {
      return { problem: String((error as Error | undefined)?.message || error).slice(0, 300) };
    }
  });
  for (const { fields } of rows) if (Object.getPrototypeOf(fields) !== null) throw new Error("a row has a prototype");
}
