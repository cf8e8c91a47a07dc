/**
 * @file Similarity of two soft prompts: the measures of the prompt-similarity observation (fpt.md §10).
 *
 * In: prompts [P, D]. Out: numbers, larger is more alike. Source: Su et al. 2022 (thunlp/Prompt-Transferability).
 */
import { SoftpromptError } from "../base/errors.js";
import type { Tensor } from "../base/tensor.js";

/** The measures, each for two prompts of equal shape. */
export const measures = {
  cosine: {
    label: "cosine of the flattened prompts",
    range: [-1, 1],
    of: (a: Tensor, b: Tensor) => cosine(a.data, b.data),
  },
  tokenCosine: {
    label: "mean cosine over all pairs of tokens",
    range: [-1, 1],
    of: (a: Tensor, b: Tensor) => pairMean(a, b, cosine),
  },
  euclidean: {
    label: "1 / (1 + distance of the flattened prompts)",
    range: [0, 1],
    of: (a: Tensor, b: Tensor) => 1 / (1 + distance(a.data, b.data)),
  },
  tokenEuclidean: {
    label: "1 / (1 + mean distance over all pairs of tokens)",
    range: [0, 1],
    of: (a: Tensor, b: Tensor) => 1 / (1 + pairMean(a, b, distance)),
  },
} as const satisfies Record<string, { label: string; range: [number, number]; of: (a: Tensor, b: Tensor) => number }>;

export type Measure = keyof typeof measures;

/** All pairs of `prompts`, [n][n]. @throws SoftpromptError(usage) when shapes differ. */
export function similarityMatrix(prompts: readonly Tensor[], measure: Measure): number[][] {
  for (const { shape } of prompts)
    if (shape.join() !== prompts[0]!.shape.join())
      throw new SoftpromptError("usage", "prompts of different shapes cannot be compared", {
        where: "similarity",
        expected: `[${prompts[0]!.shape.join(", ")}]`,
        got: shape,
      });
  return prompts.map((a) => prompts.map((b) => measures[measure].of(a, b)));
}

/** Whether two prompts moved in the same direction from their starts: cosine of (a − a₀) and (b − b₀). */
export function moveCosine(a: Tensor, aStart: Tensor, b: Tensor, bStart: Tensor): number {
  return cosine(minus(a.data, aStart.data), minus(b.data, bStart.data));
}

/**
 * Overlap of activated neurons: mean over layers of |top(a) ∩ top(b)| / |top|, where top is the `share` most active
 * neurons of a layer.
 * @param a, b mean |activation| per layer, [L][F]
 */
export function neuronOverlap(a: readonly Float32Array[], b: readonly Float32Array[], share: number): number {
  const top = (scores: Float32Array) => {
    const k = Math.max(1, Math.round(share * scores.length));
    return new Set([...scores.keys()].sort((i, j) => scores[j]! - scores[i]! || i - j).slice(0, k));
  };
  const overlaps = a.map((scores, layer) => {
    const [mine, theirs] = [top(scores), top(b[layer]!)];
    return [...mine].filter((i) => theirs.has(i)).length / mine.size;
  });
  return overlaps.reduce((x, y) => x + y, 0) / overlaps.length;
}

/** 0 if one of them is the zero vector. */
function cosine(a: ArrayLike<number>, b: ArrayLike<number>): number {
  let [ab, aa, bb] = [0, 0, 0];
  for (let i = 0; i < a.length; i++) {
    ab += a[i]! * b[i]!;
    aa += a[i]! ** 2;
    bb += b[i]! ** 2;
  }
  return aa === 0 || bb === 0 ? 0 : ab / Math.sqrt(aa * bb);
}

function distance(a: ArrayLike<number>, b: ArrayLike<number>): number {
  let sum = 0;
  for (let i = 0; i < a.length; i++) sum += (a[i]! - b[i]!) ** 2;
  return Math.sqrt(sum);
}

function pairMean(a: Tensor, b: Tensor, of: (x: Float32Array, y: Float32Array) => number): number {
  const [P, D] = a.shape as [number, number];
  const row = (t: Tensor, i: number) => t.data.subarray(i * D, (i + 1) * D);
  let sum = 0;
  for (let i = 0; i < P; i++) for (let j = 0; j < P; j++) sum += of(row(a, i), row(b, j));
  return sum / (P * P);
}

function minus(a: Float32Array, b: Float32Array): Float64Array {
  return Float64Array.from(a, (x, i) => x - b[i]!);
}
