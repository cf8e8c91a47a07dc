/**
 * @file result.json: the settings, scores and cost of a run, and the machine it ran on (design §5). In: plain data. Out: plain data.
 *
 * All runs have the same form, so that studies and tables read these files, not logs. Scores are fractions in [0, 1].
 */
import { readFileSync } from "node:fs";
import { arch, cpus, platform, totalmem } from "node:os";
import { join } from "node:path";
import { z } from "zod";
import { SoftpromptError } from "../base/errors.js";
import { readWhole } from "../base/files.js";
import { parseJson } from "../base/json.js";
import { packageInfo, packageRoot } from "../base/package.js";
import type { BlockKind } from "../model/block-weights.js";
import { engineVersion } from "../runtime/node.js";
import type { StageCost } from "../train/types.js";
import { fileNames } from "./layout.js";

/** Metric → score. */
export type Scores = Readonly<Record<string, number>>;

/** Content of a run's result.json: scores, baselines, cost, and where it was made. */
export interface RunResult {
  readonly run: {
    readonly task: string;
    /** "prompt-tuning", "prompt-tuning+fpt-cr", "xprompt", … */
    readonly method: string;
    /** The resolved configuration. */
    readonly options: Readonly<Record<string, unknown>>;
    readonly seed: number;
    /** Commit of the code where it is known, else null. */
    readonly commit: string | null;
    /** By partial model and stack, the layers that were kept, where they were chosen by a measurement. */
    readonly layers?: Readonly<Record<string, Readonly<Record<string, readonly number[]>>>>;
    /** Why it ended. */
    readonly reason: string;
    readonly steps: number;
    /** The step whose prompt was kept. */
    readonly bestStep: number;
  };
  /** Scores of the kept prompt on the split that selected it. */
  readonly scores: Scores;
  /** Which split `scores` were measured on, and how many rows of it. */
  readonly scoredOn: { readonly split: string; readonly rows: number };
  /**
   * Baselines: the score of always answering the most frequent training label, and of the frozen model without a prompt (null: not
   * measured).
   */
  readonly baseline: { readonly majority: Scores | null; readonly noPrompt: Scores | null };
  readonly cost: {
    /** All matrix products, forward and backward, evaluation and neuron scores included. */
    readonly flops: number;
    readonly trainFlops: number;
    readonly evalFlops: number;
    /** The papers' accounting: forward Linear MACs × 2 of training only. */
    readonly paperFlops: number;
    /**
     * What `lowMemory` or weights in blocks made the training compute a second time, beside `flops` and no part of it: a training costs the same
     * however it is run. Absent where nothing was, and for a search.
     */
    readonly recomputedFlops?: number;
    /**
     * Cost of neuron scores and of the greedy choice of layers, if the schedule needed them, and of XPrompt's importance. It is part of `flops`, and `scoringSeconds` is part
     * of `seconds`.
     */
    readonly scoringFlops: number;
    readonly seconds: number;
    readonly trainSeconds: number;
    readonly evalSeconds: number;
    readonly scoringSeconds: number;
    /** Reading the rows and turning them into ids, within `seconds`; absent in results of version 0.1.0. */
    readonly readSeconds?: number;
    /** Opening the sessions that train; a session that evaluates is opened within `evalSeconds`. */
    readonly openSeconds: number;
    /** The stages of the schedule in order; empty for a search, whose trainings have their own results. */
    readonly perStage: readonly StageCost[];
    readonly trainedParameters: number;
    readonly baseParameters: number;
    readonly adapterBytes: number;
    /** Largest resident memory of the process so far. */
    readonly peakBytes: number;
  };
  readonly where: Where;
}

/** Where a result was made: machine, versions, model and data. */
export interface Where {
  readonly softprompt: string;
  readonly node: string;
  readonly onnxruntime: string;
  readonly device: string;
  /** How the frozen linear layers were computed, where it was not in float32. */
  readonly precision?: "int8" | BlockKind;
  readonly platform: string;
  readonly cpu: string;
  readonly cores: number;
  readonly memoryBytes: number;
  readonly model: { readonly name: string; readonly sha256: string };
  readonly data: readonly { readonly path: string; readonly sha256: string; readonly rows: number }[];
}

/** Fills in this machine and the versions in use. */
export function whereWeAre(parts: Pick<Where, "device" | "precision" | "model" | "data">): Where {
  const processors = cpus();
  return {
    softprompt: packageInfo().version,
    node: process.versions.node,
    onnxruntime: engineVersion(),
    device: parts.device,
    ...(parts.precision && { precision: parts.precision }),
    platform: `${platform()}-${arch()}`,
    cpu: processors[0]?.model ?? "unknown",
    cores: processors.length,
    memoryBytes: totalmem(),
    model: parts.model,
    data: parts.data,
  };
}

/** Largest resident memory of this process, in bytes. */
export function peakMemory(): number {
  return process.resourceUsage().maxRSS * 1024;
}

/** HEAD of the clone this code runs from, without calling git; null in an installed package. */
export function codeCommit(root = packageRoot): string | null {
  try {
    const head = readFileSync(join(root, ".git/HEAD"), "utf8").trim();
    if (!head.startsWith("ref: ")) return head;
    const ref = head.slice(5);
    try {
      return readFileSync(join(root, ".git", ref), "utf8").trim();
    } catch {
      const packed = readFileSync(join(root, ".git/packed-refs"), "utf8");
      return (
        packed
          .split("\n")
          .find((line) => line.endsWith(` ${ref}`))
          ?.slice(0, 40) ?? null
      );
    }
  } catch {
    return null;
  }
}

/** Reads a run folder's result.json. @throws SoftpromptError "run" when it is no JSON, or not a run's. */
export function readResult(folder: string): RunResult {
  return readResultFile(folder).result;
}

/** The same, with the complete JSON, because a search stores additional fields in it. */
export function readResultFile(folder: string): { file: string; json: object; result: RunResult } {
  const file = join(folder, fileNames.result);
  const text = readWhole(file, "run")?.toString("utf8");
  if (text === undefined)
    throw new SoftpromptError("run", "there is no result yet", { where: file, expected: "a finished run" });
  const json = parseJson(text, file, "run");
  const parsed = resultForm.safeParse(json);
  if (parsed.success) return { file, json: json as object, result: parsed.data };
  const issue = parsed.error.issues[0]!;
  throw new SoftpromptError("run", "this is not the result of a tuning", {
    where: file,
    expected: "result.json as softprompt train writes it",
    got: `${issue.path.join(".") || "the file"}: ${issue.message}`,
  });
}

const text = z.string().max(100_000);
/** JSON has no NaN: a score that is NaN is written as null. */
const score = z.union([z.number(), z.null().transform(() => Number.NaN)]);
const scores = z.record(text, score);
const amount = z.number().nonnegative();
const count = z.int().nonnegative();

const resultForm = z.object({
  run: z.object({
    task: text,
    method: text,
    options: z.record(text, z.unknown()),
    seed: z.number(),
    commit: text.nullable(),
    layers: z.record(text, z.record(text, z.array(count).max(10_000))).optional(),
    reason: text,
    steps: count,
    bestStep: count,
  }),
  scores,
  scoredOn: z.object({ split: text, rows: count }),
  baseline: z.object({ majority: scores.nullable(), noPrompt: scores.nullable() }),
  cost: z.object({
    flops: amount,
    trainFlops: amount,
    evalFlops: amount,
    paperFlops: amount,
    recomputedFlops: amount.optional(),
    scoringFlops: amount,
    seconds: amount,
    trainSeconds: amount,
    evalSeconds: amount,
    scoringSeconds: amount,
    readSeconds: amount.optional(),
    openSeconds: amount,
    perStage: z.array(
      z.object({
        ...{ partial: text, steps: count, seconds: amount, evalSeconds: amount, openSeconds: amount },
        ...{ flops: amount, paperFlops: amount, recomputedFlops: amount.optional() },
      }),
    ),
    trainedParameters: count,
    baseParameters: count,
    adapterBytes: count,
    peakBytes: amount,
  }),
  where: z.object({
    softprompt: text,
    node: text,
    onnxruntime: text,
    device: text,
    precision: z.enum(["int8", "stored", "int4"]).optional(),
    platform: text,
    cpu: text,
    cores: count,
    memoryBytes: amount,
    model: z.object({ name: text, sha256: text }),
    data: z.array(z.object({ path: text, sha256: text, rows: count })).max(1000),
  }),
}) satisfies z.ZodType<RunResult>;
