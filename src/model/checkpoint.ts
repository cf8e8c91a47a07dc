/**
 * @file A base model on disk: config, tensors by Hugging Face name, where their bytes lie.
 *
 * In: a Hugging Face folder (config.json and model.safetensors, or shards with model.safetensors.index.json), or a GGUF file.
 * Out: a Checkpoint: everything checked at opening, bytes read only when asked for. Never writes into the folder, never reads a pickle.
 */
import { createHash } from "node:crypto";
import { type FileHandle, lstat, open, readdir, readFile, readlink, realpath, stat } from "node:fs/promises";
import { basename, dirname, join, sep } from "node:path";
import type { CacheRemoval } from "../base/cache-limit.js";
import { hashFile } from "../base/digest.js";
import { SoftpromptError, show } from "../base/errors.js";
import { ioError } from "../base/files.js";
import { isObject, own, parseJson } from "../base/json.js";
import { type DType, size, type Tensor } from "../base/tensor.js";
import type { ModelConfig } from "./architecture.js";
import { architectureOf, configLimits, configWarnings, readConfig, readGenerationEnds } from "./architectures.js";
import { type FloatDType, widen } from "./floats.js";
import type { ConvertProgress } from "./gguf/convert.js";
import { ggufFiles } from "./gguf/find.js";
import { headerBlockLength, parseSafetensorsHeader, type SafetensorsEntry } from "./safetensors.js";
import { matchTensors } from "./tensors.js";

/** Where one tensor's bytes are. The session lets ONNX Runtime read them from the file itself. */
export interface TensorSpan {
  /** Name in the file, e.g. "encoder.block.0.layer.0.SelfAttention.q.weight". */
  readonly name: string;
  readonly dtype: DType;
  readonly shape: readonly number[];
  /** Real path (links resolved) of the safetensors file. */
  readonly file: string;
  /** Bytes from the start of the file. */
  readonly offset: number;
  readonly length: number;
}

/** A matrix in 8 bits: int8 or uint8 [K, N] (op `linear8`), and float32 [N], the scale of each column. */
export interface EightBitSpans {
  readonly matrix: TensorSpan;
  readonly scale: TensorSpan;
}

/** A linear layer's matrix in 8 bits, [in, out] and [out, in], each with scales of its own columns. */
export interface EightBitLayer {
  readonly forward: EightBitSpans;
  readonly back: EightBitSpans;
  /** float32 [in]: the layer's input is multiplied by it before it is rounded. Layers that read the same input have the same span. */
  readonly smoothing: TensorSpan | null;
  /** How often the forward pass rounds the input (op `linear8`). */
  readonly terms: 1 | 2;
}

/** A linear layer's matrix [out, in] in blocks (op `linearBlocks`). */
export interface BlockSpans {
  /** What it came from: a type of GGUF, or "int4". */
  readonly type: string;
  readonly values: TensorSpan;
  readonly scale: TensorSpan;
  readonly offset: TensorSpan | null;
}

/** A base model: immutable, its bytes stay on disk. */
export interface Checkpoint {
  /** Real path of the folder. */
  readonly folder: string;
  /** As the user named it: path or hub id@revision. */
  readonly name: string;
  readonly config: ModelConfig;
  /** The model's tensors by canonical name, every one of them present; a shared one appears under each of its names. */
  readonly tensors: ReadonlyMap<string, TensorSpan>;
  /** Each shared tensor counted once. */
  readonly parameters: number;
  /** Bytes of all weight files. */
  readonly bytes: number;
  /** Weight files, sorted by name; real paths. */
  readonly files: readonly { readonly file: string; readonly bytes: number }[];
  /** Warnings about harmless oddities, e.g. tensors that no part of the model uses. */
  readonly warnings: readonly string[];
  /**
   * sha256 over the weight files (one file: its own; shards: of the sorted list of theirs). Computed once, cached by
   * path+size+mtime; `fresh` reads the bytes again, whatever is remembered.
   */
  sha256(options?: { readonly fresh?: boolean }): Promise<string>;
  /** Linear layers that are computed in 8 bits, by the name of their matrix (model/eight-bit.ts). Default none. */
  readonly eightBit?: ReadonlyMap<string, EightBitLayer>;
  /** The other layers of the blocks: their matrices [out, in] in 8 bits, for the backward pass alone. */
  readonly eightBitBack?: ReadonlyMap<string, EightBitSpans>;
  /** Sha256 of the file that holds them. */
  readonly eightBitSha256?: string;
  /** Linear layers that are kept in blocks, by the name of their matrix (model/block-weights.ts). Default none. */
  readonly blocks?: ReadonlyMap<string, BlockSpans>;
  /** Sha256 of the file that holds them. */
  readonly blocksSha256?: string;
  /** The GGUF file that the folder was made from, or its shards; absent where a folder was opened. */
  readonly gguf?: readonly string[];
  /** Reads one tensor as float32 (bf16 and f16 widened). */
  read(name: string): Promise<Tensor>;
  /** Reads rows of a 2-D tensor as float32: [ids.length, columns]. */
  readRows(name: string, ids: readonly number[]): Promise<Tensor>;
}

/** How a checkpoint is opened. */
export interface CheckpointOptions {
  /** How the user called the model; default the folder as given. */
  name?: string;
  /** Accept weight files that are links to outside the folder (other than the hub cache's own). Default false. */
  outsideLinks?: boolean;
  /** While a GGUF file is converted. */
  onProgress?: (progress: ConvertProgress) => void;
  /** Before converted models that were unused longest are removed. */
  onRemove?: (removal: CacheRemoval) => void;
  signal?: AbortSignal;
  /** The GGUF file that the folder was made from (as checkpointFolder gives it). */
  gguf?: readonly string[] | undefined;
}

/**
 * The folder of a model's path: the path itself, or, for a GGUF file or a folder that holds one, the converted folder in the cache. The
 * conversion is done once.
 * @throws SoftpromptError as convertGguf.
 */
export async function checkpointFolder(
  path: string,
  { onProgress, onRemove, signal }: CheckpointOptions = {},
): Promise<{ readonly folder: string; readonly warnings: readonly string[]; readonly gguf?: readonly string[] }> {
  const files = await ggufFiles(path);
  if (files === null) return { folder: path, warnings: [] };
  const { convertGguf } = await import("./gguf/convert.js"); // opening a folder does not need this module
  // a model that cannot be run is refused before gigabytes are written
  const { folder, warnings } = await convertGguf(files, { onProgress, onRemove, signal, accept: readConfig });
  return { folder, warnings, gguf: files };
}

const weightFile = "model.safetensors";
const indexFile = "model.safetensors.index.json";
const generationFile = "generation_config.json";
/** Most shards an index may name; T5-XXL has 5. */
const maxShards = 1_000;

type Entry = SafetensorsEntry & { readonly file: string };

/**
 * Opens a base model: reads config.json and the headers, checks that they belong together.
 * @throws SoftpromptError("checkpoint") naming the file, the tensor, and what was expected.
 */
export async function openCheckpoint(path: string, options: CheckpointOptions = {}): Promise<Checkpoint> {
  const { folder, warnings: oddities, gguf = options.gguf } = await checkpointFolder(path, options);
  const root = await realFolder(folder);
  const configPath = await realFile(root, "config.json", options);
  if (!configPath) throw refusal(folder, "there is no config.json", "a Hugging Face model folder", await namesIn(root));
  const generationPath = await realFile(root, generationFile, options);
  const ends =
    generationPath === undefined
      ? []
      : readGenerationEnds(await readText(generationPath, configLimits.length), join(folder, generationFile));
  const configText = await readText(configPath, configLimits.length);
  const config = readConfig(configText, join(folder, "config.json"), ends);

  const architecture = architectureOf(config);
  const paths = await weightPaths(root, folder, options, architecture.taskType);
  const entries = new Map<string, Entry>();
  const files: { file: string; bytes: number }[] = [];
  /** Names that the index gives to a shard which lacks them, with the shard. */
  const lacking = new Map<string, string>();
  for (const { file, only } of paths) {
    const bytes = (await stat(file)).size;
    files.push({ file, bytes });
    const header = await readHeader(file, bytes);
    for (const entry of header.entries.values()) {
      if (only && !only.has(entry.name)) continue; // the index says which shard owns a name
      if (entries.has(entry.name))
        throw refusal(
          file,
          `tensor ${entry.name} is in two shards`,
          "each tensor in one shard",
          entries.get(entry.name)!.file,
        );
      entries.set(entry.name, { ...entry, file });
    }
    for (const name of only ?? []) if (!header.entries.has(name)) lacking.set(name, file);
  }
  const expected = architecture.tensors(config);
  const needed = expected.find(({ name }) => lacking.has(name))?.name;
  if (needed !== undefined) throw refusal(lacking.get(needed)!, `tensor ${needed} is not in the shard the index names`);

  const matched = matchTensors(expected, entries, folder, architecture.leftOver);
  const { unexpected, copies } = matched;
  for (const [copy, original] of copies) await sameBytes(entries.get(copy)!, entries.get(original)!);
  const tensors = new Map([...matched.tensors].map(([name, entry]) => [name, span(entry)]));
  const distinct = new Set(matched.tensors.values());
  const some = (names: readonly string[]) => show(names.slice(0, 5), 400);
  const warnings = [
    ...oddities,
    ...configWarnings(configText, ends),
    ...(unexpected.length > 0
      ? [`${unexpected.length} tensors are not part of this model and are ignored: ${some(unexpected)}`]
      : []),
    ...(lacking.size > 0
      ? [
          `${indexFile} names ${lacking.size} tensors that no shard holds and this model does not use: ${some([...lacking.keys()])}`,
        ]
      : []),
  ];

  const spanOf = (name: string) => {
    const found = tensors.get(name);
    if (!found) throw new RangeError(`no tensor ${name} in ${folder}`); // this would be a bug: all expected tensors were found
    return found;
  };
  let digest: Promise<string> | undefined;
  return {
    folder: root,
    name: options.name ?? path,
    config,
    tensors,
    parameters: [...distinct].reduce((sum, entry) => sum + size(entry.shape), 0),
    bytes: files.reduce((sum, f) => sum + f.bytes, 0),
    files,
    warnings,
    ...(gguf === undefined ? {} : { gguf }),
    sha256: ({ fresh = false } = {}) => {
      if (fresh || digest === undefined)
        digest = digestOf(
          files.map((f) => f.file),
          fresh,
        );
      return digest;
    },
    read: (name) => readTensor(spanOf(name)),
    readRows: (name, ids) => readRows(spanOf(name), ids),
  };
}

/**
 * Which shard holds which tensor, from the text of model.safetensors.index.json. Reads no files.
 * @returns shard's file name → tensor names; names are plain file names, never paths.
 */
export function parseIndex(text: string, where: string): ReadonlyMap<string, ReadonlySet<string>> {
  const json = parseJson(text, where, "checkpoint", { depth: 8 });
  const map = isObject(json) ? own(json, "weight_map") : undefined;
  if (!isObject(map)) throw refusal(where, "there is no weight_map", "{ weight_map: { tensor: file } }");
  const shards = new Map<string, Set<string>>();
  for (const [tensor, file] of Object.entries(map)) {
    if (typeof file !== "string" || !isPlainName(file) || !file.endsWith(".safetensors"))
      throw refusal(
        where,
        `the shard of ${tensor.slice(0, 100)} is not a file of this folder`,
        "a plain name ending in .safetensors",
        file,
      );
    const names = shards.get(file) ?? new Set();
    if (!shards.has(file) && shards.size >= maxShards) throw refusal(where, "too many shards", `at most ${maxShards}`);
    shards.set(file, names.add(tensor));
  }
  if (shards.size === 0) throw refusal(where, "the index names no tensors");
  return shards;
}

/** A name that stays in its folder on every system: no separators, no drive, no control characters, not hidden. */
export function isPlainName(name: string): boolean {
  return /^[A-Za-z0-9_][A-Za-z0-9_.+-]{0,254}$/.test(name);
}

/** What loads a model in Python. */
const pythonClass = { SEQ_2_SEQ_LM: "AutoModelForSeq2SeqLM", CAUSAL_LM: "AutoModelForCausalLM" } as const;

async function weightPaths(
  root: string,
  folder: string,
  options: CheckpointOptions,
  taskType: keyof typeof pythonClass,
) {
  const single = await realFile(root, weightFile, options);
  if (single) return [{ file: single, only: null }];
  const index = await realFile(root, indexFile, options);
  if (!index) {
    const names = await namesIn(root);
    const pickle = names.find((name) => /\.(bin|pt|pth|ckpt|h5|msgpack)$/.test(name));
    const variant = names.find((name) => /^(model\..+|.+\.model|pytorch_model|weights)\.safetensors$/.test(name));
    throw new SoftpromptError("checkpoint", `there is no ${weightFile}`, {
      where: folder,
      expected: `${weightFile}, or shards with ${indexFile}`,
      got: names.slice(0, 12),
      hint: variant
        ? `${variant} is not looked at: copy or link it to ${weightFile} if it is the whole model`
        : pickle
          ? `${pickle} is not read: pickles can run code. Convert it once in Python: ` +
            `${pythonClass[taskType]}.from_pretrained(folder).save_pretrained(folder, safe_serialization=True)`
          : "download the model again with its .safetensors files",
    });
  }
  const shards = parseIndex(await readText(index, 25_000_000), join(folder, indexFile));
  const paths: { file: string; only: ReadonlySet<string> | null }[] = [];
  for (const [name, only] of [...shards].sort(([a], [b]) => (a < b ? -1 : 1))) {
    const file = await realFile(root, name, options);
    if (!file)
      throw refusal(folder, `shard ${name} is missing`, `every file named in ${indexFile}`, await namesIn(root));
    paths.push({ file, only });
  }
  return paths;
}

async function realFolder(folder: string): Promise<string> {
  const real = await realpath(folder).catch((cause) => {
    if (isDenied(cause)) throw ioError(cause, folder);
    throw new SoftpromptError("checkpoint", "there is no such model folder", { where: folder, cause });
  });
  if (!(await stat(real)).isDirectory()) throw refusal(folder, "this is not a folder", "a Hugging Face model folder");
  return real;
}

/** Real path of a regular file of the folder; undefined if there is none; a link that leaves the folder is refused. */
async function realFile(root: string, name: string, options: CheckpointOptions): Promise<string | undefined> {
  const path = join(root, name);
  const real = await realpath(path).catch(async (cause: NodeJS.ErrnoException) => {
    if (isDenied(cause)) throw ioError(cause, path);
    if (cause.code === "ENOENT" && (await isLink(path)))
      throw new SoftpromptError("checkpoint", `${name} is a link to a file that is gone`, {
        where: path,
        got: await readlink(path),
        hint: "fetch the model again; in the hub's cache a file of the folder blobs was removed",
        cause,
      });
    if (cause.code === "ENOENT") return undefined;
    throw new SoftpromptError("checkpoint", "this file cannot be opened", { where: path, got: cause.code, cause });
  });
  if (real === undefined) return undefined;
  if (!(await stat(real)).isFile()) throw refusal(path, "this is not a regular file");
  if (!options.outsideLinks && !real.startsWith(root + sep) && dirname(real) !== hubBlobs(root))
    throw new SoftpromptError("checkpoint", "this file is a link to outside the model's folder", {
      where: path,
      got: real,
      hint: "copy the file into the folder, or name the folder it really lies in",
    });
  return real;
}

/** The hub cache keeps models--x--y/snapshots/<commit>/file as links into models--x--y/blobs; those may be followed. */
function hubBlobs(root: string): string | null {
  const snapshots = dirname(root);
  const repo = dirname(snapshots);
  return basename(snapshots) === "snapshots" && basename(repo).startsWith("models--") ? join(repo, "blobs") : null;
}

async function isLink(path: string): Promise<boolean> {
  return (await lstat(path).catch(() => null))?.isSymbolicLink() ?? false;
}

function isDenied(cause: unknown): boolean {
  return ["EACCES", "EPERM"].includes((cause as NodeJS.ErrnoException).code ?? "");
}

async function readText(path: string, limit: number): Promise<string> {
  const { size: bytes } = await stat(path);
  if (bytes > limit) throw refusal(path, "this file is too large", `at most ${limit} bytes`, `${bytes} bytes`);
  return readFile(path, "utf8").catch((cause) => {
    throw ioError(cause, path);
  });
}

async function openFile(file: string): Promise<FileHandle> {
  return open(file).catch((cause) => {
    throw ioError(cause, file);
  });
}

/** The checked header of a safetensors file. */
export async function readHeader(file: string, bytes: number) {
  const handle = await openFile(file);
  try {
    const first = await readExactly(handle, file, 0, Math.min(8, bytes));
    const block = await readExactly(handle, file, 0, headerBlockLength(first, bytes, file));
    return parseSafetensorsHeader(block, bytes, file);
  } finally {
    await handle.close();
  }
}

async function readTensor(at: TensorSpan): Promise<Tensor> {
  const handle = await openFile(at.file);
  try {
    const bytes = await readExactly(handle, at.file, at.offset, at.length);
    return { shape: at.shape, data: widen(bytes, at.dtype as FloatDType) };
  } finally {
    await handle.close();
  }
}

async function readRows(at: TensorSpan, ids: readonly number[]): Promise<Tensor> {
  const [rows, columns] = at.shape;
  if (at.shape.length !== 2 || rows === undefined || columns === undefined)
    throw new RangeError(`${at.name} has no rows: its shape is [${at.shape.join(", ")}]`);
  const stride = at.length / rows;
  const data = new Float32Array(ids.length * columns);
  const handle = await openFile(at.file);
  try {
    for (const [i, id] of ids.entries()) {
      if (!Number.isInteger(id) || id < 0 || id >= rows)
        throw new RangeError(`row ${id} of ${at.name}, which has ${rows}`);
      data.set(
        widen(await readExactly(handle, at.file, at.offset + id * stride, stride), at.dtype as FloatDType),
        i * columns,
      );
    }
  } finally {
    await handle.close();
  }
  return { shape: [ids.length, columns], data };
}

/** Reads in pieces, because one read call stops at 2 GiB. */
async function readExactly(handle: FileHandle, file: string, offset: number, length: number): Promise<Uint8Array> {
  const bytes = new Uint8Array(length);
  for (let done = 0; done < length; ) {
    const { bytesRead } = await handle.read(bytes, done, Math.min(length - done, 1 << 28), offset + done);
    if (bytesRead === 0) throw refusal(file, "the file became shorter while it was read");
    done += bytesRead;
  }
  return bytes;
}

/**
 * A file that holds a tied tensor twice must hold the same numbers both times; otherwise the config's statement that it is tied is false.
 */
async function sameBytes(copy: Entry, original: Entry): Promise<void> {
  const equal = copy.storedType === original.storedType && copy.length === original.length;
  if (equal && (await hashSpan(copy)) === (await hashSpan(original))) return;
  throw new SoftpromptError("checkpoint", `${copy.name} differs from ${original.name}, but config.json ties them`, {
    where: copy.file,
    expected: "equal bytes",
    hint:
      copy.name === "lm_head.weight"
        ? 'for an untied head config.json must say "tie_word_embeddings": false'
        : undefined,
  });
}

async function hashSpan(entry: Entry): Promise<string> {
  const hash = createHash("sha256");
  const handle = await openFile(entry.file);
  try {
    for (let done = 0; done < entry.length; done += 1 << 24)
      hash.update(await readExactly(handle, entry.file, entry.offset + done, Math.min(1 << 24, entry.length - done)));
  } finally {
    await handle.close();
  }
  return hash.digest("hex");
}

async function digestOf(files: readonly string[], fresh: boolean): Promise<string> {
  const digests: string[] = [];
  for (const file of files) digests.push(await hashFile(file, { fresh }));
  return digests.length === 1 ? digests[0]! : createHash("sha256").update(digests.sort().join("\n")).digest("hex");
}

function span(entry: Entry): TensorSpan {
  const { name, shape, file, offset, length } = entry;
  return { name, dtype: entry.dtype!, shape, file, offset, length }; // matchTensors lets only float types through
}

async function namesIn(root: string): Promise<string[]> {
  const names = await readdir(root).catch((cause) => {
    throw ioError(cause, root);
  });
  return names.sort();
}

function refusal(where: string, problem: string, expected?: string, got?: unknown): SoftpromptError {
  return new SoftpromptError("checkpoint", problem, { where, expected, got });
}
