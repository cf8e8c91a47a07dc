/**
 * @file What a base model consists of, in numbers. In: a Checkpoint. Out: ModelSummary; reads no tensor.
 */
import { type DType, dtypes, size } from "../base/tensor.js";
import type { Checkpoint } from "./checkpoint.js";
import { expectedWeights, type WeightPart, weightParts } from "./expected.js";

export interface ModelSummary {
  readonly parameters: number;
  /** A tensor that serves two parts (a tied head, a shared embedding) counts where it stands first. */
  readonly parametersByPart: Readonly<Record<WeightPart, number>>;
  /** Of the model's own tensors, each counted once. */
  readonly byType: readonly { readonly dtype: DType; readonly tensors: number; readonly bytes: number }[];
  /** Bytes of the weight files, headers and unused tensors included. */
  readonly fileBytes: number;
  readonly files: number;
}

/** Counts parameters and bytes. */
export function inspectModel(checkpoint: Checkpoint): ModelSummary {
  const parametersByPart = Object.fromEntries(weightParts.map((part) => [part, 0])) as Record<WeightPart, number>;
  const byType = new Map<DType, { dtype: DType; tensors: number; bytes: number }>();
  const counted = new Set<string>();
  for (const { name, shape, part } of expectedWeights(checkpoint.config)) {
    const span = checkpoint.tensors.get(name)!;
    const place = `${span.file}\n${span.offset}`;
    if (counted.has(place)) continue;
    counted.add(place);
    parametersByPart[part] += size(shape);
    const entry = byType.get(span.dtype) ?? { dtype: span.dtype, tensors: 0, bytes: 0 };
    entry.tensors++;
    entry.bytes += size(shape) * dtypes[span.dtype].bytes;
    byType.set(span.dtype, entry);
  }
  return {
    parameters: Object.values(parametersByPart).reduce((a, b) => a + b, 0),
    parametersByPart,
    byType: [...byType.values()].sort((a, b) => b.bytes - a.bytes),
    fileBytes: checkpoint.bytes,
    files: checkpoint.files.length,
  };
}
