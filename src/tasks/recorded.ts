/**
 * @file What a run folder recorded, read back: the lines of metrics.jsonl and predictions.jsonl. In: the folder. Out: checked values.
 */
import { join } from "node:path";
import { z } from "zod";
import { SoftpromptError } from "../base/errors.js";
import { readWhole } from "../base/files.js";
import { isObject, parseJson } from "../base/json.js";
import type { Prediction } from "../report/predictions.js";
import { fileNames } from "../run/layout.js";
import type { TrainEvent } from "../train/types.js";

/** An event of a training and when it was recorded. */
export type Recorded = TrainEvent & { readonly time: string };

/** Every whole line of metrics.jsonl; a torn last line (the run was killed) is left out. */
export function readMetrics(folder: string): Recorded[] {
  return lines(join(folder, fileNames.metrics), readEvent);
}

/** Every whole line of predictions.jsonl. */
export function readPredictions(folder: string): Prediction[] {
  return lines(join(folder, fileNames.predictions), (line, where) =>
    readLine(predictionForm, line, where, "this line is no prediction"),
  );
}

/** One line of metrics.jsonl. @throws SoftpromptError "run" at `where`. */
export function readEvent(line: string, where: string): Recorded {
  return readLine(eventForm, line, where, "this line is no event") as Recorded;
}

/** JSON has no NaN: a number that was none is written as null. */
const figure = z.union([z.number(), z.null().transform(() => Number.NaN)]);
const count = z.int().nonnegative();
const text = z.string().max(2_000_000);
const at = { step: count, time: z.string().max(40) };

/** What run/metrics.ts records. */
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
    openSeconds: figure,
    flops: figure,
    paperFlops: figure,
    totalFlops: figure,
  }),
  z.object({
    kind: z.literal("skip"),
    ...at,
    stage: count,
    problem: text,
    rows: z.array(text),
    // absent in files of version 0.1
    seconds: figure.optional(),
    openSeconds: figure.optional(),
    totalFlops: figure.optional(),
  }),
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
    paperFlops: figure,
    totalFlops: figure,
  }),
  z.object({ kind: z.literal("end"), ...at, reason: text }),
]);

/** Label → probability. Kept as it is: z.record drops a label that is called `__proto__`. */
const byLabel = z
  .custom<Readonly<Record<string, number | null>>>(
    (value) => isObject(value) && Object.values(value).every((p) => p === null || typeof p === "number"),
    "expected a probability for each label",
  )
  .transform((value) => Object.fromEntries(Object.entries(value).map(([label, p]) => [label, p ?? Number.NaN])));

const predictionForm = z.preprocess(
  currentPrediction,
  z.object({
    id: text,
    input: text,
    label: text.nullable(),
    text,
    probabilities: byLabel.nullish().transform((value) => value ?? null),
    trueLabel: text.nullable(),
    target: text,
    correct: z.boolean(),
  }),
);

/** A line of an earlier version, in which `label` was the true one. */
function currentPrediction(line: unknown): unknown {
  if (!isObject(line) || !Object.hasOwn(line, "predictedLabel")) return line;
  const { label, predictedLabel, prediction, right, ...rest } = line;
  return { ...rest, label: predictedLabel, text: prediction, trueLabel: label, correct: right };
}

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

function lines<T>(file: string, read: (line: string, where: string) => T): T[] {
  const all = (readWhole(file, "run")?.toString("utf8") ?? "").split("\n").slice(0, -1);
  return all.map((line, i) => read(line, `${file}:${i + 1}`));
}
