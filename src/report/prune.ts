/**
 * @file Report of an XPrompt search: table of candidates, saliency map, histograms, curves. In: PruneResult. Out: Markdown, HTML.
 *
 * The best candidate is shown beside the control, which only trained longer, and the mean over candidates. The split used for choosing is
 * named.
 */
import { maskMap } from "../adapter/map.js";
import { maskFromJson } from "../method/mask.js";
import { methodNames } from "../method/options.js";
import type { PruneResult, SearchCandidate, SearchSummary } from "../prune/record.js";
import { importanceModes } from "../prune/scores.js";
import type { Scores } from "../run/result.js";
import { flopText, moments, partialText, scoreText, secondText } from "./format.js";
import { heatMap } from "./heat-map.js";
import { histogram } from "./histogram.js";
import { costTable, tiles, warning, whereTable } from "./html.js";
import { markdownTable } from "./markdown.js";
import { outcomeWarnings } from "./outcome.js";
import { charts, drawing, html, htmlTable, page, settingsList, switched } from "./page.js";
import { type Prediction, predictionSections } from "./predictions.js";
import { lineChart } from "./svg.js";

/** Rows of the summary: the figures to report. */
function summaryRows({ run, baseline, search }: PruneResult): [string, string, string, string][] {
  const { metric, tuned, control, mean, reported, cost } = search;
  // where the mean of the metrics chooses, no single one has the metric's name
  const told = (scores: Scores) => scoreText(scores[metric] ?? moments(Object.values(scores)).mean);
  const kept = (c: SearchCandidate) => `${c.counts.tokens} tokens, ${c.counts.parameters} parameters`;
  const before = cost.neurons + cost.tuning;
  return [
    ...(baseline.majority === null
      ? []
      : [["always the most frequent label", told(baseline.majority), "", ""] as const]),
    ...(baseline.noPrompt === null ? [] : [["no prompt", told(baseline.noPrompt), "", ""] as const]),
    [tuningOf(run), told(reported.tuned), kept(control), flopText(before)],
    [
      "control: tuned on for as many steps",
      told(reported.control),
      kept(control),
      flopText(before + cost.retrainNeurons + cost.control),
    ],
    ["XPrompt, best candidate", told(reported.best), kept(chosen(search)), flopText(cost.total - cost.control)],
    [
      `(mean selection score of ${those(search)})`,
      mean.count > 1 ? `${scoreText(mean.score)} ± ${scoreText(mean.deviation)}` : scoreText(mean.score),
      "",
      "",
    ],
    [`(selection score of ${tuningOf(run)})`, scoreText(tuned.score), "", ""],
  ].map((row) => [...row] as [string, string, string, string]);
}

/** "prompt tuning", "prefix tuning": what was tuned before it was pruned. */
function tuningOf({ options }: PruneResult["run"]): string {
  // a file may name anything
  return `${methodNames.find((name) => name === options.method) ?? "prompt"} tuning`;
}

const summaryHead = ["", "score", "kept", "FLOPs so far"];

function chosen({ best, candidates }: SearchSummary): SearchCandidate {
  return candidates.find(({ name }) => name === best)!;
}

/**
 * The candidates of the mean, from which the best was chosen. In a halving search these are the candidates that were trained to the end.
 */
function those({ mean, candidates }: SearchSummary): string {
  const failed = candidates.filter((candidate) => candidate.failed !== undefined).length;
  const chosenAmong =
    mean.count + failed < candidates.length
      ? `${mean.count} survivors of ${candidates.length} candidates`
      : counted(mean.count);
  return failed === 0 ? chosenAmong : `${chosenAmong} (${failed} failed)`;
}

const counted = (n: number) => `${n} ${n === 1 ? "candidate" : "candidates"}`;

/** The rows used for choosing, the rows that are reported, and what the difference means. */
function choiceNote(search: SearchSummary): string {
  const { split, rows, reportedRows } = search.selection;
  const how = `Chosen on ${rows} ${split} rows among ${those(search)}`;
  return split === "validation"
    ? `${how}; the same rows are reported, so the best of many flatters itself: compare with the mean and the control.`
    : reportedRows === 0
      ? `${how}; there are no validation rows to report on.`
      : `${how}; the ${reportedRows} validation rows that are reported were not looked at before.`;
}

function candidateRows({ candidates, best }: SearchSummary): string[][] {
  return candidates.map((c) => [
    c.name === best ? `${c.name} (chosen)` : c.name,
    String(c.tokensPruned),
    String(c.piecesPruned),
    String(c.counts.parameters),
    scoreText(c.score),
    `${c.steps}${c.failed === undefined ? (c.finished ? "" : ", stopped") : `, failed: ${c.failed}`}`,
    secondText(c.cost.seconds),
  ]);
}

const candidateHead = ["candidate", "tokens pruned", "pieces pruned", "parameters", "selection score", "steps", "time"];

/** For the terminal. */
export function pruneText(result: PruneResult): string {
  const { search } = result;
  return [
    markdownTable(summaryHead, summaryRows(result)),
    choiceNote(search),
    markdownTable(candidateHead, candidateRows(search)),
    ...(search.mask === null
      ? []
      : [`# alive, · pruned piece, - pruned token\n${maskMap(maskFromJson(search.mask, "result.json"))}`]),
  ].join("\n\n");
}

/** The search's report.html. @param predictions of the chosen candidate on the rows that are reported */
export function prunePage(result: PruneResult, predictions: readonly Prediction[] = []): string {
  const { run, search, cost } = result;
  const { importance, control, candidates, metric } = search;
  const best = chosen(search);
  const mask = search.mask && maskFromJson(search.mask, "result.json");
  const k = importance.piecesPerToken;
  const alive = (token: number, piece: number) =>
    mask === null || (mask.tokens[token] === 1 && mask.piecesKept[token * k + piece] === 1);
  const saliency = (masked: boolean) =>
    drawing(
      heatMap({
        title: masked ? "Importance of pieces; pruned ones grey" : "Importance of pieces",
        rows: importance.tokens.map((_, i) => String(i)),
        columns: Array.from({ length: k }, (_, i) => String(i)),
        values: importance.tokens.map((_, t) =>
          Array.from({ length: k }, (_, p) => (masked && !alive(t, p) ? null : importance.pieces[t * k + p]!)),
        ),
        rowTitle: "token",
        columnTitle: "piece of its vector",
        unit: "importance",
        numbers: false,
        format: (v) => v.toPrecision(2),
      }),
    );
  return page(`${run.task}: XPrompt`, [
    html`<h1>${run.task}: XPrompt</h1><p class="lead">${counted(candidates.length)}, scored by ${metric}; ${flopText(cost.flops)} and ${secondText(cost.seconds)} in all.</p>`,
    tiles(result),
    ...outcomeWarnings({ scores: result.scores, majority: result.baseline.majority, predictions }).map(warning),
    htmlTable(summaryHead, summaryRows(result)),
    html`<p class="soft">${choiceNote(search)}</p>`,
    html`<h2>Saliency map</h2><p class="soft">How much the loss is expected to change without a piece of a token, to first order: the mean of ${importanceModes[importance.mode].mean} (XPrompt, Fig. 9). Over ${importance.examples} rows, on ${partialText(importance.partial)}.</p>`,
    switched("saliency", [
      ["pruned cells grey", saliency(true)],
      ["all", saliency(false)],
    ]),
    html`<h2>Importance of tokens, of pieces</h2>`,
    charts([
      histogram({ title: "Importance of tokens", x: "importance", values: importance.tokens, y: "tokens", bins: 20 }),
      histogram({ title: "Importance of pieces", x: "importance", values: importance.pieces, y: "pieces" }),
    ]),
    html`<h2>Retraining</h2><p class="soft">One run each, seed ${run.seed}.</p>`,
    charts([
      lineChart({
        title: "Selection score of the chosen candidate and the control",
        x: "steps of retraining",
        y: `${metric} × 100`,
        formatX: String,
        wholeX: true,
        formatY: scoreText,
        series: [best, control].map((c) => ({
          name: c.name === best.name ? `chosen (${c.name})` : "control",
          points: c.history.map(({ step, score }) => [step, score] as const),
          dots: true,
        })),
        levels: [{ y: search.tuned.score, label: tuningOf(run) }],
      }),
    ]),
    html`<h2>Candidates</h2><p class="soft">t04-p08: 4 tokens pruned, then 8 pieces of each token that is left.</p>`,
    htmlTable(candidateHead, candidateRows(search)),
    ...predictionSections(predictions),
    html`<h2>Cost</h2>`,
    costTable(result),
    html`<h2>Settings</h2>`,
    settingsList(run.options),
    html`<h2>Where</h2>`,
    whereTable(result),
  ]);
}
