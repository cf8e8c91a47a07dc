/**
 * @file The Unigram model: one word in, the ids of its most probable segmentation out.
 *
 * In: pieces with log probabilities. Out: `segment(word)`, by Viterbi over a trie of the pieces.
 * An unknown character costs the lowest score minus 10; neighbouring unknown characters become one unknown token. On equal
 * scores the segmentation found first stays (the one with the longer last piece), as in both reference implementations.
 * Source: Kudo 2018, arXiv:1804.10959; sentencepiece unigram_model.cc EncodeOptimized; tokenizers models/unigram/model.rs.
 * Differs: sums are float64 and per word (as in tokenizers); SentencePiece sums float32 over the whole line.
 */

/** A piece of the vocabulary. Its id is its place in the list. */
export interface Piece {
  readonly text: string;
  readonly score: number;
  /** False for pieces that text never matches: control, unknown, unused and byte pieces. */
  readonly matches: boolean;
}

export interface Unigram {
  /** Ids of the most probable segmentation of a word. */
  segment(word: string): readonly number[];
}

const unknownPenalty = 10;
const cachedWords = 50_000;
const cachedLength = 48;

/** Builds the trie; `byteIds[b]` are the ids of the byte pieces `<0x00>` … if unknown characters fall back to bytes, else null. */
export function unigram(pieces: readonly Piece[], unkId: number, byteIds: readonly number[] | null): Unigram {
  const trie = buildTrie(pieces);
  let lowest = Number.POSITIVE_INFINITY;
  for (const p of pieces) if (p.matches && p.score < lowest) lowest = p.score;
  const unknownScore = lowest - unknownPenalty;
  const scores = Float64Array.from(pieces, (p) => p.score);
  const encoder = new TextEncoder();

  const viterbi = (word: string): number[] => {
    const n = word.length;
    const best = new Float64Array(n + 1);
    const start = new Int32Array(n + 1).fill(-1);
    const id = new Int32Array(n + 1);
    for (let from = 0; from < n; ) {
      const step = isHighSurrogate(word.charCodeAt(from)) && from + 1 < n ? 2 : 1;
      let single = false;
      for (let to = from, node = 0; to < n; ) {
        node = trie.child(node, word.charCodeAt(to));
        if (node < 0) break;
        to++;
        const piece = trie.piece(node);
        if (piece < 0) continue;
        const score = best[from]! + scores[piece]!;
        if (start[to]! < 0 || score > best[to]!) {
          best[to] = score;
          start[to] = from;
          id[to] = piece;
        }
        if (to - from === step) single = true;
      }
      if (!single) {
        const to = from + step;
        const score = best[from]! + unknownScore;
        if (start[to]! < 0 || score > best[to]!) {
          best[to] = score;
          start[to] = from;
          id[to] = unkId;
        }
      }
      from += step;
    }
    const out: number[] = [];
    for (let to = n; to > 0; to = start[to]!) {
      if (id[to] !== unkId) out.push(id[to]!);
      else if (byteIds !== null)
        for (const byte of encoder.encode(word.slice(start[to]!, to)).reverse()) out.push(byteIds[byte]!);
      else if (out[out.length - 1] !== unkId) out.push(unkId);
    }
    return out.reverse();
  };

  const cache = new Map<string, readonly number[]>();
  return {
    segment(word) {
      if (word.length > cachedLength) return viterbi(word);
      let ids = cache.get(word);
      if (ids === undefined) {
        ids = viterbi(word);
        if (cache.size >= cachedWords) cache.clear();
        cache.set(word, ids);
      }
      return ids;
    },
  };
}

/** The model, and models that lack some of its pieces. */
export function unigramSegments(pieces: readonly Piece[], unkId: number, byteIds: readonly number[] | null) {
  return {
    segment: unigram(pieces, unkId, byteIds).segment,
    segmentWithout: (ids: ReadonlySet<number>) =>
      unigram(
        pieces.map((piece, id) => (ids.has(id) ? { ...piece, matches: false } : piece)),
        unkId,
        byteIds,
      ).segment,
  };
}

interface Trie {
  /** The node behind `unit` (a UTF-16 code unit), or -1. */
  child(node: number, unit: number): number;
  /** The id of the piece that ends here, or -1. */
  piece(node: number): number;
}

/** A trie in four flat arrays: an open-addressed hash of (node, unit) → node. A Map of 10⁵ entries is four times slower. */
function buildTrie(pieces: readonly Piece[]): Trie {
  let characters = 1;
  for (const p of pieces) if (p.matches) characters += p.text.length;
  const bits = Math.max(4, Math.ceil(Math.log2(characters * 2)));
  const mask = 2 ** bits - 1;
  const parents = new Int32Array(mask + 1).fill(-1);
  const units = new Uint16Array(mask + 1);
  const children = new Int32Array(mask + 1);
  const ends = new Int32Array(characters + 1).fill(-1);
  let nodes = 1;
  const slot = (node: number, unit: number): number => {
    let h = (Math.imul(node, 0x9e3779b1) ^ Math.imul(unit, 0x85ebca6b)) >>> 0;
    h = (h ^ (h >>> 15)) & mask;
    while (parents[h] !== -1 && (parents[h] !== node || units[h] !== unit)) h = (h + 1) & mask;
    return h;
  };
  for (let i = 0; i < pieces.length; i++) {
    const { text, matches } = pieces[i]!;
    if (!matches) continue;
    let node = 0;
    for (let j = 0; j < text.length; j++) {
      const h = slot(node, text.charCodeAt(j));
      if (parents[h] === -1) {
        parents[h] = node;
        units[h] = text.charCodeAt(j);
        children[h] = nodes++;
      }
      node = children[h]!;
    }
    if (node > 0) ends[node] = i;
  }
  return {
    child: (node, unit) => {
      const h = slot(node, unit);
      return parents[h] === -1 ? -1 : children[h]!;
    },
    piece: (node) => ends[node]!,
  };
}

function isHighSurrogate(unit: number): boolean {
  return unit >= 0xd800 && unit < 0xdc00;
}
