/**
 * @file A run folder read back and told: report.html and the TensorBoard event file. In: the folder. Out: the two files.
 *
 * Both are made from metrics.jsonl, result.json and predictions.jsonl alone, so `softprompt report RUN` can make them again.
 */
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { SoftpromptError } from "../base/errors.js";
import { writeFileAtomic } from "../base/files.js";
import { isObject, parseJson } from "../base/json.js";
import { type EvalPoint, type Prediction, type RunReport, reportPage, type StepPoint } from "../report/html.js";
import { readResult, type Scores } from "../report/result.js";
import { eventFile, type Scalar } from "../report/tensorboard.js";
import type { TrainEvent } from "../train/types.js";

/** Writes report.html (and the event file). @returns the page's path. @throws SoftpromptError "run" for a folder without a result. */
export async function writeReport(folder: string, { tensorboard = true } = {}): Promise<string> {
  const file = join(folder, "report.html");
  const events = readMetrics(folder);
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
    const value = parseJson(line, `${file}:${i + 1}`, "run");
    if (!isObject(value) || typeof value.kind !== "string")
      throw new SoftpromptError("run", "this line is no event", { where: `${file}:${i + 1}`, got: line });
    return value as unknown as Recorded;
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
      ? lines(predictions).map((line, i) => parseJson(line, `${predictions}:${i + 1}`, "run") as Prediction)
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

function lines(file: string): string[] {
  return readFileSync(file, "utf8").split("\n").slice(0, -1);
}
