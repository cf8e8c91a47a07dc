/**
 * @file Layout of the folders that we write: file names, and which file makes a folder a run, a search or a study.
 *
 * In: a folder, what is to be written there. Out: nothing, or a refusal: a folder of another kind, or with the user's own files, is not
 * written into. A folder that already holds a run, search or study is continued only if the caller asks for it.
 */
import { existsSync } from "node:fs";
import { join } from "node:path";
import { SoftpromptError } from "../base/errors.js";

/** Names of files and folders. Each name is defined only here. */
export const fileNames = {
  /** Makes a folder a run: what it is made from. */
  run: "run.json",
  metrics: "metrics.jsonl",
  snapshots: "snapshots",
  /** Where version 0.1 kept them. */
  earlierSnapshots: "checkpoint",
  /** The frozen model's score, for a resume. */
  noPrompt: "no-prompt.json",
  events: "events.out.tfevents.softprompt",
  config: "config.yaml",
  adapter: "adapter",
  result: "result.json",
  predictions: "predictions.jsonl",
  report: "report.html",
  /** Makes a folder a search. */
  search: "search.json",
  scores: "scores.json",
  tune: "tune",
  candidates: "candidates",
  anew: "anew",
  /** Makes a folder a study: its runs. */
  runs: "runs",
  summary: "result.md",
  /** Of a study: folders of this name with a number keep earlier reports of other settings. */
  earlier: "earlier",
  /** Of a sweep: the options of a training with the best setting. */
  best: "best.yaml",
} as const;

const f = fileNames;

/** A kind of folder. */
interface Kind {
  /** The file that makes a folder one of this kind. */
  readonly head: string;
  /** Names that are written to, so they must not be links. */
  readonly written: readonly string[];
  /** Names that must not exist before the head file: files of other kinds, or of an unknown folder. */
  readonly foreign: readonly string[];
  /** Names that must not exist even beside the head file. */
  readonly never: readonly string[];
  readonly expected: string;
}

/** Every kind of folder. A study's runs and a search's candidates are folders of the first kind, further down. */
export const layout = {
  run: {
    head: f.run,
    written: [f.run, f.noPrompt, f.metrics, f.snapshots, f.earlierSnapshots, f.adapter, f.events],
    foreign: [f.search, f.result, f.predictions, f.report, f.adapter, f.candidates, f.runs],
    never: [],
    expected: "a run's folder, or one without files of these names",
  },
  search: {
    head: f.search,
    written: [f.noPrompt, f.adapter, f.tune, f.candidates, f.anew],
    foreign: [f.run, f.result, f.adapter],
    never: [],
    expected: "a search's folder, or an empty one",
  },
  study: {
    head: f.runs,
    written: [f.runs],
    foreign: [f.config, f.result, f.summary, f.report, f.best],
    never: [f.run, f.search],
    expected: "a study's folder, or an empty one",
  },
} as const satisfies Record<string, Kind>;

export type FolderKind = keyof typeof layout;

/** Where a run keeps its snapshots: a run of version 0.1 keeps its old folder. */
export function snapshotFolder(folder: string): string {
  const earlier = join(folder, fileNames.earlierSnapshots);
  return existsSync(earlier) ? earlier : join(folder, fileNames.snapshots);
}

/** Whether the folder is of this kind already. */
export function holds(folder: string, kind: FolderKind): boolean {
  return existsSync(join(folder, layout[kind].head));
}

/** Checks that the folder is of this kind and may be continued, or can become one. @throws SoftpromptError "run". */
export function claim(folder: string, kind: FolderKind, resume: boolean): void {
  if (!resume) refuseTaken(folder, kind);
  refuseForeign(folder, kind);
}

/** @throws SoftpromptError "run" where the folder is of this kind already. */
export function refuseTaken(folder: string, kind: FolderKind): void {
  if (!holds(folder, kind)) return;
  throw new SoftpromptError("run", `this folder already holds a ${kind}`, {
    where: folder,
    hint: "resume it, or choose another folder",
  });
}

/**
 * Refuses a folder that holds other files than those that will be written there.
 * @param also names of what was found there beside. @throws SoftpromptError "run".
 */
export function refuseForeign(folder: string, kind: FolderKind, also: readonly string[] = []): void {
  const { never, foreign, expected }: Kind = layout[kind];
  const unwanted = holds(folder, kind) ? never : [...never, ...foreign];
  const found = [...unwanted.filter((name) => existsSync(join(folder, name))), ...also];
  if (found.length === 0) return;
  throw new SoftpromptError("run", `this folder holds something else than a ${kind}`, {
    where: folder,
    expected,
    got: found.join(", "),
    hint: "choose another folder",
  });
}

/** The folder, or, if it already holds a run or a search, the next free name with a number appended. */
export function freeFolder(name: string): string {
  for (let n = 1; ; n++) {
    const folder = n === 1 ? name : `${name}-${n}`;
    if (!holds(folder, "run") && !holds(folder, "search")) return folder;
  }
}
