/**
 * @file How importance is distributed: histograms of token and piece scores, and the m × k map before and after pruning
 * (XPrompt Fig. 6, 7, 9, 10). In: XPromptStudyInput. Out: charts, and matrices whose pruned cells are null (drawn grey).
 */
import { extent } from "../base/extent.js";
import type { ImportanceMode } from "../prune/scores.js";
import type { Cell, Chart, Matrix, StudyResult } from "./study.js";
import { forEachSearch, settingsOf } from "./xprompt-runs.js";
import type { XPromptStudyInput } from "./xprompt-types.js";
import { pick } from "./xprompt-variants.js";

/** What is averaged in each mode, in words. */
const means = {
  perExample: "the mean over training rows of |∂L/∂γ| and |∂L/∂ζ|",
  batchAbs: "the mean over batches of |∂L/∂γ| and |∂L/∂ζ|, L being the batch's mean loss,",
  signed: "the mean over training rows of −∂L/∂γ and −∂L/∂ζ (above zero: it lowers the loss)",
} as const satisfies Record<ImportanceMode, string>;

/** Bins of a histogram (our choice; the figures have about so many bars). */
const bins = 20;

export async function saliency(input: XPromptStudyInput): Promise<StudyResult> {
  const charts: Chart[] = [];
  const matrices: Matrix[] = [];
  const rows: Cell[][] = [];
  await forEachSearch(
    input,
    [{ label: "" }],
    async (search, { task, seed }) => {
      const { tokens, pieces, piecesPerToken: k } = search.importance;
      const { best } = await pick(search, "both");
      const title = `${task}, seed ${seed}`;
      charts.push(histogram(`${title}: token importance`, tokens), histogram(`${title}: piece importance`, pieces));
      const cells = (kept: (i: number, j: number) => boolean) =>
        tokens.map((_, i) => Array.from({ length: k }, (_, j) => (kept(i, j) ? pieces[i * k + j]! : null)));
      const labels = {
        rows: tokens.map((_, i) => `token ${i}`),
        columns: Array.from({ length: k }, (_, j) => `${j}`),
        range: extent(pieces, [0, 0]),
      };
      const mask = best.mask;
      matrices.push({ title: `${title}: piece importance`, ...labels, values: cells(() => true) });
      if (mask !== null)
        matrices.push({
          title: `${title}: what survives (${best.counts.tokens} tokens, ${best.counts.pieces} pieces)`,
          ...labels,
          values: cells((i, j) => mask.tokens[i] === 1 && mask.piecesKept[i * k + j] === 1),
        });
      const sorted = (values: readonly number[]) => [...values].sort((a, b) => b - a);
      /** Share of all importance in the top tenth; absolute values if some are negative. It is 0.1 if all are equal. */
      const top = (values: readonly number[]) => {
        const all = sorted(values.map(Math.abs));
        const sum = (list: readonly number[]) => list.reduce((a, b) => a + b, 0);
        return (100 * sum(all.slice(0, Math.max(1, Math.round(all.length / 10))))) / sum(all);
      };
      rows.push([
        task,
        seed,
        search.importance.examples,
        top(tokens),
        top(pieces),
        best.counts.tokens,
        best.counts.pieces,
      ]);
    },
    ["both"],
  );
  return {
    study: "saliency",
    title: "Importance of tokens and pieces",
    tables: [
      {
        title: "How unequal importance is",
        columns: [
          { name: "task" },
          { name: "seed", digits: 0 },
          { name: "examples", digits: 0 },
          { name: "held by the top tenth of tokens", unit: "%", digits: 1 },
          { name: "held by the top tenth of pieces", unit: "%", digits: 1 },
          { name: "tokens kept", digits: 0 },
          { name: "pieces kept", digits: 0 },
        ],
        rows,
      },
    ],
    charts,
    dots: [],
    matrices,
    notes: [
      `Importance is ${means[input.prune.importance]} at the tuned prompt (xprompt.md §3.2); grey cells are pruned.`,
    ],
    settings: settingsOf(input),
  };
}

/** Counts of values in equal bins from 0, or the lowest where some are negative (`signed`), to the largest, drawn as steps. */
export function histogram(title: string, values: readonly number[]): Chart {
  const [low, high] = extent(values, [0, 0]);
  const span = high - low || 1;
  const counts = new Array<number>(bins).fill(0);
  for (const v of values) counts[Math.min(bins - 1, Math.floor(((v - low) / span) * bins))]!++;
  const edge = (n: number) => low + (span * n) / bins;
  return {
    title,
    x: "value",
    xLabel: "importance",
    yLabel: "count",
    series: [{ name: "count", points: counts.flatMap((n, i) => [[edge(i), n] as const, [edge(i + 1), n] as const]) }],
  };
}
