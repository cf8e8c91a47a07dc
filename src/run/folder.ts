/**
 * @file A run folder: owned by one process, begun once, resumed exactly.
 *
 * In: a folder. Out: a RunFolder that the trainer records into.
 *
 *     run.json          makes the folder a run; what the run is made from (train/identity.ts), once known
 *     config.yaml, …    files that the command line gives at the start
 *     metrics.jsonl     one line per event
 *     snapshots/        the newest two snapshots (snapshot.ts)
 *
 * Order of writes: metrics reach the disk before the snapshot that counts them, tensors before the JSON that names them.
 */
import { existsSync, statSync } from "node:fs";
import { join } from "node:path";
import { z } from "zod";
import { SoftpromptError } from "../base/errors.js";
import {
  appendFile,
  diskOps,
  type FileOps,
  listFolder,
  readWhole,
  refuseLink,
  syncFile,
  truncateFile,
  writeFileAtomic,
} from "../base/files.js";
import { parseJson } from "../base/json.js";
import { lockFolder, removeLeftovers } from "../base/lock.js";
import { mostTrained } from "../method/full.js";
import { checkIdentity, type Identity, identityOf } from "../train/identity.js";
import type { Run, TrainInput } from "../train/types.js";
import { type Longer, lengthened, refuseInexact, reopened } from "./extend.js";
import { fileNames, layout, refuseForeign, refuseTaken, snapshotFolder } from "./layout.js";
import { metricsLine } from "./metrics.js";
import { loadSnapshot, type SavedSnapshot, saveSnapshot } from "./snapshot.js";

/** Only the trainer knows the method, so this is the limit of the largest one: its values, two sets of best values, and moments. */
export const mostSaved = 4 * 4 * mostTrained;

export interface OpenRunOptions {
  /** Go on with the run that is there; without it the folder must not hold one. */
  readonly resume: boolean;
  /** Files written before the folder becomes a run, by name: `config.yaml`. On resume they are written only with `longer`. */
  readonly files?: Readonly<Record<string, string>>;
  /** File operations; tests pass faulty ones. */
  readonly ops?: FileOps;
  /** Writes the content of metrics.jsonl in another form beside it (TensorBoard's file). Default nothing. */
  readonly follow?: ((folder: string, ops: FileOps) => Follower) | undefined;
  /** With `resume`: the inputs may have more steps than the run was begun with, if going on to them is exact (extend.ts). */
  readonly longer?: Longer | undefined;
}

/** Kept in step with metrics.jsonl. What it throws ends the run as a failed write of metrics.jsonl does. */
export interface Follower {
  /** Called when metrics.jsonl has been cut to the state from which the run goes on. */
  begin(): void;
  /** One line, with its line break, has been appended to it. */
  line(text: string): void;
}

/** An open run folder; the caller that opened it closes it. */
export interface RunFolder extends Run {
  /** Where its files are written. */
  readonly ops: FileOps;
  /** Releases the folder. Idempotent. */
  close(): void;
}

/**
 * Without `resume` the folder must hold no run. A folder holds nothing trained if its run.json has no facts about the inputs yet, there is
 * no snapshot, and metrics.jsonl is empty or absent. Such a run is begun again, and `files` overwrite those there.
 * @throws SoftpromptError "run" (in use; holds a run already; holds none), "io".
 */
export function openRun(folder: string, options: OpenRunOptions): RunFolder {
  const { resume, files = {}, ops = diskOps } = options;
  const head = join(folder, fileNames.run);
  if (resume && !existsSync(head))
    throw new SoftpromptError("run", "there is no run here to resume", {
      where: folder,
      expected: "a folder with run.json",
      hint: "start without resume; a run that died before run.json was written has lost nothing",
    });
  for (const name of layout.run.written) refuseLink(join(folder, name));
  const lock = lockFolder(folder, ops);
  try {
    removeLeftovers(folder, ops);
    if (!resume && !(existsSync(head) && nothingTrained(folder, head))) refuseTaken(folder, "run");
    if (!resume || readHead(head) === null) refuseRemains(folder);
    if (!existsSync(head)) refuseOthers(folder, files);
    if (!resume) {
      for (const [name, content] of Object.entries(files)) writeFileAtomic(join(folder, name), content, ops);
      writeHead(head, null, ops);
    }
    return openedRun(folder, head, lock.release, options);
  } catch (error) {
    lock.release();
    throw error;
  }
}

function openedRun(
  folder: string,
  head: string,
  release: () => void,
  { ops = diskOps, follow, files = {}, longer }: OpenRunOptions,
): RunFolder {
  const follower = follow?.(folder, ops) ?? null;
  const metricsFile = join(folder, fileNames.metrics);
  const snapshots = snapshotFolder(folder);
  let metrics = { lines: 0, bytes: 0 };
  let newest = 0;
  return {
    folder,
    ops,
    begin: (identity, tell, most) => {
      const saved = readHead(head);
      if (saved === null) writeHead(head, identity, ops);
      else checkIdentity(longer ? lengthened(saved, identity) : saved, identity, folder);
      const snapshot: SavedSnapshot | null = loadSnapshot(snapshots, tell, ops, most);
      const state = snapshot?.state ?? null;
      if (longer !== undefined) {
        const notice = saved && refuseInexact(folder, { saved, now: identity, state, longer });
        if (notice !== null) tell(notice);
        if (saved !== null && lengthened(saved, identity) !== saved) writeHead(head, identity, ops);
        // after run.json, and again if a death came between the two: whoever gives the steps once more gets both
        for (const [name, content] of Object.entries(files)) writeFileAtomic(join(folder, name), content, ops);
      }
      if (saved !== null && snapshot === null) tell("nothing had been saved yet: the run begins again at step 0");
      metrics = snapshot?.metrics ?? { lines: 0, bytes: 0 };
      newest = snapshot?.number ?? 0;
      cutMetrics(metricsFile, metrics.bytes, ops);
      follower?.begin();
      return reopened(state, identity);
    },
    record: (event) => {
      const line = metricsLine(event, Date.now());
      if (line === null) return;
      appendFile(metricsFile, line, ops);
      metrics = { lines: metrics.lines + 1, bytes: metrics.bytes + Buffer.byteLength(line) };
      follower?.line(line);
    },
    save: (state) => {
      syncFile(metricsFile, ops);
      saveSnapshot(snapshots, { number: newest + 1, state, metrics }, ops);
      newest++;
    },
    write: (name, content) => writeFileAtomic(join(folder, name), content, ops),
    close: release,
  };
}

function nothingTrained(folder: string, head: string): boolean {
  return readHead(head) === null && trainedFiles(folder).length === 0;
}

/** Files that only a training leaves. */
function trainedFiles(folder: string): string[] {
  const metrics = join(folder, fileNames.metrics);
  return [
    ...[fileNames.snapshots, fileNames.earlierSnapshots].filter((name) => listFolder(join(folder, name)).length > 0),
    ...(existsSync(metrics) && statSync(metrics).size > 0 ? [fileNames.metrics] : []),
  ];
}

/** Files found before run.json has an identity belong to another run: never resume or truncate them. */
function refuseRemains(folder: string): void {
  const found = trainedFiles(folder);
  if (found.length === 0) return;
  throw new SoftpromptError("run", "this folder holds remains of a run that nothing describes", {
    where: folder,
    expected: "run.json beside them, or neither",
    got: found.join(", "),
    hint: "put its run.json back and resume, or choose another folder",
  });
}

/** A folder without run.json that holds other files, e.g. the user's own configuration, is not written into. */
function refuseOthers(folder: string, files: Readonly<Record<string, string>>): void {
  const differs = (name: string, content: string) => {
    const there = readWhole(join(folder, name), "run");
    return there !== null && there.toString("utf8") !== content;
  };
  // a file with the same content comes from a run that died before its run.json was written
  const others = Object.entries(files).filter(([name, content]) => differs(name, content));
  refuseForeign(
    folder,
    "run",
    others.map(([name]) => name),
  );
}

/** Cuts metrics.jsonl back to what the snapshot counted; what came after will be made again. */
function cutMetrics(path: string, bytes: number, ops: FileOps): void {
  const length = existsSync(path) ? statSync(path).size : 0;
  if (length < bytes)
    throw new SoftpromptError("run", "metrics.jsonl is shorter than the snapshot says", {
      where: path,
      expected: `${bytes} bytes or more`,
      got: `${length} bytes`,
      hint: "put the file back, or start a new run in another folder",
    });
  if (length > bytes) truncateFile(path, bytes, ops);
}

const headForm = z.strictObject({ format: z.literal(1), identity: z.record(z.string(), z.string()).nullable() });

/** Writes run.json. */
function writeHead(path: string, identity: Identity | null, ops: FileOps): void {
  writeFileAtomic(path, `${JSON.stringify({ format: 1, identity }, null, 2)}\n`, ops);
}

/** The facts about a run's inputs; null if they were not recorded yet. @throws SoftpromptError "run". */
export function readHead(path: string): Identity | null {
  const text = readWhole(path, "run")?.toString("utf8");
  if (text === undefined) throw new SoftpromptError("run", "run.json is gone", { where: path });
  const parsed = headForm.safeParse(parseJson(text, path, "run"));
  if (parsed.success) return parsed.data.identity;
  throw new SoftpromptError("run", "run.json cannot be read", {
    where: path,
    expected: "{ format: 1, identity }",
    got: parsed.error.issues[0]?.message,
    hint: "the file was changed by hand or by a newer version; start a new run in another folder",
  });
}

/** Facts that this check leaves out: the layers and neurons of stages follow from neuron scores, which are computed later. */
const measuredLater = /^schedule\.stage \d+\.model$/;

/**
 * Refuses to go on if anything changed, before neurons are scored. The trainer checks again, with all facts.
 * @param input its schedule may be an outline (outlineSchedule)
 * @param longer permits more steps, where going on to them is exact. The caller owns the folder.
 * @throws SoftpromptError "run".
 */
export async function refuseChangedInputs(
  folder: string,
  input: Omit<TrainInput, "run">,
  longer?: Longer,
): Promise<void> {
  const saved = readHead(join(folder, fileNames.run));
  if (saved === null) return;
  const known = (facts: Identity) =>
    Object.fromEntries(Object.entries(facts).filter(([name]) => !measuredLater.test(name)));
  const now = await identityOf(input);
  checkIdentity(known(longer ? lengthened(saved, now) : saved), known(now), folder);
  if (longer === undefined) return;
  const state = loadSnapshot(snapshotFolder(folder), () => {}, diskOps, mostSaved)?.state ?? null;
  refuseInexact(folder, { saved, now, state, longer });
}
