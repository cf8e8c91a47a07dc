/**
 * @file A GGUF file as a Hugging Face folder, made once and kept in the cache.
 *
 * In: the path of a GGUF file (or all its shards). Out: a folder with config.json, model.safetensors, tokenizer.json, tokenizer_config.json, and
 * gguf.json, which says what it was made of. The folder's name consists of the sha256 of the GGUF and the type of the written numbers. An
 * adapter records the sha256 of the folder's model.safetensors, which differs from that of the GGUF.
 * The same file gives the same bytes everywhere. Tensors go through memory a few megabytes at a time. A folder appears whole or not at all, and
 * two processes may make the same one at once: the second finds the first's.
 */
import { createHash, randomBytes } from "node:crypto";
import { type FileHandle, open, rm, stat } from "node:fs/promises";
import { basename, join } from "node:path";
import { type CacheRemoval, makeRoomFor, markUsed } from "../../base/cache-limit.js";
import { cacheFor, hashFile } from "../../base/digest.js";
import { interrupted, SoftpromptError } from "../../base/errors.js";
import {
  checkRoom,
  ioError,
  listFolder,
  makeCacheFolder,
  makeFolder,
  ownCache,
  readWhole,
  removeFile,
  renameFile,
  writeFileAtomic,
} from "../../base/files.js";
import { isObject, own, parseJson } from "../../base/json.js";
import { isRunning, lockFolder } from "../../base/lock.js";
import { type DType, dtypes, size } from "../../base/tensor.js";
import { type FloatDType, narrow } from "../floats.js";
import { safetensorsLayout } from "../safetensors.js";
import { type DescribedModel, describeModel, type MappedTensor, ropeFreqs } from "./architectures.js";
import { blockTypes, dequantise } from "./blocks.js";
import { Fields } from "./fields.js";
import { type GgufHeader, type GgufTensor, parseGgufHeader } from "./header.js";
import { tokenizerFiles } from "./tokenizer.js";

export interface ConvertOptions {
  /**
   * Type of what was quantised. bf16 by default: it takes half the room of f32, and its rounding (2⁻⁹ of a number) is small compared with
   * the error of quantising. Tensors that the file holds as F32 or F16 keep their type, because they were not quantised.
   */
  readonly dtype?: "bf16" | "f32";
  /** Folder that holds the converted ones. Default `cacheFolder()/gguf`. */
  readonly cache?: string;
  /** Bytes that the cache may take. Default `cacheLimit()`. */
  readonly limit?: number;
  /** Called before converted models that were unused longest are removed. */
  readonly onRemove?: ((removal: CacheRemoval) => void) | undefined;
  /** Called with 0 done before the first byte is written, so that the size is known beforehand. */
  readonly onProgress?: (progress: ConvertProgress) => void;
  readonly signal?: AbortSignal;
  /** Sees config.json before anything is written, and may refuse. */
  readonly accept?: (config: string, where: string) => void;
}

/** Progress of a conversion, in bytes of a file. */
export interface ConvertProgress {
  /** Name of the GGUF file. */
  readonly file: string;
  /** Where the model will lie. */
  readonly folder: string;
  /** Bytes. */
  readonly done: number;
  readonly total: number;
}

export interface Converted {
  readonly folder: string;
  /** sha256 of the GGUF: one file's own; of shards, that of the sorted list of theirs. Never the folder's weights'. */
  readonly source: string;
  readonly warnings: readonly string[];
}

/** Version of the conversion. It must change whenever the output changes, so that an older folder is not reused. */
const version = 1;
const recordFile = "gguf.json";
/** Numbers that are dequantised at a time. */
const chunkElements = 1 << 21;
/** Elements of a matrix that is transposed, which must be in memory as a whole. GPT-2 XL's largest has 10 million. */
const mostTransposed = 1 << 28;

/** @throws SoftpromptError "checkpoint" (what the file holds), "io" (room, rights), "interrupted". */
export async function convertGguf(files: readonly string[], options: ConvertOptions = {}): Promise<Converted> {
  const [where] = files as [string, ...string[]];
  const dtype = options.dtype ?? "bf16";
  const before = await stampOf(files);
  const { model, header, fileOf } = await readModel(files);
  const source = await hashOf(files);
  const cache = options.cache ?? cacheFor("gguf", "converted models");
  const folder = join(cache, `${source}-${dtype}-v${version}`);
  const known = warningsOf(folder);
  if (known) {
    markUsed(folder);
    return { folder, source, warnings: known };
  }

  const fields = new Fields(header.metadata, where);
  const plan = planOf(model.tensors, header, fields, dtype);
  const texts = textsOf(model, fields, plan);
  options.accept?.(texts["config.json"], `${where} (config.json made of it)`);
  const { header: start, order } = safetensorsLayout(plan, { format: "pt" });
  const bytes = order.reduce((sum, t) => sum + size(t.shape) * dtypes[t.dtype].bytes, start.length);
  const total = bytes + Object.values(texts).reduce((sum, text) => sum + Buffer.byteLength(text), 0);
  makeCacheFolder(cache, ownCache);
  await clearLeftovers(cache);
  const what = "the converted model";
  makeRoomFor(cache, total, { ...options, what });
  await checkRoom(cache, total, { what, whose: "the cache", variable: "SOFTPROMPT_CACHE" });
  const work = join(cache, `${workPrefix}${process.pid}-${randomBytes(4).toString("hex")}`);
  makeFolder(work);
  try {
    const lock = lockFolder(work); // tells other processes that this folder is in use
    const report = (done: number) => options.onProgress?.({ file: basename(where), folder, done, total });
    report(0);
    await writeWeights(join(work, "model.safetensors"), start, order, fileOf, { ...options, report });
    // otherwise the folder would have the hash of a file that it was not made from
    if ((await stampOf(files)) !== before)
      throw new SoftpromptError("checkpoint", "the file changed while it was converted", { where, hint: "try again" });
    for (const [name, text] of Object.entries(texts)) writeFileAtomic(join(work, name), text);
    const { warnings } = model;
    const record = { version, dtype, source: files.map((file) => basename(file)), sha256: source, bytes, warnings };
    writeFileAtomic(join(work, recordFile), `${JSON.stringify(record, null, 2)}\n`);
    markUsed(folder);
    await moveInto(work, folder);
    lock.release();
    for (const name of listFolder(folder).filter((n) => n.startsWith(".lock-"))) removeFile(join(folder, name));
    report(total);
    return { folder, source, warnings };
  } catch (cause) {
    await rm(work, { recursive: true, force: true }).catch(() => {}); // the first error is the one to tell
    throw ioError(cause, work);
  }
}

const workPrefix = ".making-";

/** What was odd when a folder was made; undefined where there is none. A folder's record is written last. */
function warningsOf(folder: string): readonly string[] | undefined {
  const path = join(folder, recordFile);
  const bytes = readWhole(path, "checkpoint", 1 << 20);
  if (bytes === null) return undefined;
  const record = parseJson(bytes.toString("utf8"), path, "checkpoint");
  const warnings = isObject(record) ? own(record, "warnings") : undefined;
  return Array.isArray(warnings) ? warnings.filter((w) => typeof w === "string") : [];
}

function planOf(
  tensors: readonly MappedTensor[],
  header: GgufHeader,
  fields: Fields,
  dtype: "bf16" | "f32",
): readonly Planned[] {
  return tensors.map((tensor) => {
    const { order, shape, gguf, hub } = tensor;
    const source = header.tensors.get(gguf)!;
    if (order.kind === "halves" && shape.length === 1 && blockTypes[source.type].elements > 1)
      throw fields.refuse(`the vector ${gguf} is quantised`, "F32, F16 or BF16", source.type);
    if (order.kind === "transposed" && size(shape) > mostTransposed)
      throw fields.refuse(
        `tensor ${gguf} is too large to be transposed`,
        `at most ${mostTransposed} elements`,
        size(shape),
      );
    return { ...tensor, source, name: hub, dtype: targetType(source, dtype) };
  });
}

/** The folder's files but the weights. */
function textsOf(model: DescribedModel, fields: Fields, plan: readonly Planned[]) {
  const tokenizer = tokenizerFiles(fields, model.vocabulary, model.contextLength);
  const most = plan.reduce((a, b) => (size(a.shape) >= size(b.shape) ? a : b));
  const text = (value: object) => `${JSON.stringify(value, null, 2)}\n`;
  const ends = { ...tokenizer.ids, eos_token_id: tokenizer.ends };
  return {
    "config.json": text({ ...model.config, ...tokenizer.ids, torch_dtype: most.dtype }),
    "tokenizer.json": tokenizer.tokenizer,
    "tokenizer_config.json": tokenizer.config,
    ...(tokenizer.ends.length > 1 ? { "generation_config.json": text(ends) } : {}),
  };
}

/** The model of a GGUF file (or of all its shards): its tensors under both names, and where they lie. */
export async function readModel(files: readonly string[]): Promise<{
  readonly model: DescribedModel;
  readonly header: GgufHeader;
  readonly fileOf: (tensor: string) => string;
}> {
  const { header, fileOf } = await readHeaders(files);
  const divisors = header.tensors.get(ropeFreqs);
  const model = describeModel(header, divisors ? await readSmall(fileOf(divisors.name), divisors) : null, files[0]!);
  return { model, header, fileOf };
}

/** Reads and joins the headers of all shards; the first one has the metadata. */
async function readHeaders(
  files: readonly string[],
): Promise<{ header: GgufHeader; fileOf: (tensor: string) => string }> {
  const places = new Map<string, string>();
  const tensors = new Map<string, GgufTensor>();
  let first: GgufHeader | undefined;
  for (const file of files) {
    const header = await readGgufHeader(file);
    first ??= header;
    for (const [name, tensor] of header.tensors) {
      if (places.has(name))
        throw new SoftpromptError("checkpoint", `tensor ${name.slice(0, 100)} is in two shards`, {
          where: file,
          got: places.get(name),
        });
      places.set(name, file);
      tensors.set(name, tensor);
    }
  }
  return { header: { ...first!, tensors }, fileOf: (tensor) => places.get(tensor)! };
}

/** Reads as much of a file's start as its header takes. */
export async function readGgufHeader(file: string): Promise<GgufHeader> {
  const handle = await open(file).catch((cause) => {
    throw ioError(cause, file);
  });
  try {
    const { size: fileBytes } = await handle.stat();
    for (let want = Math.min(fileBytes, 1 << 20); ; ) {
      const parsed = parseGgufHeader(await readExactly(handle, file, 0, want), fileBytes, file);
      if (!("more" in parsed)) return parsed;
      want = Math.min(fileBytes, Math.max(parsed.more, 4 * want)); // each try starts from the beginning, so there should be few
    }
  } finally {
    await handle.close();
  }
}

function targetType(source: GgufTensor, dtype: "bf16" | "f32"): DType & FloatDType {
  const stored = blockTypes[source.type].block;
  if (stored === "float32" || stored === "float16") return stored;
  return dtype === "bf16" ? "bfloat16" : "float32";
}

type Planned = MappedTensor & { readonly name: string; readonly source: GgufTensor; readonly dtype: FloatDType };

async function writeWeights(
  path: string,
  start: Uint8Array,
  order: readonly Planned[],
  fileOf: (tensor: string) => string,
  { signal, report }: { signal?: AbortSignal; report: (done: number) => void },
): Promise<void> {
  const handles = new Map<string, FileHandle>();
  const out = await open(path, "wx");
  try {
    let at = 0;
    const write = async (bytes: Uint8Array) => {
      if (signal?.aborted)
        throw interrupted(signal, "the conversion was stopped", { where: path, hint: "run the same command again" });
      for (let done = 0; done < bytes.length; )
        done += (await out.write(bytes, done, bytes.length - done, at + done)).bytesWritten;
      at += bytes.length;
      report(at);
    };
    await write(start);
    for (const tensor of order) {
      const file = fileOf(tensor.gguf);
      if (!handles.has(file)) handles.set(file, await open(file));
      for await (const values of chunksOf(handles.get(file)!, file, tensor)) await write(narrow(values, tensor.dtype));
    }
    await out.sync();
  } finally {
    await out.close();
    for (const handle of handles.values()) await handle.close();
  }
}

/** One tensor's numbers in Hugging Face's order, a whole number of rows (of heads where those are put back) at a time. */
async function* chunksOf(
  handle: FileHandle,
  file: string,
  { source, shape, order }: Planned,
): AsyncGenerator<Float32Array> {
  const read = async (from: number, length: number) =>
    dequantise(await readExactly(handle, file, source.offset + from, length), source.type);
  if (order.kind === "transposed")
    return yield transpose(await read(0, source.length), source.shape[0]!, source.shape[1]!);
  // a vector is one row, unless its numbers are put into another order
  const rows = shape.length > 1 || order.kind === "halves" ? shape[0]! : 1;
  const columns = size(shape) / rows;
  const rowBytes = source.length / rows;
  const unit = order.kind === "halves" ? rows / order.heads : 1;
  const step = unit * Math.max(1, Math.floor(chunkElements / columns / unit));
  for (let row = 0; row < rows; row += step) {
    const count = Math.min(step, rows - row);
    const values = await read(row * rowBytes, count * rowBytes);
    yield order.kind === "halves" ? apart(values, columns, unit) : values;
  }
}

/** Rows of each head from [pair, half] to [half, pair]: of a head of 8, file rows 0 2 4 6 1 3 5 7. @param columns elements, or bytes, of a row */
export function apart<T extends Float32Array | Uint8Array>(values: T, columns: number, headRows: number): T {
  const out = values.slice() as T;
  for (let row = 0; row < values.length / columns; row++) {
    const within = row % headRows;
    const half = headRows / 2;
    const from = row - within + (within < half ? 2 * within : 2 * (within - half) + 1);
    out.set(values.subarray(from * columns, (from + 1) * columns), row * columns);
  }
  return out;
}

function transpose(values: Float32Array, rows: number, columns: number): Float32Array {
  const out = new Float32Array(values.length);
  for (let r = 0; r < rows; r++) for (let c = 0; c < columns; c++) out[c * rows + r] = values[r * columns + c]!;
  return out;
}

async function readSmall(file: string, tensor: GgufTensor): Promise<Float32Array> {
  if (tensor.shape.length !== 1 || tensor.type !== "F32" || tensor.length > 1 << 16)
    throw new SoftpromptError("checkpoint", `tensor ${tensor.name} is not a short list of F32`, {
      where: file,
      got: `${tensor.type} [${tensor.shape.join(", ")}]`,
    });
  const handle = await open(file);
  try {
    return dequantise(await readExactly(handle, file, tensor.offset, tensor.length), tensor.type);
  } finally {
    await handle.close();
  }
}

export async function readExactly(
  handle: FileHandle,
  file: string,
  offset: number,
  length: number,
): Promise<Uint8Array> {
  const bytes = new Uint8Array(length);
  for (let done = 0; done < length; ) {
    const { bytesRead } = await handle.read(bytes, done, length - done, offset + done);
    if (bytesRead === 0)
      throw new SoftpromptError("checkpoint", "the file became shorter while it was read", { where: file });
    done += bytesRead;
  }
  return bytes;
}

/** Sizes and times of modification. */
async function stampOf(files: readonly string[]): Promise<string> {
  const stamps: string[] = [];
  for (const file of files) {
    const { size: bytes, mtimeNs } = await stat(file, { bigint: true }).catch((cause) => {
      throw ioError(cause, file);
    });
    stamps.push(`${bytes} ${mtimeNs}`);
  }
  return stamps.join("\n");
}

/** The sha256 of a file; of shards, that of the sorted list of theirs. */
export async function hashOf(files: readonly string[]): Promise<string> {
  const digests: string[] = [];
  for (const file of files) digests.push(await hashFile(file, { from: 0 })); // remembered, so that the next opening is quick;
  return digests.length === 1 ? digests[0]! : createHash("sha256").update(digests.sort().join("\n")).digest("hex");
}

/** Removes folders of processes that died during the conversion; a lock that can be taken has no living owner. */
async function clearLeftovers(cache: string): Promise<void> {
  for (const name of listFolder(cache).filter((n) => n.startsWith(workPrefix))) {
    const folder = join(cache, name);
    // a process makes its folder before the lock in it
    if (isRunning(Number(name.slice(workPrefix.length).split("-")[0]))) continue;
    try {
      lockFolder(folder);
    } catch {
      continue; // another process works there
    }
    await rm(folder, { recursive: true, force: true }).catch(() => {});
  }
}

/** Puts the finished folder where it belongs; another process may have been faster. */
async function moveInto(work: string, folder: string): Promise<void> {
  try {
    renameFile(work, folder);
  } catch (cause) {
    if (!(await stat(join(folder, recordFile)).catch(() => null))) throw cause;
    await rm(work, { recursive: true, force: true });
  }
}
