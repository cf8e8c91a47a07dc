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
  /** 0 takes the likeliest token. Finite, 0 or more. */
  readonly temperature: number;
  /** Only so many of the likeliest tokens; 0 is all. */
  readonly topK: number;
  /** Only the likeliest tokens that reach this probability together, from 0, which is the likeliest alone, to 1, which is all. */
  readonly topP: number;
  /** Any finite number. */
  readonly seed: number;
}

/** What each setting may be. A temperature that is no number would draw the first id for ever, a negative one the least likely ids. */
const rules: { readonly [K in keyof Sampling]: readonly [(n: number) => boolean, string] } = {
  temperature: [(n) => Number.isFinite(n) && n >= 0, "a finite number, 0 or more"],
  topK: [(n) => Number.isInteger(n) && n >= 0, "a whole number, 0 or more"],
  topP: [(n) => n >= 0 && n <= 1, "a number from 0 to 1"],
  seed: [Number.isFinite, "a finite number"],
};

function checkSampling(sampling: Sampling): void {
  for (const [name, [fits, expected]] of Object.entries(rules) as [keyof Sampling, (typeof rules)["seed"]][]) {
    const got = sampling[name];
    if (typeof got !== "number" || !fits(got))
      throw new SoftpromptError("usage", `the ${name} of a sampling cannot be used`, {
        where: `picker(), ${name}`,
        expected,
        got: String(got),
      });
  }
}

/** The next id of a row from its logits. */
export type Pick = (row: number, logits: Float32Array) => number;

/**
 * A picker with a stream of random numbers for each row, so that a row does not depend on its neighbours.
 * @param from number of the first row where the texts of a call go through the model in several batches
 * @throws SoftpromptError "usage" for settings that are no sampling
 */
export function picker(sampling: Sampling, from = 0): Pick {
  checkSampling(sampling);
  const streams = new Map<number, () => number>();
  return (row, logits) => {
    if (sampling.temperature === 0) return likeliest(logits);
    let next = streams.get(row);
    if (next === undefined) {
      next = random(sampling.seed, `generate/${from + row}`).next;
      streams.set(row, next);
    }
    return drawn(allowed(logits, sampling), next());
  };
}

export interface Candidate {
  readonly id: number;
  readonly probability: number;
}

/** The tokens that may come next, likeliest first, with probabilities that sum to 1. */
export function candidates(logits: Float32Array, how: Omit<Sampling, "seed">): Candidate[] {
  const { order, weightOf, total } = allowed(logits, how);
  return Array.from(order(), (id) => ({ id, probability: weightOf(id) / total }));
}

/** An id and its log-probability: natural logarithm. */
export interface LogProbability {
  readonly id: number;
  readonly logProbability: number;
}

/**
 * Log-softmax of logits [V], in float64: of one id, and of the likeliest ones, likeliest first, ties by id.
 * @param count how many of the likeliest
 * @throws SoftpromptError "numeric" where a logit is NaN or the largest is not finite
 */
export function logProbabilities(
  logits: Float32Array,
  id: number,
  count: number,
): { readonly chosen: number; readonly likeliest: readonly LogProbability[] } {
  const top = logits[likeliest(logits)]!;
  let sum = 0;
  // a short list in order: few are asked for, and most logits are below its last
  const first: number[] = [];
  for (let other = 0; other < logits.length; other++) {
    const logit = logits[other]!;
    sum += Math.exp(logit - top);
    if (first.length === count && (count === 0 || logit <= logits[first[count - 1]!]!)) continue;
    let at = first.length;
    while (at > 0 && logits[first[at - 1]!]! < logit) at--;
    first.splice(at, 0, other);
    if (first.length > count) first.pop();
  }
  const normaliser = top + Math.log(sum);
  return {
    chosen: logits[id]! - normaliser,
    likeliest: first.map((other) => ({ id: other, logProbability: logits[other]! - normaliser })),
  };
}

/** What may come next: ids, likeliest first, and their weights. A draw seldom asks for more than the first few. */
interface Allowed {
  readonly order: () => Iterable<number>;
  readonly weightOf: (id: number) => number;
  /** Sum of all their weights. */
  readonly total: number;
}

function allowed(logits: Float32Array, { temperature, topK, topP }: Omit<Sampling, "seed">): Allowed {
  const top = logits[likeliest(logits)]!;
  const order = sortedAsAsked(logits, top);
  const weightOf = (id: number) => Math.exp((logits[id]! - top) / temperature);
  const limited = topK > 0 && topK < logits.length;
  let kept: number[] | null = null;
  if (limited) {
    kept = [];
    for (const id of order()) {
      if (kept.length >= topK && logits[id] !== logits[kept[topK - 1]!]) break;
      kept.push(id);
    }
  }
  let total = 0;
  if (kept !== null) for (const id of kept) total += weightOf(id);
  else for (let id = 0; id < logits.length; id++) total += weightOf(id);
  if (topP < 1) {
    const [nucleus, most] = [[] as number[], topP * total];
    let before = 0;
    for (const id of kept ?? order()) {
      if (nucleus.length > 0 && before >= most) break;
      nucleus.push(id);
      before += weightOf(id);
    }
    [kept, total] = [nucleus, before];
  }
  return { order: kept === null ? order : () => kept, weightOf, total };
}

/** Bands of logits below the largest, and how many make a unit. The last one holds all the rest. */
const [bands, perUnit] = [256, 8];

/**
 * Ids by their logits, largest first, ties by id. They are laid into bands in one pass, and a band is sorted when its turn comes: sorting a
 * whole vocabulary costs more than a step of a small model.
 */
function sortedAsAsked(logits: Float32Array, top: number): () => Generator<number, void, undefined> {
  const bandOf = (logit: number) => Math.min(bands - 1, Math.floor((top - logit) * perUnit));
  const ends = new Int32Array(bands + 1);
  for (const logit of logits) ends[bandOf(logit) + 1]!++;
  for (let band = 0; band < bands; band++) ends[band + 1]! += ends[band]!;
  const next = ends.slice(0, bands);
  const ids = new Int32Array(logits.length);
  for (let id = 0; id < logits.length; id++) ids[next[bandOf(logits[id]!)]!++] = id;
  let sorted = 0;
  return function* () {
    for (let band = 0; band < bands; band++) {
      const own = ids.subarray(ends[band], ends[band + 1]);
      if (band === sorted) {
        own.sort((a, b) => logits[b]! - logits[a]! || a - b);
        sorted++;
      }
      yield* own;
    }
  };
}

/** @param chance in [0, 1) */
function drawn({ order, weightOf, total }: Allowed, chance: number): number {
  let [left, last] = [chance * total, 0];
  for (const id of order()) {
    left -= weightOf(id);
    if (left < 0) return id;
    last = id;
  }
  return last; // rounding
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
