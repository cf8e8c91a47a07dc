/**
 * @file A run folder read back and told: report.html and the TensorBoard event file. In: the folder. Out: the two files.
 *
 * Both are made from metrics.jsonl, result.json and predictions.jsonl alone, so `softprompt report RUN` can make them again.
 */
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { z } from "zod";
import { SoftpromptError } from "../base/errors.js";
import { refuseLink, writeFileAtomic } from "../base/files.js";
import { parseJson } from "../base/json.js";
import { type EvalPoint, type Prediction, type RunReport, reportPage, type StepPoint } from "../report/html.js";
import { readResult, type Scores } from "../report/result.js";
import { eventFile, type Scalar } from "../report/tensorboard.js";
import type { TrainEvent } from "../train/types.js";

/** Writes report.html (and the event file). @returns the page's path. @throws SoftpromptError "run" for a folder without a result. */
export async function writeReport(folder: string, { tensorboard = true } = {}): Promise<string> {
  const file = join(folder, "report.html");
  const events = readMetrics(folder);
  refuseLink(join(folder, "tensorboard"));
  writeFileAtomic(file, reportPage(readRunReport(folder, events)));
  if (tensorboard)
    writeFileAtomic(join(folder, "tensorboard", "events.out.tfevents.softprompt"), eventFile(scalars(events)));
  return file;
}

type Recorded = TrainEvent & { readonly time: string };

/** Every whole line of metrics.jsonl; a torn last line (the run was killed) is left out. */
export function readMetrics(folder: string): Recorded[] {
  const file = join(folder, "metrics.jsonl");
  if (!existsSync(file)) return [];
  return lines(file).map((line, i) => {
    return readLine(eventForm, line, `${file}:${i + 1}`, "this line is no event") as Recorded;
  });
}

/** What report.html shows. */
export function readRunReport(folder: string, events = readMetrics(folder)): RunReport {
  if (!existsSync(join(folder, "result.json")))
    throw new SoftpromptError("run", "the run has no result yet", {
      where: folder,
      expected: "result.json, written at the end of a run",
      hint: `softprompt train --resume ${folder}`,
    });
  const result = readResult(folder);
  const predictions = join(folder, "predictions.jsonl");
  return {
    title: `${result.run.task}: ${result.run.method}`,
    result,
    ...curvesOf(events),
    predictions: existsSync(predictions)
      ? lines(predictions).map(
          (line, i): Prediction =>
            readLine(predictionForm, line, `${predictions}:${i + 1}`, "this line is no prediction"),
        )
      : [],
    warnings: events.flatMap((e) => (e.kind === "skip" ? [`step ${e.step} was skipped: ${e.problem}`] : [])),
  };
}

/** Events as curves; seconds and FLOPs add up over the run. */
export function curvesOf(events: readonly TrainEvent[]): Pick<RunReport, "steps" | "evals" | "stages"> {
  const steps: StepPoint[] = [];
  const evals: EvalPoint[] = [];
  const stages: { step: number; partial: string }[] = [];
  let seconds = 0;
  for (const event of events) {
    if (event.kind === "stage") stages.push({ step: event.step, partial: event.partial });
    if (event.kind === "step" || event.kind === "eval") seconds += event.seconds;
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

/** Events as TensorBoard scalars. */
function scalars(events: readonly Recorded[]): Scalar[] {
  return events.flatMap((event) => {
    const at = (tag: string, value: number): Scalar => ({
      tag,
      step: "step" in event ? event.step : 0,
      value,
      wallTime: Date.parse(event.time) / 1000,
    });
    if (event.kind === "step")
      return [
        at("train/loss", event.loss),
        at("train/learningRate", event.learningRate),
        at("train/gradientNorm", event.gradientNorm),
        at("train/tokensPerSecond", event.tokens / event.seconds),
      ];
    if (event.kind === "eval")
      return [
        at("validation/loss", event.loss),
        ...Object.entries(event.scores).map(([name, score]) => at(`validation/${name}`, score ?? Number.NaN)),
      ];
    return [];
  });
}

/** JSON has no NaN: a number that was none is written as null. */
const figure = z.union([z.number(), z.null().transform(() => Number.NaN)]);
const count = z.int().nonnegative();
const text = z.string().max(2_000_000);
const at = { step: count, time: z.string().max(40) };

/** What train/metrics.ts records. */
const eventForm = z.discriminatedUnion("kind", [
  z.object({ kind: z.literal("start"), ...at, totalSteps: count, stages: count }),
  z.object({ kind: z.literal("stage"), ...at, stage: count, partial: text }),
  z.object({
    kind: z.literal("step"),
    ...at,
    stage: count,
    loss: figure,
    learningRate: figure,
    gradientNorm: figure,
    tokens: count,
    seconds: figure,
    flops: figure,
    paperFlops: figure,
  }),
  z.object({ kind: z.literal("skip"), ...at, stage: count, problem: text, rows: z.array(text) }),
  z.object({
    kind: z.literal("eval"),
    ...at,
    stage: count,
    partial: text,
    scores: z.record(z.string(), figure),
    loss: figure,
    seconds: figure,
    best: z.boolean(),
    flops: figure,
  }),
  z.object({ kind: z.literal("end"), ...at, reason: text }),
]);

const predictionForm = z.object({
  id: text,
  input: text,
  target: text,
  prediction: text,
  label: text.nullable(),
  predictedLabel: text.nullable(),
  probabilities: z.record(z.string(), figure).optional(),
  right: z.boolean(),
});

function readLine<T>(form: z.ZodType<T>, line: string, where: string, problem: string): T {
  const parsed = form.safeParse(parseJson(line, where, "run"));
  if (parsed.success) return parsed.data;
  const issue = parsed.error.issues[0]!;
  throw new SoftpromptError("run", problem, {
    where,
    expected: `${issue.path.join(".") || "the line"}: ${issue.message}`,
    got: line,
    hint: "the file was changed by hand or by another program",
  });
}

function lines(file: string): string[] {
  return readFileSync(file, "utf8").split("\n").slice(0, -1);
}
