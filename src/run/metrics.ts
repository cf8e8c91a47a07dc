/**
 * @file metrics.jsonl: one line per event of a training. In: TrainEvent, the time. Out: a line of JSON, or null.
 *
 * Only events that the training itself determines are recorded. Snapshots, interruptions and remarks about the folder depend on when a
 * process was stopped, so the file of a resumed run would differ from that of an uninterrupted one. For the same reason only `time`,
 * `seconds` and `openSeconds` hold wall-clock values.
 */
import type { TrainEvent } from "../train/types.js";

/** @param time milliseconds since 1970. @returns the line with its line break, or null for an event that is not recorded. */
export function metricsLine(event: TrainEvent, time: number): string | null {
  if (event.kind === "snapshot" || event.kind === "warning" || event.kind === "rows") return null;
  if (event.kind === "end" && event.reason === "interrupted") return null;
  return `${JSON.stringify({ ...event, time: new Date(time).toISOString() })}\n`;
}

/** A line without wall-clock values, for comparing runs. */
export function withoutClock(line: string): string {
  const { time: _time, seconds: _seconds, openSeconds: _open, ...rest } = JSON.parse(line) as Record<string, unknown>;
  return JSON.stringify(rest);
}
