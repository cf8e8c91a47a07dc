/**
 * @file report.html of one run: what it scored and cost, its curves, settings, confusion, errors and samples.
 *
 * In: RunReport (read back from the run folder by tasks/run-report.ts). Out: one self-contained HTML page.
 */
import type { RunResult } from "../run/result.js";
import { axisNames, type Course, runCharts } from "./curves.js";
import { byteText, flopText, partialText, plainNumber, scaled, scoreText, secondText } from "./format.js";
import { charts, type Html, html, htmlTable, page, settingsList, switched } from "./page.js";
import { type Prediction, predictionSections } from "./predictions.js";
import { lineChart } from "./svg.js";

export interface RunReport extends Course {
  readonly title: string;
  readonly result: RunResult;
  readonly predictions: readonly Prediction[];
  readonly warnings: readonly string[];
}

/** Why a run ended, in words; an unknown reason stands for itself. */
const endings: Readonly<Record<string, string>> = {
  steps: "all that were asked for",
  patience: "then no more because the score no longer rose",
};

const ending = (reason: string) => (Object.hasOwn(endings, reason) ? endings[reason]! : reason);

/** The page. Pure: the same report gives the same bytes. */
export function reportPage(report: RunReport): string {
  const { result } = report;
  return page(report.title, [
    html`<h1>${report.title}</h1>
<p class="lead">${result.run.method} on ${result.run.task}, seed ${result.run.seed}, ${result.where.model.name}; ${result.run.steps} steps, ${ending(result.run.reason)}; the prompt of step ${result.run.bestStep} is kept.</p>`,
    tiles(result),
    ...report.warnings.map(warning),
    html`<h2>Curves</h2><p class="soft">Of this one run, seed ${result.run.seed}.${report.stages.length > 1 ? " The strip above a curve is the stages of the schedule, numbered as below." : ""}</p>`,
    curves(report),
    ...scoreSection(result),
    ...predictionSections(report.predictions),
    html`<h2>Cost</h2>`,
    costTable(result),
    ...stageTable(result),
    html`<h2>Settings</h2>`,
    settingsList(result.run.options),
    html`<h2>Where</h2>`,
    whereTable(result),
  ]);
}

/** A sentence that the reader must not miss. */
export const warning = (told: string): Html => html`<p class="bad">Warning: ${told}</p>`;

/** The figures that a reader looks for first. */
export function tiles({ scores, baseline, cost }: RunResult): Html {
  const tile = (value: string, label: string) => html`<div class="tile"><b>${value}</b><span>${label}</span></div>`;
  const [metric, score] = Object.entries(scores)[0] ?? ["score", Number.NaN];
  const before = baseline.noPrompt?.[metric];
  const majority = baseline.majority?.[metric];
  return html`<div class="tiles">${[
    tile(scoreText(score), metric),
    ...(before === undefined ? [] : [tile(scoreText(before), "before, no prompt")]),
    ...(majority === undefined ? [] : [tile(scoreText(majority), "majority class")]),
    tile(secondText(cost.seconds), "wall clock"),
    tile(flopText(cost.flops), "all matrix products"),
    tile(scaled(cost.trainedParameters), "parameters trained"),
    tile(byteText(cost.adapterBytes), "adapter"),
    tile(byteText(cost.peakBytes), "peak memory"),
  ]}</div>`;
}

/** Loss and score, each against steps, time or FLOPs. */
export function curves({ result, ...course }: RunReport): Html {
  const marks = { bestStep: result.run.bestStep, ...result.baseline };
  return switched(
    "axis",
    axisNames.map((axis) => [axis, charts(runCharts(course, axis, marks).map(lineChart))] as const),
  );
}

function scoreSection({ scores, scoredOn, baseline }: RunResult): Html[] {
  return [
    html`<h2>Scores</h2>
<p class="soft">Scores are × 100, on ${scoredOn.rows} rows of the ${scoredOn.split} split, whose rows also chose the prompt: expect a little less on unseen data.</p>`,
    htmlTable(
      ["metric", "tuned", "no prompt", "majority class"],
      Object.entries(scores).map(([metric, score]) => [
        metric,
        scoreText(score),
        scoreText(baseline.noPrompt?.[metric]),
        scoreText(baseline.majority?.[metric]),
      ]),
    ),
  ];
}

export function costTable({ cost }: RunResult): Html {
  return htmlTable(
    ["", "training", "evaluation", "together"],
    [
      ["wall clock", secondText(cost.trainSeconds), secondText(cost.evalSeconds), secondText(cost.seconds)],
      ["opening sessions, within the sum above", "", "", secondText(cost.openSeconds)],
      ...(cost.readSeconds ? [["reading rows, within the sum above", "", "", secondText(cost.readSeconds)]] : []),
      ["matrix products", flopText(cost.trainFlops), flopText(cost.evalFlops), flopText(cost.flops)],
      ...(cost.scoringFlops > 0
        ? [
            [
              "scores of neurons or tokens, within the sums above",
              secondText(cost.scoringSeconds),
              flopText(cost.scoringFlops),
              "",
            ],
          ]
        : []),
      ...(cost.recomputedFlops
        ? [["computed again to save memory, beside the sum above", flopText(cost.recomputedFlops), "", ""]]
        : []),
      ["as the papers count (forward, Linear layers)", flopText(cost.paperFlops), "", ""],
      [
        "parameters",
        scaled(cost.trainedParameters),
        "",
        `${plainNumber((100 * cost.trainedParameters) / cost.baseParameters, 3)} % of ${scaled(cost.baseParameters)}`,
      ],
    ],
  );
}

/** Cost of each stage of a schedule; nothing for a single stage. */
function stageTable({ cost: { perStage }, run: { layers = {} } }: RunResult): Html[] {
  if (perStage.length < 2) return [];
  return [
    html`<h2>Stages</h2>`,
    htmlTable(
      ["stage", "model", "steps", "opening", "training", "with evaluation", "matrix products", "as the papers count"],
      perStage.map((stage, i) => [
        String(i + 1),
        partialText(stage.partial),
        String(stage.steps),
        secondText(stage.openSeconds),
        secondText(stage.seconds),
        secondText(stage.seconds + stage.evalSeconds),
        flopText(stage.flops),
        flopText(stage.paperFlops),
      ]),
    ),
    ...(Object.keys(layers).length === 0
      ? []
      : [
          html`<p class="soft">Layers kept, numbered as in the full model: ${Object.entries(layers)
            .map(([name, stacks]) => `${partialText(name)}: ${stackLayers(stacks)}`)
            .join("; ")}.</p>`,
        ]),
  ];
}

function stackLayers(stacks: Readonly<Record<string, readonly number[]>>): string {
  return Object.entries(stacks)
    .map(([stack, layers]) => `${stack} ${layers.join(" ")}`)
    .join(", ");
}

export function whereTable({ where, run }: RunResult): Html {
  return htmlTable(
    ["", ""],
    [
      ["softprompt", `${where.softprompt}${run.commit === null ? "" : ` (${run.commit.slice(0, 12)})`}`],
      ["Node · ONNX Runtime", `${where.node} · ${where.onnxruntime}`],
      [
        "machine",
        `${where.platform}, ${where.cpu}, ${where.cores} cores, ${byteText(where.memoryBytes)}, device ${where.device}`,
      ],
      ["base model", html`${where.model.name}<br><code class="sha">sha256:${where.model.sha256}</code>`],
      ...where.data.map((d) => [
        "data",
        html`${d.path}, ${d.rows} rows<br><code class="sha">sha256:${d.sha256}</code>`,
      ]),
    ],
  );
}
