/**
 * @file Importance as arithmetic: from per-example prompt gradients to token and piece scores (xprompt.md §3.2).
 *
 * In: gradients G [B, P, D] of each example's loss at prompt P [P, D]. Out: scores, higher = more important.
 * With P̂ = γ_i · ζ_ij · P:  ∂L/∂ζ_ij = Σ_{c in piece j} G_ic P_ic  and  ∂L/∂γ_i = Σ_c G_ic P_ic = Σ_j ∂L/∂ζ_ij, all masks at one.
 */
import type { Tensor } from "../base/tensor.js";
import type { MaskScores, PromptMask } from "../method/mask.js";

/** Derivatives by γ and ζ of each example; [B × P] and [B × P × k]. */
export interface MaskDerivatives {
  readonly tokens: Float64Array;
  readonly pieces: Float64Array;
}

/** @param gradient [B, P, D]  @param prompt [P, D]  @param piece [D] from pieceOfDimension  @param pieces k */
export function maskDerivatives(
  gradient: Float32Array,
  prompt: Tensor,
  piece: Int32Array,
  pieces: number,
): MaskDerivatives {
  const [P, D] = prompt.shape as [number, number];
  const B = gradient.length / (P * D);
  const derivatives = { tokens: new Float64Array(B * P), pieces: new Float64Array(B * P * pieces) };
  for (let row = 0; row < B * P; row++) {
    const own = (row % P) * D;
    for (let c = 0; c < D; c++) {
      const value = prompt.data[own + c]!;
      // no mask changes a zero, whatever its gradient is
      if (value !== 0) derivatives.pieces[row * pieces + piece[c]!]! += gradient[row * D + c]! * value;
    }
    for (let j = 0; j < pieces; j++) derivatives.tokens[row]! += derivatives.pieces[row * pieces + j]!;
  }
  return derivatives;
}

/** Which contributions are summed over examples. */
export type Reduction = (
  perExample: Float64Array,
  examples: number,
  entries: number,
  add: (entry: number, v: number) => void,
) => void;

const eachExample =
  (of: (v: number) => number): Reduction =>
  (values, examples, entries, add) => {
    for (let b = 0; b < examples; b++) for (let i = 0; i < entries; i++) add(i, of(values[b * entries + i]!));
  };

/** Where the absolute value is taken, and `mean`, what the mean is of, in ∂L/∂ζ, for people; each `reduce` adds `examples` contributions, so that the mean is over examples in every mode. */
export const importanceModes = {
  /** The paper's equation, E|∂L(x)/∂γ|. */
  perExample: { reduce: eachExample(Math.abs), mean: "|∂L/∂ζ|, its size on each example" },
  /** Absolute value of the batch's mean, as in Super-Tickets, which averages over batches. It depends on how rows fall into batches. */
  batchAbs: {
    reduce: (values, examples, entries, add) => {
      for (let i = 0; i < entries; i++) {
        let sum = 0;
        for (let b = 0; b < examples; b++) sum += values[b * entries + i]!;
        add(i, Math.abs(sum));
      }
    },
    mean: "|∂L/∂ζ| of whole batches",
  },
  /** E[−∂L/∂γ]: positive where the token lowers the loss. (E²VPT's code ranks by +∂L/∂γ, which prunes the helpful ones.) */
  signed: { reduce: eachExample((v) => -v), mean: "−∂L/∂ζ with its sign: above zero where the piece lowers the loss" },
} as const satisfies Record<string, { readonly reduce: Reduction; readonly mean: string }>;

/** How gradients become scores. */
export type ImportanceMode = keyof typeof importanceModes;

/** Collects batches; `scores` may be asked for at any time. Sums in float64, so the order of rows does not matter to 1e-12. */
export function scoreCollector(tokens: number, pieces: number, mode: ImportanceMode) {
  const sums = { tokens: new Float64Array(tokens), pieces: new Float64Array(tokens * pieces) };
  let examples = 0;
  return {
    add(derivatives: MaskDerivatives): void {
      const batch = derivatives.tokens.length / tokens;
      importanceModes[mode].reduce(derivatives.tokens, batch, tokens, (i, v) => {
        sums.tokens[i]! += v;
      });
      importanceModes[mode].reduce(derivatives.pieces, batch, tokens * pieces, (i, v) => {
        sums.pieces[i]! += v;
      });
      examples += batch;
    },
    scores: () => ({
      tokens: Array.from(sums.tokens, (v) => v / examples),
      pieces: Array.from(sums.pieces, (v) => v / examples),
      examples,
    }),
  };
}

/** Token scores over their L2 norm, piece scores over the norm within their token (+1e-20); no within-group ranking changes. */
export function normaliseScores(scores: MaskScores): { tokens: number[]; pieces: number[] } {
  const over = (values: number[]) => {
    const norm = Math.hypot(...values) + 1e-20;
    return values.map((v) => v / norm);
  };
  const [tokens, all] = [Array.from(scores.tokens), Array.from(scores.pieces)];
  const k = all.length / tokens.length;
  return { tokens: over(tokens), pieces: tokens.flatMap((_, i) => over(all.slice(i * k, (i + 1) * k))) };
}

/**
 * Scores of a candidate's own prompt as scores of the whole one: what it has pruned stands below everything else, so that it is pruned again.
 * @param own of all tokens, or of the surviving ones where the others were dropped @param mask of the whole prompt
 */
export function survivorScores(own: MaskScores, { tokens, piecesKept, pieces }: PromptMask): MaskScores {
  const dropped = own.tokens.length < tokens.length;
  // the masks are made from finite scores
  const lowest = -Number.MAX_VALUE;
  const whole = {
    tokens: Array.from(tokens, () => lowest),
    pieces: Array.from(piecesKept, () => lowest),
  };
  let row = 0;
  tokens.forEach((alive, i) => {
    if (alive) {
      whole.tokens[i] = own.tokens[row]!;
      for (let j = 0; j < pieces; j++)
        if (piecesKept[i * pieces + j]) whole.pieces[i * pieces + j] = own.pieces[row * pieces + j]!;
    }
    if (alive || !dropped) row++;
  });
  return whole;
}
