/**
 * @file Importance of tokens and pieces in one pass over training rows (xprompt.md §3.2).
 *
 * In: engine, rows, the tuned prompt. Out: scores for every token and piece, and what the pass cost.
 * The engine's gradient keeps the rows of a batch apart, so one forward and backward per batch gives every example's own
 * ∂L/∂γ and ∂L/∂ζ. L(x) is the mean over the target's tokens. There is no training and no dropout in this pass.
 */
import { z } from "zod";
import { interrupted, SoftpromptError } from "../base/errors.js";
import { checkOptions, choice, integer } from "../base/options.js";
import { random } from "../base/random.js";
import type { Tensor } from "../base/tensor.js";
import type { Row, Task } from "../data/row.js";
import type { Engine } from "../engine/engine.js";
import { beginningsOf, shapeOfRows, stepFlops, textFlops } from "../engine/flops.js";
import { placeOf } from "../engine/place.js";
import type { RowProgress } from "../evaluate/evaluate.js";
import { fullMask, type PieceLayout, pieceLayouts, pieceOfDimension } from "../method/mask.js";
import { fullModel, type PartialModel } from "../model/partial.js";
import { type EncodedRow, makeBatch } from "../text/batch.js";
import { encodeRows } from "../text/rows.js";
import type { Tokenizer } from "../text/tokenizer.js";
import { type ImportanceMode, importanceModes, maskDerivatives, normaliseScores, scoreCollector } from "./scores.js";

/** How importance is computed. */
export interface ImportanceOptions {
  /** k */
  readonly pieces: number;
  readonly layout: PieceLayout;
  readonly mode: ImportanceMode;
  readonly normalise: boolean;
  /** At most so many rows, the first of a shuffle by `seed`; 0 is all. */
  readonly maxExamples: number;
  readonly batchSize: number;
  readonly maxInputTokens: number;
  readonly seed: number;
  /** Score on this model. Default the full one. */
  readonly partial?: PartialModel;
  /** Rows whose texts were read and counted before, if texts are kept. Default all. */
  readonly read?: ReadonlySet<EncodedRow>;
  readonly signal?: AbortSignal;
  /** Called with the number of scored rows, from none to all. */
  readonly progress?: RowProgress;
}

/** Scores, higher = more important, with what they were made from. */
export interface Importance {
  /** [P] */
  readonly tokens: readonly number[];
  /** [P × k], row-major by token. */
  readonly pieces: readonly number[];
  readonly piecesPerToken: number;
  readonly layout: PieceLayout;
  readonly mode: ImportanceMode;
  readonly normalised: boolean;
  /** Name of the model scored on. */
  readonly partial: string;
  readonly examples: number;
  /** Mean token-mean loss of those rows, a by-product. */
  readonly loss: number;
  readonly seconds: number;
  /** Total FLOPs. */
  readonly flops: number;
}

/** Whether these are scores of a prompt with so many tokens and pieces. Values from a file are always checked. */
export function isImportance(
  value: unknown,
  { tokens, pieces }: { tokens: number; pieces: number },
): value is Importance {
  const parsed = form.safeParse(value);
  if (!parsed.success) return false;
  const scores = parsed.data;
  return (
    scores.tokens.length === tokens && scores.pieces.length === tokens * pieces && scores.piecesPerToken === pieces
  );
}

const amount = z.number().nonnegative();
const form = z.strictObject({
  tokens: z.array(z.number()),
  pieces: z.array(z.number()),
  piecesPerToken: z.int(),
  layout: z.enum(Object.keys(pieceLayouts) as [PieceLayout]),
  mode: z.enum(Object.keys(importanceModes) as [ImportanceMode]),
  normalised: z.boolean(),
  partial: z.string(),
  examples: z.int().positive(),
  loss: z.number(),
  seconds: amount,
  flops: amount,
}) satisfies z.ZodType<Importance>;

/**
 * @param prompt [P, D], masks at one.
 * @throws SoftpromptError "numeric" naming the rows whose gradient is not finite; "usage" for options out of range; "data" without rows.
 */
export async function importance(
  engine: Engine,
  tokenizer: Tokenizer,
  task: Task,
  rows: readonly Row[],
  prompt: Tensor,
  options: ImportanceOptions,
): Promise<Importance> {
  const { pieces, layout, mode, maxExamples, batchSize, seed, signal, progress = () => {} } = options;
  const { config } = engine.checkpoint;
  const [P, D] = prompt.shape as [number, number];
  checkOptions(limits, options, "importance");
  if (rows.length === 0)
    throw new SoftpromptError("data", "there are no rows to score the prompt on", { where: "importance" });
  const piece = pieceOfDimension(fullMask(P, pieces, layout), D);
  const partial = options.partial ?? fullModel(config);
  const chosen =
    maxExamples > 0 && maxExamples < rows.length
      ? Array.from(random(seed, "importance").sample(rows.length, maxExamples), (n) => rows[n]!)
      : [...rows];
  const encoded = encodeRows(task, chosen, tokenizer, options.maxInputTokens);
  encoded.sort((a, b) => a.input.length - b.input.length);
  const program = await engine.train(partial, placeOf(config, encoded));
  const collector = scoreCollector(P, pieces, mode);
  const virtual = engine.method.adds({ prompt }).tokens;
  let [loss, flops] = [0, 0];
  const beginnings = beginningsOf([...(options.read ?? [])]);
  const started = performance.now();
  for (let first = 0; first < encoded.length; first += batchSize) {
    if (signal?.aborted) throw interrupted(signal, "stopped while the prompt was scored", { where: "importance" });
    progress(first, encoded.length);
    const batch = makeBatch(encoded.slice(first, first + batchSize));
    const { size: B } = batch;
    const scored = encoded.slice(first, first + B);
    const counts = scored.map((row) => row.target.length);
    const step = await program.run(
      { prompt },
      batch,
      Float32Array.from(counts, (n) => 1 / n),
    );
    const derivatives = maskDerivatives(step.gradients.prompt!.data, prompt, piece, pieces);
    const bad = batch.ids.filter((_, b) => !derivatives.tokens.subarray(b * P, (b + 1) * P).every(Number.isFinite));
    if (bad.length > 0)
      throw new SoftpromptError("numeric", "the gradient of these rows is not finite", {
        where: "importance",
        got: bad,
      });
    collector.add(derivatives);
    loss += counts.reduce((sum, n, b) => sum + step.loss[b]! / n, 0);
    flops += stepFlops(config, partial, shapeOfRows(config, scored, virtual), engine.method).total;
    if (engine.texts === null) flops += textFlops(config, partial, scored, { together: true, beginnings }).total;
    else if (options.read) flops += textFlops(config, partial, unread(scored, options.read), { beginnings }).total;
  }
  progress(encoded.length, encoded.length);
  const { examples, ...raw } = collector.scores();
  const scores = options.normalise ? normaliseScores(raw) : raw;
  return {
    ...scores,
    piecesPerToken: pieces,
    layout,
    mode,
    normalised: options.normalise,
    partial: partial.name,
    examples,
    loss: loss / examples,
    seconds: (performance.now() - started) / 1000,
    flops,
  };
}

/** What a program may hand in wrongly and nothing later would refuse: batches of no rows have no end. */
const limits = {
  mode: choice({ values: Object.keys(importanceModes) as ImportanceMode[], required: true, help: "a mode" }),
  layout: choice({ values: Object.keys(pieceLayouts) as PieceLayout[], required: true, help: "a layout" }),
  maxExamples: integer({ min: 0, required: true, help: "rows at most" }),
  batchSize: integer({ min: 1, required: true, help: "rows of a pass" }),
};

const unread = (rows: readonly EncodedRow[], read: ReadonlySet<EncodedRow>) => rows.filter((row) => !read.has(row));
