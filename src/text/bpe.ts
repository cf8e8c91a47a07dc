/**
 * @file Byte-pair encoding: one word in, the ids of its pieces out.
 *
 * In: a vocabulary, merges by rank, what unknown characters become. Out: `segment(word)`.
 * The pair of lowest rank is merged first, of equal ranks the leftmost. A heap of possible merges over a linked list of
 * symbols takes n log n steps for a word of n characters; entries whose pair no longer exists are skipped when they are popped.
 * Source: Sennrich et al. 2016, arXiv:1508.07909; tokenizers 0.23, src/models/bpe/{model,word}.rs.
 */

export interface BpeParts {
  readonly vocabulary: ReadonlyMap<string, number>;
  readonly merges: Merges;
  /** What an unknown character becomes; null drops it. `fuse`: neighbouring ones become one. */
  readonly unknown: { readonly id: number; readonly fuse: boolean } | null;
  /** Ids of `<0x00>` … `<0xFF>` where unknown characters become their bytes, else null. */
  readonly byteIds: readonly (number | undefined)[] | null;
  /** A word that is a piece is that piece, whatever the merges say. */
  readonly ignoreMerges: boolean;
  /** Written before every symbol of a word but the first, and behind the last. */
  readonly prefix: string;
  readonly suffix: string;
}

/** Merges in order of rank: ids of both sides and of what they become. */
export interface Merges {
  readonly left: Int32Array;
  readonly right: Int32Array;
  readonly merged: Int32Array;
}

/** What segmenting cost, for tests of its growth. */
export interface Work {
  /** Merges taken from the heap. */
  steps: number;
}

export interface Bpe {
  readonly segment: (word: string, work?: Work) => readonly number[];
}

const cachedWords = 50_000;
const cachedLength = 48;
const none = -1;

export function bpe(parts: BpeParts): Bpe {
  const { vocabulary, unknown, byteIds, ignoreMerges, prefix, suffix } = parts;
  const pairs = pairTable(parts.merges);
  const heap = new MergeHeap();
  const encoder = new TextEncoder();

  /** The ids of a word's characters before any merge. */
  const symbolsOf = (word: string): number[] => {
    const out: number[] = [];
    let waiting = none; // a pending unknown token, with which later ones may be fused
    const characters = [...word];
    for (const [i, character] of characters.entries()) {
      let name = i > 0 ? prefix + character : character;
      if (i === characters.length - 1) name += suffix;
      const id = vocabulary.get(name);
      if (id !== undefined) {
        if (waiting !== none) out.push(waiting);
        waiting = none;
        out.push(id);
        continue;
      }
      // A pending unknown token is put behind these bytes, as in the library.
      if (byteIds !== null) {
        const ids = Array.from(encoder.encode(name), (byte) => byteIds[byte]);
        if (!ids.includes(undefined)) {
          out.push(...(ids as number[]));
          continue;
        }
      }
      if (unknown === null) continue;
      if (waiting !== none && !unknown.fuse) out.push(waiting);
      waiting = unknown.id;
    }
    if (waiting !== none) out.push(waiting);
    return out;
  };

  const merge = (ids: number[], work: Work | undefined): readonly number[] => {
    const n = ids.length;
    if (n < 2) return ids;
    const next = new Int32Array(n);
    const previous = new Int32Array(n);
    const gone = new Uint8Array(n);
    for (let i = 0; i < n; i++) {
      next[i] = i + 1 < n ? i + 1 : none;
      previous[i] = i - 1;
    }
    const offer = (at: number): void => {
      const slot = pairs.find(ids[at]!, ids[next[at]!]!);
      if (slot !== none) heap.push(pairs.rank(slot), at, pairs.merged(slot));
    };
    heap.clear();
    for (let i = 0; i + 1 < n; i++) offer(i);
    while (heap.pop()) {
      if (work) work.steps++;
      const at = heap.at;
      const right = next[at]!;
      if (gone[at] || right === none) continue;
      const slot = pairs.find(ids[at]!, ids[right]!);
      if (slot === none || pairs.merged(slot) !== heap.merged) continue; // the pair is another one by now
      ids[at] = heap.merged;
      gone[right] = 1;
      const after = next[right]!;
      next[at] = after;
      if (after !== none) previous[after] = at;
      if (previous[at]! >= 0) offer(previous[at]!);
      if (after !== none) offer(at);
    }
    return ids.filter((_, i) => !gone[i]);
  };

  const cache = new Map<string, readonly number[]>();
  return {
    segment(word, work) {
      if (word.length === 0) return [];
      if (ignoreMerges) {
        const whole = vocabulary.get(word);
        if (whole !== undefined) return [whole];
      }
      if (word.length > cachedLength) return merge(symbolsOf(word), work);
      let ids = cache.get(word);
      if (ids === undefined) {
        ids = merge(symbolsOf(word), work);
        if (cache.size >= cachedWords) cache.clear();
        cache.set(word, ids);
      }
      return ids;
    },
  };
}

/** The model, and models that lack some of its pieces. */
export function bpeSegments(parts: BpeParts) {
  return {
    segment: bpe(parts).segment,
    segmentWithout: (ids: ReadonlySet<number>) => {
      const { left, right, merged } = parts.merges;
      const kept = [...merged.keys()].filter((rank) => ![left, right, merged].some((side) => ids.has(side[rank]!)));
      const only = (side: Int32Array) => Int32Array.from(kept, (rank) => side[rank]!);
      return bpe({
        ...parts,
        vocabulary: new Map([...parts.vocabulary].filter(([, id]) => !ids.has(id))),
        merges: { left: only(left), right: only(right), merged: only(merged) },
      }).segment;
    },
  };
}

interface PairTable {
  /** The place of a pair, or -1. */
  find(left: number, right: number): number;
  rank(slot: number): number;
  merged(slot: number): number;
}

/** An open-addressed hash of (left, right) → rank. If a pair is listed twice, the later rank counts, as in the library. */
function pairTable({ left, right, merged }: Merges): PairTable {
  const bits = Math.max(4, Math.ceil(Math.log2(left.length * 2 + 1)));
  const mask = 2 ** bits - 1;
  const ranks = new Int32Array(mask + 1).fill(none);
  const slotOf = (a: number, b: number): number => {
    let h = (Math.imul(a, 0x9e3779b1) ^ Math.imul(b, 0x85ebca6b)) >>> 0;
    h = (h ^ (h >>> 15)) & mask;
    for (let rank = ranks[h]!; rank !== none; rank = ranks[h]!) {
      if (left[rank] === a && right[rank] === b) return h;
      h = (h + 1) & mask;
    }
    return h;
  };
  for (let rank = 0; rank < left.length; rank++) ranks[slotOf(left[rank]!, right[rank]!)] = rank;
  return {
    find: (a, b) => {
      const slot = slotOf(a, b);
      return ranks[slot] === none ? none : slot;
    },
    rank: (slot) => ranks[slot]!,
    merged: (slot) => merged[ranks[slot]!]!,
  };
}

/** Merges that may be done, lowest rank first, then leftmost. One is kept for all words, as most words are short. */
class MergeHeap {
  /** Place and result of the merge that `pop` took. */
  at = 0;
  merged = 0;
  #size = 0;
  /** rank × 2³¹ + place: exact in a double up to 2²² ranks. */
  #keys = new Float64Array(64);
  #results = new Int32Array(64);

  clear(): void {
    this.#size = 0;
  }

  push(rank: number, at: number, merged: number): void {
    if (this.#size === this.#keys.length) this.#grow();
    const key = rank * 2 ** 31 + at;
    let i = this.#size++;
    while (i > 0) {
      const up = (i - 1) >> 1;
      if (this.#keys[up]! <= key) break;
      this.#keys[i] = this.#keys[up]!;
      this.#results[i] = this.#results[up]!;
      i = up;
    }
    this.#keys[i] = key;
    this.#results[i] = merged;
  }

  pop(): boolean {
    if (this.#size === 0) return false;
    this.at = this.#keys[0]! % 2 ** 31;
    this.merged = this.#results[0]!;
    const size = --this.#size;
    const key = this.#keys[size]!;
    const result = this.#results[size]!;
    let i = 0;
    for (;;) {
      let down = 2 * i + 1;
      if (down >= size) break;
      if (down + 1 < size && this.#keys[down + 1]! < this.#keys[down]!) down++;
      if (this.#keys[down]! >= key) break;
      this.#keys[i] = this.#keys[down]!;
      this.#results[i] = this.#results[down]!;
      i = down;
    }
    this.#keys[i] = key;
    this.#results[i] = result;
    return true;
  }

  #grow(): void {
    const keys = new Float64Array(2 * this.#keys.length);
    keys.set(this.#keys);
    this.#keys = keys;
    const results = new Int32Array(keys.length);
    results.set(this.#results);
    this.#results = results;
  }
}
