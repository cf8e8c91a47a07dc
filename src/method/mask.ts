/**
 * @file Masks: which entries of a soft prompt are live. In vanilla prompt tuning all are ones; XPrompt uses the others (xprompt.md §3.1).
 *
 * In: token mask γ [P] and piece mask ζ [P, pieces], or scores to make them from. Out: an entry mask [P, D] of zeros and ones,
 * masked prompts, counts, and masks as JSON. An entry lives when γ_i · ζ_{i, piece(c)} = 1; γ and ζ are kept apart, so that
 * a mask still says which pieces of a pruned token would have been kept.
 */
import { type ErrorKind, SoftpromptError } from "../base/errors.js";
import type { Random } from "../base/random.js";
import type { Tensor } from "../base/tensor.js";

/** A structured mask. `layout` says which dimensions a piece holds: contiguous blocks, or every pieces-th (strided). */
export interface PromptMask {
  /** [P] of 0 and 1. */
  readonly tokens: Uint8Array;
  /** [P × pieces] of 0 and 1. */
  readonly piecesKept: Uint8Array;
  readonly pieces: number;
  readonly layout: PieceLayout;
}

/** Which piece dimension c of D belongs to. */
export const pieceLayouts = {
  /** The natural reading of the paper: piece j is dimensions j·D/k … (j+1)·D/k − 1. */
  contiguous: (c: number, pieces: number, width: number) => Math.floor((c * pieces) / width),
  /** E²VPT's tiled mask: dimension c belongs to piece c mod k. */
  strided: (c: number, pieces: number) => c % pieces,
} as const satisfies Record<string, (c: number, pieces: number, width: number) => number>;

/** Name of a way to cut a token into pieces. */
export type PieceLayout = keyof typeof pieceLayouts;

/** What a mask leaves alive. */
export interface MaskCounts {
  /** Tokens with at least one live piece. */
  readonly tokens: number;
  /** Live pieces of all tokens. */
  readonly pieces: number;
  /** pieces × D / k: what is trained and what a compact adapter stores. */
  readonly parameters: number;
  /** parameters / (P × D). */
  readonly fraction: number;
}

/** Importance of tokens and pieces; higher is more important (xprompt.md §3.2). */
export interface MaskScores {
  /** [P] */
  readonly tokens: ArrayLike<number>;
  /** [P × k], row-major by token. */
  readonly pieces: ArrayLike<number>;
}

/** How many to prune, and by which ranking. */
export interface PruneCounts {
  /** Tokens pruned, 0 … P − 1. */
  readonly tokensPruned: number;
  /** Pieces pruned of each surviving token, 0 … k − 1; under `global` ranking that many times the surviving tokens, wherever they are. */
  readonly piecesPruned: number;
  /** `within`: every surviving token loses the same number (the paper's parameter table). `global`: the lowest of all surviving pieces; a token that loses all of its pieces is pruned. Default within. */
  readonly ranking?: PieceRanking;
  /** Which end of the ranking is pruned: `lowest` is XPrompt, `highest` the losing ticket of Super-Tickets. Default lowest. */
  readonly prune?: "lowest" | "highest";
  readonly layout?: PieceLayout;
}

/** Whether the least important pieces are chosen within each token or among all tokens. */
export type PieceRanking = "within" | "global";

/** All ones: vanilla prompt tuning. */
export function fullMask(tokens: number, pieces: number, layout: PieceLayout = "contiguous"): PromptMask {
  checkCount("prompt mask", "tokens", tokens, 1, 1 << 16);
  checkCount("prompt mask", "pieces", pieces, 1, 1 << 16);
  return {
    tokens: new Uint8Array(tokens).fill(1),
    piecesKept: new Uint8Array(tokens * pieces).fill(1),
    pieces,
    layout,
  };
}

/** @returns [P × D] of 0 and 1. Refused when D cannot be cut into equal pieces. */
export function entryMask(mask: PromptMask, width: number): Float32Array {
  const piece = pieceOfDimension(mask, width);
  const entries = new Float32Array(mask.tokens.length * width);
  mask.tokens.forEach((alive, i) => {
    if (alive) for (let c = 0; c < width; c++) entries[i * width + c] = mask.piecesKept[i * mask.pieces + piece[c]!]!;
  });
  return entries;
}

/** The prompt with pruned entries exactly +0 (also where they were NaN or −0). @param prompt [P, D] */
export function applyMask(prompt: Tensor, mask: PromptMask): Tensor {
  const [rows, width] = promptShape(prompt, mask);
  const live = entryMask(mask, width);
  return { shape: [rows, width], data: Float32Array.from(prompt.data, (v, i) => (live[i] ? v : 0)) };
}

/** Live tokens, pieces and parameters. Needs D for the parameters. */
export function maskCounts(mask: PromptMask, width: number): MaskCounts {
  pieceOfDimension(mask, width);
  const perToken = livePieces(mask);
  const pieces = perToken.reduce((a, b) => a + b, 0);
  const parameters = (pieces * width) / mask.pieces;
  return {
    tokens: perToken.filter((n) => n > 0).length,
    pieces,
    parameters,
    fraction: parameters / (mask.tokens.length * width),
  };
}

/** Live pieces of each token, [P]; 0 for a pruned token. */
export function livePieces(mask: PromptMask): number[] {
  return Array.from(mask.tokens, (alive, i) =>
    alive ? mask.piecesKept.subarray(i * mask.pieces, (i + 1) * mask.pieces).reduce((a, b) => a + b, 0) : 0,
  );
}

/**
 * Prunes tokens, then pieces of the surviving tokens, by ascending score, ties by lower index. Cumulative: with the other count
 * fixed, more tokens (ranking `within`) or more pieces pruned gives a subset of the mask (xprompt.md §3.3).
 * Pieces of pruned tokens are ranked too, so that ζ does not depend on γ; under `global` they stay at one.
 */
export function maskFromScores(scores: MaskScores, counts: PruneCounts): PromptMask {
  const tokens = scores.tokens.length;
  const pieces = tokens > 0 ? scores.pieces.length / tokens : 0;
  if (!Number.isInteger(pieces) || pieces < 1)
    throw new SoftpromptError("usage", "token and piece scores do not belong together", {
      where: "importance scores",
      expected: "a whole number of pieces for each of the tokens",
      got: `${scores.pieces.length} piece scores for ${tokens} tokens`,
    });
  for (const [name, values] of [
    ["token", scores.tokens],
    ["piece", scores.pieces],
  ] as const)
    for (let i = 0; i < values.length; i++)
      if (!Number.isFinite(values[i]))
        throw new SoftpromptError("numeric", `the score of ${name} ${i} is not a finite number`, {
          where: "importance scores",
          got: values[i],
        });
  checkCount("pruning", "tokensPruned", counts.tokensPruned, 0, tokens - 1);
  checkCount("pruning", "piecesPruned", counts.piecesPruned, 0, pieces - 1);

  const sign = counts.prune === "highest" ? -1 : 1;
  const first = (indices: number[], values: ArrayLike<number>, count: number) =>
    indices.sort((a, b) => sign * (values[a]! - values[b]!) || a - b).slice(0, count);
  const mask = fullMask(tokens, pieces, counts.layout);
  for (const i of first(range(0, tokens), scores.tokens, counts.tokensPruned)) mask.tokens[i] = 0;
  if (counts.ranking === "global") {
    const surviving = range(0, tokens * pieces).filter((n) => mask.tokens[Math.floor(n / pieces)]);
    const pruned = counts.piecesPruned * (tokens - counts.tokensPruned);
    for (const n of first(surviving, scores.pieces, pruned)) mask.piecesKept[n] = 0;
    for (const [i, left] of livePieces(mask).entries()) if (left === 0) mask.tokens[i] = 0;
  } else
    for (let i = 0; i < tokens; i++)
      for (const n of first(range(i * pieces, (i + 1) * pieces), scores.pieces, counts.piecesPruned))
        mask.piecesKept[n] = 0;
  return mask;
}

/** The entries that `mask` prunes, and no others (Reversed XPrompt, xprompt.md §9). Refused for a mask that prunes nothing. */
export function complementMask(mask: PromptMask): PromptMask {
  const piecesKept = mask.piecesKept.map((kept, n) => (kept && mask.tokens[Math.floor(n / mask.pieces)] ? 0 : 1));
  const tokens = mask.tokens.map((_, i) =>
    piecesKept.subarray(i * mask.pieces, (i + 1) * mask.pieces).some((kept) => kept === 1) ? 1 : 0,
  );
  if (!tokens.includes(1))
    throw new SoftpromptError("usage", "a mask that prunes nothing has an empty complement", {
      where: "reversed mask",
      hint: "reverse a mask that prunes at least one piece",
    });
  return { ...mask, tokens, piecesKept };
}

/** As many live tokens as `mask`, with the same piece counts dealt to them at random, the pieces of each drawn at random (Random Prompt, xprompt.md §9). */
export function randomMask(mask: PromptMask, random: Random): PromptMask {
  const counts = livePieces(mask).filter((n) => n > 0);
  const drawn = { ...mask, tokens: mask.tokens.map(() => 0), piecesKept: mask.piecesKept.map(() => 0) };
  random.sample(mask.tokens.length, counts.length).forEach((i, n) => {
    drawn.tokens[i] = 1;
    for (const j of random.sample(mask.pieces, counts[n]!)) drawn.piecesKept[i * mask.pieces + j] = 1;
  });
  return drawn;
}

/** True when nothing is pruned. */
export function isFull(mask: PromptMask): boolean {
  return !mask.tokens.includes(0) && !mask.piecesKept.includes(0);
}

/** The surviving values in row-major order: what a compact adapter stores. @param prompt [P, D] @returns [parameters] */
export function gatherLive(prompt: Tensor, mask: PromptMask): Float32Array {
  const live = entryMask(mask, promptShape(prompt, mask)[1]);
  return prompt.data.filter((_, n) => live[n] === 1);
}

/** The dense prompt of surviving values; the inverse of gatherLive. @returns [P, D] */
export function scatterLive(values: Float32Array, mask: PromptMask, width: number): Tensor {
  const { parameters } = maskCounts(mask, width);
  if (values.length !== parameters)
    throw new SoftpromptError("adapter", "the surviving values do not fit the mask", {
      where: "compact prompt",
      expected: `${parameters} values for ${mask.tokens.length} tokens of width ${width} under this mask`,
      got: `${values.length} values`,
    });
  const live = entryMask(mask, width);
  let next = 0;
  return { shape: [mask.tokens.length, width], data: live.map((alive) => (alive ? values[next++]! : 0)) };
}

/** The prompt without its pruned tokens: a shorter sequence instead of zero vectors (option `drop`, xprompt.md §3.1). */
export function dropPruned(prompt: Tensor, mask: PromptMask): { prompt: Tensor; mask: PromptMask; kept: number[] } {
  const [, width] = promptShape(prompt, mask);
  const kept = liveTokens(mask);
  const masked = applyMask(prompt, mask).data;
  const data = new Float32Array(kept.length * width);
  for (const [n, i] of kept.entries()) data.set(masked.subarray(i * width, (i + 1) * width), n * width);
  return { prompt: { shape: [kept.length, width], data }, mask: withoutDead(mask), kept };
}

/** The mask of the surviving tokens alone: what fits the prompt that dropPruned makes. */
export function withoutDead(mask: PromptMask): PromptMask {
  const kept = liveTokens(mask);
  const piecesKept = new Uint8Array(kept.length * mask.pieces);
  for (const [n, i] of kept.entries())
    piecesKept.set(mask.piecesKept.subarray(i * mask.pieces, (i + 1) * mask.pieces), n * mask.pieces);
  return { ...mask, tokens: new Uint8Array(kept.length).fill(1), piecesKept };
}

function liveTokens(mask: PromptMask): number[] {
  return [...livePieces(mask).entries()].filter(([, n]) => n > 0).map(([i]) => i);
}

/** A mask as JSON: one string of 0 and 1 for γ, one per token for ζ. */
export interface MaskJson {
  readonly pieces: number;
  readonly layout: PieceLayout;
  readonly tokens: string;
  readonly piecesKept: readonly string[];
}

/** A mask as plain JSON; maskFromJson reads it. */
export function maskToJson(mask: PromptMask): MaskJson {
  return {
    pieces: mask.pieces,
    layout: mask.layout,
    tokens: mask.tokens.join(""),
    piecesKept: Array.from(mask.tokens, (_, i) =>
      mask.piecesKept.subarray(i * mask.pieces, (i + 1) * mask.pieces).join(""),
    ),
  };
}

/** A mask in as few bytes: γ and then ζ as bits, the first in the highest, base64. */
export interface PackedMask {
  readonly pieces: number;
  readonly layout: PieceLayout;
  readonly count: number;
  readonly bits: string;
}

/** A mask packed into bits. */
export function packMask({ tokens, piecesKept, pieces, layout }: PromptMask): PackedMask {
  const flags = [...tokens, ...piecesKept];
  const bytes = new Uint8Array(Math.ceil(flags.length / 8));
  for (const [n, flag] of flags.entries()) bytes[n >> 3]! |= flag << (7 - (n & 7));
  return { pieces, layout, count: tokens.length, bits: Buffer.from(bytes).toString("base64") };
}

/**
 * Converts packMask's form to maskToJson's if its parts are consistent. Anything else is returned unchanged, and maskFromJson refuses it.
 */
function unpacked(json: Record<string, unknown>): Record<string, unknown> {
  const { pieces, count, bits, ...rest } = json;
  const whole = (n: unknown, most: number): n is number =>
    Number.isInteger(n) && (n as number) >= 1 && (n as number) <= most;
  if (!whole(pieces, 1 << 16) || !whole(count, 1 << 16) || typeof bits !== "string") return json;
  const size = count * (1 + pieces);
  // checked before a string of that length is made
  if (bits.length !== 4 * Math.ceil(Math.ceil(size / 8) / 3)) return json;
  const bytes = Buffer.from(bits, "base64");
  if (bytes.toString("base64") !== bits) return json;
  const flags = Array.from(bytes, (byte) => byte.toString(2).padStart(8, "0")).join("");
  if (/1/.test(flags.slice(size))) return json;
  const piecesKept = Array.from({ length: count }, (_, i) => flags.slice(count + i * pieces, count + (i + 1) * pieces));
  return { ...rest, pieces, tokens: flags.slice(0, count), piecesKept };
}

/** Reads maskToJson's form back, and packMask's; anything else is refused at `where`, as an error of `kind`. */
export function maskFromJson(json: unknown, where: string, kind: ErrorKind = "adapter"): PromptMask {
  const wrong = (what: string, expected: string, got?: unknown) =>
    new SoftpromptError(kind, `the mask's ${what} cannot be read`, { where, expected, got });
  if (typeof json !== "object" || json === null) throw wrong("record", "an object", json);
  const { pieces, layout, tokens, piecesKept } = unpacked(json as Record<string, unknown>);
  if (typeof pieces !== "number" || !Number.isInteger(pieces) || pieces < 1 || pieces > 1 << 16)
    throw wrong("pieces", "a whole number of pieces per token", pieces);
  if (typeof layout !== "string" || !Object.hasOwn(pieceLayouts, layout))
    throw wrong("layout", Object.keys(pieceLayouts).join(" or "), layout);
  if (typeof tokens !== "string" || !/^[01]{1,65536}$/.test(tokens))
    throw wrong("tokens", "a string of 0 and 1", tokens);
  if (!Array.isArray(piecesKept) || piecesKept.length !== tokens.length)
    throw wrong("piecesKept", `${tokens.length} strings`, piecesKept);
  for (const row of piecesKept)
    if (typeof row !== "string" || row.length !== pieces || !/^[01]+$/.test(row))
      throw wrong("piecesKept", `strings of ${pieces} zeros and ones`, row);
  return {
    tokens: Uint8Array.from(tokens, Number),
    piecesKept: Uint8Array.from(piecesKept.join(""), Number),
    pieces,
    layout: layout as PieceLayout,
  };
}

/** Piece of each dimension, [D]. Refuses a width that the pieces do not divide, and a mask whose parts disagree. */
export function pieceOfDimension(mask: PromptMask, width: number): Int32Array {
  if (mask.piecesKept.length !== mask.tokens.length * mask.pieces)
    throw new SoftpromptError("usage", "the token mask and the piece mask do not belong together", {
      where: "prompt mask",
      expected: `${mask.tokens.length} × ${mask.pieces} pieces`,
      got: mask.piecesKept.length,
    });
  if (width < 1 || width % mask.pieces !== 0)
    throw new SoftpromptError("usage", "the model's width cannot be cut into equal pieces", {
      where: "prompt mask",
      expected: `a number of pieces that divides ${width}`,
      got: mask.pieces,
      hint: `set --pieces to a divisor of ${width}`,
    });
  const piece = pieceLayouts[mask.layout];
  return Int32Array.from({ length: width }, (_, c) => piece(c, mask.pieces, width));
}

function promptShape(prompt: Tensor, mask: PromptMask): [number, number] {
  const [rows, width] = prompt.shape;
  if (prompt.shape.length !== 2 || rows !== mask.tokens.length || prompt.data.length !== rows * width!)
    throw new SoftpromptError("usage", "the mask does not fit the prompt", {
      where: "prompt mask",
      expected: `a prompt of ${mask.tokens.length} tokens`,
      got: `[${prompt.shape.join(", ")}]`,
    });
  return [rows, width!];
}

function checkCount(where: string, name: string, value: number, low: number, high: number): void {
  if (!Number.isInteger(value) || value < low || value > high)
    throw new SoftpromptError("usage", `${name} is out of range`, {
      where,
      expected: `a whole number from ${low} to ${high}`,
      got: value,
    });
}

function range(from: number, to: number): number[] {
  return Array.from({ length: to - from }, (_, i) => from + i);
}
