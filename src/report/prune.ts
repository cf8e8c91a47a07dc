/**
 * @file An XPrompt search told: table of candidates, saliency map, histograms, curves. In: XPromptResult. Out: Markdown, HTML.
 *
 * Honest by form: the control that simply trained longer, and the mean over candidates, stand beside the best of them, and the
 * split that chose is named.
 */
import { maskMap } from "../adapter/map.js";
import type { Candidate } from "../prune/candidate.js";
import type { XPromptResult } from "../prune/xprompt.js";
import { flopText, scaled, scoreText, secondText } from "./format.js";
import { markdownTable } from "./markdown.js";
import { drawing, html, htmlTable, page, switched } from "./page.js";
import { heatMap, histogram, lineChart } from "./svg.js";

export interface PruneReport {
  readonly task: string;
  readonly metric: string;
  readonly result: XPromptResult;
  readonly settings: Readonly<Record<string, unknown>>;
}

/** Rows of the summary: what one would report. */
function summaryRows({ result, metric }: PruneReport): [string, string, string, string][] {
  const { tuned, control, best, mean, candidates, reported, cost } = result;
  const kept = (c: Candidate) => `${c.counts.tokens} tokens, ${c.counts.parameters} parameters`;
  return [
    ["prompt tuning", scoreText(reported.tuned[metric as never]), kept(control), flopText(cost.tuning)],
    [
      "control: tuned on for as many steps",
      scoreText(reported.control[metric as never]),
      kept(control),
      flopText(cost.tuning + cost.control),
    ],
    [
      "XPrompt, best candidate",
      scoreText(reported.best[metric as never]),
      kept(best),
      flopText(cost.total - cost.control),
    ],
    [
      `(selection score, mean of ${mean.count} ${mean.count < candidates.length ? "survivors" : "candidates"})`,
      `${scoreText(mean.score)} ± ${scoreText(mean.deviation)}`,
      "",
      "",
    ],
    ["(selection score of prompt tuning)", scoreText(tuned.score), "", ""],
  ];
}

const summaryHead = ["", "score", "kept", "FLOPs so far"];

function candidateRows({ candidates, best }: XPromptResult): string[][] {
  return candidates.map((c) => [
    c.name === best.name ? `${c.name} (chosen)` : c.name,
    String(c.tokensPruned),
    String(c.piecesPruned),
    String(c.counts.parameters),
    scoreText(c.score),
    `${c.steps}${c.finished ? "" : ", stopped"}`,
    secondText(c.cost.seconds),
  ]);
}

const candidateHead = ["candidate", "tokens pruned", "pieces pruned", "parameters", "selection score", "steps", "time"];

/** For the terminal. */
export function pruneText(report: PruneReport): string {
  const { result } = report;
  return [
    markdownTable(summaryHead, summaryRows(report)),
    `Chosen on ${result.selection.rows} ${result.selection.split} rows among ${result.mean.count} candidates${result.selection.split === "validation" ? ", the same rows that are reported: the best of many flatters itself" : "; the validation rows were not looked at before"}.`,
    markdownTable(candidateHead, candidateRows(result)),
    ...(result.best.mask === null ? [] : [`# alive, · pruned piece, - pruned token\n${maskMap(result.best.mask)}`]),
  ].join("\n\n");
}

/** The search's report.html. */
export function prunePage(report: PruneReport): string {
  const { result, task, metric } = report;
  const { importance, best, control, candidates } = result;
  const k = importance.piecesPerToken;
  const alive = (token: number, piece: number) =>
    best.mask === null || best.mask.tokens.length !== importance.tokens.length
      ? true
      : best.mask.tokens[token] === 1 && best.mask.piecesKept[token * k + piece] === 1;
  const saliency = (masked: boolean) =>
    drawing(
      heatMap({
        title: masked ? "Importance of pieces; pruned ones grey" : "Importance of pieces",
        rows: importance.tokens.map((_, i) => String(i)),
        columns: Array.from({ length: k }, (_, i) => String(i)),
        values: importance.tokens.map((_, t) =>
          Array.from({ length: k }, (_, p) => (masked && !alive(t, p) ? null : importance.pieces[t * k + p]!)),
        ),
        numbers: false,
        format: (v) => v.toPrecision(2),
      }),
    );
  return page(`${task}: XPrompt`, [
    html`<h1>${task}: XPrompt</h1><p class="lead">${candidates.length} candidates, scored by ${metric}; ${flopText(result.cost.total)} and ${secondText(result.cost.seconds)} in all.</p>`,
    htmlTable(summaryHead, summaryRows(report)),
    html`<p class="soft">Chosen on ${result.selection.rows} ${result.selection.split} rows. ${result.selection.split === "validation" ? "The same rows are reported, so the best of many flatters itself; compare with the mean and the control." : "The validation rows were not looked at before."}</p>`,
    html`<h2>Saliency map (xprompt.md Fig. 9)</h2>`,
    switched("saliency", [
      ["pruned cells grey", saliency(true)],
      ["all", saliency(false)],
    ]),
    html`<h2>Importance of tokens</h2>`,
    drawing(histogram({ title: "Importance of tokens", x: "importance", values: importance.tokens, bins: 20 })),
    html`<h2>Importance of pieces</h2>`,
    drawing(histogram({ title: "Importance of pieces", x: "importance", values: importance.pieces })),
    html`<h2>Retraining</h2>`,
    drawing(
      lineChart({
        title: "Selection score of the chosen candidate and the control",
        x: "steps of retraining",
        y: metric,
        formatX: (v) => scaled(v),
        formatY: scoreText,
        series: [best, control].map((c) => ({
          name: c.name === best.name ? `chosen (${c.name})` : "control",
          points: c.history.map(({ step, score }) => [step, score] as const),
          dots: true,
        })),
        levels: [{ y: result.tuned.score, label: "prompt tuning" }],
      }),
    ),
    html`<h2>Candidates</h2>`,
    htmlTable(candidateHead, candidateRows(result)),
    html`<h2>Settings</h2>`,
    htmlTable(
      ["option", "value"],
      Object.entries(report.settings)
        .filter(([, v]) => v !== undefined && v !== null)
        .map(([key, v]) => [key, typeof v === "object" ? JSON.stringify(v) : String(v)]),
    ),
  ]);
}
