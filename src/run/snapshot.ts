/**
 * @file Snapshots of a training. The newest two are kept, each as a pair of files with checksums.
 *
 * In: TrainState and how long metrics.jsonl is. Out: `NNNNNN.safetensors`, then `NNNNNN.json`, which names the sha256 of both
 * and makes the pair valid; and back. A pair that does not verify is set aside as `*.corrupt` and the one before is used.
 */
import { join } from "node:path";
import { z } from "zod";
import { SoftpromptError } from "../base/errors.js";
import {
  diskOps,
  type FileOps,
  listFolder,
  readWhole,
  removeFile,
  renameFile,
  sha256,
  writeFileAtomic,
} from "../base/files.js";
import { longRunLimits, parseJson } from "../base/json.js";
import { sealed, unsealed } from "../base/kept.js";
import { removeLeftovers } from "../base/lock.js";
import type { Tensor } from "../base/tensor.js";
import { parseSafetensors, writeSafetensors } from "../model/safetensors.js";
import { type StateJson, stateFromSaved, stateToSaved, type TrainState } from "../train/state.js";

/** How much of metrics.jsonl belongs to a snapshot. */
export interface MetricsMark {
  readonly lines: number;
  readonly bytes: number;
}

export interface SavedSnapshot {
  /** Counts up over the life of a run. */
  readonly number: number;
  readonly state: TrainState;
  readonly metrics: MetricsMark;
}

const kept = 2;

/** Largest size in bytes of a file that is read whole. A prompt's snapshot is a few kilobytes of JSON and a few prompts. */
const limits = { json: 256 * 2 ** 20, safetensors: 256 * 2 ** 20 };

/** Saves a snapshot durably, then removes all but the newest two. @throws SoftpromptError "io". */
export function saveSnapshot(folder: string, { number, state, metrics }: SavedSnapshot, ops: FileOps = diskOps): void {
  const { tensors, rest } = stateToSaved(state);
  const bytes = writeSafetensors(tensors);
  const body = JSON.stringify({ format: 1, tensors: sha256(bytes), metrics, state: rest });
  const stem = join(folder, String(number).padStart(6, "0"));
  writeFileAtomic(`${stem}.safetensors`, bytes, ops);
  writeFileAtomic(`${stem}.json`, sealed(body), ops);
  const old = stems(folder).filter((name) => Number(name) <= number - kept);
  for (const name of old) {
    removeFile(join(folder, `${name}.json`), ops);
    removeFile(join(folder, `${name}.safetensors`), ops);
  }
}

/**
 * The newest snapshot that verifies; damaged newer ones are renamed to `*.corrupt` and reported.
 *
 * @param most largest size of the tensors in bytes; a method that trains more than a prompt may save more
 * @returns null where nothing was ever saved.
 * @throws SoftpromptError "run" where every snapshot is damaged; "io".
 */
export function loadSnapshot(
  folder: string,
  tell: (message: string) => void,
  ops: FileOps = diskOps,
  most = limits.safetensors,
): SavedSnapshot | null {
  removeLeftovers(folder, ops);
  const found = stems(folder).reverse();
  const problems: string[] = [];
  for (const name of found) {
    try {
      const snapshot = readPair(folder, name, Math.max(most, limits.safetensors));
      for (const problem of problems) tell(`${problem}; going on from snapshot ${name} (step ${snapshot.state.step})`);
      return snapshot;
    } catch (error) {
      if (!(error instanceof SoftpromptError) || error.kind !== "run") throw error;
      setAside(folder, name, ops);
      problems.push(`snapshot ${name} is damaged and was set aside as ${name}.*.corrupt (${error.problem})`);
    }
  }
  if (problems.length === 0) return null;
  throw new SoftpromptError("run", "no snapshot of this run can be used", {
    where: folder,
    got: problems.join("; "),
    hint: "start again in another folder",
  });
}

/** Numbers (six to twelve digits) of the pairs whose JSON is there, ascending. Tensors without JSON were never made valid. */
function stems(folder: string): string[] {
  return listFolder(folder)
    .filter((name) => /^\d{6,12}\.json$/.test(name))
    .map((name) => name.slice(0, -".json".length))
    .sort((a, b) => Number(a) - Number(b));
}

function readPair(folder: string, name: string, most: number): SavedSnapshot {
  const where = join(folder, `${name}.json`);
  const opened = unsealed(readBytes(where, limits.json).toString("utf8"));
  if ("damage" in opened) throw damaged(where, opened.damage);
  const parsed = savedForm.safeParse(parseJson(opened.body, where, "run", longRunLimits));
  if (!parsed.success) {
    const issue = parsed.error.issues[0]!;
    throw damaged(where, `${issue.path.join(".")}: ${issue.message}`);
  }
  const { tensors: hash, metrics, state } = parsed.data;
  const file = join(folder, `${name}.safetensors`);
  const bytes = readBytes(file, most);
  if (sha256(bytes) !== hash) throw damaged(file, "the checksum does not match");
  const archive = parseSafetensors(bytes, file, "run");
  const tensors: Record<string, Tensor> = Object.fromEntries(
    [...archive.entries.keys()].map((key) => [key, archive.tensor(key)]),
  );
  return {
    number: Number(name),
    metrics,
    state: stateFromSaved({ tensors, rest: state as unknown as StateJson }, file),
  };
}

function readBytes(path: string, limit: number): Buffer {
  const bytes = readWhole(path, "run", limit);
  if (bytes === null) throw damaged(path, "the file is missing");
  return bytes;
}

function damaged(where: string, problem: string): SoftpromptError {
  return new SoftpromptError("run", problem, { where });
}

function setAside(folder: string, name: string, ops: FileOps): void {
  const there = listFolder(folder);
  for (const ending of ["json", "safetensors"])
    if (there.includes(`${name}.${ending}`))
      renameFile(join(folder, `${name}.${ending}`), join(folder, `${name}.${ending}.corrupt`), ops);
}

const count = z.number().int().nonnegative();
/** JSON has no NaN; a loss that is NaN is written as null. */
const loss = z.union([z.number(), z.null().transform(() => Number.NaN)]);
const scores = z.record(z.string(), z.number());
const chosen = z.strictObject({ step: count, scores }).nullable();

const savedForm = z.strictObject({
  format: z.literal(1),
  tensors: z.string().regex(/^[0-9a-f]{64}$/),
  metrics: z.strictObject({ lines: count, bytes: count }),
  state: z.strictObject({
    step: count,
    stage: count,
    stageStart: count,
    evaluatedAt: z.number().int().min(-1),
    optimizerStep: count,
    moved: z.boolean(),
    best: chosen,
    bestOnFull: chosen,
    stageBest: z.number().nullable(),
    sinceBest: count,
    plateauBest: z.number().nullable(),
    sincePlateau: count,
    skipped: count,
    skippedInRow: count,
    evalFlops: z.number().nonnegative(),
    perStage: z
      .array(
        z.strictObject({
          partial: z.string(),
          steps: count,
          seconds: z.number().nonnegative(),
          evalSeconds: z.number().nonnegative(),
          openSeconds: z.number().nonnegative(),
          flops: z.number().nonnegative(),
          paperFlops: z.number().nonnegative(),
          recomputedFlops: z.number().nonnegative().optional(),
        }),
      )
      .min(1),
    history: z.array(
      z.strictObject({
        step: count,
        stage: count,
        partial: z.string(),
        loss,
        scores,
        flops: z.number().nonnegative(),
        paperFlops: z.number().nonnegative(),
        totalFlops: z.number().nonnegative(),
        seconds: z.number().nonnegative(),
      }),
    ),
    kept: z.array(count),
    finished: z.enum(["steps", "patience"]).nullable(),
  }),
});
