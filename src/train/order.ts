/**
 * @file Which rows make which step: shuffled anew in every pass, rows of like length together, no row lost or doubled.
 *
 * In: row lengths, batch size, seed, step. Out: row numbers. A pure function of the step, so a resume needs no data position
 * but the step itself, and every method and schedule with one seed sees the same batches.
 */
import { random } from "../base/random.js";

/** Batches whose rows are sorted together: large enough for little padding, small enough to stay random. */
const window = 16;

/** Steps in one pass over the rows; the last batch may be smaller. */
export function stepsPerEpoch(rows: number, batchSize: number): number {
  return Math.ceil(rows / batchSize);
}

/**
 * The batches of one pass: a random permutation, cut into windows of 16 batches; each window is sorted by length and cut into
 * batches, and the batches of the whole pass are shuffled.
 *
 * @param lengths input tokens of each row.
 */
export function epochBatches(lengths: ArrayLike<number>, batchSize: number, seed: number, epoch: number): Int32Array[] {
  const draw = random(seed, `order/${epoch}`);
  const order = draw.permutation(lengths.length);
  const batches: Int32Array[] = [];
  for (let from = 0; from < order.length; from += window * batchSize) {
    // sort is stable, so rows of one length stay in random order
    const sorted = order.slice(from, from + window * batchSize).sort((a, b) => lengths[a]! - lengths[b]!);
    for (let at = 0; at < sorted.length; at += batchSize) batches.push(sorted.slice(at, at + batchSize));
  }
  return [...draw.permutation(batches.length)].map((n) => batches[n]!);
}

/** Looks batches up by step, keeping one pass in memory. @returns rows of step 0, 1, … */
export function batchOrder(lengths: ArrayLike<number>, batchSize: number, seed: number): (step: number) => Int32Array {
  const perEpoch = stepsPerEpoch(lengths.length, batchSize);
  let epoch = -1;
  let batches: Int32Array[] = [];
  return (step) => {
    const wanted = Math.floor(step / perEpoch);
    if (wanted !== epoch) {
      batches = epochBatches(lengths, batchSize, seed, wanted);
      epoch = wanted;
    }
    return batches[step % perEpoch]!;
  };
}
