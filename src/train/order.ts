/**
 * @file Which rows belong to which step. In: encoded rows, batch size, seed, step. Out: row numbers.
 *
 * A pure function of the step (text/batch.ts gives each pass its own random stream), so a resume needs no other data position than the
 * step, and every method and schedule with one seed sees the same batches.
 */
import { type EncodedRow, epochOrder } from "../text/batch.js";

/** Steps in one pass over the rows; the last batch may be smaller. */
export function stepsPerEpoch(rows: number, batchSize: number): number {
  return Math.ceil(rows / batchSize);
}

/** Looks batches up by step (from 0), keeping one pass in memory. */
export function batchOrder(
  rows: readonly EncodedRow[],
  batchSize: number,
  seed: number,
): (step: number) => readonly number[] {
  const perEpoch = stepsPerEpoch(rows.length, batchSize);
  let known = -1;
  let batches: number[][] = [];
  return (step) => {
    const epoch = Math.floor(step / perEpoch);
    if (epoch !== known) {
      batches = epochOrder(rows, { seed, epoch, batchSize });
      known = epoch;
    }
    return batches[step % perEpoch]!;
  };
}
