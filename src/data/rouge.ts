/**
 * @file ROUGE-1, -2 and -L as the FPT code measured them: exactly as the Python package `rouge` (pltrdy) computes them, with its
 * peculiarities.
 *
 * In: a hypothesis and a reference. Out: F scores 0 … 1. Sentences are cut at every "."; words at white space; a
 * sentence of nothing but blanks counts as one empty word; no stemming,
 * no lower case. n-grams are *sets* over the whole text. ROUGE-L is the summary level: for each reference sentence the words
 * of its longest common subsequence with each hypothesis sentence go into one growing set (never emptied between reference
 * sentences), whose size is divided by the numbers of distinct words. F = 2PR / (P + R + 1e-8). An empty text scores 0.
 * Source: fpt.md §6; pltrdy/rouge 1.0 rouge_score.py.
 */

export interface RougeScores {
  readonly rouge1: number;
  readonly rouge2: number;
  readonly rougeL: number;
}

/** Words of a sentence beyond this are not compared: the table of a subsequence has words² cells. XSum's summaries have 20. */
const maxSentenceWords = 4_000;

/** ROUGE of one pair of texts. */
export function rouge(hypothesis: string, reference: string): RougeScores {
  const [h, r] = [sentences(hypothesis), sentences(reference)];
  if (h.length === 0 || r.length === 0) return { rouge1: 0, rouge2: 0, rougeL: 0 };
  return { rouge1: ngramF(h.flat(), r.flat(), 1), rouge2: ngramF(h.flat(), r.flat(), 2), rougeL: summaryF(h, r) };
}

function sentences(text: string): string[][] {
  return text
    .split(".")
    .filter((s) => s.length > 0)
    .map((s) => s.trim().split(/\s+/)); // a blank sentence (after "end. ") is one empty word, as in the package
}

function ngramF(h: readonly string[], r: readonly string[], n: number): number {
  const grams = (words: readonly string[]) =>
    new Set(Array.from({ length: Math.max(0, words.length - n + 1) }, (_, i) => words.slice(i, i + n).join(" ")));
  const [a, b] = [grams(h), grams(r)];
  let common = 0;
  for (const gram of a) if (b.has(gram)) common++;
  return f(a.size === 0 ? 0 : common / a.size, b.size === 0 ? 0 : common / b.size);
}

function summaryF(h: readonly string[][], r: readonly string[][]): number {
  const said = new Set(h.flat()).size;
  const meant = new Set(r.flat()).size;
  if (said === 0 || meant === 0) return 0;
  const union = new Set<string>();
  for (const reference of r) for (const hypothesis of h) for (const w of lcs(reference, hypothesis)) union.add(w);
  return f(union.size / said, union.size / meant);
}

function f(precision: number, recall: number): number {
  return 2 * ((precision * recall) / (precision + recall + 1e-8));
}

/** The words of a longest common subsequence; among equals the one the package's backward walk finds. */
function lcs(x: readonly string[], y: readonly string[]): string[] {
  const [n, m] = [Math.min(x.length, maxSentenceWords), Math.min(y.length, maxSentenceWords)];
  const width = m + 1;
  const table = new Uint16Array((n + 1) * width);
  for (let i = 1; i <= n; i++)
    for (let j = 1; j <= m; j++)
      table[i * width + j] =
        x[i - 1] === y[j - 1]
          ? table[(i - 1) * width + j - 1]! + 1
          : Math.max(table[(i - 1) * width + j]!, table[i * width + j - 1]!);
  const words: string[] = [];
  for (let i = n, j = m; i > 0 && j > 0; ) {
    if (x[i - 1] === y[j - 1]) {
      words.push(x[i - 1]!);
      i--;
      j--;
    } else if (table[(i - 1) * width + j]! > table[i * width + j - 1]!) i--;
    else j--;
  }
  return words;
}
