/**
 * @file A run's TensorBoard event file, which grows while the run does. In: lines of metrics.jsonl. Out: tensorboard/events.out.tfevents.softprompt.
 *
 * The file is metrics.jsonl told again and nothing else, wall times included. So a resume can cut it to the same event as metrics.jsonl,
 * in place: every record is as long as the one it replaces, and a TensorBoard that read further before the cut goes on at a whole record,
 * with no step seen twice.
 */
import { existsSync } from "node:fs";
import { join } from "node:path";
import {
  appendFile,
  diskOps,
  type FileOps,
  readWhole,
  refuseLink,
  removeLeftovers,
  truncateFile,
  writeFileAtomic,
} from "../base/files.js";
import { eventFileHeader, type Scalar, scalarRecord } from "../report/tensorboard.js";
import type { Follower } from "../run/folder.js";
import { type Recorded, readEvent, readMetrics } from "./recorded.js";

const place = ["tensorboard", "events.out.tfevents.softprompt"] as const;

/** Writes every event as it is recorded: `tensorboard --logdir` shows it at its next look. */
export function followEvents(folder: string, ops: FileOps): Follower {
  const file = join(folder, ...place);
  let empty = true;
  return {
    begin: () => {
      refuseLink(join(folder, place[0]));
      if (existsSync(join(folder, place[0]))) removeLeftovers(join(folder, place[0]), ops);
      empty = renewEventFile(folder, ops) === 0;
    },
    line: (text) => {
      const event = readEvent(text, join(folder, "metrics.jsonl"));
      appendFile(file, records([event], empty), ops);
      empty = false;
    },
  };
}

/** A run that has one keeps it in step, asked or not: one cut at another step than metrics.jsonl would tell of a run that never was. */
export function hasEventFile(folder: string): boolean {
  return existsSync(join(folder, ...place));
}

/**
 * Makes the event file what metrics.jsonl says, touching only what differs. @returns its length in bytes.
 * @throws SoftpromptError "run" (a link instead of the file; a line that is no event), "io".
 */
export function renewEventFile(folder: string, ops: FileOps = diskOps): number {
  const file = join(folder, ...place);
  refuseLink(join(folder, place[0]));
  refuseLink(file);
  const wanted = records(readMetrics(folder), true);
  const found = readWhole(file, "run");
  if (found === null || !found.subarray(0, wanted.length).equals(wanted)) writeFileAtomic(file, wanted, ops);
  else if (found.length > wanted.length) truncateFile(file, wanted.length, ops);
  return wanted.length;
}

/** Records of the events, after the header that begins a file where asked for. */
function records(events: readonly Recorded[], first: boolean): Buffer {
  const header = first && events[0] !== undefined ? [eventFileHeader(secondsOf(events[0]))] : [];
  return Buffer.concat([...header, ...events.flatMap(scalars).map(scalarRecord)]);
}

const secondsOf = (event: Recorded) => Date.parse(event.time) / 1000;

function scalars(event: Recorded): Scalar[] {
  const at = (tag: string, value: number | null): Scalar => ({
    tag,
    step: event.kind === "warning" ? 0 : event.step,
    value: value ?? Number.NaN,
    wallTime: secondsOf(event),
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
      ...Object.entries(event.scores).map(([name, score]) => at(`validation/${name}`, score)),
    ];
  return [];
}
