/**
 * @file Which waiting rows are computed together. In: rows in the order that they came, with the lengths of their parts. Out: one batch.
 *
 * A batch is as long as its longest prompt and its longest text together, and a position of padding costs as much as one of a text. So
 * rows are near to each other only where both parts are: by their sum alone, a long prompt before a short text would stand beside its opposite.
 */

/** Virtual tokens and tokens of a row. */
export interface RowLength {
  readonly virtual: number;
  readonly tokens: number;
}

/** Limits of a batch. */
export interface BatchLimits {
  /** Most rows. */
  readonly rows: number;
  /** Most positions, including padding, because the memory of attention grows with them. */
  readonly positions: number;
  /**
   * How many positions a further pass costs besides its rows. A row that would lengthen a batch by more than a pass of its own is left for
   * the next one. Infinity fills every batch.
   */
  readonly pass: number;
}

/**
 * The row that has waited longest, and those that add least padding to it, as long as one pass with them is cheaper than two.
 * @param rows in the order that they came
 */
export function batchOf<T>(rows: readonly T[], lengthOf: (row: T) => RowLength, limits: BatchLimits): T[] {
  const left = rows.map((row) => ({ row, ...lengthOf(row) }));
  const oldest = left.shift();
  if (oldest === undefined) return [];
  const batch = [oldest];
  let { virtual, tokens } = oldest;
  while (left.length > 0 && batch.length < limits.rows) {
    const padded = (of: RowLength) => Math.max(virtual, of.virtual) + Math.max(tokens, of.tokens);
    // the padding of the row itself and the growth of all others; the oldest of equal ones
    const n = batch.length;
    const added = (of: RowLength) => (n + 1) * padded(of) - n * (virtual + tokens) - of.virtual - of.tokens;
    let best = 0;
    for (let i = 1; i < left.length; i++) if (added(left[i]!) < added(left[best]!)) best = i;
    const next = left[best]!;
    if (added(next) > limits.pass || (n + 1) * padded(next) > limits.positions) break;
    left.splice(best, 1);
    batch.push(next);
    [virtual, tokens] = [Math.max(virtual, next.virtual), Math.max(tokens, next.tokens)];
  }
  return batch.map(({ row }) => row);
}
