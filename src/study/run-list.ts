/**
 * @file The runs under a folder, from what lies on disk: trainings, searches, and a study's finished trainings. No model is opened and
 * nothing is written.
 *
 * In: a folder. Out: one ListedRun for each, unreadable ones included. A folder is a run by its run.json and a search by its search.json; what
 * a search trains belongs to the search. A study keeps one file for each finished training; the one it is at leaves nothing to read.
 */
import { closeSync, type Dirent, existsSync, fstatSync, openSync, readdirSync, readSync, statSync } from "node:fs";
import { basename, join, resolve } from "node:path";
import { parse } from "yaml";
import { z } from "zod";
import { SoftpromptError } from "../base/errors.js";
import { ioError, listFolder, readWhole } from "../base/files.js";
import { isObject, type JsonObject, longRunLimits, parseJson } from "../base/json.js";
import { unsealed } from "../base/kept.js";
import { folderOwner } from "../base/lock.js";
import { size } from "../base/tensor.js";
import { headerBlockLength, parseSafetensorsHeader } from "../model/safetensors.js";
import { stepsOf } from "../run/extend.js";
import { readHead } from "../run/folder.js";
import { fileNames, holds, snapshotFolder } from "../run/layout.js";
import { type RunResult, readResult } from "../run/result.js";
import { type Recorded, readEvent } from "../tasks/recorded.js";
import type { Identity } from "../train/identity.js";

/**
 * How far a run is. `running`: a process holds its folder. `failed`: its last steps were not finite. `stopped`: it can be resumed.
 * `unreadable`: its files cannot be read; `error` says why.
 */
export type RunState = "done" | "running" | "stopped" | "failed" | "unreadable";

/** One run as it lies on disk. What its files do not say is null. */
export interface ListedRun {
  /** Its folder; for a training of a study its file. */
  readonly path: string;
  /** A training, a search for a pruned prompt, or one training of a study or comparison. */
  readonly kind: "run" | "search" | "study run" | null;
  readonly state: RunState;
  /** The process that works in the folder, where `state` is "running". */
  readonly pid: number | null;
  /** That process's host. */
  readonly host: string | null;
  /** Why the run failed or cannot be read. */
  readonly error: string | null;
  readonly task: string | null;
  /** "prompt-tuning", "lora+fpt-cr", "xprompt"; in a study the line of its table. */
  readonly method: string | null;
  readonly model: string | null;
  readonly seed: number | null;
  /** Steps done; of a search without a result those of its tuning. */
  readonly steps: number | null;
  /** Steps it shall make; of a search null, whose steps are those of the chosen candidate's retraining. */
  readonly plannedSteps: number | null;
  /** The task's first metric. */
  readonly metric: string | null;
  /** Its score, a fraction in [0, 1], of the best evaluation so far; of a search without a result of its tuning's. */
  readonly score: number | null;
  /** Numbers that are trained; of a search those that the mask keeps, null before its result. */
  readonly trainedParameters: number | null;
  /** All matrix products so far, evaluation included; of a search null before its result. */
  readonly flops: number | null;
  /** When the run was last written, ISO 8601. */
  readonly written: string | null;
}

/** How runs are sorted. */
export type RunOrder = "written" | "score";

/**
 * Lists the runs under a folder. Links are not followed.
 * @param options.sort `written`: newest first (default); `score`: best first, runs without a score last
 * @returns [] where there are none
 * @throws SoftpromptError "io" where `folder` itself cannot be read; a folder or file below it that cannot be read is an entry with an `error`.
 */
export function listRuns(folder: string, { sort = "written" }: { readonly sort?: RunOrder } = {}): ListedRun[] {
  const found: ListedRun[] = [];
  walk(folder, readFolder(folder), { model: null, studyDone: false }, found);
  const newest = (a: ListedRun, b: ListedRun) =>
    (b.written ?? "").localeCompare(a.written ?? "") || a.path.localeCompare(b.path);
  const best = (a: ListedRun, b: ListedRun) => (b.score ?? -1) - (a.score ?? -1) || newest(a, b);
  return found.sort(sort === "score" ? best : newest);
}

/** What the folder above says of the runs in a study's folder. */
interface Above {
  readonly model: string | null;
  /** The study has its result: its searches are done, though each leaves none of its own. */
  readonly studyDone: boolean;
}

/** Folders of a run or a search that hold no runs but its own. */
const inner: ReadonlySet<string> = new Set([
  ...[fileNames.adapter, fileNames.snapshots, fileNames.earlierSnapshots],
  ...[fileNames.tune, fileNames.candidates, fileNames.anew],
]);

function walk(folder: string, entries: readonly Dirent[], above: Above, found: ListedRun[]): void {
  const kind = holds(folder, "search") ? "search" : holds(folder, "run") ? "run" : null;
  if (kind !== null) found.push(readable(folder, kind, () => listedFolder(folder, kind, above)));
  const study = studyOf(folder);
  const below: Above =
    study === null
      ? { model: null, studyDone: false }
      : { model: configOf(study).model, studyDone: holdsResult(study) };
  for (const entry of entries) {
    const path = join(folder, entry.name);
    if (entry.isDirectory()) {
      if (entry.name.startsWith(".") || entry.name === "node_modules" || (kind !== null && inner.has(entry.name)))
        continue;
      try {
        walk(path, readFolder(path), below, found);
      } catch (error) {
        found.push(unreadable(path, null, error));
      }
    } else if (kind === null && entry.isFile() && keptName.test(entry.name)) {
      const kept = readable(path, "study run", () => listedKept(path, below.model));
      if (kept !== null) found.push(kept);
    }
  }
}

/** The folder of the finished study whose runs these are; null where it is none: only a study leaves such a summary. */
function studyOf(runs: string): string | null {
  const above = join(resolve(runs), "..");
  return basename(resolve(runs)) === fileNames.runs && existsSync(join(above, fileNames.summary)) ? above : null;
}

/** Whether the run was made longer since: it keeps this result until it ends again. @param planned steps it shall make */
export function isOutgrown({ run }: RunResult, planned: number | null): boolean {
  return run.reason !== "patience" && run.steps < (planned ?? 0);
}

const holdsResult = (folder: string) => existsSync(join(folder, fileNames.result));

function readFolder(folder: string): Dirent[] {
  try {
    return readdirSync(folder, { withFileTypes: true });
  } catch (cause) {
    throw ioError(cause, folder);
  }
}

function readable<R>(path: string, kind: ListedRun["kind"], read: () => R): R | ListedRun {
  try {
    return read();
  } catch (error) {
    return unreadable(path, kind, error);
  }
}

/** Only errors of files: any other is a bug. */
function unreadable(path: string, kind: ListedRun["kind"], error: unknown): ListedRun {
  if (!(error instanceof SoftpromptError)) throw error;
  const { where } = error.parts;
  const place = where === undefined || where === path ? "" : `${where.replace(`${path}/`, "")}: `;
  return { ...bare(path, kind, "unreadable"), error: `${place}${error.problem}`, written: writtenAt([path]) };
}

/** A run of which nothing else is known. */
const bare = (path: string, kind: ListedRun["kind"], state: RunState): ListedRun => ({
  ...{ path, kind, state },
  ...{ pid: null, host: null, error: null, task: null, method: null, model: null, seed: null, steps: null },
  ...{ plannedSteps: null, metric: null, score: null, trainedParameters: null, flops: null, written: null },
});

function listedFolder(folder: string, kind: "run" | "search", above: Above): ListedRun {
  const owner = folderOwner(folder);
  const result = holdsResult(folder) ? readResult(folder) : null;
  // a search's tuning tells of its task, and how far it is before there is a result
  const training = kind === "run" ? folder : join(folder, fileNames.tune);
  const identity = holds(training, "run") ? readHead(join(training, fileNames.run)) : null;
  const planned = identity === null ? null : stepsOf(identity);
  const known = result !== null && (kind === "search" || !isOutgrown(result, planned));
  const facts = result !== null && known ? ofResult(result) : ofTraining(training, identity);
  const { model, method, schedule } = configOf(folder);
  const at = {
    pid: owner?.pid ?? null,
    host: owner?.host ?? null,
    written: writtenAt(writtenFiles.flatMap((name) => [join(folder, name), join(training, name)])),
  };
  // a search goes on after its tuning
  const ended = known || (kind === "run" ? facts.ended : above.studyDone);
  const state = owner !== null ? "running" : ended ? "done" : facts.told.error ? "failed" : "stopped";
  return {
    ...bare(folder, kind, state),
    task: taskOf(identity),
    model: model ?? above.model,
    seed: identity === null ? null : Number(identity["settings.seed"]),
    method:
      kind === "run" && identity !== null
        ? methodName(identity, schedule)
        : kind === "search"
          ? `xprompt${method === null || method === "prompt" ? "" : `-${method}`}${stages(schedule)}`
          : null,
    plannedSteps: kind === "run" ? planned : null,
    ...facts.told,
    // its tuning says nothing of the mask, nor of what the candidates took
    ...(kind === "search" && !known && { trainedParameters: null, flops: null }),
    metric: metricOf(identity) ?? facts.told.metric ?? null,
    ...scoreOf(facts.scores, metricOf(identity)),
    ...at,
  };
}

/** What a run's files say of it, and whether it is at its end. */
interface Facts {
  readonly told: Partial<ListedRun>;
  readonly scores: Readonly<Record<string, number>> | null;
  readonly ended: boolean;
}

function ofResult({ run, scores, cost, where }: RunResult): Facts {
  return {
    told: {
      ...{ task: run.task, method: run.method, model: where.model.name, seed: run.seed, steps: run.steps },
      ...{ trainedParameters: cost.trainedParameters, flops: cost.flops },
    },
    scores,
    ended: true,
  };
}

/** Of a training without a result: what its events say. A torn last line is left out. */
function ofTraining(folder: string, identity: Identity | null): Facts {
  const file = join(folder, fileNames.metrics);
  const lines = (readWhole(file, "run")?.toString("utf8") ?? "").split("\n").slice(0, -1);
  const event = (at: number): Recorded | null =>
    at < 0 ? null : readEvent(lines[at]!, `${fileNames.metrics}:${at + 1}`);
  const last = event(lines.length - 1);
  // a skipped step costs too; versions before this one did not say what
  const costed = event(
    lines.findLastIndex((line) => /^\{"kind":"(step|eval|skip)"/.test(line) && line.includes('"totalFlops":')),
  );
  const best = event(lines.findLastIndex((line) => line.startsWith('{"kind":"eval"') && line.includes('"best":true')));
  return {
    told: {
      steps: last !== null && "step" in last ? last.step : 0,
      trainedParameters: savedParameters(folder),
      flops: costed !== null && "totalFlops" in costed ? (costed.totalFlops ?? 0) : 0,
      error: last?.kind === "skip" ? `step ${last.step}: ${last.problem}` : null,
    },
    scores: best?.kind === "eval" ? best.scores : null,
    // it went on to more steps afterwards where its inputs say so
    ended:
      last?.kind === "end" && (last.reason === "patience" || last.step >= (identity === null ? 0 : stepsOf(identity))),
  };
}

/** Numbers trained, from the header of the newest snapshot; null where there is none. */
function savedParameters(folder: string): number | null {
  const snapshots = snapshotFolder(folder);
  const newest = listFolder(snapshots)
    .filter((name) => /^\d{6,12}\.safetensors$/.test(name))
    .sort((a, b) => Number.parseInt(b, 10) - Number.parseInt(a, 10))[0];
  if (newest === undefined) return null;
  const path = join(snapshots, newest);
  let fd: number | null = null;
  try {
    fd = openSync(path, "r");
    const { size: whole } = fstatSync(fd);
    const read = (length: number) => {
      const bytes = new Uint8Array(length);
      return bytes.subarray(0, readSync(fd!, bytes, 0, length, 0));
    };
    const header = parseSafetensorsHeader(read(headerBlockLength(read(8), whole, path, "run")), whole, path, "run");
    // version 0.1 saved one prompt, under its own name
    const own = [...header.entries.values()].filter(({ name }) => name.startsWith("parameters.") || name === "prompt");
    return own.reduce((sum, { shape }) => sum + size(shape), 0);
  } catch (cause) {
    throw ioError(cause, path);
  } finally {
    if (fd !== null) closeSync(fd);
  }
}

const writtenFiles = [
  ...[fileNames.run, fileNames.search, fileNames.metrics, fileNames.snapshots, fileNames.result],
  ...[fileNames.scores, fileNames.candidates, fileNames.anew],
];

/** The latest time of those that are there and can be asked. */
function writtenAt(paths: readonly string[]): string | null {
  const times = paths.flatMap((path) => {
    try {
      return statSync(path, { throwIfNoEntry: false })?.mtimeMs ?? [];
    } catch {
      return [];
    }
  });
  return times.length === 0 ? null : new Date(Math.max(...times)).toISOString();
}

/** What a run's config.yaml names; null where it does not, or cannot be read: a resume tells of its faults. */
function configOf(folder: string): { readonly [name in "model" | "method" | "schedule"]: string | null } {
  const none = { model: null, method: null, schedule: null };
  try {
    const text = readWhole(join(folder, fileNames.config), "run", 1 << 17)?.toString("utf8");
    return { ...none, ...configForm.parse(optionsIn(text ?? null)) };
  } catch {
    return none;
  }
}

/** The options that a config.yaml gives; none where it is no mapping: a resume tells of its faults. */
export function optionsIn(config: string | null): JsonObject {
  try {
    const found: unknown = config === null ? null : parse(config, { maxAliasCount: 0 });
    return isObject(found) ? found : {};
  } catch {
    return {};
  }
}

const word = z.string().max(10_000).nullable().catch(null);
const configForm = z.object({ model: word, method: word, schedule: word });

const stages = (schedule: string | null) => (schedule === null || schedule === "vanilla" ? "" : `+${schedule}`);

/** As a result names it. The fact of a method is its name and its settings; prompt tuning has none. */
function methodName({ method }: Identity, schedule: string | null): string {
  return `${method === undefined ? "prompt-tuning" : method.split(" ")[0]}${stages(schedule)}`;
}

const taskOf = (identity: Identity | null) => textFact(identity, "task.name");
const metricOf = (identity: Identity | null) => {
  const metrics = fact(identity, "task.metrics");
  return Array.isArray(metrics) && typeof metrics[0] === "string" ? metrics[0] : null;
};

function textFact(identity: Identity | null, name: string): string | null {
  const value = fact(identity, name);
  return typeof value === "string" ? value : null;
}

function fact(identity: Identity | null, name: string): unknown {
  const text = identity !== null && Object.hasOwn(identity, name) ? identity[name] : undefined;
  return text === undefined ? null : parseJson(text, fileNames.run, "run");
}

function scoreOf(scores: Readonly<Record<string, number>> | null, metric: string | null) {
  const own = scores === null ? null : (metric ?? Object.keys(scores)[0] ?? null);
  const score = own === null ? null : (scores![own] ?? null);
  return own === null ? {} : { metric: own, score: score === null || Number.isNaN(score) ? null : score };
}

/** Name of a kept training: what it is, and twelve digits of its key (study/kept-runs.ts). */
const keptName = /-[0-9a-f]{12}\.json$/;

const scores = z.record(z.string(), z.number().nullable());
const trained = z.object({
  result: z.object({
    best: z.object({ parameters: z.record(z.string(), z.object({ shape: z.array(z.number()) })), scores }),
    bestOnFull: z.object({ scores }).nullable(),
    steps: z.number(),
    reason: z.string(),
    cost: z.object({ flops: z.number() }),
    size: z.object({ trained: z.number() }).optional(),
  }),
  name: z.string(),
  inputs: z.record(z.string(), z.string()),
});
/** A learning rate that was tried, whose training failed. */
const broken = z.object({
  result: z.object({ failed: z.string(), cost: z.object({ flops: z.number() }) }),
  name: z.string(),
  inputs: z.record(z.string(), z.string()),
});
/** The frozen model asked in context. */
const asked = z.object({
  name: z.string(),
  inputs: z.object({ task: z.object({ name: z.string(), metrics: z.array(z.string()).min(1) }) }),
  result: z.object({ scores, flops: z.number() }),
});

/** What a study's file holds; null for a file that is none. @throws SoftpromptError "run" for a damaged one */
function keptBody(path: string): unknown {
  const text = readWhole(path, "run")?.toString("utf8") ?? "";
  if (!/^\{"key":"[0-9a-f]{64}","sha256":/.test(text)) return null;
  const opened = unsealed(text);
  if ("damage" in opened) throw new SoftpromptError("run", opened.damage, { where: path });
  return parseJson(opened.body, path, "run", longRunLimits);
}

/** A study's file of one finished training; null for a file that is none, or keeps something else. */
function listedKept(path: string, model: string | null): ListedRun | null {
  const body = keptBody(path);
  if (body === null) return null;
  const at = { ...bare(path, "study run", "done"), model, written: writtenAt([path]) };
  const facts = ({ name, inputs }: Pick<z.infer<typeof trained>, "name" | "inputs">) => {
    const [task, seed] = [taskOf(inputs), inputs["settings.seed"] ?? ""];
    return {
      ...{ ...at, task, seed: seed === "" ? null : Number(seed) },
      method: name.replace(`${task}-seed${seed}-`, ""),
      plannedSteps: stepsOf(inputs),
    };
  };
  const failed = broken.safeParse(body);
  if (failed.success) {
    const { failed: error, cost } = failed.data.result;
    return { ...facts(failed.data), state: "failed", error, flops: cost.flops };
  }
  const run = trained.safeParse(body);
  if (run.success) {
    const { inputs, result } = run.data;
    const chosen = result.bestOnFull ?? result.best;
    const shapes = Object.values(result.best.parameters).map(({ shape }) => size(shape));
    return {
      ...facts(run.data),
      steps: result.steps,
      ...scoreOf(withoutNull(chosen.scores), metricOf(inputs)),
      trainedParameters: result.size?.trained ?? shapes.reduce((a, b) => a + b, 0),
      flops: result.cost.flops,
    };
  }
  const answers = asked.safeParse(body);
  if (!answers.success) return null;
  const { name, inputs, result } = answers.data;
  const [, seed, method] = /^(?:seed(\d+)-)?(.*)$/s.exec(name.slice(inputs.task.name.length + 1))!;
  return {
    ...{ ...at, task: inputs.task.name, seed: seed === undefined ? null : Number(seed), method: method! },
    ...{ steps: 0, plannedSteps: 0, trainedParameters: 0, flops: result.flops },
    ...scoreOf(withoutNull(result.scores), inputs.task.metrics[0]!),
  };
}

const figure = z.number().nullable();
const evaluated = z.object({
  result: z.object({
    history: z.array(
      z.object({
        ...{ step: z.number(), stage: z.number(), partial: z.string(), loss: figure, scores, seconds: z.number() },
        ...{ flops: z.number(), paperFlops: z.number(), totalFlops: z.number() },
      }),
    ),
  }),
});

/**
 * The evaluations of a study's training, as a run's events tell them; none where the file keeps no training. What its steps took is in the seconds
 * of the evaluations that follow them.
 * @throws SoftpromptError "run" for a damaged file, "io"
 */
export function keptEvents(path: string): Recorded[] {
  const body = keptBody(path);
  const known = body === null ? null : evaluated.safeParse(body);
  if (!known?.success) return [];
  let before = 0;
  return known.data.result.history.map(({ seconds, loss, scores, ...entry }): Recorded => {
    const since = Math.max(0, seconds - before);
    before = seconds;
    const told = { loss: loss ?? Number.NaN, scores: withoutNull(scores), seconds: since };
    return { kind: "eval", ...entry, ...told, best: false, time: "" };
  });
}

/** JSON has no NaN. */
const withoutNull = (scores: Readonly<Record<string, number | null>>): Record<string, number> =>
  Object.fromEntries(Object.entries(scores).map(([metric, score]) => [metric, score ?? Number.NaN]));
