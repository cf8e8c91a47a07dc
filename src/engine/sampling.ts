/**
 * @file Which token comes next. In: logits [V], how to sample. Out: an id.
 *
 * Order and rules are those of transformers 5.24 (`generation/logits_process.py`): temperature, then top-k (ties with the k-th stay), then
 * top-p (the token that crosses p stays). Temperature 0 is greedy and divides by nothing.
 */
import { SoftpromptError } from "../base/errors.js";
import { random } from "../base/random.js";

/** How the next token is drawn. */
export interface Sampling {
  /** 0 takes the likeliest token. */
  readonly temperature: number;
  /** Only so many of the likeliest tokens; 0 is all. */
  readonly topK: number;
  /** Only the likeliest tokens that reach this probability together; 1 is all. */
  readonly topP: number;
  readonly seed: number;
}

/** The next id of a row from its logits. */
export type Pick = (row: number, logits: Float32Array) => number;

/**
 * A picker with a stream of random numbers for each row, so that a row does not depend on its neighbours.
 * @param from number of the first row where the texts of a call go through the model in several batches
 */
export function picker(sampling: Sampling, from = 0): Pick {
  const streams = new Map<number, () => number>();
  return (row, logits) => {
    if (sampling.temperature === 0) return likeliest(logits);
    let next = streams.get(row);
    if (next === undefined) {
      next = random(sampling.seed, `generate/${from + row}`).next;
      streams.set(row, next);
    }
    return drawn(candidates(logits, sampling), next());
  };
}

export interface Candidate {
  readonly id: number;
  readonly probability: number;
}

/** The tokens that may come next, likeliest first, with probabilities that sum to 1. */
export function candidates(logits: Float32Array, { temperature, topK, topP }: Omit<Sampling, "seed">): Candidate[] {
  const top = logits[likeliest(logits)]!;
  let kept = Array.from(logits, (logit, id) => ({ id, weight: Math.exp((logit - top) / temperature) }));
  if (topK > 0 && topK < kept.length) {
    const least = Float32Array.from(logits).sort().at(-topK)!;
    kept = kept.filter(({ id }) => logits[id]! >= least);
  }
  const all = kept.reduce((sum, { weight }) => sum + weight, 0);
  // tokens below this probability together cannot reach 1 − p, so they are left out before sorting
  if (topP < 1) kept = kept.filter(({ weight }) => weight >= (all * (1 - topP)) / kept.length);
  kept.sort((a, b) => b.weight - a.weight || a.id - b.id);
  if (topP < 1) {
    let [before, count] = [0, 0];
    while (count < kept.length && (count === 0 || before < topP * all)) before += kept[count++]!.weight;
    kept.length = count;
  }
  const total = kept.reduce((sum, { weight }) => sum + weight, 0);
  return kept.map(({ id, weight }) => ({ id, probability: weight / total }));
}

/** @param chance in [0, 1) */
function drawn(list: readonly Candidate[], chance: number): number {
  let left = chance;
  for (const { id, probability } of list) {
    left -= probability;
    if (left < 0) return id;
  }
  return list.at(-1)!.id; // rounding
}

/** The first index of the largest value. @throws SoftpromptError "numeric" if a value is NaN or the largest is not finite. */
function likeliest(logits: Float32Array): number {
  let best = -1;
  for (let id = 0; id < logits.length; id++) if (logits[id]! > (logits[best] ?? Number.NEGATIVE_INFINITY)) best = id;
  if (best >= 0 && Number.isFinite(logits[best]) && !logits.includes(Number.NaN)) return best;
  throw noLogits([...logits.subarray(0, 5)].join(", "));
}

/** The error for logits that hold NaN or infinity. */
export function noLogits(got: string): SoftpromptError {
  return new SoftpromptError("numeric", "the model gives no number for the next token", {
    where: "generation",
    expected: "finite logits",
    got,
    hint: "the model's weights or the prompt hold NaN or infinity",
  });
}
