/**
 * @file The files by which worker processes get their work: worker.json for all candidates, job.json for one.
 */
import { floatsFromText, floatsToText } from "../base/floats.js";
import type { Row, Task } from "../data/row.js";
import type { EngineOptions } from "../engine/engine.js";
import { type MaskJson, maskFromJson, maskToJson } from "../method/mask.js";
import type { MethodChoice } from "../method/options.js";
import type { EncodingRules } from "../text/rules.js";
import type { Schedule } from "../train/stage.js";
import type { ReadSteps, TrainSettings } from "../train/types.js";
import type { CandidateJob, Retraining } from "./types.js";

/** Everything a worker needs to train like its parent. Written by the parent for its own child, in the same run folder. */
export interface WorkerPlan {
  readonly base: string;
  readonly engine: EngineOptions;
  readonly task: Task;
  readonly train: readonly Row[];
  readonly selection: readonly Row[];
  readonly schedule: Schedule;
  readonly settings: TrainSettings;
  readonly readBefore?: readonly ReadSteps[] | undefined;
  /** The method whose vectors are pruned; absent for prompt tuning. */
  readonly method?: MethodChoice | undefined;
  /** How the parent encodes rows (a chat, a prompt's length); absent where the model's own rules hold. */
  readonly rules?: EncodingRules;
}

export function retrainingText(retraining: Retraining, engine: EngineOptions): string {
  const { task, train, selection, schedule, settings, readBefore, method } = retraining;
  const plan: WorkerPlan = {
    base: retraining.engine.checkpoint.folder,
    engine,
    task,
    train,
    selection,
    schedule,
    settings,
    readBefore,
    method,
    ...(retraining.tokenizer.rules && { rules: retraining.tokenizer.rules }),
  };
  return JSON.stringify(plan, (_, v) => (v instanceof Int32Array ? { int32: [...v] } : v));
}

export function retrainingFromText(text: string): WorkerPlan {
  return JSON.parse(text, (_, v) =>
    v !== null && typeof v === "object" && Array.isArray(v.int32) && Object.keys(v).length === 1
      ? Int32Array.from(v.int32)
      : v,
  );
}

export function jobText(job: CandidateJob): string {
  const { prompt, mask } = job;
  return JSON.stringify({
    ...job,
    mask: mask && maskToJson(mask),
    prompt: { shape: prompt.shape, data: floatsToText(prompt.data) },
  });
}

export function jobFromText(text: string, where: string): CandidateJob {
  const { mask, prompt, ...rest } = JSON.parse(text) as Omit<CandidateJob, "mask" | "prompt"> & {
    mask: MaskJson | null;
    prompt: { shape: number[]; data: string };
  };
  return {
    ...rest,
    mask: mask && maskFromJson(mask, where),
    prompt: { shape: prompt.shape, data: floatsFromText(prompt.data, where, "run") },
  };
}
