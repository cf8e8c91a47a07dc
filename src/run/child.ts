/**
 * @file What the child processes of a search and of a comparison share: the parent's engine opened again, and how a failure is told.
 *
 * In: what the parent wrote of its engine. Out: an engine and a tokenizer that compute as the parent's do; reports by IPC.
 */
import { availableParallelism } from "node:os";
import { type ErrorKind, type ErrorParts, SoftpromptError, show } from "../base/errors.js";
import { inEightBits } from "../engine/eight-bit.js";
import { type Engine, type EngineOptions, openEngine } from "../engine/engine.js";
import type { Method } from "../method/method.js";
import type { ModelConfig } from "../model/architecture.js";
import { withBlocks } from "../model/block-weights.js";
import { type Checkpoint, openCheckpoint } from "../model/checkpoint.js";
import type { EncodingRules } from "../text/rules.js";
import type { Tokenizer } from "../text/tokenizer.js";
import { openTexts } from "./text-cache.js";

/** A parent's engine, as it can be written down. */
export interface ParentEngine {
  /** Folder of the base model. */
  readonly base: string;
  /** The parent's name for the model. Default its folder. */
  readonly name?: string | undefined;
  readonly options: EngineOptions;
  /** How the parent encodes rows (a chat, a prompt's length); none where the model's own rules hold. */
  readonly rules?: EncodingRules | null | undefined;
}

/**
 * Threads of each of `count` processes: as many as were asked for. All cores are divided, which is what a model is opened with where nothing
 * was asked and the process may use some of the machine's cores only.
 */
export function threadsEach(threads: number, count: number, cores = availableParallelism()): number {
  return threads === 0 || threads === cores ? Math.max(1, Math.floor(cores / count)) : threads;
}

/** Child → parent: the child failed and ends. */
export interface ChildFailure {
  readonly kind: "error";
  readonly error: Pick<ErrorParts, "where" | "expected" | "hint"> & {
    readonly kind: ErrorKind | null;
    readonly problem: string;
    readonly got?: string | number;
  };
}

/** The error that a child told, as its parent throws it. */
export function errorOf({ error: { kind, problem, where, ...parts } }: ChildFailure): SoftpromptError {
  return new SoftpromptError(kind ?? "run", problem, { ...parts, where: `worker, ${where}` });
}

/**
 * An engine and a tokenizer like the parent's. The caller disposes the engine.
 * @param loadTokenizer of the base model @param methodFor the engine's method. Default prompt tuning
 */
export async function openLikeParent(
  { base, name, options, rules }: ParentEngine,
  loadTokenizer: (checkpoint: Checkpoint) => Promise<Tokenizer>,
  signal: AbortSignal,
  methodFor?: (config: ModelConfig) => Method,
): Promise<{ readonly engine: Engine; readonly tokenizer: Tokenizer }> {
  const stored = await openCheckpoint(base, name === undefined ? {} : { name });
  const { eightBit = null, blocks = null } = options;
  const rounded = eightBit === null ? stored : await inEightBits(stored, { most: eightBit, signal });
  const checkpoint = blocks === null ? rounded : await withBlocks(rounded, { kind: blocks, signal });
  const loaded = await loadTokenizer(checkpoint);
  return {
    engine: openEngine(checkpoint, options, methodFor?.(checkpoint.config), openTexts),
    tokenizer: rules ? { ...loaded, rules } : loaded,
  };
}

/** The parts of an error that can be sent. */
function told({ where, expected, got, hint }: ErrorParts) {
  const sent = typeof got === "string" || typeof got === "number" ? got : show(got);
  return { where, ...(expected && { expected }), ...(got !== undefined && { got: sent }), ...(hint && { hint }) };
}

/** Tells the parent what went wrong, and ends the process with the exit code of the error. */
export function endWithFailure(error: unknown, where: string, tell: (failure: ChildFailure) => void): void {
  const known = error instanceof SoftpromptError;
  const text = error instanceof Error ? (error.stack ?? error.message) : String(error);
  tell({
    kind: "error",
    error: known
      ? { kind: error.kind, problem: error.problem, ...told(error.parts) }
      : { kind: null, problem: text, where },
  });
  // give the channel a turn to send it
  setTimeout(() => process.exit(known ? error.exitCode : 70), 50);
}
