/**
 * @file A base model on disk: config, tensors by Hugging Face name, where their bytes lie. (contract; the model room fills it in)
 */
import type { DType, Tensor } from "../base/tensor.js";
import type { T5Config } from "./config.js";

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

/** A base model: immutable, its bytes stay on disk. */
export interface Checkpoint {
  readonly folder: string;
  /** As the user named it: path or hub id@revision. */
  readonly name: string;
  readonly config: T5Config;
  readonly tensors: ReadonlyMap<string, TensorSpan>;
  readonly parameters: number;
  /** Bytes of all weight files. */
  readonly bytes: number;
  /** sha256 over the weight files (one file: its own; shards: of the sorted list of theirs). Computed once, cached by path+size+mtime. */
  sha256(): Promise<string>;
  /** Reads one tensor as float32 (bf16 and f16 widened). */
  read(name: string): Promise<Tensor>;
  /** Reads rows of a 2-D tensor as float32: [ids.length, columns]. */
  readRows(name: string, ids: readonly number[]): Promise<Tensor>;
}
