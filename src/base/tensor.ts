/**
 * @file Tensors as plain data, and the axis letters of the whole project.
 *
 * B batch · T input tokens · U target tokens · P prompt (virtual) tokens · D model width · F feed-forward width ·
 * H heads · K head width · V vocabulary · L layers · C answer choices. S = P + T where the prompt stands before the text.
 */

/** Element types; names as in safetensors' spirit, spelt out. `bytes` is the stored width of one element. */
export const dtypes = {
  float32: { bytes: 4, safetensors: "F32", onnx: 1 },
  bfloat16: { bytes: 2, safetensors: "BF16", onnx: 16 },
  float16: { bytes: 2, safetensors: "F16", onnx: 10 },
  int64: { bytes: 8, safetensors: "I64", onnx: 7 },
  int32: { bytes: 4, safetensors: "I32", onnx: 6 },
  int8: { bytes: 1, safetensors: "I8", onnx: 3 },
  uint8: { bytes: 1, safetensors: "U8", onnx: 2 },
  bool: { bytes: 1, safetensors: "BOOL", onnx: 9 },
} as const;

/** Element type. */
export type DType = keyof typeof dtypes;

/** A dense float32 tensor, row-major. */
export interface Tensor {
  readonly shape: readonly number[];
  readonly data: Float32Array;
}

/** A tensor that is fed to a graph or comes out of it. */
export type Feed =
  | { readonly dtype: "float32"; readonly shape: readonly number[]; readonly data: Float32Array }
  | { readonly dtype: "float16"; readonly shape: readonly number[] /** Bits. */; readonly data: Uint16Array }
  | { readonly dtype: "int32"; readonly shape: readonly number[]; readonly data: Int32Array };

/** By the graph's input names. */
export type Feeds = Readonly<Record<string, Feed>>;

/** What a method trains, by name: prompt tuning has one, `prompt` [P, D]. */
export type Parameters = Readonly<Record<string, Tensor>>;

/** Number of elements of a shape; 1 for a scalar. */
export function size(shape: readonly number[]): number {
  return shape.reduce((a, b) => a * b, 1);
}

/** "float32[2, 20, 512]". */
export function shapeText(dtype: string, shape: readonly (number | string)[]): string {
  return `${dtype}[${shape.join(", ")}]`;
}
