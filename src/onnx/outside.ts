/**
 * @file Converts the inputs of an exported model to those of its graph, inside the model: ids, masks and lengths of caches become
 * positions, biases and tables. The engine computes these outside the model.
 *
 * In: a Writer. Out: nodes. Positions and masks are int32: ONNX Runtime's WebGPU kernels have few int64 operators.
 */
import type { Value, ValueType } from "../graph/graph.js";
import type { Writer } from "./opset.js";

type Named = Pick<Value, "name"> & ValueType;

/** The length of one axis, as a 1-D tensor. */
export const axisLength = (w: Writer, tensor: string, axis: number): string =>
  w.once(`outside ${tensor} ${axis}`, () => w.add("Shape", [tensor], { start: { int: axis }, end: { int: axis + 1 } }));

/** A length that is known now, or a 1-D tensor. */
export type Length = number | string;

/** Their sum, as a 1-D tensor. */
export function lengths(w: Writer, ...parts: Length[]): string {
  const fixed = parts.reduce<number>((sum, part) => (typeof part === "number" ? sum + part : sum), 0);
  const named = parts.filter((part) => typeof part === "string");
  const all = fixed > 0 || named.length === 0 ? [...named, w.integers([fixed])] : named;
  return all.slice(1).reduce((a, b) => w.add("Add", [a, b]), all[0]!);
}

const int32 = (w: Writer, tensor: string, to?: string) =>
  w.add("Cast", [tensor], { to: { int: w.onnxType("int32") } }, to === undefined ? undefined : [to]);
const float32 = (w: Writer, tensor: string) => w.add("Cast", [tensor], { to: { int: w.onnxType("float32") } });
const scalar = (w: Writer, oneElement: string) => w.add("Squeeze", [oneElement]);
const whole = (w: Writer, n: number) => w.constant([], Int32Array.of(n));

/** 0, 1, … n − 1 as int32. */
function counting(w: Writer, n: string): string {
  return int32(w, w.add("Range", [scalar(w, w.integers([0])), scalar(w, n), scalar(w, w.integers([1]))]));
}

/** int64 ids as the graph's int32 ones. */
export function writeIds(w: Writer, ids: string, to: string): void {
  int32(w, ids, to);
}

/** A mask [B, T] of 1 and 0 as what is added to scores, [B, 1, 1, P + T]: 0 where a position counts, else `hidden`. */
export function writePadding(
  w: Writer,
  mask: string,
  { prompt: P, hidden }: { prompt: Length; hidden: number },
  to: string,
) {
  const text = float32(w, mask);
  const all = P === 0 ? text : w.add("Pad", [text, padsBefore(w, P), w.float(1)]);
  const off = w.add("Mul", [w.add("Sub", [w.float(1), all]), w.float(hidden)]);
  w.add("Unsqueeze", [off, w.integers([1, 2])], {}, [to]);
}

/** Pads for the start of the second of two axes. */
function padsBefore(w: Writer, n: Length): string {
  if (typeof n === "number") return w.integers([0, n, 0, 0]);
  return w.add("Concat", [w.integers([0]), n, w.integers([0, 0])], { axis: { int: 0 } });
}

/** A table of values that depend only on the distance from a query to a key, for distances `least` … `least` + its length − 1. */
export interface ByDistance {
  readonly least: number;
  readonly values: Int32Array;
}

/** [queries, keys]: queries are at `first` …, keys at 0 …; distances beyond the table's ends get the values at its ends. */
export function writeByDistance(
  w: Writer,
  { least, values }: ByDistance,
  at: { readonly queries: string; readonly first: string; readonly keys: string },
  to: string,
): void {
  const query = w.add("Add", [counting(w, at.queries), int32(w, at.first)]);
  const column = w.add("Unsqueeze", [query, w.integers([1])]);
  const row = w.add("Unsqueeze", [counting(w, at.keys), w.integers([0])]);
  const most = least + values.length - 1;
  const kept = w.add("Clip", [w.add("Sub", [row, column]), whole(w, least), whole(w, most)]);
  const index = w.add("Sub", [kept, whole(w, least)]);
  w.add("Gather", [w.constant([values.length], values), index], { axis: { int: 0 } }, [to]);
}

/** Where tokens of a text stand behind `before` positions, and which positions there are in all. */
export interface TextPlaces {
  /** int32 [B, U] of the tokens that are read now. */
  readonly queries: string;
  /** int32 [B, before + L], and which of them count. */
  readonly keys: string;
  readonly counted: string;
}

/** @param mask [B, L] of 1 and 0, of which the last U tokens are read now */
export function textPlaces(w: Writer, mask: string, ids: string, before: Length): TextPlaces {
  const on = int32(w, mask);
  const last = typeof before === "number" ? whole(w, before - 1) : int32(w, lengths(w, before, w.integers([-1])));
  const own = w.add("Add", [w.add("CumSum", [on, scalar(w, int32(w, w.integers([1])))]), last]);
  const length = axisLength(w, mask, 1);
  const start = w.add("Sub", [length, axisLength(w, ids, 1)]);
  const queries = w.add("Slice", [own, start, length, w.integers([1])]);
  if (before === 0) return { queries, keys: own, counted: on };
  const rows = w.add("Concat", [axisLength(w, mask, 0), lengths(w, before)], { axis: { int: 0 } });
  const each = (row: string) => w.add("Expand", [row, rows]);
  const join = (first: string, then: string) => w.add("Concat", [first, then], { axis: { int: 1 } });
  return {
    queries,
    keys: join(each(w.add("Unsqueeze", [counting(w, lengths(w, before)), w.integers([0])])), own),
    counted: join(each(w.constant([1, 1], Int32Array.of(1))), on),
  };
}

/**
 * Positions of the queries. A padded query before all others has position 0. Positions are not limited to the model's last one, so that a
 * longer text fails.
 */
export function writePositions(w: Writer, { queries }: TextPlaces, to: string): void {
  w.add("Max", [queries, whole(w, 0)], {}, [to]);
}

/** [B, 1, U, keys]: 0 where a query sees a key of its own place or an earlier one, fewer than `window` places away; else `hidden`. */
export function writeSight(
  w: Writer,
  { queries, keys, counted }: TextPlaces,
  { window, hidden }: { readonly window: number | null; readonly hidden: number },
  to: string,
): void {
  const query = w.add("Unsqueeze", [queries, w.integers([1, 3])]);
  const [key, on] = [keys, counted].map((x) => w.add("Unsqueeze", [x, w.integers([1, 2])])) as [string, string];
  const distance = w.add("Sub", [query, key]);
  const there = w.add("Greater", [on, whole(w, 0)]);
  let seen = w.add("And", [w.add("GreaterOrEqual", [distance, whole(w, 0)]), there]);
  if (window !== null) seen = w.add("And", [seen, w.add("Less", [distance, whole(w, window)])]);
  w.add("Where", [seen, w.float(0), w.float(hidden)], {}, [to]);
}

/** Cosines and sines at positions 0 … rows − 1, [rows, R/2]. @param speeds radians per position */
export function writeRotary(w: Writer, speeds: Float32Array, rows: string, to: { cos: string; sin: string }): void {
  const place = w.add("Unsqueeze", [float32(w, counting(w, rows)), w.integers([1])]);
  const angles = w.add("Mul", [place, w.constant([1, speeds.length], speeds)]);
  w.add("Cos", [angles], {}, [to.cos]);
  w.add("Sin", [angles], {}, [to.sin]);
}

/** [1, n] of zeros, where n is how many of the last tokens the caller wants; 0 means all ids. Only its length counts. */
export function writeKept(w: Writer, wanted: string, ids: string, to: string): void {
  const all = axisLength(w, ids, 1);
  const asked = w.add("Reshape", [wanted, w.integers([1])]);
  const some = w.add("Greater", [asked, w.integers([0])]);
  const n = w.add("Where", [some, w.add("Min", [asked, all]), all]);
  const shape = w.add("Concat", [w.integers([1]), n], { axis: { int: 0 } });
  w.add("ConstantOfShape", [shape], {}, [to]);
}

/** An input of the model, as callers feed it. */
export const fed = (name: string, dtype: ValueType["dtype"], shape: ValueType["shape"]): Named => ({
  name,
  dtype,
  shape,
});
