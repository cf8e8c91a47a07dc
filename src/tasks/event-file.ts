/**
 * @file A run's TensorBoard event file, which grows while the run does. In: lines of metrics.jsonl. Out: events.out.tfevents.softprompt.
 *
 * TensorBoard names a run after the folder that holds its file. So the file is in the run folder itself, and that of a candidate is in the
 * folder with the candidate's name.
 *
 * The file has exactly the content of metrics.jsonl, including wall times. So a resume can cut it in place to the same event as
 * metrics.jsonl. Every new record is as long as the one it replaces, so a TensorBoard that had read further goes on at a record boundary
 * and sees no step twice.
 */
import { existsSync, readdirSync } from "node:fs";
import { join } from "node:path";
import {
  appendFile,
  diskOps,
  type FileOps,
  readWhole,
  refuseLink,
  truncateFile,
  writeFileAtomic,
} from "../base/files.js";
import type { Scores } from "../data/metrics.js";
import { eventFileHeader, type Scalar, scalarRecord } from "../report/tensorboard.js";
import type { Follower } from "../run/folder.js";
import { fileNames } from "../run/layout.js";
import type { HistoryEntry } from "../train/types.js";
import { type Recorded, readEvent, readMetrics } from "./recorded.js";

const eventFile = fileNames.events;

/** Writes every event as it is recorded: `tensorboard --logdir` shows it at its next refresh. */
export function followEvents(folder: string, ops: FileOps): Follower {
  const file = join(folder, eventFile);
  let empty = true;
  return {
    begin: () => {
      empty = renewEventFile(folder, ops) === 0;
    },
    line: (text) => {
      const event = readEvent(text, join(folder, fileNames.metrics));
      appendFile(file, records([event], empty), ops);
      empty = false;
    },
  };
}

/**
 * A run that has such a file always keeps it up to date. If it was cut at another step than metrics.jsonl, it would show steps that the run
 * does not have.
 */
export function hasEventFile(folder: string): boolean {
  return existsSync(join(folder, eventFile));
}

/**
 * Makes the event file equal to metrics.jsonl and writes only what differs. @param into the folder of the event file, if it is not the
 * run's own @returns its length in bytes.
 * @throws SoftpromptError "run" (a link instead of the file; a line that is no event), "io".
 */
export function renewEventFile(folder: string, ops: FileOps = diskOps, into = folder): number {
  const file = join(into, eventFile);
  refuseLink(file);
  const wanted = records(readMetrics(folder), true);
  const found = readWhole(file, "run");
  if (found === null || !found.subarray(0, wanted.length).equals(wanted)) writeFileAtomic(file, wanted, ops);
  else if (found.length > wanted.length) truncateFile(file, wanted.length, ops);
  return wanted.length;
}

/** A search's event files: of the tuning, the control and every candidate, including those of an earlier search in the same folder. */
export function renewSearchEvents(folder: string): void {
  const [tuning, candidates] = [join(folder, "tune"), join(folder, "candidates")];
  for (const own of [tuning, candidates]) refuseLink(own);
  if (existsSync(tuning)) renewEventFile(tuning);
  if (!existsSync(candidates)) return;
  for (const entry of readdirSync(candidates, { withFileTypes: true })) {
    const candidate = join(candidates, entry.name);
    if (!entry.isDirectory()) continue; // a link leads outside this search's folder
    refuseLink(join(candidate, "run"));
    if (existsSync(join(candidate, "run", fileNames.metrics)))
      renewEventFile(join(candidate, "run"), diskOps, candidate);
  }
}

/** For a training that kept only its evaluations (in a study): their scores, at the seconds since the training began. */
export function writeEvaluations(
  folder: string,
  history: readonly Pick<HistoryEntry, "step" | "seconds" | "loss" | "scores">[],
): void {
  const file = join(folder, eventFile);
  refuseLink(file);
  const scalars = history.flatMap(({ step, seconds, loss, scores }) =>
    evaluated(step, loss, scores).map((scalar) => ({ ...scalar, wallTime: seconds })),
  );
  writeFileAtomic(file, Buffer.concat([eventFileHeader(0), ...scalars.map(scalarRecord)]));
}

/** Records of the events, after the header that begins a file where asked for. */
function records(events: readonly Recorded[], first: boolean): Buffer {
  const header = first && events[0] !== undefined ? [eventFileHeader(secondsOf(events[0]))] : [];
  return Buffer.concat([...header, ...events.flatMap(scalars).map(scalarRecord)]);
}

const secondsOf = (event: Recorded) => Date.parse(event.time) / 1000;

function scalars(event: Recorded): Scalar[] {
  const wallTime = secondsOf(event);
  if (event.kind === "step")
    return [
      { tag: "train/loss", value: event.loss },
      { tag: "train/learningRate", value: event.learningRate },
      { tag: "train/gradientNorm", value: event.gradientNorm },
      { tag: "train/tokensPerSecond", value: event.tokens / event.seconds },
    ].map((scalar) => ({ ...scalar, step: event.step, wallTime }));
  if (event.kind === "eval")
    return evaluated(event.step, event.loss, event.scores).map((scalar) => ({ ...scalar, wallTime }));
  return [];
}

function evaluated(step: number, loss: number, scores: Scores): Omit<Scalar, "wallTime">[] {
  const named = Object.entries(scores).map(([name, score]) => ({ tag: `validation/${name}`, step, value: score }));
  return [{ tag: "validation/loss", step, value: loss }, ...named];
}
