/**
 * @file report.html of one run: what it scored and cost, its curves, settings, confusion, errors and samples.
 *
 * In: RunReport (read back from the run folder by tasks/run-report.ts). Out: one self-contained HTML page.
 */
import { highest } from "../base/extent.js";
import type { RunResult, Scores } from "../run/result.js";
import { byteText, flopText, partialText, plainNumber, scaled, scoreText, secondText } from "./format.js";
import { charts, type Html, html, htmlTable, page, settingsList, switched } from "./page.js";
import { type Prediction, predictionSections } from "./predictions.js";
import { type LineChart, lineChart } from "./svg.js";

export interface CurvePoint {
  readonly step: number;
  /** Since the start of training, evaluation included. */
  readonly seconds: number;
  /** Cumulative, all products, of training only. */
  readonly flops: number;
}

export interface StepPoint extends CurvePoint {
  readonly loss: number;
  readonly learningRate: number;
  readonly gradientNorm: number;
}

export interface EvalPoint extends CurvePoint {
  readonly loss: number;
  readonly scores: Scores;
  readonly best: boolean;
}

export interface RunReport {
  readonly title: string;
  readonly result: RunResult;
  readonly steps: readonly StepPoint[];
  readonly evals: readonly EvalPoint[];
  /** Where the next model of the schedule begins. */
  readonly stages: readonly { readonly step: number; readonly partial: string }[];
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

type Axis = { label: string; of: (p: CurvePoint) => number; format: (v: number) => string };

/** What curves are drawn against. Seconds turn into minutes or hours where there are many, so that ticks are round. */
function axesOf(points: readonly CurvePoint[]): Record<"steps" | "time" | "FLOPs", Axis> {
  const longest = highest(
    points.map((p) => p.seconds),
    0,
  );
  const [unit, seconds] =
    longest < 180 ? (["s", 1] as const) : longest < 10_800 ? (["min", 60] as const) : (["h", 3600] as const);
  return {
    steps: { label: "optimizer steps", of: (p) => p.step, format: String },
    time: { label: `wall clock (${unit})`, of: (p) => p.seconds / seconds, format: (v) => plainNumber(v, 3) },
    FLOPs: { label: "training FLOPs", of: (p) => p.flops, format: (v) => scaled(v) },
  };
}

/** Loss and score, each against steps, time or FLOPs. */
export function curves({ steps, evals, stages, result }: RunReport): Html {
  const metrics = [...new Set(evals.flatMap((e) => Object.keys(e.scores)))];
  return switched(
    "axis",
    Object.entries(axesOf([...steps, ...evals])).map(([name, axis]) => {
      const at = (step: number) => steps.find((s) => s.step >= step) ?? steps.at(-1);
      const grown = stages.flatMap(({ step, partial }) => {
        const point = at(step);
        return point === undefined ? [] : [{ x: step === 0 ? 0 : axis.of(point), label: partialText(partial, true) }];
      });
      const staged = grown.length > 1 ? { stages: grown } : {};
      const kept = evals.find((e) => e.step === result.run.bestStep);
      const marks = kept === undefined ? [] : [{ x: axis.of(kept), label: "kept" }];
      const chart = (rest: Pick<LineChart, "title" | "y" | "series" | "levels" | "formatY">) =>
        lineChart({ x: axis.label, formatX: axis.format, wholeX: name === "steps", marks, ...rest });
      const loss = chart({
        title: `Loss against ${axis.label}`,
        y: "loss per target token",
        series: [
          { name: "training", points: steps.map((s) => [axis.of(s), s.loss]), ...staged },
          { name: "validation", points: evals.map((e) => [axis.of(e), e.loss]), dots: true },
        ],
      });
      const level = (of: Scores | null, metric: string, label: string) =>
        of?.[metric] === undefined ? [] : [{ y: of[metric], label }];
      const scores = metrics.map((metric) =>
        chart({
          title: `${metric} against ${axis.label}`,
          y: `${metric} × 100, validation`,
          formatY: scoreText,
          series: [
            {
              name: metric,
              points: evals.map((e) => [axis.of(e), e.scores[metric] ?? Number.NaN]),
              dots: true,
              ...staged,
            },
          ],
          levels: [
            ...level(result.baseline.majority, metric, "majority class"),
            ...level(result.baseline.noPrompt, metric, "no prompt"),
          ],
        }),
      );
      return [name, charts([loss, ...scores])] as const;
    }),
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
