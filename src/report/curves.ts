/**
 * @file Curves of trainings as charts: loss and scores, each against steps, time or FLOPs.
 *
 * In: the events of one training, or of several beside each other. Out: LineCharts, which svg.ts draws. No Node: the studio's page draws
 * them in the browser.
 */
import { highest } from "../base/extent.js";
import type { Scores } from "../run/result.js";
import type { TrainEvent } from "../train/types.js";
import type { LineChart, Series } from "./charts.js";
import { partialText, plainNumber, scaled, scoreText } from "./format.js";

interface CurvePoint {
  readonly step: number;
  /** Since the start of training, evaluation and the opening of models included. */
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

/** A training's course. */
export interface Course {
  readonly steps: readonly StepPoint[];
  readonly evals: readonly EvalPoint[];
  /** Where the next model of the schedule begins. */
  readonly stages: readonly { readonly step: number; readonly partial: string }[];
}

/** What an event took. Versions before this one did not record what a skipped step took. */
function secondsOf(event: TrainEvent): number {
  if (event.kind === "eval") return event.seconds;
  return event.kind === "step" || event.kind === "skip" ? (event.seconds ?? 0) + (event.openSeconds ?? 0) : 0;
}

/** The course that events tell; seconds and FLOPs add up over the run. */
export function courseOf(events: readonly TrainEvent[]): Course {
  const steps: StepPoint[] = [];
  const evals: EvalPoint[] = [];
  const stages: { step: number; partial: string }[] = [];
  let seconds = 0;
  for (const event of events) {
    if (event.kind === "stage") stages.push({ step: event.step, partial: event.partial });
    seconds += secondsOf(event);
    if (event.kind === "step") {
      const { step, loss, learningRate, gradientNorm, flops } = event;
      steps.push({ step, seconds, flops, loss, learningRate, gradientNorm });
    }
    if (event.kind === "eval") {
      const { step, loss, scores, best, flops } = event;
      evals.push({ step, seconds, flops, loss, scores: scores as Scores, best });
    }
  }
  return { steps, evals, stages };
}

/** What curves are drawn against. */
export const axisNames = ["steps", "time", "FLOPs"] as const;
export type AxisName = (typeof axisNames)[number];

interface Axis {
  readonly name: AxisName;
  readonly label: string;
  readonly of: (point: CurvePoint) => number;
  readonly format: (value: number) => string;
}

/** Seconds turn into minutes or hours where there are many, so that ticks are round. */
function axisOf(name: AxisName, courses: readonly Course[]): Axis {
  const longest = highest(
    courses.flatMap(({ steps, evals }) => [...steps, ...evals].map((p) => p.seconds)),
    0,
  );
  const [unit, seconds] =
    longest < 180 ? (["s", 1] as const) : longest < 10_800 ? (["min", 60] as const) : (["h", 3600] as const);
  const axes = {
    steps: { label: "optimizer steps", of: (p) => p.step, format: String },
    time: { label: `wall clock (${unit})`, of: (p) => p.seconds / seconds, format: (v) => plainNumber(v, 3) },
    FLOPs: { label: "training FLOPs", of: (p) => p.flops, format: (v) => scaled(v) },
  } satisfies Record<AxisName, Omit<Axis, "name">>;
  return { name, ...axes[name] };
}

const metricsOf = (courses: readonly Course[]) => [
  ...new Set(courses.flatMap(({ evals }) => evals.flatMap((e) => Object.keys(e.scores)))),
];

/** The parts of a chart that differ between the charts of one axis. */
type Own = Pick<LineChart, "title" | "y" | "series" | "levels" | "formatY" | "marks">;

const chartOn = (axis: Axis, own: Own): LineChart => ({
  x: axis.label,
  formatX: axis.format,
  wholeX: axis.name === "steps",
  ...own,
});

const evaluated = (
  axis: Axis,
  { evals }: Course,
  of: (point: EvalPoint) => number,
): Pick<Series, "points" | "dots"> => ({
  points: evals.map((e) => [axis.of(e), of(e)]),
  dots: true,
});

const lossName = "loss per target token";
const scoreName = (metric: string) => `${metric} × 100, validation`;

/** What a run's charts show beside its course. */
export interface RunMarks {
  /** The step whose prompt is kept. */
  readonly bestStep?: number | undefined;
  readonly majority?: Scores | null | undefined;
  readonly noPrompt?: Scores | null | undefined;
}

/** Loss and each score of one training. */
export function runCharts(
  course: Course,
  name: AxisName,
  { bestStep, majority, noPrompt }: RunMarks = {},
): LineChart[] {
  const axis = axisOf(name, [course]);
  const { steps, evals } = course;
  const at = (step: number) => steps.find((s) => s.step >= step) ?? steps.at(-1);
  const grown = course.stages.flatMap(({ step, partial }) => {
    const point = at(step);
    return point === undefined ? [] : [{ x: step === 0 ? 0 : axis.of(point), label: partialText(partial, true) }];
  });
  const staged = grown.length > 1 ? { stages: grown } : {};
  const kept = evals.find((e) => e.step === bestStep);
  const marks = kept === undefined ? [] : [{ x: axis.of(kept), label: "kept" }];
  const level = (of: Scores | null | undefined, metric: string, label: string) =>
    of?.[metric] === undefined ? [] : [{ y: of[metric], label }];
  return [
    chartOn(axis, {
      title: `Loss against ${axis.label}`,
      y: lossName,
      marks,
      series: [
        { name: "training", points: steps.map((s) => [axis.of(s), s.loss]), ...staged },
        { name: "validation", ...evaluated(axis, course, (e) => e.loss) },
      ],
    }),
    ...metricsOf([course]).map((metric) =>
      chartOn(axis, {
        title: `${metric} against ${axis.label}`,
        y: scoreName(metric),
        formatY: scoreText,
        marks,
        series: [{ name: metric, ...evaluated(axis, course, (e) => e.scores[metric] ?? Number.NaN), ...staged }],
        levels: [...level(majority, metric, "majority class"), ...level(noPrompt, metric, "no prompt")],
      }),
    ),
  ];
}

/** Training loss and each score of several trainings, a line for each. */
export function comparedCharts(
  runs: readonly { readonly name: string; readonly course: Course }[],
  name: AxisName,
): LineChart[] {
  const courses = runs.map(({ course }) => course);
  const axis = axisOf(name, courses);
  return [
    // of a study's training no step is kept
    ...(courses.every(({ steps }) => steps.length === 0)
      ? []
      : [
          chartOn(axis, {
            title: `Training loss against ${axis.label}`,
            y: lossName,
            series: runs.map((run) => ({ name: run.name, points: run.course.steps.map((s) => [axis.of(s), s.loss]) })),
          }),
        ]),
    ...metricsOf(courses).map((metric) =>
      chartOn(axis, {
        title: `${metric} against ${axis.label}`,
        y: scoreName(metric),
        formatY: scoreText,
        series: runs.map((run) => ({
          name: run.name,
          ...evaluated(axis, run.course, (e) => e.scores[metric] ?? Number.NaN),
        })),
      }),
    ),
  ];
}
