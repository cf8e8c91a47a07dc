/**
 * @file Makes feeds from parameters and batches, as far as all families agree. Further feeds are the family's own (Architecture).
 */
import { SoftpromptError } from "../base/errors.js";
import { type Feed, type Feeds, type Parameters, shapeText, size } from "../base/tensor.js";
import type { Method } from "../method/method.js";
import type { ModelConfig, Positions } from "../model/architecture.js";
import type { TextBatch } from "../text/batch.js";
import type { GivenParameters } from "./types.js";

export const float = (shape: readonly number[], data: Float32Array): Feed => ({ dtype: "float32", shape, data });
/** @param data bits of float16 */
export const half = (shape: readonly number[], data: Uint16Array): Feed => ({ dtype: "float16", shape, data });
export const int = (shape: readonly number[], data: Int32Array): Feed => ({ dtype: "int32", shape, data });

/** The parameters of a batch as the graph takes them, and how many tokens they put before the text. */
export interface FedParameters {
  readonly feeds: Feeds;
  /** P, of the longest. */
  readonly tokens: number;
  /** Number of tokens of each row, if rows have prompts of their own and of different lengths; null if all have P. */
  readonly lengths: readonly number[] | null;
  /** Keys that they put before those of an attention, by "STACK.self" and "STACK.cross". */
  readonly keys: Readonly<Record<string, number>>;
}

/**
 * Parameters for all rows, or one set per row. Prompts of different length stand at the end of the P places, so that nothing lies between
 * prompt and text.
 * @throws SoftpromptError "engine" for parameters that do not fit the model or the rows.
 */
export function parameterFeeds(
  method: Method,
  config: ModelConfig,
  given: GivenParameters,
  rows: number,
): FedParameters {
  const own = Array.isArray(given) ? (given as readonly Parameters[]) : null;
  if (own !== null && own.length !== rows)
    throw new SoftpromptError("engine", "there is not one set of parameters per row", {
      where: "parameters",
      expected: `${rows} sets`,
      got: own.length,
    });
  const sets = own ?? [given as Parameters];
  const specs = method.parameters(config);
  for (const { name, shape } of specs)
    for (const { [name]: tensor } of sets) {
      const fits =
        tensor !== undefined &&
        tensor.shape.length === shape.length &&
        tensor.shape.every((n, i) => typeof shape[i] === "string" || n === shape[i]) &&
        tensor.data.length === size(tensor.shape);
      if (!fits)
        throw new SoftpromptError("engine", `the ${name} does not fit the model`, {
          where: name,
          expected: shapeText("float32", shape),
          got: tensor === undefined ? "nothing" : shapeText("float32", tensor.shape),
          hint: `a ${name} belongs to the base model it was trained on`,
        });
    }
  const added = sets.map((set) => method.adds(set));
  const tokens = added.map((a) => a.tokens);
  const most = Math.max(0, ...tokens);
  const feeds: Record<string, Feed> = {};
  for (const { name, perRow } of specs) {
    const tensors = sets.map((set) => set[name]!);
    const first = tensors[0]!;
    if (!perRow) {
      if (tensors.some((tensor) => tensor !== first && tensor.data !== first.data))
        throw new SoftpromptError("engine", `rows of one batch cannot have a ${name} each`, {
          where: name,
          expected: `one ${name} for all rows`,
          got: `${sets.length} sets of parameters`,
        });
      feeds[name] = float(first.shape, first.data);
      continue;
    }
    const whole = [Math.max(...tensors.map(({ shape }) => shape[0]!)), ...first.shape.slice(1)];
    const data = new Float32Array(rows * size(whole));
    for (let b = 0; b < rows; b++) {
      const row = tensors[own === null ? 0 : b]!;
      data.set(row.data, (b + 1) * size(whole) - row.data.length);
    }
    feeds[name] = float([rows, ...whole], data);
  }
  const lengths = tokens.every((n) => n === most) ? null : tokens;
  return { feeds, tokens: most, lengths, keys: added[0]?.keys ?? {} };
}

/** Which positions of prompt and text count. */
export function positionsOf(
  { tokens: P, lengths, keys }: FedParameters,
  batch: Pick<TextBatch, "size" | "inputMask" | "inputLength">,
): Positions {
  const { size: B, inputLength: T, inputMask } = batch;
  const length = P + T;
  const on = new Uint8Array(B * length);
  for (let b = 0; b < B; b++) {
    on.fill(1, b * length + P - (lengths?.[b] ?? P), b * length + P);
    for (let t = 0; t < T; t++) on[b * length + P + t] = inputMask[b * T + t]!;
  }
  return { batch: B, length, on, keys };
}

/** Virtual tokens and text of each row, [B], and what a method puts before them. */
export function lengthsOf({ batch, length, on, keys = {} }: Positions): Int32Array {
  const before = Math.max(0, ...Object.values(keys));
  return Int32Array.from({ length: batch }, (_, b) =>
    on.subarray(b * length, (b + 1) * length).reduce((n, counts) => n + counts, before),
  );
}

/**
 * Refuses rows that reach beyond the model's last position.
 * @param decoded how many tokens are decoded per row, including the one before its target
 */
export function checkWindow(config: ModelConfig, positions: Positions, decoded: (row: number) => number): void {
  const { maxPositions } = config;
  if (maxPositions === undefined) return;
  for (const [row, length] of lengthsOf(positions).entries()) {
    const all = length + decoded(row);
    if (all > maxPositions)
      throw new SoftpromptError("engine", "a row is longer than the model's context window", {
        where: `row ${row} of the batch`,
        expected: `at most ${maxPositions} positions: virtual tokens, text and target`,
        got: `${all}`,
        hint: "use a smaller maxInputTokens or a shorter prompt",
      });
  }
}

/** inputIds of a batch, checked. */
export function textFeeds(
  { size: B, inputLength: T, inputIds }: Pick<TextBatch, "size" | "inputIds" | "inputLength">,
  { vocabulary }: ModelConfig,
): Feeds {
  checkIds("input", inputIds, vocabulary);
  return { inputIds: int([B, T], inputIds) };
}

/** decoderIds: targets shifted right behind the id that each row begins with. `leading` is [B] or [B, C]. */
export function shiftedIds(
  ids: Int32Array,
  leading: readonly number[],
  U: number,
  { vocabulary }: ModelConfig,
  firstOf: (row: number) => number,
): Feeds {
  checkIds("target", ids, vocabulary);
  const begins = Int32Array.from({ length: leading[0]! }, (_, row) => firstOf(row));
  checkIds("first", begins, vocabulary);
  const shifted = new Int32Array(ids.length);
  const perRow = size(leading.slice(1)) * U;
  for (let at = 0; at < ids.length; at += U) {
    shifted[at] = begins[Math.floor(at / perRow)]!;
    shifted.set(ids.subarray(at, at + U - 1), at + 1);
  }
  return { decoderIds: int([...leading, U], shifted) };
}

/** A wrong id would read outside the embedding, or, below zero, silently from its end. */
export function checkIds(what: string, ids: Int32Array, vocabulary: number): void {
  const wrong = ids.findIndex((id) => id < 0 || id >= vocabulary);
  if (wrong >= 0)
    throw new SoftpromptError("engine", `${what} id ${ids[wrong]} is not in the model's vocabulary`, {
      where: `${what} ids, element ${wrong}`,
      expected: `0 … ${vocabulary - 1}`,
      got: ids[wrong],
      hint: "is this the model's own tokenizer?",
    });
}
