/**
 * @file Seeded randomness as values: named streams, never a global. In: seed and stream name. Out: a generator.
 *
 * Every use has its own stream (`prompt`, `order/3`, `fewshot`), so one seed gives the same initial prompt to every
 * method and schedule (fpt.md §2), and an exact resume needs no saved generator state: it opens the stream again by its name.
 * Generator: sfc32 (Chris Doty-Humphrey's PractRand), seeded by FNV-1a of the name.
 */

/** One stream of random numbers. Deterministic for (seed, name). */
export interface Random {
  /** Uniform in [0, 1), 32 bits. */
  next(): number;
  /** Uniform in [low, high). */
  uniform(low: number, high: number): number;
  /** Uniform integer in [0, n). */
  integer(n: number): number;
  /** A fresh permutation of 0 … n-1 (Fisher–Yates). */
  permutation(n: number): Int32Array;
  /** `count` distinct integers of [0, n), in drawn order; throws a RangeError unless both are whole numbers and 0 ≤ count ≤ n. */
  sample(n: number, count: number): Int32Array;
}

/** Opens the stream `name` of `seed`. */
export function random(seed: number, name: string): Random {
  let [a, b, c, d] = [hash(`${seed}/a/${name}`), hash(`${seed}/b/${name}`), hash(`${seed}/c/${name}`), 1];
  const bits = (): number => {
    const t = (((a + b) | 0) + d) | 0;
    d = (d + 1) | 0;
    a = b ^ (b >>> 9);
    b = (c + (c << 3)) | 0;
    c = ((c << 21) | (c >>> 11)) + t;
    c |= 0;
    return t >>> 0;
  };
  for (let i = 0; i < 15; i++) bits();
  const next = () => bits() / 4294967296;
  const integer = (n: number) => Math.floor(next() * n);
  const permutation = (n: number) => {
    const p = Int32Array.from({ length: n }, (_, i) => i);
    for (let i = n - 1; i > 0; i--) {
      const j = integer(i + 1);
      [p[i], p[j]] = [p[j]!, p[i]!];
    }
    return p;
  };
  return {
    next,
    uniform: (low, high) => low + (high - low) * next(),
    integer,
    permutation,
    sample: (n, count) => {
      if (!(Number.isInteger(n) && Number.isInteger(count) && count >= 0 && count <= n))
        throw new RangeError(`cannot draw ${count} distinct integers below ${n}`);
      return permutation(n).slice(0, count);
    },
  };
}

function hash(text: string): number {
  let h = 0x811c9dc5;
  for (let i = 0; i < text.length; i++) {
    h ^= text.charCodeAt(i);
    h = Math.imul(h, 0x01000193);
  }
  return h | 0;
}
